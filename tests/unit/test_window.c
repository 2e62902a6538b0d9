/* SPDX-License-Identifier: BSD-3-Clause */
/* The window on paths that are computed: a bottleneck with a buffer, a sender that is greedy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/check.h"
#include "relay/window.h"

/* A bottleneck of that rate, in steps of a millisecond. What is in flight lies on the wire for
 * base_us and, beyond that, in its buffer, of 200 ms. The sender doubles what is in flight each
 * round trip, up to its own limit and the window. */
#define BUFFER_US 200000
struct line {
	struct window w;
	uint64_t now_us;
	double rate;      /* bytes/s */
	double base_us;   /* without load */
	double others_us; /* what others have in the buffer, in time */
	double in_flight, delivered, own_limit;
	double rtt_us;   /* as TCP smooths it */
	double least_us; /* when it began */
	bool idle;
};

static struct line line_new(double mbit, double base_ms)
{
	return (struct line){
	    .now_us = 1000000,
	    .rate = mbit * 1e6 / 8,
	    .base_us = base_ms * 1000,
	    .least_us = base_ms * 1000,
	    .in_flight = 14480,
	    .own_limit = 1e12,
	};
}

static double pipe_bytes(const struct line *l)
{
	return l->rate * l->base_us / 1e6;
}

static double now_rtt(const struct line *l)
{
	return MAX(l->base_us, l->in_flight / l->rate * 1e6) + l->others_us;
}

/* The window is at least so long. */
static double least_bytes_us(const struct line *l)
{
	return 6144 / l->rate * 1e6;
}

static void step_ms(struct line *l)
{
	double rtt = now_rtt(l), limit;
	/* Acknowledgements come back at the rate of the path, or as fast as was sent. */
	double rate = MIN(l->in_flight / rtt * 1e6, l->rate);

	l->now_us += 1000;
	l->delivered += rate / 1000;
	l->rtt_us = l->rtt_us > 0 ? l->rtt_us + (rtt - l->rtt_us) / 16 : rtt;
	limit = l->w.bytes == 0 ? 1e12 : (double)l->w.bytes;
	l->in_flight *= 1 + 0.69 * 1000 / rtt;
	l->in_flight = MIN(l->in_flight, MIN(limit, l->own_limit));
	l->in_flight = MIN(l->in_flight, l->rate * (l->base_us + BUFFER_US) / 1e6);
}

static void sample(struct line *l)
{
	window_sample(&l->w, &(struct window_sample){
				 .now_us = l->now_us,
				 .delivered = (uint64_t)l->delivered,
				 .rtt_us = (uint32_t)l->rtt_us,
				 .least_us = (uint32_t)l->least_us,
				 .jitter_us = 500,
				 .busy = !l->idle,
			     });
}

static void run_ms(struct line *l, int ms)
{
	for (int i = 0; i < ms; i++) {
		step_ms(l);
		if (i % 10 == 9)
			sample(l);
	}
}

static const struct {
	double mbit, base_ms;
} paths[] = {{1, 20}, {20, 50}, {50, 20}, {50, 150}, {200, 80}, {1000, 10}, {5, 300}};

/* It finds the path, fills it, and no more: the buffer holds about the margin. */
static void test_fills(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct line l = line_new(paths[i].mbit, paths[i].base_ms);
		double before, seconds;

		run_ms(&l, 5000);
		assert_true(l.w.held && l.w.full);
		before = l.delivered;
		run_ms(&l, 5000);
		assert_true(l.w.held);
		seconds = 5;
		assert_true((l.delivered - before) / seconds > 0.97 * l.rate);
		assert_true(now_rtt(&l) <= l.base_us + 1.3 * l.w.margin_us + least_bytes_us(&l));
		assert_in_range(
		    window_rate(&l.w), (uint64_t)(0.97 * l.rate), (uint64_t)(1.05 * l.rate));
	}
}

/* Packets may be dropped early once the path is full, but not while its buffer is being emptied. */
static void test_may_drop(void **state)
{
	struct line l = line_new(20, 50);
	int draining = 0;

	assert_false(window_may_drop(&l.w));
	while (!l.w.full) {
		run_ms(&l, 10);
		assert_int_equal(window_may_drop(&l.w), l.w.full);
	}
	for (int i = 0; i < 2000; i++) {
		run_ms(&l, 10);
		/* The pipe, or less than that. */
		assert_int_equal(
		    window_may_drop(&l.w), l.w.bytes >= window_rate(&l.w) * l.w.base_us / 1000000);
		draining += !window_may_drop(&l.w);
	}
	assert_in_range(draining, 10, 200);
}

/* Its start never lets more in flight than twice what the path holds, once that is 100 ms of it. */
static void test_start(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct line l = line_new(paths[i].mbit, paths[i].base_ms);
		double most = 0;

		for (int t = 0; t < 500; t++) {
			run_ms(&l, 10);
			most = MAX(most, l.in_flight);
		}
		assert_true(most <= 2 * pipe_bytes(&l) + 0.1 * l.rate + 14480);
	}
}

