/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * site.h: the web pages of a relay: what derper answers over HTTP, and the debug pages.
 *
 * Everything here runs on the gate's thread. The site owns no socket and never sleeps; see
 * gate/site.h for how an answer that must wait does so.
 */
#ifndef SLUICE_WEB_SITE_H
#define SLUICE_WEB_SITE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/key.h"
#include "gate/site.h"
#include "gate/stun_server.h"
#include "io/addr.h"
#include "relay/mesh.h"

/* The longest debug key that is compared, in bytes. */
#define DEBUG_KEY_MAX 255

/* Copied by site_new; what it points to is borrowed and must outlive the site. */
struct site_config {
	/* How the site reaches the gate: gate_ask and reply_ready, but in tests. */
	bool (*ask)(struct gate *g, enum letter_kind what);
	void (*ready)(struct reply *r);
	uint64_t (*clock_ms)(void); /* NULL: that of base/clock.h */
	uint64_t start_ms; /* monotonic, when the process began: what _ds times count from */
	int workers;
	const char *version;
	struct key server_key; /* public */

	const char *home;  /* "" (or NULL) for the default page, "blank", or a URL to redirect to */
	bool derp;         /* false: /derp answers 404 */
	uint16_t tls_port; /* where LISTEN_HTTP redirects to; 0: 443 */

	/* Who may see /debug/ besides this machine and Tailscale addresses. */
	const char *allow_debug_ip; /* one IP address; NULL or "": none */
	struct addr_cidrs trusted;
	const char *debug_key; /* for ?debugkey=, without blanks around it; NULL or "": none */
	bool debug_elsewhere;  /* there is a LISTEN_DEBUG: 404 for /debug on other listeners */

	const struct counters *const *counters; /* of every thread */
	int ncounters;
	const uint64_t *const *queue_delay_us; /* a moving average of each worker */
	int nqueue_delay;
	const struct mesh *mesh;       /* NULL: there is no mesh */
	const struct stun_stats *stun; /* NULL: no STUN */
};

struct site;

struct site *site_new(const struct site_config *c);
/* Before the first request; the site and the gate know each other. */
void site_set_gate(struct site *s, struct gate *g);
/* Only when all replies have been freed. */
void site_free(struct site *s);
/* To be given to the gate. */
struct site_ops site_ops(struct site *s);

#endif
