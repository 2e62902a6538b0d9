/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * key.h: Curve25519 public keys, their text forms, and the keyed hash that places them.
 *
 * A node is its key. The hash is SipHash-2-4 under a secret drawn at start, so that nobody outside
 * can aim keys at one worker or at one bucket.
 */
#ifndef SLUICE_BASE_KEY_H
#define SLUICE_BASE_KEY_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"

#define KEY_LEN 32
#define KEY_HEX_LEN 64
/* "nodekey:" + 64 digits + NUL */
#define KEY_TEXT_LEN (8 + KEY_HEX_LEN + 1)
/* "[" + five characters of base64 + "]" + NUL; empty for the zero key */
#define KEY_SHORT_LEN 8

struct key {
	uint8_t b[KEY_LEN];
};

/* For public keys only: not in constant time. */
static inline bool key_equal(const struct key *a, const struct key *b)
{
	return memcmp(a->b, b->b, KEY_LEN) == 0;
}

bool key_is_zero(const struct key *k);

/* Draws the secret of key_hash. Once, before the first thread starts. */
void key_hash_init(void);
uint64_t key_hash(const struct key *k);

/* Lower-case hex of `n` bytes and a NUL into out (2n + 1 bytes). */
void key_hex(const uint8_t *b, size_t n, char *out);
/* Reads exactly 2n hex digits; false when any is not one. */
bool key_unhex(const char *text, size_t n, uint8_t *out) must_use;
void key_text(const struct key *k, char out[KEY_TEXT_LEN]);
void key_short(const struct key *k, char out[KEY_SHORT_LEN]);
/* Accepts "nodekey:" + 64 hex digits, or the digits alone. */
bool key_parse(const char *text, struct key *k) must_use;

#endif
