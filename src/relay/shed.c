/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/shed.h"

#include "base/check.h"
#include "relay/codel.h"

/* How much longer than without load it may be: a quarter, but not less than this, nor than what it
 * varies by, as on radio links. */
#define TARGET_MIN_US 10000
#define TARGET_JITTERS 4
/* Less than this in the buffer is no queue: on a slow line TCP can't do with fewer packets, unless
 * it loses many. */
#define QUEUE_MIN 16000
/* Two round trips; the sender in the tunnel may have a longer way than we see. */
#define INTERVAL_MIN_US 200000
/* A smoothed time has forgotten half of what was before. */
#define HEARD_MIN 8
/* Who was silent for so long begins anew. */
#define SILENCE_US 1000000
/* So long after the first drop, and after so many round trips, a fourth of the excess must be gone.
 */
#define TRY_US 2000000
#define TRY_ROUND_TRIPS 4
/* And until then the line is full, if the queue is this client's: no less comes, but for this. */
#define FULL_PART(rate) ((rate) / 5 * 4)
/* Else it is left for so long, then for twice as long and so on. */
#define LEFT_US 10000000u
#define LEFT_DOUBLINGS 5
/* unless the last time is so long ago. */
#define FORGOTTEN_US 600000000u

static uint64_t interval_us(const struct shed *d)
{
	return MAX(2 * (uint64_t)d->base_us, (uint64_t)INTERVAL_MIN_US);
}

static void note_rate(struct shed *d, const struct shed_sample *s)
{
	uint64_t us = s->now_us - d->sampled_us;
	uint64_t rate = (s->received - d->received) * 1000000 / MAX(us, (uint64_t)1);

	if (!d->sampled_us || us > SILENCE_US) {
		d->rate = 0;
		d->stands = false;
	} else {
		d->rate += rate / 8 - d->rate / 8;
	}
	d->sampled_us = s->now_us;
	d->received = s->received;
}

static void note_excess(struct shed *d, const struct shed_sample *s)
{
	if (!d->base_us)
		d->base_us = s->least_us;
	d->base_us = MIN(d->base_us, s->rtt_us);
	d->excess_us = s->rtt_us - d->base_us;
	d->heard = s->heard;
}

static bool too_long(const struct shed *d, const struct shed_sample *s)
{
	uint32_t target = MAX(d->base_us / 4, TARGET_JITTERS * s->jitter_us);

	return d->excess_us > MAX(target, (uint32_t)TARGET_MIN_US) + s->ours_us;
}

/* Whether the client sends so much that it may be its queue. */
static bool much(const struct shed *d)
{
	return d->rate * d->excess_us / 1000000 >= QUEUE_MIN;
}

/* The next decision. */
static void wait_us(struct shed *d, uint64_t us)
{
	d->next_us = d->sampled_us + us;
	d->last_heard = d->heard;
	d->last_us = d->excess_us;
}

/* Whether dropping leads anywhere; if not, it is not this client's queue. */
static bool helps(struct shed *d, const struct shed_sample *s)
{
	uint64_t try_us = MAX(TRY_ROUND_TRIPS * (uint64_t)s->rtt_us, (uint64_t)TRY_US);

	d->peak_us = MAX(d->peak_us, d->excess_us);
	d->top_rate = MAX(d->top_rate, d->rate);
	if (d->drops > 0 && d->rate < FULL_PART(d->top_rate))
		return false;
	if (!d->tried_us || s->now_us < d->tried_us + try_us)
		return true;
	d->tried_us = 0;
	return d->excess_us <= d->peak_us - d->peak_us / 4;
}

static void give_up(struct shed *d, const struct shed_sample *s)
{
	if (s->now_us > d->again_us + FORGOTTEN_US)
		d->given_up = 0;
	d->base_us = s->rtt_us;
	d->stands = false;
	d->again_us = s->now_us + ((uint64_t)LEFT_US << MIN(d->given_up, (uint32_t)LEFT_DOUBLINGS));
	d->given_up++;
}

bool shed_sample(struct shed *d, const struct shed_sample *s)
{
	note_rate(d, s);
	note_excess(d, s);
	if (s->now_us < d->again_us)
		return false;
	if (!too_long(d, s) || (!d->stands && !much(d))) {
		d->stands = false;
		return false;
	}
	if (!d->stands) {
		d->stands = true;
		d->drops = 0;
		d->top_rate = 0;
		d->tried_us = 0;
		wait_us(d, interval_us(d));
	}
	if (!helps(d, s)) {
		give_up(d, s);
		return false;
	}
	if (s->now_us < d->next_us || s->heard - d->last_heard < HEARD_MIN || !much(d))
		return false;
	/* The sender slows down already. */
	if (d->excess_us < d->last_us - d->last_us / 8) {
		wait_us(d, interval_us(d));
		return false;
	}
	return true;
}

void shed_dropped(struct shed *d)
{
	if (!d->tried_us) {
		d->tried_us = d->sampled_us;
		d->peak_us = d->excess_us;
	}
	d->drops++;
	wait_us(d, codel_gap(interval_us(d), d->drops));
}
