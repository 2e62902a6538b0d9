/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/clientpage.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/addr.h"
#include "web/clientview.h"
#include "web/query.h"
#include "web/stream.h"
#include "web/table.h"

/* Texts of any length stand at the end. */
#define HEAD_FORMAT                                                                               \
	"%-10s %-10s %-22s %-12s %-4s %10s %12s %10s %12s %8s %6s %6s %12s %12s %8s %8s %7s %7s " \
	"%-6s %-16s %s\n"
#define BODY_FORMAT                                                                           \
	"%-10s %-10s %-22s %-12s %-4s %10" PRIu64 " %12" PRIu64 " %10" PRIu64 " %12" PRIu64   \
	" %8" PRIu32 " %6" PRIu32 " %6" PRIu64 " %12" PRIu64 " %12" PRIu64 " %8.1f %8" PRIu32 \
	" %7.1f %7" PRIu64 " %-6s %-16s %s\n"

/* Id of the bit in client_row, name. */
#define CLIENT_FLAGS(X)          \
	X(active, "active")      \
	X(mesh_peer, "mesh")     \
	X(prober, "prober")      \
	X(not_ideal, "notideal") \
	X(tls, "tls")            \
	X(websocket, "ws")       \
	X(watcher, "watcher")
#define FLAGS_LEN 64

/* Id, name as ?which= has it. */
#define CLIENT_WHICH(X)                 \
	X(WHICH_ALL, "all")             \
	X(WHICH_CONNECTED, "connected") \
	X(WHICH_GONE, "gone")           \
	X(WHICH_REMOTE, "remote")

enum client_which {
#define X(id, name) id,
	CLIENT_WHICH(X)
#undef X
	    WHICH_COUNT
};

struct client_query {
	bool json;
	int which;      /* enum client_which */
	int sort;       /* enum client_sort */
	uint32_t limit; /* rows, 0 for all */
	struct key_select key;
};

struct client_stream {
	struct stream stream; /* first */
	struct client_query query;
	uint32_t at;   /* place in the order */
	uint32_t rows; /* written */
};

static const char *const sort_name[CLIENT_SORT_COUNT] = {
#define X(id, name) [id] = name,
    CLIENT_SORTS(X)
#undef X
};

static const char *const which_name[WHICH_COUNT] = {
#define X(id, name) [id] = name,
    CLIENT_WHICH(X)
#undef X
};

static struct client_stream *client_stream_of(struct stream *s)
{
	return container_of(s, struct client_stream, stream);
}

static struct client_view *view_of(struct stream *s)
{
	CHECK(s->reader.shot && s->reader.shot->view);
	return s->reader.shot->view;
}

static enum client_which which_of(const struct client_row *row)
{
	if (row->number)
		return WHICH_CONNECTED;
	return client_remote(row) ? WHICH_REMOTE : WHICH_GONE;
}

static bool selected(const struct client_query *q, const struct client_row *row)
{
	return key_selected(&q->key, &row->key) &&
	       (q->which == WHICH_ALL || q->which == (int)which_of(row));
}

static uint32_t gone(const struct client_view *v)
{
	return v->n - v->connections - v->remote;
}

/* The next row that is meant; NULL after the last or at the limit. */
static const struct client_row *next_row(struct stream *s)
{
	struct client_stream *c = client_stream_of(s);
	struct client_view *v = view_of(s);
	const uint32_t *order = client_view_order(v, (enum client_sort)c->query.sort);

	if (c->query.limit && c->rows == c->query.limit)
		return NULL;
	while (c->at < v->n) {
		const struct client_row *row = v->row[order[c->at++]];

		if (selected(&c->query, row)) {
			c->rows++;
			return row;
		}
	}
	return NULL;
}

static void row_addr(const struct client_row *row, char out[ADDR_TEXT_LEN])
{
	struct sockaddr_in6 sa = {
	    .sin6_family = AF_INET6,
	    .sin6_port = htons(row->port),
	    .sin6_addr = row->addr,
	};

	/* All zeros: a Unix socket, or a remembered node. */
	if (IN6_IS_ADDR_UNSPECIFIED(&row->addr))
		out[0] = '\0';
	else
		addr_format((const struct sockaddr *)&sa, out);
}

