/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/key.h"

#include <sodium.h>

static uint8_t hash_secret[crypto_shorthash_KEYBYTES];

bool key_is_zero(const struct key *k)
{
	return sodium_is_zero(k->b, KEY_LEN) == 1;
}

void key_hash_init(void)
{
	randombytes_buf(hash_secret, sizeof(hash_secret));
}

uint64_t key_hash(const struct key *k)
{
	uint64_t h;

	_Static_assert(sizeof(h) == crypto_shorthash_BYTES, "SipHash gives 64 bits");
	crypto_shorthash((uint8_t *)&h, k->b, KEY_LEN, hash_secret);
	return h;
}

void key_hex(const uint8_t *b, size_t n, char *out)
{
	sodium_bin2hex(out, 2 * n + 1, b, n);
}

bool key_unhex(const char *text, size_t n, uint8_t *out)
{
	size_t got;
	const char *end;

	if (strnlen(text, 2 * n + 1) != 2 * n)
		return false;
	return sodium_hex2bin(out, n, text, 2 * n, NULL, &got, &end) == 0 && got == n &&
	       end == text + 2 * n;
}

void key_text(const struct key *k, char out[KEY_TEXT_LEN])
{
	memcpy(out, "nodekey:", 8);
	key_hex(k->b, KEY_LEN, out + 8);
}

void key_short(const struct key *k, char out[KEY_SHORT_LEN])
{
	char b64[sodium_base64_ENCODED_LEN(6, sodium_base64_VARIANT_ORIGINAL)];

	if (key_is_zero(k)) {
		out[0] = '\0';
		return;
	}
	sodium_bin2base64(b64, sizeof(b64), k->b, 6, sodium_base64_VARIANT_ORIGINAL);
	out[0] = '[';
	memcpy(out + 1, b64, 5);
	memcpy(out + 6, "]", 2);
}

bool key_parse(const char *text, struct key *k)
{
	if (strncmp(text, "nodekey:", 8) == 0)
		text += 8;
	return key_unhex(text, KEY_LEN, k->b);
}
