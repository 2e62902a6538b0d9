/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * http.h: the head of an HTTP/1.x request. What we answer is written with http_out.h.
 *
 * Sans-I/O, no allocation: the caller collects bytes in a buffer, and what is found are spans into
 * it. Strict (RFC 9112, 9110), because other parsers may sit in front of this one and must not be
 * led to read a request in another way: lines end in CRLF, nothing is folded, no control
 * characters, one Host, one meaning of Content-Length, no Transfer-Encoding.
 */
#ifndef SLUICE_WIRE_HTTP_H
#define SLUICE_WIRE_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

/* The longest head, its blank line included: beyond it 431. */
#define HTTP_HEAD_MAX 16384
/* The longest request line without its CRLF (RFC 9112 3 asks for 8000 at least): beyond it 414. */
#define HTTP_LINE_MAX 8192
/* The most header fields: beyond it 431. */
#define HTTP_FIELDS_MAX 64
/* The longest body that a request may announce; we take none, the caller skips it: beyond it 413.
 */
#define HTTP_BODY_MAX 65536

/* A piece of text that is not terminated; p is NULL when there is none, not NULL when it is empty.
 */
struct http_span {
	const char *p;
	size_t len;
};

/* Methods are compared with case (RFC 9110 9.1); every other token is HTTP_OTHER. */
#define HTTP_METHODS(X)            \
	X(HTTP_GET, "GET")         \
	X(HTTP_HEAD, "HEAD")       \
	X(HTTP_POST, "POST")       \
	X(HTTP_PUT, "PUT")         \
	X(HTTP_PATCH, "PATCH")     \
	X(HTTP_DELETE, "DELETE")   \
	X(HTTP_OPTIONS, "OPTIONS") \
	X(HTTP_TRACE, "TRACE")     \
	X(HTTP_CONNECT, "CONNECT")

enum http_method {
	HTTP_OTHER = 0,
#define X(id, name) id,
	HTTP_METHODS(X)
#undef X
};

/* RFC 9112 3.2 */
enum http_form {
	HTTP_FORM_ORIGIN,    /* /path?query */
	HTTP_FORM_ABSOLUTE,  /* http://host/path?query */
	HTTP_FORM_AUTHORITY, /* host:port, of CONNECT and only there */
	HTTP_FORM_ASTERISK,  /* *, of OPTIONS and only there */
};

/* The first protocol in Upgrade that we speak. A request that mustn't upgrade (HTTP/1.0, or one
 * with a body, whose bytes would be taken for the other protocol's) has none. */
enum http_upgrade {
	HTTP_UPGRADE_NONE,
	HTTP_UPGRADE_DERP,
	HTTP_UPGRADE_WEBSOCKET, /* with ws_protocol WebSocket, else DERP of old clients */
};

enum http_result {
	HTTP_MORE, /* not the whole head yet */
	HTTP_DONE, /* head_len and everything below are valid */
	HTTP_BAD,  /* answer `status`, then close: the stream is out of step */
};

struct http_request {
	/* Private: where the search for the blank line stopped. */
	struct {
		enum http_result result;
		uint32_t pos, line, lines, start;
		uint32_t seen; /* fields, one bit each */
	} state;

	int status;              /* of HTTP_BAD: 400, 413, 414, 431, 501 or 505 */
	size_t head_len;         /* bytes of the head; the body or the next protocol begins there */
	struct http_span fields; /* all field lines, for http_field */

	enum http_method method;
	enum http_form form;
	int minor; /* of HTTP/1.<minor>: 0 or 1, whatever higher number was sent */
	struct http_span method_name;
	struct http_span target; /* as sent */
	/* As sent, escapes and all; empty for CONNECT, "*" for OPTIONS *. */
	struct http_span path;
	struct http_span query; /* without its '?' */
	/* Without port, IPv6 in brackets; the target's where it has one, else Host's. */
	struct http_span host;
	uint16_t port; /* 0 when it isn't given */

	bool keep_alive; /* false: close after the answer */
	bool expect;     /* there is an Expect: the body may never come, so keep_alive is false */
	uint32_t content_length; /* bytes to skip behind the head; at most HTTP_BODY_MAX */

	/* Tokens of Connection. Upgrade counts only with conn_upgrade (RFC 9110 7.8). */
	bool conn_close, conn_keep_alive, conn_upgrade;
	enum http_upgrade upgrade;

	bool fast_start;             /* Derp-Fast-Start: 1 */
	bool forwarded;              /* X-Forwarded-For is there, whatever it says */
	struct http_span ideal_node; /* Ideal-Node; of fields that come twice, the first */
	struct http_span challenge;  /* X-Tailscale-Challenge, not checked */
	struct http_span origin;     /* Origin */
	struct http_span ws_key;     /* Sec-WebSocket-Key, for http_ws_accept */
	/* "derp" as it is spelt in Sec-WebSocket-Protocol, if it is there. */
	struct http_span ws_protocol;
	int ws_version; /* Sec-WebSocket-Version; 0 when absent, -1 when not a number up to 255 */
};

/* Before the first http_parse of each request. */
void http_request_init(struct http_request *r);

/*
 * Reads the head of a request at the beginning of buf. On HTTP_MORE call again with the same bytes
 * and more behind them, in whatever place: each byte is looked at once until the head is whole.
 * Spans point into the buffer of the call that returned HTTP_DONE. The result doesn't depend on how
 * the bytes are split.
 */
enum http_result http_parse(const char *buf, size_t len, struct http_request *r) must_use;

/* Any field of a parsed request by name (without case); the first of several. False when absent. */
bool http_field(const struct http_request *r, const char *name, struct http_span *value) must_use;

/* The span is this text, with case and without (ASCII only). */
bool http_is(struct http_span s, const char *text);
bool http_is_nocase(struct http_span s, const char *text);

/* Lists as in Connection and Upgrade (RFC 9110 5.6.1): takes the next element that isn't empty off
 * the front of *rest; false at the end. */
bool http_list_next(struct http_span *rest, struct http_span *item);
/* The list holds this element, without case. */
bool http_list_has(struct http_span list, const char *item);

/* The value of the first parameter `name` of a query (application/x-www-form-urlencoded: '+' is a
 * space, %xx a byte), into out with a NUL behind it. Returns its length, or one of these; out is
 * then an empty string. cap is at least 1. */
#define HTTP_QUERY_ABSENT (-1)
#define HTTP_QUERY_BAD (-2) /* a broken escape, a NUL, or too long for out */
int http_query_get(struct http_span query, const char *name, char *out, size_t cap);

#endif
