/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stun_server.h: answers STUN binding requests on one UDP port (see wire/stun.h).
 *
 * It runs on a thread of its own and waits for nobody: clients choose their home relay by how fast
 * it answers. What can't be sent at once is counted and forgotten, clients ask again.
 */
#ifndef SLUICE_GATE_STUN_SERVER_H
#define SLUICE_GATE_STUN_SERVER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/check.h"

/* What became of datagrams and reads: stun_requests{disposition}, as derper counts them. */
#define STUN_DISPOSITIONS(X)                                                           \
	X(success, "Requests that were answered.")                                     \
	X(not_stun, "Datagrams that are not a binding request of a Tailscale client.") \
	X(read_error, "Reads from the socket that failed.")                            \
	X(write_error, "Answers that the kernel did not take.")

/* Requests by the client's address: stun_addrfamily{family}. */
#define STUN_FAMILIES(X)               \
	X(ipv4, "Requests over IPv4.") \
	X(ipv6, "Requests over IPv6.")

struct stun_stats {
#define X(name, help) uint64_t name;
	STUN_DISPOSITIONS(X)
	STUN_FAMILIES(X)
#undef X
	uint64_t no_local_addr; /* answered without knowing which address was asked */
};

struct stun_server;

/* Binds addr, a sockaddr_in or sockaddr_in6. An unspecified address of either family means all
 * addresses of both, or of IPv4 alone where there is no IPv6. NULL on failure, with what failed and
 * why in err. */
struct stun_server *stun_server_open(
    const struct sockaddr *addr, char *err, size_t errlen) must_use;
/* Only once stun_server_run has returned, or was never called. */
void stun_server_free(struct stun_server *s);
/* The port that is bound, for those who asked for port 0. */
uint16_t stun_server_port(const struct stun_server *s);

/* The thread's body: answers until stun_server_stop. */
void stun_server_run(struct stun_server *s);
/* From any thread, also before stun_server_run; there is no way back. */
void stun_server_stop(struct stun_server *s);

/* Written by the server's thread alone; anyone may read them with tally_read. */
const struct stun_stats *stun_server_stats(const struct stun_server *s);

#endif
