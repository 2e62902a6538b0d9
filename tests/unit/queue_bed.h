/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * queue_bed.h: queues beside a model of plain lists. Whatever is pushed, popped or dropped is
 * compared with the model, and that each drop has a cause and hits one who must pay.
 *
 * Packets are numbered, and all of a packet follows from its number and the record of it here.
 */
#ifndef SLUICE_TEST_QUEUE_BED_H
#define SLUICE_TEST_QUEUE_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "relay/queue.h"
#include "wire/frame.h"

#define BED_QUEUES 4
#define BED_ITEMS (1u << 17)
#define BED_SOURCES 12000
#define BED_NONE UINT32_MAX
/* Of a queue and a line without packets. */
#define BED_QUEUE_COST 2048u
#define BED_FLOW_COST 512u
#define LEN_MIN FRAME_PACKET_HEAD
#define LEN_MAX (FRAME_PACKET_HEAD + PACKET_MAX)
#define BED_DISCO_AHEAD (16u << 10)

enum bed_state { ITEM_NEW, ITEM_WAITS, ITEM_POPPED, ITEM_DROPPED };
enum bed_doing { DOING_NOTHING, DOING_OPEN, DOING_PUSH, DOING_PEEK, DOING_FREE };

struct bed_item {
	uint32_t queue, src, len, at_ms, next;
	enum bed_state state;
	enum drop_reason why; /* of one that was dropped */
	bool disco;
};

struct bed_line {
	uint32_t head, tail, packets;
	uint32_t memory;
};

struct bed_queue {
	struct bed *bed;
	struct queue *q;
	uint32_t i;
	uint32_t packets, bytes, memory; /* memory: that of packets */
	struct bed_line disco;
	uint32_t ahead; /* bytes that disco has been ahead of the others */
};

struct bed {
	struct pool pool;
	struct queue_set set;
	struct queue_limits limits;
	uint64_t bytes;
	uint32_t now_ms;
	struct bed_queue queue[BED_QUEUES];
	uint32_t sources; /* how many there may be: numbers below */
	bool lawless;     /* CoDel must not drop */
	enum bed_doing doing;
	enum drop_reason why; /* for which a queue is freed */
	uint32_t arriving;    /* number of what is being pushed, else BED_NONE */
	uint32_t items;
	uint32_t drops[DROP_REASON_COUNT];
	uint32_t popped, dropped;
	/* What was popped and is not freed yet. */
	struct pool_buf *spent;
	uint32_t spent_n;
	size_t spent_memory;
};

static struct bed_item bed_item[BED_ITEMS];
static struct bed_line bed_line[BED_QUEUES][BED_SOURCES];

static inline void bed_put_frame(uint32_t number, uint8_t *p)
{
	const struct bed_item *it = &bed_item[number];

	memset(p, (int)(number * 31 + 7), it->len);
	frame_put_header(p, FRAME_RECV_PACKET, it->len - FRAME_HEADER_LEN);
	memset(p + FRAME_HEADER_LEN, 0, KEY_LEN);
	memcpy(p + FRAME_HEADER_LEN + 3, &it->src, sizeof(it->src));
}

static inline void bed_expect_frame(uint32_t number, const uint8_t *p)
{
	static uint8_t want[LEN_MAX];

	bed_put_frame(number, want);
	assert_memory_equal(p, want, bed_item[number].len);
}

/* What a buffer for this packet costs. */
static inline uint32_t bed_cost(uint32_t len)
{
	static struct pool scale = {.limit = SIZE_MAX};
	struct pool_buf *b = pool_get(&scale, sizeof(struct queue_packet) + len);
	uint32_t cost = (uint32_t)scale.used;

	pool_put(&scale, b);
	return cost;
}

static inline struct bed_line *bed_line_of(struct bed *b, const struct bed_item *it)
{
	if (it->disco)
		return &b->queue[it->queue].disco;
	return &bed_line[it->queue][b->limits.fair ? it->src : 0];
}

/* Strangers get no more of the pool, or not so much. */
static inline bool bed_used_up(const struct bed *b, uint32_t cost)
{
	return b->pool.used > b->pool.limit - b->pool.limit / 4 ||
	       b->pool.used + cost > b->pool.limit;
}

