/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/window.h"

#include "base/check.h"

#define MARGIN_MIN_US 5000
#define MARGIN_MAX_US 100000
/* A rate is measured over a round trip, but not over less than this. */
#define RATE_OVER_US 50000
#define BYTES_MIN (6u << 10)
/* So many rates in a row that are no quarter higher: the path is full. */
#define SAME_MAX 3
#define DRAIN_FIRST_US 1000000u
#define DRAIN_EVERY_US 10000000u
/* So long others are competed with. */
#define OPEN_US 10000000u
/* So many rates in a row below what the path was seen to take: it takes less now. */
#define LOWER_MAX 32

uint64_t window_rate(const struct window *w)
{
	uint64_t most = 0;

	for (int i = 0; i < WINDOW_RATES; i++)
		most = MAX(most, w->rate[i]);
	return most;
}

bool window_may_drop(const struct window *w)
{
	return w->full && !w->draining;
}

static void note_rtt(struct window *w, const struct window_sample *s)
{
	if (!w->base_us || s->rtt_us < w->base_us)
		w->base_us = s->rtt_us;
	/* Later it may be that of another path. */
	if (!w->begun && s->least_us && s->least_us < w->base_us)
		w->base_us = s->least_us;
	if (!w->begun || w->base_us < w->least_us)
		w->least_us = w->base_us;
	w->begun = true;
	w->margin_us = MIN(MAX(MAX(w->base_us / 8, 3 * s->jitter_us), (uint32_t)MARGIN_MIN_US),
	    (uint32_t)MARGIN_MAX_US);
}

/* The round-trip time is one of now, and longer by more than that than without load. */
static bool grown(const struct window *w, const struct window_sample *s, uint32_t by_us)
{
	return s->now_us >= w->fresh_us && s->rtt_us > w->base_us + by_us;
}

/* A rate tells what the path can take when there was always enough to send: with us, or in its
 * buffer. While the buffer is empty it may be TCP that sent no more, as in its start: then it tells
 * that the path takes so much at least, unless it goes on like that. True: a rate is complete. */
static bool note_rate(struct window *w, const struct window_sample *s)
{
	uint64_t us = s->now_us - w->since_us, rate;
	bool full = grown(w, s, w->margin_us / 2);

	if (!w->since_us || !(s->busy || full)) {
		w->since_us = s->now_us;
		w->since_delivered = s->delivered;
		return false;
	}
	if (us < MAX(w->base_us, (uint32_t)RATE_OVER_US))
		return false;
	rate = (s->delivered - w->since_delivered) * 1000000 / us;
	if (full || rate > window_rate(w))
		w->lower = 0;
	else if (w->lower < LOWER_MAX)
		w->lower++;
	if (w->lower == 0 || w->lower == LOWER_MAX)
		w->rate[w->next_rate++ % WINDOW_RATES] = rate;
	w->since_us = s->now_us;
	w->since_delivered = s->delivered;
	return true;
}

/* As BBR tells that its start is over. */
static void note_full(struct window *w, uint64_t rate)
{
	if (rate > w->full_rate + w->full_rate / 4) {
		w->full_rate = rate;
		w->same = 0;
	} else if (++w->same >= SAME_MAX) {
		w->full = true;
	}
}

/* What the round-trip time is with our part of the buffer empty. */
static void drained(struct window *w, uint64_t now_us, uint32_t rtt_us)
{
	uint32_t before = w->more_us, same = before / 32;
	/* On a slow path the least that is in flight takes longer. */
	uint64_t ours_us = BYTES_MIN * 1000000ull / MAX(window_rate(w), (uint64_t)1);
	uint64_t well_us = MAX(w->least_us, ours_us) + w->margin_us;
	bool lower = rtt_us < w->base_us - w->base_us / 32;

	/* A standing queue goes on to be emptied. */
	w->drain_us = lower ? now_us : now_us + DRAIN_EVERY_US;
	w->more_us = 0;
	if (rtt_us <= well_us) {
		w->base_us = rtt_us;
	} else if (before && rtt_us >= before - same && rtt_us <= before + same) {
		w->base_us = w->least_us = rtt_us;
	} else {
		w->more_us = rtt_us;
		w->held = false;
		w->open_us = now_us + OPEN_US;
	}
}

/* Less than the path takes is in flight, for a round trip and then for as long as that shows. */
static void drain(struct window *w, const struct window_sample *s)
{
	bool falls;

	if (!w->draining && s->now_us >= w->drain_us) {
		w->draining = true;
		w->drain_us = s->now_us;
		w->drained_us = UINT32_MAX;
	}
	if (!w->draining || s->now_us < w->drain_us + s->rtt_us)
		return;
	falls = s->rtt_us < w->drained_us - w->drained_us / 32;
	w->drained_us = MIN(w->drained_us, s->rtt_us);
	w->drain_us = s->now_us;
	if (falls)
		return;
	w->draining = false;
	drained(w, s->now_us, w->drained_us);
}

static uint64_t pipe_bytes(const struct window *w, uint64_t rate)
{
	uint64_t us = w->draining ? w->base_us - w->base_us / 10 : w->base_us + w->margin_us;

	return MAX(rate * us / 1000000, (uint64_t)BYTES_MIN);
}

/* For a round trip or longer nothing was sent, or little: for a while the round-trip time is that
 * of before. */
static void note_silence(struct window *w, const struct window_sample *s)
{
	if (!s->busy && s->now_us - w->sampled_us > s->rtt_us) {
		w->fresh_us = s->now_us + 2 * (uint64_t)MIN(s->rtt_us, w->base_us + MARGIN_MAX_US);
		w->lower = 0;
		/* The buffer has emptied by itself. */
		if (w->draining)
			w->drain_us = s->now_us + DRAIN_EVERY_US;
		w->draining = false;
	}
	w->sampled_us = s->now_us;
}

void window_sample(struct window *w, const struct window_sample *s)
{
	uint64_t rate;
	bool complete;

	note_silence(w, s);
	note_rtt(w, s);
	complete = note_rate(w, s);
	rate = window_rate(w);
	if (complete)
		note_full(w, rate);
	if (!w->held && rate && s->now_us >= w->open_us && grown(w, s, w->margin_us)) {
		w->held = w->full = true;
		w->drain_us = s->now_us + (w->more_us ? 0 : DRAIN_FIRST_US);
		w->top = rate;
	}
	if (w->held && complete) {
		w->top = MAX(w->top, rate);
		if (rate < w->top - w->top / 3 && !w->draining) {
			w->top = rate;
			w->drain_us = s->now_us;
		}
	}
	if (w->held)
		drain(w, s);
	w->bytes = w->held ? pipe_bytes(w, rate) : UINT64_MAX;
}
