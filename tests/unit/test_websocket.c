/* SPDX-License-Identifier: BSD-3-Clause */
/* WebSocket: every input is fed whole, byte by byte and in odd pieces, and must come out alike. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "wire/websocket.h"

#define FIN 0x80
#define CONT 0
#define TEXT 1
#define BIN 2
#define CLOSE 8
#define PING 9
#define PONG 10

#define STREAM_MAX (1u << 20)
/* Most pieces that one input is cut into. */
#define PIECES_MAX 20000

/* A client's frames, and the bytes of the stream that they should carry. */
struct stream {
	uint8_t *b;
	size_t len;
	uint8_t *want;
	size_t want_len;
};

static void put(uint8_t **b, size_t *len, const void *p, size_t n)
{
	if (!*b)
		*b = malloc(STREAM_MAX);
	assert_true(*len + n <= STREAM_MAX);
	memcpy(*b + *len, p, n);
	*len += n;
}

static void free_stream(struct stream *s)
{
	free(s->b);
	free(s->want);
	*s = (struct stream){0};
}

/* The header of a masked frame; `first` holds FIN, reserved bits and opcode. */
static void put_header(struct stream *s, unsigned first, uint64_t len, const uint8_t mask[4])
{
	uint8_t h[14] = {(uint8_t)first};
	size_t n = 2;

	if (len < 126) {
		h[1] = (uint8_t)len;
	} else {
		h[1] = len < 65536 ? 126 : 127;
		for (int shift = len < 65536 ? 8 : 56; shift >= 0; shift -= 8)
			h[n++] = (uint8_t)(len >> shift);
	}
	h[1] |= 0x80;
	memcpy(h + n, mask, 4);
	put(&s->b, &s->len, h, n + 4);
}

static void frame(struct stream *s, unsigned first, const void *payload, size_t len)
{
	static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
	uint8_t *masked;

	put_header(s, first, len, mask);
	put(&s->b, &s->len, payload, len);
	masked = s->b + s->len - len;
	for (size_t i = 0; i < len; i++)
		masked[i] ^= mask[i % 4];
	if ((first & 15) == BIN || (first & 15) == CONT)
		put(&s->want, &s->want_len, payload, len);
}

/* A payload without short periods. */
static uint8_t *noise(size_t len)
{
	uint8_t *p = malloc(len + 1);
	uint32_t x = 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525 + 1013904223;
		p[i] = (uint8_t)(x >> 24);
	}
	return p;
}

/* Feeds `s` in pieces of `step` bytes, unframed in place or to a place apart, and checks payload,
 * the result at the end, and the last replies. */
static void feed(const struct stream *s, size_t step, bool in_place, enum ws_result want,
    const char *reply, size_t reply_len)
{
	struct websocket *w = ws_new();
	uint8_t *got = malloc(s->len + 1);
	uint8_t last[WS_REPLY_MAX];
	size_t got_len = 0, last_len = 0;
	enum ws_result r = WS_OK;

	for (size_t at = 0; at < s->len; at += step) {
		size_t n = MIN(step, s->len - at);
		/* of just this size: a sanitizer sees what lies outside */
		uint8_t *in = malloc(n), *out = in_place ? in : malloc(n);
		uint8_t now[WS_REPLY_MAX];
		size_t out_len, now_len;

		memcpy(in, s->b + at, n);
		r = ws_open(w, in, n, out, &out_len, now, &now_len, sizeof(now));
		memcpy(got + got_len, out, out_len);
		got_len += out_len;
		if (now_len) {
			last_len = now_len;
			memcpy(last, now, now_len);
		}
		free(in);
		if (!in_place)
			free(out);
	}
	assert_int_equal(r, want);
	assert_int_equal(got_len, s->want_len);
	if (got_len)
		assert_memory_equal(got, s->want, got_len);
	assert_int_equal(last_len, reply_len);
	if (reply_len)
		assert_memory_equal(last, reply, reply_len);
	free(got);
	ws_free(w);
}

