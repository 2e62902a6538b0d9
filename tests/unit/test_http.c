/* SPDX-License-Identifier: BSD-3-Clause */
/* Heads of requests: what is found in good ones, what is refused, and that splits don't matter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/http.h"

#define HOST "Host: a\r\n"

static void assert_span(struct http_span s, const char *expected)
{
	if (!http_is(s, expected))
		fail_msg("\"%.*s\" is not \"%s\"", (int)s.len, s.p ? s.p : "", expected);
}

/* Parses text at once; then byte by byte, which must give the same. */
static enum http_result parse_bytes(const char *text, size_t len, struct http_request *r)
{
	struct http_request split;
	enum http_result whole, result = HTTP_MORE;
	size_t n = 0;

	http_request_init(r);
	whole = http_parse(text, len, r);
	http_request_init(&split);
	while (result == HTTP_MORE && n <= len)
		result = http_parse(text, n++, &split);
	assert_int_equal(result, whole);
	assert_int_equal(split.status, r->status);
	assert_int_equal(split.head_len, r->head_len);
	if (whole == HTTP_DONE) {
		assert_int_equal(n - 1, r->head_len);
		assert_ptr_equal(split.path.p, r->path.p);
		assert_int_equal(split.path.len, r->path.len);
	}
	return whole;
}

static void parse(const char *text, struct http_request *r)
{
	enum http_result result = parse_bytes(text, strlen(text), r);

	if (result != HTTP_DONE)
		fail_msg("%s: result %d, status %d", text, result, r->status);
}

static void assert_status(const char *text, int status)
{
	struct http_request r;
	enum http_result result = parse_bytes(text, strlen(text), &r);

	if (result != HTTP_BAD || r.status != status)
		fail_msg("%s: result %d, status %d", text, result, r.status);
}

/* A request with this field is refused with this status. */
static void assert_field_status(const char *field, int status)
{
	char text[512];

	snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST "%s\r\n\r\n", field);
	assert_status(text, status);
}

static void parse_field(const char *field, struct http_request *r)
{
	static char text[512];

	snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n" HOST "%s\r\n\r\n", field);
	parse(text, r);
}

static void test_derp(void **state)
{
	static const char text[] = "GET /derp HTTP/1.1\r\n"
				   "Host: derp.example.com\r\n"
				   "User-Agent: Go-http-client/1.1\r\n"
				   "Connection: Upgrade\r\n"
				   "Derp-Fast-Start: 1\r\n"
				   "Ideal-Node: 1b\r\n"
				   "Upgrade: DERP\r\n"
				   "\r\n";
	char with_frame[sizeof(text) + 5];
	struct http_request r;
	struct http_span v;

	memcpy(with_frame, text, sizeof(text) - 1);
	memcpy(with_frame + sizeof(text) - 1, "\2\0\0\1\0", 5);
	assert_int_equal(parse_bytes(with_frame, sizeof(text) + 4, &r), HTTP_DONE);
	assert_int_equal(r.head_len, sizeof(text) - 1);
	assert_int_equal(r.method, HTTP_GET);
	assert_span(r.method_name, "GET");
	assert_int_equal(r.form, HTTP_FORM_ORIGIN);
	assert_int_equal(r.minor, 1);
	assert_span(r.target, "/derp");
	assert_span(r.path, "/derp");
	assert_null(r.query.p);
	assert_span(r.host, "derp.example.com");
	assert_int_equal(r.port, 0);
	assert_true(r.keep_alive && r.conn_upgrade && r.fast_start);
	assert_false(r.forwarded || r.expect || r.conn_close);
	assert_int_equal(r.upgrade, HTTP_UPGRADE_DERP);
	assert_span(r.ideal_node, "1b");
	assert_null(r.ws_protocol.p);
	assert_true(http_field(&r, "user-AGENT", &v));
	assert_span(v, "Go-http-client/1.1");
	assert_true(http_field(&r, "upgrade", &v));
	assert_span(v, "DERP");
	assert_false(http_field(&r, "user", &v));
	assert_false(http_field(&r, "", &v));
}

