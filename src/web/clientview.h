/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * clientview.h: what all readers of one snapshot of the clients share: rows and orders.
 *
 * A row is a connection, or a node that is not connected here (number 0): reached by the mesh
 * (`via` is set), or gone and remembered. A node with several connections has a row for each, with
 * the same node totals in all of them.
 */
#ifndef SLUICE_WEB_CLIENTVIEW_H
#define SLUICE_WEB_CLIENTVIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/letters.h"
#include "web/gather.h"

/* Id, name as ?sort= has it. Bytes and packets are both directions. */
#define CLIENT_SORTS(X)                 \
	X(CLIENT_BY_BYTES, "bytes")     \
	X(CLIENT_BY_PACKETS, "packets") \
	X(CLIENT_BY_SINCE, "since")     \
	X(CLIENT_BY_QUEUE, "queue")     \
	X(CLIENT_BY_FLOWS, "flows")

enum client_sort {
#define X(id, name) id,
	CLIENT_SORTS(X)
#undef X
	    CLIENT_SORT_COUNT
};

struct client_view {
	uint32_t n;
	uint32_t connections;               /* rows that are connected */
	uint32_t remote;                    /* rows of nodes reached by the mesh alone */
	const struct client_row **row;      /* n; they lie in the shot's parts */
	uint32_t *order[CLIENT_SORT_COUNT]; /* n each; NULL until asked for */
};

/* Connected elsewhere in the region, not here. */
bool client_remote(const struct client_row *row);

/* For gather.h: client_part; views are struct client_view. */
extern const struct gather_kind client_gather;

/* Numbers of rows, highest first (since: newest first); the view's. */
const uint32_t *client_view_order(struct client_view *v, enum client_sort by);

#endif
