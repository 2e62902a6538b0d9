/* SPDX-License-Identifier: BSD-3-Clause */
/* Heads of HTTP requests: the verdict is the same however the bytes are split and wherever they
 * lie, spans lie inside the head, and what is built from a request keeps its limits and its lines.
 */
#include "fuzz.h"

#include <stdlib.h>

#include "wire/http.h"
#include "wire/http_out.h"

static void check_span(const struct http_request *r, const char *buf, struct http_span s)
{
	if (!s.p) {
		CHECK(s.len == 0);
		return;
	}
	CHECK(s.p >= buf && s.p + s.len <= buf + r->head_len);
	CHECK(s.len == 0 || (!memchr(s.p, '\n', s.len) || s.p == r->fields.p));
}

static void check_spans(const struct http_request *r, const char *buf)
{
	check_span(r, buf, r->fields);
	check_span(r, buf, r->method_name);
	check_span(r, buf, r->target);
	check_span(r, buf, r->path);
	check_span(r, buf, r->query);
	check_span(r, buf, r->host);
	check_span(r, buf, r->ideal_node);
	check_span(r, buf, r->challenge);
	check_span(r, buf, r->origin);
	check_span(r, buf, r->ws_key);
	check_span(r, buf, r->ws_protocol);
	CHECK(r->method_name.len && r->target.len && r->path.p);
	CHECK(r->form == HTTP_FORM_AUTHORITY || r->path.len);
}

static void check_sense(const struct http_request *r)
{
	CHECK(r->head_len <= HTTP_HEAD_MAX && r->content_length <= HTTP_BODY_MAX);
	CHECK(r->minor == 0 || (r->minor == 1 && r->host.p));
	CHECK(!(r->keep_alive && (r->conn_close || r->expect)));
	CHECK(r->upgrade == HTTP_UPGRADE_NONE || (r->minor == 1 && r->content_length == 0));
	CHECK((r->form == HTTP_FORM_AUTHORITY) == (r->method == HTTP_CONNECT));
}

/* In memory of its own size: behind the query lies the rest of the head, where one byte too far
 * would not be seen. */
static void check_query(struct http_span query)
{
	static const char *const names[] = {"limit", "q", "debugkey", "a b", ""};
	char *copy = must_alloc(query.len);
	char out[24];

	if (query.len)
		memcpy(copy, query.p, query.len);
	for (size_t i = 0; i < 2 * ARRAY_LEN(names); i++) {
		size_t cap = i % 2 ? sizeof(out) : 1;
		int n = http_query_get((struct http_span){copy, query.len}, names[i / 2], out, cap);

		CHECK(n < (int)cap && n >= HTTP_QUERY_BAD);
		CHECK(strnlen(out, cap) == (n < 0 ? 0 : (size_t)n));
	}
	free(copy);
}

/* An answer that repeats what the client sent holds exactly the lines that we wrote. */
static void check_answer(const struct http_request *r, const struct http_span fields[3])
{
	char buf[2048], accept[HTTP_WS_ACCEPT_LEN];
	struct http_out o;
	size_t lines = 0;

	http_out_init(&o, buf, sizeof(buf));
	http_put_status(&o, 302);
	for (int i = 0; i < 3; i++)
		http_put_field_span(&o, "X-Echo", fields[i]);
	http_put_end(&o);
	CHECK(o.len <= sizeof(buf));
	for (size_t i = 0; i < o.len; i++)
		lines += buf[i] == '\n';
	CHECK(o.overflow || lines == 5);
	if (http_ws_accept(r->ws_key, accept))
		CHECK(r->ws_key.len == 24 && strlen(accept) == HTTP_WS_ACCEPT_LEN - 1);
}

static void check_same(const struct http_request *a, const char *buf_a,
    const struct http_request *b, const char *buf_b)
{
	const struct http_span spans[][2] = {
	    {a->fields, b->fields},
	    {a->method_name, b->method_name},
	    {a->target, b->target},
	    {a->path, b->path},
	    {a->query, b->query},
	    {a->host, b->host},
	    {a->ideal_node, b->ideal_node},
	    {a->challenge, b->challenge},
	    {a->origin, b->origin},
	    {a->ws_key, b->ws_key},
	    {a->ws_protocol, b->ws_protocol},
	};

	CHECK(a->status == b->status && a->head_len == b->head_len);
	if (a->status)
		return;
	for (size_t i = 0; i < ARRAY_LEN(spans); i++) {
		CHECK(spans[i][0].len == spans[i][1].len && !spans[i][0].p == !spans[i][1].p);
		CHECK(!spans[i][0].p || spans[i][0].p - buf_a == spans[i][1].p - buf_b);
	}
	CHECK(a->method == b->method && a->form == b->form && a->minor == b->minor);
	CHECK(a->keep_alive == b->keep_alive && a->content_length == b->content_length);
	CHECK(a->upgrade == b->upgrade && a->conn_upgrade == b->conn_upgrade);
	CHECK(a->port == b->port && a->ws_version == b->ws_version);
}

/* Byte by byte, each time somewhere else (every 61st time, as copying costs). */
static void check_split(
    const struct http_request *whole, enum http_result expected, const char *buf, size_t size)
{
	struct http_request r;
	enum http_result result = HTTP_MORE;
	char *copy = must_alloc(size);

	http_request_init(&r);
	for (size_t n = 0; n <= size && result == HTTP_MORE; n++) {
		if (n % 61 == 0 || n == size) {
			free(copy);
			copy = must_alloc(size);
			if (size)
				memcpy(copy, buf, size);
		}
		result = http_parse(copy, n, &r);
	}
	CHECK(result == expected);
	check_same(whole, buf, &r, copy);
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *buf = (const char *)data;
	struct http_span found = {0};
	struct http_request r;
	enum http_result result;

	http_request_init(&r);
	result = http_parse(buf, size, &r);
	check_split(&r, result, buf, size);
	if (result == HTTP_MORE)
		CHECK(size < HTTP_HEAD_MAX && r.status == 0);
	if (result == HTTP_BAD)
		CHECK(r.status >= 400 && r.status <= 505);
	if (result != HTTP_DONE)
		return 0;
	CHECK(r.status == 0);
	check_spans(&r, buf);
	check_sense(&r);
	check_query(r.query);
	if (r.minor == 1)
		CHECK(http_field(&r, "HOST", &found));
	if (http_field(&r, "user-agent", &found))
		check_span(&r, buf, found);
	check_answer(&r, (struct http_span[3]){r.path, r.challenge, found});
	return 0;
}