static void test_websocket(void **state)
{
	struct http_request r;

	parse("GET /derp HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
	      "upgrade: h2c, WebSocket\r\nOrigin: https://b\r\nSec-WebSocket-Version: 13\r\n"
	      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	      "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: x,Derp , y\r\n\r\n",
	    &r);
	assert_int_equal(r.upgrade, HTTP_UPGRADE_WEBSOCKET);
	assert_true(r.conn_upgrade && r.conn_keep_alive);
	assert_int_equal(r.ws_version, 13);
	assert_span(r.ws_key, "dGhlIHNhbXBsZSBub25jZQ==");
	assert_span(r.ws_protocol, "Derp");
	assert_span(r.origin, "https://b");

	parse_field("Sec-WebSocket-Protocol: derper, xderp", &r);
	assert_null(r.ws_protocol.p);
	parse_field("Sec-WebSocket-Version: 1x", &r);
	assert_int_equal(r.ws_version, -1);
	parse_field("Sec-WebSocket-Version: 256", &r);
	assert_int_equal(r.ws_version, -1);
	assert_field_status("Sec-WebSocket-Key: a\r\nSec-WebSocket-Key: a", 400);
	assert_field_status("Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8", 400);
}

static void test_upgrade(void **state)
{
	struct http_request r;

	parse_field("Upgrade: derp/2, websocket", &r);
	assert_int_equal(r.upgrade, HTTP_UPGRADE_DERP);
	assert_false(r.conn_upgrade);
	parse_field("Upgrade: h2c\r\nUpgrade: websocket\r\nUpgrade: derp", &r);
	assert_int_equal(r.upgrade, HTTP_UPGRADE_WEBSOCKET);
	parse_field("Upgrade: derper, xderp, web socket", &r);
	assert_int_equal(r.upgrade, HTTP_UPGRADE_NONE);
	parse_field("Upgrade: derp\r\nContent-Length: 1", &r);
	assert_int_equal(r.upgrade, HTTP_UPGRADE_NONE);
	parse_field("Upgrade: derp\r\nContent-Length: 0", &r);
	assert_int_equal(r.upgrade, HTTP_UPGRADE_DERP);
	parse("GET / HTTP/1.0\r\nUpgrade: derp\r\nConnection: upgrade\r\n\r\n", &r);
	assert_int_equal(r.upgrade, HTTP_UPGRADE_NONE);
}

static void test_keep_alive(void **state)
{
	struct http_request r;

	parse_field("X: y", &r);
	assert_true(r.keep_alive);
	parse_field("Connection: close", &r);
	assert_false(r.keep_alive);
	parse_field("Connection: ,, foo\t,CLOSE ,", &r);
	assert_false(r.keep_alive);
	parse_field("Connection: keep-alive\r\nConnection: close", &r);
	assert_false(r.keep_alive);
	parse_field("Connection: closed, not-close", &r);
	assert_true(r.keep_alive);
	parse_field("Expect: 100-continue\r\nContent-Length: 3", &r);
	assert_true(r.expect);
	assert_false(r.keep_alive);
	parse("GET / HTTP/1.0\r\n\r\n", &r);
	assert_false(r.keep_alive);
	assert_int_equal(r.minor, 0);
	assert_null(r.host.p);
	parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &r);
	assert_true(r.keep_alive);
}

static void test_simple_fields(void **state)
{
	struct http_request r;

	parse_field("X-Tailscale-Challenge: \t ts_1.2.3.4 \t ", &r);
	assert_span(r.challenge, "ts_1.2.3.4");
	parse_field("X-Forwarded-For:", &r);
	assert_true(r.forwarded);
	parse_field("Derp-Fast-Start: 10", &r);
	assert_false(r.fast_start);
	parse_field("Ideal-Node: x\r\nIdeal-Node: y\r\nORIGIN: \xc3\xa9", &r);
	assert_span(r.ideal_node, "x");
	assert_span(r.origin, "\xc3\xa9");
	parse_field("Ideal-Node:", &r);
	assert_non_null(r.ideal_node.p);
	assert_int_equal(r.ideal_node.len, 0);
}

