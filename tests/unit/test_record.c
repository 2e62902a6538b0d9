/* SPDX-License-Identifier: BSD-3-Clause */
/* The record layer against itself and against hostile records; OpenSSL is its peer in test_tls.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/key.h"
#include "io/record.h"

#define BUF (200u << 10)

static uint8_t wire[BUF], plain[BUF], back[BUF], text[BUF];

/* Two ends that know the same secrets. */
struct pair {
	struct record client, server;
};

static void pair_init(struct pair *p, enum aead_kind kind)
{
	size_t n = kind == AEAD_AES_256_GCM ? 48 : 32;
	uint8_t up[48], down[48];

	for (size_t i = 0; i < sizeof(up); i++) {
		up[i] = (uint8_t)(i * 3);
		down[i] = (uint8_t)(i * 5 + 1);
	}
	record_init(&p->client, kind, n, down, up);
	record_init(&p->server, kind, n, up, down);
	record_as_client(&p->client);
}

static void pair_fini(struct pair *p)
{
	record_fini(&p->client);
	record_fini(&p->server);
}

static size_t seal(struct record *r, const uint8_t *p, size_t len)
{
	struct sink out = {.p = wire, .cap = sizeof(wire)};

	assert_true(record_seal(r, p, len, &out));
	return out.len;
}

/* Opens and returns the plaintext's length; the reply's is left in *reply_len. */
static enum record_result open_len(
    struct record *r, const uint8_t *p, size_t len, size_t *plain_len, size_t *reply_len)
{
	struct span in = {.p = p, .len = len};
	struct sink out = {.p = plain, .cap = sizeof(plain)};
	struct sink reply = {.p = back, .cap = sizeof(back)};
	enum record_result res = record_open(r, &in, &out, &reply);

	if (res == RECORD_OK)
		assert_int_equal(in.len, 0);
	*plain_len = out.len;
	*reply_len = reply.len;
	return res;
}

/* A record with any inner plaintext, sealed by hand under the sender's keys. */
static size_t craft(struct record *from, const uint8_t *inner, size_t len, uint8_t last)
{
	size_t body = len + 1 + AEAD_TAG_LEN;
	uint8_t head[RECORD_HEADER_LEN] = {23, 3, 3, (uint8_t)(body >> 8), (uint8_t)body};
	uint8_t nonce[AEAD_NONCE_LEN];
	struct aead a;

	memcpy(nonce, from->tx.iv, sizeof(nonce));
	for (int i = 0; i < 8; i++)
		nonce[4 + i] ^= (uint8_t)(from->tx.seq >> (56 - 8 * i));
	from->tx.seq++;
	assert_true(aead_begin(&a, (enum aead_kind)from->kind, from->tx.key, true));
	assert_true(
	    aead_seal(&a, nonce, head, sizeof(head), inner, len, last, wire + sizeof(head)));
	aead_end(&a);
	memcpy(wire, head, sizeof(head));
	return sizeof(head) + body;
}

static void from_hex(const char *hex, uint8_t *out)
{
	assert_true(key_unhex(hex, strlen(hex) / 2, out));
}

/* RFC 8448 §3: the server's application traffic keys. */
static void test_key_derivation(void **state)
{
	uint8_t secret[32], key[16], iv[12], want[16];

	from_hex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643", secret);
	record_expand(secret, 32, "key", key, 16);
	from_hex("9f02283b6c9c07efc26bb9f2ac92e356", want);
	assert_memory_equal(key, want, 16);
	record_expand(secret, 32, "iv", iv, 12);
	from_hex("cf782b88dd83549aadf1e984", want);
	assert_memory_equal(iv, want, 12);
}

/* RFC 8448 §3: the client's first record of application data, 50 bytes 00 to 31. */
static void test_known_record(void **state)
{
	static const char record[] =
	    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395b"
	    "d54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
	uint8_t secret[32], other[32] = {0};
	struct record r;
	size_t len = strlen(record) / 2, n, replied;

	from_hex("9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", secret);
	from_hex(record, wire);
	record_init(&r, AEAD_AES_128_GCM, 32, secret, other);
	assert_int_equal(open_len(&r, wire, len, &n, &replied), RECORD_OK);
	assert_int_equal(n, 50);
	for (int i = 0; i < 50; i++)
		assert_int_equal(plain[i], i);
	record_fini(&r);
}

