/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * forward.c: the way of a packet, from the socket it comes by to the socket it leaves by.
 *
 *   receive → open → parse → find and count the flow → turn the header round → route
 *     → (same worker) a slice on the destination  → end of turn: gather → seal → send
 *     → (other worker) a letter → there: a slice on the destination → …
 *
 * Nothing is copied on the straight way but what TLS copies: a slice points into the sender's
 * receive buffer, or into the ring by which it came. Only what a socket does not take is copied to
 * wait. Runs on the worker's thread; no locks, no allocation but pool buffers for what waits.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "io/tls.h"
#include "relay/batch.h"
#include "relay/worker.h"

/* Packets of one flow as they are parsed, contiguous, headers already turned round. */
struct run {
	uint8_t *p;
	uint32_t len;
	uint32_t packets;
	uint32_t flow; /* slot, FLOW_NONE: no run */
	bool disco;
};

/* Where a slice came from, as far as its receiver must know. */
struct origin {
	const struct key *src;
	uint64_t src_hash;
	int src_owner;
	struct flow_ref flow;
	uint32_t flow_worker;
};

void forward_mark_dirty(struct conn *c)
{
	if (c->dirty)
		return;
	c->dirty = true;
	c->next_dirty = c->worker->dirty;
	c->worker->dirty = c;
}

/* ---- Receive and open ------------------------------------------------------------------------ */

/* Room for one receive with the rest before it, good until the turn's flush. */
uint8_t *forward_arena(struct worker *w)
{
	if (ARENA_BYTES - w->arena_used < SLAB_BYTES)
		forward_flush_all(w);
	return w->arena + w->arena_used;
}

static void arena_take(struct worker *w, size_t len)
{
	w->arena_used += (uint32_t)((len + 63) & ~(size_t)63);
}

static size_t conn_parse(struct conn *c, uint8_t *p, size_t len);

/* Parses what lies at base, keeps what is not whole yet. */
void forward_stream(struct conn *c, uint8_t *base, size_t len)
{
	size_t used;

	/* A connection that ends while it is parsed frees nothing before the turn's end. */
	arena_take(c->worker, len + 1);
	used = conn_parse(c, base, len);
	stream_keep(c, base + used, len - used);
}

static void conn_read(struct conn *c)
{
	struct worker *w = c->worker;
	uint8_t *base = forward_arena(w);
	struct sink to = {.p = base, .cap = SLAB_BYTES};
	enum close_reason end = CLOSE_REASON_COUNT;
	bool coded = c->tls || c->ws;
	uint64_t t0 = clock_cycles(), t1, t2;
	ssize_t n;

	if (unlikely(c->dead))
		return; /* by the flush that made room */
	to.len = stream_restore(c, base);
	n = recv(c->watch.fd, coded ? w->cipher : base + to.len, READ_MAX, MSG_DONTWAIT);
	t1 = clock_cycles();
	if (n <= 0) {
		bool again = n < 0 && (errno == EAGAIN || errno == EINTR);

		stream_keep(c, base, to.len);
		if (!again)
			conn_close(c, CLOSE_CLIENT);
		return;
	}
	if (coded)
		end = stream_open(c, (size_t)n, &to);
	else
		to.len += (size_t)n;
	t2 = clock_cycles();
	w->pricing = ++w->reads % PRICE_EVERY == 0;
	forward_stream(c, base, to.len);
	/* What came before the end goes its way first, also when that is blocked for now. */
	if (end != CLOSE_REASON_COUNT && c->paused)
		c->end = end;
	else if (end != CLOSE_REASON_COUNT)
		conn_close(c, end);
	count(&w->counters, C_CYCLES_RECV, t1 - t0);
	count(&w->counters, C_CYCLES_OPEN, t2 - t1);
	count(&w->counters, C_CYCLES_ROUTE, clock_cycles() - t2);
}

