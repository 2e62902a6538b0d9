/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client reads: the input as a ServerKey, as a sealed ServerInfo, and as the JSON in one. */
#include "fuzz.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char ours[] = "{\"version\":2}";
	struct login_secret secret;
	struct key server;
	uint8_t *payload;
	size_t len;
	int version;
	bool ok;

	if (login_read_server_key(data, size, &server))
		CHECK(size >= SERVER_KEY_LEN && size <= SERVER_KEY_MAX && !key_is_zero(&server));
	payload = must_alloc(LOGIN_NONCE_LEN + LOGIN_MAC_LEN + size);
	len = fuzz_seal(data, size, &secret, payload);
	ok = login_open_server_info(&secret, payload, len, &version);
	free(payload);
	if (size == sizeof(ours) - 1 && memcmp(data, ours, size) == 0)
		CHECK(ok && version == 2);
	if (login_open_server_info(&secret, data, size, &version))
		CHECK(size >= LOGIN_NONCE_LEN + LOGIN_MAC_LEN);
	return 0;
}
