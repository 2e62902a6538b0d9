/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bulk: client 2i sends to client 2i+1 (with -both also the other way), and keeps a window of
 * packets in flight: what arrives, or is given up, makes room for as many. The freed places of one
 * turn of the loop go out in one send. With -rate, packets are also held back until they are due;
 * pairs take turns, so that they don't all send at once.
 */
#include <string.h>

#include "tool/bench_run.h"

/* Paced: never wakes more often than that. */
#define TICK_MIN_NS 50000.0

/* With -cross: so many more clients than needed, so that enough of them are where they should be.
 */
#define SPARE_FACTOR 2
#define SPARE_MORE 32
/* With -to: until the nodes know of each other's clients. */
#define PRESENCE_NS 1000000000u

static struct bench_stream *stream_of(struct bench *b, const struct bench_client *c)
{
	uint32_t id = b->sends_in[c->index];

	return id != UINT32_MAX ? &b->traffic.stream[id] : NULL;
}

static bool any_worker(const struct bench_options *o)
{
	return strcmp(o->cross, "any") == 0;
}

uint32_t bench_bulk_clients(const struct bench_options *o)
{
	uint32_t n = 2 * (uint32_t)o->pairs;

	return any_worker(o) ? n : SPARE_FACTOR * n + SPARE_MORE;
}

/* A sender's place in the turns of all: how far it is ahead of client 0, in packets. */
static double ahead(const struct bench *b, const struct bench_client *c)
{
	return (double)c->index / (double)b->n_clients;
}

/* How many packets of a stream are due by now. */
static uint64_t due(const struct bench *b, const struct bench_client *c)
{
	if (b->opt.rate <= 0)
		return UINT64_MAX;
	return (uint64_t)((double)(b->net.now_ns - b->start_ns) * 1e-9 * b->opt.rate + ahead(b, c));
}

/* The time to stamp a stream's next packet with. One that was due while the server made us wait
 * counts from then, so that it doesn't look fast for that; what we are late ourselves does not. */
static uint64_t stamp(struct bench *b, const struct bench_client *c, const struct bench_stream *s)
{
	uint64_t now = b->net.now_ns, at;

	if (b->opt.rate <= 0)
		return now;
	at = b->start_ns + (uint64_t)(((double)(s->sent + 1) - ahead(b, c)) / b->opt.rate * 1e9);
	if (now > at)
		b->late_ns = MAX(b->late_ns, now - at);
	return c->held ? MIN(now, at) : now;
}

static void send_window(struct bench *b, struct bench_client *c)
{
	struct bench_stream *s = stream_of(b, c);
	uint64_t may;

	if (!s || c->state != BENCH_CLIENT_READY)
		return;
	may = due(b, c);
	while (s->outstanding < (uint64_t)b->opt.window && s->sent < may) {
		uint8_t *p = bench_client_reserve(c, bench_frame_len(&b->traffic));

		if (!p)
			break;
		bench_stream_put(&b->traffic, s, stamp(b, c, s), p);
		bench_client_commit(c, bench_frame_len(&b->traffic));
	}
	c->held = s->sent < may;
	bench_client_flush(c);
}

uint64_t bench_bulk_pump(struct bench *b)
{
	struct bench_client *c;
	double tick;

	if (b->opt.rate <= 0) {
		while ((c = bench_eager_next(b)))
			send_window(b, c);
		return BENCH_NEVER;
	}
	while (bench_eager_next(b))
		;
	for (uint32_t i = 0; i < b->n_clients; i++)
		send_window(b, &b->client[i]);
	tick = 1e9 / b->opt.rate / b->opt.pairs;
	return b->net.now_ns + (uint64_t)MAX(tick, TICK_MIN_NS);
}

void bench_bulk_arrived(struct bench *b, struct bench_stream *s)
{
	bench_eager(b, &b->client[s->from]);
}

/* Pairs of clients on two workers, or on one. */
static bool choose_pairs(struct bench *b)
{
	int *worker = must_calloc(b->n_clients, sizeof(*worker));
	bool apart = strcmp(b->opt.cross, "yes") == 0, ok = bench_workers(b, worker);
	bool turned;
	uint32_t n = 0;

	for (uint32_t i = 0; ok && i < b->n_clients && n < 2 * (uint32_t)b->opt.pairs; i++) {
		for (uint32_t j = i + 1; worker[i] >= 0 && j < b->n_clients; j++) {
			if (worker[j] < 0 || (worker[j] != worker[i]) != apart)
				continue;
			/* Each worker has as many senders as receivers. */
			turned = apart && n / 2 % 2 && worker[i] < worker[j];
			b->pair[n++] = turned ? j : i;
			b->pair[n++] = turned ? i : j;
			worker[i] = worker[j] = -1;
		}
	}
	free(worker);
	if (ok && n < 2 * (uint32_t)b->opt.pairs)
		bench_fail(b, "-cross %s: there are only %u such pairs among %u clients",
		    b->opt.cross, n / 2, b->n_clients);
	return !bench_over(b);
}

void bench_bulk_streams(struct bench *b)
{
	uint32_t pairs = (uint32_t)b->opt.pairs;

	for (uint32_t id = 0; id < b->traffic.n; id++) {
		uint32_t k = 2 * (id % pairs) + id / pairs;
		uint32_t from = b->pair[k], to = b->pair[k ^ 1];

		b->sends_in[from] = id;
		bench_stream_init(&b->traffic, id, from, &b->client[from].keys.public, to,
		    &b->client[to].keys.public);
	}
}

void bench_bulk_make(struct bench *b, uint32_t clients)
{
	uint32_t pairs = (uint32_t)b->opt.pairs;

	bench_make(b, clients, b->opt.both ? 2 * pairs : pairs, 2 * BENCH_WINDOW_MAX);
	b->pair = must_calloc(2 * pairs, sizeof(*b->pair));
	b->sends_in = must_calloc(clients, sizeof(*b->sends_in));
	for (uint32_t k = 0; k < 2 * pairs; k++)
		b->pair[k] = k;
	for (uint32_t i = 0; i < clients; i++)
		b->sends_in[i] = UINT32_MAX;
}

static bool run(struct bench *b)
{
	uint32_t pairs = (uint32_t)b->opt.pairs;

	bench_bulk_make(b, bench_bulk_clients(&b->opt));
	for (uint32_t k = 1; *b->opt.to && k < 2 * pairs; k += 2)
		b->client[k].other = true;
	if (!bench_connect(b, 0, b->n_clients) || (!any_worker(&b->opt) && !choose_pairs(b)))
		return false;
	bench_bulk_streams(b);
	if (*b->opt.to)
		bench_until(b, b->net.now_ns + PRESENCE_NS, false);
	return bench_measure(b);
}

const struct bench_load bench_bulk = {
    .run = run, .pump = bench_bulk_pump, .arrived = bench_bulk_arrived};
