/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * site.h: how the gate and the web pages know each other.
 *
 * The gate speaks HTTP and owns the sockets; a site (web/) answers requests. Everything here runs
 * on the gate's thread. No answer sleeps: one that needs data first sets `waiting`, and is gone on
 * with when the site calls reply_ready.
 */
#ifndef SLUICE_GATE_SITE_H
#define SLUICE_GATE_SITE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "flow/snapshot.h"
#include "relay/letters.h"
#include "wire/http.h"
#include "wire/http_out.h"

/* Room in reply.out for one call of answer or more. */
#define REPLY_ROOM (72u << 10)
/* A call of more should stop when it has written this much. */
#define REPLY_CHUNK (48u << 10)

enum listener_kind {
	LISTEN_PUBLIC, /* -a */
	LISTEN_HTTP,   /* -http-port: plain, beside TLS */
	LISTEN_DEBUG,  /* -debug-listen */
};

struct asker {
	const struct sockaddr *addr;
	enum listener_kind listener;
	bool tls;
};

/* One answer under way. The gate owns it; the site fills it in. */
struct reply {
	/* To be sent: the head, then the body or its next chunk; empty at each call. */
	struct http_out out;
	bool close; /* end the connection after this answer */
	/* NULL: the answer is whole. Else it is called, with out empty, when the socket has taken
	 * all before; appends what comes next, and returns true when the body is whole. */
	bool (*more)(struct reply *r);
	/* more is not called before reply_ready. */
	bool waiting;
	/* Frees state; called once, when the answer has been sent or its reader has gone. */
	void (*free)(struct reply *r);
	void *state;
};

/* The site has what a waiting reply needs; the gate calls more within this turn. */
void reply_ready(struct reply *r);

struct site_ops {
	void *site;
	/* Answers a request. The body of the request, if any, is skipped by the gate. */
	void (*answer)(
	    void *site, struct reply *r, const struct http_request *req, const struct asker *who);
	/* A worker's part of a snapshot that was asked for; the site frees it. */
	void (*flows)(void *site, struct flow_part *part);
	void (*clients)(void *site, struct client_part *part);
	/* About every 100 ms. now_ms as clock_ms. */
	void (*tick)(void *site, uint64_t now_ms);
};

struct gate;

/* For the site: asks every worker for its part of a snapshot (LETTER_ASK_FLOWS or _CLIENTS). False
 * when some worker could not be asked; ask again at the next tick. Parts come once each. */
bool gate_ask(struct gate *g, enum letter_kind what) must_use;

#endif
