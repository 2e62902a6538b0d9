/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flowview.h: what all readers of one snapshot of the flows share: rows, rates, sums and orders.
 *
 * Made once a shot, from it and an earlier one, without any reply or query in it; it never changes,
 * but that an order is added when somebody first sorts by it.
 */
#ifndef SLUICE_WEB_FLOWVIEW_H
#define SLUICE_WEB_FLOWVIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/key.h"
#include "flow/snapshot.h"
#include "web/gather.h"

/* Id, name as ?sort= has it. */
#define FLOW_SORTS(X)                         \
	X(FLOW_BY_BYTES_PER_S, "bytes_per_s") \
	X(FLOW_BY_BYTES, "bytes")             \
	X(FLOW_BY_PACKETS, "packets")         \
	X(FLOW_BY_LAST_ACTIVE, "last_active")

enum flow_sort {
#define X(id, name) id,
	FLOW_SORTS(X)
#undef X
	    FLOW_SORT_COUNT
};

/* Over the time between the two snapshots. */
struct flow_rate {
	uint64_t bytes_per_s;
	uint64_t packets_per_s;
};

struct flow_view {
	uint64_t interval_ms;      /* between the two snapshots */
	struct flow_totals other;  /* of all workers: flows that are no longer in a table */
	struct flow_totals totals; /* rows and other; `flows` is the number of rows */
	uint32_t n;
	const struct flow_row **row;      /* n; they lie in the shot's parts */
	struct flow_rate *rate;           /* n */
	uint32_t *order[FLOW_SORT_COUNT]; /* n each; NULL until asked for */
};

/* For gather.h: pairs of flow_part; views are struct flow_view. */
extern const struct gather_kind flow_gather;

/* Numbers of rows, highest first; the view's. */
const uint32_t *flow_view_order(struct flow_view *v, enum flow_sort by);

/* Which keys are meant: all, one, or those that share a short form. */
struct key_select {
	enum { SELECT_ALL, SELECT_KEY, SELECT_SHORT } how;
	struct key key; /* of the short form, the first 30 bits */
};

/* Reads "nodekey:<hex>", the hex alone, or "[abcde]"; false when it is none of these. */
bool key_select_parse(const char *text, struct key_select *sel) must_use;
bool key_selected(const struct key_select *sel, const struct key *k);

#endif
