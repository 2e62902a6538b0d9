/* SPDX-License-Identifier: BSD-3-Clause */
/* Both ends of the TLS engine over memory: whom a client trusts, and what it takes of a server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include "io/tls.h"
#include "io/wipe.h"
#include "daemon/selfcert.h"

#define ROOM (256u << 10)

static EVP_PKEY *ca_key, *leaf_key;
static X509 *ca, *leaf; /* the leaf is for derp.example.com, *.wild.example.com and two addresses */
static X509 *alone;     /* self-signed, with the leaf's key and names */
static X509 *expired;   /* like it, but of yesterday */
static X509 *future;    /* like it, but of tomorrow */

/* ---- Certificates ---------------------------------------------------------------------------- */

static void extend(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(e);
	assert_int_equal(X509_add_ext(x, e, -1), 1);
	X509_EXTENSION_free(e);
}

static X509 *make(EVP_PKEY *key, const char *cn, const char *san, X509 *issuer, EVP_PKEY *by,
    long from_s, long to_s)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);

	assert_int_equal(X509_set_version(x, 2), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
	X509_gmtime_adj(X509_getm_notBefore(x), from_s);
	X509_gmtime_adj(X509_getm_notAfter(x), to_s);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)cn, -1, -1, 0);
	X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name);
	X509_set_pubkey(x, key);
	if (san)
		extend(x, NID_subject_alt_name, san);
	else
		extend(x, NID_basic_constraints, "critical,CA:TRUE");
	assert_true(X509_sign(x, by, EVP_sha256()) > 0);
	return x;
}

static int make_certs(void **state)
{
	static const char san[] = "DNS:derp.example.com,DNS:*.wild.example.com,IP:127.0.0.1,IP:::1";

	ca_key = EVP_EC_gen("P-256");
	leaf_key = EVP_EC_gen("P-256");
	ca = make(ca_key, "an authority", NULL, NULL, ca_key, -3600, 3600);
	leaf = make(leaf_key, "cn.example.com", san, ca, ca_key, -3600, 3600);
	alone = make(leaf_key, "cn.example.com", san, NULL, leaf_key, -3600, 3600);
	expired = make(leaf_key, "cn.example.com", san, NULL, leaf_key, -7200, -3600);
	future = make(leaf_key, "cn.example.com", san, NULL, leaf_key, 3600, 7200);
	return 0;
}

static int free_certs(void **state)
{
	X509_free(ca);
	X509_free(leaf);
	X509_free(alone);
	X509_free(expired);
	X509_free(future);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(leaf_key);
	return 0;
}

/* ---- Two ends -------------------------------------------------------------------------------- */

struct ends {
	SSL_CTX *server_ctx, *client_ctx;
	struct tls *server, *client;
	enum tls_result at_server, at_client; /* of the handshake */
	size_t early;                         /* bytes that the client opened with its handshake */
	bool records;                         /* the client's are ours */
	bool tickets; /* the server sends some, which our records don't know of: it is OpenSSL's */
	struct key *learn; /* where the client puts what a meta certificate tells */
	uint8_t sni[256];
};

static int keep_sni(SSL *ssl, int *alert, void *arg)
{
	struct ends *e = arg;
	const uint8_t *ext;
	size_t len;

	if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &ext, &len) && len > 5)
		memcpy(e->sni, ext + 5, MIN(len - 5, sizeof(e->sni) - 1));
	return SSL_CLIENT_HELLO_SUCCESS;
}

