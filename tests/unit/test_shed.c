/* SPDX-License-Identifier: BSD-3-Clause */
/* When a client's packets are shed, on lines that are computed: a sender that grows until it loses
 * something, a line with a buffer, and others on it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/check.h"
#include "relay/shed.h"

#define FLOWS_MAX 8

/* A line of that rate, in steps of a millisecond. The sender's flows have `window` bytes under way,
 * each one segment more each round trip, and one of them 0.7 of its part a round trip after
 * something was shed; to whom they send to it may be farther than to us. */
struct line {
	struct shed shed;
	uint64_t now_us;
	double rate;      /* bytes/s */
	double base_us;   /* without load */
	double peer_us;   /* from us to whom they send to, and back */
	double others_us; /* what others have in the buffer, in time */
	double ours_us;   /* what the relay has in the buffer the other way, and says so */
	double jitter_us; /* the round-trip time swings by so much, twice a second */
	double window, most, received, heard;
	double growth; /* of each flow, in segments a round trip */
	int flows, next_flow;
	double slow_us[FLOWS_MAX]; /* the flow hears of what was shed, 0: nothing was */
	bool deaf;                 /* sheds change nothing */
	bool none_large;           /* nothing that may be shed comes */
	double rtt_us;             /* as TCP smooths it */
	int shed_packets;
};

static struct line line_new(double mbit, double base_ms)
{
	return (struct line){
	    .now_us = 1000000,
	    .rate = mbit * 1e6 / 8,
	    .base_us = base_ms * 1000,
	    .rtt_us = base_ms * 1000,
	    .window = 2 * mbit * base_ms / 8 * 1000,
	    .most = 1e12,
	    .growth = 1,
	    .flows = 1,
	};
}

static double now_rtt(const struct line *l)
{
	return MAX(l->base_us, l->window / l->rate * 1e6) + l->others_us + l->ours_us;
}

static void step_ms(struct line *l)
{
	double rtt = now_rtt(l);

	l->now_us += 1000;
	l->received += l->window / rtt * 1000;
	l->heard += l->window / rtt * 1000 / 2800;
	l->rtt_us += (rtt - l->rtt_us) / 16;
	l->window =
	    MIN(l->window + l->flows * l->growth * 1400 * 1000 / (rtt + l->peer_us), l->most);
	for (int i = 0; i < l->flows; i++) {
		if (l->slow_us[i] > 0 && (double)l->now_us >= l->slow_us[i]) {
			l->window *= 1 - 0.3 / l->flows;
			l->slow_us[i] = 0;
		}
	}
}

static void sample(struct line *l)
{
	double swing = l->now_us / 1000 % 500 < 250 ? l->jitter_us : 0;

	if (!shed_sample(&l->shed,
		&(struct shed_sample){
		    .now_us = l->now_us,
		    .received = (uint64_t)l->received,
		    .heard = (uint32_t)l->heard,
		    .rtt_us = (uint32_t)(l->rtt_us + swing),
		    .jitter_us = (uint32_t)(l->jitter_us / 2),
		    .least_us = (uint32_t)l->base_us,
		    .ours_us = (uint32_t)l->ours_us,
		}) ||
	    l->none_large)
		return;
	shed_dropped(&l->shed);
	l->shed_packets++;
	l->next_flow = (l->next_flow + 1) % l->flows;
	/* What a flow loses within one round trip is one loss. */
	if (!l->deaf && l->slow_us[l->next_flow] <= 0)
		l->slow_us[l->next_flow] = (double)l->now_us + now_rtt(l) + l->peer_us;
}

/* Returns how many packets were shed. */
static int run_ms(struct line *l, int ms)
{
	int before = l->shed_packets;

	for (int i = 0; i < ms; i++) {
		step_ms(l);
		if (i % 20 == 19)
			sample(l);
	}
	return l->shed_packets - before;
}

static const struct {
	double mbit, base_ms;
} lines[] = {{1, 20}, {5, 40}, {20, 50}, {50, 20}, {50, 150}, {10, 300}};

/* A full buffer empties, and the line stays busy. */
static void test_empties(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct line l = line_new(lines[i].mbit, lines[i].base_ms);
		double sum = 0, before;

		assert_true(run_ms(&l, 5000) > 0);
		before = l.received;
		for (int t = 0; t < 1000; t++) {
			run_ms(&l, 20);
			sum += now_rtt(&l) / 1000;
		}
		/* A slow line holds some packets at least. */
		assert_true(sum <= 1.3 * l.base_us + MAX(15000, 20000 / l.rate * 1e6));
		assert_true((l.received - before) / 20 > 0.85 * l.rate);
	}
}

/* The same with some flows, and where it is far to whom they send to. */
static void test_flows(void **state)
{
	struct line l = line_new(20, 50);

	l.flows = 4;
	run_ms(&l, 10000);
	assert_true(now_rtt(&l) < 1.7 * l.base_us);
	assert_true(l.shed.given_up <= 1);
	l = line_new(20, 30);
	l.peer_us = 250000;
	run_ms(&l, 20000);
	assert_true(now_rtt(&l) < 1.7 * l.base_us);
	assert_int_equal(l.shed.given_up, 0);
}

/* As long as nothing large comes nothing is dropped, and nothing is concluded. */
static void test_none_large(void **state)
{
	struct line l = line_new(20, 50);

	l.none_large = true;
	run_ms(&l, 20000);
	assert_int_equal(l.shed.given_up, 0);
	l.none_large = false;
	assert_true(run_ms(&l, 2000) > 0);
}

