/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/peer.h"

#include <stdlib.h>

#include "relay/conn.h"

/* Records looked at, of those that may not go yet, for one that may. */
#define TRIM_LOOK 64

void peer_table_init(struct peer_table *t)
{
	*t = (struct peer_table){.free = MAP64_NONE};
	map64_init(&t->by_hash);
}

void peer_table_fini(struct peer_table *t)
{
	for (uint32_t i = 0; i < t->nslots; i++)
		free(t->slot[i].peer);
	free(t->slot);
	map64_fini(&t->by_hash);
}

struct peer *peer_find(const struct peer_table *t, const struct key *k, uint64_t hash)
{
	uint32_t slot = map64_get(&t->by_hash, hash);

	if (slot == MAP64_NONE || !key_equal(&t->slot[slot].peer->key, k))
		return NULL;
	return t->slot[slot].peer;
}

static void idle_push(struct peer_table *t, struct peer *p)
{
	p->idle_next = NULL;
	p->idle_prev = t->idle_last;
	if (t->idle_last)
		t->idle_last->idle_next = p;
	else
		t->idle_first = p;
	t->idle_last = p;
	t->idle++;
}

static void idle_unlink(struct peer_table *t, struct peer *p)
{
	if (p->idle_prev)
		p->idle_prev->idle_next = p->idle_next;
	else
		t->idle_first = p->idle_next;
	if (p->idle_next)
		p->idle_next->idle_prev = p->idle_prev;
	else
		t->idle_last = p->idle_prev;
	t->idle--;
}

static void peer_free(struct peer_table *t, struct peer *p)
{
	struct peer_slot *s = &t->slot[p->slot];

	CHECK(!peer_reachable(p) && !p->gone_pending);
	if (t->forget)
		t->forget(t->forget_arg, p);
	idle_unlink(t, p);
	map64_del(&t->by_hash, p->hash);
	s->peer = NULL;
	s->gen++;
	s->next_free = t->free;
	t->free = p->slot;
	free(p);
}

/* The oldest idle record whose watchers have all been told goes; false when there is none. */
static bool idle_trim(struct peer_table *t)
{
	struct peer *p = t->idle_first;

	if (t->idle <= PEER_IDLE_MAX)
		return false;
	for (int looked = 0; p && p->gone_pending && looked < TRIM_LOOK; looked++)
		p = p->idle_next;
	if (!p || p->gone_pending)
		return false;
	peer_free(t, p);
	return true;
}

void peer_trim(struct peer_table *t)
{
	while (idle_trim(t))
		;
}

static uint32_t slot_new(struct peer_table *t)
{
	uint32_t n = t->nslots ? t->nslots * 2 : 64;
	uint32_t s = t->free;

	if (s == MAP64_NONE) {
		t->slot = realloc(t->slot, n * sizeof(*t->slot));
		CHECK(t->slot);
		for (uint32_t i = n; i-- > t->nslots;) {
			t->slot[i] = (struct peer_slot){.next_free = t->free};
			t->free = i;
		}
		t->nslots = n;
		s = t->free;
	}
	t->free = t->slot[s].next_free;
	return s;
}

struct peer *peer_get(struct peer_table *t, const struct key *k, uint64_t hash)
{
	struct peer *p = peer_find(t, k, hash);

	if (p)
		return p;
	idle_trim(t);
	p = must_calloc(1, sizeof(*p));
	p->key = *k;
	p->hash = hash;
	p->slot = slot_new(t);
	t->slot[p->slot].peer = p;
	map64_put(&t->by_hash, hash, p->slot);
	idle_push(t, p);
	return p;
}

static void list_push(struct peer *p, struct conn *c)
{
	c->prev_of_peer = NULL;
	c->next_of_peer = p->conns;
	if (p->conns)
		p->conns->prev_of_peer = c;
	p->conns = c;
}

void peer_add(struct peer_table *t, struct peer *p, struct conn *c)
{
	if (!peer_reachable(p))
		idle_unlink(t, p);
	p->nconns++;
	p->logins++;
	c->peer = p;
	list_push(p, c);
	p->active = c;
}

static void list_remove(struct peer *p, struct conn *c)
{
	*(c->prev_of_peer ? &c->prev_of_peer->next_of_peer : &p->conns) = c->next_of_peer;
	if (c->next_of_peer)
		c->next_of_peer->prev_of_peer = c->prev_of_peer;
	c->next_of_peer = c->prev_of_peer = NULL;
}

void peer_remove(struct peer_table *t, struct peer *p, struct conn *c)
{
	CHECK(p->nconns > 0);
	list_remove(p, c);
	p->active = p->conns;
	p->past.rx_packets += c->totals.rx_packets;
	p->past.rx_bytes += c->totals.rx_bytes;
	p->past.tx_packets += c->totals.tx_packets;
	p->past.tx_bytes += c->totals.tx_bytes;
	p->nconns--;
	if (!peer_reachable(p))
		idle_push(t, p);
}

void peer_activate(struct peer *p, struct conn *c)
{
	list_remove(p, c);
	list_push(p, c);
	p->active = c;
}

static int forwarder_place(const struct peer *p, uint8_t link)
{
	for (int i = 0; i < p->nforwarders; i++)
		if (p->forwarder[i].link == link)
			return i;
	return -1;
}

static void forwarder_take_out(struct peer *p, int at)
{
	p->nforwarders--;
	memmove(&p->forwarder[at], &p->forwarder[at + 1],
	    (size_t)(p->nforwarders - at) * sizeof(p->forwarder[0]));
}

bool peer_add_forwarder(struct peer_table *t, struct peer *p, struct forwarder f)
{
	int at = forwarder_place(p, f.link);

	if (at >= 0 && p->forwarder[at].epoch == f.epoch)
		return false;
	/* That of a connection that has ended goes: this one is the youngest. */
	if (at >= 0)
		forwarder_take_out(p, at);
	else if (!peer_reachable(p))
		idle_unlink(t, p);
	CHECK(p->nforwarders < MESH_LINKS_MAX);
	p->forwarder[p->nforwarders++] = f;
	return at < 0;
}

bool peer_remove_forwarder(struct peer_table *t, struct peer *p, uint8_t link)
{
	int at = forwarder_place(p, link);

	if (at < 0)
		return false;
	forwarder_take_out(p, at);
	if (!peer_reachable(p))
		idle_push(t, p);
	return true;
}