/* The path becomes slower, faster, longer: it follows. */
static void test_changes(void **state)
{
	static const struct {
		double rate, base;
	} change[] = {{0.25, 1}, {4, 1}, {1, 2}, {1, 0.5}, {0.5, 1.6}, {1, 1.15}};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		for (size_t k = 0; k < ARRAY_LEN(change); k++) {
			struct line l = line_new(paths[i].mbit, paths[i].base_ms);
			double before;

			run_ms(&l, 5000);
			l.rate *= change[k].rate;
			l.base_us *= change[k].base;
			run_ms(&l, 15000);
			before = l.delivered;
			run_ms(&l, 5000);
			assert_true((l.delivered - before) / 5 > 0.85 * l.rate);
			assert_true(now_rtt(&l) <= 1.6 * l.base_us + 3 * l.w.margin_us + 10000 +
						       least_bytes_us(&l));
		}
	}
}

/* Others fill the buffer: it does not give way to them for good, but competes. */
static void test_others(void **state)
{
	struct line l = line_new(20, 50);
	double before;

	run_ms(&l, 5000);
	assert_true(l.w.held);
	l.others_us = 60000;
	for (int i = 0; i < 6; i++) {
		before = l.delivered;
		run_ms(&l, 10000);
		assert_true((l.delivered - before) / 10 > 0.5 * l.rate);
	}
	/* What is left to it is its own part of the way: it has as much in flight as that takes. */
	assert_true(l.in_flight > 0.9 * pipe_bytes(&l));
}

/* Another TCP on the same path, and a buffer of one bandwidth-delay product: both grow by a segment
 * each round trip, and lose three tenths when the buffer is full. We get our part. */
static void test_rival(void **state)
{
	struct line l = line_new(20, 50);
	double ours = 14480, theirs = 14480, both = 2 * pipe_bytes(&l), before = 0;

	for (int ms = 0; ms < 300000; ms++) {
		double mine = MIN(ours, l.w.bytes ? (double)l.w.bytes : 1e12);
		double rtt = MAX(l.base_us, (mine + theirs) / l.rate * 1e6);

		l.now_us += 1000;
		l.delivered += mine / rtt * 1000;
		l.rtt_us = l.rtt_us > 0 ? l.rtt_us + (rtt - l.rtt_us) / 16 : rtt;
		if (mine >= ours)
			ours += 1448 * 1000 / rtt;
		theirs += 1448 * 1000 / rtt;
		if (mine + theirs > both) {
			ours *= 0.7;
			theirs *= 0.7;
		}
		if (ms % 10 == 9)
			sample(&l);
		if (ms == 60000)
			before = l.delivered;
	}
	assert_true((l.delivered - before) / 240 > 0.35 * l.rate);
}

/* Who sends little is not limited, and what it sends says nothing of the path. */
static void test_little(void **state)
{
	struct line l = line_new(50, 40);

	l.own_limit = 0.3 * pipe_bytes(&l);
	l.idle = true;
	run_ms(&l, 20000);
	assert_false(l.w.held);
	assert_true(l.w.bytes == UINT64_MAX);
	assert_int_equal(window_rate(&l.w), 0);
	/* With more to send it gets all there is, from there. */
	l.own_limit = 1e12;
	l.idle = false;
	run_ms(&l, 5000);
	assert_true(l.w.held);
	assert_in_range(window_rate(&l.w), (uint64_t)(0.97 * l.rate), (uint64_t)(1.05 * l.rate));
}

/* All that was sent has arrived, and nothing is sent for a while; what TCP knows is from before. */
static void silence(struct line *l, int ms)
{
	l->delivered += l->in_flight;
	l->in_flight = 14480;
	l->now_us += (uint64_t)ms * 1000;
}

/* Bursts with silence between them, which end before TCP has filled the path: that it can take more
 * is not forgotten. */
static void test_bursts(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct line l = line_new(paths[i].mbit, paths[i].base_ms);
		uint32_t base;

		run_ms(&l, 5000);
		base = l.w.base_us;
		/* Next to nothing in between: the round-trip time remains that of the full path. */
		l.idle = true;
		for (int k = 0; k < 10; k++) {
			silence(&l, 3000);
			sample(&l);
		}
		assert_in_range(
		    window_rate(&l.w), (uint64_t)(0.97 * l.rate), (uint64_t)(1.05 * l.rate));
		assert_int_equal(l.w.base_us, base);
		for (int k = 0; k < 40; k++) {
			silence(&l, 3000);
			l.idle = true;
			run_ms(&l, 10);
			l.idle = false;
			run_ms(&l, 2 * (int)paths[i].base_ms);
			l.idle = true;
			run_ms(&l, 10);
		}
		assert_in_range(
		    window_rate(&l.w), (uint64_t)(0.97 * l.rate), (uint64_t)(1.05 * l.rate));
		assert_true((double)l.w.bytes >= 0.97 * pipe_bytes(&l));
		assert_true(l.w.base_us <= 1.3 * l.base_us + least_bytes_us(&l));
	}
}

