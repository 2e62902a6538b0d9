/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * heavy.h: which of many is the heaviest, within a factor of two, in constant time.
 *
 * Members hang on lists by the logarithm of their weight. For queues: who holds most pays when room
 * is needed, and a scan over all would be an attacker's to pay for.
 */
#ifndef SLUICE_BASE_HEAVY_H
#define SLUICE_BASE_HEAVY_H

#include <stddef.h>
#include <stdint.h>

#define HEAVY_CLASSES 32

/* Embedded in a member; zero: in no list. */
struct heavy_node {
	struct heavy_node *next, **at; /* at: what points here */
	uint32_t class;
};

/* Zero: empty. */
struct heavy {
	uint32_t mask; /* bit c: list c has members */
	struct heavy_node *list[HEAVY_CLASSES];
};

static inline void heavy_remove(struct heavy *h, struct heavy_node *n)
{
	if (!n->at)
		return;
	*n->at = n->next;
	if (n->next)
		n->next->at = n->at;
	if (!h->list[n->class])
		h->mask &= ~(1u << n->class);
	n->at = NULL;
}

/* Its weight is this now; what weighs nothing is in no list. */
static inline void heavy_weigh(struct heavy *h, struct heavy_node *n, uint32_t weight)
{
	uint32_t class = weight ? 31 - (uint32_t)__builtin_clz(weight) : 0;

	if (n->at && weight && n->class == class)
		return;
	heavy_remove(h, n);
	if (!weight)
		return;
	n->class = class;
	n->next = h->list[class];
	if (n->next)
		n->next->at = &n->next;
	n->at = &h->list[class];
	h->list[class] = n;
	h->mask |= 1u << class;
}

/* One that weighs at least half as much as the heaviest; NULL when there is none. */
static inline struct heavy_node *heavy_first(const struct heavy *h)
{
	return h->mask ? h->list[31 - __builtin_clz(h->mask)] : NULL;
}

#endif
