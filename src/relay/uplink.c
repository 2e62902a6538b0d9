/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/uplink.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "relay/path.h"
#include "relay/shed.h"
#include "relay/worker.h"

/* Bytes from one look to the next: about so many as come in 10 to 40 ms. */
#define LOOK_MIN (4u << 10)
#define LOOK_MAX (4u << 20)
#define LOOK_SOON_US 10000
#define LOOK_LATE_US 40000
/* So near that no buffer of a line lies between: a look is good for many bytes. */
#define NEAR_US 2000

struct uplink {
	struct shed shed;
	uint64_t looked_us;
	uint32_t step;           /* bytes */
	uint64_t received, sent; /* bytes, up to the look before */
	uint32_t delivered;      /* segments that the client has acknowledged, ever; wraps */
};

static bool uplink_begin(struct conn *c)
{
	c->uplink = calloc(1, sizeof(*c->uplink));
	if (!c->uplink)
		return false;
	c->uplink->step = LOOK_MIN;
	return true;
}

/* When to look again. */
static void next_look(struct conn *c, uint64_t now_us, bool near)
{
	struct uplink *u = c->uplink;
	uint64_t us = now_us - u->looked_us;

	if (near)
		u->step = LOOK_MAX;
	else if (us < LOOK_SOON_US)
		u->step = MIN(u->step * 2, LOOK_MAX);
	else if (us > LOOK_LATE_US)
		u->step = MAX(u->step / 2, LOOK_MIN);
	u->looked_us = now_us;
	c->uplink_look = c->totals.rx_bytes + u->step;
}

/* When much goes the other way as well, we keep a little in the buffers there (window.h), which the
 * round-trip time has in it. */
static uint32_t ours_us(struct conn *c)
{
	struct uplink *u = c->uplink;
	uint64_t received = c->totals.rx_bytes - u->received, sent = c->totals.tx_bytes - u->sent;

	u->received = c->totals.rx_bytes;
	u->sent = c->totals.tx_bytes;
	if (!c->path || sent < received / 4)
		return 0;
	return MIN(c->path->window.margin_us, c->path->window.base_us / 2);
}

void uplink_look(struct conn *c)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);
	uint64_t now_us = clock_ns() / 1000;
	bool near;

	c->uplink_look = c->totals.rx_bytes + LOOK_MAX;
	if ((!c->uplink && !uplink_begin(c)) ||
	    getsockopt(c->watch.fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return;
	near = info.tcpi_min_rtt < NEAR_US;
	next_look(c, now_us, near);
	/* Without an acknowledgement the round-trip time is that of before. */
	if (near || info.tcpi_delivered == c->uplink->delivered)
		return;
	c->uplink->delivered = info.tcpi_delivered;
	if (shed_sample(&c->uplink->shed, &(struct shed_sample){
					      .now_us = now_us,
					      .received = c->totals.rx_bytes,
					      .rtt_us = info.tcpi_rtt,
					      .jitter_us = info.tcpi_rttvar,
					      .least_us = info.tcpi_min_rtt,
					      .ours_us = ours_us(c),
					  }))
		c->shed = true;
}
