/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/page.h"

#include <stdlib.h>
#include <string.h>

/* As derper's pages have them (tsweb.AddBrowserHeaders). */
static const char browser_fields[] =
    "Strict-Transport-Security: max-age=63072000; includeSubDomains\r\n"
    "Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; form-action 'self'; "
    "base-uri 'self'; block-all-mixed-content; object-src 'none'\r\n"
    "X-Frame-Options: DENY\r\n"
    "X-Content-Type-Options: nosniff\r\n";

void page_begin(const struct page *p, int status)
{
	struct http_out *o = &p->reply->out;

	http_put_status(o, status);
	http_put_date(o, p->wall_ms);
	if (p->browser)
		http_put(o, browser_fields, sizeof(browser_fields) - 1);
}

/* Last of all fields, as a body without an end to it has changed `close`. */
static void end_head(const struct page *p)
{
	http_put_connection(&p->reply->out, !p->reply->close);
	http_put_end(&p->reply->out);
}

/* What of a long body is still to be sent; a reply's state. */
struct rest {
	size_t at, len;
	char p[];
};

static bool more_of_body(struct reply *r)
{
	struct rest *rest = r->state;
	size_t n = MIN(rest->len - rest->at, REPLY_CHUNK);

	http_put(&r->out, rest->p + rest->at, n);
	rest->at += n;
	return rest->at == rest->len;
}

static void free_rest(struct reply *r)
{
	free(r->state);
	r->state = NULL;
}

static void keep_rest(struct reply *r, const char *p, size_t len)
{
	struct rest *rest = must_alloc(sizeof(*rest) + len);

	CHECK(!r->state && !r->more);
	*rest = (struct rest){.len = len};
	memcpy(rest->p, p, len);
	r->state = rest;
	r->more = more_of_body;
	r->free = free_rest;
}

void page_body(const struct page *p, const char *type, const char *body, size_t len)
{
	struct http_out *o = &p->reply->out;

	if (type)
		http_put_field(o, "Content-Type", type);
	http_put_length(o, len);
	end_head(p);
	if (p->head_only)
		return;
	http_put(o, body, MIN(len, REPLY_CHUNK));
	if (len > REPLY_CHUNK)
		keep_rest(p->reply, body + REPLY_CHUNK, len - REPLY_CHUNK);
}

void page_empty(const struct page *p)
{
	end_head(p);
}

bool page_stream(const struct page *p, const char *type)
{
	struct http_out *o = &p->reply->out;

	http_put_field(o, "Content-Type", type);
	if (p->http10)
		p->reply->close = true;
	else
		http_put_chunked(o);
	end_head(p);
	return !p->http10;
}

/* The body's line with its newline. */
static void line_body(const struct page *p, const char *line)
{
	size_t len = strlen(line) + 1;

	http_put_field(&p->reply->out, "Content-Type", PAGE_TEXT);
	http_put_length(&p->reply->out, len);
	end_head(p);
	if (!p->head_only)
		http_putf(&p->reply->out, "%s\n", line);
}

void page_line(const struct page *p, int status, const char *line)
{
	page_begin(p, status);
	line_body(p, line);
}

void page_not_allowed(const struct page *p, const char *allow, const char *line)
{
	page_begin(p, 405);
	http_put_field(&p->reply->out, "Allow", allow);
	line_body(p, line);
}

void page_redirect(const struct page *p, int status, const char *url)
{
	page_begin(p, status);
	http_put_field(&p->reply->out, "Location", url);
	line_body(p, http_reason(status));
}

void page_escape(struct http_out *o, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			http_putf(o, "&amp;");
			break;
		case '<':
			http_putf(o, "&lt;");
			break;
		case '>':
			http_putf(o, "&gt;");
			break;
		case '"':
			http_putf(o, "&quot;");
			break;
		case '\'':
			http_putf(o, "&#39;");
			break;
		default:
			http_putf(o, "%c", *text >= ' ' && *text < 0x7f ? *text : '?');
		}
	}
}
