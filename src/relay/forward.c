/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * forward.c: the way of a packet, from the socket it comes by to the socket it leaves by.
 *
 *   receive → open → parse → find and count the flow → turn the header round → route
 *     → (same worker) a slice on the destination  → end of turn: gather → seal → send
 *     → (other worker) a letter → there: a slice on the destination → …
 *     → (other node) with the other source's head on a mesh link, which may be another worker's
 *
 * Nothing is copied on the straight way but what TLS copies: a slice points into the sender's
 * receive buffer, or into the ring by which it came. Only what a socket does not take is copied to
 * wait. Runs on the worker's thread; no locks, no allocation but pool buffers for what waits and,
 * once in a connection's life, the record of its path.
 */
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "io/tls.h"
#include "relay/batch.h"
#include "relay/forward.h"
#include "relay/link.h"
#include "relay/path.h"
#include "relay/uplink.h"
#include "relay/worker.h"

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
	used = c->is_link ? link_parse(c, base, len) : conn_parse(c, base, len);
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
	/* They come while the kernel is at work. */
	prefetch(c, CONN_HOT);
	if (c->peer)
		prefetch(c->peer, sizeof(c->peer->key));
	if (c->tls)
		tls_prefetch(c->tls);
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
	if (unlikely(c->totals.rx_bytes >= c->uplink_look))
		uplink_look(c);
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
static void count_received(struct conn *c, const struct run *run, uint64_t bytes);

/* Whether a flow of c is that of packets to dst; src is NULL but for what c forwards. */
static bool is_flow(
    const struct conn *c, uint32_t slot, const struct key *dst, const struct key *src)
{
	const struct flow_table *t = &c->worker->flows;

	return key_equal(&t->slot[slot].dst, dst) &&
	       (likely(!c->mesh_peer) || flow_is_from(t, slot, src));
}

/* The flow of a packet: mostly that of the packet before. */
static uint32_t find_flow(struct conn *c, const struct key *dst, const struct key *src)
{
	struct worker *w = c->worker;
	uint32_t slot = c->flows.last;
	struct flow_src from = {.key = src};
	uint64_t hash;

	if (likely(slot != FLOW_NONE && is_flow(c, slot, dst, src)))
		return slot;
	hash = key_hash(dst);
	if (src)
		from.hash = key_hash(src);
	slot = flow_lookup(&w->flows, c->slot, dst, hash, src ? &from : NULL);
	if (slot == FLOW_NONE) {
		struct flow *f;

		slot = flow_create(&w->flows, &c->flows, c->slot, dst, hash, src ? &from : NULL,
		    w->now_ds, worker_flow_set, w);
		f = &w->flows.slot[slot];
		f->owner = f->hop = (uint32_t)key_owner(hash, w->config->workers);
	}
	c->flows.last = slot;
	return slot;
}

