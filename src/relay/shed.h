/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shed.h: when a packet of a client is to be dropped because the client has filled its own line.
 *
 * What a client sends faster than its line to us takes fills the buffer of that line, and
 * everything else that goes this way waits behind it. The TCP in the tunnel slows down when it
 * misses a packet. So when the round-trip time has been well above that without load for two round
 * trips, while the client sent so much that it would be the cause, one of its packets is to be
 * dropped, then more and more often until the buffer has emptied: CoDel (RFC 8289) for a queue that
 * is elsewhere.
 *
 * A round-trip time has no direction and no name: the queue may be another's, or the line may have
 * become longer. When dropping changes nothing, or has the client send less while the queue
 * remains, the round-trip time of now is what counts as that without load, until it is less again,
 * and for a while, longer each time, nothing is dropped.
 *
 * A pure model: samples in, a verdict out.
 */
#ifndef SLUICE_RELAY_SHED_H
#define SLUICE_RELAY_SHED_H

#include <stdbool.h>
#include <stdint.h>

struct shed_sample {
	uint64_t now_us;
	uint64_t received;  /* bytes from the client, ever */
	uint32_t heard;     /* segments that it has acknowledged, each told a time; wraps */
	uint32_t rtt_us;    /* smoothed */
	uint32_t jitter_us; /* its mean deviation */
	uint32_t least_us;  /* the least of the last minutes */
	uint32_t ours_us;   /* what we keep in the buffer towards the client, in time */
};

/* Zero: nothing is known. */
struct shed {
	uint32_t base_us; /* round-trip time without load; 0: not known */
	uint64_t sampled_us, received;
	uint64_t rate;      /* bytes/s, a moving average */
	uint32_t excess_us; /* the round-trip time is longer by so much */
	uint32_t heard;
	/* while that is too much */
	bool stands;
	uint32_t drops;
	uint64_t top_rate;            /* the highest since then */
	uint64_t next_us;             /* then a packet is dropped */
	uint32_t last_heard, last_us; /* heard and excess at the decision before */
	/* whether it helps */
	uint64_t tried_us; /* since the first drop, 0: there was none */
	uint32_t peak_us;  /* the most since then */
	uint64_t again_us; /* it did not: nothing is dropped until then */
	uint32_t given_up; /* so many times of late */
};

/* True: one packet is to be dropped. */
bool shed_sample(struct shed *d, const struct shed_sample *s);
/* One was. */
void shed_dropped(struct shed *d);

#endif
