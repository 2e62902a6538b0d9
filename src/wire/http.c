/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two passes. The first looks at each byte once, as it comes, and finds the end of the head; what
 * it refuses (control characters, line ends, sizes) it refuses at that byte, so the verdict is the
 * same however the bytes arrive. The second reads the lines, once, when they are all there.
 */
#include "wire/http.h"

#include <string.h>

/* The fields that we know. ONCE: a second one is refused, as two readers might choose two values.
 */
#define FIELDS(X)                                             \
	X(FIELD_CONNECTION, "connection", MANY)               \
	X(FIELD_CONTENT_LENGTH, "content-length", MANY)       \
	X(FIELD_EXPECT, "expect", MANY)                       \
	X(FIELD_FAST_START, "derp-fast-start", FIRST)         \
	X(FIELD_FORWARDED_FOR, "x-forwarded-for", FIRST)      \
	X(FIELD_HOST, "host", ONCE)                           \
	X(FIELD_IDEAL_NODE, "ideal-node", FIRST)              \
	X(FIELD_ORIGIN, "origin", FIRST)                      \
	X(FIELD_CHALLENGE, "x-tailscale-challenge", FIRST)    \
	X(FIELD_TRANSFER_ENCODING, "transfer-encoding", MANY) \
	X(FIELD_UPGRADE, "upgrade", MANY)                     \
	X(FIELD_WS_KEY, "sec-websocket-key", ONCE)            \
	X(FIELD_WS_PROTOCOL, "sec-websocket-protocol", MANY)  \
	X(FIELD_WS_VERSION, "sec-websocket-version", ONCE)

enum field {
#define X(id, name, often) id,
	FIELDS(X)
#undef X
	    FIELD_OTHER,
};

enum often { ONCE, FIRST, MANY };

static const struct {
	const char *name;
	enum often often;
} fields[] = {
#define X(id, name, often) [id] = {name, often},
    FIELDS(X)
#undef X
};

/* Characters and spans. */

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
	return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}

/* RFC 9110 5.6.2: what tokens are made of */
static bool is_token(struct http_span s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (!is_alnum(s.p[i]) && (!s.p[i] || !strchr("!#$%&'*+-.^_`|~", s.p[i])))
			return false;
	}
	return s.len > 0;
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c = lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool http_is(struct http_span s, const char *text)
{
	return s.len == strlen(text) && (s.len == 0 || memcmp(s.p, text, s.len) == 0);
}

bool http_is_nocase(struct http_span s, const char *text)
{
	if (s.len != strlen(text))
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (lower(s.p[i]) != lower(text[i]))
			return false;
	}
	return true;
}

/* Takes what lies in front of the first `c` off *rest, and the `c` too; all of it if there is none.
 */
static struct http_span cut(struct http_span *rest, char c)
{
	const char *at = rest->len ? memchr(rest->p, c, rest->len) : NULL;
	struct http_span s = {rest->p, at ? (size_t)(at - rest->p) : rest->len};
	size_t used = at ? s.len + 1 : s.len;

	*rest = (struct http_span){rest->len ? rest->p + used : rest->p, rest->len - used};
	return s;
}

/* Without the spaces and tabs around it (OWS, RFC 9110 5.6.3) */
static struct http_span trim(struct http_span s)
{
	while (s.len && (*s.p == ' ' || *s.p == '\t')) {
		s.p++;
		s.len--;
	}
	while (s.len && (s.p[s.len - 1] == ' ' || s.p[s.len - 1] == '\t'))
		s.len--;
	return s;
}

bool http_list_next(struct http_span *rest, struct http_span *item)
{
	while (rest->len) {
		*item = trim(cut(rest, ','));
		if (item->len)
			return true;
	}
	return false;
}

bool http_list_has(struct http_span list, const char *item)
{
	struct http_span s;

	while (http_list_next(&list, &s)) {
		if (http_is_nocase(s, item))
			return true;
	}
	return false;
}

/* Reads digits and nothing else; what doesn't fit becomes UINT32_MAX. */
static bool read_number(struct http_span s, uint32_t *out)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s.len; i++) {
		if (!is_digit(s.p[i]))
			return false;
		n = MIN(n * 10 + (uint64_t)(s.p[i] - '0'), UINT32_MAX);
	}
	*out = (uint32_t)n;
	return s.len > 0;
}

/* First pass. */

static enum http_result bad(struct http_request *r, int status)
{
	r->status = status;
	r->state.result = HTTP_BAD;
	return HTTP_BAD;
}

