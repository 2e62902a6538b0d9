/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wheel.h: a thread's timer wheel.
 *
 * One level of WHEEL_SLOTS slots of WHEEL_TICK_MS each: setting and clearing cost a list operation,
 * timers later than one turn of the wheel simply stay in their slot until their time has come.
 * Timers fire up to one tick late, never early.
 */
#ifndef SLUICE_BASE_WHEEL_H
#define SLUICE_BASE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WHEEL_SLOTS 1024
#define WHEEL_TICK_MS 64

struct timer {
	struct timer *next;
	struct timer **pprev; /* NULL when not set */
	uint64_t at_ms;
};

struct wheel {
	struct timer *slot[WHEEL_SLOTS];
	uint64_t tick; /* the next tick to look at */
	uint32_t set;  /* timers set */
};

void wheel_init(struct wheel *w, uint64_t now_ms);
/* Sets or moves a timer. */
void wheel_set(struct wheel *w, struct timer *t, uint64_t at_ms);
void wheel_clear(struct wheel *w, struct timer *t);
static inline bool timer_is_set(const struct timer *t)
{
	return t->pprev != NULL;
}
/* Calls fn for each timer that is due; it may set and clear any timer. */
void wheel_run(struct wheel *w, uint64_t now_ms, void (*fn)(void *arg, struct timer *t), void *arg);
/* How long a loop may sleep, -1 for ever: until the next tick that holds a timer, at most a second.
 */
int wheel_sleep_ms(const struct wheel *w, uint64_t now_ms);

#endif
