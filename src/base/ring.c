/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/ring.h"

#include <sys/mman.h>

static uint32_t letter_size(uint32_t len)
{
	return ((uint32_t)sizeof(struct letter) + len + 7) & ~7u;
}

void ring_init(struct ring *r, uint32_t cap, uint32_t keep)
{
	CHECK(cap >= 4096 && (cap & (cap - 1)) == 0 && keep <= cap / 2);
	*r = (struct ring){.cap = cap, .keep = keep};
	r->buf = must_map(cap);
}

void ring_fini(struct ring *r)
{
	munmap(r->buf, r->cap);
	r->buf = NULL;
}

static struct letter *letter_at(const struct ring *r, uint64_t pos)
{
	return (struct letter *)(void *)(r->buf + (pos & (r->cap - 1)));
}

/* Bytes that a letter takes, with the filler before it when the ring's end is too near. */
static uint32_t filler_before(const struct ring *r, uint32_t size)
{
	uint32_t to_end = r->cap - (uint32_t)(r->head & (r->cap - 1));

	return size > to_end ? to_end : 0;
}

static bool fits(struct ring *r, uint64_t need)
{
	if (r->head - r->seen_tail + need <= r->cap)
		return true;
	r->seen_tail = atomic_load_explicit(&r->tail, memory_order_acquire);
	return r->head - r->seen_tail + need <= r->cap;
}

bool ring_has_room(struct ring *r, uint32_t len)
{
	uint32_t size = letter_size(len);

	return fits(r, (uint64_t)size + filler_before(r, size) + r->keep);
}

void *ring_reserve(struct ring *r, uint32_t kind, uint32_t len, bool control)
{
	uint32_t size = letter_size(len);
	uint32_t filler = filler_before(r, size);
	struct letter *l;

	CHECK(kind != LETTER_FILLER && len <= r->cap / 4 - sizeof(*l));
	if (!fits(r, (uint64_t)size + filler + (control ? 0 : r->keep))) {
		r->refused++;
		return NULL;
	}
	if (filler) {
		l = letter_at(r, r->head);
		l->kind = LETTER_FILLER;
		l->len = filler - (uint32_t)sizeof(*l);
		r->head += filler;
	}
	l = letter_at(r, r->head);
	l->kind = kind;
	l->len = len;
	return l->body;
}

void ring_commit(struct ring *r)
{
	r->head += letter_size(letter_at(r, r->head)->len);
}

bool ring_publish(struct ring *r)
{
	if (r->published_head == r->head)
		return false;
	r->published_head = r->head;
	atomic_store_explicit(&r->published, r->head, memory_order_release);
	return true;
}

struct letter *ring_next(struct ring *r)
{
	for (;;) {
		struct letter *l;

		if (r->next == r->seen_published) {
			r->seen_published =
			    atomic_load_explicit(&r->published, memory_order_acquire);
			if (r->next == r->seen_published)
				return NULL;
		}
		l = letter_at(r, r->next);
		r->before = r->next;
		r->next += letter_size(l->len);
		if (l->kind != LETTER_FILLER)
			return l;
	}
}

void ring_put_back(struct ring *r)
{
	r->next = r->before;
	r->held = true;
}

void ring_release(struct ring *r)
{
	atomic_store_explicit(&r->tail, r->next, memory_order_release);
}
