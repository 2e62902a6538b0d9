/* SPDX-License-Identifier: BSD-3-Clause */
#include "relay/sighting.h"

#include <stdlib.h>

#include "relay/conn.h"

#define NONE MAP64_NONE

void sightings_init(struct sightings *s)
{
	*s = (struct sightings){.free_sighting = NONE, .free_source = NONE, .untold = NONE};
	map64_init(&s->by_pair);
	map64_init(&s->by_source);
}

void sightings_fini(struct sightings *s)
{
	CHECK(s->used == 0);
	free(s->sighting);
	free(s->source);
	map64_fini(&s->by_pair);
	map64_fini(&s->by_source);
}

void sighting_set_init(struct sighting_set *set)
{
	*set = (struct sighting_set){.first = NONE, .last = NONE};
}

/* The source's hash is secret and well mixed already: a multiply spreads the connection over it. */
static uint64_t pair_hash(const struct conn *c, uint64_t source_hash)
{
	return source_hash ^ (((uint64_t)c->gen << 32 | c->slot) + 1) * 0x9e3779b97f4a7c15ull;
}

static uint32_t sighting_new(struct sightings *s)
{
	uint32_t i = s->free_sighting;

	if (i == NONE) {
		uint32_t n = s->nsightings ? s->nsightings * 2 : 64;

		s->sighting = realloc(s->sighting, n * sizeof(*s->sighting));
		CHECK(s->sighting);
		for (i = n; i-- > s->nsightings;) {
			s->sighting[i].conn_next = s->free_sighting;
			s->free_sighting = i;
		}
		s->nsightings = n;
		i = s->free_sighting;
	}
	s->free_sighting = s->sighting[i].conn_next;
	s->used++;
	return i;
}

static uint32_t source_new(
    struct sightings *s, const struct key *key, uint64_t hash, uint16_t owner, bool by_mesh)
{
	uint32_t i = s->free_source;

	if (i == NONE) {
		uint32_t n = s->nsources ? s->nsources * 2 : 64;

		s->source = realloc(s->source, n * sizeof(*s->source));
		CHECK(s->source);
		for (i = n; i-- > s->nsources;) {
			s->source[i] = (struct source){.next_free = s->free_source};
			s->free_source = i;
		}
		s->nsources = n;
		i = s->free_source;
	}
	s->free_source = s->source[i].next_free;
	/* It may still be on the list of those untold from an earlier life; then it stays there. */
	s->source[i].key = *key;
	s->source[i].hash = hash;
	s->source[i].owner = owner;
	s->source[i].first = NONE;
	s->source[i].told = false;
	s->source[i].by_mesh = by_mesh;
	map64_put(&s->by_source, hash, i);
	if (!s->source[i].untold_listed) {
		s->source[i].untold_listed = true;
		s->source[i].next_untold = s->untold;
		s->untold = i;
	}
	return i;
}

static void source_free(struct sightings *s, uint32_t i)
{
	map64_del(&s->by_source, s->source[i].hash);
	s->source[i].next_free = s->free_source;
	s->source[i].told = true; /* nothing to ask for */
	s->free_source = i;
}

static void conn_list_remove(struct sightings *s, struct sighting_set *set, uint32_t i)
{
	struct sighting *e = &s->sighting[i];

	if (e->conn_prev != NONE)
		s->sighting[e->conn_prev].conn_next = e->conn_next;
	else
		set->first = e->conn_next;
	if (e->conn_next != NONE)
		s->sighting[e->conn_next].conn_prev = e->conn_prev;
	else
		set->last = e->conn_prev;
	set->n--;
	set->last_hash = 0;
}

static void forget(struct sightings *s, struct sighting_set *set, uint32_t i)
{
	struct sighting *e = &s->sighting[i];
	struct source *src = &s->source[e->source];

	conn_list_remove(s, set, i);
	if (e->source_prev != NONE)
		s->sighting[e->source_prev].source_next = e->source_next;
	else
		src->first = e->source_next;
	if (e->source_next != NONE)
		s->sighting[e->source_next].source_prev = e->source_prev;
	map64_del(&s->by_pair, e->pair);
	if (src->first == NONE)
		source_free(s, e->source);
	e->conn = NULL;
	e->conn_next = s->free_sighting;
	s->free_sighting = i;
	s->used--;
}

void sighting_set_fini(struct sightings *s, struct sighting_set *set)
{
	while (set->first != NONE)
		forget(s, set, set->first);
}

static void sighting_link(
    struct sightings *s, struct sighting_set *set, struct conn *c, uint32_t source, uint64_t pair)
{
	uint32_t i = sighting_new(s);
	uint32_t first = s->source[source].first;

	s->sighting[i] = (struct sighting){
	    .conn = c,
	    .pair = pair,
	    .source = source,
	    .conn_next = NONE,
	    .conn_prev = set->last,
	    .source_next = first,
	    .source_prev = NONE,
	};
	if (first != NONE)
		s->sighting[first].source_prev = i;
	s->source[source].first = i;
	if (set->last != NONE)
		s->sighting[set->last].conn_next = i;
	else
		set->first = i;
	set->last = i;
	set->n++;
	map64_put(&s->by_pair, pair, i);
}

uint32_t sighting_note(struct sightings *s, struct sighting_set *set, struct conn *c,
    const struct key *source, uint64_t hash, uint16_t owner, bool by_mesh)
{
	uint64_t pair;
	uint32_t src;
	uint32_t forgotten = 0;

	if (set->last_hash == hash)
		return 0;
	pair = pair_hash(c, hash);
	if (map64_get(&s->by_pair, pair) != NONE) {
		set->last_hash = hash;
		return 0;
	}
	if (set->n >= SIGHTINGS_PER_CONN) {
		forget(s, set, set->first);
		forgotten++;
	} else if (s->used >= SIGHTINGS_MAX) {
		return 1; /* the worker's share is used up: this one will not be told */
	}
	src = map64_get(&s->by_source, hash);
	if (src == NONE)
		src = source_new(s, source, hash, owner, by_mesh);
	sighting_link(s, set, c, src, pair);
	set->last_hash = hash;
	return forgotten;
}

struct source *sightings_untold(struct sightings *s)
{
	while (s->untold != NONE) {
		struct source *src = &s->source[s->untold];

		if (!src->told)
			return src;
		src->untold_listed = false;
		s->untold = src->next_untold;
	}
	return NULL;
}

void sightings_told(struct sightings *s)
{
	s->source[s->untold].told = true;
}

void sightings_gone(struct sightings *s, const struct key *source, uint64_t hash,
    void (*fn)(void *, struct conn *), void *arg)
{
	uint32_t src;

	/* Found anew each time: fn may end connections, and with them other sightings of it. */
	while ((src = map64_get(&s->by_source, hash)) != NONE &&
	       key_equal(&s->source[src].key, source)) {
		uint32_t i = s->source[src].first;
		struct conn *c = s->sighting[i].conn;

		forget(s, &c->sightings, i);
		fn(arg, c);
	}
}