/* A path that takes less without a buffer that fills, as behind a policer: it is not held, but what
 * it takes is known in the end. */
static void test_policed(void **state)
{
	struct window w = {0};
	struct window_sample s = {.rtt_us = 40000, .least_us = 40000, .busy = true};

	for (int i = 1; i <= 600; i++) {
		s.now_us = (uint64_t)i * 10000;
		s.delivered += i < 50 ? 125000 : 1250;
		window_sample(&w, &s);
		if (i == 150)
			assert_in_range(window_rate(&w), 12400000, 12600000);
	}
	assert_false(w.held);
	assert_in_range(window_rate(&w), 124000, 126000);
}

/* A path of 50 ms on which TCP sent 500 KB/s so far, and the sample that said so last. */
static struct window_sample half_megabyte(struct window *w)
{
	struct window_sample s = {.rtt_us = 50000, .least_us = 50000, .busy = true};

	for (int i = 1; i <= 10; i++) {
		s.now_us = (uint64_t)i * 10000;
		s.delivered = (uint64_t)i * 5000;
		window_sample(w, &s);
	}
	return s;
}

/* A round-trip time from before a silence does not tell that the path is full: what was sent until
 * then may have been little. */
static void test_stale(void **state)
{
	struct window w = {0};
	struct window_sample s = half_megabyte(&w);

	assert_in_range(window_rate(&w), 490000, 510000);
	/* What came back last had waited. */
	s.rtt_us = 70000;
	s.now_us += 3000000;
	s.busy = false;
	window_sample(&w, &s);
	s.busy = true;
	for (int i = 0; i < 13; i++) {
		s.now_us += 10000;
		s.delivered += 2500;
		window_sample(&w, &s);
		assert_false(w.held);
	}
	assert_in_range(window_rate(&w), 490000, 510000);
	/* Now it is one of now. */
	for (int i = 0; i < 2; i++) {
		s.now_us += 10000;
		s.delivered += 2500;
		window_sample(&w, &s);
	}
	assert_true(w.held);
	/* Little at a time, but what others fill tells the rate as well. */
	s.busy = false;
	for (int i = 0; i < 70; i++) {
		s.now_us += 10000;
		s.delivered += 2500;
		window_sample(&w, &s);
	}
	assert_in_range(window_rate(&w), 240000, 260000);
}

/* However long it was, it is not for longer that it does not count. */
static void test_stale_long(void **state)
{
	struct window w = {0};
	struct window_sample s = half_megabyte(&w);

	s.rtt_us = 2000000;
	s.now_us += 3000000;
	s.busy = false;
	window_sample(&w, &s);
	s.busy = true;
	s.rtt_us = 70000;
	for (int i = 0; i < 35; i++) {
		s.now_us += 10000;
		s.delivered += 2500;
		window_sample(&w, &s);
	}
	assert_true(w.held);
}

/* The kernel's least time counts when the first sample comes with the path full already. */
static void test_late(void **state)
{
	struct window w = {0};
	struct window_sample s = {.rtt_us = 100000, .least_us = 50000, .busy = true};

	for (int i = 1; i < 30; i++) {
		s.now_us = (uint64_t)i * 10000;
		s.delivered = (uint64_t)i * 25000;
		window_sample(&w, &s);
	}
	assert_true(w.held);
	assert_int_equal(w.base_us, 50000);
	assert_in_range(w.bytes, 2500000ull * 50 / 1000, 2500000ull * 60 / 1000);
}

/* Jitter widens the margin, within bounds. */
static void test_jitter(void **state)
{
	static const struct {
		uint32_t base, jitter, margin;
	} c[] = {{10000, 100, 5000}, {80000, 100, 10000}, {80000, 10000, 30000},
	    {80000, 200000, 100000}, {2000000, 0, 100000}};

	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		struct window w = {0};

		window_sample(
		    &w, &(struct window_sample){
			    .now_us = 1000, .rtt_us = c[i].base, .jitter_us = c[i].jitter});
		assert_int_equal(w.margin_us, c[i].margin);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fills),
	    cmocka_unit_test(test_may_drop),
	    cmocka_unit_test(test_start),
	    cmocka_unit_test(test_changes),
	    cmocka_unit_test(test_others),
	    cmocka_unit_test(test_rival),
	    cmocka_unit_test(test_little),
	    cmocka_unit_test(test_bursts),
	    cmocka_unit_test(test_policed),
	    cmocka_unit_test(test_stale),
	    cmocka_unit_test(test_stale_long),
	    cmocka_unit_test(test_late),
	    cmocka_unit_test(test_jitter),
	};

	return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
