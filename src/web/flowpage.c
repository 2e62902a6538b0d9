/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/flowpage.h"

#include <inttypes.h>
#include <stdlib.h>

#include "web/flowview.h"
#include "web/query.h"
#include "web/stream.h"
#include "web/table.h"

/* The seed's columns. */
#define HEAD_FORMAT "%-10s %-10s %-10s %-10s %-10s %10s %10s %10s %10s %-12s\n"
#define BODY_FORMAT                                                                     \
	"%-10" PRIu64 " %-10s %-10s %-10s %-10s %10" PRIu64 " %10" PRIu64 " %10" PRIu64 \
	" %10" PRIu64 " %5" PRIu64 " secs\n"

struct flow_query {
	bool json;
	int sort;       /* enum flow_sort */
	uint32_t limit; /* rows, 0 for all */
	struct key_select src, dst, recv_from, fwded_to;
};

struct flow_stream {
	struct stream stream; /* first */
	struct flow_query query;
	struct flow_page_config config;
	uint32_t at;   /* place in the order */
	uint32_t rows; /* written */
};

static const char *const sort_name[FLOW_SORT_COUNT] = {
#define X(id, name) [id] = name,
    FLOW_SORTS(X)
#undef X
};

static struct flow_stream *flow_stream_of(struct stream *s)
{
	return container_of(s, struct flow_stream, stream);
}

static struct flow_view *view_of(struct stream *s)
{
	CHECK(s->reader.shot && s->reader.shot->view);
	return s->reader.shot->view;
}

static bool selected(const struct flow_query *q, const struct flow_row *row)
{
	return key_selected(&q->src, &row->src) && key_selected(&q->dst, &row->dst) &&
	       key_selected(&q->recv_from, &row->recv_from) &&
	       key_selected(&q->fwded_to, &row->fwded_to);
}

/* The next row that is meant, as its number; false after the last or at the limit. */
static bool next_row(struct stream *s, uint32_t *row)
{
	struct flow_stream *f = flow_stream_of(s);
	struct flow_view *v = view_of(s);
	const uint32_t *order = flow_view_order(v, (enum flow_sort)f->query.sort);

	if (f->query.limit && f->rows == f->query.limit)
		return false;
	while (f->at < v->n) {
		*row = order[f->at++];
		if (selected(&f->query, v->row[*row])) {
			f->rows++;
			return true;
		}
	}
	return false;
}

static uint64_t ds_to_ms(const struct flow_stream *f, uint32_t ds)
{
	return f->config.start_ms + (uint64_t)ds * 100;
}

static void text_begin(struct stream *s, struct http_out *o)
{
	struct flow_stream *f = flow_stream_of(s);
	struct flow_view *v = view_of(s);
	uint32_t n = 0;

	for (uint32_t i = 0; i < v->n; i++)
		n += selected(&f->query, v->row[i]);
	table_put_now(o, s->reader.shot);
	http_putf(o, "number flows: %" PRIu32 "\n", n);
	http_putf(o, HEAD_FORMAT, "conn#", "src", "dst", "recv from", "fwded to", "bytes",
	    "packets", "bps", "pps", "last active");
}

static bool text_row(struct stream *s, struct http_out *o)
{
	struct flow_stream *f = flow_stream_of(s);
	struct flow_view *v = view_of(s);
	char src[KEY_SHORT_LEN], dst[KEY_SHORT_LEN], from[KEY_SHORT_LEN], to[KEY_SHORT_LEN];
	const struct flow_row *row;
	uint32_t i;

	if (!next_row(s, &i))
		return false;
	row = v->row[i];
	key_short(&row->src, src);
	key_short(&row->dst, dst);
	key_short(&row->recv_from, from);
	key_short(&row->fwded_to, to);
	http_putf(o, BODY_FORMAT, row->conn_number, src, dst, from, to, row->bytes, row->packets,
	    v->rate[i].bytes_per_s, v->rate[i].packets_per_s,
	    table_seconds_ago(s->reader.shot, ds_to_ms(f, row->last_ds)));
	return true;
}

static void text_end(struct stream *s, struct http_out *o)
{
}

static json_t *drops_json(
    const uint64_t packets[DROP_REASON_COUNT], const uint64_t bytes[DROP_REASON_COUNT])
{
	json_t *drops = json_object();

	for (int r = 0; r < DROP_REASON_COUNT; r++)
		if (packets[r])
			json_object_set_new(drops, drop_reason_label[r],
			    json_pack("{sI sI}", "packets", table_number(packets[r]), "bytes",
				table_number(bytes[r])));
	return drops;
}

/* Packets of a flow that were sent on, by this node or the next. */
static uint64_t flow_sent(const struct flow_row *row)
{
	uint64_t dropped = drops_sum(row->drop_packets);

	return row->packets > dropped ? row->packets - dropped : 0;
}

