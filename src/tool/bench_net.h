/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_net.h: what all clients of a run share: one epoll, the server's address, TLS choices, and
 * the buffers through which every byte goes.
 *
 * The buffers belong to whichever client is being served; what a client can't finish (half a
 * frame, bytes that the socket didn't take) moves to memory of its own until next time. `clear` and
 * `out` are empty between the calls of bench_client.h, save between reserve and flush: frames are
 * composed in `clear` and sealed together, with the key expanded once, one record each.
 */
#ifndef SLUICE_TOOL_BENCH_NET_H
#define SLUICE_TOOL_BENCH_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <openssl/ssl.h>

#include "base/span.h"
#include "io/addr.h"
#include "wire/frame.h"
#include "tool/bench_options.h"

#define BENCH_IN_CAP (64u << 10)
/* The rest of a frame, a whole receive, the rest of a record. */
#define BENCH_PLAIN_CAP (FRAME_MAX + BENCH_IN_CAP + (32u << 10))
#define BENCH_CLEAR_CAP (128u << 10)
#define BENCH_OUT_CAP (320u << 10)

struct bench_client;

/* What a load hears of its clients; `arg` is the net's. */
struct bench_events {
	/* Logged in: packets may be sent. */
	void (*ready)(void *arg, struct bench_client *c);
	void (*packet)(
	    void *arg, struct bench_client *c, const uint8_t *src, const uint8_t *p, size_t len);
	/* It takes bytes again after bench_client_reserve had refused. */
	void (*writable)(void *arg, struct bench_client *c);
	/* The connection failed or was closed by the server; not called after bench_client_close.
	 */
	void (*closed)(void *arg, struct bench_client *c, const char *why);
};

struct bench_net {
	const struct bench_events *events;
	void *arg;
	int epfd;
	SSL_CTX *ctx; /* NULL: plain TCP */
	bool fast_start;
	bool only_records; /* a connection whose records are not ours is a failure */
	/* pipe: no upgrade, no login; what is sent comes back by connections that we accept */
	bool raw;
	SSL_CTX *sink_ctx; /* of these; NULL: plain TCP */
	struct addr addr;
	struct addr to;     /* of clients with `other` set */
	const char *server; /* as given, for the request's Host */
	uint64_t handshake_timeout_ns;
	uint64_t now_ns;                 /* read at each wake-up and each receive */
	uint64_t swept_ns;               /* when handshakes were last looked at */
	struct bench_client *connecting; /* those whose handshake goes on */
	int n_connecting;
	int n_ready;
	uint64_t receives; /* system calls that brought bytes */
	uint64_t sends;
	uint64_t peer_gone; /* frames */
	uint8_t *in;        /* BENCH_IN_CAP, as received */
	uint8_t *plain;     /* BENCH_PLAIN_CAP */
	uint8_t *clear;     /* BENCH_CLEAR_CAP, frames to be sealed */
	size_t clear_len;
	size_t each;     /* the length of each frame in it */
	struct sink out; /* BENCH_OUT_CAP, to be sent */
};

/* Resolves the server (refused unless it is on loopback or o->own_server) and makes the buffers;
 * on failure a line on standard error says why. */
bool bench_net_init(struct bench_net *n, const struct bench_options *o,
    const struct bench_events *events, void *arg) must_use;
/* The first address of HOST:PORT, which flag -`flag` gave; else false, and a line says why. */
bool bench_net_resolve(const struct bench_options *o, const char *flag, const char *server,
    struct addr *addr) must_use;
void bench_net_fini(struct bench_net *n);
/* Waits for events until `until_ns` at the latest and serves them. */
void bench_net_turn(struct bench_net *n, uint64_t until_ns);

#endif
