/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stall.c: what becomes of packets whose straight way is blocked.
 *
 * A socket that takes no more: what is sealed already is kept byte for byte, packets are copied to
 * wait in the connection's queue (queue.h), which rules what goes next and what goes never. A
 * worker that takes no more mail: connections that send to it are read no further until it does,
 * which pushes back through TCP; if it makes no progress at all, its packets are dropped so that
 * the rest goes on.
 */
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <linux/sockios.h>

#include "io/tcpinfo.h"
#include "relay/link.h"
#include "relay/forward.h"
#include "relay/path.h"
#include "relay/worker.h"

/* ---- A socket that takes no more --------------------------------------------------------------
 */

/* A client that is out of reach, as a radio may be for some seconds, has so many write time-outs.
 */
#define OUTAGE_TIMEOUTS 5

/* Bytes in the kernel that the client has not acknowledged. */
static int unacked(const struct conn *c)
{
	int n = 0;

	return ioctl(c->watch.fd, SIOCOUTQ, &n) < 0 ? 0 : n;
}

static uint64_t write_timeout_ms(const struct conn *c)
{
	return c->mesh ? MESH_WRITE_TIMEOUT_MS : c->worker->config->write_timeout_ms;
}

/* It has acknowledged nothing for most of the time-out, though something is on its way there. The
 * kernel of one that only doesn't read acknowledges all it has room for, then probes of its closed
 * window, whose gaps double, and (Linux since 6.6) what it has no room for; where it doesn't, a
 * client that does not read is taken for one that is out of reach. */
static bool out_of_reach(const struct conn *c)
{
	struct tcp_info info;

	return tcp_info_get(c->watch.fd, &info) && info.tcpi_unacked > 0 &&
	       info.tcpi_last_ack_recv >= write_timeout_ms(c) / 4 * 3;
}

/* Bytes went out: the deadline begins anew. */
static void stall_progress(struct conn *c)
{
	uint64_t ms = write_timeout_ms(c);

	if (!ms)
		return;
	c->unacked = unacked(c);
	c->outage = 0;
	c->write_deadline = c->worker->now_ms + ms;
	conn_arm(c);
}

/* The client has taken some since. What was added meanwhile is in c->unacked: less is progress. */
static bool note_progress(struct conn *c)
{
	if (unacked(c) >= c->unacked)
		return false;
	stall_progress(c);
	return true;
}

bool stall_still_moves(struct conn *c)
{
	/* The kernel asks for more only when half its queue has gone: a slow link may need longer
	 * than the deadline for that. */
	if (!c->blocked)
		return false;
	if (note_progress(c))
		return true;
	/* Between servers other ways are to be found soon. Who was out of reach and is heard again
	 * still has to wait for what the kernel sends anew, later and later. */
	if (c->mesh || c->outage + 1 >= OUTAGE_TIMEOUTS || (!c->outage && !out_of_reach(c)))
		return false;
	c->outage++;
	c->write_deadline = c->worker->now_ms + write_timeout_ms(c);
	return true;
}

/* What of the socket is waited for. One whose path has enough is looked at by and by instead. */
static void watch_events(struct conn *c)
{
	bool out = c->blocked && (c->sealed || !path_hold(c));

	loop_set(&c->worker->loop, &c->watch, (out ? EPOLLOUT : 0) | (c->paused ? 0 : EPOLLIN));
}

void stall_wait(struct conn *c)
{
	/* What is put behind bytes that wait already is no progress. */
	if (!c->write_deadline)
		stall_progress(c);
	c->blocked = true;
	path_refused(c);
	watch_events(c);
}

/* The socket takes no more: what is for the wire already must be kept, byte for byte. */
void stall_block(struct conn *c, const struct iovec *iov, int n, size_t sent)
{
	struct worker *w = c->worker;
	size_t left = 0;

	for (int i = 0; i < n; i++)
		left += iov[i].iov_len;
	left -= sent;
	c->sealed = pool_get(&w->pool, left);
	if (!c->sealed) {
		conn_close(c, CLOSE_NO_MEMORY);
		return;
	}
	c->sealed_at = 0;
	c->sealed_len = 0;
	for (int i = 0; i < n; i++) {
		size_t skip = MIN(sent, iov[i].iov_len);

		memcpy(c->sealed->data + c->sealed_len, (uint8_t *)iov[i].iov_base + skip,
		    iov[i].iov_len - skip);
		c->sealed_len += (uint32_t)(iov[i].iov_len - skip);
		sent -= skip;
	}
	stall_wait(c);
}