static void json_row_text(struct flow_stream *f, const struct flow_row *row,
    const struct flow_rate *rate, struct http_out *o)
{
	char src[KEY_TEXT_LEN], dst[KEY_TEXT_LEN], from[KEY_TEXT_LEN], to[KEY_TEXT_LEN];
	char first[CLOCK_RFC3339_LEN], last[CLOCK_RFC3339_LEN];

	table_key(&row->src, src);
	table_key(&row->dst, dst);
	table_key(&row->recv_from, from);
	table_key(&row->fwded_to, to);
	table_time(f->stream.reader.shot, ds_to_ms(f, row->first_ds), first);
	table_time(f->stream.reader.shot, ds_to_ms(f, row->last_ds), last);
	table_put_json(
	    o, json_pack("{sI ss ss ss ss sI sI sI sI sI sI sI sI so so sI sI ss ss}", "conn",
		   table_number(row->conn_number), "src", src, "dst", dst, "recv_from", from,
		   "fwded_to", to, "packets", table_number(row->packets), "bytes",
		   table_number(row->bytes), "disco_packets", table_number(row->disco_packets),
		   "disco_bytes", table_number(row->disco_bytes), "fwded_packets",
		   table_number(row->fwded_packets), "fwded_bytes", table_number(row->fwded_bytes),
		   "dropped_packets", table_number(drops_sum(row->drop_packets)), "dropped_bytes",
		   table_number(drops_sum(row->drop_bytes)), "drops",
		   drops_json(row->drop_packets, row->drop_bytes), "queue_delay",
		   table_delays(&row->delays, flow_sent(row)), "bytes_per_s",
		   table_number(rate->bytes_per_s), "packets_per_s",
		   table_number(rate->packets_per_s), "first_active", first, "last_active", last));
}

static void json_begin(struct stream *s, struct http_out *o)
{
	char now[CLOCK_RFC3339_LEN], server[KEY_TEXT_LEN];

	clock_rfc3339(s->reader.shot->wall_ms, now);
	key_text(flow_stream_of(s)->config.server, server);
	http_putf(o, "{\"time\":\"%s\",\"server\":\"%s\",\"interval_s\":%.3f,\"flows\":[", now,
	    server, (double)view_of(s)->interval_ms / 1000.0);
}

static bool json_row(struct stream *s, struct http_out *o)
{
	struct flow_stream *f = flow_stream_of(s);
	bool first = f->rows == 0;
	uint32_t i;

	if (!next_row(s, &i))
		return false;
	http_putf(o, first ? "\n" : ",\n");
	json_row_text(f, view_of(s)->row[i], &view_of(s)->rate[i], o);
	return true;
}

static void put_totals(struct http_out *o, const char *name, const struct flow_totals *t)
{
	http_putf(o, ",\n\"%s\":", name);
	table_put_json(
	    o, json_pack("{sI sI sI sI sI sI sI sI sI sI sI so}", "flows", table_number(t->flows),
		   "packets", table_number(t->packets), "bytes", table_number(t->bytes),
		   "disco_packets", table_number(t->disco_packets), "disco_bytes",
		   table_number(t->disco_bytes), "mesh_packets", table_number(t->mesh_packets),
		   "mesh_bytes", table_number(t->mesh_bytes), "fwded_packets",
		   table_number(t->fwded_packets), "fwded_bytes", table_number(t->fwded_bytes),
		   "dropped_packets", table_number(drops_sum(t->drop_packets)), "dropped_bytes",
		   table_number(drops_sum(t->drop_bytes)), "drops",
		   drops_json(t->drop_packets, t->drop_bytes)));
}

static void json_end(struct stream *s, struct http_out *o)
{
	http_putf(o, "]");
	put_totals(o, "other", &view_of(s)->other);
	put_totals(o, "totals", &view_of(s)->totals);
	http_putf(o, "}\n");
}

static const struct stream_ops text_ops = {PAGE_TEXT, text_begin, text_row, text_end};
static const struct stream_ops json_ops = {PAGE_JSON, json_begin, json_row, json_end};

void flow_page(const struct page *p, struct http_span query, struct gather *g,
    const struct flow_page_config *c, uint64_t now_ms)
{
	struct flow_query q = {.limit = QUERY_LIMIT_DEFAULT, .sort = FLOW_BY_BYTES_PER_S};
	char err[QUERY_ERR_LEN];
	struct flow_stream *f;

	if (!query_format(query, &q.json, err) || !query_limit(query, &q.limit, err) ||
	    !query_sort(query, sort_name, FLOW_SORT_COUNT, &q.sort, err) ||
	    !query_key(query, "src", &q.src, err) || !query_key(query, "dst", &q.dst, err) ||
	    !query_key(query, "recv_from", &q.recv_from, err) ||
	    !query_key(query, "fwded_to", &q.fwded_to, err)) {
		page_line(p, 400, err);
		return;
	}
	f = must_calloc(1, sizeof(*f));
	f->query = q;
	f->config = *c;
	f->stream.ops = q.json ? &json_ops : &text_ops;
	stream_start(&f->stream, p, g, c->ready, now_ms);
}
