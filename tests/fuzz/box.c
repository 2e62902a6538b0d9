/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz.h"

#include <sodium.h>
#include <string.h>

/* Made once: multiplication on the curve would be most of what a target does. */
static struct {
	bool made;
	struct login_keys server, client;
	struct login_secret secret;
} box;

static void make_box(void)
{
	if (box.made)
		return;
	CHECK(sodium_init() >= 0);
	memset(box.server.private, 0x53, KEY_LEN);
	memset(box.client.private, 0x43, KEY_LEN);
	CHECK(login_keys_derive(&box.server));
	CHECK(login_keys_derive(&box.client));
	CHECK(crypto_box_beforenm(box.secret.k, box.server.public.b, box.client.private) == 0);
	box.made = true;
}

void fuzz_keys(struct login_keys *server, struct login_keys *client)
{
	make_box();
	*server = box.server;
	*client = box.client;
}

size_t fuzz_seal(const uint8_t *text, size_t len, struct login_secret *secret, uint8_t *out)
{
	make_box();
	*secret = box.secret;
	memset(out, 0, LOGIN_NONCE_LEN);
	CHECK(crypto_box_easy_afternm(out + LOGIN_NONCE_LEN, text, len, out, secret->k) == 0);
	return LOGIN_NONCE_LEN + LOGIN_MAC_LEN + len;
}
