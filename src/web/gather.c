/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/gather.h"

#include <stdlib.h>

#include "base/check.h"

/* The gate's idea of now may be a little behind a clock that was read meanwhile. */
static uint64_t elapsed(uint64_t now_ms, uint64_t then_ms)
{
	return now_ms > then_ms ? now_ms - then_ms : 0;
}

void gather_init(struct gather *g, const struct gather_kind *kind, int workers,
    bool (*ask)(struct gate *, enum letter_kind))
{
	CHECK(workers > 0);
	*g = (struct gather){.kind = kind, .workers = workers, .ask = ask};
}

static struct shot *shot_new(struct gather *g)
{
	size_t parts = (size_t)g->workers * sizeof(struct shot_part);
	struct shot *s = must_calloc(1, sizeof(*s) + parts);

	s->refs = 1;
	s->nparts = g->workers;
	g->alive++;
	return s;
}

static void shot_put(struct gather *g, struct shot *s)
{
	if (!s)
		return;
	CHECK(s->refs > 0);
	if (--s->refs > 0)
		return;
	if (s->view)
		g->kind->free_view(s->view);
	for (int i = 0; i < s->nparts; i++)
		free(s->part[i].part);
	free(s);
	g->alive--;
}

void gather_fini(struct gather *g)
{
	CHECK(!g->waiting);
	shot_put(g, g->pending);
	shot_put(g, g->last);
	CHECK(g->alive == 0);
}

static void link_reader(struct reader **list, struct reader *r)
{
	r->next = *list;
	r->pprev = list;
	if (r->next)
		r->next->pprev = &r->next;
	*list = r;
}

static void unlink_reader(struct reader *r)
{
	*r->pprev = r->next;
	if (r->next)
		r->next->pprev = r->pprev;
	r->next = NULL;
	r->pprev = NULL;
}

static void take(struct gather *g, struct reader *r, uint64_t now_ms)
{
	r->shot = g->last;
	r->shot->refs++;
	g->read_ms = now_ms;
}

/* Wakes all who wait; with the newest shot, or with none when they are given up. A reader that is
 * woken may free itself, make another one go, or join again, hence a list of our own. */
static void wake_all(struct gather *g, bool found, uint64_t now_ms)
{
	struct reader *list = g->waiting;

	g->waiting = NULL;
	if (list)
		list->pprev = &list;
	while (list) {
		struct reader *r = list;

		unlink_reader(r);
		if (found)
			take(g, r, now_ms);
		r->wake(r);
	}
}

static void complete(struct gather *g, uint64_t now_ms, uint64_t wall_ms)
{
	struct shot *s = g->pending, *base = NULL;

	g->pending = NULL;
	s->at_ms = now_ms;
	s->wall_ms = wall_ms;
	if (g->kind->pairs && g->last) {
		uint64_t age = elapsed(now_ms, g->last->at_ms);

		if (age >= GATHER_BASE_MIN_MS && age <= GATHER_BASE_MAX_MS)
			base = g->last;
	}
	if (base || !g->kind->pairs)
		s->view = g->kind->derive(s, base);
	shot_put(g, g->last);
	g->last = s;
	if (s->view)
		wake_all(g, true, now_ms);
}

/* A worker doesn't answer: what has come is let go, and its late part will find nobody. */
static void give_up(struct gather *g, uint64_t now_ms)
{
	shot_put(g, g->pending);
	g->pending = NULL;
	wake_all(g, false, now_ms);
}

static void step(struct gather *g, uint64_t now_ms)
{
	if (g->pending) {
		if (elapsed(now_ms, g->asked_ms) > GATHER_PATIENCE_MS)
			give_up(g, now_ms);
		else if (!g->asked)
			g->asked = g->ask(g->gate, g->kind->letter);
		return;
	}
	if (!g->waiting)
		return;
	/* The second of a pair has to wait until it makes sense. */
	if (g->last && !g->last->view && elapsed(now_ms, g->last->at_ms) < GATHER_BASE_MIN_MS)
		return;
	g->pending = shot_new(g);
	g->have = 0;
	g->asked_ms = now_ms;
	g->asked = g->ask(g->gate, g->kind->letter);
}

bool gather_join(struct gather *g, struct reader *r, uint64_t now_ms)
{
	*r = (struct reader){.wake = r->wake};
	g->read_ms = now_ms;
	if (g->last && g->last->view &&
	    (elapsed(now_ms, g->last->at_ms) < GATHER_FRESH_MS || g->alive >= GATHER_SHOTS_MAX)) {
		take(g, r, now_ms);
		return true;
	}
	link_reader(&g->waiting, r);
	step(g, now_ms);
	return false;
}

void gather_leave(struct gather *g, struct reader *r)
{
	if (r->pprev)
		unlink_reader(r);
	shot_put(g, r->shot);
	r->shot = NULL;
}

void gather_part(struct gather *g, int worker, void *part, uint64_t now_ms, uint64_t wall_ms)
{
	struct shot_part *p;

	CHECK(worker >= 0 && worker < g->workers);
	if (!g->pending) {
		free(part);
		return;
	}
	/* A worker that was asked again, because another could not be asked, answers twice: the
	 * later part is the better one. */
	p = &g->pending->part[worker];
	if (!p->part)
		g->have++;
	free(p->part);
	*p = (struct shot_part){.part = part, .at_ms = now_ms};
	if (g->have == g->workers)
		complete(g, now_ms, wall_ms);
}

void gather_tick(struct gather *g, uint64_t now_ms)
{
	step(g, now_ms);
	if (g->last && !g->waiting && !g->pending && elapsed(now_ms, g->read_ms) > GATHER_KEEP_MS) {
		shot_put(g, g->last);
		g->last = NULL;
	}
}
