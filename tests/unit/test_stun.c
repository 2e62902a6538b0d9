/* SPDX-License-Identifier: BSD-3-Clause */
/* STUN messages: the vectors of Tailscale's own library and of RFC 5769, and hostile ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "wire/stun.h"

static const uint8_t txid[STUN_TXID_LEN] = {
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab};

/* What tailscale.com/net/stun, v1.103.0-pre, makes of that transaction ID: the request, and the
 * responses for 192.0.2.1:32853 and [2001:db8:1234:5678:11:2233:4455:6677]:32853. */
static const uint8_t request[STUN_REQUEST_LEN] = {0x00, 0x01, 0x00, 0x14, 0x21, 0x12, 0xa4, 0x42,
    0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0x80, 0x22, 0x00, 0x08,
    0x74, 0x61, 0x69, 0x6c, 0x6e, 0x6f, 0x64, 0x65, 0x80, 0x28, 0x00, 0x04, 0x28, 0xa5, 0x4b, 0xbb};
static const uint8_t response_v4[32] = {0x01, 0x01, 0x00, 0x0c, 0x21, 0x12, 0xa4, 0x42, 0xa0, 0xa1,
    0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01,
    0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43};
static const uint8_t response_v6[44] = {0x01, 0x01, 0x00, 0x18, 0x21, 0x12, 0xa4, 0x42, 0xa0, 0xa1,
    0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0x00, 0x20, 0x00, 0x14, 0x00, 0x02,
    0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xb2, 0x95, 0xf4, 0xdb, 0xa4, 0xb4, 0x84, 0x94, 0xec, 0xfc,
    0xcc, 0xdc};

static const uint8_t ip_v4[STUN_IP_LEN] = {[10] = 0xff, 0xff, 192, 0, 2, 1};
static const uint8_t ip_v6[STUN_IP_LEN] = {
    0x20, 0x01, 0x0d, 0xb8, 0x12, 0x34, 0x56, 0x78, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77};

/* RFC 5769 §2.1, the sample request; its FINGERPRINT covers what stands before it. */
static const uint8_t rfc5769_request[108] = {0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7,
    0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53,
    0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00,
    0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51,
    0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68, 0x36, 0x76, 0x59,
    0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf, 0xd8, 0xcb, 0x56, 0x78,
    0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5,
    0x7a, 0x3b, 0xcf};

/* A message under construction. */
struct msg {
	uint8_t b[512];
	size_t len;
};

/* Parses from memory of just that size, so that a sanitizer sees every byte read too much. */
static enum stun_result parse(const uint8_t *b, size_t len)
{
	uint8_t got[STUN_TXID_LEN] = {0};
	uint8_t *copy = malloc(len ? len : 1);
	enum stun_result r;

	memcpy(copy, b, len);
	r = stun_parse_request(copy, len, got);
	free(copy);
	if (r == STUN_OK)
		assert_memory_equal(got, b + 8, sizeof(got));
	else
		assert_memory_equal(got, ((uint8_t[STUN_TXID_LEN]){0}), sizeof(got));
	return r;
}

static void set_len(struct msg *m)
{
	m->b[2] = (uint8_t)((m->len - STUN_HEADER_LEN) >> 8);
	m->b[3] = (uint8_t)(m->len - STUN_HEADER_LEN);
}

static void begin(struct msg *m)
{
	*m = (struct msg){.len = STUN_HEADER_LEN};
	memcpy(m->b, request, STUN_HEADER_LEN);
	set_len(m);
}

/* Adds an attribute that says `len` and has its value padded, with bytes that aren't zero. */
static void add(struct msg *m, unsigned type, const void *value, size_t len)
{
	uint8_t *p = m->b + m->len;
	size_t padded = (len + 3) & ~(size_t)3;

	p[0] = (uint8_t)(type >> 8);
	p[1] = (uint8_t)type;
	p[2] = (uint8_t)(len >> 8);
	p[3] = (uint8_t)len;
	memset(p + 4, 0x20, padded);
	memcpy(p + 4, value, len);
	m->len += 4 + padded;
	set_len(m);
}

