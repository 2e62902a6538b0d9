/* SPDX-License-Identifier: BSD-3-Clause */
/* batch.c: chooses what of a connection's output goes into the next send. */
#include "relay/batch.h"

#include "relay/link.h"
#include "relay/worker.h"

/* False when the batch is full enough to go first. */
static bool batch_add(struct batch *b, const uint8_t *p, size_t len)
{
	struct iovec *last = b->n ? &b->iov[b->n - 1] : NULL;

	if (b->bytes > 0 && b->bytes + len > BATCH_BYTES)
		return false;
	if (last && (uint8_t *)last->iov_base + last->iov_len == p) {
		last->iov_len += len;
	} else {
		if (b->n == BATCH_IOV)
			return false;
		b->iov[b->n++] = (struct iovec){.iov_base = (void *)(uintptr_t)p, .iov_len = len};
	}
	b->bytes += len;
	return true;
}

static bool gather_control(struct conn *c, struct batch *b)
{
	if (!c->control)
		return true;
	if (!batch_add(b, c->control->data, c->control_len))
		return false;
	b->controls = c->controls;
	c->controls = 0;
	c->control->next = c->worker->spent;
	c->worker->spent = c->control;
	c->control = NULL;
	c->control_len = 0;
	c->pong_waits = false;
	return true;
}

static bool gather_waiting(struct conn *c, struct waitq *q, struct batch *b)
{
	struct wait_entry *e;
	uint32_t before = q->bytes, payload;
	bool all = true;

	while ((e = waitq_peek(q))) {
		all = batch_add(b, e->frame, e->len);
		if (!all)
			break;
		b->packets++;
		payload = e->len - conn_packet_head(c);
		b->payload += payload;
		if (c->is_link)
			worker_forwarded(
			    c->worker, e->flow, e->flow_worker, c->mesh->link, 1, payload);
		b->delay_ms = MAX(b->delay_ms, (uint32_t)c->worker->now_ms - e->at_ms);
		waitq_pop(q, &c->worker->spent);
	}
	count_down(&c->worker->counters, C_QUEUE_BYTES, before - q->bytes);
	return all;
}

static bool gather_fresh(struct conn *c, struct fresh *list, struct batch *b)
{
	struct slice *s;
	uint64_t payload;

	for (; (s = list->first); list->first = s->next) {
		if (!batch_add(b, s->p, s->len))
			return false;
		payload = conn_payload(c, s->len, s->packets);
		b->packets += s->packets;
		b->payload += payload;
		if (unlikely(c->is_link))
			worker_forwarded(
			    c->worker, s->flow, s->flow_worker, c->mesh->link, s->packets, payload);
		c->fresh_bytes -= s->len;
	}
	list->last = NULL;
	return true;
}

/* Control frames, then disco, then data; within each what waited before what is fresh. */
void batch_gather(struct conn *c, struct batch *b)
{
	/* Field by field: the vectors need not be cleared. */
	b->n = 0;
	b->bytes = 0;
	b->packets = 0;
	b->controls = 0;
	b->payload = 0;
	b->delay_ms = 0;
	(void)(gather_control(c, b) && gather_waiting(c, &c->wait[KIND_DISCO], b) &&
	       gather_fresh(c, &c->fresh[KIND_DISCO], b) &&
	       gather_waiting(c, &c->wait[KIND_OTHER], b) &&
	       gather_fresh(c, &c->fresh[KIND_OTHER], b));
}
