/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Both engines of io/tls.h on the same records: our record layer must take what OpenSSL takes,
 * refuse what it refuses, and open the same plaintext. Each input shakes hands with both, by a
 * pre-shared key without Diffie-Hellman, as that is quick; a hostile client seals the records.
 *
 * An input is a byte for the suite, then records: a byte for how many times 257 zeros pad it (the
 * low 6 bits) and what is wrong with it (the high 2), a byte for the content type, one for the
 * length of the content that follows.
 */
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>

#include "base/key.h"
#include "fuzz.h"
#include "io/record.h"
#include "io/tls.h"

#define RECORDS_MAX 16 /* below every limit on what comes in storms, of either engine */
#define ROOM (128u << 10)

enum wrong { WRONG_NOTHING, WRONG_TAG, WRONG_TYPE, WRONG_LENGTH };

struct suite {
	const char *name;
	unsigned char id[2];
	enum aead_kind kind;
	size_t secret_len;
};

static const struct suite suites[] = {
    {"TLS_AES_128_GCM_SHA256", {0x13, 1}, AEAD_AES_128_GCM, 32},
    {"TLS_AES_256_GCM_SHA384", {0x13, 2}, AEAD_AES_256_GCM, 48},
    {"TLS_CHACHA20_POLY1305_SHA256", {0x13, 3}, AEAD_CHACHA20_POLY1305, 32},
};

/* One engine and its client. */
struct side {
	struct tls *tls;
	struct record client;
	struct sink plain;
	enum tls_result res;
};

static const struct suite *suite;
static uint8_t secret[2][RECORD_SECRET_MAX]; /* of the client's, of the server's sending */
static SSL_CTX *server_ctx, *client_ctx;
static uint8_t plain[2][ROOM], wire[ROOM], reply[ROOM], inner[RECORD_PLAIN_MAX + 512];

/* ---- Handshake ------------------------------------------------------------------------------- */

static SSL_SESSION *make_session(SSL *ssl)
{
	static const uint8_t psk[RECORD_SECRET_MAX];
	SSL_SESSION *s = SSL_SESSION_new();

	CHECK(s && SSL_SESSION_set1_master_key(s, psk, suite->secret_len) &&
	      SSL_SESSION_set_cipher(s, SSL_CIPHER_find(ssl, suite->id)) &&
	      SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION));
	return s;
}

static int find_session(SSL *ssl, const unsigned char *id, size_t len, SSL_SESSION **s)
{
	*s = make_session(ssl);
	return 1;
}

static int use_session(
    SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *len, SSL_SESSION **s)
{
	*s = make_session(ssl);
	*id = (const unsigned char *)"fuzz";
	*len = 4;
	return 1;
}

static void log_key(const SSL *ssl, const char *line)
{
	static const char *const label[] = {"CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 "};

	for (int i = 0; i < 2; i++)
		if (strncmp(line, label[i], strlen(label[i])) == 0)
			CHECK(
			    key_unhex(line + strlen(label[i]) + 65, suite->secret_len, secret[i]));
}

static void make_contexts(void)
{
	if (server_ctx)
		return;
	server_ctx = tls_server_ctx_new();
	client_ctx = SSL_CTX_new(TLS_client_method());
	CHECK(server_ctx && client_ctx);
	SSL_CTX_set_options(server_ctx, SSL_OP_ALLOW_NO_DHE_KEX);
	SSL_CTX_set_options(client_ctx, SSL_OP_ALLOW_NO_DHE_KEX);
	SSL_CTX_set_psk_find_session_callback(server_ctx, find_session);
	SSL_CTX_set_psk_use_session_callback(client_ctx, use_session);
	SSL_CTX_set_keylog_callback(client_ctx, log_key);
	/* Without a key share, the server can do without the curve's mathematics. */
	CHECK(SSL_CTX_set_min_proto_version(client_ctx, TLS1_3_VERSION));
}

static void shake_hands(struct side *s)
{
	SSL *ssl = SSL_new(client_ctx);
	BIO *down = BIO_new(BIO_s_mem()), *up = BIO_new(BIO_s_mem());
	enum tls_result res = TLS_WANT_READ;

	CHECK(ssl && down && up && SSL_set_ciphersuites(ssl, suite->name));
	SSL_set_bio(ssl, down, up);
	SSL_set_connect_state(ssl);
	s->tls = tls_new(server_ctx);
	CHECK(s->tls);
	while (res == TLS_WANT_READ) {
		struct sink out = {.p = reply, .cap = sizeof(reply)};
		struct span in = {.p = wire};
		int n;

		SSL_do_handshake(ssl);
		n = BIO_read(up, wire, sizeof(wire));
		CHECK(n > 0);
		in.len = (size_t)n;
		res = tls_handshake(s->tls, &in, &out);
		CHECK(in.len == 0);
		BIO_write(down, out.p, (int)out.len);
	}
	CHECK(res == TLS_OK && tls_minor_version(s->tls) == 13);
	SSL_free(ssl);
	ERR_clear_error();
	record_init(&s->client, suite->kind, suite->secret_len, secret[1], secret[0]);
}

/* ---- Records --------------------------------------------------------------------------------- */

