/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/losses.h"

#include "base/check.h"

/* Losses are told apart when so many round trips lie between them; the time must have been low for
 * as long before. */
#define APART_RTTS 2
/* A burst is more than this part of what is in flight, and than a few. */
#define BURST_PART 16
#define BURST_FEW 4

void losses_sample(struct losses *l, const struct losses_sample *s)
{
	uint32_t lost = s->retransmitted - l->retransmitted;
	uint64_t apart = (uint64_t)APART_RTTS * s->rtt_us;
	bool low = l->low_since_us && s->now_us - l->low_since_us >= apart;
	bool alone = s->now_us - l->lost_us >= apart;
	bool few = lost <= MAX(s->in_flight / BURST_PART, (uint32_t)BURST_FEW);

	/* What was before the first sample is told from that. */
	if (!l->begun) {
		low = s->rtt_us <= s->low_us;
		alone = true;
		l->begun = true;
	}
	if (s->rtt_us > s->low_us)
		l->low_since_us = 0;
	else if (!l->low_since_us)
		l->low_since_us = s->now_us;
	l->retransmitted = s->retransmitted;
	if (lost > 0) {
		l->lost_us = s->now_us;
		if (low && alone && few) {
			l->lossy = true;
			l->own_delivered = s->delivered;
		}
	}
	if (s->delivered - l->own_delivered >= LOSSES_SEGMENTS)
		l->lossy = false;
}