static void feed_all_ways(
    const struct stream *s, enum ws_result want, const char *reply, size_t reply_len)
{
	static const size_t steps[] = {1, 2, 3, 7, 100, 4095, 4096, 4097, 65536, SIZE_MAX / 2};

	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		if (s->len / steps[i] > PIECES_MAX)
			continue;
		feed(s, steps[i], false, want, reply, reply_len);
		feed(s, steps[i], true, want, reply, reply_len);
	}
}

static void expect_ok(struct stream *s)
{
	feed_all_ways(s, WS_OK, "", 0);
	free_stream(s);
}

static void expect_error(struct stream *s, const char *reply)
{
	feed_all_ways(s, WS_ERROR, reply, 4);
	free_stream(s);
}

#define PROTOCOL_ERROR "\x88\x02\x03\xea" /* 1002 */
#define UNSUPPORTED "\x88\x02\x03\xeb"    /* 1003 */

/* RFC 6455 §5.7, its masked samples in a binary message. */
static void test_rfc_sample(void **state)
{
	struct stream s = {0};

	put(&s.b, &s.len, "\x82\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
	put(&s.want, &s.want_len, "Hello", 5);
	expect_ok(&s);
	put(&s.b, &s.len, "\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
	feed_all_ways(&s, WS_OK, "\x8a\x05Hello", 7);
	free_stream(&s);
}

static void test_sizes(void **state)
{
	static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 125, 126, 127, 255, 256, 4081, 4082, 4088,
	    4096, 4097, 32768, 65535, 65536, 65537, 200000};
	uint8_t *p = noise(200000);
	struct stream s = {0};

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		frame(&s, FIN | BIN, p, sizes[i]);
		frame(&s, FIN | BIN, "x", 1);
		expect_ok(&s);
	}
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		frame(&s, FIN | BIN, p, sizes[i]);
	expect_ok(&s);
	for (size_t i = 0; i < 3000; i++)
		frame(&s, FIN | BIN, p + i, i % 11);
	expect_ok(&s);
	free(p);
}

static void test_fragments(void **state)
{
	uint8_t *p = noise(70000);
	struct stream s = {0};

	frame(&s, BIN, p, 10);
	frame(&s, CONT, p + 10, 0);
	frame(&s, FIN | PONG, "unasked", 7);
	frame(&s, CONT, p + 10, 66000);
	frame(&s, FIN | PONG, "", 0);
	frame(&s, FIN | CONT, p + 66010, 300);
	frame(&s, FIN | BIN, "next", 4);
	frame(&s, BIN, "", 0);
	frame(&s, FIN | CONT, "", 0);
	frame(&s, FIN | BIN, "", 0);
	expect_ok(&s);
	/* A ping in the middle of a message. */
	frame(&s, BIN, p, 5000);
	frame(&s, FIN | PING, "now", 3);
	frame(&s, FIN | CONT, p, 5000);
	feed_all_ways(&s, WS_OK, "\x8a\x03now", 5);
	free_stream(&s);
	free(p);
}

static void test_ping(void **state)
{
	struct stream s = {0};
	uint8_t *p = noise(125);
	char reply[2 + 125] = "\x8a\x7d";

	memcpy(reply + 2, p, 125);
	frame(&s, FIN | PING, p, 125);
	feed_all_ways(&s, WS_OK, reply, sizeof(reply));
	free_stream(&s);
	frame(&s, FIN | PING, "", 0);
	feed_all_ways(&s, WS_OK, "\x8a\x00", 2);
	free_stream(&s);
	/* Of many at once the last is answered. */
	for (int i = 0; i < 1000; i++)
		frame(&s, FIN | PING, p, (size_t)(i % 126));
	frame(&s, FIN | PING, "last", 4);
	feed(&s, s.len, true, WS_OK, "\x8a\x04last", 6);
	free_stream(&s);
	free(p);
}

/* A pong and a close of one call stand in this order, and that is all that a call replies. */
static void test_ping_and_close(void **state)
{
	struct stream s = {0};
	uint8_t *p = noise(125);
	char reply[2 + 125 + 4] = "\x8a\x7d";

	memcpy(reply + 2, p, 125);
	memcpy(reply + 127, "\x88\x02\x03\xe9", 4);
	frame(&s, FIN | BIN, "before", 6);
	frame(&s, FIN | PING, p, 125);
	frame(&s, FIN | CLOSE, "\x03\xe9leaving", 9);
	feed(&s, s.len, true, WS_CLOSED, reply, sizeof(reply));
	free_stream(&s);
	free(p);
}

