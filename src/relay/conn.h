/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * conn.h: an established DERP connection, from its login to its end, on the worker that owns its
 * key.
 *
 * Life: conn_admit makes it from a gate's letter: it joins its peer record, ServerInfo goes out
 * first of all. conn_close takes it out of everything at once and marks it dead; the worker frees
 * it at the end of the turn, as events and lists of that turn may still name it.
 */
#ifndef SLUICE_RELAY_CONN_H
#define SLUICE_RELAY_CONN_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/pool.h"
#include "base/wheel.h"
#include "flow/table.h"
#include "io/loop.h"
#include "relay/letters.h"
#include "relay/peer.h"
#include "relay/sighting.h"
#include "relay/queue.h"
#include "wire/frame.h"

/* Unsent control frames that a connection may pile up before it is closed. */
#define CONTROL_MAX (64u << 10)
/* What may wait for one connection: packets with the memory that holds them, how long (more on long
 * paths, see path.h), and disco. */
#define WAIT_MEMORY_MAX (4u << 20)
#define WAIT_AGE_MAX_MS 250
#define WAIT_DISCO_MAX 32
/* PeerGone/not here: one a second, three at once. */
#define NOT_HERE_BURST 3
#define NOT_HERE_EVERY_MS 1000
#define KEEPALIVE_MS 60000
#define KEEPALIVE_JITTER_MS 5000
/* A NotePreferred this long after login is a move of home. */
#define HOME_MOVE_AFTER_MS 5000

struct worker;
struct neighbour;
struct mesh_conn;
struct path;
struct uplink;
struct slice;

/* Packets of this turn, still in the receive buffer of their sender. */
struct fresh {
	struct slice *first, *last;
};

/* Its first half is all that an ordinary packet touches. A packet of a client that was idle finds
 * nothing of it in a cache. */
struct conn {
	struct watch watch;
	struct worker *worker;
	struct tls *tls;      /* NULL on plain TCP */
	struct websocket *ws; /* NULL without */
	struct peer *peer;    /* NULL: a link */
	uint32_t slot, gen;
	bool mesh_peer;
	bool is_link; /* we dialled it: the other end is the server */
	bool dead;
	bool blocked; /* packets wait: the socket takes no more, or its path has enough */
	bool dirty;   /* on the worker's list of those to flush */
	bool shed;    /* a large packet from it is to be dropped: its line is full */
	bool home;
	bool pong_waits; /* a Pong lies in control */

	/* second line; in: what came of a frame that is not whole yet, and what is to be skipped */
	struct pool_buf *rest;
	uint64_t skip;
	struct neighbour *paused; /* not read, because that worker is behind; NULL: read */
	uint64_t uplink_look;     /* uplink is looked at when so many bytes have come, ever */
	struct peer_totals totals;

	/* third line; out, in the order in which it is sent */
	struct pool_buf *sealed;  /* bytes for the wire that the socket did not take */
	struct pool_buf *control; /* whole frames other than packets */
	struct queue *queue;      /* packets that wait for the socket; NULL: none */
	struct fresh fresh[KIND_COUNT];
	struct path *path; /* how it is to send there; NULL: it was sent little */

	/* fourth line */
	struct conn *next_dirty;
	uint32_t fresh_bytes;
	uint32_t rest_len;
	uint64_t write_deadline; /* ms; 0: none */
	struct sighting_set sightings;
	struct flow_set flows; /* the last packet's flow; the rest lies behind the line */

	/* what ordinary packets don't touch */
	struct uplink *uplink; /* how its line towards us is; NULL: it has sent little */
	uint32_t sealed_at, sealed_len;
	uint32_t control_len, controls; /* bytes, frames */
	struct conn *next_of_peer, *prev_of_peer;
	struct conn *next_dead, *next_paused;
	struct mesh_conn *mesh; /* of links and mesh peers; else NULL */
	enum close_reason end; /* it has ended, once what is kept has been parsed; COUNT: not yet */
	int unacked;           /* bytes in the kernel when write_deadline was set */
	struct timer timer;
	uint64_t keepalive_at; /* ms; 0: none */
	uint32_t keepalive_every_ms;
	uint32_t not_here_tokens;
	uint64_t not_here_at;
	uint64_t number;
	uint64_t since_ms;
	struct in6_addr addr;
	uint16_t port;
	uint8_t outage; /* write time-outs since, in which the client acknowledged nothing */
	bool prober, not_ideal;
	char app_name[APP_NAME_MAX + 1];
} __attribute__((aligned(CACHE_LINE)));

/* With its TLS state (240 bytes) and its key's record all that an idle client holds. */
_Static_assert(sizeof(struct conn) <= 512, "an idle connection is small");
#define CONN_HOT (4 * CACHE_LINE)
_Static_assert(offsetof(struct conn, rest) == CACHE_LINE &&
		   offsetof(struct conn, sealed) == 2 * CACHE_LINE &&
		   offsetof(struct conn, next_dirty) == 3 * CACHE_LINE &&
		   offsetof(struct conn, flows.last) < CONN_HOT,
    "packets touch four lines");

/* What stands in front of a packet that is sent there: links get ForwardPacket frames. */
static inline uint32_t conn_packet_head(const struct conn *c)
{
	return c->is_link ? FRAME_FORWARD_HEAD : FRAME_PACKET_HEAD;
}

/* A connection with a place of its own, in no list yet. */
struct conn *conn_new(struct worker *w, struct admit *a);
/* Makes a connection of what the gate hands over, and frees that. */
void conn_admit(struct worker *w, struct admit *a);
/* Ends it: nothing of it is reachable afterwards but the object itself, until the turn's end. */
void conn_close(struct conn *c, enum close_reason why);
/* The worker's: frees a dead connection. */
void conn_free(struct conn *c);
/* The worker's: a timer of the connection is due. */
void conn_tick(struct conn *c);
/* Sets the timer for the nearer of keepalive and write deadline. */
void conn_arm(struct conn *c);

/* Frames of the relay itself: appended behind other control frames, ahead of packets. */
void conn_put_control(struct conn *c, enum frame_type type, const void *payload, uint32_t len);
/* The same for n whole frames that are ready. */
void conn_put_frames(struct conn *c, const uint8_t *frames, uint32_t len, uint32_t n);
void conn_put_peer_gone(struct conn *c, const struct key *k, enum peer_gone_reason why);
/* Disco packets to a key that is nowhere: says so for each, at most one a second. */
void conn_not_here(struct conn *c, const struct key *k, uint32_t packets);
/* A whole frame other than SendPacket (or its first bytes, when it is longer than anything we
 * know): acts on it. Returns how much of the payload at p is used up, or -1 when more is needed. */
int64_t conn_frame(struct conn *c, uint8_t type, uint32_t len, const uint8_t *p, size_t avail);

#endif
