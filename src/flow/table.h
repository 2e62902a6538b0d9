/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * table.h: the flows of one worker: who sends to whom, how much, and what was lost.
 *
 * A flow is (connection it entered by, destination key), and for packets that a mesh peer forwarded
 * also the key that sent them. It is found once per packet, and is at the same time the packet's
 * route: it keeps the hash and the owner of the destination, and, when the owner is this worker, a
 * handle on the peer record. It never keeps a connection, a link or a miss.
 *
 * Entries lie in stable slots, so that others may name a flow by (slot, generation); the hash is
 * only an index. The table never grows past its cap: at the cap a clock hand evicts an old entry, a
 * connection at its share evicts one of its own. What is evicted, or goes with its connection, is
 * folded into `other`; so the sum over flows and other is what was received, exactly.
 *
 * One writer, the worker. Nothing here allocates after flow_table_init; records of trouble come
 * from a bounded pool.
 */
#ifndef SLUICE_FLOW_TABLE_H
#define SLUICE_FLOW_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/delay.h"
#include "base/key.h"

#define FLOW_NONE UINT32_MAX
#define FLOW_LIMIT_MIN 16
/* A connection may hold the table's cap divided by this, but never less than FLOW_SHARE_MIN. */
#define FLOW_SHARE 16
#define FLOW_SHARE_MIN 8
#define FLOW_IDLE_DS (5 * 60 * 10)

/* Names a flow across threads and time. */
struct flow_ref {
	uint32_t slot; /* FLOW_NONE: none */
	uint32_t gen;
};

/* Times are in tenths of a second since the process began: 13 years in 32 bits. */
struct flow {
	/* first line: all that an ordinary packet touches */
	struct key dst;
	uint64_t packets; /* all that was received, disco and dropped included */
	uint64_t bytes;
	uint32_t last_ds;
	uint32_t conn; /* connection's slot; FLOW_NONE when the entry is free */
	uint32_t peer; /* peer record's slot when owner is this worker, else unused */
	uint32_t peer_gen;
	/* second line */
	uint64_t dst_hash;
	uint64_t disco_packets;
	uint64_t disco_bytes;
	uint32_t first_ds;
	uint32_t gen;
	uint32_t trouble; /* index of its record, FLOW_NONE without */
	uint32_t next;    /* of the connection's flows; next free entry */
	uint32_t prev;
	uint32_t owner;  /* worker that owns dst */
	uint32_t spread; /* of the source's hash, for the index; 0 without */
	uint32_t hop;    /* worker to which its packets are mailed, as of the last; self: none */
	bool has_src;    /* a mesh peer forwarded it: who sent it is in its mesh record */
	bool fwded;      /* some of it went to mesh peers: its mesh record says how much */
};

_Static_assert(sizeof(struct flow) == 128, "a flow is two cache lines");
_Static_assert(offsetof(struct flow, dst_hash) == 64, "the hot half is the first");

/* What only flows of the mesh have; beside each slot, written where has_src or fwded says so. */
struct flow_mesh {
	struct key src; /* where has_src */
	uint64_t src_hash;
	uint64_t fwded_packets, fwded_bytes;
	uint8_t link; /* that the last one went to */
};

/* Who sent what a mesh peer forwarded. */
struct flow_src {
	const struct key *key;
	uint64_t hash;
};

/* What only flows have whose packets were dropped or had to wait. */
struct flow_trouble {
	uint64_t packets[DROP_REASON_COUNT]; /* dropped */
	uint64_t bytes[DROP_REASON_COUNT];
	struct delays delays;
	uint32_t next_free;
};

/* Sums over flows that are no longer in the table. */
struct flow_totals {
	uint64_t flows; /* how many were folded in */
	uint64_t packets, bytes;
	uint64_t disco_packets, disco_bytes;
	/* parts of packets and bytes */
	uint64_t mesh_packets, mesh_bytes; /* came from mesh peers: counted at another node, too */
	uint64_t fwded_packets, fwded_bytes; /* handed to mesh peers */
	uint64_t drop_packets[DROP_REASON_COUNT];
	uint64_t drop_bytes[DROP_REASON_COUNT];
};

