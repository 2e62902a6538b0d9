/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cross.c: the way of packets that leave the worker on which they came: to the worker that owns the
 * destination, and to the node of the mesh that has it.
 *
 * Each crossing copies once, into the ring or into the worker's own memory for links. A key's owner
 * alone decides: a run is mailed to it, and from there, if need be, on to the worker that has the
 * link.
 */
#include "relay/forward.h"
#include "relay/link.h"
#include "relay/worker.h"

/* ---- To another worker ----------------------------------------------------------------------- */

/* To the worker that owns the destination. */
void cross_to_owner(
    struct conn *c, const struct run *run, const struct flow *f, const struct origin *o)
{
	struct worker *w = c->worker;
	struct run_letter *l = NULL;

	if (!w->neighbour[f->owner].stuck)
		l = mail_reserve(w->mail, w->self, (int)f->owner, LETTER_RUN,
		    (uint32_t)sizeof(*l) + run->len, false);
	if (!l) {
		worker_drop(w, o->flow, o->flow_worker, DROP_QUEUE_TAIL, run->disco, run->packets,
		    frames_payload(run->len, run->packets));
		return;
	}
	*l = (struct run_letter){
	    .dst = f->dst,
	    .dst_hash = f->dst_hash,
	    .src_hash = o->src_hash,
	    .flow = o->flow,
	    .flow_worker = (uint8_t)o->flow_worker,
	    .from = worker_conn_ref(c),
	    .packets = run->packets,
	    .disco = run->disco,
	    .by_mesh = run->by_mesh,
	};
	memcpy(l->frames, run->p, run->len);
	mail_commit(w->mail, w->self, (int)f->owner);
}

/* The link towards a key that is not here; what a mesh peer forwarded goes no further. */
struct link_view *cross_link(struct worker *w, const struct peer *p, bool by_mesh)
{
	return p && !p->active && p->nforwarders > 0 && !by_mesh ? region_forwarder(w, p) : NULL;
}

void cross_nowhere(
    struct worker *w, const struct origin *o, bool disco, uint32_t packets, uint32_t len)
{
	worker_drop(w, o->flow, o->flow_worker,
	    o->by_mesh ? DROP_UNKNOWN_DEST_ON_FWD : DROP_UNKNOWN_DEST, disco, packets,
	    frames_payload(len, packets));
}

static void mail_not_here(struct worker *w, int from, const struct run_letter *l)
{
	struct not_here_letter n = {.to = l->from, .key = l->dst, .packets = l->packets};

	if (!mail_post(w->mail, w->self, from, LETTER_NOT_HERE, &n, sizeof(n), false))
		count(&w->counters, C_MAIL_LOST, 1);
}

/* A run from another worker, for a key that is ours. */
void cross_take_run(struct worker *w, int from, const struct run_letter *l, uint32_t len)
{
	struct peer *peer = peer_find(&w->peers, &l->dst, l->dst_hash);
	struct link_view *via = cross_link(w, peer, l->by_mesh);
	uint32_t bytes = len - (uint32_t)sizeof(*l);
	const struct origin o = {
	    .src = (const struct key *)(const void *)(l->frames + FRAME_HEADER_LEN),
	    .src_hash = l->src_hash,
	    .by_mesh = l->by_mesh,
	    .flow = l->flow,
	    .flow_worker = l->flow_worker,
	};

	if (peer && peer->active) {
		forward_deliver(peer->active, &o, l->frames, bytes, l->packets, l->disco);
	} else if (via) {
		/* It waits in the ring, and with it what is behind, for a worker that is behind. */
		if (via->worker != w->self && !stall_may_go_on(w, via->worker))
			mail_put_back(w->mail, w->self, from);
		else
			cross_to_node(w, via, &l->dst, &o, l->frames, bytes, l->packets, l->disco);
	} else {
		cross_nowhere(w, &o, l->disco, l->packets, bytes);
		if (l->disco)
			mail_not_here(w, from, l);
	}
}

/* ---- To another node ------------------------------------------------------------------------- */

/* RecvPacket frames as ForwardPacket ones: source, destination, packet. Returns their length. */
static uint32_t put_forwards(uint8_t *to, const struct key *dst, const uint8_t *p, uint32_t packets)
{
	uint8_t *at = to;

	for (; packets > 0; packets--) {
		uint32_t n = frame_payload_len(p);

		frame_put_header(at, FRAME_FORWARD_PACKET, n + KEY_LEN);
		memcpy(at + FRAME_HEADER_LEN, p + FRAME_HEADER_LEN, KEY_LEN);
		memcpy(at + FRAME_PACKET_HEAD, dst->b, KEY_LEN);
		memcpy(at + FRAME_FORWARD_HEAD, p + FRAME_PACKET_HEAD, n - KEY_LEN);
		at += FRAME_HEADER_LEN + n + KEY_LEN;
		p += FRAME_HEADER_LEN + n;
	}
	return (uint32_t)(at - to);
}

/* A run for a key that another node has. */
void cross_to_node(struct worker *w, const struct link_view *via, const struct key *dst,
    const struct origin *o, const uint8_t *p, uint32_t len, uint32_t packets, bool disco)
{
	uint8_t link = (uint8_t)(via - w->region.link);
	struct origin to_link = {.flow = o->flow, .flow_worker = o->flow_worker};
	uint32_t expanded = len + packets * KEY_LEN;
	struct run_letter *l = NULL;

	if (via->worker == w->self) {
		uint8_t *to;

		if (EXPAND_BYTES - w->expand_used < expanded)
			forward_flush_midway(w);
		to = w->expand + w->expand_used;
		w->expand_used += put_forwards(to, dst, p, packets);
		/* Making room may have ended it. */
		if (likely(via->conn != NULL)) {
			forward_deliver(via->conn, &to_link, to, expanded, packets, disco);
			return;
		}
	} else if (!w->neighbour[via->worker].stuck) {
		l = mail_reserve(w->mail, w->self, via->worker, LETTER_FORWARD,
		    (uint32_t)sizeof(*l) + expanded, false);
	}
	if (!l) {
		worker_drop(w, o->flow, o->flow_worker, DROP_QUEUE_TAIL, disco, packets,
		    frames_payload(len, packets));
		return;
	}
	*l = (struct run_letter){
	    .flow = o->flow,
	    .flow_worker = (uint8_t)o->flow_worker,
	    .packets = packets,
	    .disco = disco,
	    .link = link,
	    .epoch = via->epoch,
	};
	put_forwards(l->frames, dst, p, packets);
	mail_commit(w->mail, w->self, via->worker);
}

/* A run from another worker, for a link that is ours. */
void cross_take_forward(struct worker *w, const struct run_letter *l, uint32_t len)
{
	const struct link_view *via = &w->region.link[l->link];
	uint32_t bytes = len - (uint32_t)sizeof(*l);
	const struct origin o = {.flow = l->flow, .flow_worker = l->flow_worker};

	if (via->conn && via->epoch == l->epoch)
		forward_deliver(via->conn, &o, l->frames, bytes, l->packets, l->disco);
	else
		worker_drop(w, o.flow, o.flow_worker, DROP_GONE_DISCONNECTED, l->disco, l->packets,
		    bytes - (uint64_t)l->packets * FRAME_FORWARD_HEAD);
}
