/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gather.h: snapshots of all workers, shared by everybody who reads at the same time.
 *
 * A snapshot (a shot) is one part from each worker, asked for by mail. At most one a second is
 * taken, however many readers there are, and none when nobody reads. Shots don't change once they
 * are complete; each reader holds a reference to the one that it began with.
 *
 * Rates need two shots. A gather of pairs makes the view of a shot (gather_kind.derive) only where
 * there is an earlier one that is neither too young nor too old to be compared with; else its
 * readers wait for a second shot about a second later. Nothing sleeps: gather_tick takes it.
 *
 *   reader: gather_join → (wake) → shot → gather_leave
 *   shot:   asked for → parts come → complete, `last` → replaced or unread for long → last
 * reference given back, freed
 *
 * All on the gate's thread.
 */
#ifndef SLUICE_WEB_GATHER_H
#define SLUICE_WEB_GATHER_H

#include <stdbool.h>
#include <stdint.h>

#include "gate/site.h"

/* A shot is served to new readers until it is so old. */
#define GATHER_FRESH_MS 1000
/* How old an earlier shot may be to compute rates against. */
#define GATHER_BASE_MIN_MS 900
#define GATHER_BASE_MAX_MS 10000
/* The newest shot is freed when nobody has asked for so long. */
#define GATHER_KEEP_MS 30000
/* Readers give up when a worker doesn't answer. */
#define GATHER_PATIENCE_MS 5000
/* When slow readers keep so many shots alive, new readers share the newest whatever its age: a
 * shot may be tens of megabytes. */
#define GATHER_SHOTS_MAX 4

struct shot_part {
	void *part;     /* struct flow_part or client_part; owned */
	uint64_t at_ms; /* when it came */
};

struct shot {
	unsigned refs;
	uint64_t at_ms; /* when it was complete, monotonic and wall */
	uint64_t wall_ms;
	void *view; /* what derive made of it; NULL: there was nothing to compare with */
	int nparts;
	struct shot_part part[]; /* by worker */
};

struct reader {
	struct reader *next, **pprev; /* while it waits; pprev NULL when it doesn't */
	struct shot *shot;            /* NULL while it waits, and when it was given up */
	/* Called when there is a shot, or none is to be had; may free the reader. */
	void (*wake)(struct reader *r);
};

struct gather_kind {
	enum letter_kind letter; /* what is asked for */
	bool pairs;
	/* Makes a complete shot's view; base is NULL but for pairs. */
	void *(*derive)(const struct shot *s, const struct shot *base);
	void (*free_view)(void *view);
};

struct gather {
	const struct gather_kind *kind;
	bool (*ask)(struct gate *gate, enum letter_kind what);
	struct gate *gate;
	int workers;

	struct shot *last;    /* newest complete one */
	struct shot *pending; /* parts are still coming */
	int have;
	bool asked;        /* everybody has been asked */
	uint64_t asked_ms; /* since when it is pending */
	uint64_t read_ms;  /* when somebody last wanted something */
	struct reader *waiting;
	int alive; /* shots, those kept by readers included */
};

void gather_init(struct gather *g, const struct gather_kind *kind, int workers,
    bool (*ask)(struct gate *, enum letter_kind));
/* When no reader is left. */
void gather_fini(struct gather *g);

/* True: r->shot is there. False: the reader waits for wake. */
bool gather_join(struct gather *g, struct reader *r, uint64_t now_ms);
/* Gives the shot back, or stops waiting. */
void gather_leave(struct gather *g, struct reader *r);
/* A worker's part has come; it is freed with its shot, at once when nobody waits for it. */
void gather_part(struct gather *g, int worker, void *part, uint64_t now_ms, uint64_t wall_ms);
void gather_tick(struct gather *g, uint64_t now_ms);

#endif