/* All sizes round the borders, in every suite, cut anywhere. */
static void test_round_trip(void **state)
{
	static const size_t sizes[] = {
	    1, 2, 15, 16, 17, 255, 1400, 16383, 16384, 16385, 40000, 70000};

	for (int kind = 0; kind < 3; kind++) {
		struct pair p;

		pair_init(&p, (enum aead_kind)kind);
		for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
			size_t step = 1 + sizes[i] / 7, len = seal(&p.server, text, sizes[i]);
			struct sink out = {.p = plain, .cap = sizeof(plain)};
			struct sink reply = {.p = back, .cap = sizeof(back)};

			for (size_t at = 0; at < len; at += step) {
				struct span in = {.p = wire + at, .len = MIN(step, len - at)};

				assert_int_equal(
				    record_open(&p.client, &in, &out, &reply), RECORD_OK);
				assert_int_equal(in.len, 0);
			}
			assert_int_equal(out.len, sizes[i]);
			assert_memory_equal(plain, text, sizes[i]);
			assert_null(p.client.rest);
		}
		pair_fini(&p);
	}
}

/* Many short records under one expanded key are what as many calls would have made. */
static void test_seal_each(void **state)
{
	static const size_t each[] = {1, 69, 1437, RECORD_PLAIN_MAX};
	static uint8_t one_by_one[BUF];

	for (int kind = 0; kind < 3; kind++) {
		for (size_t i = 0; i < ARRAY_LEN(each); i++) {
			struct sink out = {.p = one_by_one, .cap = sizeof(one_by_one)};
			struct sink together = {.p = wire, .cap = sizeof(wire)};
			size_t len = MIN(each[i] * 20 + each[i] / 2, (size_t)100000), n, replied;
			struct pair p, q;

			pair_init(&p, (enum aead_kind)kind);
			pair_init(&q, (enum aead_kind)kind);
			for (size_t at = 0; at < len; at += each[i])
				assert_true(record_seal(
				    &p.client, text + at, MIN(each[i], len - at), &out));
			assert_true(record_seal_each(&q.client, text, len, each[i], &together));
			assert_int_equal(together.len, out.len);
			assert_memory_equal(together.p, out.p, out.len);
			assert_int_equal(
			    open_len(&q.server, wire, together.len, &n, &replied), RECORD_OK);
			assert_int_equal(n, len);
			assert_memory_equal(plain, text, len);
			/* No room for the last: a failure, and nothing past the end. */
			together.len = 0;
			together.cap = out.len - 1;
			wire[together.cap] = 0x5a;
			assert_false(record_seal_each(&q.client, text, len, each[i], &together));
			assert_int_equal(wire[together.cap], 0x5a);
			pair_fini(&p);
			pair_fini(&q);
		}
	}
}

/* Any flipped bit, of the header too, ends it; nothing of the record is handed out. */
static void test_flipped_bits(void **state)
{
	size_t len, n, replied;
	struct pair p;

	for (int kind = 0; kind < 3; kind++) {
		for (size_t at = 0; at < RECORD_EXTRA + 20; at++) {
			enum record_result res;

			pair_init(&p, (enum aead_kind)kind);
			len = seal(&p.client, text, 20);
			assert_int_equal(len, RECORD_EXTRA + 20);
			wire[at] ^= 1;
			res = open_len(&p.server, wire, len, &n, &replied);
			/* A longer length just waits for more. */
			if (at == 3 || at == 4)
				assert_true(res == RECORD_FAILED || p.server.rest);
			else
				assert_int_equal(res, RECORD_FAILED);
			assert_int_equal(n, 0);
			if (res == RECORD_FAILED) {
				/* The alert says so to the peer; after it nothing goes either way.
				 */
				assert_int_equal(replied, RECORD_EXTRA + 2);
				assert_int_equal(
				    open_len(&p.client, back, replied, &n, &len), RECORD_FAILED);
				assert_false(record_seal(&p.server, text, 1,
				    &(struct sink){.p = wire, .cap = sizeof(wire)}));
				assert_int_equal(
				    open_len(&p.server, wire, 0, &n, &len), RECORD_FAILED);
			}
			pair_fini(&p);
		}
	}
}

static void test_replay(void **state)
{
	size_t len, n, replied;
	struct pair p;

	pair_init(&p, AEAD_AES_128_GCM);
	len = seal(&p.client, text, 100);
	assert_int_equal(open_len(&p.server, wire, len, &n, &replied), RECORD_OK);
	assert_int_equal(open_len(&p.server, wire, len, &n, &replied), RECORD_FAILED);
	pair_fini(&p);
}

