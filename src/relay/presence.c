/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/presence.h"

#include <stdlib.h>

#include "base/log.h"
#include "relay/link.h"
#include "relay/worker.h"

/* Frames of one batch, in bytes: less with many workers, as each may have one on its way. */
#define BATCH_MAX (16u << 10)
#define BATCHES_TOGETHER (40u << 10)
#define PRESENT_FRAME_LEN (FRAME_HEADER_LEN + PEER_PRESENT_LEN)
#define GONE_FRAME_LEN (FRAME_HEADER_LEN + PEER_GONE_LEN)
/* Keys looked at for one batch. */
#define LOOK_MAX 2048

/* ---- The keys in the order of their last change ---------------------------------------------- */

static void unlink_peer(struct presence *s, struct peer *p)
{
	for (struct watcher *v = s->watchers; v; v = v->next)
		if (v->at == p)
			v->at = p->change_next;
	*(p->change_prev ? &p->change_prev->change_next : &s->first) = p->change_next;
	*(p->change_next ? &p->change_next->change_prev : &s->last) = p->change_prev;
	p->change_next = p->change_prev = NULL;
	p->change_seq = 0;
}

static void append_peer(struct presence *s, struct peer *p)
{
	p->change_seq = ++s->seq;
	p->change_prev = s->last;
	*(s->last ? &s->last->change_next : &s->first) = p;
	s->last = p;
	for (struct watcher *v = s->watchers; v; v = v->next)
		if (!v->at)
			v->at = p;
}

void presence_changed(struct worker *w, struct peer *p)
{
	struct presence *s = &w->presence;

	if (p->change_seq)
		unlink_peer(s, p);
	/* Nobody has to hear of the end of what nobody watches. */
	if (p->nconns > 0 || s->watchers)
		append_peer(s, p);
}

/* The record is about to be freed; the key has gone, or it would not be. */
static void forget(void *worker, struct peer *p)
{
	struct presence *s = &((struct worker *)worker)->presence;

	if (!p->change_seq)
		return;
	for (struct watcher *v = s->watchers; v; v = v->next)
		if (v->at && v->at->change_seq <= p->change_seq && p->change_seq > v->flood_end)
			v->lost = true;
	unlink_peer(s, p);
}

void presence_init(struct worker *w)
{
	w->peers.forget = forget;
	w->peers.forget_arg = w;
}

void presence_fini(struct worker *w)
{
	while (w->presence.watchers) {
		struct watcher *v = w->presence.watchers;

		w->presence.watchers = v->next;
		free(v);
	}
	while (w->presence.farewells) {
		struct farewell *f = w->presence.farewells;

		w->presence.farewells = f->next;
		free(f);
	}
	w->peers.forget = NULL;
}

/* ---- A worker and the cursors of its watchers ------------------------------------------------ */

static struct watcher *find(struct worker *w, int home, struct conn_ref ref)
{
	struct watcher *v = w->presence.watchers;

	while (
	    v && (v->ended || v->home != home || v->ref.slot != ref.slot || v->ref.gen != ref.gen))
		v = v->next;
	return v;
}

static void reap(struct presence *s)
{
	struct watcher **at = &s->watchers;

	while (*at) {
		struct watcher *v = *at;

		if (!v->ended) {
			at = &v->next;
			continue;
		}
		*at = v->next;
		free(v);
	}
}

void presence_take_watch(struct worker *w, int from, struct conn_ref ref)
{
	struct presence *s = &w->presence;
	struct watcher *v = must_calloc(1, sizeof(*v));

	*v = (struct watcher){
	    .next = s->watchers,
	    .ref = ref,
	    .home = from,
	    .at = s->first,
	    .flood_end = s->seq,
	};
	s->watchers = v;
}

void presence_take_unwatch(struct worker *w, int from, struct conn_ref ref)
{
	struct watcher *v = find(w, from, ref);

	/* Somebody up the stack may be busy with it. */
	if (v)
		v->ended = true;
}

void presence_take_ack(struct worker *w, int from, struct conn_ref ref)
{
	struct watcher *v = find(w, from, ref);

	if (v)
		v->waiting = false;
}

