/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * crowd.h: all visitors, and which of them goes when there are too many.
 *
 * One from where most of them come goes first, so that nobody can push out the others from a
 * single place: an IPv4 address, an IPv6 network of 64 bits, or all Unix sockets. How many come
 * from each is counted in a table under a secret hash: two places that share an entry, which is
 * rare, count as one.
 */
#ifndef SLUICE_GATE_CROWD_H
#define SLUICE_GATE_CROWD_H

#include <stdint.h>

#define CROWD_PLACES 4096

struct visitor;

/* Zero: nobody. */
struct crowd {
	struct visitor *newest, *oldest; /* by visitor.next from the newest, by .prev back */
	uint32_t n;
	uint32_t from[CROWD_PLACES];
};

void crowd_join(struct crowd *c, struct visitor *v);
void crowd_leave(struct crowd *c, struct visitor *v);
/* One that may go; NULL when there is none among the oldest. */
struct visitor *crowd_to_go(const struct crowd *c);

#endif
