/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sodium.h>

#include "base/clock.h"
#include "daemon/certs.h"
#include "daemon/selfcert.h"
#include "log_keep.h"
#include "wire/frame.h"

#define NAME "relay.example.com"
#define DAY_S 86400L

static char dir[64];
static char err[512];
static struct login_keys server;
static struct options o;

/* --- making certificates --- */

static EVP_PKEY *new_key(void)
{
	EVP_PKEY *k = EVP_EC_gen("P-256");

	assert_non_null(k);
	return k;
}

static X509 *new_cert(EVP_PKEY *key, const char *san, long from_s, long to_s)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);
	X509_EXTENSION *ext;

	assert_int_equal(X509_set_version(x, 2), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 77);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)NAME, -1, -1, 0);
	X509_set_issuer_name(x, name);
	X509_gmtime_adj(X509_getm_notBefore(x), from_s);
	X509_gmtime_adj(X509_getm_notAfter(x), to_s);
	X509_set_pubkey(x, key);
	if (san) {
		ext = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
		assert_non_null(ext);
		X509_add_ext(x, ext, -1);
		X509_EXTENSION_free(ext);
	}
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	return x;
}

static FILE *open_file(const char *name)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	return f;
}

/* Both files for o.hostname; `chain` certificates go behind the leaf. */
static void put_pair(const char *san, long from_s, long to_s, int chain, bool other_key)
{
	char name[128];
	EVP_PKEY *key = new_key(), *wrong = new_key();
	X509 *leaf = new_cert(key, san, from_s, to_s);
	FILE *f;

	snprintf(name, sizeof(name), "%s.crt", o.hostname);
	f = open_file(name);
	PEM_write_X509(f, leaf);
	for (int i = 0; i < chain; i++) {
		X509 *x = new_cert(wrong, "DNS:ca", from_s, to_s);

		PEM_write_X509(f, x);
		X509_free(x);
	}
	fclose(f);
	snprintf(name, sizeof(name), "%s.key", o.hostname);
	f = open_file(name);
	PEM_write_PrivateKey(f, other_key ? wrong : key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	X509_free(leaf);
	EVP_PKEY_free(key);
	EVP_PKEY_free(wrong);
}

static void put_text(const char *name, const char *text)
{
	FILE *f = open_file(name);

	fputs(text, f);
	fclose(f);
}

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "certs-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	login_keys_new(&server);
	memset(&o, 0, sizeof(o));
	o.hostname = (char *)NAME;
	o.certdir = dir;
	o.certmode = (char *)"manual";
	o.listen = (char *)":443";
	o.stun = true;
	o.stun_port = 3478;
	o.tls = true;
	log_keep();
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	log_set_sink(NULL, NULL);
	assert_int_equal(ERR_peek_error(), 0);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void for_ip(const char *ip)
{
	o.hostname = (char *)ip;
	o.hostname_is_ip = true;
}

static SSL_CTX *must_ctx(void)
{
	SSL_CTX *ctx = certs_server_ctx(&o, &server, err, sizeof(err));

	if (!ctx)
		fail_msg("%s", err);
	return ctx;
}

static void expect_error(const char *part)
{
	assert_null(certs_server_ctx(&o, &server, err, sizeof(err)));
	if (!strstr(err, part))
		fail_msg("\"%s\" says nothing of \"%s\"", err, part);
	assert_null(strchr(err, '\n'));
}

/* --- handshakes --- */

/* Shakes hands in memory; the client, or NULL when it was refused. */
static SSL *shake(SSL_CTX *server_ctx, const char *sni, int version)
{
	SSL_CTX *client_ctx = SSL_CTX_new(TLS_client_method());
	SSL *c, *s = SSL_new(server_ctx);
	BIO *cb, *sb;
	int crc = 0, src = 0;

	assert_non_null(client_ctx);
	SSL_CTX_set_min_proto_version(client_ctx, version);
	SSL_CTX_set_max_proto_version(client_ctx, version);
	c = SSL_new(client_ctx);
	SSL_CTX_free(client_ctx);
	assert_true(c && s);
	assert_int_equal(BIO_new_bio_pair(&cb, 65536, &sb, 65536), 1);
	SSL_set_bio(c, cb, cb);
	SSL_set_bio(s, sb, sb);
	SSL_set_connect_state(c);
	SSL_set_accept_state(s);
	if (sni)
		SSL_set_tlsext_host_name(c, sni);
	for (int i = 0; i < 10; i++) {
		crc = SSL_do_handshake(c);
		src = SSL_do_handshake(s);
	}
	SSL_free(s);
	ERR_clear_error();
	if (crc == 1 && src == 1)
		return c;
	SSL_free(c);
	return NULL;
}

static bool accepts(SSL_CTX *ctx, const char *sni)
{
	SSL *c = shake(ctx, sni, TLS1_3_VERSION);

	SSL_free(c);
	return c != NULL;
}

static time_t to_time(const ASN1_TIME *t)
{
	struct tm tm;

	assert_int_equal(ASN1_TIME_to_tm(t, &tm), 1);
	return timegm(&tm);
}

/* What clients look for, as strictly as Go reads it. */
static void expect_meta(X509 *x)
{
	char want[8 + KEY_HEX_LEN] = "derpkey", cn[128];
	const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
	time_t now = time(NULL), from = to_time(X509_get0_notBefore(x)),
	       to = to_time(X509_get0_notAfter(x));
	BASIC_CONSTRAINTS *bc;
	EVP_PKEY *key = X509_get0_pubkey(x);

	key_hex(server.public.b, KEY_LEN, want + 7);
	assert_true(X509_NAME_get_text_by_NID(
			X509_get_subject_name(x), NID_commonName, cn, sizeof(cn)) > 0);
	assert_string_equal(cn, want);
	assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(x)), 1);
	assert_int_equal(X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(x)), 0);
	assert_int_equal(X509_get_version(x), 2);
	assert_int_equal(serial->length, 1);
	assert_int_equal(serial->type, V_ASN1_INTEGER);
	assert_int_equal(serial->data[0], DERP_VERSION);
	assert_true(labs(now - from - 30 * DAY_S) < 60 && labs(to - now - 30 * DAY_S) < 60);
	bc = X509_get_ext_d2i(x, NID_basic_constraints, NULL, NULL);
	assert_non_null(bc);
	BASIC_CONSTRAINTS_free(bc);
	assert_int_equal(EVP_PKEY_id(key), EVP_PKEY_ED25519);
	assert_int_equal(X509_verify(x, key), 1);
}

