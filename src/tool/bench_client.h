/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_client.h: one connection of the load generator, from connect() to packets.
 *
 * It says what a real client says: TLS without SNI for an address, the upgrade request, ClientInfo;
 * with fast start (the server's key is in its certificate chain) all of it in one flight. TLS is
 * the relay's own engine from the other side (io/tls.h), so its records are as cheap as the
 * relay's.
 */
#ifndef SLUICE_TOOL_BENCH_CLIENT_H
#define SLUICE_TOOL_BENCH_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "wire/login.h"
#include "io/tls.h"
#include "tool/bench_net.h"

/* State, and what the client is doing in it, for errors. */
#define BENCH_CLIENT_STATES(X)                                                   \
	X(BENCH_CLIENT_CLOSED, "closed")                                         \
	X(BENCH_CLIENT_TCP, "connecting")                                        \
	X(BENCH_CLIENT_TLS, "shaking hands (TLS)")                               \
	X(BENCH_CLIENT_UPGRADE, "waiting for the answer to its upgrade request") \
	X(BENCH_CLIENT_GREETING, "waiting for ServerKey")                        \
	X(BENCH_CLIENT_LOGIN, "waiting for ServerInfo")                          \
	X(BENCH_CLIENT_READY, "logged in")

enum bench_client_state {
#define X(id, text) id,
	BENCH_CLIENT_STATES(X)
#undef X
};

struct bench_client {
	struct bench_net *net;
	/* While the handshake goes on: the net's list. Later the load's, see bench_run.h. */
	struct bench_client *next;
	struct bench_client **pprev;
	enum bench_client_state state;
	int fd;
	uint32_t index;
	bool has_server_key; /* from the certificate chain */
	bool polls_out;
	bool other;      /* it connects to net->to */
	bool listed;     /* on the load's list */
	bool held;       /* packets are due that could not be sent; the load's */
	bool deaf;       /* reads nothing until bench_client_listen */
	int rcvbuf;      /* bytes, set before connecting; 0: the kernel's choice */
	struct tls *tls; /* NULL: plain TCP, or not connected yet */
	struct login_keys keys;
	struct login_secret secret; /* until logged in */
	struct key server_key;
	uint64_t opened_ns;
	uint8_t *rest; /* the beginning of a frame */
	uint32_t rest_len;
	uint8_t *pending; /* sealed bytes that the socket didn't take */
	size_t pending_len;
	size_t pending_off;
};

/* Draws keys; opens nothing. */
void bench_client_init(struct bench_client *c, struct bench_net *n, uint32_t index);
void bench_client_fini(struct bench_client *c);
/* Begins to connect; ready or closed follows by event, never from inside this call. False, with
 * errno, when there is no socket. */
bool bench_client_open(struct bench_client *c) must_use;
/* Takes over a connection that came to us: ready when the handshake is done. Only with net->raw. */
void bench_client_accept(struct bench_client *c, int fd);
/* Stops reading, or begins again. */
void bench_client_listen(struct bench_client *c, bool on);
/* Says goodbye and closes; tells nobody. May be opened again. */
void bench_client_close(struct bench_client *c);
/* Closes and tells the load why. */
void bench_client_fail(struct bench_client *c, const char *fmt, ...) printf_like(2, 3);
void bench_client_event(struct bench_client *c, uint32_t epoll_events);
const char *bench_client_doing(const struct bench_client *c);

/* Room to compose one frame of `len` bytes (at most FRAME_MAX); NULL when the socket takes no more
 * (writable follows). Then commit, and after the last frame flush. */
uint8_t *bench_client_reserve(struct bench_client *c, size_t len) must_use;
void bench_client_commit(struct bench_client *c, size_t len);
void bench_client_flush(struct bench_client *c);
/* Sends what the socket didn't take before. */
void bench_client_send_pending(struct bench_client *c);

/* Tells epoll (EPOLL_CTL_ADD or _MOD) what this client waits for; whether it waits for room. */
void bench_client_poll(const struct bench_client *c, int op);
void bench_client_poll_out(struct bench_client *c, bool out);

#endif