/* The memory of the line that has most. */
static inline uint32_t bed_longest(const struct bed *b, const struct bed_queue *q)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < b->sources; i++)
		most = MAX(most, bed_line[q->i][i].memory);
	return most;
}

static inline void bed_arrive(struct bed *b)
{
	struct bed_item *it = &bed_item[b->arriving];
	struct bed_queue *q = &b->queue[it->queue];
	struct bed_line *l = bed_line_of(b, it);

	*(l->packets++ ? &bed_item[l->tail].next : &l->head) = b->arriving;
	l->tail = b->arriving;
	l->memory += bed_cost(it->len);
	it->state = ITEM_WAITS;
	q->packets += !it->disco;
	q->bytes += it->len;
	q->memory += bed_cost(it->len);
	b->arriving = BED_NONE;
}

static inline void bed_leave(struct bed *b, uint32_t number, enum bed_state where)
{
	struct bed_item *it = &bed_item[number];
	struct bed_queue *q = &b->queue[it->queue];
	struct bed_line *l = bed_line_of(b, it);

	assert_int_equal(it->state, ITEM_WAITS);
	/* Nothing overtakes within a line, and what is dropped is its oldest. */
	assert_int_equal(l->head, number);
	l->head = it->next;
	l->packets--;
	l->memory -= bed_cost(it->len);
	it->state = where;
	q->packets -= !it->disco;
	q->bytes -= it->len;
	q->memory -= bed_cost(it->len);
}

static inline uint32_t bed_expect(const struct bed *b, const struct queue_packet *p, bool disco)
{
	uint32_t number = p->flow.slot;
	const struct bed_item *it = &bed_item[number];

	assert_true(number < b->items);
	assert_int_equal(p->flow.gen, number + 2);
	assert_int_equal(p->flow_worker, number % 64);
	assert_int_equal(p->len, it->len);
	assert_int_equal(p->at_ms, it->at_ms);
	assert_int_equal(disco, it->disco);
	return number;
}

/* Room is made in the pool for so much: it was needed, and comes from a queue that has most. */
static inline void bed_expect_squeeze(
    const struct bed *b, const struct bed_queue *from, uint32_t cost)
{
	assert_true(bed_used_up(b, cost));
	/* Who has no packets has nothing to give, whatever its lines take. */
	for (int i = 0; i < BED_QUEUES; i++)
		if (b->queue[i].q && (b->queue[i].packets || b->queue[i].disco.packets))
			assert_true(from->q->memory >= b->queue[i].q->memory / 2);
}

/* Room is made: there was a limit to keep, and the line that has most pays. */
static inline void bed_expect_victim(struct bed *b, const struct bed_item *it)
{
	struct bed_queue *from = &b->queue[it->queue];
	const struct bed_item *new = b->arriving == BED_NONE ? NULL : &bed_item[b->arriving];

	if (b->doing == DOING_OPEN) {
		bed_expect_squeeze(b, from, BED_QUEUE_COST);
	} else if (!new) {
		/* It has come in already, and is too much. */
		assert_true(from->q->memory > b->limits.memory ||
			    (b->limits.packets && from->q->packets > b->limits.packets));
	} else if (it->disco && new->disco &&new->queue == it->queue &&
		   from->disco.packets >= b->limits.disco) {
		/* Disco at its cap. */
		return;
	} else {
		bed_expect_squeeze(b, from, bed_cost(new->len));
	}
	/* Disco comes before the lines only when it has more than a quarter. */
	assert_int_equal(
	    it->disco, from->disco.packets &&
			   (from->packets == 0 || from->disco.memory > b->limits.memory / 4));
	if (!it->disco)
		assert_true(bed_line_of(b, it)->memory >= bed_longest(b, from) / 2);
}

/* Whether what is being pushed has come in shows in the queue's sums. */
static inline void bed_see_arrival(struct bed *b)
{
	const struct bed_queue *q;

	if (b->arriving == BED_NONE)
		return;
	q = &b->queue[bed_item[b->arriving].queue];
	if (q->q->bytes > q->bytes)
		bed_arrive(b);
}