void forward_early(struct conn *c, const uint8_t *p, uint32_t len)
{
	uint8_t *base = forward_arena(c->worker);

	CHECK(len <= SLAB_BYTES);
	if (c->dead)
		return;
	memcpy(base, p, len);
	forward_stream(c, base, len);
}

/* ---- Parse, find the flow, count, turn round ------------------------------------------------- */

static void route(struct conn *c, struct run *run);

/* The flow of a packet to dst: mostly that of the packet before. */
static uint32_t find_flow(struct conn *c, const struct key *dst)
{
	struct worker *w = c->worker;
	uint32_t slot = c->flows.last;
	uint64_t hash;

	if (likely(slot != FLOW_NONE && key_equal(&w->flows.slot[slot].dst, dst)))
		return slot;
	hash = key_hash(dst);
	slot = flow_lookup(&w->flows, c->slot, dst, hash);
	if (slot == FLOW_NONE) {
		slot = flow_create(
		    &w->flows, &c->flows, c->slot, dst, hash, w->now_ds, worker_flow_set, w);
		w->flows.slot[slot].owner = (uint32_t)key_owner(hash, w->config->workers);
	}
	c->flows.last = slot;
	return slot;
}

/* The same with its price. Finding the flow is also finding the way: it keeps owner and peer. */
static uint32_t priced_find(struct conn *c, const struct key *dst)
{
	struct worker *w = c->worker;
	uint64_t t = clock_cycles();
	uint32_t slot = find_flow(c, dst);

	t = clock_cycles() - t;
	count(&w->counters, C_PRICED_FIND, t - MIN(t, w->price_overhead));
	return slot;
}

static void priced_count(struct worker *w, uint32_t slot, uint32_t len, bool disco)
{
	uint64_t t = clock_cycles();

	flow_count(&w->flows.slot[slot], len, disco, w->now_ds);
	t = clock_cycles() - t;
	count(&w->counters, C_PRICED_COUNT, t - MIN(t, w->price_overhead));
	count(&w->counters, C_PRICED_PACKETS, 1);
}

/* Takes a whole SendPacket frame into the run; false when the connection was paused before it. */
static bool run_add(struct conn *c, struct run *run, uint8_t *frame, uint32_t packet_len)
{
	struct worker *w = c->worker;
	const struct key *dst = (const struct key *)(const void *)(frame + FRAME_HEADER_LEN);
	bool disco = packet_is_disco(frame + FRAME_PACKET_HEAD, packet_len);
	uint32_t slot;

	/* The run ends before the table may change under it. */
	if (run->flow != FLOW_NONE && (run->disco != disco || run->len >= RUN_BYTES_MAX ||
					  !key_equal(&w->flows.slot[run->flow].dst, dst))) {
		route(c, run);
		if (unlikely(c->dead))
			return false;
	}
	slot = w->pricing ? priced_find(c, dst) : find_flow(c, dst);
	if (run->flow == FLOW_NONE) {
		uint32_t owner = w->flows.slot[slot].owner;

		if (owner != (uint32_t)w->self && !stall_has_room(c, owner))
			return false;
		*run = (struct run){.p = frame, .flow = slot, .disco = disco};
	}
	if (unlikely(w->pricing))
		priced_count(w, slot, packet_len, disco);
	else
		flow_count(&w->flows.slot[slot], packet_len, disco, w->now_ds);
	/* SendPacket and RecvPacket have the same length: the frame becomes the other in place. */
	frame[0] = FRAME_RECV_PACKET;
	memcpy(frame + FRAME_HEADER_LEN, c->peer->key.b, KEY_LEN);
	run->len += FRAME_PACKET_HEAD + packet_len;
	run->packets++;
	return true;
}

/* Any other frame at p, of which `avail` bytes of payload are here. False: no further for now. */
static bool other_frame(struct conn *c, uint8_t *p, size_t avail, size_t *at)
{
	int64_t used = conn_frame(c, p[0], frame_payload_len(p), p + FRAME_HEADER_LEN, avail);

	if (used < 0)
		return false;
	*at += FRAME_HEADER_LEN + (size_t)used;
	return !c->dead;
}

