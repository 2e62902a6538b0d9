/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/queue.h"

#include <string.h>

#include "relay/codel.h"
#include "wire/frame.h"

/* Up to this much memory a line holds no standing queue, however long it waits: that of one packet
 * of the common size. Nor does a single packet of whatever size. */
#define CODEL_FLOOR 2048
/* When there is too much, disco pays first if it has more than this part of a queue's memory. */
#define DISCO_PART 4
/* Bytes that disco may be ahead of the lines; then it takes turns with them. */
#define DISCO_AHEAD (16u << 10)
/* A line is dropped from no faster than after so many drops in a row. */
#define CODEL_COUNT_MAX (1u << 20)
/* Lines that are dropped from for one packet when the worker's memory is used up. */
#define SQUEEZE_MAX 64

_Static_assert(sizeof(struct queue) + sizeof(struct pool_buf) <= 2048, "fits a small buffer");
_Static_assert(sizeof(struct queue_flow) + sizeof(struct pool_buf) <= 512, "fits the smallest");

/* ---- Memory ---------------------------------------------------------------------------------- */

static struct pool_buf *buf_of(const void *data)
{
	return (
	    struct pool_buf *)(uintptr_t)((const uint8_t *)data - offsetof(struct pool_buf, data));
}

static uint32_t size_of(const struct pool_buf *b)
{
	return b->cap + (uint32_t)sizeof(*b);
}

static void hold(struct queue *q, uint32_t size)
{
	q->memory += size;
	heavy_weigh(&q->set->queues, &q->weight, q->memory);
}

static void release(struct queue *q, uint32_t size)
{
	hold(q, 0 - size);
}

static struct queue_packet *packet_at(const struct pool_buf *b)
{
	return (struct queue_packet *)(void *)(uintptr_t)b->data;
}

/* Bytes of frames come and go. */
static void note_bytes(struct queue *q, uint32_t len)
{
	q->bytes += len;
	tally(q->set->bytes, (uint64_t)(int64_t)(int32_t)len);
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static void list_append(struct queue_list *l, struct pool_buf *b)
{
	*(l->tail ? &l->tail->next : &l->head) = b;
	l->tail = b;
	l->packets++;
	l->memory += size_of(b);
}

static struct pool_buf *list_shift(struct queue_list *l)
{
	struct pool_buf *b = l->head;

	l->head = b->next;
	if (!l->head)
		l->tail = NULL;
	l->packets--;
	l->memory -= size_of(b);
	b->next = NULL;
	return b;
}

static void turns_append(struct queue_turns *t, struct queue_flow *f)
{
	f->turns = t;
	f->next = NULL;
	f->prev = t->last;
	*(t->last ? &t->last->next : &t->first) = f;
	t->last = f;
}

static void turns_remove(struct queue_flow *f)
{
	struct queue_turns *t = f->turns;

	*(f->prev ? &f->prev->next : &t->first) = f->next;
	*(f->next ? &f->next->prev : &t->last) = f->prev;
}

/* A queue without fairness has one line, that of nobody. */
static const struct key *source_of(const struct queue *q, const uint8_t *frame)
{
	static const struct key nobody;

	return q->limits->fair ? (const struct key *)(const void *)(frame + FRAME_HEADER_LEN)
			       : &nobody;
}

static struct queue_flow *flow_find(struct queue *q, const struct key *src, uint32_t bucket)
{
	struct queue_flow *f = q->bucket[bucket];

	while (f && !key_equal(&f->src, src))
		f = f->next_hashed;
	return f;
}

static uint32_t bucket_of(const struct key *src)
{
	return (uint32_t)key_hash(src) % QUEUE_BUCKETS;
}

/* An empty line. */
static void flow_end(struct queue *q, struct queue_flow *f)
{
	struct queue_flow **at = &q->bucket[bucket_of(&f->src)];

	turns_remove(f);
	while (*at != f)
		at = &(*at)->next_hashed;
	*at = f->next_hashed;
	q->nflows--;
	release(q, size_of(buf_of(f)));
	pool_put(q->set->pool, buf_of(f));
}

/* ---- Off the head ---------------------------------------------------------------------------- */

/* The head of a list of the queue's. */
static struct pool_buf *take(struct queue *q, struct queue_list *l)
{
	struct pool_buf *b = list_shift(l);

	note_bytes(q, 0 - packet_at(b)->len);
	release(q, size_of(b));
	return b;
}

static struct pool_buf *flow_take(struct queue *q, struct queue_flow *f)
{
	struct pool_buf *b = take(q, &f->list);

	q->packets--;
	heavy_weigh(&q->lines, &f->weight, f->list.memory);
	return b;
}

static void flow_drop_head(struct queue *q, struct queue_flow *f, enum drop_reason why)
{
	q->set->dropped(q->owner, packet_at(f->list.head), why, false);
	pool_put(q->set->pool, flow_take(q, f));
}

static void disco_drop_head(struct queue *q, enum drop_reason why)
{
	q->set->dropped(q->owner, packet_at(q->disco.head), why, true);
	pool_put(q->set->pool, take(q, &q->disco));
}

/* Drops the packet that is worth least: the oldest of the longest line, or of disco when that is
 * more than disco can be. A line that is empty then ends at once, as lines need memory too. False:
 * nothing waits. */
static bool drop_one(struct queue *q)
{
	struct heavy_node *n = heavy_first(&q->lines);

	if (q->disco.packets && (!n || q->disco.memory > q->limits->memory / DISCO_PART)) {
		disco_drop_head(q, DROP_QUEUE_HEAD);
	} else if (n) {
		struct queue_flow *f = container_of(n, struct queue_flow, weight);

		flow_drop_head(q, f, DROP_QUEUE_HEAD);
		if (!f->list.head)
			flow_end(q, f);
	} else {
		return false;
	}
	return true;
}

void queue_free(struct queue *q, enum drop_reason why)
{
	struct queue_turns *t[] = {&q->fresh, &q->old};

	while (q->disco.packets)
		disco_drop_head(q, why);
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		while (t[i]->first) {
			struct queue_flow *f = t[i]->first;

			while (f->list.packets)
				flow_drop_head(q, f, why);
			flow_end(q, f);
		}
	}
	CHECK(q->packets == 0 && q->bytes == 0 && q->nflows == 0);
	release(q, size_of(buf_of(q)));
	CHECK(q->memory == 0);
	pool_put(q->set->pool, buf_of(q));
}

