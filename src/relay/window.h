/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * window.h: how many bytes the kernel may hold for a client, sent and unsent, so that they fill the
 * path and not the buffers along it.
 *
 * The kernel's congestion control finds the path's limit by filling the bottleneck's buffer until
 * packets are lost; behind each loss everything waits for its repetition. So once the round-trip
 * time under load shows that the path is full, no more is given to the socket than what the path
 * delivers in its round-trip time without load and a little more (as BBR's model has it: bandwidth
 * times delay). Until then the kernel alone decides:
 *
 *   OPEN   no limit, until the round-trip time has grown by the margin
 *   HELD   rate × (base + margin); now and then a little less than rate × base for some round
 * trips, so that the buffer is empty and the base can be measured anew
 *
 * When the round-trip time does not go down meanwhile, others fill the buffer, or the path has
 * become longer. Who has no more in flight than he needs loses against those who fill buffers: so
 * it is OPEN for ten seconds, and the kernel competes as its congestion control does. When it is
 * the same after that, it is the path's. It is also tried when the rate has fallen by a third.
 *
 * A pure model: samples in, bytes out.
 */
#ifndef SLUICE_RELAY_WINDOW_H
#define SLUICE_RELAY_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_RATES 8

struct window_sample {
	uint64_t now_us;
	uint64_t delivered; /* bytes that the client has acknowledged, ever */
	uint32_t rtt_us;    /* smoothed */
	uint32_t least_us;  /* the least of the last minutes, 0: not known */
	uint32_t jitter_us; /* its mean deviation */
	bool busy;          /* there was always something to send since the sample before */
};

/* Zero: nothing is known. */
struct window {
	bool held;
	bool full;          /* the rate grows no more, or held: the path takes all it can */
	uint32_t same;      /* rates in a row that were no higher */
	uint64_t full_rate; /* than this */
	uint32_t base_us;   /* round-trip time without load, 0: not known */
	uint32_t least_us;  /* the least that it has been on this path */
	uint32_t margin_us; /* how much more may be in flight, in time */
	uint64_t sampled_us, fresh_us;      /* since then the round-trip time is one of now */
	uint64_t since_us, since_delivered; /* when the rate under way began; 0: none is */
	uint64_t rate[WINDOW_RATES];        /* the last that tell what the path takes, bytes/s */
	uint32_t lower;                     /* in a row that were lower, with the buffer empty */
	uint32_t next_rate;
	bool begun;        /* the least round-trip time ever has been looked at */
	uint64_t drain_us; /* when the buffer is to be emptied next, or since when it is, */
	bool draining;
	uint32_t drained_us; /* and the least round-trip time then */
	uint64_t top;        /* the highest rate since it is held, or fell by a third */
	uint64_t open_us;    /* others fill the buffer: OPEN until then */
	uint32_t more_us;    /* the round-trip time that could not be brought down; 0: it could */
	uint64_t bytes;      /* what the kernel may hold, UINT64_MAX: no limit */
};

void window_sample(struct window *w, const struct window_sample *s);
/* The rate that the path is known to take, bytes/s; 0: not known. */
uint64_t window_rate(const struct window *w);
/* Whether what waits too long may be dropped early. Not until the path is full: that would keep it
 * empty. Nor while its buffer is being emptied: what waits then waits for us. */
bool window_may_drop(const struct window *w);

#endif
