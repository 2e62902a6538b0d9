/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/pool.h"

#include <stdlib.h>

/* Sizes with the header, chosen so that malloc adds little. */
static const uint32_t class_size[POOL_CLASSES] = {512, 2048, 8192, 20480, 73728, POOL_MAX + 64};
/* Free buffers kept of each size; the rest goes back to malloc. */
static const uint32_t class_keep[POOL_CLASSES] = {1024, 512, 256, 128, 32, 16};

void pool_init(struct pool *p, size_t limit)
{
	*p = (struct pool){.limit = limit};
}

void pool_fini(struct pool *p)
{
	CHECK(p->used == 0);
	for (int c = 0; c < POOL_CLASSES; c++) {
		while (p->free[c]) {
			struct pool_buf *b = p->free[c];

			p->free[c] = b->next;
			free(b);
		}
	}
}

static struct pool_buf *buf_new(uint32_t class)
{
	struct pool_buf *b = malloc(class_size[class]);

	if (b) {
		b->class = class;
		b->cap = class_size[class] - (uint32_t)sizeof(*b);
	}
	return b;
}

struct pool_buf *pool_get(struct pool *p, size_t size)
{
	uint32_t c = 0;
	struct pool_buf *b;

	CHECK(size <= POOL_MAX);
	while (class_size[c] - sizeof(*b) < size)
		c++;
	if (p->used + class_size[c] > p->limit)
		return NULL;
	b = p->free[c];
	if (b) {
		p->free[c] = b->next;
		p->kept[c]--;
	} else {
		b = buf_new(c);
		if (!b)
			return NULL;
	}
	b->next = NULL;
	p->used += class_size[c];
	return b;
}

struct pool_buf *pool_get_spare(struct pool *p, size_t size)
{
	return p->used > p->limit - p->limit / 4 ? NULL : pool_get(p, size);
}

void pool_put(struct pool *p, struct pool_buf *b)
{
	uint32_t c;

	if (!b)
		return;
	c = b->class;
	CHECK(c < POOL_CLASSES && p->used >= class_size[c]);
	p->used -= class_size[c];
	if (p->kept[c] >= class_keep[c]) {
		free(b);
		return;
	}
	b->next = p->free[c];
	p->free[c] = b;
	p->kept[c]++;
}
