/* SPDX-License-Identifier: BSD-3-Clause */
#include "flow/table.h"

#include <sys/mman.h>

/* How many entries an eviction looks at; the oldest of them goes. */
#define EVICT_LOOK 16

void flow_table_init(struct flow_table *t, uint32_t cap, struct counters *counters)
{
	uint32_t buckets = 64;

	CHECK(cap >= FLOW_LIMIT_MIN && cap < (1u << 30));
	while (buckets < 2 * cap)
		buckets *= 2;
	*t = (struct flow_table){
	    .cap = cap,
	    .mask = buckets - 1,
	    .share = MAX(cap / FLOW_SHARE, FLOW_SHARE_MIN),
	    .free = FLOW_NONE,
	    .trouble_cap = MAX(cap / 4, FLOW_LIMIT_MIN),
	    .trouble_free = FLOW_NONE,
	    .counters = counters,
	};
	/* Mapped, not touched: memory becomes resident as flows come. */
	t->slot = must_map((size_t)cap * sizeof(*t->slot));
	t->mesh = must_map((size_t)cap * sizeof(*t->mesh));
	t->trouble = must_map((size_t)t->trouble_cap * sizeof(*t->trouble));
	t->index = must_map((size_t)buckets * sizeof(*t->index));
}

void flow_table_fini(struct flow_table *t)
{
	munmap(t->slot, (size_t)t->cap * sizeof(*t->slot));
	munmap(t->mesh, (size_t)t->cap * sizeof(*t->mesh));
	munmap(t->trouble, (size_t)t->trouble_cap * sizeof(*t->trouble));
	munmap(t->index, ((size_t)t->mask + 1) * sizeof(*t->index));
}

void flow_set_init(struct flow_set *s)
{
	*s = (struct flow_set){.head = FLOW_NONE, .tail = FLOW_NONE, .last = FLOW_NONE};
}

/* The index keeps slot + 1, so that fresh pages are an empty index. */
static uint32_t bucket_of(const struct flow_table *t, uint32_t conn, uint64_t hash, uint32_t spread)
{
	return (uint32_t)(hash ^ spread ^ (conn * 0x9e3779b97f4a7c15ull >> 20)) & t->mask;
}

static uint32_t bucket_of_flow(const struct flow_table *t, const struct flow *f)
{
	return bucket_of(t, f->conn, f->dst_hash, f->spread);
}

/* Not the destination's own bits: a flow from a key to itself would lie where all such flows lie.
 */
static uint32_t spread_of(const struct flow_src *src)
{
	return src ? (uint32_t)(src->hash >> 32) : 0;
}

uint32_t flow_lookup(const struct flow_table *t, uint32_t conn, const struct key *dst,
    uint64_t hash, const struct flow_src *src)
{
	uint32_t b = bucket_of(t, conn, hash, spread_of(src));

	for (;; b = (b + 1) & t->mask) {
		const struct flow *f;

		if (t->index[b] == 0)
			return FLOW_NONE;
		f = &t->slot[t->index[b] - 1];
		/* All of it in the entry's first line, but for a mesh peer's. */
		if (f->conn == conn && key_equal(&f->dst, dst) &&
		    flow_is_from(t, t->index[b] - 1, src ? src->key : NULL))
			return t->index[b] - 1;
	}
}

static void index_insert(struct flow_table *t, uint32_t slot)
{
	const struct flow *f = &t->slot[slot];
	uint32_t b = bucket_of_flow(t, f);

	while (t->index[b] != 0)
		b = (b + 1) & t->mask;
	t->index[b] = slot + 1;
}

/* Linear probing without tombstones: entries behind the hole move up while they may. */
static void index_remove(struct flow_table *t, uint32_t slot)
{
	const struct flow *f = &t->slot[slot];
	uint32_t hole = bucket_of_flow(t, f);

	while (t->index[hole] != slot + 1)
		hole = (hole + 1) & t->mask;
	for (uint32_t b = (hole + 1) & t->mask; t->index[b] != 0; b = (b + 1) & t->mask) {
		const struct flow *g = &t->slot[t->index[b] - 1];
		uint32_t home = bucket_of_flow(t, g);

		if (((b - home) & t->mask) >= ((b - hole) & t->mask)) {
			t->index[hole] = t->index[b];
			hole = b;
		}
	}
	t->index[hole] = 0;
}

