/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/region.h"

#include <string.h>

#include "relay/worker.h"

/* Peer slots looked at in one turn. */
#define PURGE_SLICE 1024

void region_init(struct region *r)
{
	*r = (struct region){0};
	for (int l = 0; l < MESH_LINKS_MAX; l++)
		r->link[l].purge = MAP64_NONE;
}

static int links(const struct worker *w)
{
	return w->config->mesh ? w->config->mesh->n : 0;
}

/* ---- Forwarders of a key --------------------------------------------------------------------- */

void region_count_peer(struct worker *w, const struct peer *p, bool up)
{
	struct counters *n = &w->counters;
	void (*move)(struct counters *, enum counter, uint64_t) = up ? count : count_down;

	if (!peer_reachable(p))
		return;
	move(n, C_CLIENTS, 1);
	move(n, p->nconns > 0 ? C_CLIENTS_LOCAL : C_CLIENTS_REMOTE, 1);
}

static bool is_void(const struct worker *w, struct forwarder f)
{
	const struct link_view *v = &w->region.link[f.link];

	return !v->up || v->epoch != f.epoch;
}

struct link_view *region_forwarder(struct worker *w, const struct peer *p)
{
	for (int i = 0; i < p->nforwarders; i++)
		if (!is_void(w, p->forwarder[i]))
			return &w->region.link[p->forwarder[i].link];
	return NULL;
}

static void count_link_peers(struct worker *w, uint8_t link, bool up)
{
	uint64_t *n = &w->config->mesh->peers[w->self][link];

	tally(n, up ? 1 : (uint64_t)-1);
}

static void add_forwarder(struct worker *w, struct peer *p, struct forwarder f)
{
	if (p->nforwarders == 0 && w->region.keys >= REGION_KEYS_MAX) {
		count(&w->counters, C_MESH_KEYS_REFUSED, 1);
		return;
	}
	region_count_peer(w, p, false);
	if (p->nforwarders == 0)
		w->region.keys++;
	if (peer_add_forwarder(&w->peers, p, f)) {
		count_link_peers(w, f.link, true);
		if (p->nforwarders == 2)
			count(&w->counters, C_MULTI_CREATED, 1);
	}
	region_count_peer(w, p, true);
}

/* It is gone from the region with its last forwarder, if it is not here either. False: that link
 * did not reach it. */
static bool remove_forwarder(struct worker *w, struct peer *p, uint8_t link)
{
	bool removed;

	region_count_peer(w, p, false);
	removed = peer_remove_forwarder(&w->peers, p, link);
	if (removed) {
		count_link_peers(w, link, false);
		if (p->nforwarders == 0)
			w->region.keys--;
		else if (p->nforwarders == 1)
			count(&w->counters, C_MULTI_DELETED, 1);
	}
	region_count_peer(w, p, true);
	if (removed && !peer_reachable(p))
		worker_peer_gone(w, p);
	return removed;
}

void region_take_present(struct worker *w, const struct present_letter *l)
{
	struct forwarder f = {.link = l->link, .epoch = l->epoch};
	struct peer *p;

	if (is_void(w, f))
		return; /* the link went down behind it */
	p = l->present ? peer_get(&w->peers, &l->key, l->hash)
		       : peer_find(&w->peers, &l->key, l->hash);
	if (!p)
		return;
	if (l->present)
		add_forwarder(w, p, f);
	else if (!remove_forwarder(w, p, l->link) && peer_reachable(p))
		/* It said so of a key that it never reached, or twice. */
		count(&w->counters, C_FORWARDER_OTHER, 1);
}

/* ---- Links ----------------------------------------------------------------------------------- */

void region_take_link(struct worker *w, const struct link_letter *l)
{
	struct link_view *v = &w->region.link[l->link];

	/* The link may have moved to another worker since, whose news were faster. */
	if ((int8_t)(uint8_t)(l->epoch - v->epoch) < 0)
		return;
	/* Then that worker tells everybody of it. */
	v->untold = 0;
	v->up = l->up;
	v->epoch = l->epoch;
	v->worker = l->worker;
	v->server = l->server;
	v->purge = 0;
}

/* Tells the workers, and at an end the gate; those without room later. */
static void tell(struct worker *w, uint8_t link)
{
	struct link_view *v = &w->region.link[link];
	const struct link_letter l = {
	    .link = link,
	    .epoch = v->epoch,
	    .worker = (uint8_t)w->self,
	    .up = v->up,
	    .server = v->server,
	};
	const struct link_ended_letter ended = {
	    .link = link, .epoch = v->ended_epoch, .why = v->ended};

	for (uint64_t left = v->untold; left; left &= left - 1) {
		int to = __builtin_ctzll(left);

		if (mail_post(w->mail, w->self, to, LETTER_LINK, &l, sizeof(l), true))
			v->untold &= ~(1ull << to);
	}
	if (v->gate_untold)
		v->gate_untold = !mail_post(w->mail, w->self, mail_gate(w->mail), LETTER_LINK_ENDED,
		    &ended, sizeof(ended), true);
}

void region_link_changed(struct worker *w, uint8_t link)
{
	struct link_view *v = &w->region.link[link];

	v->purge = 0;
	for (int to = 0; to < w->config->workers; to++)
		if (to != w->self)
			v->untold |= 1ull << to;
	tell(w, link);
}

/* Void forwarders of one link, in a slice of the peer records. */
static void purge_some(struct worker *w, uint8_t link)
{
	struct link_view *v = &w->region.link[link];
	uint32_t end = MIN(v->purge + PURGE_SLICE, w->peers.nslots);

	for (; v->purge < end; v->purge++) {
		struct peer *p = w->peers.slot[v->purge].peer;

		for (int i = 0; p && i < p->nforwarders; i++) {
			if (p->forwarder[i].link == link && is_void(w, p->forwarder[i])) {
				(void)remove_forwarder(w, p, link);
				break;
			}
		}
	}
	if (v->purge == w->peers.nslots)
		v->purge = MAP64_NONE;
}

bool region_step(struct worker *w)
{
	bool more = false;

	for (int l = 0; l < links(w); l++) {
		struct link_view *v = &w->region.link[l];

		if (v->untold || v->gate_untold)
			tell(w, (uint8_t)l);
		/* When those who must hear that keys have gone can't, further ones wait too. */
		if (v->purge == MAP64_NONE || w->gone_pending)
			continue;
		purge_some(w, (uint8_t)l);
		more |= v->purge != MAP64_NONE;
	}
	return more;
}

bool region_waits(const struct worker *w)
{
	for (int l = 0; l < links(w); l++)
		if (w->region.link[l].untold || w->region.link[l].gate_untold)
			return true;
	return false;
}