static void add_fingerprint(struct msg *m)
{
	uint32_t v;

	add(m, 0x8028, "\0\0\0\0", 4);
	v = __builtin_bswap32(stun_fingerprint(m->b, m->len - 8));
	memcpy(m->b + m->len - 4, &v, sizeof(v));
}

static void test_vectors(void **state)
{
	uint8_t out[STUN_RESPONSE_MAX];

	assert_int_equal(parse(request, sizeof(request)), STUN_OK);
	stun_write_request(out, txid);
	assert_memory_equal(out, request, sizeof(request));
	assert_int_equal(stun_write_response(out, txid, ip_v4, 32853), sizeof(response_v4));
	assert_memory_equal(out, response_v4, sizeof(response_v4));
	assert_int_equal(stun_write_response(out, txid, ip_v6, 32853), sizeof(response_v6));
	assert_memory_equal(out, response_v6, sizeof(response_v6));
}

static void test_rfc5769(void **state)
{
	static const uint8_t id[STUN_TXID_LEN] = {
	    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae};
	uint8_t out[STUN_RESPONSE_MAX];

	assert_int_equal(
	    stun_fingerprint(rfc5769_request, sizeof(rfc5769_request) - 8), 0xe57a3bcf);
	assert_int_equal(parse(rfc5769_request, sizeof(rfc5769_request)), STUN_WRONG_SOFTWARE);
	/* §2.2 and §2.3: XOR-MAPPED-ADDRESS of the sample responses. */
	(void)!stun_write_response(out, id, ip_v4, 32853);
	assert_memory_equal(out + 24, "\x00\x01\xa1\x47\xe1\x12\xa6\x43", 8);
	(void)!stun_write_response(out, id, ip_v6, 32853);
	assert_memory_equal(out + 24,
	    "\x00\x02\xa1\x47\x01\x13\xa9\xfa\xa5\xd3\xf1\x79\xbc\x25\xf4\xb5\xbe\xd2\xb9\xd9", 20);
}

static void test_padded_attributes(void **state)
{
	struct msg m;

	begin(&m);
	add(&m, 0x0006, "user", 4);
	add(&m, 0x0006, "usern", 5);
	add(&m, 0xc001, "", 0);
	add(&m, 0x8022, "other", 5);
	add(&m, 0x8022, "tailnode", 8);
	add(&m, 0x8022, "x", 1);
	add_fingerprint(&m);
	assert_int_equal(parse(m.b, m.len), STUN_OK);
}

static void test_software(void **state)
{
	static const char *const wrong[] = {"", "tailnod", "tailnode ", "Tailnode", "tailnode\0"};
	struct msg m;

	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		begin(&m);
		add(&m, 0x8022, wrong[i], i == 4 ? 9 : strlen(wrong[i]));
		add_fingerprint(&m);
		assert_int_equal(parse(m.b, m.len), STUN_WRONG_SOFTWARE);
	}
	begin(&m);
	add_fingerprint(&m);
	assert_int_equal(parse(m.b, m.len), STUN_WRONG_SOFTWARE);
	assert_int_equal(parse(m.b, 0), STUN_NOT_STUN);
	begin(&m);
	assert_int_equal(parse(m.b, m.len), STUN_WRONG_SOFTWARE);
}

static void test_fingerprint(void **state)
{
	struct msg m;

	begin(&m);
	add(&m, 0x8022, "tailnode", 8);
	assert_int_equal(parse(m.b, m.len), STUN_NO_FINGERPRINT);
	add_fingerprint(&m);
	assert_int_equal(parse(m.b, m.len), STUN_OK);
	/* It must be the last one. */
	add(&m, 0x0006, "user", 4);
	assert_int_equal(parse(m.b, m.len), STUN_NO_FINGERPRINT);
	begin(&m);
	add(&m, 0x8022, "tailnode", 8);
	add(&m, 0x8028, "\1\2\3\4\5", 5);
	assert_int_equal(parse(m.b, m.len), STUN_NO_FINGERPRINT);
	begin(&m);
	add(&m, 0x8022, "tailnode", 8);
	add(&m, 0x8028, "", 0);
	assert_int_equal(parse(m.b, m.len), STUN_NO_FINGERPRINT);
}