static void test_close(void **state)
{
	static const unsigned good[] = {1000, 1003, 1007, 1014, 3000, 4999};
	static const unsigned bad[] = {0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535};
	struct stream s = {0};
	char reply[4] = "\x88\x02";

	frame(&s, FIN | CLOSE, "", 0);
	feed_all_ways(&s, WS_CLOSED, "\x88\x00", 2);
	free_stream(&s);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		reply[2] = (char)(good[i] >> 8);
		reply[3] = (char)good[i];
		frame(&s, BIN, "half a message", 14);
		frame(&s, FIN | CLOSE, reply + 2, 2);
		feed_all_ways(&s, WS_CLOSED, reply, 4);
		/* Whatever comes behind is discarded. */
		put(&s.b, &s.len, "\xff\xff\xff\xff\x82\x81", 6);
		feed_all_ways(&s, WS_CLOSED, reply, 4);
		free_stream(&s);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char code[2] = {(char)(bad[i] >> 8), (char)bad[i]};

		frame(&s, FIN | CLOSE, code, 2);
		expect_error(&s, PROTOCOL_ERROR);
	}
	frame(&s, FIN | CLOSE, "\x03", 1);
	expect_error(&s, PROTOCOL_ERROR);
}

static void test_wrong_frames(void **state)
{
	static const unsigned opcodes[] = {3, 4, 5, 6, 7, 11, 12, 13, 14, 15};
	uint8_t *p = noise(70000);
	struct stream s = {0};

	frame(&s, FIN | TEXT, "text", 4);
	expect_error(&s, UNSUPPORTED);
	frame(&s, TEXT, "", 0);
	expect_error(&s, UNSUPPORTED);
	for (size_t i = 0; i < ARRAY_LEN(opcodes); i++) {
		frame(&s, FIN | BIN, "ahead", 5);
		frame(&s, FIN | opcodes[i], "x", 1);
		expect_error(&s, PROTOCOL_ERROR);
	}
	for (unsigned rsv = 0x10; rsv < 0x80; rsv += 0x10) {
		frame(&s, FIN | BIN, "ahead", 5);
		frame(&s, FIN | rsv | PING, "x", 1);
		expect_error(&s, PROTOCOL_ERROR);
		put_header(&s, FIN | rsv | BIN, 1, p);
		put(&s.b, &s.len, "x", 1);
		expect_error(&s, PROTOCOL_ERROR);
	}
	/* Unmasked, empty and not. */
	put(&s.b, &s.len, "\x82\x00", 2);
	expect_error(&s, PROTOCOL_ERROR);
	put(&s.b, &s.len,
	    "\x82\x03"
	    "abc",
	    5);
	expect_error(&s, PROTOCOL_ERROR);
	put(&s.b, &s.len, "\x89\x00", 2);
	expect_error(&s, PROTOCOL_ERROR);
	free(p);
}

static void test_wrong_control(void **state)
{
	static const unsigned kinds[] = {CLOSE, PING, PONG};
	uint8_t *p = noise(70000);
	struct stream s = {0};

	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		frame(&s, kinds[i], "", 0);
		expect_error(&s, PROTOCOL_ERROR);
		frame(&s, FIN | kinds[i], p, 126);
		expect_error(&s, PROTOCOL_ERROR);
		frame(&s, FIN | kinds[i], p, 65536);
		expect_error(&s, PROTOCOL_ERROR);
	}
	free(p);
}

