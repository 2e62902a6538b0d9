/* SPDX-License-Identifier: BSD-3-Clause */
/* codel.h: the control law of CoDel (RFC 8289 section 3.3), for queues here and elsewhere. */
#ifndef SLUICE_RELAY_CODEL_H
#define SLUICE_RELAY_CODEL_H

#include <stdint.h>

/* From one drop to the next: interval / √count, in the interval's unit; count from 1 to 2^20. */
static inline uint64_t codel_gap(uint64_t interval, uint32_t count)
{
	uint32_t root = 16; /* √(count × 256), by Newton */

	for (int i = 0; i < 12; i++)
		root = (root + count * 256 / root) / 2;
	return interval * 16 / (root ? root : 1);
}

#endif
