/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * overload.h: whether a worker has more to do than its CPU can.
 *
 * Its turns are long then, and packets wait because of that: a queue that stands for longer than
 * CoDel's 5 ms says nothing of a client's path, and what is dropped from it would have been sent a
 * moment later. So no queue drops early then, but those whose path is known to be full.
 */
#ifndef SLUICE_RELAY_OVERLOAD_H
#define SLUICE_RELAY_OVERLOAD_H

#include <stdbool.h>
#include <stdint.h>

/* A turn is long that takes this, */
#define OVERLOAD_TURN_MS 5
/* with so many packets in or out: few that take long are somebody else's doing on this CPU. */
#define OVERLOAD_PACKETS 500
/* What a long turn says holds for so long. */
#define OVERLOAD_HOLD_MS 1000

struct overload {
	uint64_t packets; /* in and out, ever, at the end of the last turn */
	uint64_t until_ms;
};

/* Whether the turn that ends was one in which the clock is worth a look. */
static inline bool overload_busy(struct overload *o, uint64_t packets)
{
	bool busy = packets - o->packets >= OVERLOAD_PACKETS;

	o->packets = packets;
	return busy;
}

/* A busy turn began and ended then: true if it was long. */
static inline bool overload_turn(struct overload *o, uint64_t began_ms, uint64_t ended_ms)
{
	if (ended_ms - began_ms < OVERLOAD_TURN_MS)
		return false;
	o->until_ms = ended_ms + OVERLOAD_HOLD_MS;
	return true;
}

#endif
