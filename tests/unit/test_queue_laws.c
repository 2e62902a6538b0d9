/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the queue is for, with senders that react to it: short waits, equal shares, a link that is
 * never idle. That the link always has something to do, that nothing overtakes or is too old, and
 * that no packet is missing, the simulator itself looks after in each of these tests.
 */
#include "queue_sim.h"

#define MS 1000u
#define SECOND 1000000u
#define MBIT 1000000ull
#define TARGET_MS 5
#define INTERVAL_MS 100

/* µs that a packet of the common length takes on the link. */
static uint32_t packet_us(const struct sim *s)
{
	return (uint32_t)(SIM_LEN * 1000000ull / s->rate);
}

static void add_tcp(struct sim *s, uint32_t n, uint32_t rtt_us)
{
	while (n--)
		sim_add(s, SIM_LEN, rtt_us, 0, sim_draw(s) % (2ull * rtt_us));
}

/* Runs so long twice, and measures the second time. */
static void settle(struct sim *s, uint64_t us)
{
	sim_run(s, s->now_us + us);
	sim_measure(s);
	sim_run(s, s->now_us + us);
}

static void cell(uint64_t rate, uint32_t rtt_us, uint32_t n)
{
	struct sim *s = sim_new(rate, TARGET_MS, MAX(INTERVAL_MS, rtt_us / MS));
	double window = (double)rate / 8 * (rtt_us + TARGET_MS * MS) / 1e6 / SIM_LEN / n;

	add_tcp(s, n, rtt_us);
	/* One that has far to go needs the longer until it knows its share. */
	settle(s, MAX(8ull * SECOND, 100ull * rtt_us));
	assert_true(sim_use(s) <= 1.02);
	assert_true(sim_use(s) >= (rtt_us <= INTERVAL_MS * MS ? 0.93 : 0.88));
	/* A round of all lines must not take longer than packets may live. */
	if (n * packet_us(s) < s->limits.age_ms * MS)
		assert_true(sim_jain(s, n) >= 0.95);
	/* Short waits are to be had when a share is more than TCP's least window, and the link
	 * sends a packet of each in less than the target. */
	if (window >= 2 && n * packet_us(s) <= TARGET_MS * MS && rtt_us <= s->interval_ms * MS)
		for (uint32_t i = 0; i < n; i++)
			assert_true(sim_median(&s->flow[i]) <= 3 * TARGET_MS * MS);
	/* A drop now and then tells a sender, and few are lost while it looks for its share. */
	if (window >= 10)
		for (uint32_t i = 0; i < n; i++)
			assert_true(s->flow[i].dropped * 10 <= s->flow[i].popped);
	sim_free(s);
}

/* Every rate with every distance and number of senders. */
static void test_grid(void **state)
{
	static const uint64_t rate[] = {1 * MBIT, 10 * MBIT, 50 * MBIT};
	static const uint32_t rtt_ms[] = {1, 20, 60, 100, 300};
	static const uint32_t flows[] = {1, 4, 20, 100};

	for (size_t r = 0; r < ARRAY_LEN(rate); r++)
		for (size_t t = 0; t < ARRAY_LEN(rtt_ms); t++)
			for (size_t n = 0; n < ARRAY_LEN(flows); n++)
				cell(rate[r], rtt_ms[t] * MS, flows[n]);
}

/* Those near by and far away share with one that sends as it likes and never gives in. */
static void test_unresponsive(void **state)
{
	static const uint32_t rtt_ms[] = {5, 20, 50, 100};
	/* Packets of three quarters, and of twice the link's rate. */
	static const uint32_t every_us[] = {1500, 570};

	for (size_t k = 0; k < ARRAY_LEN(every_us); k++) {
		struct sim *s = sim_new(10 * MBIT, TARGET_MS, INTERVAL_MS);
		double share = 10e6 / 8 * 15 / 5;

		for (size_t i = 0; i < ARRAY_LEN(rtt_ms); i++)
			add_tcp(s, 1, rtt_ms[i] * MS);
		sim_add(s, SIM_LEN, 20 * MS, every_us[k], 0);
		settle(s, 15ull * SECOND);
		assert_true(sim_use(s) >= 0.98);
		assert_true((double)s->flow[4].bytes <= 1.1 * share);
		assert_true(s->flow[4].dropped > 1000);
		for (uint32_t i = 0; i < 4; i++) {
			assert_true((double)s->flow[i].bytes >= 0.85 * share);
			/* Nor do they wait for it. */
			assert_true(sim_median(&s->flow[i]) <= 6 * TARGET_MS * MS);
		}
		sim_free(s);
	}
}

/* Small packets get as many bytes as large ones, though none of the senders gives in. */
static void test_sizes(void **state)
{
	static const uint32_t len[] = {100, 500, SIM_LEN, 9000, 60000};
	struct sim *s = sim_new(20 * MBIT, TARGET_MS, INTERVAL_MS);

	s->socket = 64 << 10;
	/* Each sends half as much as the link can take. */
	for (size_t i = 0; i < ARRAY_LEN(len); i++)
		sim_add(s, len[i], 20 * MS, (uint32_t)(len[i] * 8 / 10), 0);
	settle(s, 5ull * SECOND);
	assert_true(sim_jain(s, s->n) >= 0.99);
	sim_free(s);
}

