/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/clock.h"

#include <stdio.h>

void clock_rfc3339(uint64_t wall_ms, char out[CLOCK_RFC3339_LEN])
{
	time_t sec = (time_t)(wall_ms / 1000u);
	struct tm tm;
	char date[20];

	gmtime_r(&sec, &tm);
	strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out, CLOCK_RFC3339_LEN, "%s.%03uZ", date, (unsigned)(wall_ms % 1000u));
}