/* Headers that may not follow a handshake. */
static void test_bad_headers(void **state)
{
	static const uint8_t bad[][RECORD_HEADER_LEN] = {
	    {20, 3, 3, 0, 1},  /* change_cipher_spec */
	    {21, 3, 3, 0, 2},  /* an alert in the clear */
	    {22, 3, 3, 0, 40}, /* a handshake message in the clear */
	    {'G', 'E', 'T', ' ', '/'}, {23, 3, 3, 0x41, 0x01},           /* one more than allowed */
	    {23, 3, 3, 0xff, 0xff}, {23, 3, 3, 0, 0}, {23, 3, 3, 0, 16}, /* no room for a type */
	};
	size_t n, replied;
	struct pair p;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		/* Told at the header, not after waiting for what it announces; also byte by byte.
		 */
		for (size_t step = 1; step <= RECORD_HEADER_LEN; step += RECORD_HEADER_LEN - 1) {
			enum record_result res = RECORD_OK;

			pair_init(&p, AEAD_AES_128_GCM);
			for (size_t at = 0; at < RECORD_HEADER_LEN; at += step)
				res = open_len(&p.server, bad[i] + at, step, &n, &replied);
			assert_int_equal(res, RECORD_FAILED);
			pair_fini(&p);
		}
	}
}

/* Padding is taken off; nothing but padding, unknown types, odd alerts end it. */
static void test_inner_types(void **state)
{
	static const struct {
		uint8_t inner[6];
		size_t len;
		uint8_t last;
		enum record_result want;
		size_t plain;
	} c[] = {
	    {"abc", 3, 23, RECORD_OK, 3}, {{'a', 'b', 23, 0, 0}, 5, 0, RECORD_OK, 2},
	    {{0}, 0, 23, RECORD_OK, 0}, {{0}, 5, 0, RECORD_FAILED, 0},
	    {"abc", 3, 20, RECORD_FAILED, 0}, {"abc", 3, 99, RECORD_FAILED, 0},
	    {{1, 0}, 2, 21, RECORD_CLOSED, 0}, {{2, 40}, 2, 21, RECORD_FAILED, 0},
	    {{1, 90}, 2, 21, RECORD_OK, 0}, {{1}, 1, 21, RECORD_FAILED, 0},
	    {{24, 0, 0, 1, 0}, 5, 22, RECORD_OK, 0}, {{24, 0, 0, 1, 1}, 5, 22, RECORD_OK, 0},
	    {{24, 0, 0, 1, 2}, 5, 22, RECORD_FAILED, 0},
	    {{24, 0, 0, 2, 0, 0}, 6, 22, RECORD_FAILED, 0}, {{24, 0, 0}, 3, 22, RECORD_FAILED, 0},
	    {{24, 0, 0, 1, 0, 24}, 6, 22, RECORD_FAILED, 0}, /* a message behind it */
	    {{4, 0, 0, 1, 0}, 5, 22, RECORD_FAILED, 0},      /* NewSessionTicket */
	    {{1, 0, 0, 1, 0}, 5, 22, RECORD_FAILED, 0},      /* ClientHello */
	};
	size_t n, replied;

	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		struct pair p;
		size_t len;

		pair_init(&p, AEAD_AES_128_GCM);
		len = craft(&p.client, c[i].inner, c[i].len, c[i].last);
		assert_int_equal(open_len(&p.server, wire, len, &n, &replied), c[i].want);
		assert_int_equal(n, c[i].plain);
		pair_fini(&p);
	}
}

/* Keys change both ways as often as asked, in order with the data, and not without end in one go.
 */
static void test_key_update(void **state)
{
	static const uint8_t ask[5] = {24, 0, 0, 1, 1};
	size_t len, n, replied;
	struct pair p;

	pair_init(&p, AEAD_AES_256_GCM);
	for (int i = 0; i < 100; i++) {
		len = craft(&p.client, ask, sizeof(ask), 22);
		/* The client changes its own key behind the request. */
		record_expand(p.client.tx.secret, 48, "traffic upd", p.client.tx.secret, 48);
		record_expand(p.client.tx.secret, 48, "key", p.client.tx.key, 32);
		record_expand(p.client.tx.secret, 48, "iv", p.client.tx.iv, 12);
		p.client.tx.seq = 0;
		assert_int_equal(open_len(&p.server, wire, len, &n, &replied), RECORD_OK);
		assert_int_equal(replied, RECORD_EXTRA + 5);
		memcpy(wire, back, replied);
		assert_int_equal(open_len(&p.client, wire, replied, &n, &len), RECORD_OK);
		len = seal(&p.client, text, 1000);
		assert_int_equal(open_len(&p.server, wire, len, &n, &replied), RECORD_OK);
		assert_memory_equal(plain, text, 1000);
		len = seal(&p.server, text, 1000);
		assert_int_equal(open_len(&p.client, wire, len, &n, &replied), RECORD_OK);
		assert_memory_equal(plain, text, 1000);
	}
	pair_fini(&p);
}