static void set_unlink(struct flow_table *t, struct flow_set *s, uint32_t slot)
{
	struct flow *f = &t->slot[slot];

	if (f->prev != FLOW_NONE)
		t->slot[f->prev].next = f->next;
	else
		s->head = f->next;
	if (f->next != FLOW_NONE)
		t->slot[f->next].prev = f->prev;
	else
		s->tail = f->prev;
	if (s->last == slot)
		s->last = FLOW_NONE;
	s->n--;
}

static void set_push(struct flow_table *t, struct flow_set *s, uint32_t slot)
{
	struct flow *f = &t->slot[slot];

	f->prev = FLOW_NONE;
	f->next = s->head;
	if (s->head != FLOW_NONE)
		t->slot[s->head].prev = slot;
	else
		s->tail = slot;
	s->head = slot;
	s->n++;
}

static void drops_fold(struct flow_table *t, struct flow *f)
{
	struct flow_trouble *d;

	if (f->trouble == FLOW_NONE)
		return;
	d = &t->trouble[f->trouble];
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		t->other.drop_packets[r] += d->packets[r];
		t->other.drop_bytes[r] += d->bytes[r];
	}
	d->next_free = t->trouble_free;
	t->trouble_free = f->trouble;
	f->trouble = FLOW_NONE;
}

static void mesh_fold(struct flow_table *t, uint32_t slot)
{
	const struct flow *f = &t->slot[slot];

	if (f->has_src) {
		t->other.mesh_packets += f->packets;
		t->other.mesh_bytes += f->bytes;
	}
	if (f->fwded) {
		t->other.fwded_packets += t->mesh[slot].fwded_packets;
		t->other.fwded_bytes += t->mesh[slot].fwded_bytes;
	}
}

/* Takes an entry out of the table; its numbers live on in other. */
static void flow_remove(struct flow_table *t, struct flow_set *s, uint32_t slot)
{
	struct flow *f = &t->slot[slot];

	s->other_flows++;
	s->other_packets += f->packets;
	s->other_bytes += f->bytes;
	t->other.flows++;
	t->other.packets += f->packets;
	t->other.bytes += f->bytes;
	t->other.disco_packets += f->disco_packets;
	t->other.disco_bytes += f->disco_bytes;
	drops_fold(t, f);
	mesh_fold(t, slot);
	index_remove(t, slot);
	set_unlink(t, s, slot);
	f->conn = FLOW_NONE;
	f->gen++;
	f->next = t->free;
	t->free = slot;
	t->used--;
	count_down(t->counters, C_FLOWS, 1);
}

void flow_set_fini(struct flow_table *t, struct flow_set *s)
{
	while (s->head != FLOW_NONE)
		flow_remove(t, s, s->head);
}

/* A connection at its share gives up the one that was idle longest among its oldest; those looked
 * at move to the front, so that the next eviction looks further. */
static void evict_own(struct flow_table *t, struct flow_set *s)
{
	uint32_t victim = s->tail;

	for (int i = 0; i < EVICT_LOOK; i++) {
		uint32_t slot = s->tail;

		if (t->slot[slot].last_ds < t->slot[victim].last_ds)
			victim = slot;
		set_unlink(t, s, slot);
		set_push(t, s, slot);
	}
	flow_remove(t, s, victim);
	count(t->counters, C_FLOWS_EVICTED, 1);
}

static void evict_any(struct flow_table *t, struct flow_set *(*set_of)(void *, uint32_t), void *arg)
{
	uint32_t victim = FLOW_NONE;

	for (int i = 0; i < EVICT_LOOK; i++) {
		uint32_t slot = t->hand;

		t->hand = t->hand + 1 < t->touched ? t->hand + 1 : 0;
		if (t->slot[slot].conn == FLOW_NONE)
			continue;
		if (victim == FLOW_NONE || t->slot[slot].last_ds < t->slot[victim].last_ds)
			victim = slot;
	}
	/* Called on a full table only, so that every entry is in use. */
	CHECK(victim != FLOW_NONE);
	flow_remove(t, set_of(arg, t->slot[victim].conn), victim);
	count(t->counters, C_FLOWS_EVICTED, 1);
}

