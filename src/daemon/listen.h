/* SPDX-License-Identifier: BSD-3-Clause */
/* listen.h: the sockets that the options ask for. */
#ifndef SLUICE_DAEMON_LISTEN_H
#define SLUICE_DAEMON_LISTEN_H

#include "daemon/options.h"
#include "io/addr.h"

struct listen_plan {
	int public_fd; /* -a */
	int http_fd;   /* -http-port; -1: none */
	int debug_fd;  /* -debug-listen; -1: none */
	bool debug_is_unix;
	struct addr public; /* where public_fd is bound */
	struct addr stun;   /* same IP, -stun-port */
};

#define LISTEN_PLAN_NONE                                       \
	{                                                      \
		.public_fd = -1, .http_fd = -1, .debug_fd = -1 \
	}

/* Binds all of them, or none: -1 with a line for the operator in err. The caller closes them. */
int listen_open(
    const struct options *o, struct listen_plan *plan, char *err, size_t errlen) must_use;
/* Lets clients in: once all else is ready, as an open port says so. */
int listen_start(const struct listen_plan *plan, char *err, size_t errlen) must_use;
void listen_close(struct listen_plan *plan);

#endif