/* Returns how many bytes are done with; the rest is to be parsed again with more behind it. */
static size_t conn_parse(struct conn *c, uint8_t *p, size_t len)
{
	struct run run = {.flow = FLOW_NONE};
	size_t at = MIN(c->skip, len);

	c->skip -= at;
	while (len - at >= FRAME_HEADER_LEN && !c->dead) {
		uint32_t n = frame_payload_len(p + at);
		size_t avail = len - at - FRAME_HEADER_LEN;

		if (unlikely(c->peer->active != c))
			peer_activate(c->peer, c);
		if (p[at] != FRAME_SEND_PACKET) {
			route(c, &run);
			if (c->dead || !other_frame(c, p + at, avail, &at))
				break;
			continue;
		}
		if (unlikely(n < KEY_LEN || n > KEY_LEN + PACKET_MAX)) {
			route(c, &run);
			conn_close(c, n < KEY_LEN ? CLOSE_PROTOCOL_ERROR : CLOSE_PACKET_TOO_LARGE);
			break;
		}
		if (avail < n || !run_add(c, &run, p + at, n - KEY_LEN))
			break;
		at += FRAME_HEADER_LEN + n;
	}
	if (!c->dead)
		route(c, &run);
	return at;
}

/* ---- Route ----------------------------------------------------------------------------------- */

static void deliver(struct conn *to, const struct origin *o, const uint8_t *p, uint32_t len,
    uint32_t packets, bool disco);

/* To the worker that owns the destination. */
static void mail_run(
    struct conn *c, const struct run *run, const struct flow *f, struct flow_ref ref)
{
	struct worker *w = c->worker;
	struct run_letter *l = NULL;

	if (!w->neighbour[f->owner].stuck)
		l = mail_reserve(w->mail, w->self, (int)f->owner, LETTER_RUN,
		    (uint32_t)sizeof(*l) + run->len, false);
	if (!l) {
		worker_drop(w, ref, (uint32_t)w->self, DROP_QUEUE_TAIL, run->disco, run->packets,
		    frames_payload(run->len, run->packets));
		return;
	}
	*l = (struct run_letter){
	    .dst = f->dst,
	    .dst_hash = f->dst_hash,
	    .src_hash = c->peer->hash,
	    .flow = ref,
	    .from = worker_conn_ref(c),
	    .packets = run->packets,
	    .disco = run->disco,
	};
	memcpy(l->frames, run->p, run->len);
	mail_commit(w->mail, w->self, (int)f->owner);
}

/* The peer record of a flow whose destination this worker owns, NULL when it knows none. */
static struct peer *flow_peer(struct worker *w, struct flow *f)
{
	struct peer *p = peer_at(&w->peers, f->peer, f->peer_gen);

	if (likely(p != NULL))
		return p;
	p = peer_find(&w->peers, &f->dst, f->dst_hash);
	if (p) {
		f->peer = p->slot;
		f->peer_gen = peer_gen(&w->peers, p);
	}
	return p;
}

/* Sends a finished run on its way. */
static void route(struct conn *c, struct run *run)
{
	struct worker *w = c->worker;
	struct flow_ref ref;
	struct flow *f;
	struct peer *peer;
	uint64_t bytes;

	if (run->flow == FLOW_NONE)
		return;
	f = &w->flows.slot[run->flow];
	ref = flow_ref_of(&w->flows, run->flow);
	bytes = frames_payload(run->len, run->packets);
	count(&w->counters, C_PACKETS_RECV, run->packets);
	count(&w->counters, C_BYTES_RECV, bytes);
	count(&w->counters, run->disco ? C_KIND_DISCO : C_KIND_OTHER, run->packets);
	c->totals.rx_packets += run->packets;
	c->totals.rx_bytes += bytes;
	if (f->owner != (uint32_t)w->self) {
		mail_run(c, run, f, ref);
	} else if ((peer = flow_peer(w, f)) && peer->active) {
		struct origin o = {
		    .src = &c->peer->key,
		    .src_hash = c->peer->hash,
		    .src_owner = w->self,
		    .flow = ref,
		    .flow_worker = (uint32_t)w->self,
		};

		deliver(peer->active, &o, run->p, run->len, run->packets, run->disco);
	} else {
		worker_drop(
		    w, ref, (uint32_t)w->self, DROP_UNKNOWN_DEST, run->disco, run->packets, bytes);
		if (run->disco)
			conn_not_here(c, &f->dst, run->packets);
	}
	run->flow = FLOW_NONE;
}

