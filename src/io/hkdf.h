/* SPDX-License-Identifier: BSD-3-Clause */
/* hkdf.h: HKDF (RFC 5869) as TLS 1.3 uses it (RFC 8446 §7.1), without a look-up by name a call. */
#ifndef SLUICE_IO_HKDF_H
#define SLUICE_IO_HKDF_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of the longest hash. */
#define HKDF_HASH_MAX 48

enum hkdf_hash { HKDF_SHA256, HKDF_SHA384 };

static inline size_t hkdf_hash_len(enum hkdf_hash h)
{
	return h == HKDF_SHA384 ? 48 : 32;
}

/* HKDF-Extract: out takes hkdf_hash_len(h) bytes. */
void hkdf_extract(enum hkdf_hash h, const uint8_t *salt, size_t salt_len, const uint8_t *key,
    size_t key_len, uint8_t *out);

/* Bytes of a label and of a context at most. */
#define HKDF_LABEL_MAX 64

/* What HKDF-Expand-Label is asked for. The label goes without "tls13 " in front. */
struct hkdf_label {
	const void *label, *context;
	size_t label_len, context_len;
};

/* HKDF-Expand-Label with a secret as long as the hash: out takes len bytes, the hash's length at
 * most. */
void hkdf_expand_label(
    enum hkdf_hash h, const uint8_t *secret, const struct hkdf_label *l, uint8_t *out, size_t len);

/* Derive-Secret(secret, "derived", ""), from which the next stage's secret is extracted. */
void hkdf_derived(enum hkdf_hash h, const uint8_t *secret, uint8_t *out);

#endif