/* A line ended at pos, which is its LF. */
static enum http_result end_line(struct http_request *r, uint32_t pos)
{
	bool empty = pos - 1 == r->state.line;

	r->state.line = pos + 1;
	if (empty && r->state.lines > 0) {
		r->head_len = pos + 1;
		return HTTP_DONE;
	}
	if (empty) {
		/* Some clients send one empty line behind a body (RFC 9112 2.2). */
		if (r->state.start != 0)
			return bad(r, 400);
		r->state.start = pos + 1;
		return HTTP_MORE;
	}
	if (++r->state.lines > 1 + HTTP_FIELDS_MAX)
		return bad(r, 431);
	return HTTP_MORE;
}

static enum http_result find_end(const char *buf, size_t len, struct http_request *r)
{
	enum http_result result = HTTP_MORE;

	for (uint32_t pos = r->state.pos; result == HTTP_MORE && pos < len; pos++) {
		unsigned char c = (unsigned char)buf[pos];
		bool after_cr = pos > 0 && buf[pos - 1] == '\r';

		r->state.pos = pos + 1;
		if (after_cr != (c == '\n'))
			return bad(r, 400);
		if (c == '\n')
			result = end_line(r, pos);
		else if ((c < ' ' && c != '\t' && c != '\r') || c == 0x7f)
			return bad(r, 400);
		else if (r->state.lines == 0 && c != '\r' && pos - r->state.line == HTTP_LINE_MAX)
			return bad(r, 414);
		/* Now, not at the next byte: the caller's buffer may be full. */
		if (result == HTTP_MORE && pos + 1 == HTTP_HEAD_MAX)
			return bad(r, 431);
	}
	return result;
}

/* Second pass: each of these answers 0 or the status to refuse with. */

/* host [":" port] of RFC 3986 3.2.2, without userinfo; the host may be empty. */
static bool read_authority(struct http_span s, struct http_span *host, uint16_t *port)
{
	bool literal = s.len && *s.p == '[';
	uint32_t n = 0;
	size_t i;

	for (i = literal; i < s.len && s.p[i] != (literal ? ']' : ':'); i++) {
		if (literal ? hex_value(s.p[i]) < 0 && s.p[i] != ':' && s.p[i] != '.'
			    : !is_alnum(s.p[i]) && !strchr("-._~%!$&'()*+,;=", s.p[i]))
			return false;
	}
	if (literal && (i < 3 || i++ == s.len))
		return false;
	*host = (struct http_span){s.p, i};
	if (i < s.len && s.p[i] != ':')
		return false;
	if (i + 1 < s.len && !read_number((struct http_span){s.p + i + 1, s.len - i - 1}, &n))
		return false;
	if (n > UINT16_MAX)
		return false;
	*port = (uint16_t)n;
	return true;
}

static void read_path(struct http_request *r, struct http_span s)
{
	r->path = cut(&s, '?');
	if (r->target.p + r->target.len != r->path.p + r->path.len)
		r->query = s;
}

static int read_absolute(struct http_request *r)
{
	struct http_span s = r->target, scheme = cut(&s, ':');
	struct http_span authority;
	size_t n = 0;

	if (!http_is_nocase(scheme, "http") && !http_is_nocase(scheme, "https"))
		return 400;
	if (s.len < 2 || memcmp(s.p, "//", 2) != 0)
		return 400;
	authority = (struct http_span){s.p + 2, s.len - 2};
	while (n < authority.len && authority.p[n] != '/' && authority.p[n] != '?')
		n++;
	s = (struct http_span){authority.p + n, authority.len - n};
	authority.len = n;
	if (!read_authority(authority, &r->host, &r->port) || r->host.len == 0)
		return 400;
	r->form = HTTP_FORM_ABSOLUTE;
	read_path(r, s);
	/* An empty path means "/": the second slash of "//" is one. */
	if (r->path.len == 0)
		r->path = (struct http_span){authority.p - 1, 1};
	return 0;
}

static int read_target(struct http_request *r)
{
	struct http_span t = r->target;

	if (t.len == 0)
		return 400;
	for (size_t i = 0; i < t.len; i++) {
		if (t.p[i] <= ' ' || t.p[i] > '~' || t.p[i] == '#')
			return 400;
	}
	if (r->method == HTTP_CONNECT) {
		r->form = HTTP_FORM_AUTHORITY;
		r->path = (struct http_span){t.p, 0};
		if (!read_authority(t, &r->host, &r->port) || r->host.len == 0 || r->port == 0)
			return 400;
		return 0;
	}
	if (*t.p == '/') {
		r->form = HTTP_FORM_ORIGIN;
		read_path(r, t);
		return 0;
	}
	if (http_is(t, "*")) {
		r->form = HTTP_FORM_ASTERISK;
		r->path = t;
		return r->method == HTTP_OPTIONS ? 0 : 400;
	}
	return read_absolute(r);
}

