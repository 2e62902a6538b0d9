/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Idle: what a connection costs that does nothing. A few clients connect first, so that what the
 * server makes once (contexts, pools, a first slab) isn't charged to the others; then its memory is
 * looked at, the rest connect, time passes, and it is looked at again.
 */
#include "base/clock.h"
#include "tool/bench_run.h"

static void look(struct bench *b, struct bench_memory *m)
{
	if (!bench_proc_memory(&b->opt.pids, m))
		bench_fail(b, "-pid: cannot read the server's memory");
}

static bool run(struct bench *b)
{
	uint32_t base = (uint32_t)b->opt.base;

	bench_make(b, base + (uint32_t)b->opt.clients, 0, 64);
	if (!bench_connect(b, 0, base))
		return false;
	/* What the first logins left to be done. */
	bench_until(b, b->net.now_ns + 200000000, false);
	look(b, &b->memory_before);
	bench_mark_now(b, &b->connect_begin);
	if (!bench_connect(b, base, b->n_clients))
		return false;
	bench_mark_now(b, &b->connect_end);
	look(b, &b->memory_connected);
	b->phase = "idle";
	b->net.now_ns = clock_ns();
	bench_mark_now(b, &b->begin);
	bench_until(b, b->begin.ns + (uint64_t)(b->opt.seconds * 1e9), false);
	bench_mark_now(b, &b->end);
	look(b, &b->memory_after);
	return !b->failed;
}

const struct bench_load bench_idle = {.run = run};
