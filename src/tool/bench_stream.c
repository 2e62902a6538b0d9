/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/bench_stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* What a packet begins with; in this machine's byte order, as nobody else reads it. */
struct head {
	uint32_t type; /* as WireGuard's data message, so that the server takes it for data */
	uint32_t stream;
	uint64_t seq;
	uint64_t sent_ns;
	uint64_t check;
};

_Static_assert(sizeof(struct head) == BENCH_HEAD_LEN, "the head has no holes");

#define WIREGUARD_DATA 4u
/* The pattern begins at one of these many places, a cache line apart. */
#define PATTERN_PLACES 64u
#define PATTERN_STEP 64u

static uint64_t head_check(const struct bench_traffic *t, const struct head *h)
{
	uint64_t x = t->nonce ^ ((uint64_t)h->stream << 32) ^ t->size;

	x = (x ^ h->seq) * 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 29) ^ h->sent_ns) * 0xbf58476d1ce4e5b9u;
	return x ^ (x >> 32);
}

static const uint8_t *pattern_at(const struct bench_traffic *t, uint64_t seq)
{
	return t->pattern + (seq % PATTERN_PLACES) * PATTERN_STEP;
}

void bench_traffic_init(
    struct bench_traffic *t, uint32_t streams, uint32_t size, uint32_t remember, uint64_t seed)
{
	size_t pattern_len = PATTERN_PLACES * PATTERN_STEP + ((size + 7u) & ~7u);
	uint64_t random = seed;

	CHECK(size >= BENCH_HEAD_LEN && size <= PACKET_MAX);
	CHECK(remember >= 64 && (remember & (remember - 1)) == 0);
	memset(t, 0, sizeof(*t));
	t->n = streams;
	t->size = size;
	t->seen_mask = remember - 1;
	t->stream = must_calloc(streams, sizeof(*t->stream));
	t->seen = must_calloc((size_t)streams * (remember / 64), sizeof(uint64_t));
	t->nonce = bench_random(&random);
	t->pattern = must_alloc(pattern_len);
	for (size_t i = 0; i < pattern_len; i += 8) {
		uint64_t r = bench_random(&random);

		memcpy(t->pattern + i, &r, 8);
	}
}

void bench_traffic_fini(struct bench_traffic *t)
{
	free(t->stream);
	free(t->seen);
	free(t->pattern);
}

void bench_stream_init(struct bench_traffic *t, uint32_t id, uint32_t from, const struct key *src,
    uint32_t to, const struct key *dst)
{
	struct bench_stream *s;

	CHECK(id < t->n);
	s = &t->stream[id];
	memset(s, 0, sizeof(*s));
	s->from = from;
	s->to = to;
	s->src = *src;
	s->seen = t->seen + (size_t)id * ((t->seen_mask + 1) / 64);
	frame_put_header(s->head, FRAME_SEND_PACKET, KEY_LEN + t->size);
	memcpy(s->head + FRAME_HEADER_LEN, dst->b, KEY_LEN);
}

void bench_stream_put(
    struct bench_traffic *t, struct bench_stream *s, uint64_t now_ns, uint8_t *out)
{
	struct head h = {
	    .type = WIREGUARD_DATA,
	    .stream = (uint32_t)(s - t->stream),
	    .seq = s->sent++,
	    .sent_ns = now_ns,
	};

	h.check = head_check(t, &h);
	if (s->outstanding++ == 0)
		s->moved_ns = now_ns;
	t->outstanding++;
	t->count.sent++;
	memcpy(out, s->head, sizeof(s->head));
	out += sizeof(s->head);
	memcpy(out, &h, sizeof(h));
	memcpy(out + sizeof(h), pattern_at(t, h.seq), t->size - sizeof(h));
}

static void seen_set(const struct bench_traffic *t, struct bench_stream *s, uint64_t seq)
{
	seq &= t->seen_mask;
	s->seen[seq / 64] |= 1ull << (seq % 64);
}

static bool seen_get(const struct bench_traffic *t, const struct bench_stream *s, uint64_t seq)
{
	seq &= t->seen_mask;
	return s->seen[seq / 64] >> (seq % 64) & 1;
}

/* Gives up everything from next up to (not including) `end`. */
static uint64_t give_up_until(struct bench_traffic *t, struct bench_stream *s, uint64_t end)
{
	uint64_t n = end - s->next;

	for (uint64_t i = 0; i < n && i <= t->seen_mask; i++) {
		uint64_t seq = (end - 1 - i) & t->seen_mask;

		s->seen[seq / 64] &= ~(1ull << (seq % 64));
	}
	s->next = end;
	s->outstanding -= n;
	t->outstanding -= n;
	t->count.lost += n;
	return n;
}

uint64_t bench_stream_give_up(struct bench_traffic *t, struct bench_stream *s)
{
	return give_up_until(t, s, s->sent);
}

/* One that comes after a later one, or after it was given up; false when it had come before. */
static bool take_old(struct bench_traffic *t, struct bench_stream *s, uint64_t seq)
{
	/* What is too long ago to tell counts as a duplicate: it was neither lost nor in time. */
	if (s->next - seq > t->seen_mask + 1 || seen_get(t, s, seq)) {
		t->count.duplicated++;
		return false;
	}
	t->count.lost--;
	if (seq < s->top)
		t->count.reordered++;
	else
		t->count.late++;
	return true;
}

/* Where a good packet stands in its stream; false for a duplicate. */
static bool take_seq(struct bench_traffic *t, struct bench_stream *s, uint64_t seq)
{
	if (likely(seq >= s->next)) {
		if (unlikely(seq > s->next))
			give_up_until(t, s, seq);
		s->next = seq + 1;
		s->outstanding--;
		t->outstanding--;
	} else if (!take_old(t, s, seq)) {
		return false;
	}
	if (seq >= s->top)
		s->top = seq + 1;
	seen_set(t, s, seq);
	return true;
}

struct bench_stream *bench_traffic_take(struct bench_traffic *t, uint32_t to, const uint8_t *src,
    const uint8_t *p, size_t len, uint64_t now_ns, uint64_t *took)
{
	struct bench_stream *s;
	struct head h;

	if (unlikely(len != t->size))
		goto corrupt;
	memcpy(&h, p, sizeof(h));
	if (unlikely(h.type != WIREGUARD_DATA || h.stream >= t->n || h.check != head_check(t, &h)))
		goto corrupt;
	s = &t->stream[h.stream];
	if (unlikely(h.seq >= s->sent ||
		     memcmp(p + sizeof(h), pattern_at(t, h.seq), len - sizeof(h)) != 0))
		goto corrupt;
	if (unlikely(s->to != to || memcmp(src, s->src.b, KEY_LEN) != 0)) {
		t->count.misdelivered++;
		return NULL;
	}
	if (!take_seq(t, s, h.seq))
		return NULL;
	t->count.received++;
	s->moved_ns = now_ns;
	*took = now_ns > h.sent_ns ? now_ns - h.sent_ns : 0;
	return s;
corrupt:
	t->count.corrupt++;
	return NULL;
}