static void test_methods(void **state)
{
	struct http_request r;

	parse("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", &r);
	assert_int_equal(r.method, HTTP_HEAD);
	parse("POST / HTTP/1.1\r\nHost: a\r\n\r\n", &r);
	assert_int_equal(r.method, HTTP_POST);
	parse("get / HTTP/1.1\r\nHost: a\r\n\r\n", &r);
	assert_int_equal(r.method, HTTP_OTHER);
	parse("M-SEARCH! / HTTP/1.9\r\nHost: a\r\n\r\n", &r);
	assert_int_equal(r.method, HTTP_OTHER);
	assert_span(r.method_name, "M-SEARCH!");
	assert_int_equal(r.minor, 1);
}

static void test_targets(void **state)
{
	struct http_request r;

	parse("GET /a/b?x=1?&y HTTP/1.1\r\nHost: a:8080\r\n\r\n", &r);
	assert_span(r.path, "/a/b");
	assert_span(r.query, "x=1?&y");
	assert_span(r.host, "a");
	assert_int_equal(r.port, 8080);
	parse("GET /? HTTP/1.1\r\nHost: [2001:DB8::1]:443\r\n\r\n", &r);
	assert_span(r.path, "/");
	assert_non_null(r.query.p);
	assert_int_equal(r.query.len, 0);
	assert_span(r.host, "[2001:DB8::1]");
	assert_int_equal(r.port, 443);
	parse("GET //x HTTP/1.1\r\nHost:\r\n\r\n", &r);
	assert_span(r.path, "//x");
	assert_non_null(r.host.p);
	assert_int_equal(r.host.len, 0);

	parse("GET HTTP://b.example:81/p?q HTTP/1.1\r\nHost: a:82\r\n\r\n", &r);
	assert_int_equal(r.form, HTTP_FORM_ABSOLUTE);
	assert_span(r.host, "b.example");
	assert_int_equal(r.port, 81);
	assert_span(r.path, "/p");
	assert_span(r.query, "q");
	parse("GET https://b HTTP/1.1\r\nHost: a:82\r\n\r\n", &r);
	assert_span(r.path, "/");
	assert_null(r.query.p);
	assert_int_equal(r.port, 0);
	parse("GET https://b:?q=/ HTTP/1.1\r\nHost: a\r\n\r\n", &r);
	assert_span(r.path, "/");
	assert_span(r.query, "q=/");
	assert_span(r.host, "b");

	parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", &r);
	assert_int_equal(r.form, HTTP_FORM_ASTERISK);
	assert_span(r.path, "*");
	parse("CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", &r);
	assert_int_equal(r.method, HTTP_CONNECT);
	assert_int_equal(r.form, HTTP_FORM_AUTHORITY);
	assert_span(r.target, "b:443");
	assert_span(r.host, "b");
	assert_int_equal(r.port, 443);
	assert_non_null(r.path.p);
	assert_int_equal(r.path.len, 0);
}

static void test_bad_request_lines(void **state)
{
	static const char *const bad[] = {"GET", "GET /", "GET / ", "GET  / HTTP/1.1",
	    "GET /  HTTP/1.1", "GET / HTTP/1.1 ", " GET / HTTP/1.1", "GET\t/\tHTTP/1.1",
	    "G@T / HTTP/1.1", "GET x HTTP/1.1", "GET * HTTP/1.1", "GET /a b HTTP/1.1",
	    "GET /\xc3\xa9 HTTP/1.1", "GET /#x HTTP/1.1", "GET / HTTP/1", "GET / HTTP/1.",
	    "GET / HTTP/1.1x", "GET / HTTP/11.1", "GET / http/1.1", "GET / HTTP/x.1",
	    "GET / HTTPS/1.1", " ", "GET ftp://b/ HTTP/1.1", "GET http:/b HTTP/1.1",
	    "GET http:// HTTP/1.1", "GET http:///p HTTP/1.1", "GET http://u@b/ HTTP/1.1",
	    "GET http://b:x/ HTTP/1.1", "GET http://b:65536/ HTTP/1.1", "GET http: HTTP/1.1",
	    "GET http HTTP/1.1", "CONNECT b HTTP/1.1", "CONNECT b: HTTP/1.1",
	    "CONNECT :443 HTTP/1.1", "CONNECT / HTTP/1.1", "CONNECT http://b/ HTTP/1.1",
	    "CONNECT b:443/ HTTP/1.1", "CONNECT u@b:443 HTTP/1.1", "CONNECT [::1:443 HTTP/1.1"};
	char text[256];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(text, sizeof(text), "%s\r\n" HOST "\r\n", bad[i]);
		assert_status(text, 400);
	}
	assert_status("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
	assert_status("GET / HTTP/0.9\r\n\r\n", 505);
	assert_status("GET / HTTP/3.1\r\n\r\n", 505);
}

