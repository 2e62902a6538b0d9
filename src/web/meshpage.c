/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/meshpage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/counter.h"
#include "web/query.h"
#include "web/table.h"

/* Texts of any length stand at the end. */
#define HEAD_FORMAT "%-24s %-28s %-24s %-8s %-16s %12s %8s %10s %12s %10s %12s %9s %6s %6s %s\n"
#define BODY_FORMAT                                                                             \
	"%-24s %-28s %-24s %-8s %-16s %12s %8" PRIu64 " %10" PRIu64 " %12" PRIu64 " %10" PRIu64 \
	" %12" PRIu64 " %9s %6" PRIu64 " %6" PRIu64 " %s%s%s\n"

/* A host that is longer than any name of the DNS is cut off. */
#define HOST_MAX 255
#define HOST_LEN (HOST_MAX + 1)
/* With brackets and port. */
#define TARGET_LEN (HOST_MAX + 10)

struct mesh_text {
	char host[HOST_LEN], target[TARGET_LEN], error[MESH_ERROR_LEN];
	char address[sizeof((struct mesh_link){0}.address)];
	uint64_t peers, tx_packets, tx_bytes, rx_packets, rx_bytes, rtt_us;
};

static const char *const state_text[MESH_STATE_COUNT] = {
#define X(id, text) [id] = text,
    MESH_STATES(X)
#undef X
};

/* A name or an address with a port, as it is dialled. */
static void put_target(const char *host, uint16_t port, char *out, size_t cap)
{
	bool v6 = strchr(host, ':') != NULL;

	snprintf(out, cap, "%s%.*s%s:%u", v6 ? "[" : "", HOST_MAX, host, v6 ? "]" : "", port);
}

void mesh_name(const struct mesh *m, int link, char out[MESH_NAME_LEN])
{
	const struct mesh_link *l = &m->link[link];
	int same_host = 0, same_port = 0;
	size_t n;

	for (int i = 0; i < m->n; i++) {
		if (i == link || strcasecmp(m->link[i].host, l->host) != 0)
			continue;
		same_host++;
		same_port += m->link[i].port == l->port;
	}
	if (same_host)
		put_target(l->host, l->port, out, MESH_NAME_LEN);
	else
		snprintf(out, MESH_NAME_LEN, "%.*s", HOST_MAX, l->host);
	n = strlen(out);
	if (same_port)
		snprintf(out + n, MESH_NAME_LEN - n, "#%d", link + 1);
}

uint64_t mesh_peers(const struct mesh *m, int workers, int link)
{
	uint64_t n = 0;

	for (int w = 0; m->peers && w < workers; w++)
		n += tally_read(&m->peers[w][link]);
	return n;
}

/* A link's texts, fit to be printed, and what the workers count of it. */
static void read_link(const struct site_config *c, int link, struct mesh_text *t)
{
	const struct mesh_link *l = &c->mesh->link[link];

	snprintf(t->host, sizeof(t->host), "%.*s", HOST_MAX, l->host);
	put_target(l->dial, l->port, t->target, sizeof(t->target));
	snprintf(t->address, sizeof(t->address), "%s", l->address);
	snprintf(t->error, sizeof(t->error), "%s", l->error);
	table_printable(t->host);
	table_printable(t->target);
	table_printable(t->address);
	table_printable(t->error);
	t->peers = mesh_peers(c->mesh, c->workers, link);
	t->tx_packets = tally_read(&l->traffic.tx_packets);
	t->tx_bytes = tally_read(&l->traffic.tx_bytes);
	t->rx_packets = tally_read(&l->traffic.rx_packets);
	t->rx_bytes = tally_read(&l->traffic.rx_bytes);
	t->rtt_us = tally_read(&l->traffic.rtt_us);
}

static int links(const struct mesh *m)
{
	return m ? m->n : 0;
}

/* Why there are no rows. */
static const char *why_none(const struct mesh *m)
{
	if (links(m) > 0)
		return "";
	if (!m || !m->has_key)
		return "no mesh key is configured";
	return "a mesh key is configured, no -mesh-with: others may dial us";
}

static uint64_t ms_ago(uint64_t now_ms, uint64_t then_ms)
{
	return now_ms > then_ms ? now_ms - then_ms : 0;
}

