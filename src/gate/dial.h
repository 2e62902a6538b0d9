/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dial.h: the mesh links, from the name in -mesh-with until a worker has the connection.
 *
 *   waiting → resolving → connecting → TLS handshake → logging in → up (a worker's) → waiting …
 *                                                                 → this very server: never again
 *
 * Each attempt has ten seconds; the next one begins about five seconds after it, or after the end
 * of the connection, which the worker tells by letter. What the other end may make us hold is
 * bounded. Time-outs go by the gate's tick.
 */
#ifndef SLUICE_GATE_DIAL_H
#define SLUICE_GATE_DIAL_H

#include "gate/gate.h"
#include "gate/resolve.h"
#include "relay/letters.h"

#define DIAL_MS 10000
/* For one address when there are others; the last one has what is left. */
#define DIAL_CONNECT_MS 3000
/* Between attempts: 4.5 to 5.5 s, so that nodes that lost each other don't dial in step. */
#define DIAL_PAUSE_MS 4500
#define DIAL_JITTER_MS 1000
/* The same failure is logged no more often; links that end sooner than the other have failed. */
#define DIAL_WARN_MS 60000
#define DIAL_STEADY_MS 10000
#define DIAL_HEAD_MAX 4096
#define DIAL_SERVER_INFO_MAX (16u << 10)
/* Opened and not used yet: a ServerInfo but for its last byte, and one receive more. */
#define DIAL_IN_MAX (64u << 10)
#define DIAL_OUT_MAX (16u << 10)

/* Of MESH_LOGIN: what is waited for. */
enum dial_step {
	DIAL_ANSWER, /* to the upgrade */
	DIAL_SERVER_KEY,
	DIAL_SERVER_INFO,
	DIAL_HAND_OVER, /* the socket to take what is left, and the worker's mailbox to have room */
};

/* A link's state is link->state; this is what the gate needs beside it. */
struct dial {
	struct watch watch; /* fd -1: no socket */
	struct gate *gate;
	struct mesh_link *link;
	uint8_t index;
	enum dial_step step;
	bool eof;                   /* nothing more will come */
	bool steady;                /* the last connection was up for a while */
	char name[MESH_TARGET_LEN]; /* host, with its port unless that is 443; the Host field */
	uint64_t at_ms;             /* waiting: when to dial */
	uint64_t deadline_ms;       /* of the attempt */
	uint64_t connect_until_ms;  /* of the address */
	struct resolve resolve;
	int at;  /* which of its addresses is tried */
	int why; /* errno of the last one that failed */
	struct tls *tls;
	struct login_secret secret;
	uint8_t *in; /* DIAL_IN_MAX */
	uint32_t in_len;
	uint8_t *out; /* DIAL_OUT_MAX: for the wire, not taken by the socket yet */
	uint32_t out_at, out_len;
	uint64_t warned_ms,
	    told_ms; /* when a failure, and that it is up, was logged last; 0 never */
	char warned[MESH_ERROR_LEN];
};

/* One for each link of the gate's mesh; NULL without. The first attempts begin with the next tick.
 */
struct dial *dials_new(struct gate *g);
/* Ends attempts that are under way; the links are left as they are. NULL is fine. */
void dials_free(struct gate *g, struct dial *dials);
void dials_tick(struct gate *g);
/* A worker's letter. */
void dials_link_ended(struct gate *g, const struct link_ended_letter *l);

/* Within gate/ */

/* Ends the attempt for that reason and plans the next one. The caller touches it no more. */
void dial_fail(struct dial *d, const char *fmt, ...) printf_like(2, 3);
/* False once it has failed, has been handed over, or goes to this very server. */
bool dial_alive(const struct dial *d);
/* Ends the attempt, whatever it was doing. */
void dial_drop(struct dial *d);
void dial_state(struct dial *d, enum mesh_state state);
/* Asks the socket for what the dial waits for. */
void dial_ask(struct dial *d);
/* Seals bytes and sends them. */
void dial_send(struct dial *d, const void *p, size_t len);

/* dial_login.c: TLS is up: asks for the upgrade. */
void dial_login_begin(struct dial *d);
/* Goes on with what has come. */
void dial_login_advance(struct dial *d);
/* The other end closed in the middle of it. */
void dial_login_cut(struct dial *d);

#endif