/* Empty records and KeyUpdates cost us more than the sender: only so many in one go. */
static void test_storms(void **state)
{
	static const uint8_t update[5] = {24, 0, 0, 1, 0};
	static uint8_t many[BUF];
	size_t len, at = 0, n, replied;
	struct pair p;

	pair_init(&p, AEAD_AES_128_GCM);
	for (int i = 0; i < RECORD_EMPTY_MAX + 1; i++) {
		len = craft(&p.client, text, 0, 23);
		memcpy(many + at, wire, len);
		at += len;
	}
	assert_int_equal(open_len(&p.server, many, at, &n, &replied), RECORD_FAILED);
	pair_fini(&p);
	pair_init(&p, AEAD_AES_128_GCM);
	at = 0;
	for (int i = 0; i < RECORD_UPDATES_MAX + 1; i++) {
		len = craft(&p.client, update, sizeof(update), 22);
		memcpy(many + at, wire, len);
		at += len;
		record_expand(p.client.tx.secret, 32, "traffic upd", p.client.tx.secret, 32);
		record_expand(p.client.tx.secret, 32, "key", p.client.tx.key, 16);
		record_expand(p.client.tx.secret, 32, "iv", p.client.tx.iv, 12);
		p.client.tx.seq = 0;
	}
	assert_int_equal(open_len(&p.server, many, at, &n, &replied), RECORD_FAILED);
	pair_fini(&p);
}

/* A record of these handshake bytes from the server to the client. */
static enum record_result to_client(struct pair *p, const uint8_t *message, size_t len)
{
	size_t n, replied, sealed = craft(&p->server, message, len, 22);
	enum record_result res = open_len(&p->client, wire, sealed, &n, &replied);

	assert_int_equal(n, 0);
	assert_int_equal(replied, res == RECORD_FAILED ? RECORD_EXTRA + 2 : 0);
	return res;
}

static void expect_data(struct pair *p)
{
	size_t n, replied, len = seal(&p->server, text, 1000);

	assert_int_equal(open_len(&p->client, wire, len, &n, &replied), RECORD_OK);
	assert_int_equal(n, 1000);
	assert_memory_equal(plain, text, 1000);
}

/* The start of a NewSessionTicket whose body has such a length. */
static void put_ticket(uint8_t *out, size_t body)
{
	const uint8_t head[4] = {4, (uint8_t)(body >> 16), (uint8_t)(body >> 8), (uint8_t)body};

	memcpy(out, head, sizeof(head));
	memset(out + sizeof(head), 24, body); /* what looks like a KeyUpdate must not be one */
}

/* A client skips tickets: whole, several, cut anywhere, with data between them. */
static void test_tickets(void **state)
{
	static uint8_t t[RECORD_TICKET_LEN_MAX + 4];
	struct pair p;

	pair_init(&p, AEAD_AES_128_GCM);
	put_ticket(t, 200);
	assert_int_equal(to_client(&p, t, 204), RECORD_OK);
	expect_data(&p);
	put_ticket(t + 204, 0);
	put_ticket(t + 208, 3);
	assert_int_equal(to_client(&p, t, 215), RECORD_OK);
	expect_data(&p);
	for (size_t cut = 1; cut < 20; cut++) {
		put_ticket(t, 16);
		assert_int_equal(to_client(&p, t, cut), RECORD_OK);
		assert_int_equal(to_client(&p, t + cut, 20 - cut), RECORD_OK);
		expect_data(&p);
	}
	put_ticket(t, RECORD_TICKET_LEN_MAX);
	for (size_t at = 0, n; at < sizeof(t); at += n) {
		n = MIN(RECORD_PLAIN_MAX, sizeof(t) - at);
		assert_int_equal(to_client(&p, t + at, n), RECORD_OK);
	}
	expect_data(&p);
	pair_fini(&p);
}

/* A KeyUpdate right behind a ticket, in the same record. */
static void test_ticket_and_update(void **state)
{
	uint8_t t[15 + 5];
	struct pair p;

	pair_init(&p, AEAD_AES_128_GCM);
	put_ticket(t, 11);
	memcpy(t + 15, (const uint8_t[]){24, 0, 0, 1, 0}, 5);
	assert_int_equal(to_client(&p, t, sizeof(t)), RECORD_OK);
	record_expand(p.server.tx.secret, 32, "traffic upd", p.server.tx.secret, 32);
	record_expand(p.server.tx.secret, 32, "key", p.server.tx.key, 16);
	record_expand(p.server.tx.secret, 32, "iv", p.server.tx.iv, 12);
	p.server.tx.seq = 0;
	expect_data(&p);
	pair_fini(&p);
}

