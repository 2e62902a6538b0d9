/* SPDX-License-Identifier: BSD-3-Clause */
/* The boxes of the login, both sides, against each other and against another implementation's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "wire/login.h"

/* Made by Go's golang.org/x/crypto/nacl/box: server's private key 01 02 .. 20, client's a0 a1 ..
 * bf, nonces 00 01 .. 17 and ff fe .. e8. */
static const char server_public_hex[] =
    "07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c";
static const char client_public_hex[] =
    "605a725d2a4adfeeb1a29e17edd621c1b7593ee8cdbc44ac6c4ab6e2f805d23c";
static const char client_info_hex[] =
    "605a725d2a4adfeeb1a29e17edd621c1b7593ee8cdbc44ac6c4ab6e2f805d23c"
    "000102030405060708090a0b0c0d0e0f1011121314151617"
    "6aaf034da4be8b0263bd4637ab456120c658958b11d183b5f165dd0d1f867604"
    "3bf8933dd849491c80e54e871297cdadba4d7a5bef2b10709cc89bd1323e1202"
    "bfe4b4f2d4a2d9c4b576df268b6f039c7b19053037d1e3620a96f444643669d6"
    "4b1fdacf29e4457d743dca8fa0addc73d56da35d43d0b0dc9eecb106d998e0e0"
    "d42fa45adc31fc63196d82f09d4892ba002a92b4b4a2a87a65ec60748f23b7e5";
static const char server_info_hex[] = "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0efeeedecebeae9e8"
				      "3d4ace08be30b4d0ede54294ffc687d740a76d1dd62cf30b20a55051d9";
#define MESH_HEX "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"

static struct login_keys server, client;

static int set_up(void **state)
{
	if (sodium_init() < 0)
		return -1;
	for (int i = 0; i < KEY_LEN; i++) {
		server.private[i] = (uint8_t)(i + 1);
		client.private[i] = (uint8_t)(0xa0 + i);
	}
	return login_keys_derive(&server) && login_keys_derive(&client) ? 0 : -1;
}

static size_t from_hex(const char *hex, uint8_t *out)
{
	size_t n = strlen(hex) / 2;

	assert_true(key_unhex(hex, n, out));
	return n;
}

/* A ClientInfo payload with this text in the box, for free(). */
static uint8_t *seal_client(const char *text, size_t len, size_t *payload_len)
{
	uint8_t *p;

	*payload_len = CLIENT_INFO_MIN + LOGIN_MAC_LEN + len;
	p = malloc(*payload_len);
	assert_non_null(p);
	memcpy(p, client.public.b, KEY_LEN);
	randombytes_buf(p + KEY_LEN, LOGIN_NONCE_LEN);
	assert_int_equal(crypto_box_easy(p + CLIENT_INFO_MIN, (const uint8_t *)text, len,
			     p + KEY_LEN, server.public.b, client.private),
	    0);
	return p;
}

static enum login_result open_bytes(const char *text, size_t text_len, struct client_info *info)
{
	struct login_secret secret;
	enum login_result r;
	size_t len;
	uint8_t *p = seal_client(text, text_len, &len);

	r = login_open_client_info(&server, NULL, p, len, info, &secret);
	assert_int_equal(sodium_is_zero(secret.k, KEY_LEN), r != LOGIN_OK);
	if (r != LOGIN_OK)
		assert_true(sodium_is_zero((const uint8_t *)info, sizeof(*info)));
	free(p);
	return r;
}

static enum login_result open_text(const char *text, struct client_info *info)
{
	return open_bytes(text, strlen(text), info);
}

static void assert_refused(const char *text, enum login_result expected)
{
	struct client_info info;
	enum login_result r = open_text(text, &info);

	if (r != expected)
		fail_msg("%s: %s", text, login_strerror(r));
}

static void test_keys(void **state)
{
	struct login_keys k, derived;
	struct key expected;

	from_hex(server_public_hex, expected.b);
	assert_true(key_equal(&server.public, &expected));
	from_hex(client_public_hex, expected.b);
	assert_true(key_equal(&client.public, &expected));
	login_keys_new(&k);
	memcpy(derived.private, k.private, KEY_LEN);
	assert_true(login_keys_derive(&derived));
	assert_true(key_equal(&derived.public, &k.public));
	login_keys_wipe(&k);
	assert_true(sodium_is_zero((const uint8_t *)&k, sizeof(k)));
	assert_false(login_keys_derive(&k));
}