static void text_row(struct http_out *o, const struct site_config *c, int link, uint64_t now_ms)
{
	const struct mesh_link *l = &c->mesh->link[link];
	char server[KEY_SHORT_LEN], since[32] = "-", rtt[32] = "-", at[CLOCK_RFC3339_LEN] = "";
	struct mesh_text t;

	read_link(c, link, &t);
	key_short(&l->server, server);
	if (l->since_ms)
		snprintf(
		    since, sizeof(since), "%" PRIu64 " secs", ms_ago(now_ms, l->since_ms) / 1000);
	if (t.rtt_us)
		snprintf(rtt, sizeof(rtt), "%.3f", (double)t.rtt_us / 1000.0);
	if (*t.error)
		clock_rfc3339(l->error_wall_ms, at);
	http_putf(o, BODY_FORMAT, t.host, t.target, *t.address ? t.address : "-",
	    *server ? server : "-", state_text[l->state], since, t.peers, t.tx_packets, t.tx_bytes,
	    t.rx_packets, t.rx_bytes, rtt, l->dials, l->logins, at, *at ? " " : "-", t.error);
}

static void put_text(
    struct http_out *o, const struct site_config *c, uint64_t wall_ms, uint64_t now_ms)
{
	table_put_now(o, wall_ms);
	http_putf(o, "number links: %d\n", links(c->mesh));
	if (links(c->mesh) == 0) {
		http_putf(o, "%s\n", why_none(c->mesh));
		return;
	}
	http_putf(o, HEAD_FORMAT, "host", "dials", "address", "server", "state", "since", "peers",
	    "tx packets", "tx bytes", "rx packets", "rx bytes", "rtt ms", "dials", "logins",
	    "last error");
	for (int i = 0; i < links(c->mesh); i++)
		text_row(o, c, i, now_ms);
}

static json_int_t number(uint64_t n)
{
	return (json_int_t)n;
}

static void json_row(
    struct http_out *o, const struct site_config *c, int link, uint64_t wall_ms, uint64_t now_ms)
{
	const struct mesh_link *l = &c->mesh->link[link];
	char server[KEY_TEXT_LEN], since[CLOCK_RFC3339_LEN] = "", at[CLOCK_RFC3339_LEN] = "";
	struct mesh_text t;

	read_link(c, link, &t);
	table_key(&l->server, server);
	if (l->since_ms)
		clock_rfc3339(wall_ms - ms_ago(now_ms, l->since_ms), since);
	if (*t.error)
		clock_rfc3339(l->error_wall_ms, at);
	table_put_json(o,
	    json_pack("{ss si ss ss ss ss sb ss sI sI sI sI sI so sI sI ss ss}", "host", t.host,
		"port", (int)l->port, "dial", l->dial, "address", t.address, "server", server,
		"state", state_text[l->state], "up", (int)(l->state == MESH_UP), "since", since,
		"peers", number(t.peers), "tx_packets", number(t.tx_packets), "tx_bytes",
		number(t.tx_bytes), "rx_packets", number(t.rx_packets), "rx_bytes",
		number(t.rx_bytes), "rtt_ms",
		t.rtt_us ? json_real((double)t.rtt_us / 1000.0) : json_null(), "dials",
		number(l->dials), "logins", number(l->logins), "error", t.error, "error_time", at));
}

static void put_json(
    struct http_out *o, const struct site_config *c, uint64_t wall_ms, uint64_t now_ms)
{
	char now[CLOCK_RFC3339_LEN], server[KEY_TEXT_LEN];

	clock_rfc3339(wall_ms, now);
	key_text(&c->server_key, server);
	http_putf(o,
	    "{\"time\":\"%s\",\"server\":\"%s\",\"mesh_key\":%s,\"note\":\"%s\",\"links\":[", now,
	    server, c->mesh && c->mesh->has_key ? "true" : "false", why_none(c->mesh));
	for (int i = 0; i < links(c->mesh); i++) {
		http_putf(o, i ? ",\n" : "\n");
		json_row(o, c, i, wall_ms, now_ms);
	}
	http_putf(o, "]}\n");
}

const char *mesh_page(const struct page *p, struct http_span query, const struct site_config *c,
    uint64_t now_ms, struct http_out *o)
{
	char err[QUERY_ERR_LEN];
	bool json = false;

	if (!query_format(query, &json, err)) {
		page_line(p, 400, err);
		return NULL;
	}
	if (json)
		put_json(o, c, p->wall_ms, now_ms);
	else
		put_text(o, c, p->wall_ms, now_ms);
	return json ? PAGE_JSON : PAGE_TEXT;
}