/* One that sends little is ahead of any number of those who send all they can. */
static void test_sparse(void **state)
{
	static const uint32_t flows[] = {1, 10, 50};

	for (size_t k = 0; k < 2 * ARRAY_LEN(flows); k++) {
		struct sim *s = sim_new(10 * MBIT, TARGET_MS, INTERVAL_MS);
		uint32_t n = flows[k / 2];
		/* A round of all the others, which is 60 ms for fifty. */
		uint64_t allowed = (uint64_t)n * QUEUE_QUANTUM * SECOND / s->rate;

		sim_add(s, SIM_LEN - 100, 20 * MS, 200 * MS, 0);
		if (k % 2)
			add_tcp(s, n, 20 * MS);
		else
			for (uint32_t i = 0; i < n; i++)
				sim_add(s, SIM_LEN, 20 * MS, 500, i * 10);
		settle(s, 10ull * SECOND);
		assert_in_range(s->flow[0].waits_n, 45, 55);
		assert_int_equal(s->flow[0].dropped, 0);
		assert_true(s->flow[0].wait_max_us <= allowed + s->socket * SECOND / s->rate);
		/* It is much less: only a few others are new at the same time. */
		assert_true(s->flow[0].wait_max_us <= 6 * packet_us(s));
		assert_true(sim_median(&s->flow[0]) <= packet_us(s));
		assert_true(sim_use(s) >= 0.95);
		sim_free(s);
	}
}

/* Sends n packets at once on a link of 10 Mbit/s; how many of them are lost. */
static uint32_t burst(uint32_t n, uint32_t age_ms)
{
	struct sim *s = sim_new(10 * MBIT, TARGET_MS, INTERVAL_MS);
	struct sim_flow *f = sim_add(s, SIM_LEN, 80 * MS, 0, 10 * MS);
	uint32_t dropped;

	s->limits.age_ms = age_ms;
	f->cwnd = n;
	sim_run(s, 11 * MS);
	assert_int_equal(f->seq, n);
	/* It has no more to say. */
	f->cwnd = f->ssthresh = 0;
	f->next_us = SIM_NEVER - 1;
	sim_run(s, SECOND);
	assert_null(s->q);
	assert_int_equal(f->popped + f->dropped, n);
	dropped = f->dropped;
	sim_free(s);
	return dropped;
}

/* What drains within an interval passes whole; what takes longer is told so, but gently. */
static void test_burst(void **state)
{
	assert_int_equal(burst(80 * MS / 1146, 250), 0);
	assert_int_equal(burst(95 * MS / 1146, 250), 0);
	assert_in_range(burst(200 * MS / 1146, 250), 1, 5);
	/* What is too old goes all at once: here 98 packets are in time, those in the socket too.
	 */
	assert_in_range(burst(350, 100), 350 - 98 - 3, 350 - 98 + 3);
}

/* The link stands still each second: what waited too long goes, and then it goes on as before. */
static void test_stalls(void **state)
{
	static const uint32_t stall_ms[] = {50, 200, 400, 600};

	for (size_t k = 0; k < ARRAY_LEN(stall_ms); k++) {
		struct sim *s = sim_new(20 * MBIT, TARGET_MS, INTERVAL_MS);

		s->stall_us = stall_ms[k] * MS;
		s->stall_every_us = SECOND;
		add_tcp(s, 4, 20 * MS);
		settle(s, 10ull * SECOND);
		assert_true(sim_use(s) >= 0.93);
		assert_true(sim_jain(s, 4) >= 0.95);
		for (uint32_t i = 0; i < 4; i++) {
			assert_true(sim_median(&s->flow[i]) <= 3 * TARGET_MS * MS);
			/* About a window's worth each time, no more. */
			assert_true(s->flow[i].dropped * 10 <= s->flow[i].popped);
		}
		sim_free(s);
	}
}

/* The link becomes ten times slower, and later as fast as it was. */
static void test_steps(void **state)
{
	struct sim *s = sim_new(50 * MBIT, TARGET_MS, INTERVAL_MS);

	add_tcp(s, 4, 30 * MS);
	settle(s, 5ull * SECOND);
	for (int k = 0; k < 4; k++) {
		s->rate = (k % 2 ? 50 : 10) * MBIT / 8;
		settle(s, 5ull * SECOND);
		assert_true(sim_use(s) >= 0.95);
		assert_true(sim_jain(s, 4) >= 0.95);
		for (uint32_t i = 0; i < 4; i++)
			assert_true(sim_median(&s->flow[i]) <= 3 * TARGET_MS * MS);
	}
	sim_free(s);
}

/* As derper does it: first come, first served, 32 at a time. No law but these holds. */
static void test_fifo(void **state)
{
	struct sim *s = sim_new(10 * MBIT, TARGET_MS, INTERVAL_MS);

	s->limits.fair = false;
	s->limits.packets = 32;
	add_tcp(s, 4, 60 * MS);
	sim_add(s, SIM_LEN, 20 * MS, 570, 0);
	settle(s, 5ull * SECOND);
	assert_true(sim_use(s) >= 0.98);
	/* The loudest has most of it, which is why there is something else. */
	assert_true((double)s->flow[4].bytes >= 0.5 * 10e6 / 8 * 5);
	for (uint32_t i = 0; i < s->n; i++)
		assert_true(s->flow[i].wait_max_us <= 33 * packet_us(s));
	sim_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_grid),
	    cmocka_unit_test(test_unresponsive),
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_sparse),
	    cmocka_unit_test(test_burst),
	    cmocka_unit_test(test_stalls),
	    cmocka_unit_test(test_steps),
	    cmocka_unit_test(test_fifo),
	};

	return cmocka_run_group_tests_name("queue_laws", tests, NULL, NULL);
}