/* No bit of a request may change, those of the transaction ID included. */
static void test_every_bit(void **state)
{
	for (size_t i = 0; i < sizeof(request) * 8; i++) {
		uint8_t b[STUN_REQUEST_LEN];

		memcpy(b, request, sizeof(b));
		b[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_not_equal(parse(b, sizeof(b)), STUN_OK);
	}
}

static void test_every_length(void **state)
{
	struct msg m = {0};

	memcpy(m.b, request, sizeof(request));
	for (size_t len = 0; len < sizeof(request); len++) {
		m.len = len;
		assert_int_not_equal(parse(m.b, len), STUN_OK);
		if (len < STUN_HEADER_LEN)
			continue;
		/* The same with a header that tells the truth about it. */
		set_len(&m);
		assert_int_not_equal(parse(m.b, len), STUN_OK);
	}
	/* Bytes behind the message, told and untold. */
	memcpy(m.b, request, sizeof(request));
	assert_int_equal(parse(m.b, sizeof(request) + 4), STUN_NOT_STUN);
	for (m.len = sizeof(request) + 1; m.len < sizeof(request) + 4; m.len++) {
		set_len(&m);
		assert_int_equal(parse(m.b, m.len), STUN_NOT_STUN);
	}
}

/* Each attribute length there is, in front of a good tail. */
static void test_hostile_lengths(void **state)
{
	struct msg m;

	for (unsigned claim = 0; claim <= 0xffff; claim++) {
		begin(&m);
		add(&m, 0x0006, "user", 4);
		m.b[STUN_HEADER_LEN + 2] = (uint8_t)(claim >> 8);
		m.b[STUN_HEADER_LEN + 3] = (uint8_t)claim;
		add(&m, 0x8022, "tailnode", 8);
		add_fingerprint(&m);
		if (claim >= 1 && claim <= 4)
			assert_int_equal(parse(m.b, m.len), STUN_OK);
		else
			assert_int_not_equal(parse(m.b, m.len), STUN_OK);
	}
}

static void test_kinds(void **state)
{
	struct msg m;

	assert_int_equal(parse(response_v4, sizeof(response_v4)), STUN_NOT_REQUEST);
	memcpy(m.b, request, sizeof(request));
	m.b[1] = 0x11; /* an indication */
	assert_int_equal(parse(m.b, sizeof(request)), STUN_NOT_REQUEST);
	m.b[0] = 0x40; /* a TURN channel, RTP, TLS and the like */
	assert_int_equal(parse(m.b, sizeof(request)), STUN_NOT_STUN);
}

static void test_response(void **state)
{
	static const struct {
		const uint8_t *ip;
		uint16_t port;
	} all[] = {{ip_v4, 1}, {ip_v4, 65535}, {ip_v6, 0x2112}, {ip_v6, 443}};
	uint8_t b[STUN_RESPONSE_MAX], ip[STUN_IP_LEN];
	uint16_t port;

	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		size_t n = stun_write_response(b, txid, all[i].ip, all[i].port);

		assert_int_equal(stun_parse_response(b, n, txid, ip, &port), STUN_OK);
		assert_memory_equal(ip, all[i].ip, sizeof(ip));
		assert_int_equal(port, all[i].port);
		for (size_t len = 0; len < n; len++)
			assert_int_not_equal(stun_parse_response(b, len, txid, ip, &port), STUN_OK);
		b[10] ^= 1; /* somebody else's */
		assert_int_equal(stun_parse_response(b, n, txid, ip, &port), STUN_NOT_REQUEST);
		b[10] ^= 1;
		b[25] ^= 3; /* the other family */
		assert_int_equal(stun_parse_response(b, n, txid, ip, &port), STUN_MALFORMED);
	}
	assert_int_equal(
	    stun_parse_response(request, sizeof(request), txid, ip, &port), STUN_NOT_REQUEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_vectors),
	    cmocka_unit_test(test_rfc5769),
	    cmocka_unit_test(test_padded_attributes),
	    cmocka_unit_test(test_software),
	    cmocka_unit_test(test_fingerprint),
	    cmocka_unit_test(test_every_bit),
	    cmocka_unit_test(test_every_length),
	    cmocka_unit_test(test_hostile_lengths),
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_response),
	};

	return cmocka_run_group_tests_name("stun", tests, NULL, NULL);
}