/* It is not shed more than is needed: some packets in ten thousand. */
static void test_sheds_little(void **state)
{
	struct line l = line_new(20, 50);

	run_ms(&l, 5000);
	assert_in_range(run_ms(&l, 60000), 3, 60);
}

/* As long as the buffer is nearly empty nothing is shed. */
static void test_leaves_alone(void **state)
{
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		struct line l = line_new(lines[i].mbit, lines[i].base_ms);

		l.window = l.most = l.rate * (l.base_us + 8000) / 1e6;
		assert_int_equal(run_ms(&l, 60000), 0);
	}
}

/* What the relay itself has in the buffers the other way is not the client's. */
static void test_ours(void **state)
{
	struct line l = line_new(20, 50);

	l.window = l.most = l.rate * (l.base_us + 8000) / 1e6;
	l.ours_us = 20000;
	assert_int_equal(run_ms(&l, 60000), 0);
	l.most = 1e12;
	assert_true(run_ms(&l, 5000) > 0);
}

/* A radio link: the round-trip time changes by itself. */
static void test_radio(void **state)
{
	struct line l = line_new(10, 40);

	l.window = l.most = l.rate * 0.045;
	l.jitter_us = 40000;
	assert_int_equal(run_ms(&l, 60000), 0);
}

/* A burst that is over within two round trips goes by. */
static void test_burst(void **state)
{
	struct line l = line_new(20, 50);

	l.window = l.most = l.rate * 0.04;
	run_ms(&l, 2000);
	l.others_us = 80000;
	assert_int_equal(run_ms(&l, 150), 0);
	l.others_us = 0;
	assert_int_equal(run_ms(&l, 2000), 0);
}

/* A buffer that empties by itself, as after a loss on the line: nothing has to be shed. */
static void test_slows_down(void **state)
{
	struct line l = line_new(20, 50);

	l.growth = 0;
	l.window = l.rate * 0.04;
	run_ms(&l, 2000);
	l.window = l.rate * 0.15;
	l.growth = -60;
	assert_int_equal(run_ms(&l, 350), 0);
	l.growth = 0;
	assert_int_equal(run_ms(&l, 5000), 0);
	assert_true(now_rtt(&l) < 1.1 * l.base_us);
}

/* A terminal on a line that others have filled. */
static void test_little(void **state)
{
	struct line l = line_new(20, 50);

	l.window = l.most = 1000;
	run_ms(&l, 2000);
	l.others_us = 200000;
	assert_int_equal(run_ms(&l, 60000), 0);
}

/* Where others fill the buffer, or the line has become longer, it is soon given up, and a queue of
 * one's own is noticed again. */
static void test_gives_up(void **state)
{
	struct line l = line_new(20, 50);

	l.window = l.most = l.rate * 0.05;
	l.deaf = true;
	run_ms(&l, 2000);
	l.others_us = 100000;
	assert_in_range(run_ms(&l, 5000), 1, 40);
	assert_int_equal(run_ms(&l, 60000), 0);
	l.others_us = 0;
	assert_int_equal(run_ms(&l, 5000), 0);
	l.deaf = false;
	l.most = 1e12;
	assert_true(run_ms(&l, 30000) > 0);
	assert_true(now_rtt(&l) < 1.5 * l.base_us);
}

/* Others take what the client leaves: it is not made to leave more. */
static void test_rival(void **state)
{
	struct line l = line_new(20, 50);

	l.window = l.rate * 0.03;
	l.others_us = 60000;
	assert_in_range(run_ms(&l, 10000), 1, 4);
	assert_in_range(run_ms(&l, 60000), 0, 12);
}

/* What did not help is tried less and less often, also when the round-trip time goes up and down.
 */
static void test_tries_seldom(void **state)
{
	struct line l = line_new(20, 50);
	int first, later = 0;

	l.window = l.most = l.rate * 0.05;
	l.deaf = true;
	for (int i = 0; i < 60; i++) {
		l.others_us = 100000;
		run_ms(&l, 4000);
		l.others_us = 0;
		run_ms(&l, 1000);
		if (i == 11)
			first = l.shed_packets;
	}
	later = l.shed_packets - first;
	assert_in_range(first, 4, 150);
	assert_true(later <= first);
}

/* After a silence it begins anew: what was before says nothing. */
static void test_silence(void **state)
{
	struct line l = line_new(20, 50);

	l.window = l.most = l.rate * 0.03;
	run_ms(&l, 2000);
	l.others_us = 100000;
	run_ms(&l, 100);
	for (int i = 0; i < 100; i++) {
		l.now_us += 1500000;
		sample(&l);
	}
	assert_int_equal(l.shed_packets, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_empties),
	    cmocka_unit_test(test_flows),
	    cmocka_unit_test(test_none_large),
	    cmocka_unit_test(test_sheds_little),
	    cmocka_unit_test(test_leaves_alone),
	    cmocka_unit_test(test_ours),
	    cmocka_unit_test(test_radio),
	    cmocka_unit_test(test_burst),
	    cmocka_unit_test(test_slows_down),
	    cmocka_unit_test(test_little),
	    cmocka_unit_test(test_gives_up),
	    cmocka_unit_test(test_rival),
	    cmocka_unit_test(test_tries_seldom),
	    cmocka_unit_test(test_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