static void test_chain(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
	SSL_CTX *ctx;

	put_pair("DNS:" NAME, -DAY_S, 90 * DAY_S, 2, false);
	ctx = must_ctx();
	for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
		SSL *c = shake(ctx, NAME, versions[i]);
		STACK_OF(X509) * chain;

		assert_non_null(c);
		chain = SSL_get_peer_cert_chain(c);
		assert_int_equal(sk_X509_num(chain), 4);
		assert_int_equal(
		    ASN1_INTEGER_get(X509_get0_serialNumber(sk_X509_value(chain, 0))), 77);
		expect_meta(sk_X509_value(chain, 3));
		SSL_free(c);
	}
	SSL_CTX_free(ctx);
}

static void test_sni(void **state)
{
	SSL_CTX *ctx;

	put_pair("DNS:*.example.com", -DAY_S, 90 * DAY_S, 0, false);
	ctx = must_ctx();
	assert_true(accepts(ctx, NAME));
	assert_true(accepts(ctx, "Relay.Example.COM"));
	assert_false(accepts(ctx, "other.example.com"));
	assert_false(accepts(ctx, "relay.example.co"));
	assert_false(accepts(ctx, NULL));
	assert_null(shake(ctx, NULL, TLS1_2_VERSION));
	SSL_CTX_free(ctx);
	for_ip("127.0.0.1");
	ctx = must_ctx();
	assert_true(accepts(ctx, NULL));
	assert_true(accepts(ctx, NAME));
	SSL_CTX_free(ctx);
}

