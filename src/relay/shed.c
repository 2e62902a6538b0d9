/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/shed.h"

#include "base/check.h"

/* How much longer than without load it may be: a quarter, but not less than this, nor than what it
 * varies by, as on radio links. */
#define TARGET_MIN_US 10000
#define TARGET_JITTERS 4
#define INTERVAL_MIN_US 100000
/* Less than this in the buffer is no queue: on a slow line TCP can't do with fewer packets, unless it
 * loses many. */
#define QUEUE_MIN 16000
/* Who was silent for so long begins anew. */
#define SILENCE_US 1000000
/* After so many drops, and so many round trips, a fourth of the excess must be gone. */
#define TRIES 4
#define TRY_ROUND_TRIPS 4
/* Else it is left for so long, then for twice as long and so on. */
#define LEFT_US 10000000u
#define LEFT_DOUBLINGS 5

static uint64_t interval_us(const struct shed *d)
{
	return MAX(2 * (uint64_t)d->base_us, (uint64_t)INTERVAL_MIN_US);
}

/* interval / √drops, CoDel's law. */
static uint64_t gap_us(const struct shed *d)
{
	uint32_t root = 1;

	while ((root + 1) * (root + 1) <= d->drops * 256)
		root++;
	return interval_us(d) * 16 / root;
}

static void note_rate(struct shed *d, const struct shed_sample *s)
{
	uint64_t us = s->now_us - d->sampled_us;
	uint64_t rate = (s->received - d->received) * 1000000 / MAX(us, (uint64_t)1);

	if (!d->sampled_us || us > SILENCE_US)
		d->rate = d->above_us = 0;
	else
		d->rate += rate / 8 - d->rate / 8;
	d->sampled_us = s->now_us;
	d->received = s->received;
}

static void try_anew(struct shed *d, const struct shed_sample *s)
{
	d->tried = 0;
	d->tried_us = s->now_us;
	d->excess_us = s->rtt_us - d->base_us;
}

/* Whether dropping leads anywhere; if not, it is not this client's queue. */
static bool helps(struct shed *d, const struct shed_sample *s)
{
	if (d->tried < TRIES || s->now_us - d->tried_us < TRY_ROUND_TRIPS * (uint64_t)s->rtt_us)
		return true;
	if (s->rtt_us - d->base_us > d->excess_us - d->excess_us / 4)
		return false;
	try_anew(d, s);
	return true;
}

static void give_up(struct shed *d, const struct shed_sample *s)
{
	d->base_us = s->rtt_us;
	d->above_us = 0;
	d->again_us = s->now_us + ((uint64_t)LEFT_US << MIN(d->given_up, (uint32_t)LEFT_DOUBLINGS));
	d->given_up++;
}

/* Whether there is a queue that the client has made; the round-trip time is longer by that. */
static bool stands(const struct shed *d, const struct shed_sample *s, uint32_t excess)
{
	uint32_t target =
	    MAX(MAX(d->base_us / 4, TARGET_JITTERS * s->jitter_us), (uint32_t)TARGET_MIN_US) +
	    s->ours_us;

	return excess > target && d->rate * excess / 1000000 >= QUEUE_MIN;
}

static void begin(struct shed *d, const struct shed_sample *s)
{
	d->above_us = s->now_us;
	d->next_us = s->now_us + interval_us(d);
	d->drops = 0;
	d->peak_us = 0;
	try_anew(d, s);
}

bool shed_sample(struct shed *d, const struct shed_sample *s)
{
	uint32_t excess;

	note_rate(d, s);
	if (!d->base_us)
		d->base_us = s->least_us;
	d->base_us = MIN(d->base_us, s->rtt_us);
	excess = s->rtt_us - d->base_us;
	if (s->now_us < d->again_us || !stands(d, s, excess)) {
		if (d->above_us && d->drops > 0)
			d->given_up = 0;
		d->above_us = 0;
		return false;
	}
	if (!d->above_us)
		begin(d, s);
	d->peak_us = MAX(d->peak_us, excess);
	if (s->now_us < d->next_us)
		return false;
	/* The sender slows down already. */
	if (excess < d->peak_us - d->peak_us / 8) {
		d->peak_us = excess;
		d->next_us = s->now_us + interval_us(d);
		return false;
	}
	if (!helps(d, s)) {
		give_up(d, s);
		return false;
	}
	d->drops++;
	d->tried++;
	d->next_us = s->now_us + gap_us(d);
	return true;
}
