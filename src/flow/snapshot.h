/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * snapshot.h: a copy of the flows of all workers, taken without stopping any.
 *
 * The gate allocates one part a worker and mails it; the worker fills it a slice a turn and mails
 * it back. Nothing is shared while it is on its way: whoever holds the letter holds the part. Rates
 * come from two snapshots, matched by (worker, slot, generation).
 */
#ifndef SLUICE_FLOW_SNAPSHOT_H
#define SLUICE_FLOW_SNAPSHOT_H

#include "flow/table.h"

/* Table entries looked at in one turn. */
#define SNAPSHOT_SLICE 1024

struct flow_row {
	uint64_t conn_number;
	struct key src;
	struct key dst;
	struct key recv_from; /* mesh peer that the packets come from; zero when none */
	struct key fwded_to;  /* mesh peer that the last one forwarded went to; zero when none */
	uint64_t packets, bytes;
	uint64_t disco_packets, disco_bytes;
	uint64_t fwded_packets, fwded_bytes; /* of them, those handed to mesh peers */
	uint64_t drop_packets[DROP_REASON_COUNT];
	uint64_t drop_bytes[DROP_REASON_COUNT];
	struct delays delays;
	uint32_t first_ds, last_ds;
	uint32_t slot, gen;
};

struct flow_part {
	int worker;
	uint32_t next;            /* the worker's place in its table */
	uint32_t n;               /* rows filled */
	uint32_t cap;             /* rows allocated */
	struct flow_totals other; /* at the end of the walk */
	struct flow_row row[];
};

/* cap: the table's entries in use when asked, and some more; later ones are added to other's sums
 * by the reader never: they come with the next snapshot. NULL: out of memory. */
struct flow_part *flow_part_new(int worker, uint32_t cap);

/* Copies up to SNAPSHOT_SLICE entries; `name` fills conn_number and the keys of a row that the
 * table itself does not know. True when the table is through. */
bool flow_part_fill(struct flow_part *p, const struct flow_table *t,
    void (*name)(void *arg, const struct flow *f, struct flow_row *row), void *arg);

/* Dropped packets and bytes of a row or a total over all reasons. */
uint64_t drops_sum(const uint64_t by_reason[DROP_REASON_COUNT]);

#endif