static void test_known_client_info(void **state)
{
	uint8_t payload[256], mesh[MESH_KEY_LEN];
	size_t len = from_hex(client_info_hex, payload);
	struct login_secret secret;
	struct client_info info;
	uint8_t box[128];
	int version;

	assert_int_equal(
	    login_open_client_info(&server, NULL, payload, len, &info, &secret), LOGIN_OK);
	assert_true(key_equal(&info.key, &client.public));
	assert_int_equal(info.version, 2);
	assert_true(info.can_ack_pings);
	assert_true(info.is_prober);
	assert_string_equal(info.app_name, "vector");
	assert_true(info.has_mesh_key);
	from_hex(MESH_HEX, mesh);
	assert_memory_equal(info.mesh_key, mesh, MESH_KEY_LEN);

	/* The same secret opens the other box. */
	len = from_hex(server_info_hex, box);
	assert_true(login_open_server_info(&secret, box, len, &version));
	assert_int_equal(version, 2);
	login_secret_wipe(&secret);
	assert_true(sodium_is_zero(secret.k, KEY_LEN));
}

static void test_round_trip(void **state)
{
	struct client_info sent = {.version = 2, .has_mesh_key = true, .can_ack_pings = true};
	struct login_secret c, s;
	struct client_info got;
	uint8_t frame[LOGIN_FRAME_MAX];
	struct key key;
	size_t n;
	int version;

	n = login_put_server_key(&server.public, frame);
	assert_int_equal(n, FRAME_HEADER_LEN + SERVER_KEY_LEN);
	assert_int_equal(frame[0], FRAME_SERVER_KEY);
	assert_int_equal(frame_payload_len(frame), SERVER_KEY_LEN);
	assert_true(login_read_server_key(frame + FRAME_HEADER_LEN, n - FRAME_HEADER_LEN, &key));
	assert_true(key_equal(&key, &server.public));

	memset(sent.mesh_key, 0xfe, MESH_KEY_LEN);
	strcpy(sent.app_name, "\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\\"\\");
	assert_int_equal(strlen(sent.app_name), APP_NAME_MAX);
	sent.version = -2147483647 - 1;
	sent.is_prober = true;
	n = login_put_client_info(&client, &key, &sent, &c, frame);
	assert_int_equal(frame[0], FRAME_CLIENT_INFO);
	assert_int_equal(n, FRAME_HEADER_LEN + frame_payload_len(frame));
	assert_int_equal(login_open_client_info(&server, NULL, frame + FRAME_HEADER_LEN,
			     n - FRAME_HEADER_LEN, &got, &s),
	    LOGIN_OK);
	assert_memory_equal(c.k, s.k, KEY_LEN);
	sent.key = client.public;
	assert_true(key_equal(&got.key, &sent.key));
	assert_int_equal(got.version, sent.version);
	assert_true(got.has_mesh_key && got.can_ack_pings && got.is_prober);
	assert_memory_equal(got.mesh_key, sent.mesh_key, MESH_KEY_LEN);
	assert_string_equal(got.app_name, sent.app_name);

	n = login_put_server_info(&s, frame);
	assert_int_equal(frame[0], FRAME_SERVER_INFO);
	assert_int_equal(n, FRAME_HEADER_LEN + frame_payload_len(frame));
	assert_true(
	    login_open_server_info(&c, frame + FRAME_HEADER_LEN, n - FRAME_HEADER_LEN, &version));
	assert_int_equal(version, DERP_VERSION);
}

/* Cut anywhere, or any bit of it changed, it is refused. */
static void test_damage(void **state)
{
	uint8_t payload[256];
	size_t len = from_hex(client_info_hex, payload);
	struct login_secret secret;
	struct client_info info;
	enum login_result r;

	for (size_t n = 0; n < len; n++) {
		uint8_t *cut = malloc(n + 1);

		assert_non_null(cut);
		memcpy(cut, payload, n);
		r = login_open_client_info(&server, NULL, cut, n, &info, &secret);
		assert_int_equal(r, n < CLIENT_INFO_MIN ? LOGIN_BAD_LENGTH : LOGIN_BAD_BOX);
		free(cut);
	}
	for (size_t i = 0; i < len; i++) {
		/* X25519 ignores the last bit of a key. */
		uint8_t bit = (uint8_t)(1 << (i == KEY_LEN - 1 ? i % 7 : i % 8));

		payload[i] ^= bit;
		r = login_open_client_info(&server, NULL, payload, len, &info, &secret);
		assert_int_equal(r, LOGIN_BAD_BOX);
		payload[i] ^= bit;
	}
	r = login_open_client_info(&client, NULL, payload, len, &info, &secret);
	assert_int_equal(r, LOGIN_BAD_BOX);
}

static void test_bad_keys(void **state)
{
	uint8_t payload[CLIENT_INFO_MIN + LOGIN_MAC_LEN + 2] = {0};
	struct client_info info = {.version = 2};
	struct login_secret secret;
	uint8_t frame[LOGIN_FRAME_MAX];
	struct key small = {{1}};

	assert_int_equal(
	    login_open_client_info(&server, NULL, payload, sizeof(payload), &info, &secret),
	    LOGIN_ZERO_KEY);
	/* Of small order: the shared secret would be zero whatever our key is. */
	payload[0] = 1;
	assert_int_equal(
	    login_open_client_info(&server, NULL, payload, sizeof(payload), &info, &secret),
	    LOGIN_BAD_BOX);
	assert_int_equal(login_put_client_info(&client, &small, &info, &secret, frame), 0);
	assert_true(sodium_is_zero(secret.k, KEY_LEN));
}

/* Who comes again is known: the same answers, without the server's private key. Nobody else is. */
static void test_cache(void **state)
{
	struct login_cache *cache = login_cache_new();
	uint8_t payload[256];
	size_t len = from_hex(client_info_hex, payload);
	struct login_keys forgetful = {.public = server.public, .private = {9}};
	struct login_secret first, again;
	struct client_info info;

	/* Who did not prove to hold the key is not remembered. */
	payload[len - 1] ^= 1;
	assert_int_equal(
	    login_open_client_info(&server, cache, payload, len, &info, &first), LOGIN_BAD_BOX);
	payload[len - 1] ^= 1;
	assert_int_equal(
	    login_open_client_info(&forgetful, cache, payload, len, &info, &first), LOGIN_BAD_BOX);
	assert_int_equal(
	    login_open_client_info(&server, cache, payload, len, &info, &first), LOGIN_OK);
	assert_int_equal(
	    login_open_client_info(&forgetful, cache, payload, len, &info, &again), LOGIN_OK);
	assert_memory_equal(&first, &again, sizeof(first));
	assert_string_equal(info.app_name, "vector");
	/* A key that is known opens no other box. */
	payload[len - 1] ^= 1;
	assert_int_equal(
	    login_open_client_info(&server, cache, payload, len, &info, &again), LOGIN_BAD_BOX);
	assert_true(sodium_is_zero(again.k, KEY_LEN));
	login_cache_free(cache);
	login_cache_free(NULL);
}

static void test_json_members(void **state)
{
	struct client_info info;

	assert_int_equal(open_text("{}", &info), LOGIN_OK);
	assert_int_equal(info.version, 0);
	assert_false(info.has_mesh_key || info.can_ack_pings || info.is_prober);
	assert_string_equal(info.app_name, "");

	assert_int_equal(open_text(" { \"VERSION\" : 3, \"canAckPings\":true, \"isprober\":true,"
				   "\"APPNAME\":\"x y\", \"MeshKEY\":\"" MESH_HEX "\" } \n",
			     &info),
	    LOGIN_OK);
	assert_int_equal(info.version, 3);
	assert_true(info.has_mesh_key && info.can_ack_pings && info.is_prober);
	assert_string_equal(info.app_name, "x y");

	/* Unknown members, null, the last of several. */
	assert_int_equal(open_text("{\"a\":{\"version\":[9]},\"version\":2,\"meshKey\":null,"
				   "\"CanAckPings\":null,\"IsProber\":true,\"IsProber\":false,"
				   "\"AppName\":null,\"meshKeys\":7,\"mesh\":7,\"\":7}",
			     &info),
	    LOGIN_OK);
	assert_int_equal(info.version, 2);
	assert_false(info.has_mesh_key || info.can_ack_pings || info.is_prober);

	/* A later null leaves what an earlier one said. */
	assert_int_equal(open_text("{\"version\":4,\"Version\":null}", &info), LOGIN_OK);
	assert_int_equal(info.version, 4);
}

static void test_mesh_key(void **state)
{
	static const char zeros[] =
	    "{\"meshKey\":\"0000000000000000000000000000000000000000000000000000000000000000\"}";
	struct client_info info;

	/* Must never match, so it isn't one. */
	assert_int_equal(open_text(zeros, &info), LOGIN_OK);
	assert_false(info.has_mesh_key);

	assert_refused("{\"meshKey\":\"\"}", LOGIN_BAD_MESH_KEY);
	assert_refused("{\"meshKey\":\"" MESH_HEX "\",\"MESHKEY\":\"\"}", LOGIN_BAD_MESH_KEY);
	assert_refused("{\"meshKey\":\"00\"}", LOGIN_BAD_MESH_KEY);
	assert_refused("{\"meshKey\":\"" MESH_HEX "0\"}", LOGIN_BAD_MESH_KEY);
	assert_refused("{\"meshKey\":\" " MESH_HEX "\"}", LOGIN_BAD_MESH_KEY);
	assert_refused("{\"meshKey\":\"0g112233445566778899aabbccddeeff"
		       "00112233445566778899aabbccddeeff\"}",
	    LOGIN_BAD_MESH_KEY);
	assert_refused("{\"meshKey\":1}", LOGIN_BAD_JSON);
	assert_refused("{\"meshKey\":[\"" MESH_HEX "\"]}", LOGIN_BAD_JSON);
}

static void test_app_name(void **state)
{
	struct client_info info;

	assert_int_equal(
	    open_text("{\"AppName\":\"12345678901234567890123456789012\"}", &info), LOGIN_OK);
	assert_string_equal(info.app_name, "12345678901234567890123456789012");
	assert_refused("{\"AppName\":\"123456789012345678901234567890123\"}", LOGIN_BAD_APP_NAME);
	assert_refused("{\"AppName\":\"a\\nb\"}", LOGIN_BAD_APP_NAME);
	assert_refused("{\"AppName\":\"a\\u007fb\"}", LOGIN_BAD_APP_NAME);
	assert_refused("{\"AppName\":\"\xc3\xa9\"}", LOGIN_BAD_APP_NAME);
	assert_refused("{\"AppName\":\"\\u001b[31m\"}", LOGIN_BAD_APP_NAME);
	assert_refused("{\"AppName\":7}", LOGIN_BAD_JSON);
}

static void test_bad_json(void **state)
{
	static const char *const bad[] = {"", " ", "{", "}", "[]", "null", "2", "\"x\"", "{}{}",
	    "{} x", "{'version':2}", "{\"version\":2,}", "{\"version\" 2}", "{version:2}",
	    "{\"version\":2.0}", "{\"version\":\"2\"}", "{\"version\":true}",
	    "{\"version\":2147483648}", "{\"version\":-2147483649}",
	    "{\"version\":99999999999999999999}", "{\"CanAckPings\":1}",
	    "{\"CanAckPings\":\"true\"}", "{\"IsProber\":0}", "{\"IsProber\":{}}",
	    "{\"a\":\"\xff\"}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\\u0000\"}", "{\"a\":1e999}"};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_refused(bad[i], LOGIN_BAD_JSON);
}

static void test_json_bytes(void **state)
{
	static const char with_nul[] = "{\"version\":2}\0{}";
	struct client_info info;

	assert_int_equal(open_bytes(with_nul, sizeof(with_nul) - 1, &info), LOGIN_BAD_JSON);
	assert_int_equal(open_bytes("{\"a\0\":1}", 8, &info), LOGIN_BAD_JSON);
}

/* The largest payload is read, whatever is in it; one byte more isn't. */
static void test_large(void **state)
{
	size_t most = CLIENT_INFO_MAX - CLIENT_INFO_MIN - LOGIN_MAC_LEN;
	char *text = malloc(most + 1);
	struct client_info info;

	assert_non_null(text);
	memset(text, ' ', most + 1);
	memcpy(text, "{\"version\":2}", 13);
	assert_int_equal(open_bytes(text, most, &info), LOGIN_OK);
	assert_int_equal(info.version, 2);
	assert_int_equal(open_bytes(text, most + 1, &info), LOGIN_BAD_LENGTH);
	memset(text, '[', most);
	assert_int_equal(open_bytes(text, most, &info), LOGIN_BAD_JSON);
	memset(text, '9', most);
	memcpy(text, "{\"version\":", 11);
	assert_int_equal(open_bytes(text, most, &info), LOGIN_BAD_JSON);
	memset(text, 'x', most);
	memcpy(text, "{\"AppName\":\"", 12);
	memcpy(text + most - 2, "\"}", 2);
	assert_int_equal(open_bytes(text, most, &info), LOGIN_BAD_APP_NAME);
	free(text);
}

static void test_server_key(void **state)
{
	uint8_t p[SERVER_KEY_MAX + 1] = {0};
	uint8_t frame[LOGIN_FRAME_MAX];
	struct key key;

	login_put_server_key(&server.public, frame);
	memcpy(p, frame + FRAME_HEADER_LEN, SERVER_KEY_LEN);
	for (size_t n = 0; n < SERVER_KEY_LEN; n++)
		assert_false(login_read_server_key(p, n, &key));
	assert_true(login_read_server_key(p, SERVER_KEY_LEN, &key));
	assert_true(login_read_server_key(p, SERVER_KEY_MAX, &key));
	assert_false(login_read_server_key(p, SERVER_KEY_MAX + 1, &key));
	p[7] ^= 1;
	assert_false(login_read_server_key(p, SERVER_KEY_LEN, &key));
	p[7] ^= 1;
	memset(p + SERVER_KEY_MAGIC_LEN, 0, KEY_LEN);
	assert_false(login_read_server_key(p, SERVER_KEY_LEN, &key));
}

static bool open_server_text(const char *text, int *version)
{
	uint8_t p[512];
	size_t len = strlen(text);
	struct login_secret secret;

	assert_int_equal(crypto_box_beforenm(secret.k, server.public.b, client.private), 0);
	randombytes_buf(p, LOGIN_NONCE_LEN);
	crypto_box_easy_afternm(p + LOGIN_NONCE_LEN, (const uint8_t *)text, len, p, secret.k);
	return login_open_server_info(&secret, p, LOGIN_NONCE_LEN + LOGIN_MAC_LEN + len, version);
}

static void test_server_info(void **state)
{
	uint8_t frame[LOGIN_FRAME_MAX];
	struct login_secret secret;
	size_t len;
	int version;

	assert_true(open_server_text("{\"Version\":7,\"TokenBucketBytesBurst\":65573}", &version));
	assert_int_equal(version, 7);
	assert_true(open_server_text("{}", &version));
	assert_int_equal(version, 0);
	assert_false(open_server_text("", &version));
	assert_false(open_server_text("[2]", &version));
	assert_false(open_server_text("{\"version\":\"2\"}", &version));
	assert_false(open_server_text("{\"version\":2", &version));

	assert_int_equal(crypto_box_beforenm(secret.k, server.public.b, client.private), 0);
	len = login_put_server_info(&secret, frame) - FRAME_HEADER_LEN;
	for (size_t n = 0; n < len; n++)
		assert_false(
		    login_open_server_info(&secret, frame + FRAME_HEADER_LEN, n, &version));
	for (size_t i = 0; i < len; i++) {
		frame[FRAME_HEADER_LEN + i] ^= 0x10;
		assert_false(
		    login_open_server_info(&secret, frame + FRAME_HEADER_LEN, len, &version));
		frame[FRAME_HEADER_LEN + i] ^= 0x10;
	}
	assert_false(login_open_server_info(&secret, frame, CLIENT_INFO_MAX + 1, &version));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_keys),
	    cmocka_unit_test(test_known_client_info),
	    cmocka_unit_test(test_round_trip),
	    cmocka_unit_test(test_damage),
	    cmocka_unit_test(test_bad_keys),
	    cmocka_unit_test(test_cache),
	    cmocka_unit_test(test_json_members),
	    cmocka_unit_test(test_mesh_key),
	    cmocka_unit_test(test_app_name),
	    cmocka_unit_test(test_bad_json),
	    cmocka_unit_test(test_json_bytes),
	    cmocka_unit_test(test_large),
	    cmocka_unit_test(test_server_key),
	    cmocka_unit_test(test_server_info),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
