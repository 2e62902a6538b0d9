/* SPDX-License-Identifier: BSD-3-Clause */
/* OpenSSL 3 calls its hash functions "deprecated", and offers instead contexts whose making costs
 * several times what the hash does. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "io/hkdf.h"

#include <string.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "base/check.h"

struct hash {
	enum hkdf_hash kind;
	union {
		SHA256_CTX sha256;
		SHA512_CTX sha384;
	};
};

static size_t block_len(enum hkdf_hash h)
{
	return h == HKDF_SHA384 ? SHA512_CBLOCK : SHA256_CBLOCK;
}

/* These functions cannot fail, whatever they return. */
static void hash_init(struct hash *c, enum hkdf_hash kind)
{
	c->kind = kind;
	if (kind == HKDF_SHA384)
		SHA384_Init(&c->sha384);
	else
		SHA256_Init(&c->sha256);
}

static void hash_update(struct hash *c, const void *p, size_t len)
{
	if (c->kind == HKDF_SHA384)
		SHA384_Update(&c->sha384, p, len);
	else
		SHA256_Update(&c->sha256, p, len);
}

static void hash_final(struct hash *c, uint8_t *out)
{
	if (c->kind == HKDF_SHA384)
		SHA384_Final(out, &c->sha384);
	else
		SHA256_Final(out, &c->sha256);
	OPENSSL_cleanse(c, sizeof(*c));
}

/* HMAC (RFC 2104) over up to two pieces; its key is no longer than a block. */
static void hmac(enum hkdf_hash h, const uint8_t *key, size_t key_len, const void *a, size_t a_len,
    const void *b, size_t b_len, uint8_t *out)
{
	uint8_t pad[SHA512_CBLOCK] = {0};
	struct hash c;

	CHECK(key_len <= block_len(h));
	if (key_len > 0)
		memcpy(pad, key, key_len);
	for (size_t i = 0; i < block_len(h); i++)
		pad[i] ^= 0x36;
	hash_init(&c, h);
	hash_update(&c, pad, block_len(h));
	hash_update(&c, a, a_len);
	hash_update(&c, b, b_len);
	hash_final(&c, out);
	for (size_t i = 0; i < block_len(h); i++)
		pad[i] ^= 0x36 ^ 0x5c;
	hash_init(&c, h);
	hash_update(&c, pad, block_len(h));
	hash_update(&c, out, hkdf_hash_len(h));
	hash_final(&c, out);
	OPENSSL_cleanse(pad, sizeof(pad));
}

void hkdf_extract(enum hkdf_hash h, const uint8_t *salt, size_t salt_len, const uint8_t *key,
    size_t key_len, uint8_t *out)
{
	hmac(h, salt, salt_len, key, key_len, "", 0, out);
}

void hkdf_expand_label(
    enum hkdf_hash h, const uint8_t *secret, const struct hkdf_label *l, uint8_t *out, size_t len)
{
	uint8_t info[4 + 6 + 2 * HKDF_LABEL_MAX], block[HKDF_HASH_MAX];
	size_t n = 0;

	/* HkdfLabel, then T(1) of HKDF-Expand: HMAC(secret, HkdfLabel | 1). */
	CHECK(len <= hkdf_hash_len(h) && l->label_len <= HKDF_LABEL_MAX &&
	      l->context_len <= HKDF_LABEL_MAX);
	info[n++] = 0;
	info[n++] = (uint8_t)len;
	info[n++] = (uint8_t)(6 + l->label_len);
	memcpy(info + n, "tls13 ", 6);
	n += 6;
	if (l->label_len > 0)
		memcpy(info + n, l->label, l->label_len);
	n += l->label_len;
	info[n++] = (uint8_t)l->context_len;
	if (l->context_len > 0)
		memcpy(info + n, l->context, l->context_len);
	n += l->context_len;
	hmac(h, secret, hkdf_hash_len(h), info, n, "\1", 1, block);
	memcpy(out, block, len);
	OPENSSL_cleanse(block, sizeof(block));
}

void hkdf_derived(enum hkdf_hash h, const uint8_t *secret, uint8_t *out)
{
	uint8_t nothing[HKDF_HASH_MAX];
	struct hash c;

	hash_init(&c, h);
	hash_final(&c, nothing);
	hkdf_expand_label(h, secret,
	    &(struct hkdf_label){.label = "derived",
		.label_len = 7,
		.context = nothing,
		.context_len = hkdf_hash_len(h)},
	    out, hkdf_hash_len(h));
}