/* A connection's part of the table: embedded in the connection. What of it was evicted is in the
 * table's `other` too; here it is told apart by connection. */
struct flow_set {
	uint32_t last; /* the flow of the packet before, FLOW_NONE */
	uint32_t n;
	uint32_t head; /* newest */
	uint32_t tail;
	uint64_t other_flows, other_packets, other_bytes;
};

struct flow_table {
	struct flow *slot;            /* cap entries */
	struct flow_mesh *mesh;       /* cap entries, resident only where the mesh is used */
	uint32_t *index;              /* slots by hash, FLOW_NONE empty; mask + 1 entries */
	struct flow_trouble *trouble; /* trouble_cap entries, FLOW_NONE ends the free list */
	uint32_t mask;
	uint32_t cap;
	uint32_t share;
	uint32_t used;    /* entries in use */
	uint32_t touched; /* entries ever used: slots above were never written */
	uint32_t free;    /* list of free slots below `touched` */
	uint32_t hand;    /* where eviction and the idle sweep go on */
	uint32_t sweep;
	uint32_t trouble_cap, trouble_touched, trouble_free;
	struct flow_totals other;
	struct counters *counters;
};

void flow_table_init(struct flow_table *t, uint32_t cap, struct counters *counters);
void flow_table_fini(struct flow_table *t);

void flow_set_init(struct flow_set *s);
/* Folds all flows of a connection into other: it ends. */
void flow_set_fini(struct flow_table *t, struct flow_set *s);

/* Looks in the index; FLOW_NONE when there is none. hash is key_hash(dst), src NULL but for what a
 * mesh peer forwarded. */
uint32_t flow_lookup(const struct flow_table *t, uint32_t conn, const struct key *dst,
    uint64_t hash, const struct flow_src *src);
/* A new entry for (conn, dst, src); evicts where it must, never fails. `set_of` finds the set of
 * another connection, whose flow had to go. */
uint32_t flow_create(struct flow_table *t, struct flow_set *s, uint32_t conn, const struct key *dst,
    uint64_t hash, const struct flow_src *src, uint32_t now_ds,
    struct flow_set *(*set_of)(void *arg, uint32_t conn), void *arg);
/* Whether the flow is of packets that this key sent; NULL: that the connection itself sent. */
static inline bool flow_is_from(const struct flow_table *t, uint32_t slot, const struct key *src)
{
	if (!t->slot[slot].has_src)
		return !src;
	return src && key_equal(&t->mesh[slot].src, src);
}
/* Counts a packet: the whole cost of it. */
static inline void flow_count(struct flow *f, uint32_t bytes, bool disco, uint32_t now_ds)
{
	f->packets++;
	f->bytes += bytes;
	f->last_ds = now_ds;
	if (unlikely(disco)) {
		f->disco_packets++;
		f->disco_bytes += bytes;
	}
}
/* Packets of a flow were dropped; when it has gone, or records are used up, other has them. */
void flow_drop(struct flow_table *t, struct flow_ref ref, enum drop_reason why, uint64_t packets,
    uint64_t bytes);
/* Packets of a flow were handed to a mesh link; when it has gone, other has them. */
void flow_forwarded(
    struct flow_table *t, struct flow_ref ref, uint8_t link, uint64_t packets, uint64_t bytes);
/* Packets of a flow waited before they were sent, see base/delay.h. */
void flow_waited(
    struct flow_table *t, struct flow_ref ref, uint32_t bucket, uint32_t packets, uint64_t sum_ms);
/* Frees flows idle for FLOW_IDLE_DS, looking at up to n entries. */
void flow_sweep(struct flow_table *t, uint32_t n, uint32_t now_ds,
    struct flow_set *(*set_of)(void *arg, uint32_t conn), void *arg);

static inline struct flow_ref flow_ref_of(const struct flow_table *t, uint32_t slot)
{
	return (struct flow_ref){.slot = slot, .gen = t->slot[slot].gen};
}

#endif
