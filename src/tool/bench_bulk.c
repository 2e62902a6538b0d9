/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bulk: client 2i sends to client 2i+1 (with -both also the other way), and keeps a window of
 * packets in flight: what arrives, or is given up, makes room for as many. The freed places of one
 * turn of the loop go out in one send. With -rate, packets are also held back until they are due;
 * pairs take turns, so that they don't all send at once.
 */
#include "tool/bench_run.h"

/* Paced: never wakes more often than that. */
#define TICK_MIN_NS 50000.0

/* Streams 0..pairs-1 go forward, those behind them back. */
static struct bench_stream *stream_of(struct bench *b, const struct bench_client *c)
{
	uint32_t id = c->index / 2 + (c->index % 2) * (uint32_t)b->opt.pairs;

	return id < b->traffic.n ? &b->traffic.stream[id] : NULL;
}

/* How many packets of a stream are due by now. */
static uint64_t due(const struct bench *b, const struct bench_client *c)
{
	double turns;

	if (b->opt.rate <= 0)
		return UINT64_MAX;
	turns = (double)(b->net.now_ns - b->start_ns) * 1e-9 * b->opt.rate +
		(double)c->index / (double)b->n_clients;
	return (uint64_t)turns;
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
		bench_stream_put(&b->traffic, s, b->net.now_ns, p);
		bench_client_commit(c, bench_frame_len(&b->traffic));
	}
	bench_client_flush(c);
}

static uint64_t pump(struct bench *b)
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

static void arrived(struct bench *b, struct bench_stream *s)
{
	bench_eager(b, &b->client[s->from]);
}

static bool run(struct bench *b)
{
	uint32_t pairs = (uint32_t)b->opt.pairs;

	bench_make(b, 2 * pairs, b->opt.both ? 2 * pairs : pairs, 2 * BENCH_WINDOW_MAX);
	for (uint32_t id = 0; id < b->traffic.n; id++) {
		uint32_t from = 2 * (id % pairs) + id / pairs, to = from ^ 1;

		bench_stream_init(&b->traffic, id, from, &b->client[from].keys.public, to,
		    &b->client[to].keys.public);
	}
	return bench_connect(b, 0, b->n_clients) && bench_measure(b);
}

const struct bench_load bench_bulk = {.run = run, .pump = pump, .arrived = arrived};
