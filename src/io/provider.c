/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/provider.h"

#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>

/* All of a derivation comes with the one call that asks for it: a context holds nothing. */
static void *kdf_new(void *provider)
{
	return provider;
}

static void kdf_free(void *context)
{
}

/* What is asked for. */
struct question {
	int mode;
	enum hkdf_hash hash;
	const uint8_t *key, *salt;
	size_t key_len, salt_len;
	struct hkdf_label label;
};

static bool hash_named(const char *name, enum hkdf_hash *h)
{
	if (strcasecmp(name, "SHA256") == 0 || strcasecmp(name, "SHA2-256") == 0)
		*h = HKDF_SHA256;
	else if (strcasecmp(name, "SHA384") == 0 || strcasecmp(name, "SHA2-384") == 0)
		*h = HKDF_SHA384;
	else
		return false;
	return true;
}

static bool is(const OSSL_PARAM *p, const char *name)
{
	return strcmp(p->key, name) == 0;
}

/* The prefix is "tls13 ", as no other is asked for. */
static bool read_question(const OSSL_PARAM *p, struct question *q)
{
	const char *name;
	bool good = true, hash = false;

	*q = (struct question){0};
	for (; good && p->key; p++) {
		if (is(p, OSSL_KDF_PARAM_MODE)) {
			good = OSSL_PARAM_get_int(p, &q->mode);
		} else if (is(p, OSSL_KDF_PARAM_DIGEST)) {
			good = OSSL_PARAM_get_utf8_string_ptr(p, &name);
			hash = good && hash_named(name, &q->hash);
		} else if (is(p, OSSL_KDF_PARAM_KEY)) {
			q->key = p->data;
			q->key_len = p->data_size;
		} else if (is(p, OSSL_KDF_PARAM_SALT)) {
			q->salt = p->data;
			q->salt_len = p->data_size;
		} else if (is(p, OSSL_KDF_PARAM_LABEL)) {
			q->label.label = p->data;
			q->label.label_len = p->data_size;
		} else if (is(p, OSSL_KDF_PARAM_DATA)) {
			q->label.context = p->data;
			q->label.context_len = p->data_size;
		}
	}
	return good && hash;
}

/* A stage's secret: what is new, extracted with what follows from the stage before. Where either is
 * missing zeros stand in (RFC 8446 §7.1). */
static bool extract(const struct question *q, uint8_t *out, size_t len)
{
	static const uint8_t zeros[HKDF_HASH_MAX];
	uint8_t derived[HKDF_HASH_MAX] = {0};

	if (len != hkdf_hash_len(q->hash) || (q->salt_len != 0 && q->salt_len != len))
		return false;
	if (q->salt_len > 0)
		hkdf_derived(q->hash, q->salt, derived);
	if (q->key_len > 0)
		hkdf_extract(q->hash, derived, len, q->key, q->key_len, out);
	else
		hkdf_extract(q->hash, derived, len, zeros, len, out);
	OPENSSL_cleanse(derived, sizeof(derived));
	return true;
}

static _Thread_local struct provider_secrets *listener;

void provider_listen(struct provider_secrets *to)
{
	listener = to;
}

static void tell(const struct hkdf_label *l, const uint8_t *secret, size_t len)
{
	if (!listener || l->label_len != 12)
		return;
	if (memcmp(l->label, "c ap traffic", 12) == 0) {
		memcpy(listener->client, secret, len);
		listener->client_len = (uint8_t)len;
	} else if (memcmp(l->label, "s ap traffic", 12) == 0) {
		memcpy(listener->server, secret, len);
		listener->server_len = (uint8_t)len;
	}
}

static bool expand(const struct question *q, uint8_t *out, size_t len)
{
	const struct hkdf_label *l = &q->label;

	if (q->key_len != hkdf_hash_len(q->hash) || len > hkdf_hash_len(q->hash) ||
	    l->label_len > HKDF_LABEL_MAX || l->context_len > HKDF_LABEL_MAX)
		return false;
	hkdf_expand_label(q->hash, q->key, l, out, len);
	tell(l, out, len);
	return true;
}

static int kdf_derive(void *context, unsigned char *out, size_t len, const OSSL_PARAM params[])
{
	struct question q;

	if (!read_question(params, &q))
		return 0;
	if (q.mode == EVP_KDF_HKDF_MODE_EXTRACT_ONLY)
		return extract(&q, out, len);
	return q.mode == EVP_KDF_HKDF_MODE_EXPAND_ONLY && expand(&q, out, len);
}

typedef void (*dispatched)(void);

static const OSSL_DISPATCH kdf_functions[] = {
    {OSSL_FUNC_KDF_NEWCTX, (dispatched)kdf_new},
    {OSSL_FUNC_KDF_FREECTX, (dispatched)kdf_free},
    {OSSL_FUNC_KDF_DERIVE, (dispatched)kdf_derive},
    {0, NULL},
};

static const OSSL_ALGORITHM kdfs[] = {
    {"TLS13-KDF", "provider=sluice", kdf_functions, "RFC 8446 §7.1"},
    {NULL, NULL, NULL, NULL},
};

static const OSSL_ALGORITHM *query(void *provider, int operation, int *no_cache)
{
	*no_cache = 0;
	return operation == OSSL_OP_KDF ? kdfs : NULL;
}

static const OSSL_DISPATCH functions[] = {
    {OSSL_FUNC_PROVIDER_QUERY_OPERATION, (dispatched)query},
    {0, NULL},
};

static int start(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *core,
    const OSSL_DISPATCH **ours, void **context)
{
	*ours = functions;
	*context = (void *)(uintptr_t)functions; /* anything but NULL */
	return 1;
}

/* Held to the process's end. */
static OSSL_PROVIDER *held;

static void load(void)
{
	/* OpenSSL's default provider stays what it is without ours. */
	if (OSSL_PROVIDER_add_builtin(NULL, "sluice", start) == 1)
		held = OSSL_PROVIDER_try_load(NULL, "sluice", 1);
	if (!held)
		ERR_clear_error();
}

bool provider_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return held;
}