static enum http_method find_method(struct http_span s)
{
#define X(id, name)           \
	if (http_is(s, name)) \
		return id;
	HTTP_METHODS(X)
#undef X
	return HTTP_OTHER;
}

static int read_request_line(struct http_request *r, struct http_span line)
{
	struct http_span v;

	r->method_name = cut(&line, ' ');
	r->target = cut(&line, ' ');
	v = line;
	if (!is_token(r->method_name))
		return 400;
	if (v.len != 8 || memcmp(v.p, "HTTP/", 5) != 0 || !is_digit(v.p[5]) || v.p[6] != '.' ||
	    !is_digit(v.p[7]))
		return 400;
	if (v.p[5] != '1')
		return 505;
	r->minor = v.p[7] == '0' ? 0 : 1;
	r->method = find_method(r->method_name);
	return read_target(r);
}

static enum field find_field(struct http_span name)
{
	for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
		if (http_is_nocase(name, fields[i].name))
			return (enum field)i;
	}
	return FIELD_OTHER;
}

static int read_content_length(struct http_request *r, struct http_span v, bool again)
{
	uint32_t n;

	if (!read_number(v, &n))
		return 400;
	if (n > HTTP_BODY_MAX)
		return 413;
	if (again && n != r->content_length)
		return 400;
	r->content_length = n;
	return 0;
}

static void read_connection(struct http_request *r, struct http_span v)
{
	r->conn_close |= http_list_has(v, "close");
	r->conn_keep_alive |= http_list_has(v, "keep-alive");
	r->conn_upgrade |= http_list_has(v, "upgrade");
}

static void read_upgrade(struct http_request *r, struct http_span v)
{
	struct http_span item;

	while (r->upgrade == HTTP_UPGRADE_NONE && http_list_next(&v, &item)) {
		item = cut(&item, '/'); /* a version may follow */
		if (http_is_nocase(item, "derp"))
			r->upgrade = HTTP_UPGRADE_DERP;
		else if (http_is_nocase(item, "websocket"))
			r->upgrade = HTTP_UPGRADE_WEBSOCKET;
	}
}

static void read_ws_protocol(struct http_request *r, struct http_span v)
{
	struct http_span item;

	while (!r->ws_protocol.p && http_list_next(&v, &item)) {
		if (http_is_nocase(item, "derp"))
			r->ws_protocol = item;
	}
}

static int read_host(struct http_request *r, struct http_span v)
{
	struct http_span host;
	uint16_t port;

	if (!read_authority(v, &host, &port))
		return 400;
	/* The target's own wins (RFC 9112 3.2.2). */
	if (!r->host.p) {
		r->host = host;
		r->port = port;
	}
	return 0;
}

static int read_field(struct http_request *r, enum field id, struct http_span v, bool again)
{
	uint32_t n;

	switch (id) {
	case FIELD_CONNECTION:
		read_connection(r, v);
		break;
	case FIELD_CONTENT_LENGTH:
		return read_content_length(r, v, again);
	case FIELD_EXPECT:
		r->expect = true;
		break;
	case FIELD_FAST_START:
		r->fast_start = http_is(v, "1");
		break;
	case FIELD_FORWARDED_FOR:
		r->forwarded = true;
		break;
	case FIELD_HOST:
		return read_host(r, v);
	case FIELD_IDEAL_NODE:
		r->ideal_node = v;
		break;
	case FIELD_ORIGIN:
		r->origin = v;
		break;
	case FIELD_CHALLENGE:
		r->challenge = v;
		break;
	case FIELD_UPGRADE:
		read_upgrade(r, v);
		break;
	case FIELD_WS_KEY:
		r->ws_key = v;
		break;
	case FIELD_WS_PROTOCOL:
		read_ws_protocol(r, v);
		break;
	case FIELD_WS_VERSION:
		r->ws_version = read_number(v, &n) && n <= 255 ? (int)n : -1;
		break;
	case FIELD_TRANSFER_ENCODING: /* its being there decides: see check_whole */
	case FIELD_OTHER:
		break;
	}
	return 0;
}

