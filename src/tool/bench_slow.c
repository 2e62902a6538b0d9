/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slow: what one receiver that stops reading costs the others, and what it gets when it reads
 * again.
 *
 * Pairs as in bulk are the others. Besides them one client sends at a fixed rate to one whose
 * receive buffer is small and which, for a while, reads nothing. What the kernels hold of its
 * stream is as old as the stall, whatever the server does. The first gap in the sequence is where
 * the server began to drop: what comes behind it is what the server held itself, and how old that
 * is, is the server's doing.
 */
#include "base/clock.h"
#include "tool/bench_run.h"
#include "tool/bench_slow.h"

#define RECEIVE_BUF (64 << 10)
/* How much of the stalled stream duplicates are told apart in. */
#define REMEMBER 65536
/* Never wakes more often than that for the stalled stream. */
#define TICK_NS 50000u
/* The load goes on for so long when the receiver reads again. */
#define RESUMED_NS 1000000000u

static uint32_t sender(const struct bench *b)
{
	return 2 * (uint32_t)b->opt.pairs;
}

static uint32_t receiver(const struct bench *b)
{
	return sender(b) + 1;
}

static void send_slow(struct bench *b)
{
	struct bench_slow *w = b->slow;
	struct bench_client *c = &b->client[sender(b)];
	double due = (double)(b->net.now_ns - b->start_ns) * 1e-9 * b->opt.slow_rate;

	while ((double)w->turns < due && c->state == BENCH_CLIENT_READY) {
		w->turns++;
		bench_put_due(b, &w->traffic, &w->traffic.stream[0]);
	}
	bench_client_flush(c);
}

static uint64_t pump(struct bench *b)
{
	bench_bulk_pump(b);
	send_slow(b);
	return b->net.now_ns + TICK_NS;
}

void bench_slow_take(struct bench_slow *w, uint32_t to, const uint8_t *src, const uint8_t *p,
    size_t len, uint64_t now)
{
	uint64_t before = w->traffic.count.lost, lost, took;

	if (!bench_traffic_take(&w->traffic, to, src, p, len, now, &took) || !w->resumed_ns)
		return;
	/* A late one takes a loss back. What is lost of what was sent since is of no interest. */
	lost = w->traffic.count.lost > before ? w->traffic.count.lost - before : 0;
	if (lost > w->gap && w->last_ns < w->resumed_ns) {
		/* What came before was the kernels' after all, short of a stray loss. */
		w->gap = lost;
		w->gap_ns = now;
		w->kernel_packets += w->held.count;
		bench_hist_reset(&w->held);
	}
	w->last_ns = now - took;
	if (w->gap && w->last_ns < w->gap_ns)
		bench_hist_add(&w->held, took);
	else if (!w->gap && w->last_ns < w->resumed_ns)
		w->kernel_packets++;
}

static bool packet(
    struct bench *b, struct bench_client *c, const uint8_t *src, const uint8_t *p, size_t len)
{
	if (c->index != receiver(b))
		return false;
	bench_slow_take(b->slow, c->index, src, p, len, b->net.now_ns);
	return true;
}

/* One phase of it: how the others fared. */
static void phase(struct bench *b, const char *name, double s, struct bench_slow_phase *ph)
{
	b->phase = name;
	bench_hist_reset(&b->traffic.latency);
	b->measuring = true;
	bench_mark_now(b, &ph->begin);
	bench_until(b, ph->begin.ns + (uint64_t)(s * 1e9), true);
	bench_mark_now(b, &ph->end);
	b->measuring = false;
	ph->p99_ns = bench_hist_quantile(&b->traffic.latency, 0.99);
}

/* What doesn't come within a second doesn't come at all. */
static void drain_slow(struct bench *b)
{
	struct bench_traffic *t = &b->slow->traffic;
	uint64_t until = b->net.now_ns + RESUMED_NS;

	while (!bench_over(b) && t->outstanding > 0 && b->net.now_ns < until)
		bench_until(b, b->net.now_ns + 1000000, false);
	bench_stream_give_up(t, &t->stream[0]);
}

static bool run(struct bench *b)
{
	uint32_t pairs = (uint32_t)b->opt.pairs, from = sender(b), to = receiver(b);
	struct bench_slow *w = b->slow = must_calloc(1, sizeof(*w));

	bench_bulk_make(b, 2 * pairs + 2);
	bench_traffic_init(
	    &w->traffic, 1, (uint32_t)b->opt.size, REMEMBER, (uint64_t)b->opt.seed + 1);
	bench_stream_init(
	    &w->traffic, 0, from, &b->client[from].keys.public, to, &b->client[to].keys.public);
	b->client[to].rcvbuf = RECEIVE_BUF;
	if (!bench_connect(b, 0, b->n_clients))
		return false;
	bench_bulk_streams(b);
	bench_warm_up(b);
	phase(b, "before the stall", b->opt.seconds, &w->before);
	bench_client_listen(&b->client[to], false);
	phase(b, "stalled", b->opt.stall_s, &w->stalled);
	b->begin = w->before.begin;
	b->end = w->stalled.end;
	b->phase = "resumed";
	b->net.now_ns = w->resumed_ns = clock_ns();
	bench_client_listen(&b->client[to], true);
	bench_until(b, w->resumed_ns + RESUMED_NS, true);
	bench_drain(b);
	drain_slow(b);
	return !b->failed;
}

void bench_slow_fini(struct bench_slow *w)
{
	if (w)
		bench_traffic_fini(&w->traffic);
	free(w);
}

const struct bench_load bench_slow = {
    .run = run, .pump = pump, .arrived = bench_bulk_arrived, .packet = packet};
