/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gate.h: the thread at which every connection arrives.
 *
 * It accepts, shakes hands, answers web requests, and takes a DERP client as far as the verdict on
 * its login; then the connection is mailed to the worker that owns the client's key and the gate
 * forgets it. It also dials the mesh's links, which go the same way (dial.h). It runs niced: a
 * crowd at the gate must not delay packets.
 */
#ifndef SLUICE_GATE_GATE_H
#define SLUICE_GATE_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <openssl/ssl.h>

#include "base/counter.h"
#include "base/mail.h"
#include "base/wheel.h"
#include "gate/crowd.h"
#include "gate/site.h"
#include "io/loop.h"
#include "relay/mesh.h"
#include "wire/login.h"

#define GATE_LISTENERS_MAX 8
/* Bytes of one receive. */
#define GATE_READ_MAX (16u << 10)
/* Bytes that all connections before login may hold in buffers. */
#define GATE_BUFFERED_MAX (64u << 20)

struct gate_config {
	const struct login_keys *keys; /* the server's */
	struct mesh *mesh;             /* keys and links; NULL: there is no mesh */
	SSL_CTX *mesh_ctx;             /* for dialling; NULL without links */
	uint32_t max_visitors;
	bool derp;                     /* false: /derp is answered by the site */
	int64_t tcp_keepalive_time_ms; /* 0: 15 s, negative: never */
	int64_t tcp_user_timeout_ms;   /* 0: the kernel's */
	const char *congestion;        /* control of every connection; "": the kernel's preset */
};

struct listener {
	struct watch watch;
	struct gate *gate;
	enum listener_kind kind;
	bool tls;
};

struct visitor;
struct dial;

struct gate {
	struct counters counters;
	const struct gate_config *config;
	struct mail *mail;
	int self;
	struct letters_post post; /* where its log lines go */
	_Atomic bool stop;
	bool busy; /* there is more mail: the next turn does not sleep */
	struct loop loop;
	struct watch bell;
	struct wheel wheel;
	struct timer tick;
	uint64_t now_ms;
	SSL_CTX *ctx; /* NULL without TLS; owned */
	struct site_ops site;

	struct listener listener[GATE_LISTENERS_MAX];
	int nlisteners;
	uint64_t
	    accept_again_ms; /* accepting pauses until then: no file descriptors; 0: it doesn't */
	uint64_t fd_warned_ms;

	struct crowd visitors;
	struct visitor *dead;  /* to be freed at the end of the turn */
	struct visitor *ready; /* whose reply can go on */
	size_t buffered;       /* bytes in visitors' buffers */
	struct login_cache *cache;
	uint64_t logins;   /* numbers connections */
	struct dial *dial; /* one a mesh link; NULL without */

	uint8_t *cipher; /* GATE_READ_MAX: as received */
	uint8_t *plain;  /* opened */
	uint8_t *stream; /* out of WebSocket */
	uint8_t *wire;   /* sealed, to be sent */
	uint8_t *framed; /* WebSocket messages to be sealed */
	char *page;      /* REPLY_ROOM: a reply's out */
};

/* Takes over the reference to ctx. */
struct gate *gate_new(const struct gate_config *config, struct mail *mail, SSL_CTX *ctx);
void gate_free(struct gate *g);
void gate_set_site(struct gate *g, struct site_ops site);
/* Before the thread runs: a bound, listening, non-blocking socket, which the gate closes at its
 * end. */
void gate_listen(struct gate *g, int fd, enum listener_kind kind, bool tls, bool inet);
/* The thread's body: until gate_stop. */
void *gate_run(void *gate);
/* One turn of it; tests go step by step. */
void gate_turn(struct gate *g, bool may_sleep);
/* Any thread's. */
void gate_stop(struct gate *g);

/* Within gate/ */

/* What the options say of TCP sockets, accepted or to be connected. */
void gate_set_options(const struct gate_config *config, int fd);
/* Of mesh peers: one that is silent is asked after 10 s and given up 15 s later, as watchers may
 * have nothing to say for long and answer no pings. */
void gate_keep_alive(int fd);

#endif
