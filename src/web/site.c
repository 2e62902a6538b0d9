/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * site.c: which path is answered by what; statuses, methods and fields are derper's.
 *
 * Paths are compared as they were sent: an escaped one is an unknown one. A front that keeps
 * strangers off /debug/ by the path's text is so not led astray.
 */
#include "web/site.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "web/clientview.h"
#include "web/flowview.h"
#include "web/inside.h"

#define CHALLENGE_MAX 64

static uint64_t now(const struct site *s)
{
	return s->config.clock_ms ? s->config.clock_ms() : clock_ms();
}

struct site *site_new(const struct site_config *c)
{
	struct site *s = must_calloc(1, sizeof(*s));
	struct addr ip;

	CHECK(c->ask && c->ready && c->workers > 0 && c->version);
	s->config = *c;
	if (c->allow_debug_ip && addr_parse_ip(c->allow_debug_ip, &ip)) {
		addr_ip16((const struct sockaddr *)&ip.ss, s->debug_ip);
		s->has_debug_ip = true;
	}
	s->start_wall_ms = clock_wall_ms() - (now(s) - c->start_ms);
	gather_init(&s->flows, &flow_gather, c->workers, c->ask);
	gather_init(&s->clients, &client_gather, c->workers, c->ask);
	s->body = must_alloc(SITE_BODY_MAX);
	return s;
}

void site_set_gate(struct site *s, struct gate *g)
{
	s->flows.gate = g;
	s->clients.gate = g;
}

void site_free(struct site *s)
{
	if (!s)
		return;
	gather_fini(&s->flows);
	gather_fini(&s->clients);
	free(s->body);
	free(s);
}

void visit_body(struct visit *v, struct http_out *o)
{
	http_out_init(o, v->site->body, SITE_BODY_MAX);
}

void visit_send(struct visit *v, const char *type, const struct http_out *o)
{
	CHECK(!o->overflow);
	page_body(&v->page, type, o->p, o->len);
}

static bool is_get_or_head(const struct visit *v)
{
	return v->req->method == HTTP_GET || v->req->method == HTTP_HEAD;
}

/* The gate answers real upgrades itself; this is for all others. */
static void derp_answer(struct visit *v)
{
	v->page.browser = false;
	if (!v->site->config.derp) {
		page_line(&v->page, 404, "derp server disabled");
		return;
	}
	page_begin(&v->page, 426);
	/* RFC 9110 15.5.22 */
	http_put_field(&v->page.reply->out, "Upgrade", "DERP");
	http_put_field(&v->page.reply->out, "Connection", "Upgrade");
	page_body(&v->page, PAGE_TEXT, "DERP requires connection upgrade\n", 33);
}

static void probe_answer(struct visit *v)
{
	v->page.browser = false;
	if (!is_get_or_head(v)) {
		page_not_allowed(&v->page, "GET, HEAD", "bogus probe method");
		return;
	}
	page_begin(&v->page, 200);
	http_put_field(&v->page.reply->out, "Access-Control-Allow-Origin", "*");
	page_body(&v->page, NULL, "", 0);
}

static bool challenge_ok(struct http_span c)
{
	if (c.len == 0 || c.len > CHALLENGE_MAX)
		return false;
	for (size_t i = 0; i < c.len; i++)
		if (c.p[i] == '\0' ||
		    !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-",
			c.p[i]))
			return false;
	return true;
}

/* For captive-portal checks: what a portal can't know is that the challenge is to be echoed. */
static void no_content_answer(struct visit *v)
{
	struct http_span c = v->req->challenge;
	struct http_out *o = &v->page.reply->out;

	v->page.browser = false;
	page_begin(&v->page, 204);
	if (challenge_ok(c))
		http_put_fieldf(o, "X-Tailscale-Response", "response %.*s", (int)c.len, c.p);
	http_put_field(
	    o, "Cache-Control", "no-cache, no-store, must-revalidate, no-transform, max-age=0");
	page_empty(&v->page);
}

