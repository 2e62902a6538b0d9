/* SPDX-License-Identifier: BSD-3-Clause */
/* inside.h: what the parts of a site know of each other; for web/ only. */
#ifndef SLUICE_WEB_INSIDE_H
#define SLUICE_WEB_INSIDE_H

#include "web/gather.h"
#include "web/page.h"
#include "web/site.h"

/* Bodies that are written before their length is known. The longest is that of the metrics, with
 * a name for each of MESH_LINKS_MAX links. */
#define SITE_BODY_MAX (256u << 10)
#define SITE_URL_MAX (HTTP_HEAD_MAX + 64)

struct site {
	struct site_config config;
	struct gate *gate;
	bool has_debug_ip;
	uint8_t debug_ip[16]; /* IPv4 mapped */
	uint64_t start_wall_ms;
	struct gather flows, clients;
	char *body; /* SITE_BODY_MAX */
};

/* One request being answered. */
struct visit {
	struct site *site;
	const struct http_request *req;
	const struct asker *who;
	struct page page;
	uint64_t now_ms;
};

/* Sends what lies in o, which was begun with visit_body. */
void visit_body(struct visit *v, struct http_out *o);
void visit_send(struct visit *v, const char *type, const struct http_out *o);

/* access.c: whether this visitor may see the debug pages. */
bool access_debug(const struct visit *v);

/* debug.c: the path is /debug or lies below it; answers it, or refuses. */
bool debug_has(struct http_span path);
void debug_answer(struct visit *v);

/* home.c: whatever has no other page. */
void home_answer(struct visit *v);

#endif
