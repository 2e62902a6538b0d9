/* SPDX-License-Identifier: BSD-3-Clause */
/* flowpage.h: /debug/flows, as the seed's table or as JSON. */
#ifndef SLUICE_WEB_FLOWPAGE_H
#define SLUICE_WEB_FLOWPAGE_H

#include "base/key.h"
#include "web/gather.h"
#include "web/page.h"

/* What the page must know of the relay besides its flows. */
struct flow_page_config {
	void (*ready)(struct reply *r);
	uint64_t start_ms;        /* what the rows' _ds times count from */
	const struct key *server; /* this node's; outlives the reply */
};

/*
 * Answers ?format= ?sort= ?limit= ?src= ?dst= ?recv_from= ?fwded_to=; a bad one with 400 and a line
 * that says what is wrong. g gathers flow_gather.
 *
 * In the JSON, "server" is this node's key, so that the documents of several nodes can be put
 * together (tool/flows.c). A row with recv_from is of packets that a mesh peer forwarded to us:
 * they entered the region at that node and are counted there, too. Of a row's packets,
 * fwded_packets were handed to mesh peers, fwded_to being the last of them. In "totals" and
 * "other", mesh_packets and mesh_bytes are the part of packets and bytes that came by the mesh.
 */
void flow_page(const struct page *p, struct http_span query, struct gather *g,
    const struct flow_page_config *c, uint64_t now_ms);

#endif