static void test_empty_lines(void **state)
{
	struct http_request r;

	parse("\r\nGET / HTTP/1.0\r\n\r\n", &r);
	assert_span(r.path, "/");
	assert_status("\r\n\r\n", 400);
	assert_status("\r\n\r\nGET / HTTP/1.0\r\n\r\n", 400);
}

static void test_host(void **state)
{
	static const char *const bad[] = {"a b", "a/b", "a:b", "a:1:2", "a,b", "u@a", "a:65536",
	    "[::1", "[]", "[::g]", "[::1]x", "::1", "a\\b", "a?b", "\xc3\xa9", "\"a\"", "<a>",
	    "a:99999999999999999999", "a:-1"};
	char text[256];
	struct http_request r;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		bool fine = strcmp(bad[i], "a,b") == 0; /* odd, but RFC 3986's reg-name */

		snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
		if (fine)
			parse(text, &r);
		else
			assert_status(text, 400);
	}
	assert_status("GET / HTTP/1.1\r\n\r\n", 400);
	assert_status("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
	assert_status("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", 400);
	assert_status("GET http://b/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400);
	assert_status("GET http://b/ HTTP/1.1\r\n\r\n", 400);
	parse("GET / HTTP/1.1\r\nHost: a_b-c.d~%41:\r\n\r\n", &r);
	assert_span(r.host, "a_b-c.d~%41");
}

static void test_bad_fields(void **state)
{
	static const char *const bad[] = {" X: folded", "\tX: folded", "X: a\r\n b", "X : a",
	    "X\t: a", ": a", "X", "X a", "X\xc3\xa9: a", "X(: a", "X: a\rb", "X: a\nb", "X: a\x01",
	    "X: a\x7f", "X: a\r\r", "\n", "X: \v"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_field_status(bad[i], 400);
	assert_status("GET / HTTP/1.1\nHost: a\n\n", 400);
	assert_status("GET / HTTP/1.1\r\nHost: a\r\n\n", 400);
	assert_status("GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400);
}

/* Refused at the byte, not at the end of a head that never comes. */
static void test_early(void **state)
{
	static const char nul[] = "GET / HTTP/1.1\r\nHost: a\0";
	struct http_request r;

	assert_status("\x16\x03\x01\x02", 400);
	assert_status("\n", 400);
	assert_status("GET / HTTP/1.1\rx", 400);
	assert_int_equal(parse_bytes(nul, sizeof(nul) - 1, &r), HTTP_BAD);
	assert_int_equal(r.status, 400);
	/* A verdict stays. */
	assert_int_equal(http_parse("GET / HTTP/1.0\r\n\r\n", 18, &r), HTTP_BAD);
}

static void test_bodies(void **state)
{
	struct http_request r;

	parse_field("Content-Length: 0065536", &r);
	assert_int_equal(r.content_length, 65536);
	parse_field("Content-Length: 5\r\ncontent-length: 5", &r);
	assert_int_equal(r.content_length, 5);
	assert_true(r.keep_alive);
	assert_field_status("Content-Length: 65537", 413);
	assert_field_status("Content-Length: 18446744073709551616", 413);
	assert_field_status("Content-Length: 4294967296", 413);
	assert_field_status("Content-Length: 5\r\nContent-Length: 6", 400);
	assert_field_status("Content-Length: 0\r\nContent-Length: 6", 400);
	assert_field_status("Content-Length: 5, 5", 400);
	assert_field_status("Content-Length:", 400);
	assert_field_status("Content-Length: -1", 400);
	assert_field_status("Content-Length: +1", 400);
	assert_field_status("Content-Length: 0x1", 400);
	assert_field_status("Content-Length: 1 1", 400);
	assert_field_status("Transfer-Encoding: chunked", 501);
	assert_field_status("Transfer-Encoding: identity", 501);
	assert_field_status("Transfer-Encoding:", 501);
	assert_field_status("Transfer-Encoding: chunked\r\nContent-Length: 5", 400);
	assert_field_status("Content-Length: 0\r\nTransfer-Encoding: chunked", 400);
	assert_status("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
}

/* Fields without number, in a string that the caller frees. */
static char *with_fields(int count, size_t pad)
{
	char *text = malloc(HTTP_HEAD_MAX * 2);
	size_t n;

	assert_non_null(text);
	n = (size_t)sprintf(text, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (int i = 1; i < count; i++)
		n += (size_t)sprintf(text + n, "X: %d\r\n", i);
	if (pad) {
		n += (size_t)sprintf(text + n, "P: ");
		memset(text + n, 'p', pad);
		n += pad;
		n += (size_t)sprintf(text + n, "\r\n");
	}
	strcpy(text + n, "\r\n");
	return text;
}

static void test_limits(void **state)
{
	size_t fixed = strlen("GET / HTTP/1.1\r\nHost: a\r\nP: \r\n\r\n");
	struct http_request r;
	char *text;

	text = with_fields(HTTP_FIELDS_MAX, 0);
	parse(text, &r);
	free(text);
	text = with_fields(HTTP_FIELDS_MAX + 1, 0);
	assert_status(text, 431);
	free(text);

	text = with_fields(1, HTTP_HEAD_MAX - fixed);
	parse(text, &r);
	assert_int_equal(r.head_len, HTTP_HEAD_MAX);
	free(text);
	text = with_fields(1, HTTP_HEAD_MAX - fixed + 1);
	assert_status(text, 431);
	/* Known as soon as a buffer of that size is full. */
	http_request_init(&r);
	assert_int_equal(http_parse(text, HTTP_HEAD_MAX - 1, &r), HTTP_MORE);
	assert_int_equal(http_parse(text, HTTP_HEAD_MAX, &r), HTTP_BAD);
	free(text);
}

static void test_long_line(void **state)
{
	static char text[HTTP_LINE_MAX + 64];
	const size_t fixed = strlen("GET / HTTP/1.0");
	struct http_request r;
	size_t n = HTTP_LINE_MAX - fixed;

	memcpy(text, "GET /", 5);
	memset(text + 5, 'x', n);
	strcpy(text + 5 + n, " HTTP/1.0\r\n\r\n");
	parse(text, &r);
	assert_int_equal(r.path.len, n + 1);
	memset(text + 5, 'x', n + 1);
	strcpy(text + 5 + n + 1, " HTTP/1.0\r\n\r\n");
	assert_status(text, 414);
	/* No head, no end: refused all the same. */
	memset(text, 'x', sizeof(text) - 1);
	assert_status(text, 414);
}

/* Each cut of a good head wants more; the buffer may move between calls. */
static void test_truncation(void **state)
{
	static const char text[] = "GET /a?b=c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
	size_t len = sizeof(text) - 1;
	struct http_request r;

	for (size_t n = 0; n < len; n++) {
		char *part = malloc(n + 1);

		assert_non_null(part);
		memcpy(part, text, n);
		http_request_init(&r);
		assert_int_equal(http_parse(part, n, &r), HTTP_MORE);
		free(part);
		assert_int_equal(http_parse(text, len, &r), HTTP_DONE);
		assert_int_equal(r.head_len, len);
		assert_span(r.path, "/a");
		assert_span(r.query, "b=c");
		assert_true(r.conn_close);
	}
}

static void test_lists(void **state)
{
	struct http_span list = {" a ,,b;q=1,\t, C", 15}, item;

	assert_true(http_list_has(list, "A"));
	assert_true(http_list_has(list, "c"));
	assert_true(http_list_has(list, "b;q=1"));
	assert_false(http_list_has(list, "b"));
	assert_false(http_list_has(list, ""));
	assert_false(http_list_has((struct http_span){0}, "a"));
	assert_true(http_list_next(&list, &item));
	assert_span(item, "a");
	assert_true(http_list_next(&list, &item));
	assert_span(item, "b;q=1");
	assert_true(http_list_next(&list, &item));
	assert_span(item, "C");
	assert_false(http_list_next(&list, &item));
	assert_true(http_is_nocase((struct http_span){"aZ-9", 4}, "Az-9"));
	assert_false(http_is_nocase((struct http_span){"[", 1}, "{"));
	assert_false(http_is((struct http_span){"ab", 2}, "a"));
}

static int query(const char *text, const char *name, char *out, size_t cap)
{
	return http_query_get((struct http_span){text, strlen(text)}, name, out, cap);
}

static void test_query(void **state)
{
	char out[8];

	assert_int_equal(query("a=1&limit=20&limit=30", "limit", out, sizeof(out)), 2);
	assert_string_equal(out, "20");
	assert_int_equal(query("a=1&b=2", "c", out, sizeof(out)), HTTP_QUERY_ABSENT);
	assert_string_equal(out, "");
	assert_int_equal(query("", "a", out, sizeof(out)), HTTP_QUERY_ABSENT);
	assert_int_equal(
	    http_query_get((struct http_span){0}, "a", out, sizeof(out)), HTTP_QUERY_ABSENT);
	assert_int_equal(query("flag", "flag", out, sizeof(out)), 0);
	assert_int_equal(query("flag=&x", "flag", out, sizeof(out)), 0);
	assert_int_equal(query("&&=v&a==%3d", "a", out, sizeof(out)), 2);
	assert_string_equal(out, "==");
	assert_int_equal(query("a=x+y%20%2B%c3", "a", out, sizeof(out)), 6);
	assert_string_equal(out, "x y +\xc3");
	assert_int_equal(query("%61+%62=1", "a b", out, sizeof(out)), 1);
	assert_int_equal(query("A=1&ab=2&=3", "a", out, sizeof(out)), HTTP_QUERY_ABSENT);

	/* Exactly its room; one too many. */
	assert_int_equal(query("a=1234567", "a", out, sizeof(out)), 7);
	assert_string_equal(out, "1234567");
	assert_int_equal(query("a=12345678", "a", out, sizeof(out)), HTTP_QUERY_BAD);
	assert_string_equal(out, "");
	assert_int_equal(query("a=", "a", out, 1), 0);
	assert_int_equal(query("a=1", "a", out, 1), HTTP_QUERY_BAD);

	assert_int_equal(query("a=%", "a", out, sizeof(out)), HTTP_QUERY_BAD);
	assert_int_equal(query("a=%4", "a", out, sizeof(out)), HTTP_QUERY_BAD);
	assert_int_equal(query("a=%4g", "a", out, sizeof(out)), HTTP_QUERY_BAD);
	assert_int_equal(query("a=x%00", "a", out, sizeof(out)), HTTP_QUERY_BAD);
	assert_int_equal(query("%zz=1&a=2", "a", out, sizeof(out)), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_derp),
	    cmocka_unit_test(test_websocket),
	    cmocka_unit_test(test_upgrade),
	    cmocka_unit_test(test_keep_alive),
	    cmocka_unit_test(test_simple_fields),
	    cmocka_unit_test(test_methods),
	    cmocka_unit_test(test_targets),
	    cmocka_unit_test(test_bad_request_lines),
	    cmocka_unit_test(test_empty_lines),
	    cmocka_unit_test(test_host),
	    cmocka_unit_test(test_bad_fields),
	    cmocka_unit_test(test_early),
	    cmocka_unit_test(test_bodies),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_long_line),
	    cmocka_unit_test(test_truncation),
	    cmocka_unit_test(test_lists),
	    cmocka_unit_test(test_query),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