static inline void bed_dropped(
    void *owner, const struct queue_packet *p, enum drop_reason why, bool disco)
{
	struct bed_queue *q = owner;
	struct bed *b = q->bed;
	uint32_t number = bed_expect(b, p, disco), waited = b->now_ms - p->at_ms;
	struct bed_item *it = &bed_item[number];

	assert_int_not_equal(b->doing, DOING_NOTHING);
	assert_int_equal(it->queue, q->i);
	b->dropped++;
	b->drops[why]++;
	it->why = why;
	if (why == DROP_QUEUE_TAIL) {
		/* It has no frame behind it. */
		assert_int_equal(number, b->arriving);
		assert_true(bed_used_up(b, bed_cost(it->len)));
		it->state = ITEM_DROPPED;
		b->arriving = BED_NONE;
		return;
	}
	bed_expect_frame(number, p->frame);
	if (b->doing == DOING_FREE) {
		assert_int_equal(why, b->why);
	} else {
		assert_int_equal(why, DROP_QUEUE_HEAD);
		if (b->doing == DOING_PEEK) {
			assert_true(
			    waited > q->q->age_ms ||
			    (!disco && !b->lawless && b->limits.fair && waited >= q->q->target_ms));
		} else {
			bed_see_arrival(b);
			bed_expect_victim(b, it);
		}
	}
	/* It is still in the queue's sums. */
	assert_int_equal(q->q->packets, q->packets);
	assert_int_equal(q->q->bytes, q->bytes);
	bed_leave(b, number, ITEM_DROPPED);
}

static inline void bed_init(
    struct bed *b, size_t pool, uint32_t sources, struct queue_limits limits)
{
	memset(b, 0, sizeof(*b));
	memset(bed_line, 0, sizeof(bed_line));
	memset(bed_item, 0, sizeof(bed_item));
	pool_init(&b->pool, pool);
	b->set = (struct queue_set){.pool = &b->pool, .bytes = &b->bytes, .dropped = bed_dropped};
	b->limits = limits;
	b->sources = sources;
	b->lawless = true;
	b->arriving = BED_NONE;
	/* The clock wraps during most tests. */
	b->now_ms = 0u - 200;
}

/* CoDel that never drops, unless the test sets its times. */
static inline bool bed_open(struct bed *b, uint32_t i)
{
	struct bed_queue *q = &b->queue[i];

	*q = (struct bed_queue){.bed = b, .i = i};
	b->doing = DOING_OPEN;
	q->q = queue_new(&b->set, q, &b->limits);
	b->doing = DOING_NOTHING;
	if (!q->q)
		return false;
	q->q->target_ms = q->q->interval_ms = 1u << 30;
	return true;
}

/* When the oldest packet came that waits in this queue. */
static inline uint32_t bed_age(const struct bed *b, const struct bed_queue *q)
{
	uint32_t waited = q->disco.packets ? b->now_ms - bed_item[q->disco.head].at_ms : 0;

	for (uint32_t i = 0; i < b->sources; i++)
		if (bed_line[q->i][i].packets)
			waited = MAX(waited, b->now_ms - bed_item[bed_line[q->i][i].head].at_ms);
	return waited;
}

/* Compares all sums. */
static inline void bed_check(const struct bed *b)
{
	uint64_t bytes = 0;
	size_t memory = 0;
	uint32_t waits = 0;

	for (int i = 0; i < BED_QUEUES; i++) {
		const struct bed_queue *q = &b->queue[i];

		if (!q->q)
			continue;
		assert_int_equal(q->q->packets, q->packets);
		assert_int_equal(q->q->disco.packets, q->disco.packets);
		assert_int_equal(q->q->bytes, q->bytes);
		assert_int_equal(queue_empty(q->q), q->packets + q->disco.packets == 0);
		assert_int_equal(queue_age(q->q, b->now_ms), bed_age(b, q));
		/* Lines and the queue itself take a buffer each. */
		assert_int_equal(
		    q->q->memory, q->memory + q->q->nflows * BED_FLOW_COST + BED_QUEUE_COST);
		assert_true(q->q->memory <= MAX(b->limits.memory, BED_QUEUE_COST));
		assert_true(q->disco.packets <= b->limits.disco);
		if (b->limits.packets)
			assert_true(q->packets <= b->limits.packets);
		bytes += q->bytes;
		memory += q->q->memory;
		waits += q->packets + q->disco.packets;
	}
	assert_int_equal(b->bytes, bytes);
	assert_int_equal(b->pool.used, memory + b->spent_memory);
	assert_int_equal(b->items, b->popped + b->dropped + waits);
}