/* A run from another worker, for a key that is ours. */
void forward_mailed(struct worker *w, int from, const struct run_letter *l, uint32_t len)
{
	struct peer *peer = peer_find(&w->peers, &l->dst, l->dst_hash);
	uint32_t bytes = len - (uint32_t)sizeof(*l);
	const struct origin o = {
	    .src = (const struct key *)(const void *)(l->frames + FRAME_HEADER_LEN),
	    .src_hash = l->src_hash,
	    .src_owner = from,
	    .flow = l->flow,
	    .flow_worker = (uint32_t)from,
	};

	if (peer && peer->active) {
		deliver(peer->active, &o, l->frames, bytes, l->packets, l->disco);
		return;
	}
	worker_drop(w, l->flow, (uint32_t)from, DROP_UNKNOWN_DEST, l->disco, l->packets,
	    frames_payload(bytes, l->packets));
	if (l->disco) {
		struct not_here_letter *n =
		    mail_reserve(w->mail, w->self, from, LETTER_NOT_HERE, sizeof(*n), false);

		if (!n) {
			count(&w->counters, C_MAIL_LOST, 1);
			return;
		}
		*n = (struct not_here_letter){.to = l->from, .key = l->dst, .packets = l->packets};
		mail_commit(w->mail, w->self, from);
	}
}

/* The receiver is to hear when the sender goes. */
static void note_sighting(struct conn *to, const struct origin *o)
{
	struct worker *w = to->worker;
	uint32_t forgotten = sighting_note(
	    &w->sightings, &to->sightings, to, o->src, o->src_hash, (uint16_t)o->src_owner);

	if (unlikely(forgotten))
		count(&w->counters, C_SIGHTINGS_FORGOTTEN, forgotten);
}

/* Hangs a run on its destination, to be sent at the end of the turn. */
static void deliver(struct conn *to, const struct origin *o, const uint8_t *p, uint32_t len,
    uint32_t packets, bool disco)
{
	struct worker *w = to->worker;
	struct fresh *list = &to->fresh[disco];
	struct slice *s;

	note_sighting(to, o);
	if (list->last && list->last->p + list->last->len == p &&
	    list->last->flow.slot == o->flow.slot && list->last->flow_worker == o->flow_worker &&
	    list->last->len + len <= RUN_BYTES_MAX + FRAME_MAX) {
		list->last->len += len;
		list->last->packets += packets;
	} else {
		if (w->slices == SLICES_MAX) {
			/* Not possible within a flush; the run's own buffer stays valid. */
			uint32_t used = w->arena_used;

			forward_flush_all(w);
			w->arena_used = used;
			if (to->dead) {
				worker_drop(w, o->flow, o->flow_worker, DROP_GONE_DISCONNECTED,
				    disco, packets, frames_payload(len, packets));
				return;
			}
		}
		s = &w->slice[w->slices++];
		*s = (struct slice){
		    .p = p,
		    .len = len,
		    .packets = packets,
		    .flow = o->flow,
		    .flow_worker = o->flow_worker,
		};
		if (list->last)
			list->last->next = s;
		else
			list->first = s;
		list->last = s;
	}
	to->fresh_bytes += len;
	forward_mark_dirty(to);
	if (unlikely(to->fresh_bytes > FRESH_MAX))
		forward_flush(to);
}

