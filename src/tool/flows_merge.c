/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/flows_merge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void flows_region_init(struct flows_region *r)
{
	*r = (struct flows_region){0};
}

void flows_region_fini(struct flows_region *r)
{
	free(r->row);
	free(r->merged);
	free(r->delivery);
	*r = (struct flows_region){0};
}

/* Room for one more of `size` bytes each. */
static void *grow(void *p, size_t n, size_t *cap, size_t size)
{
	if (n < *cap)
		return p;
	*cap = MAX(*cap * 2, (size_t)64);
	p = reallocarray(p, *cap, size);
	CHECK(p);
	return p;
}

static bool get_number(const json_t *o, const char *name, uint64_t *out)
{
	const json_t *v = json_object_get(o, name);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*out = (uint64_t)json_integer_value(v);
	return true;
}

static bool get_key(const json_t *o, const char *name, bool may_be_none, struct key *k)
{
	const char *text = json_string_value(json_object_get(o, name));

	*k = (struct key){0};
	if (!text)
		return false;
	return *text ? key_parse(text, k) : may_be_none;
}

static bool get_sum(const json_t *o, struct flows_sum *s)
{
	return get_number(o, "packets", &s->packets) && get_number(o, "bytes", &s->bytes) &&
	       get_number(o, "dropped_packets", &s->dropped_packets) &&
	       get_number(o, "dropped_bytes", &s->dropped_bytes);
}

static void add_sum(struct flows_sum *to, const struct flows_sum *s)
{
	to->packets += s->packets;
	to->bytes += s->bytes;
	to->dropped_packets += s->dropped_packets;
	to->dropped_bytes += s->dropped_bytes;
}

/* Reads "totals" or "other": everything, and without what came by the mesh. */
static bool get_totals(
    const json_t *o, struct flows_sum *all, struct flows_sum *entered, uint64_t *flows)
{
	uint64_t packets, bytes;

	if (!get_sum(o, all) || !get_number(o, "mesh_packets", &packets) ||
	    !get_number(o, "mesh_bytes", &bytes) || !get_number(o, "flows", flows) ||
	    packets > all->packets || bytes > all->bytes)
		return false;
	*entered = *all;
	entered->packets -= packets;
	entered->bytes -= bytes;
	return true;
}

static bool get_row(const json_t *o, struct flows_row *row)
{
	return get_key(o, "src", false, &row->src) && get_key(o, "dst", false, &row->dst) &&
	       get_key(o, "recv_from", true, &row->recv_from) &&
	       get_key(o, "fwded_to", true, &row->fwded_to) && get_sum(o, &row->sum) &&
	       get_number(o, "fwded_packets", &row->fwded_packets) &&
	       get_number(o, "bytes_per_s", &row->bytes_per_s) &&
	       get_number(o, "packets_per_s", &row->packets_per_s);
}

static int find_node(const struct flows_region *r, const struct key *server)
{
	for (int i = 0; i < r->nnodes; i++)
		if (key_equal(&r->node[i].server, server))
			return i;
	return -1;
}

static bool get_node(const json_t *doc, struct flows_node *n, char err[FLOWS_ERR_LEN])
{
	const char *time = json_string_value(json_object_get(doc, "time"));
	struct flows_sum unused;
	uint64_t flows;

	if (!json_is_object(doc) || !json_is_array(json_object_get(doc, "flows")))
		return flows_fail(err, "it is not from a flows page: it has no list \"flows\"");
	if (!get_key(doc, "server", false, &n->server) || key_is_zero(&n->server))
		return flows_fail(err,
		    "it does not name its \"server\": it is not from a flows page, or "
		    "from that of an older sluice");
	if (!get_totals(json_object_get(doc, "totals"), &n->all, &n->entered, &n->flows) ||
	    !get_totals(json_object_get(doc, "other"), &unused, &n->other, &flows))
		return flows_fail(
		    err, "its \"totals\" or \"other\" are not as a flows page has them");
	n->interval_s = json_number_value(json_object_get(doc, "interval_s"));
	snprintf(n->time, sizeof(n->time), "%s", time ? time : "");
	flows_printable(n->time);
	return true;
}