/* Returns the packet's number. */
static inline uint32_t bed_push(
    struct bed *b, uint32_t queue, uint32_t src, uint32_t len, bool disco)
{
	static uint8_t frame[LEN_MAX];
	uint32_t number = b->items++;
	struct queue_packet what = {
	    .len = len,
	    .at_ms = b->now_ms,
	    .flow = {.slot = number, .gen = number + 2},
	    .flow_worker = number % 64,
	};

	assert_true(number < BED_ITEMS && src < b->sources);
	bed_item[number] = (struct bed_item){
	    .queue = queue, .src = src, .len = len, .at_ms = b->now_ms, .disco = disco};
	b->arriving = number;
	b->doing = DOING_PUSH;
	bed_put_frame(number, frame);
	queue_push(b->queue[queue].q, &what, frame, disco);
	b->doing = DOING_NOTHING;
	if (b->arriving != BED_NONE)
		bed_arrive(b);
	return number;
}

/* What was popped must still be there. */
static inline void bed_free_spent(struct bed *b)
{
	while (b->spent) {
		struct pool_buf *buf = b->spent;
		const struct queue_packet *p = (const void *)buf->data;

		bed_expect_frame(p->flow.slot, p->frame);
		b->spent = buf->next;
		b->spent_n--;
		b->spent_memory -= bed_cost(p->len);
		/* What is read after this is not there any more. */
		memset(buf->data, 0xee, buf->cap);
		pool_put(&b->pool, buf);
	}
	assert_int_equal(b->spent_n, 0);
	assert_int_equal(b->spent_memory, 0);
}

/* Returns the packet's number, BED_NONE when nothing waits. */
static inline uint32_t bed_pop(struct bed *b, uint32_t queue)
{
	struct bed_queue *q = &b->queue[queue];
	struct queue_packet *p;
	uint32_t number, len;
	bool disco, again;

	b->doing = DOING_PEEK;
	p = queue_peek(q->q, b->now_ms, &disco);
	assert_ptr_equal(queue_peek(q->q, b->now_ms, &again), p);
	assert_int_equal(again, disco);
	b->doing = DOING_NOTHING;
	if (!p) {
		assert_int_equal(q->packets + q->disco.packets, 0);
		return BED_NONE;
	}
	number = bed_expect(b, p, disco);
	len = p->len;
	/* Disco first, but for what it has been ahead. */
	assert_int_equal(
	    disco, q->disco.packets > 0 && (q->packets == 0 || q->ahead < BED_DISCO_AHEAD));
	if (disco)
		q->ahead =
		    q->ahead + len < 2 * BED_DISCO_AHEAD ? q->ahead + len : 2 * BED_DISCO_AHEAD;
	else
		q->ahead -= len < q->ahead ? len : q->ahead;
	assert_true(b->now_ms - p->at_ms <= q->q->age_ms);
	bed_expect_frame(number, p->frame);
	queue_pop(q->q, &b->spent);
	assert_ptr_equal(b->spent->data, p);
	bed_leave(b, number, ITEM_POPPED);
	b->popped++;
	b->spent_n++;
	b->spent_memory += bed_cost(len);
	return number;
}

static inline void bed_close(struct bed *b, uint32_t queue, enum drop_reason why)
{
	struct bed_queue *q = &b->queue[queue];
	uint32_t waits = q->packets + q->disco.packets, dropped = b->dropped;

	b->doing = DOING_FREE;
	b->why = why;
	queue_free(q->q, why);
	b->doing = DOING_NOTHING;
	assert_int_equal(b->dropped, dropped + waits);
	assert_int_equal(q->packets + q->disco.packets + q->bytes + q->memory, 0);
	q->q = NULL;
	q->ahead = 0;
}

static inline void bed_fini(struct bed *b)
{
	for (uint32_t i = 0; i < BED_QUEUES; i++)
		if (b->queue[i].q)
			bed_close(b, i, DROP_GONE_DISCONNECTED);
	bed_check(b);
	bed_free_spent(b);
	for (uint32_t i = 0; i < b->items; i++)
		assert_true(bed_item[i].state >= ITEM_POPPED);
	assert_int_equal(b->pool.used, 0);
	assert_int_equal(b->bytes, 0);
	assert_int_equal(b->set.queues.mask, 0);
	pool_fini(&b->pool);
}

#endif