static void row_flags(const struct client_row *row, char out[FLAGS_LEN])
{
	size_t n = 0;

	out[0] = '\0';
#define X(bit, name)  \
	if (row->bit) \
		n += (size_t)snprintf(out + n, FLAGS_LEN - n, "%s%s", n ? "," : "", name);
	CLIENT_FLAGS(X)
#undef X
	if (client_remote(row))
		n += (size_t)snprintf(out + n, FLAGS_LEN - n, "%sremote", n ? "," : "");
	CHECK(n < FLAGS_LEN);
	if (n == 0)
		memcpy(out, "-", 2);
}

static void row_app(const struct client_row *row, char out[APP_NAME_MAX + 1])
{
	_Static_assert(sizeof(row->app_name) == APP_NAME_MAX + 1, "as login has it");
	memcpy(out, row->app_name, APP_NAME_MAX);
	out[APP_NAME_MAX] = '\0';
	table_printable(out);
}

static void text_begin(struct stream *s, struct http_out *o)
{
	struct client_view *v = view_of(s);

	table_put_now(o, s->reader.shot);
	http_putf(o,
	    "number connections: %" PRIu32 "\nreached by the mesh: %" PRIu32
	    "\nnodes that have gone: %" PRIu32 "\n",
	    v->connections, v->remote, gone(v));
	http_putf(o, HEAD_FORMAT, "conn#", "key", "address", "since", "home", "rx packets",
	    "rx bytes", "tx packets", "tx bytes", "queue", "flows", "logins", "node rx", "node tx",
	    "delay ms", "p99 ms", "rtt ms", "retrans", "cc", "flags", "app");
}

static bool text_row(struct stream *s, struct http_out *o)
{
	const struct client_row *row = next_row(s);
	char conn[24] = "-", key[KEY_SHORT_LEN], addr[ADDR_TEXT_LEN], since[32] = "-";
	char via[KEY_SHORT_LEN], flags[FLAGS_LEN], app[APP_NAME_MAX + 1];

	if (!row)
		return false;
	if (row->number) {
		snprintf(conn, sizeof(conn), "%" PRIu64, row->number);
		snprintf(since, sizeof(since), "%" PRIu64 " secs",
		    table_seconds_ago(s->reader.shot, row->since_ms));
	}
	key_short(&row->key, key);
	key_short(&row->via, via);
	if (client_remote(row))
		snprintf(addr, sizeof(addr), "via %s", via);
	else
		row_addr(row, addr);
	row_flags(row, flags);
	row_app(row, app);
	http_putf(o, BODY_FORMAT, conn, key, addr, since, row->home ? "home" : "-", row->rx_packets,
	    row->rx_bytes, row->tx_packets, row->tx_bytes, row->queue_bytes, row->flows,
	    row->node_logins, row->node_rx_bytes, row->node_tx_bytes,
	    delays_average(&row->delays, row->tx_packets),
	    delays_p99(&row->delays, row->tx_packets), row->path.rtt_us / 1000.0,
	    row->path.retransmits, row->path.known ? row->path.congestion : "-", flags, app);
	return true;
}

static void text_end(struct stream *s, struct http_out *o)
{
}

static void json_begin(struct stream *s, struct http_out *o)
{
	char now[CLOCK_RFC3339_LEN];

	clock_rfc3339(s->reader.shot->wall_ms, now);
	http_putf(o, "{\"time\":\"%s\",\"clients\":[", now);
}

/* Flows of the connection that the table no longer tells apart. */
static json_t *other_json(const struct client_row *row)
{
	return json_pack("{sI sI sI}", "flows", table_number(row->other_flows), "packets",
	    table_number(row->other_packets), "bytes", table_number(row->other_bytes));
}

/* What waits for it now, and how long what was sent had waited. */
static json_t *queue_json(const struct client_row *row)
{
	return json_pack("{sI so so}", "oldest_ms", table_number(row->queue_ms), "delay",
	    table_delays(&row->delays, row->tx_packets), "dropped", table_drops(row->dropped));
}