uint32_t flow_create(struct flow_table *t, struct flow_set *s, uint32_t conn, const struct key *dst,
    uint64_t hash, const struct flow_src *src, uint32_t now_ds,
    struct flow_set *(*set_of)(void *, uint32_t), void *arg)
{
	uint32_t slot, gen;
	struct flow *f;

	if (s->n >= t->share)
		evict_own(t, s);
	else if (t->used == t->cap)
		evict_any(t, set_of, arg);
	if (t->free != FLOW_NONE) {
		slot = t->free;
		t->free = t->slot[slot].next;
	} else {
		slot = t->touched++;
	}
	f = &t->slot[slot];
	gen = f->gen;
	*f = (struct flow){
	    .dst = *dst,
	    .dst_hash = hash,
	    .conn = conn,
	    .first_ds = now_ds,
	    .last_ds = now_ds,
	    .gen = gen,
	    .peer = FLOW_NONE,
	    .trouble = FLOW_NONE,
	    .spread = spread_of(src),
	    .has_src = src != NULL,
	};
	if (src)
		t->mesh[slot] = (struct flow_mesh){.src = *src->key, .src_hash = src->hash};
	t->used++;
	index_insert(t, slot);
	set_push(t, s, slot);
	count(t->counters, C_FLOWS, 1);
	count(t->counters, C_FLOWS_CREATED, 1);
	return slot;
}

static struct flow_trouble *trouble_get(struct flow_table *t, struct flow *f)
{
	if (f->trouble != FLOW_NONE)
		return &t->trouble[f->trouble];
	if (t->trouble_free != FLOW_NONE) {
		f->trouble = t->trouble_free;
		t->trouble_free = t->trouble[f->trouble].next_free;
	} else if (t->trouble_touched < t->trouble_cap) {
		f->trouble = t->trouble_touched++;
	} else {
		return NULL;
	}
	t->trouble[f->trouble] = (struct flow_trouble){0};
	return &t->trouble[f->trouble];
}

/* The flow of a reference; NULL when it has gone. */
static struct flow *flow_at(struct flow_table *t, struct flow_ref ref)
{
	struct flow *f = ref.slot < t->touched ? &t->slot[ref.slot] : NULL;

	return f && f->gen == ref.gen && f->conn != FLOW_NONE ? f : NULL;
}

void flow_forwarded(
    struct flow_table *t, struct flow_ref ref, uint8_t link, uint64_t packets, uint64_t bytes)
{
	struct flow *f = flow_at(t, ref);
	struct flow_mesh *m;

	if (!f) {
		t->other.fwded_packets += packets;
		t->other.fwded_bytes += bytes;
		return;
	}
	m = &t->mesh[ref.slot];
	if (!f->fwded)
		m->fwded_packets = m->fwded_bytes = 0;
	f->fwded = true;
	m->fwded_packets += packets;
	m->fwded_bytes += bytes;
	m->link = link;
}

void flow_drop(struct flow_table *t, struct flow_ref ref, enum drop_reason why, uint64_t packets,
    uint64_t bytes)
{
	struct flow *f = flow_at(t, ref);
	struct flow_trouble *d = f ? trouble_get(t, f) : NULL;

	if (d) {
		d->packets[why] += packets;
		d->bytes[why] += bytes;
	} else {
		t->other.drop_packets[why] += packets;
		t->other.drop_bytes[why] += bytes;
	}
}

void flow_waited(
    struct flow_table *t, struct flow_ref ref, uint32_t bucket, uint32_t packets, uint64_t sum_ms)
{
	struct flow *f = flow_at(t, ref);
	struct flow_trouble *d = f ? trouble_get(t, f) : NULL;

	if (d)
		delays_note(&d->delays, bucket, packets, sum_ms);
}

void flow_sweep(struct flow_table *t, uint32_t n, uint32_t now_ds,
    struct flow_set *(*set_of)(void *, uint32_t), void *arg)
{
	for (uint32_t i = 0; i < MIN(n, t->touched); i++) {
		const struct flow *f = &t->slot[t->sweep];

		if (f->conn != FLOW_NONE && now_ds - f->last_ds > FLOW_IDLE_DS)
			flow_remove(t, set_of(arg, f->conn), t->sweep);
		t->sweep = t->sweep + 1 < t->touched ? t->sweep + 1 : 0;
	}
}
