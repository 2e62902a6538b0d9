/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * aead.h: the ciphers of TLS 1.3 records, one key expanded for one batch of records.
 *
 * AES-GCM by Intel's ipsec-mb where it was built in, else by libcrypto; ChaCha20-Poly1305 by
 * libcrypto. Connections keep keys, not key schedules: expanding one costs less than a tenth of a
 * microsecond, and is done once a call, not once a record. Source: RFC 8446 §5.2, RFC 5116.
 */
#ifndef SLUICE_IO_AEAD_H
#define SLUICE_IO_AEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/evp.h>

#ifdef HAVE_IPSEC_MB
#define NO_COMPAT_IMB_API_053
#include <intel-ipsec-mb.h>
#endif

#include "base/check.h"

#define AEAD_KEY_MAX 32
#define AEAD_NONCE_LEN 12
#define AEAD_TAG_LEN 16

enum aead_kind { AEAD_AES_128_GCM, AEAD_AES_256_GCM, AEAD_CHACHA20_POLY1305 };

/* An expanded key: on the stack of the call that uses it. */
struct aead {
#ifdef HAVE_IPSEC_MB
	_Alignas(64) struct gcm_key_data gcm; /* it is loaded in aligned vectors */
	_Alignas(64) struct gcm_context_data context;
#endif
	EVP_CIPHER_CTX *evp; /* NULL when ipsec-mb does it */
	enum aead_kind kind;
	bool seal;
};

/* Once, before any other; safe to call again from one thread. */
void aead_init(void);
/* True: leaves all to libcrypto, for tests and as fallback. Before the first key is expanded. */
void aead_use_libcrypto(bool on);
size_t aead_key_len(enum aead_kind kind);

/* False: out of memory. */
bool aead_begin(struct aead *a, enum aead_kind kind, const uint8_t *key, bool seal) must_use;
/* Forgets the key. */
void aead_end(struct aead *a);

/* len bytes of plaintext and one more byte of it, `last`, become len + 1 bytes and the tag at out.
 */
bool aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *aad,
    size_t aad_len, const uint8_t *p, size_t len, uint8_t last, uint8_t *out) must_use;
/* len bytes of ciphertext with the tag behind them become len bytes at out, which may be p. False,
 * and out is wiped, when the tag does not match. */
bool aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *aad,
    size_t aad_len, const uint8_t *p, size_t len, uint8_t *out) must_use;

#endif
