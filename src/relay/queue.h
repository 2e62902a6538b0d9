/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * queue.h: packets that must wait for one client, because its socket takes no more.
 *
 * Ruled by time and shared fairly: each source has a line of its own, lines take turns by bytes
 * (deficit round robin, as FQ-CoDel, RFC 8290 section 4), a line that has just begun goes first,
 * and a line whose packets have waited too long for too long loses some from its head (CoDel, RFC
 * 8289 section 5). Disco goes ahead of all, in a line of its own that is short, and no more than
 * 16 KiB ahead, as its magic is forgeable. Within a line the order is that of arrival.
 *
 * Each packet is a copy in a buffer of its own, and all memory is counted as it is taken. When
 * there is too much of it for one client, its longest line pays; when there is too much for the
 * worker, the longest line of the client with most.
 *
 * Time comes with each call, nothing here looks at a clock. A queue exists while packets wait.
 */
#ifndef SLUICE_RELAY_QUEUE_H
#define SLUICE_RELAY_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/heavy.h"
#include "base/pool.h"
#include "flow/table.h"

/* Bytes that a line may send in its turn: a packet of the common size. */
#define QUEUE_QUANTUM 1500
#define QUEUE_BUCKETS 64

struct queue_packet {
	uint32_t len;   /* of the frame */
	uint32_t at_ms; /* when it came: low half of the turn's clock */
	struct flow_ref flow;
	uint32_t flow_worker;
	uint32_t unused;
	uint8_t frame[]; /* RecvPacket or ForwardPacket: the source's key behind the header */
};

struct queue_limits {
	uint32_t memory;  /* bytes, with all that holds them */
	uint32_t packets; /* most in all lines, 0: as memory allows */
	uint32_t disco;   /* most disco packets */
	uint32_t age_ms;  /* no packet is sent that waited longer, until the path is known */
	bool fair;        /* false: one line for all, and no law but these limits */
};

/* Packets in the order of their arrival. */
struct queue_list {
	struct pool_buf *head, *tail;
	uint32_t packets;
	uint32_t memory;
};

/* The line of one source. */
struct queue_flow {
	struct heavy_node weight;
	struct key src;
	struct queue_list list;
	int32_t deficit; /* bytes that it may still send in this turn */
	bool dropping;
	uint32_t above_at; /* ms: since then, an interval later; 0: below target */
	uint32_t drop_at;  /* ms: the next drop, when dropping */
	uint32_t count, last_count;
	struct queue_turns *turns; /* the list it is in */
	struct queue_flow *next, *prev;
	struct queue_flow *next_hashed; /* of its bucket */
};

struct queue_turns {
	struct queue_flow *first, *last;
};

struct queue;

/* What the queues of a worker share. */
struct queue_set {
	struct pool *pool;
	struct heavy queues; /* by memory */
	uint64_t *bytes;     /* of the frames that wait, for others to read */
	bool overloaded;     /* packets wait for the worker, not for clients (overload.h) */
	/* A packet is lost; it is still in the queue's sums. */
	void (*dropped)(
	    void *owner, const struct queue_packet *p, enum drop_reason why, bool disco);
};

struct queue {
	struct heavy_node weight;
	struct queue_set *set;
	void *owner;
	const struct queue_limits *limits;
	/* the law, by the path to the client: no packet is sent that waited longer; CoDel's two */
	uint32_t age_ms, target_ms, interval_ms;
	bool path_full; /* they wait for the path, whatever the worker has to do */
	uint32_t bytes; /* of frames */
	uint32_t memory;
	uint32_t packets; /* disco apart */
	uint32_t nflows;
	struct queue_list disco;
	uint32_t disco_debt;           /* bytes of disco that went ahead of the lines */
	struct queue_turns fresh, old; /* lines that have just begun; the others */
	struct heavy lines;            /* by memory */
	struct queue_flow *bucket[QUEUE_BUCKETS];
};

/* An empty queue of that owner; NULL when the pool is used up and nothing more can be dropped. */
struct queue *queue_new(struct queue_set *set, void *owner, const struct queue_limits *limits);
/* Forgets what waits, telling `dropped` of each with that reason. */
void queue_free(struct queue *q, enum drop_reason why);
/* Copies a frame behind the others of its source, and drops what has no room any more: it may be
 * this very frame. `what` without its frame. */
void queue_push(struct queue *q, const struct queue_packet *what, const uint8_t *frame, bool disco);
/* What is to be sent next, NULL when nothing waits any more. It stays where it is; what has waited
 * too long before it is dropped. */
struct queue_packet *queue_peek(struct queue *q, uint32_t now_ms, bool *disco);
/* Takes off what queue_peek has just returned. Its buffer goes to *spent, so that the frame can be
 * read until the caller frees that list. */
void queue_pop(struct queue *q, struct pool_buf **spent);
static inline bool queue_empty(const struct queue *q)
{
	return q->packets == 0 && q->disco.packets == 0;
}
/* How long the oldest packet has waited in ms; 0 when there is none. */
uint32_t queue_age(const struct queue *q, uint32_t now_ms);

#endif