static void ends_init(struct ends *e, X509 *cert, X509 *trusted, int version, int tickets)
{
	*e = (struct ends){
	    .server_ctx = tls_server_ctx_new(),
	    .client_ctx = tls_client_ctx_new(),
	    .records = true,
	    .at_server = TLS_WANT_READ,
	    .at_client = TLS_WANT_READ,
	};
	assert_non_null(e->server_ctx);
	assert_non_null(e->client_ctx);
	assert_int_equal(SSL_CTX_use_certificate(e->server_ctx, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(e->server_ctx, leaf_key), 1);
	SSL_CTX_set_max_proto_version(e->server_ctx, version);
	SSL_CTX_set_client_hello_cb(e->server_ctx, keep_sni, e);
	e->tickets = tickets > 0;
	if (tickets) {
		SSL_CTX_clear_options(e->server_ctx, SSL_OP_NO_TICKET);
		SSL_CTX_set_num_tickets(e->server_ctx, (size_t)tickets);
	}
	if (trusted)
		X509_STORE_add_cert(SSL_CTX_get_cert_store(e->client_ctx), trusted);
	e->server = tls_new(e->server_ctx);
	assert_non_null(e->server);
}

static void ends_fini(struct ends *e)
{
	tls_free(e->server);
	tls_free(e->client);
	SSL_CTX_free(e->server_ctx);
	SSL_CTX_free(e->client_ctx);
	ERR_clear_error();
}

/* One end takes all of it, then opens what is behind the handshake. */
static void step(
    struct tls *t, enum tls_result *state, const struct sink *from, struct sink *to, size_t *early)
{
	static uint8_t plain[ROOM];
	struct span in = {.p = from->p, .len = from->len};
	struct sink out = {.p = plain, .cap = sizeof(plain)};

	if (*state == TLS_WANT_READ)
		*state = tls_handshake(t, &in, to);
	if (*state == TLS_OK && in.len > 0) {
		*state = tls_open(t, &in, &out, to);
		*early += out.len;
	}
}

/* The handshake, until neither has more to say. */
static void shake(struct ends *e, const char *host, const uint8_t *pin)
{
	static uint8_t up[ROOM], down[ROOM];
	struct sink to_server = {.p = up, .cap = sizeof(up)};
	struct sink to_client = {.p = down, .cap = sizeof(down)};
	size_t none = 0;

	e->client = tls_new_client(e->client_ctx, host, pin);
	assert_non_null(e->client);
	if (e->learn)
		tls_learn_server_key(e->client, e->learn);
	tls_use_records(e->records);
	step(e->client, &e->at_client, &to_client, &to_server, &e->early);
	while (to_server.len > 0) {
		to_client.len = 0;
		tls_use_records(!e->tickets);
		step(e->server, &e->at_server, &to_server, &to_client, &none);
		to_server.len = 0;
		tls_use_records(e->records);
		step(e->client, &e->at_client, &to_client, &to_server, &e->early);
	}
	assert_int_equal(none, 0);
	tls_use_records(true);
}

/* Bytes from one to the other. */
static void carry(struct tls *from, struct tls *to, size_t len)
{
	static uint8_t text[ROOM], wire[ROOM * 2], got[ROOM * 2], back[TLS_REPLY_MAX];
	struct sink sealed = {.p = wire, .cap = sizeof(wire)};
	struct sink plain = {.p = got, .cap = sizeof(got)};
	struct sink reply = {.p = back, .cap = sizeof(back)};
	struct span in;

	for (size_t i = 0; i < len; i++)
		text[i] = (uint8_t)(i * 7 >> 2);
	assert_true(tls_seal(from, text, len, &sealed));
	in = (struct span){.p = wire, .len = sealed.len};
	assert_int_equal(tls_open(to, &in, &plain, &reply), TLS_OK);
	assert_int_equal(plain.len, len);
	assert_memory_equal(got, text, len);
	assert_int_equal(reply.len, 0);
}

static void expect_up(struct ends *e, int minor)
{
	assert_int_equal(e->at_client, TLS_OK);
	assert_int_equal(e->at_server, TLS_OK);
	assert_int_equal(e->early, 0);
	/* What is left there would be taken for another connection's failure. */
	assert_int_equal(ERR_peek_error(), 0);
	assert_int_equal(tls_minor_version(e->client), minor);
	for (size_t len = 1; len < 100000; len = len * 3 + 1) {
		carry(e->client, e->server, len);
		carry(e->server, e->client, len);
	}
}

static void expect_refusal(struct ends *e, const char *why)
{
	char text[TLS_ERROR_LEN];

	assert_int_equal(e->at_client, TLS_FAILED);
	/* In TLS 1.3 the server, too, hears of it before anything else. */
	assert_int_not_equal(e->at_server, TLS_OK);
	tls_error_text(e->client, text);
	assert_int_equal(ERR_peek_error(), 0);
	if (!strstr(text, why))
		fail_msg("\"%s\" says nothing of \"%s\"", text, why);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* Good names and addresses; SNI for names only. */
static void test_good_hosts(void **state)
{
	static const struct {
		const char *host, *sni;
	} good[] = {
	    {"derp.example.com", "derp.example.com"},
	    {"DERP.example.com", "DERP.example.com"},
	    {"derp.example.com.", "derp.example.com"},
	    {"a.wild.example.com", "a.wild.example.com"},
	    {"127.0.0.1", ""},
	    {"::1", ""},
	    {"0:0::0001", ""},
	};

	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		for (size_t i = 0; i < ARRAY_LEN(good); i++) {
			struct ends e;

			ends_init(&e, leaf, ca, versions[v], 0);
			shake(&e, good[i].host, NULL);
			expect_up(&e, v == 0 ? 12 : 13);
			assert_string_equal((char *)e.sni, good[i].sni);
			ends_fini(&e);
		}
	}
}

/* The common name counts for nothing where there are other names. */
static void test_bad_hosts(void **state)
{
	static const char *const bad[] = {"other.example.com", "cn.example.com", "wild.example.com",
	    "a.b.wild.example.com", "example.com", "127.0.0.2", "::2"};

	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
			struct ends e;

			ends_init(&e, leaf, ca, versions[v], 0);
			shake(&e, bad[i], NULL);
			expect_refusal(&e, "is for another name");
			ends_fini(&e);
		}
	}
}