/* ---- Gather, seal, send ---------------------------------------------------------------------- */

/* Bytes that the socket took; -1 when the connection was closed. */
ssize_t forward_send_iov(struct conn *c, struct iovec *iov, int n)
{
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
	ssize_t sent = sendmsg(c->watch.fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (sent >= 0)
		return sent;
	if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)
		return 0;
	conn_close(c, CLOSE_CLIENT);
	return -1;
}

static void note_sent(struct conn *c, const struct batch *b)
{
	struct worker *w = c->worker;

	count(&w->counters, C_PACKETS_SENT, b->packets);
	count(&w->counters, C_BYTES_SENT, b->payload);
	counters_write(&w->counters, b->packets + b->controls);
	c->totals.tx_packets += b->packets;
	c->totals.tx_bytes += b->payload;
	if (b->packets) {
		uint64_t avg = w->queue_delay_us;

		/* Moving average, as derper keeps it: a tenth of the new, nine of the old. */
		__atomic_store_n(
		    &w->queue_delay_us, (avg * 9 + b->delay_ms * 1000) / 10, __ATOMIC_RELAXED);
	}
}

static void send_batch(struct conn *c, struct batch *b)
{
	struct worker *w = c->worker;
	struct iovec one = {.iov_base = w->batch};
	struct iovec *iov = b->iov;
	size_t bytes = 0;
	uint64_t t0 = clock_cycles(), t1;
	ssize_t sent;

	note_sent(c, b);
	if (c->ws) {
		b->iov[0].iov_len = stream_frame(c, b->iov, b->n);
		b->iov[0].iov_base = w->framed;
		b->n = 1;
	}
	if (c->tls) {
		struct sink out = {.p = w->batch, .cap = BATCH_ROOM};

		if (!stream_seal(c, b, &out)) {
			conn_close(c, CLOSE_TLS_FAILED);
			return;
		}
		one.iov_len = out.len;
		iov = &one;
		b->n = 1;
	}
	t1 = clock_cycles();
	for (int i = 0; i < b->n; i++)
		bytes += iov[i].iov_len;
	sent = forward_send_iov(c, iov, b->n);
	if (sent >= 0 && (size_t)sent < bytes)
		stall_block(c, iov, b->n, (size_t)sent);
	count(&w->counters, C_CYCLES_SEAL, t1 - t0);
	count(&w->counters, C_CYCLES_SEND, clock_cycles() - t1);
}

/* ---- Flush ----------------------------------------------------------------------------------- */

static bool has_output(const struct conn *c)
{
	return c->control || c->wait[KIND_DISCO].packets || c->fresh[KIND_DISCO].first ||
	       c->wait[KIND_OTHER].packets || c->fresh[KIND_OTHER].first;
}

void forward_flush(struct conn *c)
{
	struct worker *w = c->worker;

	while (!c->dead && !c->blocked && has_output(c)) {
		struct batch b;

		batch_gather(c, &b);
		send_batch(c, &b);
	}
	if (c->blocked && !c->dead)
		stall_fresh(c);
	while (w->spent) {
		struct pool_buf *b = w->spent;

		w->spent = b->next;
		pool_put(&w->pool, b);
	}
}

void forward_flush_all(struct worker *w)
{
	while (w->dirty) {
		struct conn *c = w->dirty;

		w->dirty = c->next_dirty;
		c->dirty = false;
		forward_flush(c);
	}
	w->slices = 0;
	w->arena_used = 0;
}

void forward_ready(struct watch *watch, uint32_t events)
{
	struct conn *c = container_of(watch, struct conn, watch);

	if (c->dead)
		return;
	if ((events & EPOLLOUT) && c->blocked)
		stall_unblock(c);
	if (c->dead || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (!c->paused)
		conn_read(c);
	else if (events & (EPOLLHUP | EPOLLERR))
		conn_close(c, CLOSE_CLIENT);
}
