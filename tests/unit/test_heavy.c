/* SPDX-License-Identifier: BSD-3-Clause */
/* The heaviest of many against a scan over all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/heavy.h"

#define MEMBERS 64

struct member {
	struct heavy_node node;
	uint32_t weight;
};

struct model {
	struct heavy heavy;
	struct member member[MEMBERS];
};

/* Of all magnitudes alike, the powers of two and their neighbours among them. */
static uint32_t draw_weight(void)
{
	uint32_t bit = 1u << (rand() % 32);

	switch (rand() % 4) {
	case 0:
		return bit;
	case 1:
		return bit - 1;
	default:
		return bit | ((uint32_t)rand() & (bit - 1));
	}
}

static void check(const struct model *m)
{
	const struct heavy_node *first = heavy_first(&m->heavy);
	uint32_t heaviest = 0, listed = 0, members = 0;

	for (int i = 0; i < MEMBERS; i++) {
		heaviest = MAX(heaviest, m->member[i].weight);
		members += m->member[i].weight > 0;
		assert_int_equal(m->member[i].node.at != NULL, m->member[i].weight > 0);
	}
	for (int c = 0; c < HEAVY_CLASSES; c++) {
		assert_int_equal(m->heavy.mask >> c & 1, m->heavy.list[c] != NULL);
		for (const struct heavy_node *n = m->heavy.list[c]; n; n = n->next) {
			assert_ptr_equal(*n->at, n);
			listed++;
		}
	}
	assert_int_equal(listed, members);
	assert_int_equal(first == NULL, members == 0);
	if (first)
		assert_true(container_of(first, const struct member, node)->weight >= heaviest / 2);
}

static void test_random(void **state)
{
	static struct model m;

	for (int i = 0; i < 50000; i++) {
		/* It fills and empties in waves. */
		bool fill = i / 500 % 2 ? rand() % 4 : rand() % 4 == 0;
		struct member *one = &m.member[rand() % MEMBERS];

		one->weight = fill ? draw_weight() : 0;
		if (one->weight == 0 && rand() % 2)
			heavy_remove(&m.heavy, &one->node);
		else
			heavy_weigh(&m.heavy, &one->node, one->weight);
		check(&m);
	}
	/* The heaviest one goes each time: what is taken first never becomes much heavier. */
	for (int i = 0; i < MEMBERS; i++) {
		m.member[i].weight = draw_weight() | 1;
		heavy_weigh(&m.heavy, &m.member[i].node, m.member[i].weight);
	}
	for (int i = 0; i < MEMBERS; i++) {
		struct heavy_node *n = heavy_first(&m.heavy);

		check(&m);
		container_of(n, struct member, node)->weight = 0;
		heavy_remove(&m.heavy, n);
		heavy_remove(&m.heavy, n);
	}
	check(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random),
	};

	srand(1);
	return cmocka_run_group_tests_name("heavy", tests, NULL, NULL);
}
