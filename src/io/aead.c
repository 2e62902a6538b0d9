/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/aead.h"

#include <string.h>

#include <openssl/crypto.h>

/* Fetched once: a key set up with EVP_aes_128_gcm() and its like looks the cipher up again, which
 * doubles what a call costs on libcrypto. */
static EVP_CIPHER *ciphers[3];

static bool libcrypto_only;

#ifdef HAVE_IPSEC_MB
/* Function pointers for this CPU; read-only once it is set up. */
static IMB_MGR *mb;
#endif

void aead_init(void)
{
	if (ciphers[0])
		return;
	ciphers[AEAD_AES_256_GCM] = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	ciphers[AEAD_CHACHA20_POLY1305] = EVP_CIPHER_fetch(NULL, "ChaCha20-Poly1305", NULL);
	ciphers[AEAD_AES_128_GCM] = EVP_CIPHER_fetch(NULL, "AES-128-GCM", NULL);
	CHECK(ciphers[0] && ciphers[1] && ciphers[2]);
#ifdef HAVE_IPSEC_MB
	IMB_ARCH arch;

	mb = alloc_mb_mgr(0);
	if (mb)
		init_mb_mgr_auto(mb, &arch);
	/* Without AES instructions it makes do with tables, slowly and not in constant time: there,
	 * and on a CPU that it does not know, libcrypto does it all. */
	if (mb && (imb_get_errno(mb) != 0 || !(mb->features & IMB_FEATURE_AESNI) ||
		      !(mb->features & IMB_FEATURE_PCLMULQDQ))) {
		free_mb_mgr(mb);
		mb = NULL;
	}
#endif
}

void aead_use_libcrypto(bool on)
{
	libcrypto_only = on;
}

size_t aead_key_len(enum aead_kind kind)
{
	return kind == AEAD_AES_128_GCM ? 16 : 32;
}

bool aead_begin(struct aead *a, enum aead_kind kind, const uint8_t *key, bool seal)
{
	a->kind = kind;
	a->seal = seal;
	a->evp = NULL;
#ifdef HAVE_IPSEC_MB
	if (mb && !libcrypto_only && kind == AEAD_AES_128_GCM) {
		IMB_AES128_GCM_PRE(mb, key, &a->gcm);
		return true;
	}
	if (mb && !libcrypto_only && kind == AEAD_AES_256_GCM) {
		IMB_AES256_GCM_PRE(mb, key, &a->gcm);
		return true;
	}
#endif
	a->evp = EVP_CIPHER_CTX_new();
	if (a->evp && EVP_CipherInit_ex2(a->evp, ciphers[kind], key, NULL, seal, NULL) == 1)
		return true;
	aead_end(a);
	return false;
}

void aead_end(struct aead *a)
{
	EVP_CIPHER_CTX_free(a->evp);
	a->evp = NULL;
#ifdef HAVE_IPSEC_MB
	explicit_bzero(&a->gcm, sizeof(a->gcm));
	explicit_bzero(&a->context, sizeof(a->context));
#endif
}

#ifdef HAVE_IPSEC_MB
static void mb_seal(struct aead *a, const uint8_t *nonce, const uint8_t *aad, size_t aad_len,
    const uint8_t *p, size_t len, const uint8_t *last, uint8_t *out)
{
	uint8_t *tag = out + len + 1;

	if (a->kind == AEAD_AES_128_GCM) {
		IMB_AES128_GCM_INIT(mb, &a->gcm, &a->context, nonce, aad, aad_len);
		IMB_AES128_GCM_ENC_UPDATE(mb, &a->gcm, &a->context, out, p, len);
		IMB_AES128_GCM_ENC_UPDATE(mb, &a->gcm, &a->context, out + len, last, 1);
		IMB_AES128_GCM_ENC_FINALIZE(mb, &a->gcm, &a->context, tag, AEAD_TAG_LEN);
	} else {
		IMB_AES256_GCM_INIT(mb, &a->gcm, &a->context, nonce, aad, aad_len);
		IMB_AES256_GCM_ENC_UPDATE(mb, &a->gcm, &a->context, out, p, len);
		IMB_AES256_GCM_ENC_UPDATE(mb, &a->gcm, &a->context, out + len, last, 1);
		IMB_AES256_GCM_ENC_FINALIZE(mb, &a->gcm, &a->context, tag, AEAD_TAG_LEN);
	}
}

