/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/uplink.h"

#include <stdlib.h>

#include "base/clock.h"
#include "io/tcpinfo.h"
#include "relay/path.h"
#include "relay/shed.h"
#include "relay/worker.h"

/* Bytes from one look to the next: about so many as come in 10 to 40 ms. */
#define LOOK_MIN (16u << 10)
#define LOOK_MAX (4u << 20)
#define LOOK_SOON_US 10000
#define LOOK_LATE_US 40000
/* When much went the other way as well, it counts as going on for so long. */
#define BOTH_US 1000000
/* A verdict is good for so long: after a pause there is no queue. */
#define VERDICT_US 200000

struct uplink {
	struct shed shed;
	uint64_t looked_us;
	uint64_t sent;    /* bytes, up to the look before */
	uint64_t both_us; /* when much went both ways last; 0: never */
	uint32_t step;    /* bytes */
};

static bool uplink_begin(struct conn *c)
{
	if (c->uplink)
		return true;
	c->uplink = calloc(1, sizeof(*c->uplink));
	if (!c->uplink)
		return false;
	c->uplink->step = LOOK_MIN;
	return true;
}

/* When to look again; news: the client has acknowledged something since the look before. */
static void next_look(struct conn *c, uint64_t now_us, bool news)
{
	struct uplink *u = c->uplink;
	uint64_t us = now_us - u->looked_us;

	if (us < LOOK_SOON_US || !news)
		u->step = MIN(u->step * 2, LOOK_MAX);
	else if (us > LOOK_LATE_US)
		u->step = MAX(u->step / 2, LOOK_MIN);
	u->looked_us = now_us;
	c->uplink_look = c->totals.rx_bytes + u->step;
}

/* Whether much goes to the client as well: the round-trip time then has a queue of ours in it. */
static bool both_ways(struct conn *c, uint64_t now_us)
{
	struct uplink *u = c->uplink;
	uint64_t received = c->totals.rx_bytes - u->shed.received,
		 sent = c->totals.tx_bytes - u->sent;

	u->sent = c->totals.tx_bytes;
	if (c->path && sent >= received / 4)
		u->both_us = now_us;
	return u->both_us && now_us - u->both_us < BOTH_US;
}

static void sample(struct conn *c, const struct tcp_info *info, uint64_t now_us)
{
	struct uplink *u = c->uplink;
	const struct window *w = c->path ? &c->path->window : NULL;
	uint32_t ours_us = 0;

	if (both_ways(c, now_us)) {
		/* TCP is still finding out what the way there takes. */
		if (!w->held)
			return;
		ours_us = MIN(w->margin_us, w->base_us / 2);
	}
	c->shed = shed_sample(&u->shed, &(struct shed_sample){
					    .now_us = now_us,
					    .received = c->totals.rx_bytes,
					    .heard = info->tcpi_delivered,
					    .rtt_us = info->tcpi_rtt,
					    .jitter_us = info->tcpi_rttvar,
					    .least_us = info->tcpi_min_rtt,
					    .ours_us = ours_us,
					});
}

void uplink_look(struct conn *c)
{
	struct tcp_info info;
	uint64_t now_us = clock_ns() / 1000;
	bool news;

	c->shed = false;
	c->uplink_look = c->totals.rx_bytes + LOOK_MAX;
	if (!tcp_info_get(c->watch.fd, &info) || info.tcpi_min_rtt < PATH_NEAR_US ||
	    !uplink_begin(c))
		return;
	news = info.tcpi_delivered != c->uplink->shed.heard;
	next_look(c, now_us, news);
	if (news)
		sample(c, &info, now_us);
}

bool uplink_sheds(struct conn *c)
{
	c->shed = false;
	if (clock_ns() / 1000 - c->uplink->looked_us > VERDICT_US)
		return false;
	shed_dropped(&c->uplink->shed);
	return true;
}
