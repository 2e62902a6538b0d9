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

struct mesh_text {
	char host[ADDR_HOST_LEN], target[MESH_TARGET_LEN], error[MESH_ERROR_LEN];
	char address[sizeof((struct mesh_link){0}.address)];
	uint64_t peers, tx_packets, tx_bytes, rx_packets, rx_bytes, rtt_us;
};

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
		mesh_target(l->host, l->port, 0, out);
	else
		snprintf(out, MESH_NAME_LEN, "%s", l->host);
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

	snprintf(t->host, sizeof(t->host), "%s", l->host);
	mesh_target(l->dial, l->port, 0, t->target);
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

static void text_row(
    struct http_out *o, const struct site_config *c, int link, const struct shot *shot)
{
	const struct mesh_link *l = &c->mesh->link[link];
	char server[KEY_SHORT_LEN], since[32] = "-", rtt[32] = "-", at[CLOCK_RFC3339_LEN] = "";
	struct mesh_text t;

	read_link(c, link, &t);
	key_short(&l->server, server);
	if (l->since_ms)
		snprintf(
		    since, sizeof(since), "%" PRIu64 " secs", table_seconds_ago(shot, l->since_ms));
	if (t.rtt_us)
		snprintf(rtt, sizeof(rtt), "%.3f", (double)t.rtt_us / 1000.0);
	if (*t.error)
		clock_rfc3339(l->error_wall_ms, at);
	http_putf(o, BODY_FORMAT, t.host, t.target, *t.address ? t.address : "-",
	    *server ? server : "-", mesh_state_text[l->state], since, t.peers, t.tx_packets,
	    t.tx_bytes, t.rx_packets, t.rx_bytes, rtt, l->dials, l->logins, at, *at ? " " : "-",
	    t.error);
}

static void put_text(struct http_out *o, const struct site_config *c, const struct shot *shot)
{
	table_put_now(o, shot);
	http_putf(o, "number links: %d\n", links(c->mesh));
	if (links(c->mesh) == 0) {
		http_putf(o, "%s\n", why_none(c->mesh));
		return;
	}
	http_putf(o, HEAD_FORMAT, "host", "dials", "address", "server", "state", "since", "peers",
	    "tx packets", "tx bytes", "rx packets", "rx bytes", "rtt ms", "dials", "logins",
	    "last error");
	for (int i = 0; i < links(c->mesh); i++)
		text_row(o, c, i, shot);
}

static void json_row(
    struct http_out *o, const struct site_config *c, int link, const struct shot *shot)
{
	const struct mesh_link *l = &c->mesh->link[link];
	char server[KEY_TEXT_LEN], since[CLOCK_RFC3339_LEN] = "", at[CLOCK_RFC3339_LEN] = "";
	struct mesh_text t;

	read_link(c, link, &t);
	table_key(&l->server, server);
	if (l->since_ms)
		table_time(shot, l->since_ms, since);
	if (*t.error)
		clock_rfc3339(l->error_wall_ms, at);
	table_put_json(
	    o, json_pack("{ss si ss ss ss ss sb ss sI sI sI sI sI so sI sI ss ss}", "host", t.host,
		   "port", (int)l->port, "dial", l->dial, "address", t.address, "server", server,
		   "state", mesh_state_text[l->state], "up", (int)(l->state == MESH_UP), "since",
		   since, "peers", table_number(t.peers), "tx_packets", table_number(t.tx_packets),
		   "tx_bytes", table_number(t.tx_bytes), "rx_packets", table_number(t.rx_packets),
		   "rx_bytes", table_number(t.rx_bytes), "rtt_ms",
		   t.rtt_us ? json_real((double)t.rtt_us / 1000.0) : json_null(), "dials",
		   table_number(l->dials), "logins", table_number(l->logins), "error", t.error,
		   "error_time", at));
}

static void put_json(struct http_out *o, const struct site_config *c, const struct shot *shot)
{
	char now[CLOCK_RFC3339_LEN], server[KEY_TEXT_LEN];

	clock_rfc3339(shot->wall_ms, now);
	key_text(&c->server_key, server);
	http_putf(o,
	    "{\"time\":\"%s\",\"server\":\"%s\",\"mesh_key\":%s,\"note\":\"%s\",\"links\":[", now,
	    server, c->mesh && c->mesh->has_key ? "true" : "false", why_none(c->mesh));
	for (int i = 0; i < links(c->mesh); i++) {
		http_putf(o, i ? ",\n" : "\n");
		json_row(o, c, i, shot);
	}
	http_putf(o, "]}\n");
}

const char *mesh_page(const struct page *p, struct http_span query, const struct site_config *c,
    uint64_t now_ms, struct http_out *o)
{
	/* Nobody copies anything for it: what it reads is as of now. */
	const struct shot shot = {.at_ms = now_ms, .wall_ms = p->wall_ms};
	char err[QUERY_ERR_LEN];
	bool json = false;

	if (!query_format(query, &json, err)) {
		page_line(p, 400, err);
		return NULL;
	}
	if (json)
		put_json(o, c, &shot);
	else
		put_text(o, c, &shot);
	return json ? PAGE_JSON : PAGE_TEXT;
}
