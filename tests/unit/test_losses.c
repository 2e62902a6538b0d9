/* SPDX-License-Identifier: BSD-3-Clause */
/* Which losses make a path lossy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "relay/losses.h"

#define BASE_US 50000
#define LOW_US 60000

struct path {
	struct losses l;
	struct losses_sample s;
};

static struct path path_new(void)
{
	return (struct path){
	    .s = {.now_us = 1, .rtt_us = BASE_US, .low_us = LOW_US, .in_flight = 100}};
}

static void run_ms(struct path *p, uint32_t ms)
{
	for (uint32_t i = 0; i < ms; i += 10) {
		p->s.now_us += 10000;
		losses_sample(&p->l, &p->s);
	}
}

static void lose(struct path *p, uint32_t segments)
{
	p->s.retransmitted += segments;
	run_ms(p, 10);
}

static void test_lossy(void **state)
{
	struct path p = path_new();

	run_ms(&p, 1000);
	assert_false(p.l.lossy);
	lose(&p, 1);
	assert_true(p.l.lossy);
	/* For as long as it loses one now and then, and 2,000 segments longer. */
	for (int i = 0; i < 10; i++) {
		p.s.delivered += 1900;
		run_ms(&p, 1000);
		assert_true(p.l.lossy);
		lose(&p, 1);
	}
	p.s.delivered += 1999;
	run_ms(&p, 1000);
	assert_true(p.l.lossy);
	p.s.delivered++;
	run_ms(&p, 10);
	assert_false(p.l.lossy);
}

/* Losses with a full buffer, in bursts, or close behind others say nothing of the path. */
static void test_clean(void **state)
{
	struct path p = path_new();

	for (int i = 0; i < 20; i++) {
		p.s.rtt_us = 90000;
		run_ms(&p, 1000);
		lose(&p, 1);
		/* Repetitions go on while the buffer drains. */
		p.s.rtt_us = BASE_US;
		run_ms(&p, 50);
		lose(&p, 2);
		run_ms(&p, 50);
		lose(&p, 2);
		assert_false(p.l.lossy);
	}
	for (int i = 0; i < 20; i++) {
		run_ms(&p, 1000);
		lose(&p, 30);
		run_ms(&p, 30);
		lose(&p, 1);
		assert_false(p.l.lossy);
	}
}

/* What was lost before the first sample. */
static void test_start(void **state)
{
	struct path p = path_new();

	lose(&p, 1);
	assert_true(p.l.lossy);
	p = path_new();
	lose(&p, 30);
	assert_false(p.l.lossy);
	p = path_new();
	p.s.rtt_us = 90000;
	lose(&p, 1);
	assert_false(p.l.lossy);
	/* Later it must have been low for a while. */
	p = path_new();
	run_ms(&p, 10);
	lose(&p, 1);
	assert_false(p.l.lossy);
}

/* The kernel's number wraps. */
static void test_wrap(void **state)
{
	struct path p = path_new();

	p.s.retransmitted = p.l.retransmitted = UINT32_MAX - 1;
	run_ms(&p, 1000);
	lose(&p, 3);
	assert_true(p.l.lossy);
	assert_int_equal(p.l.retransmitted, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lossy),
	    cmocka_unit_test(test_clean),
	    cmocka_unit_test(test_start),
	    cmocka_unit_test(test_wrap),
	};

	return cmocka_run_group_tests_name("losses", tests, NULL, NULL);
}
