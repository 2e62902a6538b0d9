/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/link.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "relay/forward.h"
#include "relay/worker.h"

static struct link_view *view_of(const struct conn *c)
{
	return &c->worker->region.link[c->mesh->link];
}

static struct mesh_conn *mesh_conn_new(struct worker *w)
{
	struct mesh_conn *m = must_calloc(1, sizeof(*m));

	m->heard_ms = w->now_ms;
	return m;
}

/* ---- Beginning and end ----------------------------------------------------------------------- */

/* What the other node forwards to us is shown with the link by which we forward to it. */
static struct mesh_traffic *traffic_to(struct worker *w, const struct key *server)
{
	for (int l = 0; w->config->mesh && l < w->config->mesh->n; l++)
		if (w->region.link[l].conn && key_equal(&w->region.link[l].server, server))
			return &w->config->mesh->link[l].traffic;
	return NULL;
}

void link_peer_admit(struct conn *c)
{
	c->mesh = mesh_conn_new(c->worker);
	c->mesh->traffic = traffic_to(c->worker, &c->peer->key);
}

void link_admit(struct worker *w, struct admit *a)
{
	struct link_view *v = &w->region.link[a->link];
	uint64_t hash = key_hash(&a->info.key);
	const struct peer *p = peer_find(&w->peers, &a->info.key, hash);
	struct conn *c;

	if (v->conn)
		conn_close(v->conn, CLOSE_CLIENT);
	c = conn_new(w, a);
	c->is_link = true;
	c->mesh = mesh_conn_new(w);
	c->mesh->link = a->link;
	c->mesh->traffic = &w->config->mesh->link[a->link].traffic;
	tally_set(&c->mesh->traffic->rtt_us, 0);
	c->keepalive_at = w->now_ms; /* the first ping at once */
	for (struct conn *in = p ? p->conns : NULL; in; in = in->next_of_peer)
		if (in->mesh)
			in->mesh->traffic = c->mesh->traffic;
	v->up = true;
	v->epoch = a->epoch;
	v->worker = (uint8_t)w->self;
	v->server = a->info.key;
	v->conn = c;
	count(&w->counters, C_MESH_LINKS, 1);
	region_link_changed(w, a->link);
	conn_arm(c);
	/* Whom it reaches means nothing to a worker that does not know the link. */
	if (v->untold)
		conn_close(c, CLOSE_MESH_BEHIND);
	else if (loop_add(&w->loop, &c->watch, EPOLLIN) < 0)
		conn_close(c, CLOSE_NO_MEMORY);
	if (!c->dead)
		forward_early(c, a->early, a->early_len);
	free(a);
}

void link_end(struct conn *c, enum close_reason why)
{
	struct worker *w = c->worker;
	struct link_view *v = view_of(c);

	if (v->conn != c)
		return;
	v->conn = NULL;
	v->up = false;
	v->gate_untold = true;
	v->ended_epoch = v->epoch;
	v->ended = why;
	count_down(&w->counters, C_MESH_LINKS, 1);
	region_link_changed(w, c->mesh->link);
}

/* ---- Pings ----------------------------------------------------------------------------------- */

void link_tick(struct conn *c)
{
	struct worker *w = c->worker;
	struct mesh_conn *m = c->mesh;

	if (w->now_ms - m->heard_ms > LINK_SILENT_MS) {
		conn_close(c, CLOSE_LINK_SILENT);
		return;
	}
	if (c->keepalive_at > w->now_ms)
		return;
	c->keepalive_at = w->now_ms + LINK_PING_MS;
	if (m->ping_us)
		return; /* not answered yet: another one would not tell more */
	m->ping_no = randombytes_random() | (uint64_t)randombytes_random() << 32;
	m->ping_us = clock_ns() / 1000;
	conn_put_control(c, FRAME_PING, &m->ping_no, PING_LEN);
}

static void got_pong(struct conn *c, const uint8_t *p)
{
	struct mesh_conn *m = c->mesh;
	uint64_t us = clock_ns() / 1000 - m->ping_us;

	if (!m->ping_us || memcmp(p, &m->ping_no, PING_LEN) != 0)
		return;
	m->ping_us = 0;
	tally_set(&m->traffic->rtt_us, MAX(us, 1));
}

/* ---- What a link says ------------------------------------------------------------------------ */

