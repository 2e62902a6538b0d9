/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * page.h: writes an answer's head and, when it is small, its body.
 *
 *   page_begin, any http_put_field, then one of page_body, page_stream, page_empty
 *
 * A body whose length isn't known before it ends goes out in chunks: see stream.h.
 */
#ifndef SLUICE_WEB_PAGE_H
#define SLUICE_WEB_PAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"
#include "gate/site.h"

#define PAGE_TEXT "text/plain; charset=utf-8"
#define PAGE_HTML "text/html; charset=utf-8"
#define PAGE_JSON "application/json"

/* What an answer must know of its request after that has gone. */
struct page {
	struct reply *reply;
	bool head_only;   /* HEAD: the same fields, no body */
	bool http10;      /* no chunks */
	bool browser;     /* the fields that keep browsers from being used against us */
	uint64_t wall_ms; /* of Date */
};

/* Status line and the fields that all answers have. */
void page_begin(const struct page *p, int status);
/* Content-Length, blank line, body; type NULL: without Content-Type. What of a long body does not
 * fit into the reply is kept and follows piece by piece: the caller's may be reused at once. */
void page_body(const struct page *p, const char *type, const char *body, size_t len);
/* Blank line of an answer that has no body by its status: 204. */
void page_empty(const struct page *p);
/* The head of a body in pieces; true when they are to be chunks, else the body ends with the
 * connection. */
bool page_stream(const struct page *p, const char *type);

/* Whole answers: a line of text; the same when the method isn't one of `allow`; a redirection. */
void page_line(const struct page *p, int status, const char *line);
void page_not_allowed(const struct page *p, const char *allow, const char *line);
void page_redirect(const struct page *p, int status, const char *url);

/* Text into HTML: markup characters as entities, bytes that no text has as '?'. */
void page_escape(struct http_out *o, const char *text);

#endif
