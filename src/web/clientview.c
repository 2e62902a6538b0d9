/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/clientview.h"

#include <stdlib.h>

#include "base/check.h"
#include "web/order.h"

bool client_remote(const struct client_row *row)
{
	return row->number == 0 && !key_is_zero(&row->via);
}

static void *derive(const struct shot *s, const struct shot *base)
{
	struct client_view *v = must_calloc(1, sizeof(*v));

	for (int w = 0; w < s->nparts; w++)
		v->n += ((const struct client_part *)s->part[w].part)->n;
	v->row = must_calloc(MAX(v->n, 1), sizeof(*v->row));
	v->n = 0;
	for (int w = 0; w < s->nparts; w++) {
		const struct client_part *p = s->part[w].part;

		for (uint32_t i = 0; i < p->n; i++) {
			v->row[v->n++] = &p->row[i];
			v->connections += p->row[i].number != 0;
			v->remote += client_remote(&p->row[i]);
		}
	}
	return v;
}

static void free_view(void *view)
{
	struct client_view *v = view;

	for (int i = 0; i < CLIENT_SORT_COUNT; i++)
		free(v->order[i]);
	free(v->row);
	free(v);
}

const struct gather_kind client_gather = {
    .letter = LETTER_ASK_CLIENTS,
    .derive = derive,
    .free_view = free_view,
};

struct ranking {
	const struct client_view *view;
	enum client_sort by;
};

static void rank_row(const void *arg, struct rank *r)
{
	const struct ranking *ranking = arg;
	const struct client_row *row = ranking->view->row[r->row];

	/* Nodes that have gone have no connection's numbers: they come last, by their totals. */
	r->b = row->node_rx_bytes + row->node_tx_bytes;
	switch (ranking->by) {
	case CLIENT_BY_BYTES:
		r->a = row->rx_bytes + row->tx_bytes;
		return;
	case CLIENT_BY_PACKETS:
		r->a = row->rx_packets + row->tx_packets;
		return;
	case CLIENT_BY_SINCE:
		r->a = row->since_ms;
		return;
	case CLIENT_BY_QUEUE:
		r->a = row->queue_bytes;
		return;
	case CLIENT_BY_FLOWS:
		r->a = row->flows;
		return;
	case CLIENT_SORT_COUNT:
		break;
	}
	CHECK(false);
}

const uint32_t *client_view_order(struct client_view *v, enum client_sort by)
{
	struct ranking ranking = {v, by};

	CHECK(by < CLIENT_SORT_COUNT);
	if (!v->order[by])
		v->order[by] = order_new(v->n, rank_row, &ranking);
	return v->order[by];
}