static int read_line(struct http_request *r, struct http_span line)
{
	const char *colon = memchr(line.p, ':', line.len);
	struct http_span name = {line.p, colon ? (size_t)(colon - line.p) : 0};
	enum field id;
	bool again;

	/* Refuses folded lines and space in front of the colon too: neither is a token. */
	if (!is_token(name))
		return 400;
	id = find_field(name);
	if (id == FIELD_OTHER)
		return 0;
	again = r->state.seen & 1u << id;
	r->state.seen |= 1u << id;
	if (again && fields[id].often == ONCE)
		return 400;
	if (again && fields[id].often == FIRST)
		return 0;
	cut(&line, ':');
	return read_field(r, id, trim(line), again);
}

/* What only the whole head tells. */
static int check_whole(struct http_request *r)
{
	uint32_t seen = r->state.seen;

	if (r->minor > 0 && !(seen & 1u << FIELD_HOST))
		return 400;
	/* RFC 9112 6.1: with a length beside it, or from a client that can't know it, it is an
	 * attack or a mistake; else it is a coding that we don't do. */
	if (seen & 1u << FIELD_TRANSFER_ENCODING)
		return r->minor == 0 || seen & 1u << FIELD_CONTENT_LENGTH ? 400 : 501;
	if (r->minor == 0 || r->content_length > 0)
		r->upgrade = HTTP_UPGRADE_NONE;
	r->keep_alive = !r->conn_close && !r->expect && (r->minor > 0 || r->conn_keep_alive);
	return 0;
}

/* The lines' ends are known to be CRLF, and no other CR to be there. */
static struct http_span next_line(struct http_span *rest)
{
	struct http_span line = cut(rest, '\r');

	rest->p++;
	rest->len--;
	return line;
}

void http_request_init(struct http_request *r)
{
	*r = (struct http_request){0};
}

enum http_result http_parse(const char *buf, size_t len, struct http_request *r)
{
	struct http_span rest;
	int status;

	if (r->state.result != HTTP_MORE)
		return r->state.result;
	if (find_end(buf, len, r) != HTTP_DONE)
		return r->state.result;
	/* All lines, without the empty one at the end. */
	rest = (struct http_span){buf + r->state.start, r->head_len - r->state.start - 2};
	status = read_request_line(r, next_line(&rest));
	r->fields = rest;
	while (status == 0 && rest.len)
		status = read_line(r, next_line(&rest));
	if (status == 0)
		status = check_whole(r);
	if (status != 0)
		return bad(r, status);
	r->state.result = HTTP_DONE;
	return HTTP_DONE;
}

bool http_field(const struct http_request *r, const char *name, struct http_span *value)
{
	struct http_span rest = r->fields;

	while (rest.len) {
		struct http_span line = next_line(&rest);
		struct http_span found = cut(&line, ':');

		if (http_is_nocase(found, name)) {
			*value = trim(line);
			return true;
		}
	}
	return false;
}

/* Queries. */

/* Takes one character off *s and undoes its escape: a byte, -1 at the end, -2 when it is broken. */
static int unescape(struct http_span *s)
{
	char c;
	int high, low;

	if (s->len == 0)
		return -1;
	c = *s->p++;
	s->len--;
	if (c == '+')
		return ' ';
	if (c != '%')
		return (unsigned char)c;
	if (s->len < 2)
		return -2;
	high = hex_value(s->p[0]);
	low = hex_value(s->p[1]);
	if (high < 0 || low < 0)
		return -2;
	s->p += 2;
	s->len -= 2;
	return high << 4 | low;
}

static bool query_name_is(struct http_span s, const char *name)
{
	for (; *name; name++) {
		if (unescape(&s) != (unsigned char)*name)
			return false;
	}
	return s.len == 0;
}

static int query_value(struct http_span s, char *out, size_t cap)
{
	size_t n = 0;
	int c;

	while ((c = unescape(&s)) > 0 && n + 1 < cap)
		out[n++] = (char)c;
	out[c == -1 ? n : 0] = '\0';
	return c == -1 ? (int)n : HTTP_QUERY_BAD;
}

int http_query_get(struct http_span query, const char *name, char *out, size_t cap)
{
	CHECK(cap > 0);
	out[0] = '\0';
	while (query.len) {
		struct http_span value = cut(&query, '&');
		struct http_span found = cut(&value, '=');

		if (query_name_is(found, name))
			return query_value(value, out, cap);
	}
	return HTTP_QUERY_ABSENT;
}
