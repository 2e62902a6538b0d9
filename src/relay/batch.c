/* SPDX-License-Identifier: BSD-3-Clause */
/* batch.c: chooses what of a connection's output goes into the next send, and counts it. */
#include "relay/batch.h"

#include "relay/link.h"
#include "relay/path.h"
#include "relay/worker.h"

/* False when the batch is full enough to go first. */
static bool batch_add(struct batch *b, const uint8_t *p, size_t len)
{
	struct iovec *last = b->n ? &b->iov[b->n - 1] : NULL;

	if (b->bytes > 0 && b->bytes + len > b->limit)
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

static void gather_waiting(struct conn *c, struct batch *b)
{
	struct worker *w = c->worker;
	uint32_t now = (uint32_t)w->now_ms, payload;
	struct queue_packet *p;
	bool disco;

	while ((p = queue_peek(c->queue, now, &disco))) {
		if (!batch_add(b, p->frame, p->len))
			return;
		b->packets++;
		payload = p->len - conn_packet_head(c);
		b->payload += payload;
		if (c->is_link)
			worker_forwarded(w, p->flow, p->flow_worker, c->mesh->link, 1, payload);
		path_waited(c, p, now - p->at_ms);
		b->delay_ms = MAX(b->delay_ms, now - p->at_ms);
		b->waited++;
		queue_pop(c->queue, &w->spent);
	}
	stall_queue_done(c);
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

void batch_gather(struct conn *c, struct batch *b, size_t limit)
{
	/* Field by field: the vectors need not be cleared. */
	b->n = 0;
	b->bytes = 0;
	b->limit = limit;
	b->packets = 0;
	b->waited = 0;
	b->controls = 0;
	b->payload = 0;
	b->delay_ms = 0;
	if (!gather_control(c, b))
		return;
	if (c->queue)
		gather_waiting(c, b);
	else
		(void)(gather_fresh(c, &c->fresh[KIND_DISCO], b) &&
		       gather_fresh(c, &c->fresh[KIND_OTHER], b));
}

void batch_count(struct conn *c, const struct batch *b)
{
	struct worker *w = c->worker;

	if (unlikely(c->is_link)) {
		count(&w->counters, C_FORWARDED_OUT, b->packets);
		count(&w->counters, C_FORWARDED_OUT_BYTES, b->payload);
		tally(&c->mesh->traffic->tx_packets, b->packets);
		tally(&c->mesh->traffic->tx_bytes, b->payload);
	} else {
		count(&w->counters, C_PACKETS_SENT, b->packets);
		count(&w->counters, C_BYTES_SENT, b->payload);
	}
	counters_write(&w->counters, b->packets + b->controls);
	c->totals.tx_packets += b->packets;
	c->totals.tx_bytes += b->payload;
	if (b->packets) {
		uint64_t avg = w->queue_delay_us;

		counters_observe(&w->counters, H_QUEUE_DELAY, 0, b->packets - b->waited);

		/* Moving average, as derper keeps it: a tenth of the new, nine of the old. */
		__atomic_store_n(
		    &w->queue_delay_us, (avg * 9 + b->delay_ms * 1000) / 10, __ATOMIC_RELAXED);
	}
}
