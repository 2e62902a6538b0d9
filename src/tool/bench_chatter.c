/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chatter: every client sends at a fixed rate, one packet a time to one of its partners by chance,
 * whether or not earlier ones have arrived. The clients' phases are drawn at random, so packets
 * come at the server as from independent nodes; as the period is the same for all, the order of
 * clients by phase is the schedule, and finding who is next costs nothing.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "tool/bench_run.h"

/* Packets sent between two looks at what came in. */
#define BURST 32
/* How far back duplicates are told apart, a stream. */
#define REMEMBER 64

static uint64_t period_ns(const struct bench *b)
{
	return (uint64_t)(1e9 / b->opt.rate);
}

static void send_one(struct bench *b, struct bench_client *c)
{
	uint32_t partners = (uint32_t)b->opt.partners;
	uint32_t id = c->index * partners + (uint32_t)(bench_random(&b->random) % partners);

	bench_put_due(b, &b->traffic, &b->traffic.stream[id]);
	bench_client_flush(c);
}

static uint64_t pump(struct bench *b)
{
	/* What arrives frees nothing here. */
	while (bench_eager_next(b))
		;
	for (int i = 0; i < BURST; i++) {
		uint32_t who = b->order[b->slot % b->n_clients];
		uint64_t at =
		    b->start_ns + b->slot / b->n_clients * period_ns(b) + b->phase_ns[who];

		if (b->net.now_ns < at)
			return at;
		b->late_ns = MAX(b->late_ns, b->net.now_ns - at);
		send_one(b, &b->client[who]);
		b->slot++;
		b->net.now_ns = clock_ns();
	}
	return b->net.now_ns;
}

static int by_phase(const void *a, const void *b, void *arg)
{
	const uint64_t *phase = arg;
	uint64_t x = phase[*(const uint32_t *)a], y = phase[*(const uint32_t *)b];

	return x < y ? -1 : x > y;
}

/* A client's partners are as many others, taken at even steps from a random start. */
static void choose_partners(struct bench *b, uint32_t from)
{
	uint32_t partners = (uint32_t)b->opt.partners, others = b->n_clients - 1;
	uint32_t start = (uint32_t)(bench_random(&b->random) % others), step = others / partners;

	for (uint32_t i = 0; i < partners; i++) {
		uint32_t to = (from + 1 + (start + i * step) % others) % b->n_clients;

		bench_stream_init(&b->traffic, from * partners + i, from,
		    &b->client[from].keys.public, to, &b->client[to].keys.public);
	}
}

static bool run(struct bench *b)
{
	uint32_t n = (uint32_t)b->opt.clients;

	bench_make(b, n, n * (uint32_t)b->opt.partners, REMEMBER);
	b->phase_ns = must_calloc(n, sizeof(*b->phase_ns));
	b->order = must_calloc(n, sizeof(*b->order));
	for (uint32_t i = 0; i < n; i++) {
		b->phase_ns[i] = bench_random(&b->random) % period_ns(b);
		b->order[i] = i;
		choose_partners(b, i);
	}
	qsort_r(b->order, n, sizeof(*b->order), by_phase, b->phase_ns);
	return bench_connect(b, 0, n) && bench_measure(b);
}

const struct bench_load bench_chatter = {.run = run, .pump = pump};
