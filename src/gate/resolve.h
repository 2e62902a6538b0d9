/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * resolve.h: the addresses of a name, by c-ares in the gate's loop.
 *
 * Nothing here waits: c-ares' sockets are watched, its time-outs come with resolve_tick. Each
 * question has a channel of its own, so that ending one ends nothing else, and a changed
 * resolv.conf counts from the next question on. The gate's thread only.
 */
#ifndef SLUICE_GATE_RESOLVE_H
#define SLUICE_GATE_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/addr.h"
#include "io/loop.h"

#define RESOLVE_ADDRS_MAX 8
#define RESOLVE_MS 5000
/* Sockets that c-ares may have open for one question; the kernel's limit comes long after it. */
#define RESOLVE_SOCKETS_MAX 32

struct resolve_socket {
	struct watch watch; /* fd -1: free */
	struct resolve *resolve;
};

/* One question. Embedded in who asks, zeroed before the first; it stays in memory until the end of
 * the turn in which it has ended. */
struct resolve {
	/* Called once for each resolve_begin that was not ended before: n addresses without a port
	 * in `addr`, or none and `error` says why. It may begin anew. */
	void (*done)(struct resolve *r);
	struct addr addr[RESOLVE_ADDRS_MAX];
	int n;
	const char *error;

	/* Private. */
	bool busy;
	bool answered; /* c-ares has called back */
	struct loop *loop;
	void *channel; /* ares_channel */
	uint64_t deadline_ms;
	struct resolve_socket socket[RESOLVE_SOCKETS_MAX];
};

/* Once, before threads. */
void resolve_init(void);
/* Tests: name servers, "ip:port,…", instead of the system's; NULL for those again. */
void resolve_use_servers(const char *list);
/* Asks for a name; done may be called before this returns (addresses, /etc/hosts, errors). */
void resolve_begin(struct resolve *r, struct loop *l, const char *name, uint64_t now_ms);
/* About every 100 ms: time-outs. */
void resolve_tick(struct resolve *r, uint64_t now_ms);
/* Ends the question, if there is one, without an answer. */
void resolve_end(struct resolve *r);

#endif