/* ---- In -------------------------------------------------------------------------------------- */

/* A buffer, if need be by dropping from whoever holds most on this worker. */
static struct pool_buf *room_for(struct queue_set *set, uint32_t size)
{
	struct pool_buf *b = pool_get_spare(set->pool, size);

	for (int i = 0; !b && i < SQUEEZE_MAX; i++) {
		struct heavy_node *n = heavy_first(&set->queues);

		if (!n)
			break;
		/* An empty one has nothing to give; it is weighed again when it has. */
		if (!drop_one(container_of(n, struct queue, weight)))
			heavy_remove(&set->queues, n);
		b = pool_get_spare(set->pool, size);
	}
	return b;
}

struct queue *queue_new(struct queue_set *set, void *owner, const struct queue_limits *limits)
{
	struct pool_buf *b = room_for(set, sizeof(struct queue));
	struct queue *q;

	if (!b)
		return NULL;
	q = (void *)b->data;
	memset(q, 0, sizeof(*q));
	q->set = set;
	q->owner = owner;
	q->limits = limits;
	q->age_ms = q->target_ms = q->interval_ms = limits->age_ms;
	hold(q, size_of(b));
	return q;
}

static struct pool_buf *copy_of(
    struct queue *q, const struct queue_packet *what, const uint8_t *frame)
{
	struct pool_buf *b = room_for(q->set, (uint32_t)sizeof(*what) + what->len);

	if (!b)
		return NULL;
	*packet_at(b) = *what;
	memcpy(packet_at(b)->frame, frame, what->len);
	return b;
}

static void put(struct queue *q, struct queue_list *l, struct pool_buf *b)
{
	list_append(l, b);
	hold(q, size_of(b));
}

static void push_disco(struct queue *q, struct pool_buf *b)
{
	while (q->disco.packets >= q->limits->disco)
		disco_drop_head(q, DROP_QUEUE_HEAD);
	put(q, &q->disco, b);
}

static struct queue_flow *flow_begin(struct queue *q, const struct key *src, uint32_t bucket)
{
	struct pool_buf *b = room_for(q->set, sizeof(struct queue_flow));
	struct queue_flow *f;

	if (!b)
		return NULL;
	f = (void *)b->data;
	memset(f, 0, sizeof(*f));
	f->src = *src;
	f->deficit = QUEUE_QUANTUM;
	f->next_hashed = q->bucket[bucket];
	q->bucket[bucket] = f;
	q->nflows++;
	turns_append(&q->fresh, f);
	hold(q, size_of(b));
	return f;
}

static bool push_flow(struct queue *q, struct pool_buf *b)
{
	const struct key *src = source_of(q, packet_at(b)->frame);
	uint32_t bucket = bucket_of(src);
	struct queue_flow *f = flow_find(q, src, bucket);

	if (!f)
		f = flow_begin(q, src, bucket);
	if (!f)
		return false;
	put(q, &f->list, b);
	heavy_weigh(&q->lines, &f->weight, f->list.memory);
	q->packets++;
	return true;
}

void queue_push(struct queue *q, const struct queue_packet *what, const uint8_t *frame, bool disco)
{
	struct pool_buf *b = copy_of(q, what, frame);

	if (b && disco)
		push_disco(q, b);
	else if (!b || !push_flow(q, b)) {
		q->set->dropped(q->owner, what, DROP_QUEUE_TAIL, disco);
		pool_put(q->set->pool, b);
		return;
	}
	note_bytes(q, what->len);
	while (q->memory > q->limits->memory ||
	       (q->limits->packets && q->packets > q->limits->packets))
		if (!drop_one(q))
			break;
}