static void test_self_signed(void **state)
{
	char path[160], hex[65];
	uint8_t sum[32];
	struct stat st;
	unsigned len;
	X509 *leaf;
	SSL_CTX *ctx;
	SSL *c;

	snprintf(path, sizeof(path), "%s/deep/er", dir);
	o.certdir = path;
	o.listen = (char *)"127.0.0.1:4443";
	for_ip("127.0.0.1");
	ctx = must_ctx();
	c = shake(ctx, NULL, TLS1_3_VERSION);
	assert_non_null(c);
	assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(c)), 2);
	leaf = sk_X509_value(SSL_get_peer_cert_chain(c), 0);
	assert_int_equal(X509_check_ip_asc(leaf, "127.0.0.1", 0), 1);
	assert_int_equal(X509_check_purpose(leaf, X509_PURPOSE_SSL_SERVER, 0), 1);
	assert_int_equal(EVP_PKEY_bits(X509_get0_pubkey(leaf)), 256);
	assert_true(labs(to_time(X509_get0_notAfter(leaf)) - time(NULL) - 365 * DAY_S) < 60);
	assert_int_equal(X509_digest(leaf, EVP_sha256(), sum, &len), 1);
	key_hex(sum, len, hex);
	certs_announce(ctx, &o);
	assert_non_null(strstr(logged, hex));
	assert_non_null(strstr(logged, "{\"Name\":\"custom\",\"RegionID\":900,"
				       "\"HostName\":\"127.0.0.1\",\"CertName\":\"sha256-raw:"));
	assert_non_null(strstr(logged, "\",\"DERPPort\":4443}"));
	SSL_free(c);
	SSL_CTX_free(ctx);

	/* The next start uses it again. */
	ctx = must_ctx();
	assert_int_equal(X509_digest(SSL_CTX_get0_certificate(ctx), EVP_sha256(), sum, &len), 1);
	key_hex(sum, len, err);
	assert_string_equal(err, hex);
	SSL_CTX_free(ctx);
	snprintf(path, sizeof(path), "%s/deep/er/127.0.0.1.key", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);

	/* Without its certificate, the key gets another one. */
	snprintf(path, sizeof(path), "%s/deep/er/127.0.0.1.crt", dir);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/deep/er", dir);
	SSL_CTX_free(must_ctx());
	/* A certificate without its key is the operator's business. */
	snprintf(path, sizeof(path), "%s/deep/er/127.0.0.1.key", dir);
	assert_int_equal(unlink(path), 0);
	snprintf(path, sizeof(path), "%s/deep/er", dir);
	expect_error("127.0.0.1.key");
}

