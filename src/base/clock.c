/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/clock.h"

#include <stdio.h>

#include "base/check.h"

uint64_t clock_cycles_overhead(void)
{
	uint64_t best = UINT64_MAX;

	for (int i = 0; i < 1000; i++) {
		uint64_t t = clock_cycles();

		best = MIN(best, clock_cycles() - t);
	}
	return best;
}

void clock_rfc3339(uint64_t wall_ms, char out[CLOCK_RFC3339_LEN])
{
	time_t sec = (time_t)(wall_ms / 1000u);
	struct tm tm;
	char date[20];

	gmtime_r(&sec, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out, CLOCK_RFC3339_LEN, "%s.%03uZ", date, (unsigned)(wall_ms % 1000u));
}