static void robots_answer(struct visit *v)
{
	static const char text[] = "User-agent: *\nDisallow: /\n";

	page_begin(&v->page, 200);
	page_body(&v->page, PAGE_TEXT, text, sizeof(text) - 1);
}

static const struct route {
	const char *path;
	void (*answer)(struct visit *v);
} routes[] = {
    {"/derp", derp_answer},
    {"/derp/probe", probe_answer},
    {"/derp/latency-check", probe_answer},
    {"/generate_204", no_content_answer},
    {"/robots.txt", robots_answer},
};

static void public_answer(struct visit *v)
{
	if (debug_has(v->req->path)) {
		debug_answer(v);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (http_is(v->req->path, routes[i].path)) {
			routes[i].answer(v);
			return;
		}
	}
	home_answer(v);
}

/* To the same place over TLS. */
static void redirect_to_tls(struct visit *v)
{
	const struct site_config *c = &v->site->config;
	struct http_span host = v->req->host, path = v->req->path, query = v->req->query;
	char url[SITE_URL_MAX], port[8] = "";
	int n;

	if (http_is(path, "/") && !c->debug_elsewhere && access_debug(v))
		path = (struct http_span){"/debug/", 7};
	if (c->tls_port != 0 && c->tls_port != 443)
		snprintf(port, sizeof(port), ":%u", c->tls_port);
	n = snprintf(url, sizeof(url), "https://%.*s%s%.*s%s%.*s", (int)host.len, host.p, port,
	    (int)path.len, path.p, query.p ? "?" : "", (int)query.len, query.p ? query.p : "");
	CHECK(n > 0 && (size_t)n < sizeof(url)); /* all of it came in one head */
	page_redirect(&v->page, 302, url);
}

/* The plain port beside TLS. */
static void http_answer(struct visit *v)
{
	v->page.browser = false;
	if (http_is(v->req->path, "/generate_204"))
		no_content_answer(v);
	else if (debug_has(v->req->path))
		debug_answer(v);
	else if (!is_get_or_head(v) || v->req->host.len == 0)
		page_line(&v->page, 400, "Use HTTPS");
	else
		redirect_to_tls(v);
}

/* The listener for the debug pages has nothing else. */
static void debug_only_answer(struct visit *v)
{
	if (debug_has(v->req->path))
		debug_answer(v);
	else if (http_is(v->req->path, "/"))
		page_redirect(&v->page, 302, "/debug/");
	else
		page_line(&v->page, 404, "404 page not found");
}

static void answer(
    void *site, struct reply *r, const struct http_request *req, const struct asker *who)
{
	struct site *s = site;
	struct visit v = {
	    .site = s,
	    .req = req,
	    .who = who,
	    .page =
		{
		    .reply = r,
		    .head_only = req->method == HTTP_HEAD,
		    .http10 = req->minor == 0,
		    .browser = true,
		    .wall_ms = clock_wall_ms(),
		},
	    .now_ms = now(s),
	};

	r->close = !req->keep_alive;
	if (req->method == HTTP_CONNECT) {
		page_line(&v.page, 403, "CONNECT not enabled");
		return;
	}
	switch (who->listener) {
	case LISTEN_PUBLIC:
		public_answer(&v);
		return;
	case LISTEN_HTTP:
		http_answer(&v);
		return;
	case LISTEN_DEBUG:
		debug_only_answer(&v);
		return;
	}
	CHECK(false);
}

static void take_flows(void *site, struct flow_part *part)
{
	struct site *s = site;

	gather_part(&s->flows, part->worker, part, now(s), clock_wall_ms());
}

static void take_clients(void *site, struct client_part *part)
{
	struct site *s = site;

	gather_part(&s->clients, part->worker, part, now(s), clock_wall_ms());
}

static void tick(void *site, uint64_t now_ms)
{
	struct site *s = site;

	gather_tick(&s->flows, now_ms);
	gather_tick(&s->clients, now_ms);
}

struct site_ops site_ops(struct site *s)
{
	return (struct site_ops){
	    .site = s,
	    .answer = answer,
	    .flows = take_flows,
	    .clients = take_clients,
	    .tick = tick,
	};
}
