/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/selfcert.h"

#include <stdbool.h>
#include <stdio.h>

#include <openssl/x509v3.h>

#include "wire/frame.h"
#include "io/metacert.h"

#define DAY_S 86400L

/* Subject and issuer. The type is given outright because OpenSSL holds a common name that it may
 * choose the type of to 64 characters, and the meta certificate's has 71. */
static bool set_name(X509 *x, const char *cn)
{
	X509_NAME *name = X509_NAME_new();
	bool ok = name &&
		  X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_PRINTABLESTRING,
		      (const unsigned char *)cn, -1, -1, 0) == 1 &&
		  X509_set_subject_name(x, name) == 1 && X509_set_issuer_name(x, name) == 1;

	X509_NAME_free(name);
	return ok;
}

static bool add_extension(X509 *x, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = ext && X509_add_ext(x, ext, -1) == 1;
	X509_EXTENSION_free(ext);
	return ok;
}

/* 127 random bits: positive, as it must be, and never the same twice. */
static bool set_random_serial(X509 *x)
{
	BIGNUM *n = BN_new();
	bool ok = n && BN_rand(n, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
		  BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;

	BN_free(n);
	return ok;
}

/* What both kinds have: version 3, dates, key, and no authority over others. macOS wants to be told
 * the latter when subject and issuer are one, Windows wants both dates. */
static X509 *begin(EVP_PKEY *key, const char *cn, int days_before, int days_after)
{
	X509 *x = X509_new();

	if (x && X509_set_version(x, X509_VERSION_3) == 1 && set_name(x, cn) &&
	    X509_gmtime_adj(X509_getm_notBefore(x), -days_before * DAY_S) &&
	    X509_gmtime_adj(X509_getm_notAfter(x), days_after * DAY_S) &&
	    X509_set_pubkey(x, key) == 1 &&
	    add_extension(x, NID_basic_constraints, "critical,CA:FALSE"))
		return x;
	X509_free(x);
	return NULL;
}

/* Signs, and reads back what came of it: OpenSSL keeps the bytes of a certificate that it has read,
 * and encodes one that it has made anew in each handshake. Takes x over; NULL for NULL. */
static X509 *sign(X509 *x, EVP_PKEY *key, const EVP_MD *hash)
{
	const uint8_t *p;
	uint8_t *der = NULL;
	int len = x && X509_sign(x, key, hash) != 0 ? i2d_X509(x, &der) : 0;

	X509_free(x);
	p = der;
	x = len > 0 ? d2i_X509(NULL, &p, len) : NULL;
	OPENSSL_free(der);
	return x;
}

X509 *selfcert_for_ip(EVP_PKEY *key, const char *ip, int days)
{
	X509 *x = begin(key, ip, 0, days);
	char san[64];

	if (!x)
		return NULL;
	snprintf(san, sizeof(san), "IP:%s", ip);
	if (set_random_serial(x) &&
	    add_extension(x, NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
	    add_extension(x, NID_ext_key_usage, "serverAuth") &&
	    add_extension(x, NID_subject_alt_name, san))
		return sign(x, key, EVP_sha256());
	X509_free(x);
	return NULL;
}

X509 *selfcert_meta(const struct key *server, int days)
{
	char cn[sizeof(METACERT_NAME) + KEY_HEX_LEN] = METACERT_NAME;
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	X509 *x;

	if (!key)
		return NULL;
	key_hex(server->b, KEY_LEN, cn + sizeof(METACERT_NAME) - 1);
	x = begin(key, cn, days, days);
	if (x && ASN1_INTEGER_set(X509_get_serialNumber(x), DERP_VERSION) != 1) {
		X509_free(x);
		x = NULL;
	}
	x = sign(x, key, NULL);
	EVP_PKEY_free(key);
	return x;
}
