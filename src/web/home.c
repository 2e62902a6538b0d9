/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * home.c: the page for whoever has lost his way; every unknown path shows it, as derper does.
 *
 * Its words are our own: scanners find derper by its banner.
 */
#include <string.h>

#include "web/inside.h"

static void default_page(struct visit *v)
{
	struct http_out o;

	visit_body(v, &o);
	http_putf(&o, "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
		      "<title>Relay</title></head>\n<body>\n"
		      "<p>This machine relays encrypted packets between devices that cannot reach "
		      "each other directly. It cannot read them.</p>\n");
	if (!v->site->config.derp)
		http_putf(&o, "<p>Relaying is switched off here.</p>\n");
	if (!v->site->config.debug_elsewhere && access_debug(v))
		http_putf(&o, "<p><a href=\"/debug/\">Debug pages</a></p>\n");
	http_putf(&o, "</body>\n</html>\n");
	page_begin(&v->page, 200);
	visit_send(v, PAGE_HTML, &o);
}

void home_answer(struct visit *v)
{
	const char *home = v->site->config.home;

	if (!home || home[0] == '\0') {
		default_page(v);
	} else if (strcmp(home, "blank") == 0) {
		page_begin(&v->page, 200);
		page_body(&v->page, PAGE_HTML, "", 0);
	} else {
		page_redirect(&v->page, 302, home);
	}
}