/* The same with its price. Finding the flow is also finding the way: it keeps owner and peer. */
static uint32_t priced_find(struct conn *c, const struct key *dst, const struct key *src)
{
	struct worker *w = c->worker;
	uint64_t t = clock_cycles();
	uint32_t slot = find_flow(c, dst, src);

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

/* The frame becomes RecvPacket where it lies. SendPacket has the same length. ForwardPacket has one
 * key more in front, the source's: what is behind that moves up, to the end of the run. */
static void turn_round(struct conn *c, struct run *run, uint8_t *frame, uint32_t packet_len)
{
	if (likely(!run->by_mesh)) {
		frame[0] = FRAME_RECV_PACKET;
		memcpy(frame + FRAME_HEADER_LEN, c->peer->key.b, KEY_LEN);
	} else {
		uint8_t *to = run->p + run->len;

		memcpy(frame + FRAME_PACKET_HEAD, frame + FRAME_HEADER_LEN, KEY_LEN);
		frame_put_header(frame + KEY_LEN, FRAME_RECV_PACKET, KEY_LEN + packet_len);
		if (to != frame + KEY_LEN)
			memmove(to, frame + KEY_LEN, FRAME_PACKET_HEAD + packet_len);
	}
	run->len += FRAME_PACKET_HEAD + packet_len;
	run->packets++;
}

/* A packet goes no further, so that its sender slows down; false when the connection has ended. */
static bool drop_packet(struct conn *c, struct run *run, const struct key *dst, uint32_t len)
{
	struct worker *w = c->worker;
	uint32_t slot;

	route(c, run);
	if (c->dead)
		return false;
	slot = find_flow(c, dst, NULL);
	flow_count(&w->flows.slot[slot], len, false, w->now_ds);
	count_received(c, &(struct run){.packets = 1}, len);
	worker_drop(
	    w, flow_ref_of(&w->flows, slot), (uint32_t)w->self, DROP_UPLINK_FULL, false, 1, len);
	return true;
}

/* Takes a whole SendPacket or ForwardPacket frame into the run; false when the connection was
 * paused before it. */
static bool run_add(struct conn *c, struct run *run, uint8_t *frame, uint32_t packet_len)
{
	struct worker *w = c->worker;
	bool by_mesh = frame[0] == FRAME_FORWARD_PACKET;
	const struct key *key = (const struct key *)(const void *)(frame + FRAME_HEADER_LEN);
	const struct key *src = by_mesh ? key : NULL, *dst = by_mesh ? key + 1 : key;
	bool disco = packet_is_disco(dst->b + KEY_LEN, packet_len);
	uint32_t slot;

	if (unlikely(c->shed) && packet_len >= UPLINK_PACKET_MIN && !disco && uplink_sheds(c))
		return drop_packet(c, run, dst, packet_len);
	/* The run ends before the table may change under it. */
	if (run->flow != FLOW_NONE &&
	    (run->disco != disco || run->len + run->packets * KEY_LEN >= RUN_BYTES_MAX ||
		!is_flow(c, run->flow, dst, src))) {
		route(c, run);
		if (unlikely(c->dead))
			return false;
	}
	slot = w->pricing ? priced_find(c, dst, src) : find_flow(c, dst, src);
	if (run->flow == FLOW_NONE) {
		uint32_t hop = w->flows.slot[slot].hop;

		if (hop != (uint32_t)w->self && !stall_has_room(c, hop))
			return false;
		*run = (struct run){
		    .p = by_mesh ? frame + KEY_LEN : frame,
		    .flow = slot,
		    .disco = disco,
		    .by_mesh = by_mesh,
		};
	}
	if (unlikely(w->pricing))
		priced_count(w, slot, packet_len, disco);
	else
		flow_count(&w->flows.slot[slot], packet_len, disco, w->now_ds);
	turn_round(c, run, frame, packet_len);
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
		uint32_t keys = KEY_LEN;

		if (unlikely(c->peer->active != c))
			peer_activate(c->peer, c);
		if (unlikely(c->mesh_peer && p[at] == FRAME_FORWARD_PACKET)) {
			keys = 2 * KEY_LEN;
		} else if (p[at] != FRAME_SEND_PACKET) {
			route(c, &run);
			if (c->dead || !other_frame(c, p + at, avail, &at))
				break;
			continue;
		}
		if (unlikely(n < keys || n > keys + PACKET_MAX)) {
			route(c, &run);
			conn_close(c, n < keys ? CLOSE_PROTOCOL_ERROR : CLOSE_PACKET_TOO_LARGE);
			break;
		}
		if (avail < n || !run_add(c, &run, p + at, n - keys))
			break;
		at += FRAME_HEADER_LEN + n;
	}
	if (!c->dead)
		route(c, &run);
	return at;
}

/* ---- Route ----------------------------------------------------------------------------------- */

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

static void count_received(struct conn *c, const struct run *run, uint64_t bytes)
{
	struct counters *n = &c->worker->counters;

	c->totals.rx_packets += run->packets;
	c->totals.rx_bytes += bytes;
	if (unlikely(run->by_mesh)) {
		count(n, C_FORWARDED_IN, run->packets);
		count(n, C_FORWARDED_IN_BYTES, bytes);
		if (c->mesh->traffic) {
			tally(&c->mesh->traffic->rx_packets, run->packets);
			tally(&c->mesh->traffic->rx_bytes, bytes);
		}
		return;
	}
	count(n, C_PACKETS_RECV, run->packets);
	count(n, C_BYTES_RECV, bytes);
	count(n, run->disco ? C_KIND_DISCO : C_KIND_OTHER, run->packets);
}

/* Sends a finished run on its way. */
static void route(struct conn *c, struct run *run)
{
	struct worker *w = c->worker;
	const struct flow_mesh *m;
	struct link_view *via = NULL;
	struct peer *peer = NULL;
	struct origin o;
	struct flow *f;
	uint64_t bytes;

	if (run->flow == FLOW_NONE)
		return;
	f = &w->flows.slot[run->flow];
	m = &w->flows.mesh[run->flow];
	bytes = frames_payload(run->len, run->packets);
	o = (struct origin){
	    .src = run->by_mesh ? &m->src : &c->peer->key,
	    .src_hash = run->by_mesh ? m->src_hash : c->peer->hash,
	    .by_mesh = run->by_mesh,
	    .flow = flow_ref_of(&w->flows, run->flow),
	    .flow_worker = (uint32_t)w->self,
	};
	run->flow = FLOW_NONE;
	count_received(c, run, bytes);
	if (f->owner != (uint32_t)w->self) {
		cross_to_owner(c, run, f, &o);
		return;
	}
	peer = flow_peer(w, f);
	via = cross_link(w, peer, run->by_mesh);
	f->hop = via ? via->worker : (uint32_t)w->self;
	if (peer && peer->active) {
		forward_deliver(peer->active, &o, run->p, run->len, run->packets, run->disco);
	} else if (via) {
		cross_to_node(w, via, &f->dst, &o, run->p, run->len, run->packets, run->disco);
	} else {
		cross_nowhere(w, &o, run->disco, run->packets, run->len);
		if (run->disco)
			conn_not_here(c, &f->dst, run->packets);
	}
}