static void test_wrong_order(void **state)
{
	struct stream s = {0};

	put_header(&s, FIN | CONT, 1, (const uint8_t *)"mask");
	put(&s.b, &s.len, "x", 1);
	expect_error(&s, PROTOCOL_ERROR);
	frame(&s, FIN | BIN, "whole", 5);
	put_header(&s, CONT, 0, (const uint8_t *)"mask");
	expect_error(&s, PROTOCOL_ERROR);
	frame(&s, BIN, "first", 5);
	put_header(&s, FIN | BIN, 0, (const uint8_t *)"mask");
	expect_error(&s, PROTOCOL_ERROR);
	frame(&s, BIN, "first", 5);
	frame(&s, FIN | PONG, "", 0);
	put_header(&s, BIN, 1, (const uint8_t *)"mask");
	put(&s.b, &s.len, "x", 1);
	expect_error(&s, PROTOCOL_ERROR);
}

/* Lengths in a longer form than they need, and those that no one can have. */
static void test_wrong_lengths(void **state)
{
	static const struct {
		const char *b;
		size_t len;
	} bad[] = {
	    {"\x82\xfe\x00\x7d", 4},
	    {"\x82\xfe\x00\x00", 4},
	    {"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", 10},
	    {"\x82\xff\x00\x00\x00\x00\x00\x00\x00\x00", 10},
	    {"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00", 10},
	    {"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10},
	};
	struct stream s = {0};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		put(&s.b, &s.len, bad[i].b, bad[i].len);
		expect_error(&s, PROTOCOL_ERROR);
	}
	/* The longest that can be is only streamed. */
	put(&s.b, &s.len, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0data", 18);
	put(&s.want, &s.want_len, "data", 4);
	expect_ok(&s);
}

static void test_empty_input(void **state)
{
	struct websocket *w = ws_new();
	uint8_t b[1], reply[WS_REPLY_MAX];
	size_t n = 9, reply_len = 9;

	assert_int_equal(ws_open(w, b, 0, b, &n, reply, &reply_len, sizeof(reply)), WS_OK);
	assert_int_equal(n, 0);
	assert_int_equal(reply_len, 0);
	ws_free(w);
	ws_free(NULL);
}

/* Takes sealed messages apart by the letter of the RFC. */
static void check_sealed(const uint8_t *b, size_t len, const uint8_t *want, size_t want_len)
{
	while (len > 0) {
		size_t n, head = 2;

		assert_true(len >= 2);
		assert_int_equal(b[0], FIN | BIN);
		n = b[1];
		if (n == 126) {
			assert_true(len >= 4);
			n = (size_t)b[2] << 8 | b[3];
			head = 4;
			assert_true(n >= 126);
		}
		assert_in_range(n, 1, 32768);
		assert_true(head + n <= len && n <= want_len);
		assert_memory_equal(b + head, want, n);
		b += head + n;
		len -= head + n;
		want += n;
		want_len -= n;
	}
	assert_int_equal(want_len, 0);
}

static void test_seal(void **state)
{
	static const size_t sizes[] = {
	    0, 1, 125, 126, 127, 32767, 32768, 32769, 65536, 65537, 65573, 100000};
	uint8_t *p = noise(100000);

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		size_t bound = ws_seal_bound(sizes[i]);
		uint8_t *out = malloc(bound + 1);
		size_t n = ws_seal(p, sizes[i], out);

		assert_true(n <= bound && bound <= sizes[i] + 16);
		check_sealed(out, n, p, sizes[i]);
		free(out);
	}
	free(p);
}

static void test_put_close(void **state)
{
	uint8_t out[WS_CLOSE_LEN];

	assert_int_equal(ws_put_close(WS_CODE_GOING_AWAY, out), 4);
	assert_memory_equal(out, "\x88\x02\x03\xe9", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rfc_sample),
	    cmocka_unit_test(test_sizes),
	    cmocka_unit_test(test_fragments),
	    cmocka_unit_test(test_ping),
	    cmocka_unit_test(test_ping_and_close),
	    cmocka_unit_test(test_close),
	    cmocka_unit_test(test_wrong_frames),
	    cmocka_unit_test(test_wrong_control),
	    cmocka_unit_test(test_wrong_order),
	    cmocka_unit_test(test_wrong_lengths),
	    cmocka_unit_test(test_empty_input),
	    cmocka_unit_test(test_seal),
	    cmocka_unit_test(test_put_close),
	};

	return cmocka_run_group_tests_name("websocket", tests, NULL, NULL);
}
