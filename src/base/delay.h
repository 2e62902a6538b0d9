/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * delay.h: how long packets waited to be sent, in a few buckets.
 *
 * Only those that waited are noted; whoever reads says how many there were in all.
 */
#ifndef SLUICE_BASE_DELAY_H
#define SLUICE_BASE_DELAY_H

#include <stdint.h>

/* Which of n rising bounds is the first that v does not exceed; n when it exceeds all. */
static inline uint32_t bound_index(const uint32_t *bound, uint32_t n, uint32_t v)
{
	uint32_t i = 0;

	while (i < n && v > bound[i])
		i++;
	return i;
}

/* Upper bounds in ms. */
#define DELAY_BOUNDS 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 250, 1000
#define DELAY_BUCKETS 16 /* the last is beyond the bounds */

struct delays {
	uint64_t packets, sum_ms;
	uint32_t last_ms; /* of the last one */
	uint32_t bucket[DELAY_BUCKETS];
};

/* Which bucket a wait of so many ms falls into. */
uint32_t delay_bucket(uint32_t ms);
/* Packets that waited sum_ms together, each of them so long that it falls into that bucket. */
void delays_note(struct delays *d, uint32_t bucket, uint32_t packets, uint64_t sum_ms);
/* In ms, over `sent` packets in all: the mean, and what 99 of 100 did not exceed (the bound of its
 * bucket). */
double delays_average(const struct delays *d, uint64_t sent);
uint32_t delays_p99(const struct delays *d, uint64_t sent);

#endif