bool flows_region_add(struct flows_region *r, const json_t *doc, char err[FLOWS_ERR_LEN])
{
	struct flows_node *n = &r->node[r->nnodes];
	const json_t *flows, *flow;
	size_t i, before = r->nrows;
	char key[KEY_TEXT_LEN];

	if (r->nnodes == FLOWS_NODES_MAX)
		return flows_fail(err, "more than %d nodes", FLOWS_NODES_MAX);
	*n = (struct flows_node){0};
	if (!get_node(doc, n, err))
		return false;
	if (find_node(r, &n->server) >= 0) {
		key_text(&n->server, key);
		return flows_fail(err, "there is a document of the same server already (%s)", key);
	}
	flows = json_object_get(doc, "flows");
	json_array_foreach(flows, i, flow)
	{
		struct flows_row row = {.node = r->nnodes};

		if (!get_row(flow, &row)) {
			r->nrows = before;
			return flows_fail(
			    err, "its flow number %zu is not as a flows page has them", i + 1);
		}
		row.entered = key_is_zero(&row.recv_from) ? n->server : row.recv_from;
		r->row = grow(r->row, r->nrows, &r->rows_cap, sizeof(*r->row));
		r->row[r->nrows++] = row;
	}
	n->rows = json_array_size(flows);
	r->nnodes++;
	return true;
}

static void note_missing(struct flows_region *r, const struct key *server)
{
	if (key_is_zero(server) || find_node(r, server) >= 0)
		return;
	for (int i = 0; i < r->nmissing; i++)
		if (key_equal(&r->missing[i], server))
			return;
	if (r->nmissing < FLOWS_NODES_MAX)
		r->missing[r->nmissing++] = *server;
}

static int compare_numbers(uint64_t a, uint64_t b)
{
	return a > b ? -1 : a < b;
}

static int compare_keys(const struct flows_row *a, const struct flows_row *b)
{
	int c = memcmp(&a->src, &b->src, sizeof(a->src));

	if (!c)
		c = memcmp(&a->dst, &b->dst, sizeof(a->dst));
	return c ? c : memcmp(&a->entered, &b->entered, sizeof(a->entered));
}

/* Those that are merged stand together, by node. */
static int by_keys(const void *a, const void *b)
{
	const struct flows_row *x = a, *y = b;
	int c = compare_keys(x, y);

	return c ? c : (x->node > y->node) - (x->node < y->node);
}

static int rows_by_rate(const void *a, const void *b)
{
	const struct flows_row *x = a, *y = b;
	int c = compare_numbers(x->bytes_per_s, y->bytes_per_s);

	c = c ? c : compare_numbers(x->sum.bytes, y->sum.bytes);
	return c ? c : by_keys(a, b);
}

static int merged_by_rate(const void *a, const void *b)
{
	const struct flows_merged *x = a, *y = b;
	int c = compare_numbers(x->bytes_per_s, y->bytes_per_s);

	c = c ? c : compare_numbers(x->sum.bytes, y->sum.bytes);
	c = c ? c : memcmp(&x->src, &y->src, sizeof(x->src));
	c = c ? c : memcmp(&x->dst, &y->dst, sizeof(x->dst));
	return c ? c : memcmp(&x->entered, &y->entered, sizeof(x->entered));
}

static int deliveries_by_packets(const void *a, const void *b)
{
	const struct flows_delivery *x = a, *y = b;
	int c = compare_numbers(x->packets, y->packets);

	return c ? c : memcmp(&x->node, &y->node, sizeof(x->node));
}