/* What the kernel knows of its socket; null of a node that isn't connected here. */
static json_t *path_json(const struct client_row *row)
{
	const struct path_view *v = &row->path;

	if (!v->known)
		return json_null();
	return json_pack("{sf sf sI sI sI sI sI sI ss}", "rtt_ms", v->rtt_us / 1000.0, "rtt_min_ms",
	    v->rtt_least_us / 1000.0, "retransmits", table_number(v->retransmits), "unsent_bytes",
	    table_number(v->unsent), "unsent_limit", table_number(v->lowat), "held_limit",
	    table_number(v->window), "window_bytes", table_number(v->cwnd), "bytes_per_s",
	    table_number(v->delivery_rate), "congestion", v->congestion);
}

static json_t *node_json(const struct client_row *row)
{
	return json_pack("{sI sI sI sI sI}", "logins", table_number(row->node_logins), "rx_packets",
	    table_number(row->node_rx_packets), "rx_bytes", table_number(row->node_rx_bytes),
	    "tx_packets", table_number(row->node_tx_packets), "tx_bytes",
	    table_number(row->node_tx_bytes));
}

/* A node that isn't connected here has "conn" 0, and "since" and "addr" empty; "via" is the server
 * by which the mesh reaches it, "" when it has gone. */
static bool json_row(struct stream *s, struct http_out *o)
{
	bool first = client_stream_of(s)->rows == 0;
	const struct client_row *row = next_row(s);
	char key[KEY_TEXT_LEN], addr[ADDR_TEXT_LEN], since[CLOCK_RFC3339_LEN] = "";
	char via[KEY_TEXT_LEN], app[APP_NAME_MAX + 1];
	json_t *object;

	if (!row)
		return false;
	key_text(&row->key, key);
	table_key(&row->via, via);
	row_addr(row, addr);
	row_app(row, app);
	if (row->number)
		table_time(s->reader.shot, row->since_ms, since);
	object = json_pack("{ss sI sb sb ss si ss ss sb ss sI sI sI sI sI sI so so so so si}",
	    "key", key, "conn", table_number(row->number), "connected", row->number != 0, "remote",
	    (int)client_remote(row), "via", via, "forwarders", (int)row->forwarders, "addr", addr,
	    "since", since, "home", (int)row->home, "app", app, "rx_packets",
	    table_number(row->rx_packets), "rx_bytes", table_number(row->rx_bytes), "tx_packets",
	    table_number(row->tx_packets), "tx_bytes", table_number(row->tx_bytes), "queue_bytes",
	    table_number(row->queue_bytes), "flows", table_number(row->flows), "queue",
	    queue_json(row), "path", path_json(row), "other", other_json(row), "node",
	    node_json(row), "worker", (int)row->worker);
	CHECK(object);
#define X(bit, name) json_object_set_new(object, #bit, json_boolean(row->bit));
	CLIENT_FLAGS(X)
#undef X
	http_putf(o, first ? "\n" : ",\n");
	table_put_json(o, object);
	return true;
}

static void json_end(struct stream *s, struct http_out *o)
{
	struct client_view *v = view_of(s);

	http_putf(o,
	    "],\n\"totals\":{\"rows\":%" PRIu32 ",\"connections\":%" PRIu32 ",\"remote\":%" PRIu32
	    ",\"gone\":%" PRIu32 "}}\n",
	    v->n, v->connections, v->remote, gone(v));
}

static const struct stream_ops text_ops = {PAGE_TEXT, text_begin, text_row, text_end};
static const struct stream_ops json_ops = {PAGE_JSON, json_begin, json_row, json_end};

void client_page(const struct page *p, struct http_span query, struct gather *g,
    void (*ready)(struct reply *), uint64_t now_ms)
{
	struct client_query q = {.limit = QUERY_LIMIT_DEFAULT, .sort = CLIENT_BY_BYTES};
	char err[QUERY_ERR_LEN];
	struct client_stream *c;

	if (!query_format(query, &q.json, err) || !query_limit(query, &q.limit, err) ||
	    !query_sort(query, sort_name, CLIENT_SORT_COUNT, &q.sort, err) ||
	    !query_key(query, "key", &q.key, err) ||
	    !query_choice(query, "which", which_name, WHICH_COUNT, &q.which, err)) {
		page_line(p, 400, err);
		return;
	}
	c = must_calloc(1, sizeof(*c));
	c->query = q;
	c->stream.ops = q.json ? &json_ops : &text_ops;
	stream_start(&c->stream, p, g, ready, now_ms);
}
