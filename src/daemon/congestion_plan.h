/* SPDX-License-Identifier: BSD-3-Clause */
/* congestion_plan.h: what becomes of -tcp-congestion on this kernel. */
#ifndef SLUICE_DAEMON_CONGESTION_PLAN_H
#define SLUICE_DAEMON_CONGESTION_PLAN_H

#include <stdbool.h>

#include "io/congestion.h"

struct congestion_plan {
	char first[CONGESTION_NAME_LEN]; /* every connection's; "": the kernel's preset */
	bool changes;                    /* by how the path behaves, between cubic and bbr */
};

/* Asks the kernel. What it refuses is said in one line of the log: instead of what was asked for,
 * its preset is used, and with auto that first one for every path. */
void congestion_plan(const char *option, struct congestion_plan *plan);

#endif
