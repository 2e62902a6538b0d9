/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers: their lines, their chunks, what happens when the buffer is full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "wire/http_out.h"

#define SPAN(text) ((struct http_span){(text), sizeof(text) - 1})

static void assert_holds(const struct http_out *o, const char *expected)
{
	assert_false(o->overflow);
	assert_int_equal(o->len, strlen(expected));
	assert_memory_equal(o->p, expected, o->len);
}

static void test_head(void **state)
{
	char buf[512];
	struct http_out o;

	http_out_init(&o, buf, sizeof(buf));
	http_put_status(&o, 200);
	http_put_date(&o, 784111777999u);
	http_put_length(&o, 18446744073709551615u);
	http_put_field(&o, "Content-Type", "text/plain");
	http_put_fieldf(&o, "X-Numbers", "%d %s", 7, "eight");
	http_put_field_span(&o, "X-Tailscale-Response", SPAN("response x"));
	http_put_field_span(&o, "X-Empty", (struct http_span){0});
	http_put_connection(&o, false);
	http_put_end(&o);
	http_put(&o, "body", 4);
	assert_holds(&o, "HTTP/1.1 200 OK\r\n"
			 "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" /* RFC 9110's own example */
			 "Content-Length: 18446744073709551615\r\n"
			 "Content-Type: text/plain\r\n"
			 "X-Numbers: 7 eight\r\n"
			 "X-Tailscale-Response: response x\r\n"
			 "X-Empty: \r\n"
			 "Connection: close\r\n"
			 "\r\n"
			 "body");
}

static void test_dates(void **state)
{
	char buf[64];
	struct http_out o;

	http_out_init(&o, buf, sizeof(buf));
	http_put_date(&o, 0);
	assert_holds(&o, "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
	http_out_init(&o, buf, sizeof(buf));
	http_put_date(&o, 1709164799000u);
	assert_holds(&o, "Date: Wed, 28 Feb 2024 23:59:59 GMT\r\n");
	http_out_init(&o, buf, sizeof(buf));
	http_put_date(&o, 1709164800000u);
	assert_holds(&o, "Date: Thu, 29 Feb 2024 00:00:00 GMT\r\n");
}

static void test_reasons(void **state)
{
	static const int sent[] = {
	    101, 200, 204, 302, 400, 403, 404, 405, 413, 414, 426, 431, 500, 501, 503, 505};

	for (size_t i = 0; i < ARRAY_LEN(sent); i++)
		assert_string_not_equal(http_reason(sent[i]), "Unknown");
	assert_string_equal(http_reason(299), "Unknown");
	assert_string_equal(http_reason(426), "Upgrade Required");
}

/* No value can begin a line of its own. */
static void test_injection(void **state)
{
	char buf[256];
	struct http_out o;

	http_out_init(&o, buf, sizeof(buf));
	http_put_field(&o, "Location", "https://x/\r\nSet-Cookie: a=b");
	http_put_field_span(&o, "A", SPAN("\t\0\x7f\x1f\xc3\xa9"));
	http_put_fieldf(&o, "B", "%s", "\n\n");
	assert_holds(&o, "Location: https://x/??Set-Cookie: a=b\r\n"
			 "A: \t???\xc3\xa9\r\n"
			 "B: ??\r\n");
}

static void test_chunks(void **state)
{
	char buf[128];
	struct http_out o;
	size_t mark;

	http_out_init(&o, buf, sizeof(buf));
	http_put_chunked(&o);
	http_put_end(&o);
	mark = http_chunk_begin(&o);
	http_putf(&o, "%s, %s", "hello", "world.....");
	http_chunk_end(&o, mark);
	mark = http_chunk_begin(&o);
	http_chunk_end(&o, mark);
	mark = http_chunk_begin(&o);
	http_put(&o, "x", 1);
	http_chunk_end(&o, mark);
	http_put_last_chunk(&o);
	assert_holds(&o, "Transfer-Encoding: chunked\r\n\r\n"
			 "00000011\r\nhello, world.....\r\n"
			 "00000001\r\nx\r\n"
			 "0\r\n\r\n");
}

static void write_all(struct http_out *o)
{
	size_t mark;

	http_put_status(o, 404);
	http_put_field(o, "Content-Type", "text/plain");
	http_put_fieldf(o, "X", "%08d", 5);
	http_put_date(o, 0);
	http_put_end(o);
	mark = http_chunk_begin(o);
	http_putf(o, "%s", "hello");
	http_chunk_end(o, mark);
	http_put_last_chunk(o);
}

/* With too little room, whichever piece it is that doesn't fit: it is said, and nothing is written
 * past the end; what was written before is whole. */
static void test_overflow(void **state)
{
	char whole[512], buf[512];
	struct http_out o;
	size_t need;

	http_out_init(&o, whole, sizeof(whole));
	write_all(&o);
	assert_false(o.overflow);
	need = o.len;
	for (size_t cap = 0; cap <= need; cap++) {
		memset(buf, '#', sizeof(buf));
		http_out_init(&o, buf, cap);
		write_all(&o);
		assert_int_equal(o.overflow, cap < need);
		assert_true(o.len <= cap);
		for (size_t i = cap; i < sizeof(buf); i++)
			assert_int_equal(buf[i], '#');
	}
	http_out_init(&o, NULL, 0);
	http_put(&o, "", 0);
	assert_false(o.overflow);
	http_put(&o, "x", 1);
	assert_true(o.overflow);
	assert_int_equal(o.len, 0);
}

static void test_ws_accept(void **state)
{
	static const char *const bad[] = {"", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ",
	    "dGhlIHNhbXBsZSBub25jZQ==\n", "dGhlIHNhbXBsZSBub25jZR==", "dGhlIHNhbXBsZSBub25jZTEy",
	    "dGhlIHNhbXBsZSBub25jZTE=", "dGhlIHNhbXBsZSBub25j-_==", "========================",
	    "dGhl IHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25=ZQ=="};
	char out[HTTP_WS_ACCEPT_LEN];

	/* RFC 6455 1.3's own example */
	assert_true(http_ws_accept(SPAN("dGhlIHNhbXBsZSBub25jZQ=="), out));
	assert_string_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	assert_true(http_ws_accept(SPAN("AAAAAAAAAAAAAAAAAAAAAA=="), out));
	assert_string_equal(out, "ICX+Yqv66kxgM0FcWaLWlFLwTAI=");
	assert_false(http_ws_accept((struct http_span){0}, out));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		if (http_ws_accept((struct http_span){bad[i], strlen(bad[i])}, out))
			fail_msg("taken: %s", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_head),
	    cmocka_unit_test(test_dates),
	    cmocka_unit_test(test_reasons),
	    cmocka_unit_test(test_injection),
	    cmocka_unit_test(test_chunks),
	    cmocka_unit_test(test_overflow),
	    cmocka_unit_test(test_ws_accept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