void stall_init(struct worker *w)
{
	const struct relay_config *config = w->config;

	w->queues = (struct queue_set){
	    .pool = &w->pool,
	    .dropped = stall_dropped,
	    .bytes = &w->counters.v[C_QUEUE_BYTES],
	};
	w->client_limits = (struct queue_limits){
	    .memory = WAIT_MEMORY_MAX,
	    .packets = config->queue_packets,
	    .disco =
		config->queue_packets ? MIN(config->queue_packets, WAIT_DISCO_MAX) : WAIT_DISCO_MAX,
	    .age_ms = WAIT_AGE_MAX_MS,
	    .fair = !config->queue_fifo,
	};
	w->link_limits = (struct queue_limits){
	    .memory = LINK_WAIT_MEMORY_MAX,
	    .disco = LINK_WAIT_DISCO_MAX,
	    .age_ms = LINK_WAIT_AGE_MAX_MS,
	    .fair = !config->queue_fifo,
	};
}

/* The worker's queues tell it what they drop. */
void stall_dropped(void *owner, const struct queue_packet *p, enum drop_reason why, bool disco)
{
	struct conn *c = owner;

	path_dropped(c, why);
	worker_drop(
	    c->worker, p->flow, p->flow_worker, why, disco, 1, p->len - conn_packet_head(c));
}

/* A queue for what has to wait now, if there is memory for one. */
static bool queue_ready(struct conn *c)
{
	struct worker *w = c->worker;

	if (c->queue)
		return true;
	c->queue = queue_new(&w->queues, c, c->is_link ? &w->link_limits : &w->client_limits);
	if (c->queue)
		path_rule(c);
	return c->queue;
}

void stall_queue_done(struct conn *c)
{
	queue_free(c->queue, DROP_GONE_DISCONNECTED);
	c->queue = NULL;
}

static void wait_packet(struct conn *c, const struct slice *s, const uint8_t *frame, bool disco)
{
	struct queue_packet what = {
	    .len = FRAME_HEADER_LEN + frame_payload_len(frame),
	    .at_ms = (uint32_t)c->worker->now_ms,
	    .flow = s->flow,
	    .flow_worker = s->flow_worker,
	};

	if (queue_ready(c))
		queue_push(c->queue, &what, frame, disco);
	else
		stall_dropped(c, &what, DROP_QUEUE_TAIL, disco);
}

/* Copies what is fresh behind what waits: the buffers it lies in end with the turn. */
void stall_fresh(struct conn *c)
{
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		struct fresh *list = &c->fresh[kind];

		for (const struct slice *s = list->first; s; s = s->next)
			for (uint32_t at = 0; at < s->len;
			     at += FRAME_HEADER_LEN + frame_payload_len(s->p + at))
				wait_packet(c, s, s->p + at, kind == KIND_DISCO);
		*list = (struct fresh){0};
	}
	c->fresh_bytes = 0;
}

void stall_send_raw(struct conn *c, const uint8_t *p, size_t len)
{
	struct worker *w = c->worker;
	struct iovec iov[2] = {
	    {.iov_base = NULL, .iov_len = 0}, {.iov_base = (void *)(uintptr_t)p, .iov_len = len}};
	struct pool_buf *old = c->sealed;
	ssize_t sent;

	if (len == 0 || c->dead)
		return;
	if (c->sealed) {
		/* Behind what is on its way already. */
		iov[0] = (struct iovec){
		    .iov_base = old->data + c->sealed_at, .iov_len = c->sealed_len - c->sealed_at};
		if (iov[0].iov_len + len > POOL_MAX) {
			conn_close(c, CLOSE_SLOW_CONTROL);
			return;
		}
		stall_block(c, iov, 2, 0);
		pool_put(&w->pool, old);
		return;
	}
	sent = forward_send_iov(c, &iov[1], 1);
	if (sent >= 0 && (size_t)sent < len)
		stall_block(c, &iov[1], 1, (size_t)sent);
}

/* What is for the wire already goes first; false: not all of it yet. */
static bool send_sealed(struct conn *c)
{
	struct iovec iov = {
	    .iov_base = c->sealed->data + c->sealed_at, .iov_len = c->sealed_len - c->sealed_at};
	ssize_t sent = forward_send_iov(c, &iov, 1);

	if (sent <= 0)
		return false;
	c->sealed_at += (uint32_t)sent;
	if (c->sealed_at < c->sealed_len) {
		stall_progress(c);
		return false;
	}
	pool_put(&c->worker->pool, c->sealed);
	c->sealed = NULL;
	return true;
}

