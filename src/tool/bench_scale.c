/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Scale: the same traffic spread over more and more clients or flows, to see what a packet costs
 * when there is more to remember. Packets come at a constant total rate and in bursts of one flow,
 * so that batches stay the same whatever else changes. All flows take turns in an order drawn at
 * random; each has sent one packet before anything is measured, so that all of them exist.
 */
#include "base/clock.h"
#include "tool/bench_run.h"

/* Bursts sent between two looks at what came in. */
#define BURSTS 16
/* Packets in flight while flows are made. */
#define PRIMING 16
/* How far back duplicates are told apart, a flow. */
#define REMEMBER 64

void bench_scale_ends(uint32_t clients, uint32_t flow, uint32_t *from, uint32_t *to)
{
	*from = flow % clients;
	*to = (*from + 1 + flow / clients) % clients;
}

static void send_burst(struct bench *b, uint32_t flow, int n)
{
	struct bench_stream *s = &b->traffic.stream[flow];

	for (int i = 0; i < n; i++)
		bench_put_due(b, &b->traffic, s);
	bench_client_flush(&b->client[s->from]);
}

static uint64_t pump(struct bench *b)
{
	double every_ns = 1e9 * b->opt.burst / b->opt.rate;

	/* What arrives frees nothing here. */
	while (bench_eager_next(b))
		;
	for (int i = 0; i < BURSTS; i++) {
		uint64_t at = b->start_ns + (uint64_t)((double)b->slot * every_ns);

		if (b->net.now_ns < at)
			return at;
		b->late_ns = MAX(b->late_ns, b->net.now_ns - at);
		send_burst(b, b->order[b->slot % b->traffic.n], b->opt.burst);
		b->slot++;
		b->net.now_ns = clock_ns();
	}
	return b->net.now_ns;
}

/* One packet of each flow, few at a time. */
static void prime(struct bench *b)
{
	b->phase = "making flows";
	for (uint32_t i = 0; i < b->traffic.n && !bench_over(b);) {
		if (b->traffic.outstanding < PRIMING)
			send_burst(b, b->order[i++], 1);
		else
			bench_turn(b, b->net.now_ns + 1000000);
	}
	bench_drain(b);
}

static bool run(struct bench *b)
{
	uint32_t n = (uint32_t)b->opt.clients, flows = (uint32_t)b->opt.flows;

	bench_make(b, n, flows, REMEMBER);
	b->order = must_calloc(flows, sizeof(*b->order));
	for (uint32_t i = 0; i < flows; i++) {
		uint32_t from, to, j = (uint32_t)(bench_random(&b->random) % (i + 1));

		bench_scale_ends(n, i, &from, &to);
		bench_stream_init(&b->traffic, i, from, &b->client[from].keys.public, to,
		    &b->client[to].keys.public);
		b->order[i] = b->order[j];
		b->order[j] = i;
	}
	if (!bench_connect(b, 0, n))
		return false;
	prime(b);
	return bench_measure(b);
}

const struct bench_load bench_scale = {.run = run, .pump = pump};
