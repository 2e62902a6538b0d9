/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_hist.h: a histogram of durations on a logarithmic scale.
 *
 * Sixty-four buckets an octave: any quantile is right to 1.6 %, and counting one costs a few
 * instructions and touches one line. Minimum resolution one nanosecond.
 */
#ifndef SLUICE_TOOL_BENCH_HIST_H
#define SLUICE_TOOL_BENCH_HIST_H

#include <stdint.h>

#define BENCH_HIST_BITS 6
#define BENCH_HIST_BUCKETS ((64 - BENCH_HIST_BITS + 1) << BENCH_HIST_BITS)

struct bench_hist {
	uint64_t count;
	uint64_t sum; /* ns */
	uint64_t max; /* ns */
	uint64_t bucket[BENCH_HIST_BUCKETS];
};

void bench_hist_reset(struct bench_hist *h);
/* The value, in ns, below which the part `q` (0 to 1) of all lies; 0 when empty. */
uint64_t bench_hist_quantile(const struct bench_hist *h, double q);

static inline uint32_t bench_hist_index(uint64_t ns)
{
	unsigned int shift;

	if (ns < (1u << BENCH_HIST_BITS))
		return (uint32_t)ns;
	shift = 63u - (unsigned int)__builtin_clzll(ns) - BENCH_HIST_BITS;
	return ((shift + 1) << BENCH_HIST_BITS) +
	       (uint32_t)((ns >> shift) & ((1u << BENCH_HIST_BITS) - 1));
}

static inline void bench_hist_add(struct bench_hist *h, uint64_t ns)
{
	h->count++;
	h->sum += ns;
	if (ns > h->max)
		h->max = ns;
	h->bucket[bench_hist_index(ns)]++;
}

#endif
