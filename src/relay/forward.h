/* SPDX-License-Identifier: BSD-3-Clause */
/* forward.h: the way of a packet, within relay/: forward.c on one worker, cross.c between them. */
#ifndef SLUICE_RELAY_FORWARD_H
#define SLUICE_RELAY_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/worker.h"

/* Packets of one flow as they are parsed, contiguous, headers already turned round. */
struct run {
	uint8_t *p;
	uint32_t len;
	uint32_t packets;
	uint32_t flow; /* slot, FLOW_NONE: no run */
	bool disco;
	bool by_mesh; /* a mesh peer forwarded it: it goes no further than here */
};

/* Where a slice came from, as far as its receiver must know. */
struct origin {
	const struct key *src; /* NULL: towards a link, where nobody is to hear of its going */
	uint64_t src_hash;
	bool by_mesh;
	struct flow_ref flow;
	uint32_t flow_worker;
};

/* forward.c */

void forward_ready(struct watch *watch, uint32_t events);
/* Stream bytes that came with the login. */
void forward_early(struct conn *c, const uint8_t *p, uint32_t len);
void forward_mark_dirty(struct conn *c);
/* Sends what a destination has got; what its socket does not take waits. */
void forward_flush(struct conn *c);
/* Flushes every destination that got something, and gives the turn's buffers back. */
void forward_flush_all(struct worker *w);
/* SLAB_BYTES of room for a receive, good until the turn's flush. */
uint8_t *forward_arena(struct worker *w);
/* Parses len bytes of stream in the arena, keeps what is not whole yet. */
void forward_stream(struct conn *c, uint8_t *base, size_t len);
/* Bytes that the socket took; -1 when the connection was closed. */
ssize_t forward_send_iov(struct conn *c, struct iovec *iov, int n);

/* Sends all that hangs on destinations while a run is in hand: its own buffer stays valid. */
void forward_flush_midway(struct worker *w);
/* Hangs a run on a connection of this worker, to be sent at the end of the turn. */
void forward_deliver(struct conn *to, const struct origin *o, const uint8_t *p, uint32_t len,
    uint32_t packets, bool disco);

/* cross.c */

/* A run to the worker that owns its destination. */
void cross_to_owner(
    struct conn *c, const struct run *run, const struct flow *f, const struct origin *o);
/* On the owner: the link towards a key that is not connected here, NULL without. What a mesh peer
 * forwarded goes no further. */
struct link_view *cross_link(struct worker *w, const struct peer *p, bool by_mesh);
/* On the owner: books a run for a key that is neither here nor where it may go from here. */
void cross_nowhere(
    struct worker *w, const struct origin *o, bool disco, uint32_t packets, uint32_t len);
/* On the owner: a run for a key that another node has. */
void cross_to_node(struct worker *w, const struct link_view *via, const struct key *dst,
    const struct origin *o, const uint8_t *p, uint32_t len, uint32_t packets, bool disco);
/* Letters: packets for a key of ours; packets for a link of ours. */
void cross_take_run(struct worker *w, int from, const struct run_letter *l, uint32_t len);
void cross_take_forward(struct worker *w, const struct run_letter *l, uint32_t len);

#endif
