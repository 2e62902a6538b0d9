/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * losses.h: whether a path loses packets though nothing on it is full, as radio links do.
 *
 * A loss that a full buffer makes comes in a burst, and with a round-trip time that has grown. A
 * small one while the round-trip time has been low for a while is the path's own, and so is one
 * before the first sample when it is low then; a path is lossy for the next 2,000 segments after
 * one. To be wrong costs little, see path.h.
 *
 * A pure model: samples in, a verdict out.
 */
#ifndef SLUICE_RELAY_LOSSES_H
#define SLUICE_RELAY_LOSSES_H

#include <stdbool.h>
#include <stdint.h>

#define LOSSES_SEGMENTS 2000

struct losses_sample {
	uint64_t now_us;
	uint32_t rtt_us;
	uint32_t low_us;        /* a round-trip time up to this means that nothing is full */
	uint32_t retransmitted; /* segments, ever; wraps */
	uint32_t in_flight;     /* segments */
	uint64_t delivered;     /* segments, ever */
};

/* Zero: a path that has lost nothing. */
struct losses {
	bool lossy, begun;
	uint32_t retransmitted;
	uint64_t low_since_us;  /* 0: it is not low */
	uint64_t lost_us;       /* when something was lost last */
	uint64_t own_delivered; /* segments delivered at the last loss of the path's own */
};

void losses_sample(struct losses *l, const struct losses_sample *s);

#endif
