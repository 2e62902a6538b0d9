/* SPDX-License-Identifier: BSD-3-Clause */
/* bench_slow.h: what the load `slow` finds out about a receiver that stops reading for a while. */
#ifndef SLUICE_TOOL_BENCH_SLOW_H
#define SLUICE_TOOL_BENCH_SLOW_H

#include "tool/bench_run.h"

struct bench_slow_phase {
	struct bench_mark begin, end;
	uint64_t p99_ns; /* of the others' packets */
};

struct bench_slow {
	struct bench_traffic traffic; /* of the stalled receiver: one stream */
	uint64_t turns;               /* packets of it that were due */
	struct bench_slow_phase before, stalled;
	uint64_t resumed_ns; /* when it began to read again; 0 before */
	uint64_t last_ns;    /* when the packet that came last was sent */
	uint64_t gap;    /* packets missing in the largest gap behind one sent before; 0: none */
	uint64_t gap_ns; /* when the packet behind it came */
	uint64_t kernel_packets; /* sent before it read again, and came before the gap */
	struct bench_hist held;  /* age of what came behind the gap and was sent before gap_ns */
};

/* A packet came to the receiver. */
void bench_slow_take(struct bench_slow *w, uint32_t to, const uint8_t *src, const uint8_t *p,
    size_t len, uint64_t now);
void bench_slow_fini(struct bench_slow *w);

#endif