static struct flows_delivery *find_delivery(
    struct flows_region *r, const struct flows_merged *m, const struct key *node)
{
	for (uint32_t i = 0; i < m->ndeliveries; i++)
		if (key_equal(&r->delivery[m->delivery + i].node, node))
			return &r->delivery[m->delivery + i];
	return NULL;
}

static void add_delivery(
    struct flows_region *r, struct flows_merged *m, const struct key *node, uint64_t packets)
{
	struct flows_delivery *d = find_delivery(r, m, node);

	if (!d) {
		r->delivery = grow(r->delivery, r->ndeliveries, &r->deliveries_cap, sizeof(*d));
		d = &r->delivery[r->ndeliveries++];
		*d = (struct flows_delivery){.node = *node};
		m->ndeliveries++;
	}
	d->packets += packets;
}

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/*
 * A row of the node where the packets enter. What it did not forward or drop it delivered itself.
 * What it forwarded is known by the rows of those who got it, added before; where there is none, as
 * that node's document is missing or has the flow no more, by fwded_to.
 */
static void add_entry(struct flows_region *r, struct flows_merged *m, const struct flows_row *row)
{
	uint64_t own = less(less(row->sum.packets, row->fwded_packets), row->sum.dropped_packets);

	add_sum(&m->sum, &row->sum);
	m->bytes_per_s += row->bytes_per_s;
	m->packets_per_s += row->packets_per_s;
	if (own)
		add_delivery(r, m, &row->entered, own);
	if (row->fwded_packets && !key_is_zero(&row->fwded_to) &&
	    !find_delivery(r, m, &row->fwded_to))
		add_delivery(r, m, &row->fwded_to, row->fwded_packets);
}

/* A row of a node that got the packets from another: they are counted there. */
static void add_exit(struct flows_region *r, struct flows_merged *m, const struct flows_row *row)
{
	m->sum.dropped_packets += row->sum.dropped_packets;
	m->sum.dropped_bytes += row->sum.dropped_bytes;
	add_delivery(
	    r, m, &r->node[row->node].server, less(row->sum.packets, row->sum.dropped_packets));
}

static void merge_rows(
    struct flows_region *r, struct flows_merged *m, const struct flows_row *row, size_t n)
{
	*m = (struct flows_merged){
	    .src = row->src,
	    .dst = row->dst,
	    .entered = row->entered,
	    .delivery = (uint32_t)r->ndeliveries,
	};
	for (size_t i = 0; i < n; i++)
		if (!key_is_zero(&row[i].recv_from))
			add_exit(r, m, &row[i]);
	for (size_t i = 0; i < n; i++)
		if (key_is_zero(&row[i].recv_from))
			add_entry(r, m, &row[i]);
	if (m->ndeliveries)
		qsort(&r->delivery[m->delivery], m->ndeliveries, sizeof(*r->delivery),
		    deliveries_by_packets);
}

void flows_region_merge(struct flows_region *r)
{
	size_t n;

	r->merged = must_calloc(MAX(r->nrows, (size_t)1), sizeof(*r->merged));
	if (r->nrows)
		qsort(r->row, r->nrows, sizeof(*r->row), by_keys);
	for (size_t i = 0; i < r->nrows; i += n) {
		for (n = 1; i + n < r->nrows && compare_keys(&r->row[i], &r->row[i + n]) == 0; n++)
			;
		merge_rows(r, &r->merged[r->nmerged++], &r->row[i], n);
	}
	for (size_t i = 0; i < r->nrows; i++) {
		note_missing(r, &r->row[i].recv_from);
		note_missing(r, &r->row[i].fwded_to);
	}
	if (r->nrows) {
		qsort(r->merged, r->nmerged, sizeof(*r->merged), merged_by_rate);
		qsort(r->row, r->nrows, sizeof(*r->row), rows_by_rate);
	}
	for (int i = 0; i < r->nnodes; i++) {
		add_sum(&r->total, &r->node[i].entered);
		add_sum(&r->other, &r->node[i].other);
	}
}
