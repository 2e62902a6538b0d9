/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link.h: connections of the mesh, on the worker that owns the other server's key: those that we
 * dialled (links), by which we learn who is there and forward to them, and those by which other
 * nodes reach us (mesh peers).
 *
 * A link is a client's end: what comes in are PeerPresent, PeerGone, Pong and the like. It is kept
 * alive by pings of ours, as the other side's keepalives are a minute apart.
 */
#ifndef SLUICE_RELAY_LINK_H
#define SLUICE_RELAY_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/counter.h"
#include "relay/mesh.h"

#define LINK_PING_MS 5000
/* Nothing heard for so long, pings included: the link is dead. */
#define LINK_SILENT_MS 15000
/* What may wait for one link: many clients' packets share it. */
#define LINK_WAIT_MEMORY_MAX (16u << 20)
#define LINK_WAIT_DISCO_MAX 4096
#define LINK_WAIT_AGE_MAX_MS 1000
/* For links and mesh peers, whatever -tcp-write-timeout says: as derper has it. */
#define MESH_WRITE_TIMEOUT_MS 30000
/* The longest frame that a link may send us. */
#define LINK_FRAME_MAX (1u << 20)

struct conn;
struct worker;
struct admit;

/* What a connection of the mesh has besides. */
struct mesh_conn {
	/* of a link */
	uint8_t link;
	uint64_t heard_ms;         /* when something came */
	uint64_t ping_us, ping_no; /* when the last ping went, 0: it was answered; what it says */
	/* of a mesh peer */
	bool watching;
	uint64_t asked;   /* bit w: worker w has a cursor for it */
	uint64_t ack_due; /* bit w: a batch of worker w is to be acknowledged */
	struct conn *next_watching;
	/* of the link to the same server; NULL: we don't dial it */
	struct mesh_traffic *traffic;
};

/* A link's connection, handed over by the gate; frees the letter. */
void link_admit(struct worker *w, struct admit *a);
/* conn_close's: a link's connection ends. */
void link_end(struct conn *c, enum close_reason why);
/* A mesh peer has logged in. */
void link_peer_admit(struct conn *c);
/* A timer of a link is due. */
void link_tick(struct conn *c);
/* Parses stream bytes from a link; returns how many are done with. */
size_t link_parse(struct conn *c, uint8_t *p, size_t len);
/* A frame that only mesh peers may send, from one; as conn_frame. */
int64_t link_peer_frame(struct conn *c, uint8_t type, uint32_t len, const uint8_t *p, size_t avail);

#endif
