/* SPDX-License-Identifier: BSD-3-Clause */
/* serve.h: a relay from start to end. */
#ifndef SLUICE_DAEMON_SERVE_H
#define SLUICE_DAEMON_SERVE_H

#include "daemon/options.h"

/* Runs until SIGTERM or SIGINT. The process's exit status: 0, or 1 when it could not start. */
int serve_run(struct options *o);

#endif
