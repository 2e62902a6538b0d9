/* SPDX-License-Identifier: BSD-3-Clause */
/* The worker's part in snapshots: copies a slice a turn, mails the whole to the gate. */
#include <stdlib.h>
#include <string.h>

#include "relay/link.h"
#include "relay/path.h"
#include "relay/worker.h"

/* Rows beyond those in use when asked: flows and connections that come while it is copied. */
#define SLACK_ROWS 1024
/* Keys looked at in one turn: the kernel is asked about each of their connections, 1 µs or two. */
#define CLIENTS_SLICE 256

void snapshot_ask_flows(struct worker *w)
{
	/* One is under way: it answers this question too. */
	if (w->flow_part)
		return;
	w->flow_part = flow_part_new(w->self, w->flows.used + SLACK_ROWS);
	if (!w->flow_part)
		w->flow_part = flow_part_new(w->self, 0); /* the sums at least */
}

void snapshot_ask_clients(struct worker *w)
{
	uint32_t cap = w->peers.nslots + w->nconns + SLACK_ROWS;

	if (w->client_part)
		return;
	w->client_part = malloc(sizeof(*w->client_part) + cap * sizeof(w->client_part->row[0]));
	if (w->client_part)
		*w->client_part = (struct client_part){.worker = w->self, .cap = cap};
}

static void name_flow(void *worker, const struct flow *f, struct flow_row *row)
{
	const struct worker *w = worker;
	const struct conn *c = w->conn[f->conn].conn;
	const struct flow_mesh *m = &w->flows.mesh[row->slot];

	row->conn_number = c->number;
	row->src = c->peer->key;
	if (f->has_src) {
		row->recv_from = c->peer->key;
		row->src = m->src;
	}
	if (f->fwded)
		row->fwded_to = w->region.link[m->link].server;
}

static void node_totals(
    struct client_row *row, const struct peer *p, const struct link_view *via, uint16_t worker)
{
	row->key = p->key;
	row->worker = worker;
	row->forwarders = p->nforwarders;
	if (via && p->nconns == 0)
		row->via = via->server;
	row->node_logins = p->logins;
	row->node_rx_packets = p->past.rx_packets;
	row->node_rx_bytes = p->past.rx_bytes;
	row->node_tx_packets = p->past.tx_packets;
	row->node_tx_bytes = p->past.tx_bytes;
	for (const struct conn *c = p->conns; c; c = c->next_of_peer) {
		row->node_rx_packets += c->totals.rx_packets;
		row->node_rx_bytes += c->totals.rx_bytes;
		row->node_tx_packets += c->totals.tx_packets;
		row->node_tx_bytes += c->totals.tx_bytes;
	}
}

static void conn_row(struct client_row *row, const struct conn *c)
{
	row->number = c->number;
	row->addr = c->addr;
	row->port = c->port;
	row->active = c->peer->active == c;
	row->home = c->home;
	row->mesh_peer = c->mesh_peer;
	row->prober = c->prober;
	row->not_ideal = c->not_ideal;
	row->watcher = c->mesh && c->mesh->watching;
	row->tls = c->tls != NULL;
	row->websocket = c->ws != NULL;
	memcpy(row->app_name, c->app_name, sizeof(row->app_name));
	row->flows = c->flows.n;
	row->other_flows = c->flows.other_flows;
	row->other_packets = c->flows.other_packets;
	row->other_bytes = c->flows.other_bytes;
	row->since_ms = c->since_ms;
	row->rx_packets = c->totals.rx_packets;
	row->rx_bytes = c->totals.rx_bytes;
	row->tx_packets = c->totals.tx_packets;
	row->tx_bytes = c->totals.tx_bytes;
	if (c->queue) {
		row->queue_bytes = c->queue->bytes;
		row->queue_ms = queue_age(c->queue, (uint32_t)c->worker->now_ms);
	}
	if (c->path) {
		row->delays = c->path->delays;
		memcpy(row->dropped, c->path->dropped, sizeof(row->dropped));
	}
	path_look(c, &row->path);
}

static void peer_rows(struct worker *w, struct client_part *part, const struct peer *p)
{
	const struct conn *c = p->conns;
	const struct link_view *via = region_forwarder(w, p);
	struct client_row node = {0};

	if (p->logins == 0 && !via)
		return; /* only ever asked for */
	node_totals(&node, p, via, (uint16_t)w->self);
	do {
		struct client_row *row;

		if (part->n == part->cap)
			return;
		row = &part->row[part->n++];
		*row = node;
		if (c)
			conn_row(row, c);
	} while (c && (c = c->next_of_peer));
}

/* A slice of the peer table; true when it is through. */
static bool clients_fill(struct worker *w)
{
	struct client_part *part = w->client_part;
	uint32_t end = MIN(part->next + CLIENTS_SLICE, w->peers.nslots);

	for (; part->next < end; part->next++)
		if (w->peers.slot[part->next].peer)
			peer_rows(w, part, w->peers.slot[part->next].peer);
	return part->next >= w->peers.nslots;
}

/* Hands a finished part over; false while the gate takes no mail. */
static bool hand_over(struct worker *w, uint32_t kind, void *part)
{
	return mail_post(w->mail, w->self, mail_gate(w->mail), kind, &part, sizeof(part), true);
}

bool snapshot_step(struct worker *w)
{
	if (w->flow_part && flow_part_fill(w->flow_part, &w->flows, name_flow, w) &&
	    hand_over(w, LETTER_FLOWS, w->flow_part))
		w->flow_part = NULL;
	if (w->client_part && clients_fill(w) && hand_over(w, LETTER_CLIENTS, w->client_part))
		w->client_part = NULL;
	return w->flow_part || w->client_part;
}
