/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * path.h: how it is to send to a client: what the kernel knows of the way there, and what follows.
 *
 *   how much the socket is given   so that the path is full, and little lies unsent (window.h)
 *   which congestion control       by whether the path loses packets of its own (losses.h), or has
 *                                  paused
 *   what the queue's law is        how long packets may wait before some are dropped (queue.h)
 *
 * The kernel is asked (TCP_INFO) once for each 5 ms of the path's rate that are sent, 6 KiB at
 * least, while it has enough, and after a pause. Nothing of this is kept for a client that was sent
 * little, or asked for one that is near: those take bytes until the socket refuses some.
 */
#ifndef SLUICE_RELAY_PATH_H
#define SLUICE_RELAY_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/counter.h"
#include "base/delay.h"
#include "io/congestion.h"
#include "relay/losses.h"
#include "relay/window.h"

/* So near that no buffer of a long line lies between. */
#define PATH_NEAR_US 2000
/* Nobody tells when a path has taken what it may hold: it is looked at so often, */
#define HELD_POLL_MS 2
/* and less often, down to this, when it takes nothing. */
#define HELD_POLL_MAX_MS 64

struct conn;
struct worker;
struct queue_packet;

struct path {
	struct conn *conn;
	/* what the kernel said */
	uint64_t sampled_us;
	uint32_t rtt_least_us;
	uint64_t delivered_segments, delivered; /* bytes */
	/* the models */
	struct window window;
	struct losses losses;
	bool starved;        /* since the last sample there was nothing to send for a moment */
	uint64_t sent_ms;    /* when the socket was given something last */
	uint64_t resumed_us; /* when it went on after a pause; 0: much was under way since */
	/* what follows */
	bool as_lossy;  /* the congestion control is that for lossy paths */
	size_t room;    /* bytes that the socket may be given before the next look */
	uint32_t lowat; /* unsent bytes that the kernel may hold; it asks for more below half */
	uint64_t near_until_ms;                  /* so near that it needs no care, until then */
	uint32_t age_ms, target_ms, interval_ms; /* the queue's law */
	/* when the window is full: on the worker's list of those to be looked at */
	struct path *next_held, **held_at;
	bool full;
	uint64_t look_ms;
	uint32_t look_gap_ms; /* since the look before, */
	uint64_t had;         /* when the kernel held so many bytes */
	/* what became of packets */
	struct delays delays;
	uint64_t dropped[DROP_REASON_COUNT];
};

/* As the kernel has it now, for those who ask. */
struct path_view {
	bool known;
	char congestion[CONGESTION_NAME_LEN];
	uint32_t rtt_us, rtt_least_us;
	uint64_t retransmits;   /* segments, ever */
	uint64_t delivery_rate; /* bytes/s, as last measured */
	uint32_t cwnd;          /* bytes */
	uint32_t unsent,
	    lowat;       /* bytes in the kernel's queue, and how many it asks for; 0: preset */
	uint64_t window; /* bytes that it may hold; 0: no limit */
};

/* Bytes that the socket may be given now; 0: none, and path_hold says how to wait. */
size_t path_room(struct conn *c);
/* So many bytes were given to it. */
void path_sent(struct conn *c, size_t bytes);
/* There was room for all there was to send. */
void path_starved(struct conn *c);
/* The socket has just taken less than it was given. */
void path_refused(struct conn *c);
/* True: the path has enough, and will be looked at; false: the socket tells when it takes more. */
bool path_hold(struct conn *c);
/* The worker's, each turn: goes on with those that are held and have room again. */
void path_run_held(struct worker *w);
/* Gives the connection's new queue its law. */
void path_rule(struct conn *c);
/* A packet from the queue is sent, that many ms after it came; or it is dropped. */
void path_waited(struct conn *c, const struct queue_packet *p, uint32_t ms);
void path_dropped(struct conn *c, enum drop_reason why);
/* Asks the kernel: two system calls. */
void path_look(const struct conn *c, struct path_view *v);
/* The connection ends. */
void path_free(struct conn *c);

#endif