/* The socket takes bytes again. */
void stall_unblock(struct conn *c)
{
	if (c->sealed && !send_sealed(c))
		return;
	/* After a time-out the kernel counts all as lost, which looks like room. */
	note_progress(c);
	c->blocked = false;
	forward_flush(c);
	if (c->dead || c->blocked)
		return;
	c->write_deadline = 0;
	watch_events(c);
}

/* ---- A worker that takes no more --------------------------------------------------------------
 */

/* Whether a run for another worker may go on its way: it never meets a full ring. When the worker
 * is stuck it is dropped, see cross.c. */
static bool takes_run(struct worker *w, uint32_t to)
{
	return w->neighbour[to].stuck || mail_has_room(w->mail, w->self, (int)to, RUN_LETTER_MAX);
}

/* Something begins to wait for it: how long it makes no progress counts from the first. */
static void begin_waiting(const struct worker *w, struct neighbour *n)
{
	if (!n->paused && !n->awaited)
		n->progress_ms = w->now_ms;
}

bool stall_has_room(struct conn *c, uint32_t owner)
{
	struct worker *w = c->worker;
	struct neighbour *to = &w->neighbour[owner];

	if (takes_run(w, owner))
		return true;
	/* It has no CPU left: this connection is read no further until it has. */
	begin_waiting(w, to);
	c->paused = to;
	c->next_paused = NULL;
	*(to->paused ? &to->paused_last->next_paused : &to->paused) = c;
	to->paused_last = c;
	watch_events(c);
	count(&w->counters, C_READ_PAUSES, 1);
	return false;
}

bool stall_may_go_on(struct worker *w, uint32_t to)
{
	struct neighbour *n = &w->neighbour[to];

	if (takes_run(w, to))
		return true;
	begin_waiting(w, n);
	n->awaited = true;
	return false;
}

static void resume(struct conn *c)
{
	struct worker *w = c->worker;
	uint8_t *base = forward_arena(w);
	uint32_t len;

	if (c->dead)
		return; /* by the flush that made room */
	len = stream_restore(c, base);
	c->paused = NULL;
	forward_stream(c, base, len);
	if (!c->dead && !c->paused && c->end != CLOSE_REASON_COUNT)
		conn_close(c, c->end);
	if (!c->dead && !c->paused)
		watch_events(c);
}

static void retry_neighbour(struct worker *w, int to)
{
	struct neighbour *n = &w->neighbour[to];
	uint64_t tail = mail_progress(w->mail, w->self, to);
	struct conn *c = n->paused;

	if (tail != n->seen_tail) {
		n->seen_tail = tail;
		n->progress_ms = w->now_ms;
		n->stuck = false;
	} else if ((c || n->awaited) && w->now_ms - n->progress_ms > STUCK_MS) {
		n->stuck = true;
	}
	/* In turn, while there is room; one that pauses again, for want of it, lines up behind. */
	if (n->awaited && takes_run(w, (uint32_t)to))
		n->awaited = false;
	while ((c = n->paused) && takes_run(w, (uint32_t)to)) {
		n->paused = c->next_paused;
		if (!n->paused)
			n->paused_last = NULL;
		c->paused = NULL;
		resume(c);
	}
}

void stall_retry_paused(struct worker *w)
{
	for (int to = 0; to < w->config->workers; to++)
		if (neighbour_waited_for(&w->neighbour[to]))
			retry_neighbour(w, to);
}

/* ---- The end of a connection ------------------------------------------------------------------
 */

void stall_drop_all(struct conn *c)
{
	struct worker *w = c->worker;

	for (int kind = 0; kind < KIND_COUNT; kind++) {
		struct fresh *list = &c->fresh[kind];

		for (const struct slice *s = list->first; s; s = s->next)
			worker_drop(w, s->flow, s->flow_worker, DROP_GONE_DISCONNECTED,
			    kind == KIND_DISCO, s->packets, conn_payload(c, s->len, s->packets));
		*list = (struct fresh){0};
	}
	if (c->queue)
		stall_queue_done(c);
	c->fresh_bytes = 0;
	if (c->paused) {
		struct neighbour *n = c->paused;
		struct conn **at = &n->paused;
		struct conn *last = NULL;

		for (; *at != c; at = &(*at)->next_paused)
			last = *at;
		*at = c->next_paused;
		if (n->paused_last == c)
			n->paused_last = last;
		c->paused = NULL;
	}
}
