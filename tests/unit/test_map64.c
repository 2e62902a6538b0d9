/* SPDX-License-Identifier: BSD-3-Clause */
/* The map against a plain array: random work, growth and shrinking, holes that close. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/check.h"
#include "base/map64.h"

#define KEYS 4096

/* What the map should hold: slot by key number, MAP64_NONE when absent. */
struct model {
	struct map64 map;
	uint64_t hash[KEYS];
	uint32_t slot[KEYS];
	uint32_t n;
};

static uint64_t draw(void)
{
	static uint64_t state = 1;
	uint64_t z = state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* Low bits of at most `homes` values: so many keys share a home bucket that probes run long, and
 * around the end of the array. */
static struct model *model_new(uint64_t homes)
{
	struct model *m = malloc(sizeof(*m));

	assert_non_null(m);
	map64_init(&m->map);
	m->n = 0;
	for (uint32_t i = 0; i < KEYS; i++) {
		m->hash[i] = (draw() & ~0xffffull) | (0xffffull - draw() % homes);
		m->slot[i] = MAP64_NONE;
	}
	return m;
}

static void model_free(struct model *m)
{
	map64_fini(&m->map);
	free(m);
}

/* Every key is found or not found as it should be, and the array holds nothing else. */
static void compare(const struct model *m)
{
	uint32_t used = 0;

	for (uint32_t i = 0; i < KEYS; i++)
		assert_int_equal(map64_get(&m->map, m->hash[i]), m->slot[i]);
	for (uint32_t b = 0; b <= m->map.mask; b++)
		used += m->map.entry[b].slot != MAP64_NONE;
	assert_int_equal(used, m->n);
	assert_int_equal(m->map.n, m->n);
	/* Half empty at least: a search for what is not there ends soon. */
	assert_true(m->map.n * 2 <= m->map.mask);
}

static void flip(struct model *m, uint32_t i)
{
	if (m->slot[i] == MAP64_NONE) {
		m->slot[i] = (uint32_t)draw() & 0xffffff;
		map64_put(&m->map, m->hash[i], m->slot[i]);
		m->n++;
	} else {
		m->slot[i] = MAP64_NONE;
		map64_del(&m->map, m->hash[i]);
		m->n--;
	}
}

/* Few homes: every deletion moves others up, across the end of the array too. */
static void test_crowded(void **state)
{
	struct model *m = model_new(5);

	for (int i = 0; i < 20000; i++) {
		flip(m, (uint32_t)draw() % 30);
		for (uint32_t k = 0; k < 30; k++)
			assert_int_equal(map64_get(&m->map, m->hash[k]), m->slot[k]);
	}
	compare(m);
	model_free(m);
}

static void test_random(void **state)
{
	struct model *m = model_new(1 << 16);

	for (int i = 0; i < 200000; i++) {
		flip(m, (uint32_t)draw() % KEYS);
		if (i % 10000 == 0)
			compare(m);
	}
	compare(m);
	model_free(m);
}

/* Memory follows what is in it, both ways; going up and down by one does not rehash each time. */
static void test_grow_shrink(void **state)
{
	struct model *m = model_new(1 << 16);
	const void *entry;

	for (uint32_t i = 0; i < KEYS; i++)
		flip(m, i);
	compare(m);
	assert_true(m->map.mask >= 2 * KEYS);
	entry = m->map.entry;
	for (uint32_t i = 0; i < 100; i++) {
		flip(m, i);
		flip(m, i);
		assert_ptr_equal(m->map.entry, entry);
	}
	for (uint32_t i = 0; i < KEYS; i++) {
		flip(m, i);
		if (i % 256 == 0)
			compare(m);
		assert_true(m->map.mask + 1 <= MAX(64u, 32 * (m->n + 1)));
	}
	assert_int_equal(m->map.mask + 1, 64);
	compare(m);
	model_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_crowded),
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_grow_shrink),
	};

	return cmocka_run_group_tests_name("map64", tests, NULL, NULL);
}
