/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/bench_hist.h"

#include <string.h>

void bench_hist_reset(struct bench_hist *h)
{
	memset(h, 0, sizeof(*h));
}

/* The middle of what falls into bucket i. */
static uint64_t bucket_value(uint32_t i)
{
	uint32_t shift = i >> BENCH_HIST_BITS;
	uint64_t low = i & ((1u << BENCH_HIST_BITS) - 1);

	if (shift == 0)
		return low;
	shift--;
	low |= 1u << BENCH_HIST_BITS;
	return (low << shift) + ((1ull << shift) >> 1);
}

uint64_t bench_hist_quantile(const struct bench_hist *h, double q)
{
	uint64_t rank, seen = 0;

	if (h->count == 0)
		return 0;
	rank = (uint64_t)((double)h->count * q);
	if (rank >= h->count)
		rank = h->count - 1;
	for (uint32_t i = 0; i < BENCH_HIST_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen > rank) {
			uint64_t v = bucket_value(i);

			return v < h->max ? v : h->max;
		}
	}
	return h->max;
}