/* PeerPresent of the key's active connection. */
static void put_present(uint8_t *to, const struct peer *p)
{
	const struct conn *c = p->active;
	uint8_t flags = (uint8_t)((c->mesh_peer ? PEER_PRESENT_MESH_PEER : 0) |
				  (c->prober ? PEER_PRESENT_PROBER : 0) |
				  (c->not_ideal ? PEER_PRESENT_NOT_IDEAL : 0));

	frame_put_header(to, FRAME_PEER_PRESENT, PEER_PRESENT_LEN);
	to += FRAME_HEADER_LEN;
	memcpy(to, p->key.b, KEY_LEN);
	memcpy(to + KEY_LEN, c->addr.s6_addr, 16);
	to[KEY_LEN + 16] = (uint8_t)(c->port >> 8);
	to[KEY_LEN + 17] = (uint8_t)c->port;
	to[KEY_LEN + 18] = flags ? flags : PEER_PRESENT_REGULAR;
}

static void put_gone(uint8_t *to, const struct peer *p)
{
	frame_put_header(to, FRAME_PEER_GONE, PEER_GONE_LEN);
	memcpy(to + FRAME_HEADER_LEN, p->key.b, KEY_LEN);
	to[FRAME_HEADER_LEN + KEY_LEN] = PEER_GONE_DISCONNECTED;
}

/* Frames for the next changes, up to `room` bytes; moves the cursor. */
static uint32_t compose(struct watcher *v, struct presence_letter *l, uint32_t room)
{
	uint32_t len = 0;

	for (int looked = 0; v->at && len + PRESENT_FRAME_LEN <= room && looked < LOOK_MAX;
	     looked++) {
		const struct peer *p = v->at;

		v->at = p->change_next;
		if (p->nconns > 0) {
			put_present(l->bytes + len, p);
			len += PRESENT_FRAME_LEN;
			l->frames++;
		} else if (p->change_seq > v->flood_end) {
			put_gone(l->bytes + len, p);
			len += GONE_FRAME_LEN;
			l->frames++;
			l->gone++;
		}
	}
	return len;
}

/* Hands a batch to the worker that has the watcher; false when its mailbox is full. */
static bool hand_over(struct worker *w, struct watcher *v, const void *letter, uint32_t len)
{
	if (v->home != w->self)
		return mail_post(w->mail, w->self, v->home, LETTER_PRESENCE, letter, len, false);
	presence_take_frames(w, w->self, letter, len);
	return true;
}

static void next_batch(struct worker *w, struct watcher *v)
{
	uint32_t room = MIN(BATCH_MAX, BATCHES_TOGETHER / (uint32_t)w->config->workers);
	struct presence_letter *l = (struct presence_letter *)(void *)w->cipher;
	struct peer *before = v->at;
	uint32_t len;

	*l = (struct presence_letter){.ref = v->ref};
	len = v->lost ? 0 : compose(v, l, room);
	if (len == 0 && !v->lost)
		return; /* nothing but keys that it never knew */
	v->waiting = true;
	if (!hand_over(w, v, l, (uint32_t)sizeof(*l) + len)) {
		v->at = before;
		v->waiting = false;
		v->no_room = true;
		return;
	}
	if (len > 0) {
		counters_observe(&w->counters, H_MESH_BATCH, l->frames, 1);
		v->loops++;
	}
	if (!v->at) {
		counters_observe(&w->counters, H_MESH_LOOPS, v->loops, 1);
		v->loops = 0;
	}
}

/* ---- A watcher's connection ------------------------------------------------------------------ */

static bool mail_ref(struct worker *w, int to, uint32_t kind, struct conn_ref ref)
{
	struct watch_letter l = {.ref = ref};

	return mail_post(w->mail, w->self, to, kind, &l, sizeof(l), true);
}

