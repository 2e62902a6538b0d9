/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * peer.h: what a worker knows of the keys that it owns.
 *
 * Life of a record: made when its key first logs in, here or at another node of the mesh (or when
 * somebody asks to be told of its going); holds all connections of the key, the active one first,
 * and the mesh links that reach it, the oldest first; stays for a while after the last one has
 * gone, for the totals, until the list of idle records is full; then it is freed and its slot's
 * generation moves on, so that handles in flows become void.
 */
#ifndef SLUICE_RELAY_PEER_H
#define SLUICE_RELAY_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/key.h"
#include "base/map64.h"
#include "relay/mesh.h"

/* Records kept without a connection, a worker. */
#define PEER_IDLE_MAX 16384

struct conn;

struct peer_totals {
	uint64_t rx_packets, rx_bytes; /* from this node */
	uint64_t tx_packets, tx_bytes; /* to this node */
};

/* A mesh link that reaches a key. */
struct forwarder {
	uint8_t link;
	uint8_t epoch; /* of the link's connection that said so: void once there is another */
};

struct peer {
	struct key key;
	uint64_t hash;
	struct conn *active;    /* gets the packets; NULL when the key is not connected */
	struct conn *conns;     /* all, the one that sent last first (conn->next_of_peer) */
	uint64_t gone_watchers; /* bit w: tell worker w when the key has gone */
	uint32_t slot;
	uint32_t nconns;
	bool gone_pending; /* it has gone, some watchers are still to be told */
	struct peer *next_pending;
	struct peer *idle_next, *idle_prev; /* while it is not reachable */
	/* presence.c: among the keys that came or went, oldest change first; seq 0: not there */
	struct peer *change_next, *change_prev;
	uint64_t change_seq;
	uint8_t nforwarders;
	struct forwarder forwarder[MESH_LINKS_MAX]; /* in order of first sight */
	uint64_t logins;
	struct peer_totals past; /* of connections that have ended */
};

_Static_assert(sizeof(struct peer) <= 288, "so is what is known of a key");

struct peer_slot {
	struct peer *peer;
	uint32_t gen;
	uint32_t next_free;
};

struct peer_table {
	struct peer_slot *slot;
	uint32_t nslots;
	uint32_t free;
	struct map64 by_hash;
	struct peer *idle_first, *idle_last; /* oldest first */
	uint32_t idle;
	/* Called before an idle record is freed; NULL: nobody minds. */
	void (*forget)(void *arg, struct peer *p);
	void *forget_arg;
};

/* Here, or at another node of the mesh. */
static inline bool peer_reachable(const struct peer *p)
{
	return p->nconns > 0 || p->nforwarders > 0;
}

void peer_table_init(struct peer_table *t);
void peer_table_fini(struct peer_table *t);

/* NULL when the key is not known. */
struct peer *peer_find(const struct peer_table *t, const struct key *k, uint64_t hash);
/* Finds or makes; a new record is idle. May free the oldest idle record. */
struct peer *peer_get(struct peer_table *t, const struct key *k, uint64_t hash);
/* The record of a handle, NULL when it is void. */
static inline struct peer *peer_at(const struct peer_table *t, uint32_t slot, uint32_t gen)
{
	return slot < t->nslots && t->slot[slot].gen == gen ? t->slot[slot].peer : NULL;
}
static inline uint32_t peer_gen(const struct peer_table *t, const struct peer *p)
{
	return t->slot[p->slot].gen;
}

/* Frees those that have been idle longest, until PEER_IDLE_MAX are left: at the end of a turn, when
 * nobody has one in hand. */
void peer_trim(struct peer_table *t);

/* A connection joins as the active one. */
void peer_add(struct peer_table *t, struct peer *p, struct conn *c);
/* A connection leaves; the one that sent most recently before it becomes active. */
void peer_remove(struct peer_table *t, struct peer *p, struct conn *c);
/* c has sent: it becomes the active one. */
void peer_activate(struct peer *p, struct conn *c);

/* A link's connection reaches the key: it lines up last, or stays where it is if it does already.
 * True when it is new. */
bool peer_add_forwarder(struct peer_table *t, struct peer *p, struct forwarder f);
/* The link does not reach it any more, whatever the epoch. True when it did. */
bool peer_remove_forwarder(struct peer_table *t, struct peer *p, uint8_t link);

#endif
