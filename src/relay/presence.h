/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * presence.h: tells watchers, which are mesh peers that asked for it (WatchConns), who is connected
 * here and who comes and goes.
 *
 * Each worker keeps the keys that it owns in the order of their last change. A watcher is a cursor
 * into that list: the flood at the beginning and all later news are the same walk, and a key that
 * changes often is told once, as it is then. Frames are made a batch at a time and mailed to the
 * worker that has the watcher's connection, which acknowledges a batch when the socket has taken
 * it; so a slow watcher holds one batch of each worker, and a flood never delays packets.
 *
 * What is promised: presence of one key towards one watcher comes in order. A watcher that is so
 * far behind that a key which has gone was forgotten meanwhile is closed, and floods anew.
 */
#ifndef SLUICE_RELAY_PRESENCE_H
#define SLUICE_RELAY_PRESENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/letters.h"
#include "relay/peer.h"

struct worker;
struct conn;

/* A mesh peer's cursor into the keys of one worker. */
struct watcher {
	struct watcher *next;
	struct conn_ref ref; /* its connection, on worker `home` */
	int home;
	struct peer *at; /* the next to tell; NULL: it knows all */
	uint64_t
	    flood_end;  /* changes up to here are the flood: of those who have gone it never knew */
	uint32_t loops; /* batches since it last knew all */
	bool waiting;   /* for the acknowledgment of a batch */
	bool lost;      /* something it had to know is forgotten: it is to be closed */
	bool ended;     /* to be freed with the next step */
	bool no_room;   /* the mailbox that its batch must go to was full */
};

/* A watching connection has ended: its watchers elsewhere are to be freed. */
struct farewell {
	struct farewell *next;
	struct conn_ref ref;
	uint64_t untold; /* bit w: worker w has still to hear of it */
};

struct presence {
	struct peer *first, *last; /* oldest change first */
	uint64_t seq;
	struct watcher *watchers;
	struct conn *watching; /* mesh peers on this worker that watch (mesh->next_watching) */
	struct farewell *farewells;
};

/* Followed by whole frames; none: the watcher is lost, close it. */
struct presence_letter {
	struct conn_ref ref;
	uint32_t frames, gone;
	uint8_t bytes[];
};

struct watch_letter {
	struct conn_ref ref;
};

void presence_init(struct worker *w);
void presence_fini(struct worker *w);

/* The key's owner: a connection of it has come, or its last one has gone. */
void presence_changed(struct worker *w, struct peer *p);
/* WatchConns from a mesh peer of this worker. */
void presence_begin(struct conn *c);
/* The watching connection ends. */
void presence_end(struct conn *c);

/* Letters. */
void presence_take_watch(struct worker *w, int from, struct conn_ref ref);
void presence_take_unwatch(struct worker *w, int from, struct conn_ref ref);
void presence_take_ack(struct worker *w, int from, struct conn_ref ref);
void presence_take_frames(
    struct worker *w, int from, const struct presence_letter *l, uint32_t len);

/* Makes batches for those who can take one; true when there is more to do. */
bool presence_step(struct worker *w);
/* Something waits for room in somebody's mailbox. */
bool presence_waits(const struct worker *w);

#endif
