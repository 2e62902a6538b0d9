/* SPDX-License-Identifier: BSD-3-Clause */
/* debug.c: /debug/, the operator's pages. */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "web/clientpage.h"
#include "web/flowpage.h"
#include "web/inside.h"
#include "web/meshpage.h"
#include "web/varz.h"

#define DEBUG_ROOT "/debug/"

static void index_page(struct visit *v);
static void varz_page(struct visit *v);
static void flows_page(struct visit *v);
static void clients_page(struct visit *v);
static void mesh_links_page(struct visit *v);

/* Name below /debug/, who writes it, what the index says of it. */
#define DEBUG_PAGES(X)                                                                            \
	X("", index_page, NULL)                                                                   \
	X("varz", varz_page, "Metrics, for Prometheus")                                           \
	X("flows", flows_page,                                                                    \
	    "Flows with their rates; ?format=json, ?sort=bytes_per_s|bytes|packets|last_active, " \
	    "?limit=N (1000 unless given, 0 for all), ?src=KEY, ?dst=KEY, "                       \
	    "?recv_from=KEY, ?fwded_to=KEY")                                                      \
	X("clients", clients_page,                                                                \
	    "Connections, and nodes that were here; ?format=json, "                               \
	    "?sort=bytes|packets|since|queue|flows, ?limit=N, ?key=KEY, "                         \
	    "?which=all|connected|gone|remote")                                                   \
	X("mesh", mesh_links_page, "Links to the other nodes of the region; ?format=json")

struct debug_page {
	const char *name;
	void (*answer)(struct visit *v);
	const char *text; /* NULL: not in the index */
};

static const struct debug_page debug_pages[] = {
#define X(name, answer, text) {name, answer, text},
    DEBUG_PAGES(X)
#undef X
};

static void put_fact(struct http_out *o, const char *name, const char *value)
{
	http_putf(o, "<li><b>%s:</b> ", name);
	page_escape(o, value);
	http_putf(o, "</li>\n");
}

static void index_page(struct visit *v)
{
	const struct site_config *c = &v->site->config;
	char key[KEY_TEXT_LEN];
	struct http_out o;

	visit_body(v, &o);
	key_text(&c->server_key, key);
	http_putf(&o, "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
		      "<title>sluice debug</title></head>\n<body>\n<h1>sluice debug</h1>\n<ul>\n");
	http_putf(&o, "<li><b>Uptime:</b> %" PRIu64 " s</li>\n", (v->now_ms - c->start_ms) / 1000);
	put_fact(&o, "Version", c->version);
	put_fact(&o, "Server key", key);
	http_putf(&o, "<li><b>Workers:</b> %d</li>\n</ul>\n<ul>\n", c->workers);
	for (size_t i = 0; i < ARRAY_LEN(debug_pages); i++) {
		const struct debug_page *p = &debug_pages[i];

		if (!p->text)
			continue;
		http_putf(&o, "<li><a href=\"" DEBUG_ROOT "%s\">" DEBUG_ROOT "%s</a> (", p->name,
		    p->name);
		page_escape(&o, p->text);
		http_putf(&o, ")</li>\n");
	}
	http_putf(&o, "</ul>\n</body>\n</html>\n");
	page_begin(&v->page, 200);
	visit_send(v, PAGE_HTML, &o);
}

static void varz_page(struct visit *v)
{
	struct http_out o;

	visit_body(v, &o);
	varz_put(&o, &v->site->config, v->site->start_wall_ms, v->now_ms);
	page_begin(&v->page, 200);
	visit_send(v, VARZ_TYPE, &o);
}

static void flows_page(struct visit *v)
{
	struct site *s = v->site;
	struct flow_page_config c = {s->config.ready, s->config.start_ms, &s->config.server_key};

	flow_page(&v->page, v->req->query, &s->flows, &c, v->now_ms);
}

static void clients_page(struct visit *v)
{
	struct site *s = v->site;

	client_page(&v->page, v->req->query, &s->clients, s->config.ready, v->now_ms);
}

static void mesh_links_page(struct visit *v)
{
	const char *type;
	struct http_out o;

	visit_body(v, &o);
	type = mesh_page(&v->page, v->req->query, &v->site->config, v->now_ms, &o);
	if (!type)
		return;
	page_begin(&v->page, 200);
	visit_send(v, type, &o);
}

bool debug_has(struct http_span path)
{
	size_t len = strlen(DEBUG_ROOT);

	return http_is(path, "/debug") || (path.len >= len && memcmp(path.p, DEBUG_ROOT, len) == 0);
}

void debug_answer(struct visit *v)
{
	struct http_span name = v->req->path;

	v->page.browser = true;
	if (v->site->config.debug_elsewhere && v->who->listener != LISTEN_DEBUG) {
		page_line(&v->page, 404, "404 page not found");
		return;
	}
	if (!access_debug(v)) {
		page_line(&v->page, 403, "debug access denied");
		return;
	}
	if (http_is(name, "/debug")) {
		page_redirect(&v->page, 301, DEBUG_ROOT);
		return;
	}
	name.p += strlen(DEBUG_ROOT);
	name.len -= strlen(DEBUG_ROOT);
	for (size_t i = 0; i < ARRAY_LEN(debug_pages); i++) {
		if (!http_is(name, debug_pages[i].name))
			continue;
		if (v->req->method != HTTP_GET && v->req->method != HTTP_HEAD)
			page_not_allowed(&v->page, "GET, HEAD", "method not allowed");
		else
			debug_pages[i].answer(v);
		return;
	}
	page_line(&v->page, 404, "404 page not found");
}