void presence_begin(struct conn *c)
{
	struct worker *w = c->worker;
	struct conn_ref ref = worker_conn_ref(c);

	/* It is this very server, or it watches already. */
	if (c->mesh->watching || key_equal(&c->peer->key, &w->config->server_key))
		return;
	c->mesh->watching = true;
	c->mesh->next_watching = w->presence.watching;
	w->presence.watching = c;
	count(&w->counters, C_WATCHERS, 1);
	for (int to = 0; to < w->config->workers; to++) {
		if (to == w->self) {
			presence_take_watch(w, w->self, ref);
		} else if (!mail_ref(w, to, LETTER_WATCH, ref)) {
			conn_close(c, CLOSE_MESH_BEHIND);
			return;
		} else {
			c->mesh->asked |= 1ull << to;
		}
	}
}

/* A watcher that waits for an acknowledgment would never find out by itself: those whose mailbox is
 * full are told later. */
static void bid_farewell(struct worker *w)
{
	struct farewell **at = &w->presence.farewells;

	while (*at) {
		struct farewell *f = *at;

		for (uint64_t left = f->untold; left; left &= left - 1)
			if (mail_ref(w, __builtin_ctzll(left), LETTER_UNWATCH, f->ref))
				f->untold &= ~(left & -left);
		if (f->untold) {
			at = &f->next;
			continue;
		}
		*at = f->next;
		free(f);
	}
}

void presence_end(struct conn *c)
{
	struct worker *w = c->worker;
	struct conn **at = &w->presence.watching;
	struct farewell *f;

	if (!c->mesh->watching)
		return;
	c->mesh->watching = false;
	while (*at != c)
		at = &(*at)->mesh->next_watching;
	*at = c->mesh->next_watching;
	count_down(&w->counters, C_WATCHERS, 1);
	f = must_calloc(1, sizeof(*f));
	*f = (struct farewell){
	    .next = w->presence.farewells,
	    .ref = worker_conn_ref(c),
	    .untold = c->mesh->asked,
	};
	w->presence.farewells = f;
	presence_take_unwatch(w, w->self, f->ref);
	bid_farewell(w);
}

void presence_take_frames(struct worker *w, int from, const struct presence_letter *l, uint32_t len)
{
	struct conn *c = worker_conn(w, l->ref);
	uint32_t bytes = len - (uint32_t)sizeof(*l);

	if (!c || c->dead)
		return; /* of which its watcher hears by itself */
	if (l->frames == 0) {
		conn_close(c, CLOSE_MESH_BEHIND);
		return;
	}
	c->mesh->ack_due |= 1ull << from;
	count(&w->counters, C_GONE_DISCONNECTED, l->gone);
	conn_put_frames(c, l->bytes, bytes, l->frames);
}

/* Batches that the socket has taken are acknowledged. */
static void acknowledge(struct worker *w)
{
	for (struct conn *c = w->presence.watching; c; c = c->mesh->next_watching) {
		struct conn_ref ref = worker_conn_ref(c);

		if (c->control)
			continue;
		for (uint64_t left = c->mesh->ack_due; left; left &= left - 1) {
			int to = __builtin_ctzll(left);

			if (to == w->self)
				presence_take_ack(w, to, ref);
			else if (!mail_ref(w, to, LETTER_WATCH_ACK, ref))
				continue;
			c->mesh->ack_due &= ~(1ull << to);
		}
	}
}

static bool has_news(const struct watcher *v)
{
	return (v->at || v->lost) && !v->waiting && !v->ended;
}

bool presence_step(struct worker *w)
{
	bool more = false;

	reap(&w->presence);
	acknowledge(w);
	bid_farewell(w);
	for (struct watcher *v = w->presence.watchers; v; v = v->next) {
		v->no_room = false;
		if (has_news(v))
			next_batch(w, v);
	}
	for (struct watcher *v = w->presence.watchers; v; v = v->next)
		more |= has_news(v) && !v->no_room;
	/* Batches for watchers of this worker go out right behind this, and nobody but the next
	 * step acknowledges them. */
	for (const struct conn *c = w->presence.watching; c; c = c->mesh->next_watching)
		more |= !c->blocked && (c->mesh->ack_due >> w->self & 1);
	return more;
}

bool presence_waits(const struct worker *w)
{
	for (const struct watcher *v = w->presence.watchers; v; v = v->next)
		if (v->no_room)
			return true;
	return w->presence.farewells != NULL;
}
