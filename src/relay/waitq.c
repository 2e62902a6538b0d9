/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/waitq.h"

#include <string.h>

/* A connection that waits with one small packet should not hold a large buffer. */
#define FIRST_BUFFER 1800
#define NEXT_BUFFER (20u << 10)

static uint32_t entry_size(uint32_t len)
{
	return ((uint32_t)sizeof(struct wait_entry) + len + 7) & ~7u;
}

static struct wait_entry *entry_at(struct pool_buf *b, uint32_t at)
{
	return (struct wait_entry *)(void *)(b->data + at);
}

bool waitq_push(
    struct waitq *q, struct pool *pool, const struct wait_entry *what, const uint8_t *frame)
{
	uint32_t size = entry_size(what->len);
	struct wait_entry *e;

	if (!q->tail || q->tail->cap - q->tail_end < size) {
		uint32_t want =
		    q->tail ? NEXT_BUFFER - (uint32_t)sizeof(struct pool_buf) : FIRST_BUFFER;
		struct pool_buf *b = pool_get_spare(pool, MAX(want, size));

		if (!b)
			return false;
		if (q->tail) {
			q->tail->next = b;
			q->tail->used = q->tail_end;
		} else {
			q->head = b;
		}
		q->tail = b;
		q->tail_end = 0;
	}
	e = entry_at(q->tail, q->tail_end);
	*e = *what;
	memcpy(e->frame, frame, what->len);
	q->tail_end += size;
	q->packets++;
	q->bytes += what->len;
	return true;
}

struct wait_entry *waitq_peek(const struct waitq *q)
{
	return q->packets ? entry_at(q->head, q->head_at) : NULL;
}

void waitq_pop(struct waitq *q, struct pool_buf **spent)
{
	struct wait_entry *e = entry_at(q->head, q->head_at);
	struct pool_buf *b = q->head;

	CHECK(q->packets > 0);
	q->packets--;
	q->bytes -= e->len;
	q->head_at += entry_size(e->len);
	if (q->head_at < (b == q->tail ? q->tail_end : b->used))
		return;
	q->head = b->next;
	q->head_at = 0;
	if (b == q->tail) {
		q->tail = NULL;
		q->tail_end = 0;
	}
	b->next = *spent;
	*spent = b;
}
