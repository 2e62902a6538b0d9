/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * shed.h: when a packet of a client is to be dropped because the client has filled its own line.
 *
 * What a client sends faster than its line to us takes fills the buffer of that line, and
 * everything else that goes this way waits behind it. The TCP in the tunnel slows down when it
 * misses a packet. So when the round-trip time has been well above that without load for two round
 * trips, and what the client sends accounts for that, one of its packets is to be dropped, then
 * more and more often until the buffer has emptied: CoDel (RFC 8289) for a queue that is elsewhere.
 *
 * When that changes nothing, others have filled the buffer, or the line has become longer: the
 * round-trip time of now is then what counts as that without load, until it is less again, and for
 * a while, longer each time, nothing is dropped.
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
	uint32_t rtt_us;    /* smoothed, and of now */
	uint32_t jitter_us; /* its mean deviation */
	uint32_t least_us;  /* the least ever seen */
	uint32_t ours_us;   /* what we keep in the buffer towards the client, in time */
};

/* Zero: nothing is known. */
struct shed {
	uint32_t base_us; /* round-trip time without load; 0: not known */
	uint64_t sampled_us, received;
	uint64_t rate;      /* bytes/s, a moving average */
	uint64_t above_us;  /* since then it is longer than it should be; 0: it is not */
	uint64_t next_us;   /* then a packet is dropped, */
	uint32_t peak_us;   /* unless it has become less than this by itself */
	uint32_t drops;     /* since above_us */
	uint64_t tried_us;  /* since then it is watched whether that helps, */
	uint32_t tried;     /* by so many drops, */
	uint32_t excess_us; /* from so much */
	uint64_t again_us;  /* it did not: nothing is dropped until then */
	uint32_t given_up;  /* so many times in a row */
};

/* True: one packet is to be dropped. */
bool shed_sample(struct shed *d, const struct shed_sample *s);

#endif
