/* SPDX-License-Identifier: BSD-3-Clause */
/* ClientInfo as it comes from the wire: lengths, keys and boxes. Few inputs get past the box: what
 * lies behind it is fuzz_client_info_json.c's. */
#include "fuzz.h"

#include <sodium.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct login_keys server, client;
	struct login_secret secret;
	struct client_info info;
	enum login_result result;

	fuzz_keys(&server, &client);
	result = login_open_client_info(&server, NULL, data, size, &info, &secret);
	CHECK(login_strerror(result));
	if (result == LOGIN_OK) {
		CHECK(size >= CLIENT_INFO_MIN + LOGIN_MAC_LEN && size <= CLIENT_INFO_MAX);
		CHECK(!key_is_zero(&info.key) && memcmp(info.key.b, data, KEY_LEN) == 0);
		return 0;
	}
	if (size < CLIENT_INFO_MIN || size > CLIENT_INFO_MAX)
		CHECK(result == LOGIN_BAD_LENGTH);
	/* Nothing of a refused login is left for anyone to use. */
	CHECK(sodium_is_zero((const uint8_t *)&info, sizeof(info)));
	CHECK(sodium_is_zero(secret.k, KEY_LEN));
	return 0;
}
