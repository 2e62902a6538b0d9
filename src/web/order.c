/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/order.h"

#include <stdlib.h>

static int compare(const void *x, const void *y)
{
	const struct rank *r = x, *s = y;

	if (r->a != s->a)
		return r->a < s->a ? 1 : -1;
	if (r->b != s->b)
		return r->b < s->b ? 1 : -1;
	return (r->row > s->row) - (r->row < s->row);
}

uint32_t *order_new(uint32_t n, void (*rank)(const void *, struct rank *), const void *arg)
{
	/* Ranks side by side: sorting numbers of rows alone would touch the rows, all over
	 * memory, at each comparison. */
	struct rank *r = must_calloc(MAX(n, 1), sizeof(*r));
	uint32_t *order = must_calloc(MAX(n, 1), sizeof(*order));

	for (uint32_t i = 0; i < n; i++) {
		r[i].row = i;
		rank(arg, &r[i]);
	}
	qsort(r, n, sizeof(*r), compare);
	for (uint32_t i = 0; i < n; i++)
		order[i] = r[i].row;
	free(r);
	return order;
}
