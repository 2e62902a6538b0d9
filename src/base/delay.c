/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/delay.h"

#include "base/check.h"

static const uint32_t bound[] = {DELAY_BOUNDS};

_Static_assert(ARRAY_LEN(bound) == DELAY_BUCKETS - 1, "one bucket is beyond the bounds");

uint32_t delay_bucket(uint32_t ms)
{
	return bound_index(bound, ARRAY_LEN(bound), ms);
}

void delays_note(struct delays *d, uint32_t bucket, uint32_t packets, uint64_t sum_ms)
{
	CHECK(bucket < DELAY_BUCKETS && packets > 0);
	d->packets += packets;
	d->sum_ms += sum_ms;
	d->last_ms = (uint32_t)(sum_ms / packets);
	d->bucket[bucket] += packets;
}

double delays_average(const struct delays *d, uint64_t sent)
{
	uint64_t n = MAX(sent, d->packets);

	return n ? (double)d->sum_ms / (double)n : 0;
}

uint32_t delays_p99(const struct delays *d, uint64_t sent)
{
	uint64_t beyond = MAX(sent, d->packets) / 100, seen = 0;
	uint32_t b = DELAY_BUCKETS;

	/* From the longest down, until more than one in a hundred has been passed. */
	while (b > 0 && seen <= beyond)
		seen += d->bucket[--b];
	if (seen <= beyond)
		return 0;
	return bound[MIN(b, (uint32_t)ARRAY_LEN(bound) - 1)];
}