/* Colons are dropped from the files' names. */
static void test_self_signed_ipv6(void **state)
{
	char path[160];
	struct stat st;
	SSL_CTX *ctx;

	for_ip("2001:db8::1");
	o.stun_port = 1;
	ctx = must_ctx();
	snprintf(path, sizeof(path), "%s/2001db81.crt", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(X509_check_ip_asc(SSL_CTX_get0_certificate(ctx), "2001:db8::1", 0), 1);
	certs_announce(ctx, &o);
	assert_non_null(strstr(logged, "\",\"STUNPort\":1}"));
	SSL_CTX_free(ctx);
}

/* A certificate that came with its issuers can't be pinned, and none but an IP address needs it. */
static void test_announce(void **state)
{
	SSL_CTX *ctx;

	put_pair("DNS:" NAME, -DAY_S, 90 * DAY_S, 0, false);
	ctx = must_ctx();
	certs_announce(ctx, &o);
	assert_string_equal(logged, "");
	SSL_CTX_free(ctx);
	for_ip("10.1.2.3");
	put_pair("IP:10.1.2.3", -DAY_S, 90 * DAY_S, 1, false);
	o.stun = false;
	ctx = must_ctx();
	certs_announce(ctx, &o);
	assert_null(strstr(logged, "CertName"));
	assert_non_null(strstr(logged, "\"HostName\":\"10.1.2.3\",\"STUNPort\":-1}"));
	SSL_CTX_free(ctx);
}

static void test_bad_files(void **state)
{
	expect_error(NAME ".crt: No such file");
	put_pair("DNS:" NAME, -DAY_S, 90 * DAY_S, 0, true);
	expect_error("does not belong to");
	put_pair("DNS:else.example.com", -DAY_S, 90 * DAY_S, 0, false);
	expect_error("is not for -hostname");
	put_pair(NULL, -DAY_S, 90 * DAY_S, 0, false); /* its common name fits, but that's no use */
	expect_error("is not for -hostname");
	for_ip("10.0.0.1");
	put_pair("IP:10.0.0.2", -DAY_S, 90 * DAY_S, 0, false);
	expect_error("is not for -hostname");
	o.hostname = (char *)NAME;
	o.hostname_is_ip = false;
	put_pair("DNS:" NAME, -DAY_S, 90 * DAY_S, 0, false);
	put_text(NAME ".key", "rubbish");
	expect_error("is not a PEM private key");
	put_text(NAME ".key", "");
	expect_error("is not a PEM private key");
	put_text(NAME ".crt", "");
	expect_error("is not PEM");
	put_text(NAME ".crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
	expect_error("is not PEM");
}

/* The leaf is fine, what comes behind it is cut off: better to say so than to send half of it. */
static void test_broken_chain(void **state)
{
	char path[160];
	FILE *f;

	put_pair("DNS:" NAME, -DAY_S, 90 * DAY_S, 1, false);
	snprintf(path, sizeof(path), "%s/" NAME ".crt", dir);
	f = fopen(path, "r+");
	assert_non_null(f);
	fseek(f, 0, SEEK_END);
	assert_int_equal(ftruncate(fileno(f), ftell(f) - 40), 0);
	fclose(f);
	expect_error("is not PEM");
}

static void test_passphrase(void **state)
{
	EVP_PKEY *key = new_key();
	FILE *f;

	put_pair("DNS:" NAME, -DAY_S, 90 * DAY_S, 0, false);
	f = open_file(NAME ".key");
	PEM_write_PKCS8PrivateKey(f, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL);
	fclose(f);
	EVP_PKEY_free(key);
	expect_error("passphrase");
}

static void test_dates(void **state)
{
	static const struct {
		long from_s, to_s;
		const char *warning;
	} cases[] = {
	    {-DAY_S, 15 * DAY_S, NULL},
	    {-DAY_S, 13 * DAY_S, "ends at"},
	    {-2 * DAY_S, -DAY_S, "has expired"},
	    {DAY_S, 90 * DAY_S, "not valid yet"},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		SSL_CTX *ctx;

		put_pair("DNS:" NAME, cases[i].from_s, cases[i].to_s, 0, false);
		logged[0] = '\0';
		ctx = must_ctx();
		certs_warn_expiry(ctx);
		if (cases[i].warning)
			assert_non_null(strstr(logged, cases[i].warning));
		else
			assert_string_equal(logged, "");
		assert_true(certs_renew_at(ctx) > clock_wall_ms() + 14 * DAY_S * 1000);
		assert_true(certs_renew_at(ctx) < clock_wall_ms() + 16 * DAY_S * 1000);
		SSL_CTX_free(ctx);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_chain),
	    TEST(test_sni),
	    TEST(test_self_signed),
	    TEST(test_self_signed_ipv6),
	    TEST(test_announce),
	    TEST(test_bad_files),
	    TEST(test_broken_chain),
	    TEST(test_passphrase),
	    TEST(test_dates),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