static void test_bad_chains(void **state)
{
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		struct ends e;

		ends_init(&e, leaf, NULL, versions[v], 0);
		shake(&e, "derp.example.com", NULL);
		expect_refusal(&e, "is not trusted: unable to get local issuer certificate");
		ends_fini(&e);
		ends_init(&e, alone, ca, versions[v], 0);
		shake(&e, "derp.example.com", NULL);
		expect_refusal(&e, "self-signed certificate (use -mesh-ca or -mesh-pin)");
		ends_fini(&e);
		ends_init(&e, expired, expired, versions[v], 0);
		shake(&e, "derp.example.com", NULL);
		expect_refusal(&e, "expired");
		ends_fini(&e);
	}
}

/* A server's own certificate as what is trusted, self-signed or not. */
static void test_trusted_leaf(void **state)
{
	struct ends e;

	ends_init(&e, alone, alone, TLS1_3_VERSION, 0);
	shake(&e, "derp.example.com", NULL);
	expect_up(&e, 13);
	ends_fini(&e);
	ends_init(&e, leaf, leaf, TLS1_3_VERSION, 0);
	shake(&e, "127.0.0.1", NULL);
	expect_up(&e, 13);
	ends_fini(&e);
	ends_init(&e, leaf, leaf, TLS1_3_VERSION, 0);
	shake(&e, "127.0.0.2", NULL);
	expect_refusal(&e, "another name");
	ends_fini(&e);
}

static void digest(X509 *x, uint8_t pin[TLS_PIN_LEN])
{
	uint8_t d[EVP_MAX_MD_SIZE];
	unsigned int n;

	assert_int_equal(X509_digest(x, EVP_sha256(), d, &n), 1);
	memcpy(pin, d, TLS_PIN_LEN);
}

/* A pin replaces name and chain, and nothing replaces the pin. */
static void test_pins(void **state)
{
	uint8_t pin[TLS_PIN_LEN];

	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		struct ends e;

		digest(alone, pin);
		ends_init(&e, alone, NULL, versions[v], 0);
		shake(&e, "quite.another.name", pin);
		expect_up(&e, v == 0 ? 12 : 13);
		assert_string_equal((char *)e.sni, "quite.another.name");
		ends_fini(&e);
		/* The meta certificate behind it is of no interest. */
		ends_init(&e, alone, NULL, versions[v], 0);
		SSL_CTX_add1_chain_cert(e.server_ctx, ca);
		tls_free(e.server);
		e.server = tls_new(e.server_ctx);
		shake(&e, "192.0.2.1", pin);
		expect_up(&e, v == 0 ? 12 : 13);
		ends_fini(&e);
		/* A good chain and name, but another certificate. */
		ends_init(&e, leaf, ca, versions[v], 0);
		shake(&e, "derp.example.com", pin);
		expect_refusal(&e, "-mesh-pin");
		ends_fini(&e);
		pin[31] ^= 1;
		ends_init(&e, alone, alone, versions[v], 0);
		shake(&e, "derp.example.com", pin);
		expect_refusal(&e, "-mesh-pin");
		ends_fini(&e);
		digest(future, pin);
		ends_init(&e, future, NULL, versions[v], 0);
		shake(&e, "derp.example.com", pin);
		expect_refusal(&e, "not good today");
		ends_fini(&e);
		digest(expired, pin);
		ends_init(&e, expired, NULL, versions[v], 0);
		shake(&e, "derp.example.com", pin);
		expect_refusal(&e, "expired");
		ends_fini(&e);
	}
}

/* Tickets come right behind the handshake, and are not data; on our records and on OpenSSL's. */
static void test_tickets(void **state)
{
	static const int counts[] = {1, 2, 10};

	for (int records = 0; records < 2; records++) {
		for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
			struct ends e;

			ends_init(&e, leaf, ca, TLS1_3_VERSION, counts[i]);
			e.records = records;
			shake(&e, "::1", NULL);
			expect_up(&e, 13);
			ends_fini(&e);
		}
	}
}