static bool mb_open(struct aead *a, const uint8_t *nonce, const uint8_t *aad, size_t aad_len,
    const uint8_t *p, size_t len, uint8_t *out)
{
	uint8_t want[AEAD_TAG_LEN], tag[AEAD_TAG_LEN];

	memcpy(want, p + len, sizeof(want)); /* out may cover it */
	if (a->kind == AEAD_AES_128_GCM)
		IMB_AES128_GCM_DEC(
		    mb, &a->gcm, &a->context, out, p, len, nonce, aad, aad_len, tag, sizeof(tag));
	else
		IMB_AES256_GCM_DEC(
		    mb, &a->gcm, &a->context, out, p, len, nonce, aad, aad_len, tag, sizeof(tag));
	return CRYPTO_memcmp(tag, want, sizeof(tag)) == 0;
}
#endif

static bool evp_seal(struct aead *a, const uint8_t *nonce, const uint8_t *aad, size_t aad_len,
    const uint8_t *p, size_t len, const uint8_t *last, uint8_t *out)
{
	int n;

	return EVP_EncryptInit_ex(a->evp, NULL, NULL, NULL, nonce) == 1 &&
	       EVP_EncryptUpdate(a->evp, NULL, &n, aad, (int)aad_len) == 1 &&
	       (len == 0 || EVP_EncryptUpdate(a->evp, out, &n, p, (int)len) == 1) &&
	       EVP_EncryptUpdate(a->evp, out + len, &n, last, 1) == 1 &&
	       EVP_EncryptFinal_ex(a->evp, out + len + 1, &n) == 1 &&
	       EVP_CIPHER_CTX_ctrl(a->evp, EVP_CTRL_AEAD_GET_TAG, AEAD_TAG_LEN, out + len + 1) == 1;
}

static bool evp_open(struct aead *a, const uint8_t *nonce, const uint8_t *aad, size_t aad_len,
    const uint8_t *p, size_t len, uint8_t *out)
{
	uint8_t tag[AEAD_TAG_LEN];
	int n;

	memcpy(tag, p + len, sizeof(tag));
	return EVP_DecryptInit_ex(a->evp, NULL, NULL, NULL, nonce) == 1 &&
	       EVP_CIPHER_CTX_ctrl(a->evp, EVP_CTRL_AEAD_SET_TAG, AEAD_TAG_LEN, tag) == 1 &&
	       EVP_DecryptUpdate(a->evp, NULL, &n, aad, (int)aad_len) == 1 &&
	       EVP_DecryptUpdate(a->evp, out, &n, p, (int)len) == 1 &&
	       EVP_DecryptFinal_ex(a->evp, out + len, &n) == 1;
}

bool aead_seal(struct aead *a, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *aad,
    size_t aad_len, const uint8_t *p, size_t len, uint8_t last, uint8_t *out)
{
	CHECK(a->seal);
#ifdef HAVE_IPSEC_MB
	if (!a->evp) {
		mb_seal(a, nonce, aad, aad_len, p, len, &last, out);
		return true;
	}
#endif
	return evp_seal(a, nonce, aad, aad_len, p, len, &last, out);
}

bool aead_open(struct aead *a, const uint8_t nonce[AEAD_NONCE_LEN], const uint8_t *aad,
    size_t aad_len, const uint8_t *p, size_t len, uint8_t *out)
{
	bool ok;

	CHECK(!a->seal);
#ifdef HAVE_IPSEC_MB
	if (!a->evp)
		ok = mb_open(a, nonce, aad, aad_len, p, len, out);
	else
#endif
		ok = evp_open(a, nonce, aad, aad_len, p, len, out);
	if (!ok)
		OPENSSL_cleanse(out, len);
	return ok;
}
