/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Churn: clients 1 and up connect, log in, send one packet to client 0, and close when it has
 * arrived; then they do it again under another key, so that no connection meets the one before it
 * as a duplicate that isn't quite gone. Latency is from connect() to arrival.
 */
#include "base/clock.h"
#include "tool/bench_run.h"

#define FAILURES_MAX 100
#define SPARE_KEYS 512

static uint32_t id_of(const struct bench_client *c)
{
	return c->index - 1;
}

static void send_packet(struct bench *b, struct bench_client *c)
{
	struct bench_stream *s;
	uint8_t *p;

	if (c->index == 0 || c->state != BENCH_CLIENT_READY)
		return;
	s = &b->traffic.stream[id_of(c)];
	/* Again only when the first was given up. */
	if (s->outstanding > 0)
		return;
	p = bench_client_reserve(c, bench_frame_len(&b->traffic));
	if (!p)
		return;
	bench_stream_put(&b->traffic, s, b->net.now_ns, p);
	bench_client_commit(c, bench_frame_len(&b->traffic));
	bench_client_flush(c);
}

/* Spare keys were drawn beforehand; they go round among the clients, so that one comes back late.
 */
static void next_key(struct bench *b, struct bench_client *c)
{
	struct login_keys *spare = &b->spare[b->slot++ % SPARE_KEYS];
	struct login_keys old = c->keys;

	c->keys = *spare;
	*spare = old;
	b->traffic.stream[id_of(c)].src = c->keys.public;
	login_keys_wipe(&old);
}

static uint64_t pump(struct bench *b)
{
	struct bench_client *c;

	while ((c = bench_eager_next(b)))
		send_packet(b, c);
	for (uint32_t i = 1; i < b->n_clients; i++) {
		c = &b->client[i];
		if (c->state != BENCH_CLIENT_CLOSED)
			continue;
		/* One that was in flight when its connection broke will not come. */
		bench_stream_give_up(&b->traffic, &b->traffic.stream[id_of(c)]);
		next_key(b, c);
		if (!bench_open(b, c))
			break;
	}
	return BENCH_NEVER;
}

static void arrived(struct bench *b, struct bench_stream *s)
{
	struct bench_client *c = &b->client[s->from];

	if (c->state != BENCH_CLIENT_READY)
		return;
	if (b->measuring)
		bench_hist_add(&b->traffic.latency, b->net.now_ns - c->opened_ns);
	b->done++;
	b->failures_in_row = 0;
	bench_client_close(c);
}

static bool gone(struct bench *b, struct bench_client *c, const char *why)
{
	if (c->index == 0)
		return false;
	b->failures++;
	if (++b->failures_in_row >= FAILURES_MAX)
		bench_fail(b, "%d connections failed in a row, the last: %s", FAILURES_MAX, why);
	return true;
}

static bool run(struct bench *b)
{
	uint32_t n = (uint32_t)b->opt.parallel;

	bench_make(b, n + 1, n, 64);
	b->spare = must_calloc(SPARE_KEYS, sizeof(*b->spare));
	for (uint32_t i = 0; i < SPARE_KEYS; i++)
		login_keys_new(&b->spare[i]);
	for (uint32_t i = 0; i < n; i++)
		bench_stream_init(&b->traffic, i, i + 1, &b->client[i + 1].keys.public, 0,
		    &b->client[0].keys.public);
	return bench_connect(b, 0, 1) && bench_measure(b);
}

const struct bench_load bench_churn = {.run = run, .pump = pump, .arrived = arrived, .gone = gone};
