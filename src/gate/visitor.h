/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * visitor.h: a connection from its acceptance until it logs in, has its answer, or is turned away.
 *
 *   TLS → request → (answer → request …) → linger → end
 *                 → login → handed to a worker
 *
 * Each state has a deadline; what a visitor may make us hold is bounded in each, and for all
 * together.
 */
#ifndef SLUICE_GATE_VISITOR_H
#define SLUICE_GATE_VISITOR_H

#include <netinet/in.h>

#include "gate/gate.h"
#include "io/tls.h"
#include "wire/websocket.h"

/* TLS handshake and request; login. */
#define HANDSHAKE_MS 10000
#define LOGIN_MS 10000
/* For the next request on a connection that is kept; for an answer to move on. */
#define HTTP_IDLE_MS 30000
#define ANSWER_MS 30000
/* After the last answer: until the client has closed, as a reset could overtake the answer. */
#define LINGER_MS 1000
#define LINGER_BYTES_MAX (1u << 20)
/* When a worker's mailbox is full, the login is handed over a little later. */
#define LOGIN_RETRY_MS 64
#define LOGIN_RETRIES_MAX (LOGIN_MS / LOGIN_RETRY_MS)

enum visit_state {
	VISIT_TLS,
	VISIT_REQUEST,
	VISIT_ANSWER,
	VISIT_LOGIN,
	VISIT_LINGER,
};

struct visitor {
	struct watch watch;
	struct gate *gate;
	struct tls *tls;
	struct websocket *ws;
	enum visit_state state;
	enum listener_kind kind;
	enum close_reason end; /* why it will be closed, while it lingers */
	bool dead;
	bool kept;     /* a request has been answered */
	bool is_ready; /* on the gate's list */
	bool eof;      /* close_notify came behind what it said */
	bool not_ideal;
	bool ungreeted; /* ServerKey is still to be sent: with ServerInfo, if the login is here */

	struct timer timer;
	struct sockaddr_storage addr;
	uint32_t place; /* the crowd's, of addr */
	struct http_request req;
	struct reply reply;
	uint32_t lingered; /* bytes thrown away at the end */
	uint32_t retries;  /* of handing it to a worker with a full mailbox */
	uint32_t skip;     /* bytes of the request's body that are still to come */

	uint8_t *in; /* plaintext not used up yet */
	uint32_t in_len, in_cap;
	uint8_t *out; /* for the wire, not taken by the socket yet */
	uint32_t out_at, out_len;

	struct visitor *next, *prev; /* older, newer */
	struct visitor *next_dead, *next_ready;
};

/* fd: accepted, non-blocking; becomes the visitor's, or is closed. */
void visitor_new(
    struct gate *g, int fd, const struct listener *l, const struct sockaddr_storage *addr);
/* Ends it; the gate frees it at the end of the turn. */
void visitor_close(struct visitor *v, enum close_reason why);
void visitor_free(struct visitor *v);
void visitor_timeout(struct visitor *v);
/* Goes on with an answer that waited. */
void visitor_go_on(struct visitor *v);

/* Within gate/ */

/* Sets the deadline of what it is doing. */
void visitor_deadline(struct visitor *v, uint64_t ms);
/* Asks the socket for what the visitor's state wants. */
void visitor_ask(struct visitor *v);
/* Stream bytes to the client: through WebSocket and TLS where there are. */
void visitor_send(struct visitor *v, const void *p, size_t len);
void visitor_send_plain(struct visitor *v, const void *p, size_t len);
/* Takes it out of everything, uncounted: its socket and engines are somebody else's now, or are
 * freed with it. */
void visitor_leave(struct visitor *v);
/* Takes n bytes off the front of `in`. */
void visitor_used(struct visitor *v, size_t n);

/* login.c: an upgrade to DERP was asked for: answers, greets. True when the visitor is on its way
 * to log in or was closed; false when this is no such request. */
bool login_begin(struct visitor *v);
/* Goes on with what has come. */
void login_advance(struct visitor *v);

#endif