/* ---- CoDel ----------------------------------------------------------------------------------- */

/* a is at or behind b, on a clock that wraps. */
static bool reached(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) >= 0;
}

/* When the line loses its next packet, at least 1 ms later. */
static uint32_t gap_ms(const struct queue *q, const struct queue_flow *f)
{
	return MAX((uint32_t)codel_gap(q->interval_ms, f->count), 1u);
}

/* Whether the head has waited above the target for a whole interval. */
static bool codel_above(const struct queue *q, struct queue_flow *f, uint32_t now)
{
	uint32_t waited;

	if (!f->list.head)
		return false;
	waited = now - packet_at(f->list.head)->at_ms;
	if (waited < q->target_ms || f->list.packets == 1 || f->list.memory <= CODEL_FLOOR ||
	    (q->set->overloaded && !q->path_full)) {
		f->above_at = 0;
		return false;
	}
	if (!f->above_at) {
		f->above_at = (now + q->interval_ms) | 1; /* 0 means none */
		return false;
	}
	return reached(now, f->above_at);
}

/* Drops from the head of a line what its law and its age ask for. */
static void flow_police(struct queue *q, struct queue_flow *f, uint32_t now)
{
	bool above;

	while (f->list.head && now - packet_at(f->list.head)->at_ms > q->age_ms)
		flow_drop_head(q, f, DROP_QUEUE_HEAD);
	if (!q->limits->fair)
		return;
	above = codel_above(q, f, now);
	if (!above) {
		f->dropping = false;
		return;
	}
	if (!f->dropping) {
		uint32_t again = f->count - f->last_count;

		flow_drop_head(q, f, DROP_QUEUE_HEAD);
		f->dropping = true;
		/* Back soon after it stopped: goes on at about the rate that held it. */
		f->count = again > 1 && now - f->drop_at < 16 * q->interval_ms ? again : 1;
		f->last_count = f->count;
		f->drop_at = now + gap_ms(q, f);
		(void)codel_above(q, f, now);
		return;
	}
	while (f->dropping && reached(now, f->drop_at)) {
		flow_drop_head(q, f, DROP_QUEUE_HEAD);
		f->count = MIN(f->count + 1, CODEL_COUNT_MAX);
		f->dropping = codel_above(q, f, now);
		f->drop_at += gap_ms(q, f);
	}
}

/* ---- Out ------------------------------------------------------------------------------------- */

/* The line whose turn it is, with a packet at its head. */
static struct queue_flow *next_line(struct queue *q, uint32_t now)
{
	for (;;) {
		struct queue_turns *t = q->fresh.first ? &q->fresh : &q->old;
		struct queue_flow *f = t->first;

		if (!f)
			return NULL;
		if (f->deficit <= 0) {
			f->deficit += QUEUE_QUANTUM;
			turns_remove(f);
			turns_append(&q->old, f);
			continue;
		}
		flow_police(q, f, now);
		if (f->list.head)
			return f;
		/* One that began just now waits a round, or it would be first again at once. */
		if (t == &q->fresh && q->old.first) {
			turns_remove(f);
			turns_append(&q->old, f);
		} else {
			flow_end(q, f);
		}
	}
}

/* Disco goes first, though not for ever: its magic is forgeable. */
static bool disco_first(const struct queue *q)
{
	return q->disco.head && (q->disco_debt < DISCO_AHEAD || q->packets == 0);
}

struct queue_packet *queue_peek(struct queue *q, uint32_t now_ms, bool *disco)
{
	struct queue_flow *f;

	while (q->disco.head && now_ms - packet_at(q->disco.head)->at_ms > q->age_ms)
		disco_drop_head(q, DROP_QUEUE_HEAD);
	f = disco_first(q) ? NULL : next_line(q, now_ms);
	*disco = !f;
	if (f)
		return packet_at(f->list.head);
	return q->disco.head ? packet_at(q->disco.head) : NULL;
}

void queue_pop(struct queue *q, struct pool_buf **spent)
{
	struct queue_flow *f = q->fresh.first ? q->fresh.first : q->old.first;
	struct pool_buf *b;

	if (disco_first(q)) {
		b = take(q, &q->disco);
		q->disco_debt = MIN(q->disco_debt + packet_at(b)->len, 2 * DISCO_AHEAD);
	} else {
		CHECK(f && f->list.head);
		b = flow_take(q, f);
		f->deficit -= (int32_t)packet_at(b)->len;
		q->disco_debt -= MIN(packet_at(b)->len, q->disco_debt);
	}
	b->next = *spent;
	*spent = b;
}

uint32_t queue_age(const struct queue *q, uint32_t now_ms)
{
	const struct queue_turns *t[] = {&q->fresh, &q->old};
	uint32_t age = 0;

	if (q->disco.head)
		age = now_ms - packet_at(q->disco.head)->at_ms;
	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		for (const struct queue_flow *f = t[i]->first; f; f = f->next)
			if (f->list.head)
				age = MAX(age, now_ms - packet_at(f->list.head)->at_ms);
	return age;
}