/* ---- To a connection of this worker ---------------------------------------------------------- */

/* The receiver is to hear when the sender goes. */
static void note_sighting(struct conn *to, const struct origin *o)
{
	struct worker *w = to->worker;
	uint32_t forgotten;

	if (!o->src || likely(to->sightings.last_hash == o->src_hash))
		return;
	forgotten = sighting_note(&w->sightings, &to->sightings, to, o->src, o->src_hash,
	    (uint16_t)key_owner(o->src_hash, w->config->workers), o->by_mesh);
	if (unlikely(forgotten))
		count(&w->counters, C_SIGHTINGS_FORGOTTEN, forgotten);
}

/* Hangs a run on its destination, to be sent at the end of the turn. */
void forward_deliver(struct conn *to, const struct origin *o, const uint8_t *p, uint32_t len,
    uint32_t packets, bool disco)
{
	struct worker *w = to->worker;
	struct fresh *list = &to->fresh[disco];
	struct slice *s;

	prefetch(to, CONN_HOT);
	if (to->tls)
		tls_prefetch(to->tls);
	note_sighting(to, o);
	if (list->last && list->last->p + list->last->len == p &&
	    list->last->flow.slot == o->flow.slot && list->last->flow_worker == o->flow_worker &&
	    list->last->len + len <= RUN_BYTES_MAX + FRAME_MAX) {
		list->last->len += len;
		list->last->packets += packets;
	} else {
		if (w->slices == SLICES_MAX) {
			/* Not possible within a flush. */
			uint32_t expanded = w->expand_used;

			forward_flush_midway(w);
			w->expand_used = expanded;
			if (to->dead) {
				worker_drop(w, o->flow, o->flow_worker, DROP_GONE_DISCONNECTED,
				    disco, packets, conn_payload(to, len, packets));
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
	int fd = c->watch.fd, flags = MSG_NOSIGNAL | MSG_DONTWAIT;
	ssize_t sent =
	    n == 1 ? send(fd, iov->iov_base, iov->iov_len, flags) : sendmsg(fd, &m, flags);

	/* While some waits only less than what there was is progress, see stall.c. */
	if (sent > 0 && c->write_deadline)
		c->unacked += (int)sent;
	if (sent >= 0)
		return sent;
	if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS)
		return 0;
	conn_close(c, CLOSE_CLIENT);
	return -1;
}

static void send_batch(struct conn *c, struct batch *b)
{
	struct worker *w = c->worker;
	struct iovec one = {.iov_base = w->batch};
	struct iovec *iov = b->iov;
	size_t bytes = 0;
	uint64_t t0 = clock_cycles(), t1;
	ssize_t sent;

	batch_count(c, b);
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
	if (sent > 0)
		path_sent(c, (size_t)sent);
	if (sent >= 0 && (size_t)sent < bytes)
		stall_block(c, iov, b->n, (size_t)sent);
	count(&w->counters, C_CYCLES_SEAL, t1 - t0);
	count(&w->counters, C_CYCLES_SEND, clock_cycles() - t1);
}

/* ---- Flush ----------------------------------------------------------------------------------- */

static bool has_output(const struct conn *c)
{
	return c->control || c->queue || c->fresh[KIND_DISCO].first || c->fresh[KIND_OTHER].first;
}

void forward_flush(struct conn *c)
{
	struct worker *w = c->worker;

	/* What is fresh lines up with what waits. */
	if (c->queue)
		stall_fresh(c);
	while (!c->dead && !c->sealed && has_output(c)) {
		size_t room = c->blocked ? 0 : path_room(c);
		struct batch b;

		/* Control frames go while the socket takes bytes, whatever the path has. */
		if (room == 0 && !c->control)
			break;
		batch_gather(c, &b, room);
		if (b.n > 0)
			send_batch(c, &b);
	}
	if (!c->dead && !c->blocked && has_output(c))
		stall_wait(c);
	if (c->blocked && !c->dead)
		stall_fresh(c);
	else if (c->path)
		path_starved(c);
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
	w->expand_used = 0;
}

/* Sends all that hangs on destinations while a run is in hand: its own buffer stays valid. */
void forward_flush_midway(struct worker *w)
{
	uint32_t used = w->arena_used;

	forward_flush_all(w);
	w->arena_used = used;
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