/* Seals `len` bytes of inner plaintext, content type and padding included, as they are. */
static size_t seal_inner(struct record *r, size_t len, enum wrong wrong)
{
	size_t body = len + AEAD_TAG_LEN;
	uint8_t nonce[AEAD_NONCE_LEN];
	struct aead a;

	memcpy(wire, (uint8_t[]){23, 3, 3, (uint8_t)(body >> 8), (uint8_t)body}, RECORD_HEADER_LEN);
	if (wrong == WRONG_TYPE)
		wire[0] = inner[0];
	memcpy(nonce, r->tx.iv, sizeof(nonce));
	for (int i = 0; i < 8; i++)
		nonce[4 + i] ^= (uint8_t)(r->tx.seq >> (56 - 8 * i));
	r->tx.seq++;
	CHECK(aead_begin(&a, suite->kind, r->tx.key, true));
	CHECK(aead_seal(&a, nonce, wire, RECORD_HEADER_LEN, inner, len - 1, inner[len - 1],
	    wire + RECORD_HEADER_LEN));
	aead_end(&a);
	if (wrong == WRONG_TAG)
		wire[RECORD_HEADER_LEN + len + inner[0] % AEAD_TAG_LEN] ^= 1;
	if (wrong == WRONG_LENGTH)
		wire[4] ^= 1; /* the tag covers it: one byte too few, or one to wait for */
	return RECORD_HEADER_LEN + body;
}

/* Our key is changed behind a KeyUpdate of ours, as the engine will expect. */
static bool is_key_update(const uint8_t *p, size_t len)
{
	return len == 5 && memcmp(p, "\x18\0\0\1", 4) == 0 && p[4] <= 1;
}

static void update_key(struct record *r)
{
	struct record next;
	uint8_t up[RECORD_SECRET_MAX];

	record_expand(r->tx.secret, suite->secret_len, "traffic upd", up, suite->secret_len);
	record_init(&next, suite->kind, suite->secret_len, r->rx.secret, up);
	r->tx = next.tx;
}

/* The client reads what the engine says; it must be able to. */
static void hear(struct side *s, const struct sink *said)
{
	struct span in = {.p = said->p, .len = said->len};
	uint8_t heard[1024], none[256];
	struct sink to = {.p = heard, .cap = sizeof(heard)};
	struct sink out = {.p = none, .cap = sizeof(none)};
	enum record_result res = record_open(&s->client, &in, &to, &out);

	/* A client that fails sends an alert; one that is told to has nothing to say. */
	CHECK(out.len == 0);
	CHECK(said->len == 0 || s->res == TLS_FAILED || res == RECORD_OK);
}

static void feed(struct side *s, size_t inner_len, enum wrong wrong, bool update)
{
	struct span in = {.p = wire, .len = seal_inner(&s->client, inner_len, wrong)};
	struct sink said = {.p = reply, .cap = sizeof(reply)};

	s->res = tls_open(s->tls, &in, &s->plain, &said);
	if (update)
		update_key(&s->client);
	hear(s, &said);
}

/* Still alive: what it seals can be opened. */
static void check_sealing(struct side *s)
{
	uint8_t heard[1024];
	struct sink said = {.p = reply, .cap = sizeof(reply)};
	struct sink to = {.p = heard, .cap = sizeof(heard)};
	struct sink none = {.p = heard, .cap = 0};
	struct span in;

	CHECK(tls_seal(s->tls, (const uint8_t *)"hello", 5, &said));
	in = (struct span){.p = said.p, .len = said.len};
	CHECK(record_open(&s->client, &in, &to, &none) == RECORD_OK);
	CHECK(to.len == 5 && memcmp(heard, "hello", 5) == 0);
}

/* Where ours may say something else. It is stricter with handshake messages that are not a whole
 * KeyUpdate, of which OpenSSL waits to see more; and it takes a close_notify of any level, as
 * RFC 8446, 6 says, where SSL_get_error calls some a failure. */
static bool same(const struct side side[2], uint8_t type, const uint8_t *p, size_t len)
{
	if (type == 22 && !is_key_update(p, len) && side[0].res == TLS_FAILED)
		return true;
	if (type == 21 && len == 2 && p[0] != 1 && p[1] == 0 && side[0].res == TLS_CLOSED)
		return side[1].res != TLS_OK;
	return side[0].res == side[1].res;
}

static void compare(struct side side[2], const uint8_t *p, size_t len)
{
	for (int i = 0; i < RECORDS_MAX && len >= 3; i++) {
		enum wrong wrong = p[0] >> 6;
		size_t n = MIN((size_t)p[2], len - 3), end = n + 1, pad = (p[0] & 63u) * 257u;
		bool update;

		memcpy(inner, p + 3, n);
		inner[n] = p[1];
		memset(inner + n + 1, 0, pad);
		/* As a receiver will see it: the type may be content with zeros behind it. */
		while (end > 1 && inner[end - 1] == 0)
			end--;
		update =
		    wrong == WRONG_NOTHING && inner[end - 1] == 22 && is_key_update(inner, end - 1);
		for (int k = 0; k < 2; k++)
			feed(&side[k], n + 1 + pad, wrong, update);
		CHECK(side[0].plain.len == side[1].plain.len);
		CHECK(memcmp(side[0].plain.p, side[1].plain.p, side[0].plain.len) == 0);
		CHECK(same(side, inner[end - 1], inner, end - 1));
		if (side[0].res != TLS_OK || wrong == WRONG_LENGTH)
			return;
		p += 3 + n;
		len -= 3 + n;
	}
	for (int k = 0; k < 2; k++)
		check_sealing(&side[k]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct side side[2];

	if (size < 1)
		return 0;
	suite = &suites[data[0] % ARRAY_LEN(suites)];
	aead_init();
	make_contexts();
	for (int k = 0; k < 2; k++) {
		side[k] = (struct side){.plain = {.p = plain[k], .cap = ROOM}};
		tls_use_records(k == 0);
		shake_hands(&side[k]);
	}
	tls_use_records(true);
	compare(side, data + 1, size - 1);
	for (int k = 0; k < 2; k++) {
		record_fini(&side[k].client);
		tls_free(side[k].tls);
	}
	return 0;
}
