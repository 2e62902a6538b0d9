/* SPDX-License-Identifier: BSD-3-Clause */
/* meshpage.h: /debug/mesh, the links to the other nodes of the region, as a table or as JSON. */
#ifndef SLUICE_WEB_MESHPAGE_H
#define SLUICE_WEB_MESHPAGE_H

#include "web/page.h"
#include "web/site.h"

/* What a link is called where names must differ: its host, with the port behind it where several
 * links have the same host; and with its place in -mesh-with where the port is the same, too. */
#define MESH_NAME_LEN 288

/* Reads ?format=, a bad one is an error line with 400; appends the page to o otherwise and returns
 * its type, NULL: it has been answered. All that it needs is at hand, so it is never waited for. */
const char *mesh_page(const struct page *p, struct http_span query, const struct site_config *c,
    uint64_t now_ms, struct http_out *o);

void mesh_name(const struct mesh *m, int link, char out[MESH_NAME_LEN]);
/* Keys that a link reaches, by all workers together. */
uint64_t mesh_peers(const struct mesh *m, int workers, int link);

#endif