/* What the load generator does: takes any certificate, and the server's key out of the chain. */
static void test_unverified(void **state)
{
	struct key server = {{1, 2, 3}}, told;
	X509 *meta = selfcert_meta(&server, 1), *other = selfcert_meta(&(struct key){{9}}, 1);

	assert_non_null(meta);
	assert_null(tls_unverified_ctx_new("TLS_NO_SUCH_SUITE"));
	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		for (int chain = 0; chain < 3; chain++) {
			struct ends e;

			ends_init(&e, expired, NULL, versions[v], 2);
			SSL_CTX_free(e.client_ctx);
			e.client_ctx = tls_unverified_ctx_new("TLS_AES_256_GCM_SHA384");
			assert_non_null(e.client_ctx);
			/* A chain without one, with one, and with two, of which the first counts.
			 */
			SSL_CTX_add1_chain_cert(e.server_ctx, ca);
			if (chain > 0)
				SSL_CTX_add1_chain_cert(e.server_ctx, meta);
			if (chain > 1)
				SSL_CTX_add1_chain_cert(e.server_ctx, other);
			tls_free(e.server);
			e.server = tls_new(e.server_ctx);
			memset(&told, 0, sizeof(told));
			e.learn = &told;
			shake(&e, NULL, NULL);
			expect_up(&e, v == 0 ? 12 : 13);
			assert_int_equal(tls_on_records(e.client), v == 1);
			assert_int_equal(key_equal(&told, &server), chain > 0);
			assert_int_equal(key_is_zero(&told), chain == 0);
			assert_string_equal((char *)e.sni, "");
			ends_fini(&e);
		}
	}
	X509_free(meta);
	X509_free(other);
}

/* Records of one size each, whoever makes them. */
static void test_seal_each(void **state)
{
	static uint8_t text[5000], wire[ROOM], got[ROOM], back[TLS_REPLY_MAX];

	for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
		struct sink sealed = {.p = wire, .cap = sizeof(wire)};
		struct sink plain = {.p = got, .cap = sizeof(got)};
		struct sink reply = {.p = back, .cap = sizeof(back)};
		struct span in;
		size_t records = 0;
		struct ends e;

		memset(text, 7, sizeof(text));
		ends_init(&e, leaf, ca, versions[v], 0);
		shake(&e, "::1", NULL);
		assert_true(tls_seal_each(e.client, text, sizeof(text), 1000, &sealed));
		for (size_t at = 0; at < sealed.len; records++)
			at += 5u + ((size_t)wire[at + 3] << 8 | wire[at + 4]);
		assert_int_equal(records, 5);
		in = (struct span){.p = wire, .len = sealed.len};
		assert_int_equal(tls_open(e.server, &in, &plain, &reply), TLS_OK);
		assert_int_equal(plain.len, sizeof(text));
		assert_memory_equal(got, text, sizeof(text));
		ends_fini(&e);
	}
}

static void test_not_tls(void **state)
{
	static const char answer[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
	struct span in = {.p = (const uint8_t *)answer, .len = sizeof(answer) - 1};
	uint8_t wire[2048];
	struct sink out = {.p = wire, .cap = sizeof(wire)};
	SSL_CTX *ctx = tls_client_ctx_new();
	struct tls *t = tls_new_client(ctx, "h", NULL);
	struct span none = {0};
	char text[TLS_ERROR_LEN];

	assert_int_equal(tls_handshake(t, &none, &out), TLS_WANT_READ);
	assert_true(out.len > 100);
	assert_int_equal(tls_handshake(t, &in, &out), TLS_FAILED);
	tls_error_text(t, text);
	assert_string_equal(text, "the TLS handshake failed: wrong version number");
	tls_free(t);
	assert_null(tls_new_client(ctx, "", NULL));
	SSL_CTX_free(ctx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good_hosts),
	    cmocka_unit_test(test_bad_hosts),
	    cmocka_unit_test(test_bad_chains),
	    cmocka_unit_test(test_trusted_leaf),
	    cmocka_unit_test(test_pins),
	    cmocka_unit_test(test_tickets),
	    cmocka_unit_test(test_unverified),
	    cmocka_unit_test(test_seal_each),
	    cmocka_unit_test(test_not_tls),
	};

	wipe_init();
	return cmocka_run_group_tests_name("tls_client", tests, make_certs, free_certs);
}
