/* SPDX-License-Identifier: BSD-3-Clause */
/* The JSON inside ClientInfo: the input is sealed as a client would, then opened. What was read is
 * written and read again, which must give the same. */
#include "fuzz.h"

#include <stdlib.h>

static void check_app_name(const struct client_info *info)
{
	size_t len = strnlen(info->app_name, sizeof(info->app_name));

	CHECK(len <= APP_NAME_MAX);
	for (size_t i = 0; i < len; i++)
		CHECK(info->app_name[i] >= ' ' && info->app_name[i] <= '~');
}

static void check_round_trip(const struct client_info *info)
{
	struct login_keys server, client;
	struct login_secret s, t;
	struct client_info back;
	uint8_t frame[LOGIN_FRAME_MAX];
	size_t n;

	fuzz_keys(&server, &client);
	n = login_put_client_info(&client, &server.public, info, &s, frame);
	CHECK(n > FRAME_HEADER_LEN && n == FRAME_HEADER_LEN + frame_payload_len(frame));
	CHECK(login_open_client_info(&server, NULL, frame + FRAME_HEADER_LEN, n - FRAME_HEADER_LEN,
		  &back, &t) == LOGIN_OK);
	CHECK(memcmp(&s, &t, sizeof(s)) == 0);
	CHECK(key_equal(&back.key, &info->key) && back.version == info->version);
	CHECK(back.can_ack_pings == info->can_ack_pings && back.is_prober == info->is_prober);
	CHECK(strcmp(back.app_name, info->app_name) == 0);
	CHECK(back.has_mesh_key == info->has_mesh_key);
	if (info->has_mesh_key)
		CHECK(memcmp(back.mesh_key, info->mesh_key, MESH_KEY_LEN) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct login_keys server, client;
	struct login_secret secret, opened;
	struct client_info info;
	enum login_result result;
	uint8_t *payload;
	size_t len;

	if (size > CLIENT_INFO_MAX - CLIENT_INFO_MIN - LOGIN_MAC_LEN)
		return 0;
	fuzz_keys(&server, &client);
	payload = must_alloc(CLIENT_INFO_MIN + LOGIN_MAC_LEN + size);
	memcpy(payload, client.public.b, KEY_LEN);
	len = KEY_LEN + fuzz_seal(data, size, &secret, payload + KEY_LEN);
	result = login_open_client_info(&server, NULL, payload, len, &info, &opened);
	free(payload);
	CHECK(result == LOGIN_OK || result >= LOGIN_BAD_JSON);
	if (result != LOGIN_OK)
		return 0;
	CHECK(memcmp(&secret, &opened, sizeof(secret)) == 0);
	CHECK(key_equal(&info.key, &client.public));
	check_app_name(&info);
	check_round_trip(&info);
	return 0;
}
