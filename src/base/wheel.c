/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/wheel.h"

#include <stddef.h>

#include "base/check.h"

#define SLEEP_MAX_MS 1000

void wheel_init(struct wheel *w, uint64_t now_ms)
{
	*w = (struct wheel){.tick = now_ms / WHEEL_TICK_MS};
}

static void push(struct timer **head, struct timer *t)
{
	t->next = *head;
	t->pprev = head;
	if (*head)
		(*head)->pprev = &t->next;
	*head = t;
}

static void unlink_timer(struct timer *t)
{
	*t->pprev = t->next;
	if (t->next)
		t->next->pprev = t->pprev;
	t->next = NULL;
	t->pprev = NULL;
}

void wheel_set(struct wheel *w, struct timer *t, uint64_t at_ms)
{
	/* Rounded up, so that it is never early; never behind the hand, so that it is never lost.
	 */
	uint64_t tick = at_ms / WHEEL_TICK_MS + 1;

	wheel_clear(w, t);
	t->at_ms = at_ms;
	push(&w->slot[MAX(tick, w->tick) % WHEEL_SLOTS], t);
	w->set++;
}

void wheel_clear(struct wheel *w, struct timer *t)
{
	if (!t->pprev)
		return;
	unlink_timer(t);
	w->set--;
}

static void run_slot(struct wheel *w, struct timer **slot, uint64_t now_ms,
    void (*fn)(void *, struct timer *), void *arg)
{
	struct timer *due = NULL;
	struct timer *t;

	/* Onto a list of its own first: fn may clear any of them, or set new ones in this slot. */
	for (struct timer **p = slot; (t = *p);) {
		if (t->at_ms > now_ms) {
			p = &t->next;
			continue;
		}
		unlink_timer(t);
		push(&due, t);
	}
	while ((t = due)) {
		wheel_clear(w, t);
		fn(arg, t);
	}
}

void wheel_run(struct wheel *w, uint64_t now_ms, void (*fn)(void *, struct timer *), void *arg)
{
	uint64_t now_tick = now_ms / WHEEL_TICK_MS;

	/* After a long sleep one turn of the wheel has looked at everything. */
	if (now_tick - w->tick > WHEEL_SLOTS && now_tick > w->tick)
		w->tick = now_tick - WHEEL_SLOTS;
	while (w->tick <= now_tick) {
		/* On before the slot's timers fire: what they set for the past goes into the next.
		 */
		struct timer **slot = &w->slot[w->tick++ % WHEEL_SLOTS];

		run_slot(w, slot, now_ms, fn, arg);
	}
}

int wheel_sleep_ms(const struct wheel *w, uint64_t now_ms)
{
	if (w->set == 0)
		return -1;
	for (uint64_t tick = w->tick; (tick - w->tick) * WHEEL_TICK_MS < SLEEP_MAX_MS; tick++) {
		if (w->slot[tick % WHEEL_SLOTS]) {
			uint64_t at = tick * WHEEL_TICK_MS;

			return at > now_ms ? (int)(at - now_ms) : 0;
		}
	}
	return SLEEP_MAX_MS;
}