/* What a client must not swallow. */
static void test_bad_tickets(void **state)
{
	static const struct {
		uint8_t message[8];
		size_t len;
	} bad[] = {
	    {{0}, 0},
	    {{4, 1, 0, 1}, 4}, /* one byte too long */
	    {{4, 0xff, 0xff, 0xff}, 4},
	    {{1, 0, 0, 1}, 4},  /* ClientHello */
	    {{11, 0, 0, 0}, 4}, /* Certificate */
	    {{13, 0, 0, 0}, 4}, /* CertificateRequest */
	    {{4, 0, 0, 0, 5, 0, 0, 0}, 8},
	    {{24, 0, 0}, 3}, /* a KeyUpdate in parts */
	    {{24, 0, 0, 1, 0, 24}, 6},
	    {{4, 0, 0, 0, 24, 0, 0}, 7},
	};
	uint8_t t[20];
	size_t n, replied, len;
	struct pair p;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		pair_init(&p, AEAD_AES_256_GCM);
		assert_int_equal(to_client(&p, bad[i].message, bad[i].len), RECORD_FAILED);
		pair_fini(&p);
	}
	/* Data in the middle of one, behind its type and behind its head. */
	put_ticket(t, 16);
	for (size_t cut = 1; cut < 20; cut++) {
		pair_init(&p, AEAD_AES_256_GCM);
		assert_int_equal(to_client(&p, t, cut), RECORD_OK);
		len = seal(&p.server, text, 10);
		assert_int_equal(open_len(&p.client, wire, len, &n, &replied), RECORD_FAILED);
		assert_int_equal(n, 0);
		pair_fini(&p);
	}
	/* One too many; in small records and all in one. */
	pair_init(&p, AEAD_AES_256_GCM);
	for (int i = 0; i < RECORD_TICKETS_MAX; i++)
		assert_int_equal(to_client(&p, t, 20), RECORD_OK);
	expect_data(&p);
	assert_int_equal(to_client(&p, t, 20), RECORD_FAILED);
	pair_fini(&p);
	/* A server takes none at all. */
	pair_init(&p, AEAD_AES_256_GCM);
	len = craft(&p.client, t, 20, 22);
	assert_int_equal(open_len(&p.server, wire, len, &n, &replied), RECORD_FAILED);
	pair_fini(&p);
}

/* Our own key is changed before its limit, and the peer follows. */
static void test_key_limit(void **state)
{
	size_t len, n, replied;
	struct pair p;

	pair_init(&p, AEAD_AES_128_GCM);
	p.server.tx.seq = p.client.rx.seq = RECORD_KEY_LIMIT - 1;
	for (int i = 0; i < 4; i++) {
		len = seal(&p.server, text, 500);
		assert_int_equal(open_len(&p.client, wire, len, &n, &replied), RECORD_OK);
		assert_int_equal(n, 500);
	}
	assert_true(p.server.tx.seq < 10);
	pair_fini(&p);
}

static void test_close(void **state)
{
	struct sink out = {.p = wire, .cap = sizeof(wire)}, tight = {.p = wire, .cap = 10};
	size_t n, replied;
	struct pair p;

	pair_init(&p, AEAD_CHACHA20_POLY1305);
	record_close(&p.server, &out);
	assert_int_equal(open_len(&p.client, wire, out.len, &n, &replied), RECORD_CLOSED);
	record_close(&p.client, &tight);
	assert_int_equal(tight.len, 0);
	pair_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_key_derivation),
	    cmocka_unit_test(test_known_record),
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_seal_each),
	    cmocka_unit_test(test_flipped_bits),
	    cmocka_unit_test(test_replay),
	    cmocka_unit_test(test_bad_headers),
	    cmocka_unit_test(test_inner_types),
	    cmocka_unit_test(test_key_update),
	    cmocka_unit_test(test_storms),
	    cmocka_unit_test(test_tickets),
	    cmocka_unit_test(test_ticket_and_update),
	    cmocka_unit_test(test_bad_tickets),
	    cmocka_unit_test(test_key_limit),
	    cmocka_unit_test(test_close),
	};

	aead_init();
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)(i * 31 >> 3);
	/* Once with what this machine has, once with libcrypto alone. */
	for (int libcrypto = 0; libcrypto < 2; libcrypto++) {
		aead_use_libcrypto(libcrypto);
		if (cmocka_run_group_tests_name(
			libcrypto ? "record on libcrypto" : "record", tests, NULL, NULL) != 0)
			return 1;
	}
	return 0;
}
