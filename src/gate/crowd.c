/* SPDX-License-Identifier: BSD-3-Clause */
#include "gate/crowd.h"

#include <string.h>

#include "base/key.h"
#include "gate/visitor.h"
#include "io/addr.h"

/* How many of the oldest are looked at. */
#define OLDEST_LOOK 64
#define NETWORK_LEN 8

static uint32_t place_of(const struct sockaddr_storage *addr)
{
	struct in6_addr ip;
	struct key k = {0};

	addr_ip16((const struct sockaddr *)addr, ip.s6_addr);
	memcpy(k.b, &ip, IN6_IS_ADDR_V4MAPPED(&ip) ? sizeof(ip) : NETWORK_LEN);
	return key_hash(&k) % CROWD_PLACES;
}

void crowd_join(struct crowd *c, struct visitor *v)
{
	v->place = place_of(&v->addr);
	c->from[v->place]++;
	v->next = c->newest;
	*(v->next ? &v->next->prev : &c->oldest) = v;
	c->newest = v;
	c->n++;
}

void crowd_leave(struct crowd *c, struct visitor *v)
{
	c->from[v->place]--;
	*(v->prev ? &v->prev->next : &c->newest) = v->next;
	*(v->next ? &v->next->prev : &c->oldest) = v->prev;
	c->n--;
}

/* Whoever means to log in has done so long since. Those who get an answer stay, and so does who
 * looks at the debug pages on their own listener, above all then. */
static bool may_go(const struct visitor *v)
{
	return v->state != VISIT_ANSWER && v->kind != LISTEN_DEBUG;
}

struct visitor *crowd_to_go(const struct crowd *c)
{
	struct visitor *v = c->oldest, *go = NULL;

	for (int i = 0; i < OLDEST_LOOK && v; i++, v = v->prev)
		if (may_go(v) && (!go || c->from[v->place] > c->from[go->place]))
			go = v;
	return go;
}