/* Somebody is present there, or has gone: tells the key's owner. False: no further for now. */
static bool presence(struct conn *c, const uint8_t *p, bool present)
{
	struct worker *w = c->worker;
	struct present_letter l = {
	    .link = c->mesh->link,
	    .epoch = view_of(c)->epoch,
	    .present = present,
	};
	uint32_t owner;

	memcpy(l.key.b, p, KEY_LEN);
	l.hash = key_hash(&l.key);
	owner = (uint32_t)key_owner(l.hash, w->config->workers);
	if (owner == (uint32_t)w->self) {
		region_take_present(w, &l);
		return true;
	}
	if (!stall_has_room(c, owner))
		return false;
	if (!mail_post(w->mail, w->self, (int)owner, LETTER_PRESENT, &l, sizeof(l), true)) {
		/* A stuck worker: packets may be lost on it, presence may not. */
		conn_close(c, CLOSE_MESH_BEHIND);
		return false;
	}
	return true;
}

/* A whole frame. False: no further for now. */
static bool link_frame(struct conn *c, uint8_t type, const uint8_t *p, uint32_t len)
{
	switch (type) {
	case FRAME_PEER_PRESENT:
	case FRAME_PEER_GONE:
		/* For whatever reason it has gone; older servers give none. */
		if (len >= KEY_LEN)
			return presence(c, p, type == FRAME_PEER_PRESENT);
		conn_close(c, CLOSE_PROTOCOL_ERROR);
		return false;
	case FRAME_PING:
		if (len >= PING_LEN)
			conn_put_control(c, FRAME_PONG, p, PING_LEN);
		break;
	case FRAME_PONG:
		if (len >= PING_LEN)
			got_pong(c, p);
		break;
	default:
		break; /* KeepAlive, Health, packets to this server's key: nothing to do */
	}
	return !c->dead;
}

/* Frames whose payload matters are short; all others are skipped as they come. */
static bool is_short(uint8_t type)
{
	return type == FRAME_PEER_PRESENT || type == FRAME_PEER_GONE || type == FRAME_PING ||
	       type == FRAME_PONG;
}

size_t link_parse(struct conn *c, uint8_t *p, size_t len)
{
	size_t at = MIN(c->skip, len);

	c->mesh->heard_ms = c->worker->now_ms;
	c->skip -= at;
	while (len - at >= FRAME_HEADER_LEN && !c->dead) {
		uint8_t type = p[at];
		uint32_t n = frame_payload_len(p + at);
		size_t avail = len - at - FRAME_HEADER_LEN;

		if (n > (is_short(type) ? PING_BODY_MAX : LINK_FRAME_MAX)) {
			conn_close(c, CLOSE_PROTOCOL_ERROR);
			break;
		}
		if (is_short(type) && avail < n)
			break;
		if (!is_short(type) && avail < n) {
			c->skip = n - avail;
			return len;
		}
		if (!link_frame(c, type, p + at + FRAME_HEADER_LEN, n))
			break;
		at += FRAME_HEADER_LEN + n;
	}
	return at;
}

/* ---- What a mesh peer asks for --------------------------------------------------------------- */

static void close_peer(struct conn *c, const uint8_t *p)
{
	struct worker *w = c->worker;
	struct key_letter l = {0};
	int owner;

	memcpy(l.key.b, p, KEY_LEN);
	l.hash = key_hash(&l.key);
	owner = key_owner(l.hash, w->config->workers);
	/* When it is lost it may ask again: nothing that it must rely on was promised. */
	if (owner == w->self)
		worker_close_key(w, &l.key, l.hash);
	else if (!mail_post(w->mail, w->self, owner, LETTER_CLOSE_PEER, &l, sizeof(l), true))
		count(&w->counters, C_MAIL_LOST, 1);
}

int64_t link_peer_frame(struct conn *c, uint8_t type, uint32_t len, const uint8_t *p, size_t avail)
{
	uint32_t want = type == FRAME_CLOSE_PEER ? KEY_LEN : 0;

	if (len != want) {
		conn_close(c, CLOSE_PROTOCOL_ERROR);
		return -1;
	}
	if (avail < len)
		return -1;
	if (type == FRAME_CLOSE_PEER)
		close_peer(c, p);
	else
		presence_begin(c);
	return len;
}
