/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * loop.h: epoll behind one small interface, level-triggered.
 *
 * A watch is embedded in what owns the descriptor. An owner that dies during a turn must stay in
 * memory until the turn's end, as an event for it may already be in hand: it removes its watch, and
 * its callback sees its own death mark.
 */
#ifndef SLUICE_IO_LOOP_H
#define SLUICE_IO_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

#include "base/check.h"

#define LOOP_EVENTS_MAX 256

struct watch {
	void (*ready)(struct watch *w, uint32_t events);
	int fd;
	uint32_t events; /* what is asked for now; 0 when not in the loop */
};

struct loop {
	int epfd;
	int n; /* events in hand */
	struct epoll_event event[LOOP_EVENTS_MAX];
};

void loop_init(struct loop *l);
void loop_fini(struct loop *l);
/* 0, or a negative errno (ENOSPC, ENOMEM). */
int loop_add(struct loop *l, struct watch *w, uint32_t events) must_use;
/* Changes what is asked for; no system call when it is the same. */
void loop_set(struct loop *l, struct watch *w, uint32_t events);
void loop_del(struct loop *l, struct watch *w);
/* The same of a descriptor that is closed before the next loop_wait, which takes it out by itself.
 */
void loop_forget(struct watch *w);
/* Waits up to timeout_ms (-1: for ever) until something is ready. */
void loop_wait(struct loop *l, int timeout_ms);
/* Calls what is ready. */
void loop_dispatch(struct loop *l);

#endif
