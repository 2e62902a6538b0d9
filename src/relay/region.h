/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * region.h: what a worker knows of the other nodes of its region: which links are up, and by which
 * of them the keys that it owns are reached.
 *
 * A link's connection lives on the worker that owns the remote server's key (link.h). That worker
 * tells all others when it comes and goes (LETTER_LINK), and each key's owner who is present there
 * (LETTER_PRESENT). A forwarder is void as soon as its link is down or has a newer epoch; void ones
 * are taken out of the peer records a slice a turn.
 */
#ifndef SLUICE_RELAY_REGION_H
#define SLUICE_RELAY_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/counter.h"
#include "relay/mesh.h"
#include "relay/peer.h"

/* Keys that a worker knows to be at other nodes, at most: further ones are not learnt. */
#define REGION_KEYS_MAX (1u << 18)

struct worker;
struct conn;

/* How a worker sees a link. */
struct link_view {
	bool up;
	uint8_t epoch;
	uint8_t worker;    /* that has its connection */
	struct key server; /* the remote server's, also after it has gone */
	uint32_t purge;    /* peer slot where the search for void forwarders goes on; MAP64_NONE */
	/* on the link's own worker */
	struct conn *conn;       /* NULL while it is down */
	uint64_t untold;         /* bit w: worker w has still to hear of the last change */
	bool gate_untold;        /* the gate has still to hear of an end */
	uint8_t ended_epoch;     /* of which connection */
	enum close_reason ended; /* why */
};

struct region {
	struct link_view link[MESH_LINKS_MAX];
	uint32_t keys; /* with forwarders */
};

struct link_letter {
	uint8_t link, epoch, worker;
	bool up;
	struct key server;
};

struct present_letter {
	struct key key;
	uint64_t hash;
	uint8_t link, epoch;
	bool present;
};

void region_init(struct region *r);

/* Adds the peer's part to the gauges of clients, or takes it away: around each change of it. */
void region_count_peer(struct worker *w, const struct peer *p, bool up);
/* The link by which a key is reached, NULL when there is none. */
struct link_view *region_forwarder(struct worker *w, const struct peer *p);

/* On the link's worker: its connection has come or gone; tells everybody. */
void region_link_changed(struct worker *w, uint8_t link);
/* On every worker: the same, told by the link's; what is older than what it knows is nothing. */
void region_take_link(struct worker *w, const struct link_letter *l);
/* On the owner of the key. */
void region_take_present(struct worker *w, const struct present_letter *l);

/* Tells those who could not be told, takes out void forwarders; true when there is more to do. */
bool region_step(struct worker *w);
/* News wait for room in somebody's mailbox. */
bool region_waits(const struct worker *w);

#endif
