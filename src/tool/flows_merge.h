/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flows_merge.h: the flows of a region, put together from the documents of its nodes.
 *
 * A document is what a node answers to /debug/flows?format=json&limit=0. The rule: a packet is
 * counted at the node where it enters the region, that is in the rows without recv_from. Rows with
 * recv_from are of the same packets, seen again at the node that delivers them: they name that
 * node, and they have the drops that happened there. So
 *
 *   packets of the region = sum over nodes of (totals.packets - totals.mesh_packets)
 *   drops of the region   = sum over nodes of totals.dropped_packets, as each happens at one node
 */
#ifndef SLUICE_TOOL_FLOWS_MERGE_H
#define SLUICE_TOOL_FLOWS_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "base/check.h"
#include "base/key.h"
#include "tool/flows_error.h"

#define FLOWS_NODES_MAX 64

struct flows_sum {
	uint64_t packets, bytes;
	uint64_t dropped_packets, dropped_bytes;
};

struct flows_node {
	struct key server;
	char time[32];            /* of the document, as it has it, printable */
	double interval_s;        /* that rates are over */
	uint64_t rows;            /* in the document */
	uint64_t flows;           /* in the node's tables; more than rows: the document is a part */
	struct flows_sum all;     /* what the node has received, and dropped */
	struct flows_sum entered; /* of it, what entered the region here */
	struct flows_sum other;   /* of `entered`, what is in no row */
};

/* A row of a document. */
struct flows_row {
	struct key src, dst;
	struct key recv_from, fwded_to; /* zero: none */
	struct key entered;             /* recv_from or the node itself */
	int node;
	uint64_t fwded_packets;
	uint64_t bytes_per_s, packets_per_s;
	struct flows_sum sum;
};

struct flows_delivery {
	struct key node;
	uint64_t packets;
};

/* All rows of one (src, dst, node of entry). */
struct flows_merged {
	struct key src, dst, entered;
	uint64_t bytes_per_s, packets_per_s;
	struct flows_sum sum; /* drops at all nodes */
	uint32_t delivery;    /* its first of ndeliveries, that of most packets first */
	uint32_t ndeliveries;
};

struct flows_region {
	int nnodes;
	struct flows_node node[FLOWS_NODES_MAX];
	size_t nrows, rows_cap;
	struct flows_row *row;
	/* of flows_region_merge */
	size_t nmerged;
	struct flows_merged *merged; /* most bytes a second first, then most bytes */
	size_t ndeliveries, deliveries_cap;
	struct flows_delivery *delivery;
	int nmissing; /* nodes that rows name and no document is of; the first so many */
	struct key missing[FLOWS_NODES_MAX];
	struct flows_sum total, other;
};

void flows_region_init(struct flows_region *r);
void flows_region_fini(struct flows_region *r);

/* Takes in a document, which it does not keep. False: err says in one line what is wrong with it.
 */
bool flows_region_add(struct flows_region *r, const json_t *doc, char err[FLOWS_ERR_LEN]) must_use;
/* Once, after the last document. Sorts `row`, too: highest rate first. */
void flows_region_merge(struct flows_region *r);

#endif
