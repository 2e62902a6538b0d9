/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sighting.h: who has heard from whom, so that PeerGone reaches those who must know.
 *
 * When a connection first receives from a key, the pair is noted here, on the receiver's worker;
 * the first sighting of a key on a worker asks the key's owner to tell when it goes. So the owner
 * keeps one bit a worker for each key, a disconnect costs one letter a worker that is concerned,
 * and nothing depends on flows or on where the sender is.
 *
 * Bounded: SIGHTINGS_PER_CONN a connection (then its oldest is forgotten), SIGHTINGS_MAX a worker.
 */
#ifndef SLUICE_RELAY_SIGHTING_H
#define SLUICE_RELAY_SIGHTING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/key.h"
#include "base/map64.h"

#define SIGHTINGS_PER_CONN 4096
#define SIGHTINGS_MAX (1u << 20)

struct conn;

/* One (connection, source) pair, on a list of each. */
struct sighting {
	struct conn *conn;
	uint64_t pair; /* hash of the pair */
	uint32_t source;
	uint32_t conn_next, conn_prev; /* oldest first */
	uint32_t source_next, source_prev;
};

/* A key that some connection of this worker has heard from. */
struct source {
	struct key key;
	uint64_t hash;
	uint32_t first; /* sighting */
	uint32_t next_free;
	uint16_t owner; /* worker */
	bool told;      /* the owner knows that we want to be told */
	bool by_mesh;   /* first heard from through the mesh */
	bool untold_listed;
	uint32_t next_untold; /* of those whose owner is still to be asked */
};

struct sightings {
	struct sighting *sighting;
	struct source *source;
	uint32_t nsightings, nsources; /* allocated */
	uint32_t free_sighting, free_source;
	uint32_t used;   /* sightings in use */
	uint32_t untold; /* list */
	struct map64 by_pair;
	struct map64 by_source;
};

/* Embedded in the connection. */
struct sighting_set {
	uint32_t first, last;
	uint32_t n;
	uint64_t
	    last_hash; /* source of the last sighting looked for: a run of packets costs nothing */
};

void sightings_init(struct sightings *s);
void sightings_fini(struct sightings *s);

void sighting_set_init(struct sighting_set *set);
/* The connection ends. */
void sighting_set_fini(struct sightings *s, struct sighting_set *set);

/* Notes that c heard from the key; returns how many older sightings were forgotten for it. */
uint32_t sighting_note(struct sightings *s, struct sighting_set *set, struct conn *c,
    const struct key *source, uint64_t hash, uint16_t owner, bool by_mesh);
/* The next source whose owner is to be asked, NULL when none; then source_told or leave it. */
struct source *sightings_untold(struct sightings *s);
void sightings_told(struct sightings *s);
/* The key has gone: calls fn for each connection that heard from it, and forgets them. */
void sightings_gone(struct sightings *s, const struct key *source, uint64_t hash,
    void (*fn)(void *arg, struct conn *c), void *arg);

#endif
