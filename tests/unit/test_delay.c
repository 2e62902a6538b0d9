/* SPDX-License-Identifier: BSD-3-Clause */
/* How long packets waited: buckets, mean and 99th percentile against a sorted list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/delay.h"

static const uint32_t bound[] = {DELAY_BOUNDS};

/* What a wait is known as afterwards: the bound of its bucket, the last one for all beyond. */
static uint32_t known_as(uint32_t ms)
{
	uint32_t b = delay_bucket(ms);

	return bound[b < DELAY_BUCKETS - 1 ? b : DELAY_BUCKETS - 2];
}

static void test_buckets(void **state)
{
	for (uint32_t b = 0; b < DELAY_BUCKETS - 1; b++) {
		assert_int_equal(delay_bucket(bound[b]), b);
		assert_int_equal(delay_bucket(bound[b] + 1), b + 1);
	}
	assert_int_equal(delay_bucket(0), 0);
	assert_int_equal(delay_bucket(UINT32_MAX), DELAY_BUCKETS - 1);
}

static int compare(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void test_random(void **state)
{
	for (int round = 0; round < 500; round++) {
		static int ms[2000];
		int n = 1 + rand() % 2000, waited = rand() % (n + 1), most = 1 + rand() % 1200;
		struct delays d = {0};
		double sum = 0;

		memset(ms, 0, sizeof(ms));
		for (int i = 0; i < waited; i++) {
			ms[i] = 1 + rand() % most;
			sum += ms[i];
			delays_note(&d, delay_bucket((uint32_t)ms[i]), 1, (uint64_t)ms[i]);
			assert_int_equal(d.last_ms, ms[i]);
		}
		assert_int_equal(d.packets, waited);
		assert_float_equal(delays_average(&d, (uint64_t)n), sum / n, 1e-6);
		qsort(ms, (size_t)n, sizeof(ms[0]), compare);
		/* All but n / 100 of them waited no longer. */
		assert_int_equal(delays_p99(&d, (uint64_t)n),
		    ms[n - 1 - n / 100] ? known_as((uint32_t)ms[n - 1 - n / 100]) : 0);
	}
}

/* Several at once; who says that fewer were sent than waited is not believed. */
static void test_several(void **state)
{
	struct delays d = {0};

	assert_int_equal(delays_p99(&d, 0), 0);
	assert_float_equal(delays_average(&d, 0), 0, 0);
	delays_note(&d, delay_bucket(20), 10, 190);
	assert_int_equal(d.last_ms, 19);
	assert_float_equal(delays_average(&d, 0), 19, 1e-9);
	assert_int_equal(delays_p99(&d, 5), 20);
	assert_int_equal(delays_p99(&d, 1000), 0);
	assert_int_equal(delays_p99(&d, 999), 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_buckets),
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_several),
	};

	srand(1);
	return cmocka_run_group_tests_name("delay", tests, NULL, NULL);
}
