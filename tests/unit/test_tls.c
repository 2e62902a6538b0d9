/* SPDX-License-Identifier: BSD-3-Clause */
/* The TLS engine over memory, against OpenSSL's client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "io/tls.h"

#define PLAIN_MAX (2u << 20)
#define ALL SIZE_MAX

static SSL_CTX *server_ctx;

/* Records of TLS 1.3 are our own. */
static bool ours = true;

/* What a client is like. */
struct suite {
	const char *name;
	int version;
	const char *cipher;
};

static const struct suite suites[] = {
    {"1.2 AES-128", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"},
    {"1.2 AES-256", TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"},
    {"1.2 ChaCha20", TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"},
    {"1.3 AES-128", TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},
    {"1.3 AES-256", TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"},
    {"1.3 ChaCha20", TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},
};

struct pair {
	struct tls *tls;
	SSL *ssl;
	BIO *to, *from;         /* client's */
	bool up;                /* the server's handshake is done */
	enum tls_result result; /* the last of the server */
	uint8_t *plain;         /* all that the server opened */
	size_t plain_len;
	size_t replied; /* bytes of the server's last answers */
};

static X509 *self_signed(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);

	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_set_pubkey(x, key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"test", -1, -1, 0);
	X509_set_issuer_name(x, name);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	return x;
}

static int make_server(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = self_signed(key);

	server_ctx = tls_server_ctx_new();
	assert_non_null(server_ctx);
	assert_int_equal(SSL_CTX_use_certificate(server_ctx, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(server_ctx, key), 1);
	X509_free(cert);
	EVP_PKEY_free(key);
	return 0;
}

static int free_server(void **state)
{
	SSL_CTX_free(server_ctx);
	return 0;
}

static SSL *client_new(const struct suite *s)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;

	/* TLS 1.1 is only to be had at the lowest level of security. */
	SSL_CTX_set_security_level(ctx, 0);
	SSL_CTX_set_min_proto_version(ctx, s->version);
	SSL_CTX_set_max_proto_version(ctx, s->version);
	if (s->version == TLS1_3_VERSION)
		assert_int_equal(SSL_CTX_set_ciphersuites(ctx, s->cipher), 1);
	else
		assert_int_equal(SSL_CTX_set_cipher_list(ctx, s->cipher), 1);
	ssl = SSL_new(ctx);
	SSL_CTX_free(ctx);
	SSL_set_connect_state(ssl);
	return ssl;
}

static void pair_init(struct pair *p, const struct suite *s)
{
	*p = (struct pair){.tls = tls_new(server_ctx), .ssl = client_new(s)};
	assert_non_null(p->tls);
	p->to = BIO_new(BIO_s_mem());
	p->from = BIO_new(BIO_s_mem());
	SSL_set_bio(p->ssl, p->to, p->from);
	p->plain = malloc(PLAIN_MAX);
}

static void pair_fini(struct pair *p)
{
	tls_free(p->tls);
	SSL_free(p->ssl);
	free(p->plain);
	ERR_clear_error();
}

/* The server opens what it gets, with no more room than it is promised. */
static void server_open(struct pair *p, struct span *in, struct sink *reply)
{
	/* Behind the handshake also what OpenSSL has read ahead. */
	size_t room = in->len + TLS_RECORD_MAX + (p->up ? 0 : TLS_RECORD_MAX);
	struct sink plain = {.p = malloc(room), .cap = room};

	p->result = tls_open(p->tls, in, &plain, reply);
	assert_true(p->plain_len + plain.len <= PLAIN_MAX);
	memcpy(p->plain + p->plain_len, plain.p, plain.len);
	p->plain_len += plain.len;
	free(plain.p);
}

/* The server takes these bytes in one go. */
static void server_take(struct pair *p, const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct span in = {.p = memcpy(copy, bytes, len), .len = len};
	struct sink reply = {.p = malloc(TLS_REPLY_MAX), .cap = TLS_REPLY_MAX};

	if (!p->up)
		p->result = tls_handshake(p->tls, &in, &reply);
	if (p->up || p->result == TLS_OK) {
		server_open(p, &in, &reply);
		p->up = true;
	}
	if (p->result == TLS_OK || p->result == TLS_WANT_READ)
		assert_int_equal(in.len, 0);
	if (reply.len)
		BIO_write(p->to, reply.p, (int)reply.len);
	p->replied += reply.len;
	free(reply.p);
	free(copy);
}

static bool server_alive(const struct pair *p)
{
	return p->result == TLS_OK || p->result == TLS_WANT_READ;
}

/* All that the client has sent goes to the server, cut into pieces. */
static void carry(struct pair *p, size_t piece)
{
	char *bytes;
	size_t len = (size_t)BIO_get_mem_data(p->from, &bytes);
	uint8_t *copy = malloc(len + 1);

	memcpy(copy, bytes, len);
	(void)BIO_reset(p->from);
	p->replied = 0;
	p->result = TLS_OK;
	for (size_t at = 0; at < len && server_alive(p); at += MIN(piece, len - at))
		server_take(p, copy + at, MIN(piece, len - at));
	free(copy);
}

/* True when both are through. */
static bool handshake(struct pair *p, size_t piece)
{
	bool done = false;

	for (int i = 0; i < 10 && !(done && p->up); i++) {
		done = SSL_do_handshake(p->ssl) == 1;
		ERR_clear_error();
		carry(p, piece);
		if (!server_alive(p))
			return false;
	}
	return done && p->up;
}

static void pair_up(struct pair *p, const struct suite *s)
{
	pair_init(p, s);
	assert_true(handshake(p, ALL));
	assert_int_equal(tls_on_records(p->tls), ours && s->version == TLS1_3_VERSION);
}

static uint8_t *pattern(size_t len)
{
	uint8_t *p = malloc(len + 1);

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7 + i / 251);
	return p;
}

static void client_write(struct pair *p, const uint8_t *bytes, size_t len)
{
	size_t done;

	while (len > 0) {
		assert_int_equal(SSL_write_ex(p->ssl, bytes, MIN(len, TLS_RECORD_MAX), &done), 1);
		bytes += done;
		len -= done;
	}
}

/* Exactly these bytes, and no others, were opened by the server since it was last looked at. */
static void expect_plain(struct pair *p, const uint8_t *want, size_t len)
{
	assert_int_equal(p->plain_len, len);
	if (len)
		assert_memory_equal(p->plain, want, len);
	p->plain_len = 0;
}

/* The client reads exactly these. */
static void expect_client(struct pair *p, const uint8_t *want, size_t len)
{
	uint8_t *got = malloc(len + 1);
	size_t at = 0, n;

	while (at < len && SSL_read_ex(p->ssl, got + at, len - at, &n) == 1)
		at += n;
	assert_int_equal(at, len);
	assert_memory_equal(got, want, len);
	assert_int_equal(SSL_read_ex(p->ssl, got, 1, &n), 0);
	assert_int_equal(SSL_get_error(p->ssl, 0), SSL_ERROR_WANT_READ);
	free(got);
}

/* Seals with no more room than it is promised. */
static void seal(struct pair *p, const uint8_t *bytes, size_t len)
{
	size_t room = tls_seal_bound(len);
	struct sink out = {.p = malloc(room), .cap = room};

	assert_true(tls_seal(p->tls, bytes, len, &out));
	assert_true(len == 0 ? out.len == 0 : out.len > len);
	if (out.len)
		BIO_write(p->to, out.p, (int)out.len);
	free(out.p);
}

static const size_t sizes[] = {
    1, 2, 15, 16, 17, 37, 1400, 16383, 16384, 16385, 32768, 65573, 65573 + 49152};

/* Every suite, whole and cut, both ways, every size of note. */
static void test_suites(void **state)
{
	static const size_t pieces[] = {1, 2, 3, 5, 6, 100, 1449, 16384, ALL};
	uint8_t *bytes = pattern(1 << 17);

	for (size_t s = 0; s < ARRAY_LEN(suites); s++) {
		for (size_t c = 0; c < ARRAY_LEN(pieces); c++) {
			struct pair p;

			pair_init(&p, &suites[s]);
			assert_true(handshake(&p, pieces[c]));
			assert_int_equal(tls_minor_version(p.tls),
			    suites[s].version == TLS1_3_VERSION ? 13 : 12);
			assert_string_equal(SSL_get_cipher_name(p.ssl), suites[s].cipher);
			expect_plain(&p, NULL, 0);
			for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
				if (pieces[c] < 100 && sizes[i] > 1400)
					break;
				client_write(&p, bytes, sizes[i]);
				carry(&p, pieces[c]);
				assert_int_equal(p.result, TLS_OK);
				expect_plain(&p, bytes, sizes[i]);
				seal(&p, bytes, sizes[i]);
				expect_client(&p, bytes, sizes[i]);
			}
			seal(&p, bytes, 0);
			pair_fini(&p);
		}
	}
	free(bytes);
}

/* No session tickets, at no time: neither behind the handshake nor with the first data. */
static void test_no_tickets(void **state)
{
	for (size_t s = 0; s < ARRAY_LEN(suites); s++) {
		struct pair p;

		pair_up(&p, &suites[s]);
		if (suites[s].version == TLS1_3_VERSION)
			assert_int_equal(p.replied, 0);
		client_write(&p, (const uint8_t *)"x", 1);
		carry(&p, ALL);
		assert_int_equal(p.replied, 0);
		expect_plain(&p, (const uint8_t *)"x", 1);
		assert_false(SSL_SESSION_is_resumable(SSL_get0_session(p.ssl)));
		pair_fini(&p);
	}
}

/* Data in the same flight as the end of the handshake: less and more than OpenSSL reads ahead. */
static void test_early_bytes(void **state)
{
	uint8_t *bytes = pattern(60000);

	for (size_t s = 0; s < ARRAY_LEN(suites); s++) {
		for (size_t len = 1; len < 60000; len = len * 3 + 1) {
			struct pair p;

			/* Only a TLS 1.3 client is through before the server is. */
			if (suites[s].version != TLS1_3_VERSION)
				continue;
			pair_init(&p, &suites[s]);
			SSL_do_handshake(p.ssl);
			carry(&p, ALL);
			assert_int_equal(SSL_do_handshake(p.ssl), 1);
			assert_false(p.up);
			for (size_t at = 0; at < len; at += 1000)
				client_write(&p, bytes + at, MIN(1000, len - at));
			carry(&p, 16384);
			assert_true(p.up);
			expect_plain(&p, bytes, len);
			pair_fini(&p);
		}
	}
	free(bytes);
}

/* Many small records in one receive, and a piece of the next. */
static void test_many_records(void **state)
{
	enum { RECORDS = 2000, EACH = 17 };
	uint8_t *bytes = pattern(RECORDS * EACH);

	for (size_t s = 0; s < ARRAY_LEN(suites); s++) {
		struct pair p;

		pair_up(&p, &suites[s]);
		for (int i = 0; i < RECORDS; i++)
			client_write(&p, bytes + i * EACH, EACH);
		carry(&p, s % 2 ? 65536 : ALL);
		assert_int_equal(p.result, TLS_OK);
		expect_plain(&p, bytes, RECORDS * EACH);
		pair_fini(&p);
	}
	free(bytes);
}

/* New keys of the client's, with and without asking for ours, between records of one flight. */
static void test_key_update(void **state)
{
	uint8_t *bytes = pattern(100000);

	for (size_t s = 0; s < ARRAY_LEN(suites); s++) {
		struct pair p;

		if (suites[s].version != TLS1_3_VERSION)
			continue;
		pair_up(&p, &suites[s]);
		for (int i = 0; i < 12; i++) {
			int how =
			    i % 3 == 0 ? SSL_KEY_UPDATE_NOT_REQUESTED : SSL_KEY_UPDATE_REQUESTED;

			client_write(&p, bytes, 50000);
			assert_int_equal(SSL_key_update(p.ssl, how), 1);
			client_write(&p, bytes + 50000, 50000);
			/* What we seal before we know of it, in time for the client to see. */
			seal(&p, bytes, 20000);
			carry(&p, i % 2 ? 1000 : ALL);
			assert_int_equal(p.result, TLS_OK);
			expect_plain(&p, bytes, 100000);
			seal(&p, bytes + 20000, 30000);
			expect_client(&p, bytes, 50000);
		}
		pair_fini(&p);
	}
	free(bytes);
}

/* Far more of them than any client needs: no answer outgrows its room. */
static void test_key_update_flood(void **state)
{
	struct pair p;

	pair_up(&p, &suites[3]);
	for (int i = 0; i < 3000; i++) {
		assert_int_equal(SSL_key_update(p.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		SSL_do_handshake(p.ssl);
	}
	client_write(&p, (const uint8_t *)"still", 5);
	carry(&p, 65536);
	if (p.result == TLS_OK) {
		expect_plain(&p, (const uint8_t *)"still", 5);
		seal(&p, (const uint8_t *)"here", 4);
		expect_client(&p, (const uint8_t *)"here", 4);
	} else {
		assert_int_equal(p.result, TLS_FAILED);
	}
	pair_fini(&p);
}

/* close_notify: what came before it is opened; ours reaches the client. */
static void test_close(void **state)
{
	for (size_t s = 0; s < ARRAY_LEN(suites); s++) {
		uint8_t bye[256], b;
		struct sink out = {.p = bye, .cap = sizeof(bye)};
		struct pair p;
		size_t n;

		pair_up(&p, &suites[s]);
		client_write(&p, (const uint8_t *)"last words", 10);
		SSL_shutdown(p.ssl);
		carry(&p, s % 2 ? 3 : ALL);
		assert_int_equal(p.result, TLS_CLOSED);
		expect_plain(&p, (const uint8_t *)"last words", 10);
		tls_close(p.tls, &out);
		assert_true(out.len > 0);
		BIO_write(p.to, bye, (int)out.len);
		assert_int_equal(SSL_read_ex(p.ssl, &b, 1, &n), 0);
		assert_int_equal(SSL_get_error(p.ssl, 0), SSL_ERROR_ZERO_RETURN);
		/* Without room it is left out. */
		out = (struct sink){.p = bye, .cap = 3};
		tls_close(p.tls, &out);
		assert_int_equal(out.len, 0);
		pair_fini(&p);
	}
}

/* A record that is cut short gives nothing, until its last byte. */
static void test_truncated(void **state)
{
	uint8_t *bytes = pattern(16384);

	for (size_t s = 0; s < ARRAY_LEN(suites); s++) {
		struct pair p;
		char *sealed;
		size_t len;

		pair_up(&p, &suites[s]);
		client_write(&p, bytes, 16384);
		len = (size_t)BIO_get_mem_data(p.from, &sealed);
		server_take(&p, (uint8_t *)sealed, len - 1);
		assert_int_equal(p.result, TLS_OK);
		expect_plain(&p, NULL, 0);
		server_take(&p, (uint8_t *)sealed + len - 1, 1);
		assert_int_equal(p.result, TLS_OK);
		expect_plain(&p, bytes, 16384);
		pair_fini(&p);
	}
	free(bytes);
}

/* One bit of a record is wrong, any: no byte of it comes out, and the client is told. */
static void test_forged(void **state)
{
	for (size_t s = 0; s < ARRAY_LEN(suites); s++) {
		for (size_t at = 0; at < 5 + 10 + 8; at++) {
			struct pair p;
			char *sealed;
			uint8_t b;
			size_t n;

			pair_up(&p, &suites[s]);
			client_write(&p, (const uint8_t *)"0123456789", 10);
			BIO_get_mem_data(p.from, &sealed);
			sealed[at] ^= 0x40;
			carry(&p, ALL);
			expect_plain(&p, NULL, 0);
			if (at == 3 || at == 4) {
				/* Longer, within the limits: as if it were not whole yet. */
				assert_int_equal(p.result, TLS_OK);
			} else {
				assert_int_equal(p.result, TLS_FAILED);
				assert_int_equal(SSL_read_ex(p.ssl, &b, 1, &n), 0);
				assert_int_equal(SSL_get_error(p.ssl, 0), SSL_ERROR_SSL);
			}
			pair_fini(&p);
		}
	}
}

/* It is not TLS at all. */
static void test_rubbish(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
	} rubbish[] = {
	    {"GET / HTTP/1.1\r\n\r\n", 18},
	    {"SSH-2.0-OpenSSH_9.2\r\n", 21},
	    /* A record too long for anything; one of SSL 2; an alert. */
	    {"\x16\x03\x01\xff\xff\xff\xff\xff\xff", 9},
	    {"\x80\x0b\x01\x00\x02\x00\x00\x00\x00\x00\x10\x00\x00", 13},
	    {"\x15\x03\x01\x00\x02\x02\x28", 7},
	};
	uint32_t state32 = 1;

	for (size_t i = 0; i < ARRAY_LEN(rubbish); i++) {
		struct pair p;

		pair_init(&p, &suites[3]);
		server_take(&p, (const uint8_t *)rubbish[i].bytes, rubbish[i].len);
		assert_int_equal(p.result, TLS_FAILED);
		assert_false(p.up);
		pair_fini(&p);
	}
	for (int i = 0; i < 300; i++) {
		struct pair p;
		uint8_t noise[600];

		pair_init(&p, &suites[3]);
		for (size_t k = 0; k < sizeof(noise); k++) {
			state32 = state32 * 1664525 + 1013904223;
			noise[k] = (uint8_t)(state32 >> 24);
		}
		/* Every other one looks like a handshake at first. */
		if (i % 2)
			memcpy(noise, "\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03", 11);
		server_take(&p, noise, sizeof(noise));
		assert_false(p.up);
		assert_int_equal(p.result, TLS_FAILED);
		pair_fini(&p);
	}
}

/* A real ClientHello with any one byte spoilt: no end but a proper one. */
static void test_spoilt_hello(void **state)
{
	size_t len = 1;

	for (size_t at = 0; at < len; at++) {
		struct pair p;
		char *hello;

		pair_init(&p, &suites[3]);
		SSL_do_handshake(p.ssl);
		len = (size_t)BIO_get_mem_data(p.from, &hello);
		hello[at] = (char)~hello[at];
		carry(&p, ALL);
		assert_int_not_equal(p.result, TLS_OK);
		assert_false(p.up);
		pair_fini(&p);
	}
	assert_true(len > 100);
}

static void test_old_version(void **state)
{
	static const struct suite old[] = {
	    {"1.1", TLS1_1_VERSION, "ECDHE-ECDSA-AES128-SHA:AES128-SHA"},
	    {"1.0", TLS1_VERSION, "ECDHE-ECDSA-AES128-SHA:AES128-SHA"},
	    {"1.2 CBC", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA"},
	};

	for (size_t i = 0; i < ARRAY_LEN(old); i++) {
		char *reply;
		struct pair p;

		pair_init(&p, &old[i]);
		assert_false(handshake(&p, ALL));
		assert_int_equal(p.result, TLS_FAILED);
		/* A fatal alert: protocol_version, or handshake_failure for the cipher. */
		assert_int_equal(BIO_get_mem_data(p.to, &reply), 7);
		assert_int_equal(reply[0], 21);
		assert_int_equal(reply[5], 2);
		assert_int_equal(reply[6], i < 2 ? 70 : 40);
		pair_fini(&p);
	}
}

static void test_alpn(void **state)
{
	static const struct {
		const char *offer;
		bool agreed;
	} cases[] = {
	    {"\x02h2", false},
	    {"\x08http/1.1", true},
	    {"\x02h2\x08http/1.1", true},
	    {"\x08http/1.0", false},
	    {NULL, false},
	};

	for (size_t s = 0; s < ARRAY_LEN(suites); s++) {
		for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
			const unsigned char *got;
			unsigned int len;
			struct pair p;

			pair_init(&p, &suites[s]);
			if (cases[i].offer)
				assert_int_equal(
				    SSL_set_alpn_protos(p.ssl, (const uint8_t *)cases[i].offer,
					(unsigned int)strlen(cases[i].offer)),
				    0);
			assert_true(handshake(&p, ALL));
			SSL_get0_alpn_selected(p.ssl, &got, &len);
			assert_int_equal(len, cases[i].agreed ? 8 : 0);
			if (len)
				assert_memory_equal(got, "http/1.1", 8);
			pair_fini(&p);
		}
	}
}

/* A client of TLS 1.2 may not start over. */
static void test_renegotiation(void **state)
{
	struct pair p;

	pair_up(&p, &suites[0]);
	assert_int_equal(SSL_renegotiate(p.ssl), 1);
	SSL_do_handshake(p.ssl);
	ERR_clear_error();
	carry(&p, ALL);
	/* Refused by a warning, or the end of it all; never a second handshake. */
	assert_true(p.result == TLS_FAILED || (p.result == TLS_OK && p.replied < 64));
	pair_fini(&p);
}

/* Without room sealing fails, and says so. */
static void test_no_room(void **state)
{
	uint8_t *bytes = pattern(40000), small[1000];
	struct pair p;

	for (size_t len = 1000; len <= 40000; len += 13000) {
		struct sink out = {.p = small, .cap = sizeof(small)};

		pair_up(&p, &suites[3]);
		assert_false(tls_seal(p.tls, bytes, len, &out));
		pair_fini(&p);
	}
	free(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_suites),
	    cmocka_unit_test(test_no_tickets),
	    cmocka_unit_test(test_early_bytes),
	    cmocka_unit_test(test_many_records),
	    cmocka_unit_test(test_key_update),
	    cmocka_unit_test(test_key_update_flood),
	    cmocka_unit_test(test_close),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_forged),
	    cmocka_unit_test(test_rubbish),
	    cmocka_unit_test(test_spoilt_hello),
	    cmocka_unit_test(test_old_version),
	    cmocka_unit_test(test_alpn),
	    cmocka_unit_test(test_renegotiation),
	    cmocka_unit_test(test_no_room),
	};

	int failed = cmocka_run_group_tests_name("tls", tests, make_server, free_server);

	/* The other engine must not be told from ours. */
	ours = false;
	tls_use_records(false);
	return failed +
	       cmocka_run_group_tests_name("tls on openssl", tests, make_server, free_server);
}
