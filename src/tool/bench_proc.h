/* SPDX-License-Identifier: BSD-3-Clause */
/* bench_proc.h: what other processes (the server) and this one have used: CPU time and memory. */
#ifndef SLUICE_TOOL_BENCH_PROC_H
#define SLUICE_TOOL_BENCH_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/check.h"

#define BENCH_PIDS_MAX 16

/* Several processes count as one server. */
struct bench_pids {
	int n;
	pid_t pid[BENCH_PIDS_MAX];
};

struct bench_memory {
	uint64_t rss_kib;
	uint64_t pss_kib; /* 0 when the kernel doesn't say */
	uint64_t anon_kib;
};

/* CPU time of all threads, dead ones included, user and system, in ns; false when one is gone. */
bool bench_proc_cpu(const struct bench_pids *p, uint64_t *ns) must_use;
bool bench_proc_memory(const struct bench_pids *p, struct bench_memory *m) must_use;
uint64_t bench_proc_own_cpu(void);

#endif
