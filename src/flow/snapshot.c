/* SPDX-License-Identifier: BSD-3-Clause */
#include "flow/snapshot.h"

#include <stdlib.h>

struct flow_part *flow_part_new(int worker, uint32_t cap)
{
	struct flow_part *p = malloc(sizeof(*p) + (size_t)cap * sizeof(p->row[0]));

	if (p)
		*p = (struct flow_part){.worker = worker, .cap = cap};
	return p;
}

static void row_copy(struct flow_row *row, const struct flow_table *t, uint32_t slot)
{
	const struct flow *f = &t->slot[slot];

	*row = (struct flow_row){
	    .dst = f->dst,
	    .packets = f->packets,
	    .bytes = f->bytes,
	    .disco_packets = f->disco_packets,
	    .disco_bytes = f->disco_bytes,
	    .first_ds = f->first_ds,
	    .last_ds = f->last_ds,
	    .slot = slot,
	    .gen = f->gen,
	};
	if (f->fwded) {
		row->fwded_packets = t->mesh[slot].fwded_packets;
		row->fwded_bytes = t->mesh[slot].fwded_bytes;
	}
	if (f->trouble != FLOW_NONE) {
		const struct flow_trouble *d = &t->trouble[f->trouble];

		memcpy(row->drop_packets, d->packets, sizeof(row->drop_packets));
		memcpy(row->drop_bytes, d->bytes, sizeof(row->drop_bytes));
		row->delays = d->delays;
	}
}

bool flow_part_fill(struct flow_part *p, const struct flow_table *t,
    void (*name)(void *, const struct flow *, struct flow_row *), void *arg)
{
	uint32_t end = MIN(p->next + SNAPSHOT_SLICE, t->touched);

	for (; p->next < end && p->n < p->cap; p->next++) {
		struct flow_row *row = &p->row[p->n];

		if (t->slot[p->next].conn == FLOW_NONE)
			continue;
		row_copy(row, t, p->next);
		name(arg, &t->slot[p->next], row);
		p->n++;
	}
	if (p->next < t->touched && p->n < p->cap)
		return false;
	p->other = t->other;
	return true;
}

uint64_t drops_sum(const uint64_t by_reason[DROP_REASON_COUNT])
{
	uint64_t n = 0;

	for (int r = 0; r < DROP_REASON_COUNT; r++)
		n += by_reason[r];
	return n;
}
