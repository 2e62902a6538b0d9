/* SPDX-License-Identifier: BSD-3-Clause */
/* The key schedule of TLS 1.3 (io/hkdf.c, io/provider.c): known secrets, and OpenSSL's own as
 * oracle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

#include "base/key.h"
#include "io/hkdf.h"
#include "io/provider.h"

static void assert_hex(const uint8_t *got, const char *hex)
{
	uint8_t want[HKDF_HASH_MAX];

	assert_true(key_unhex(hex, strlen(hex) / 2, want));
	assert_memory_equal(got, want, strlen(hex) / 2);
}

/* RFC 8448 §3, from the early secret to that of the handshake. */
static void test_known_secrets(void **state)
{
	uint8_t zeros[32] = {0}, secret[32], shared[32];

	hkdf_extract(HKDF_SHA256, zeros, 32, zeros, 32, secret);
	assert_hex(secret, "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a");
	hkdf_derived(HKDF_SHA256, secret, secret);
	assert_hex(secret, "6f2615a108c702c5678f54fc9dbab69716c076189c48250cebeac3576c3611ba");
	assert_true(key_unhex(
	    "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d", 32, shared));
	hkdf_extract(HKDF_SHA256, secret, 32, shared, 32, secret);
	assert_hex(secret, "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac");
}

/* What OpenSSL is asked for; NULL: the parameter is left out. */
struct question {
	int mode;
	const char *digest, *label;
	const uint8_t *key, *salt, *data;
	size_t hash_len, data_len, out_len;
};

/* The answer of TLS13-KDF of the provider that the query names; false when it refuses. */
static bool ask(const char *query, const struct question *q, uint8_t *out)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", query);
	EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(kdf);
	OSSL_PARAM params[8], *p = params;
	int mode = q->mode;
	bool good;

	assert_non_null(kdf);
	assert_non_null(ctx);
	*p++ = OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode);
	*p++ = OSSL_PARAM_construct_utf8_string(
	    OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)q->digest, 0);
	*p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PREFIX, "tls13 ", 6);
	if (q->label)
		*p++ = OSSL_PARAM_construct_octet_string(
		    OSSL_KDF_PARAM_LABEL, (char *)(uintptr_t)q->label, strlen(q->label));
	if (q->key)
		*p++ = OSSL_PARAM_construct_octet_string(
		    OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)q->key, q->hash_len);
	if (q->salt)
		*p++ = OSSL_PARAM_construct_octet_string(
		    OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)q->salt, q->hash_len);
	if (q->data)
		*p++ = OSSL_PARAM_construct_octet_string(
		    OSSL_KDF_PARAM_DATA, (void *)(uintptr_t)q->data, q->data_len);
	*p = OSSL_PARAM_construct_end();
	good = EVP_KDF_derive(ctx, out, q->out_len, params) == 1;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	ERR_clear_error();
	return good;
}

static void assert_same(const struct question *q)
{
	uint8_t ours[HKDF_HASH_MAX], theirs[HKDF_HASH_MAX];

	assert_true(ask("provider=default", q, theirs));
	assert_true(ask("provider=sluice", q, ours));
	assert_memory_equal(ours, theirs, q->out_len);
}

static void test_as_openssl(void **state)
{
	static const char *const labels[] = {"derived", "key", "iv", "finished", "c hs traffic"};
	uint8_t key[HKDF_HASH_MAX], salt[HKDF_HASH_MAX], data[64];

	assert_true(provider_init());
	for (int round = 0; round < 200; round++) {
		bool long_hash = round & 1;
		size_t len = long_hash ? 48 : 32;
		struct question q = {.mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY,
		    .digest = long_hash ? "SHA2-384" : "SHA256",
		    .hash_len = len,
		    .label = "derived",
		    .key = round & 2 ? key : NULL,
		    .salt = round & 4 ? salt : NULL,
		    .out_len = len};

		RAND_bytes(key, sizeof(key));
		RAND_bytes(salt, sizeof(salt));
		RAND_bytes(data, sizeof(data));
		assert_same(&q);

		q = (struct question){.mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY,
		    .digest = q.digest,
		    .hash_len = len,
		    .label = labels[round % 5],
		    .key = key,
		    .data = round & 2 ? data : NULL,
		    .data_len = (size_t)round % 65,
		    .out_len = 1 + (size_t)round % len};
		assert_same(&q);
	}
}

/* What TLS does not ask for is refused, not answered wrongly. */
static void test_refused(void **state)
{
	uint8_t key[HKDF_HASH_MAX] = {1}, data[65] = {2}, out[HKDF_HASH_MAX + 1];
	const struct question good = {.mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY,
	    .digest = "SHA256",
	    .hash_len = 32,
	    .label = "key",
	    .key = key,
	    .data = data,
	    .data_len = 32,
	    .out_len = 32};
	struct question q[7];

	assert_true(provider_init());
	assert_true(ask("provider=sluice", &good, out));
	for (int i = 0; i < 7; i++)
		q[i] = good;
	q[0].digest = "SHA512";
	q[1].mode = EVP_KDF_HKDF_MODE_EXTRACT_AND_EXPAND;
	q[2].hash_len = 31;
	q[3].data_len = 65;
	q[4].out_len = 33;
	q[5].label = "a label of sixty-five bytes, which is one more than there is room";
	q[6].mode = EVP_KDF_HKDF_MODE_EXTRACT_ONLY;
	q[6].out_len = 31;
	for (int i = 0; i < 7; i++)
		assert_false(ask("provider=sluice", &q[i], out));
}

/* Nobody gets ours who has not asked for it. */
static void test_only_where_asked_for(void **state)
{
	EVP_KDF *kdf;

	assert_true(provider_init());
	kdf = EVP_KDF_fetch(NULL, "TLS13-KDF", PROVIDER_QUERY);
	assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), "sluice");
	EVP_KDF_free(kdf);
	kdf = EVP_KDF_fetch(NULL, "HKDF", PROVIDER_QUERY);
	assert_string_equal(OSSL_PROVIDER_get0_name(EVP_KDF_get0_provider(kdf)), "default");
	EVP_KDF_free(kdf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known_secrets),
	    cmocka_unit_test(test_as_openssl),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_only_where_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
