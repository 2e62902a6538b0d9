/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything here reads what a stranger sent: the box proves that the sender holds the key that it
 * names, not that the JSON inside is sane.
 *
 * The JSON is read as upstream's server reads it (Go's encoding/json): members are found whatever
 * their case, null leaves a member as it was, the last of several wins, unknown ones are ignored,
 * a known one of another type is an error. A mesh key of zeros counts as none, as it must never
 * match anything.
 */
#include "wire/login.h"

#include <jansson.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>

_Static_assert(KEY_LEN == crypto_box_PUBLICKEYBYTES, "keys are Curve25519 keys");
_Static_assert(KEY_LEN == crypto_box_SECRETKEYBYTES, "keys are Curve25519 keys");
_Static_assert(KEY_LEN == crypto_box_BEFORENMBYTES, "the shared secret is a key");
_Static_assert(LOGIN_NONCE_LEN == crypto_box_NONCEBYTES, "the nonce is XSalsa20's");
_Static_assert(LOGIN_MAC_LEN == crypto_box_MACBYTES, "the tag is Poly1305's");

/* Room for the JSON that we write ourselves: 140 bytes of members, two hex digits for each byte of
 * the mesh key, an app name of which every character is escaped. */
#define JSON_MAX 384

_Static_assert(
    FRAME_HEADER_LEN + KEY_LEN + LOGIN_NONCE_LEN + LOGIN_MAC_LEN + JSON_MAX <= LOGIN_FRAME_MAX,
    "every frame that we make fits the callers' room");

const char *login_strerror(enum login_result r)
{
	static const char *const text[] = {
#define X(id, text) [id] = (text),
	    LOGIN_RESULTS(X)
#undef X
	};

	CHECK((size_t)r < ARRAY_LEN(text));
	return text[r];
}

void login_keys_new(struct login_keys *k)
{
	CHECK(crypto_box_keypair(k->public.b, k->private) == 0);
}

bool login_keys_derive(struct login_keys *k)
{
	/* Any other 32 bytes are a private key: multiplication clamps them. Zeros are a mistake. */
	if (sodium_is_zero(k->private, KEY_LEN))
		return false;
	return crypto_scalarmult_base(k->public.b, k->private) == 0;
}

void login_keys_wipe(struct login_keys *k)
{
	sodium_memzero(k, sizeof(*k));
}

void login_secret_wipe(struct login_secret *s)
{
	sodium_memzero(s, sizeof(*s));
}

/* The JSON. */

static char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Not strcasecmp: that one listens to the locale. */
static bool name_is(const char *name, const char *want)
{
	while (*name && ascii_lower(*name) == ascii_lower(*want)) {
		name++;
		want++;
	}
	return *name == *want;
}

static enum login_result read_version(int *version, const json_t *v)
{
	json_int_t n = json_integer_value(v);

	if (!json_is_integer(v) || n < INT_MIN || n > INT_MAX)
		return LOGIN_BAD_JSON;
	*version = (int)n;
	return LOGIN_OK;
}

static enum login_result read_bool(bool *b, const json_t *v)
{
	if (!json_is_boolean(v))
		return LOGIN_BAD_JSON;
	*b = json_is_true(v);
	return LOGIN_OK;
}

static enum login_result read_mesh_key(struct client_info *info, const json_t *v)
{
	const char *text = json_string_value(v);

	if (!text)
		return LOGIN_BAD_JSON;
	info->has_mesh_key = false;
	if (!key_unhex(text, MESH_KEY_LEN, info->mesh_key))
		return LOGIN_BAD_MESH_KEY;
	info->has_mesh_key = !sodium_is_zero(info->mesh_key, MESH_KEY_LEN);
	return LOGIN_OK;
}

static enum login_result read_app_name(struct client_info *info, const json_t *v)
{
	const char *text = json_string_value(v);
	size_t len = json_string_length(v);

	if (!text)
		return LOGIN_BAD_JSON;
	if (len > APP_NAME_MAX)
		return LOGIN_BAD_APP_NAME;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < ' ' || text[i] > '~')
			return LOGIN_BAD_APP_NAME;
	}
	memcpy(info->app_name, text, len + 1);
	return LOGIN_OK;
}

static enum login_result read_member(struct client_info *info, const char *name, const json_t *v)
{
	if (json_is_null(v))
		return LOGIN_OK;
	if (name_is(name, "meshKey"))
		return read_mesh_key(info, v);
	if (name_is(name, "version"))
		return read_version(&info->version, v);
	if (name_is(name, "CanAckPings"))
		return read_bool(&info->can_ack_pings, v);
	if (name_is(name, "IsProber"))
		return read_bool(&info->is_prober, v);
	if (name_is(name, "AppName"))
		return read_app_name(info, v);
	return LOGIN_OK;
}

/* Frees what was parsed; string values are wiped first, for one may be a mesh key. */
static void drop_json(json_t *root)
{
	const char *name;
	json_t *v;

	json_object_foreach(root, name, v)
	{
		if (json_is_string(v))
			sodium_memzero(
			    (void *)(uintptr_t)json_string_value(v), json_string_length(v));
	}
	json_decref(root);
}

static enum login_result read_client_json(struct client_info *info, const char *text, size_t len)
{
	enum login_result result = LOGIN_OK;
	const char *name;
	json_t *root, *v;

	root = json_loadb(text, len, 0, NULL);
	if (!root)
		return LOGIN_BAD_JSON;
	if (!json_is_object(root))
		result = LOGIN_BAD_JSON;
	json_object_foreach(root, name, v)
	{
		if (result == LOGIN_OK)
			result = read_member(info, name, v);
	}
	drop_json(root);
	return result;
}

static bool read_server_json(int *version, const char *text, size_t len)
{
	bool ok;
	const char *name;
	json_t *root, *v;

	root = json_loadb(text, len, 0, NULL);
	ok = json_is_object(root);
	*version = 0;
	json_object_foreach(root, name, v)
	{
		if (ok && name_is(name, "version") && !json_is_null(v))
			ok = read_version(version, v) == LOGIN_OK;
	}
	json_decref(root);
	return ok;
}

/* Writes a client's JSON into out; returns its length. Members at their default are left out. */
static size_t write_client_json(const struct client_info *info, char out[JSON_MAX])
{
	char hex[2 * MESH_KEY_LEN + 1];
	json_t *root = json_object();
	int err = 0;
	size_t n;

	if (info->has_mesh_key) {
		key_hex(info->mesh_key, MESH_KEY_LEN, hex);
		err |= json_object_set_new(root, "meshKey", json_string(hex));
		sodium_memzero(hex, sizeof(hex));
	}
	err |= json_object_set_new(root, "version", json_integer(info->version));
	err |= json_object_set_new(root, "CanAckPings", json_boolean(info->can_ack_pings));
	if (info->is_prober)
		err |= json_object_set_new(root, "IsProber", json_true());
	if (info->app_name[0])
		err |= json_object_set_new(root, "AppName", json_string(info->app_name));
	/* Out of memory, or an app name that isn't text: neither is a peer's doing. */
	CHECK(err == 0);
	n = json_dumpb(root, out, JSON_MAX, JSON_COMPACT);
	CHECK(n > 0 && n <= JSON_MAX);
	drop_json(root);
	return n;
}

/* The boxes. */

/* Opens nonce and box; the caller wipes and frees *text. False when the box is no good. */
static bool open_box(
    const struct login_secret *secret, const uint8_t *p, size_t len, char **text, size_t *text_len)
{
	if (len < LOGIN_NONCE_LEN + LOGIN_MAC_LEN)
		return false;
	*text_len = len - LOGIN_NONCE_LEN - LOGIN_MAC_LEN;
	/* At most CLIENT_INFO_MAX, and only until the caller has read it. */
	*text = must_alloc(*text_len);
	if (crypto_box_open_easy_afternm(
		(uint8_t *)*text, p + LOGIN_NONCE_LEN, len - LOGIN_NONCE_LEN, p, secret->k) == 0)
		return true;
	free(*text);
	return false;
}

static void drop_text(char *text, size_t len)
{
	sodium_memzero(text, len);
	free(text);
}

/* A whole frame: header, the sender's key if there is one, nonce, box of the JSON. */
static size_t seal_frame(enum frame_type type, const struct key *from,
    const struct login_secret *secret, const char *json, size_t json_len, uint8_t *out)
{
	size_t len = LOGIN_NONCE_LEN + LOGIN_MAC_LEN + json_len + (from ? KEY_LEN : 0);
	uint8_t *p = out + FRAME_HEADER_LEN;

	CHECK(FRAME_HEADER_LEN + len <= LOGIN_FRAME_MAX);
	frame_put_header(out, type, (uint32_t)len);
	if (from) {
		memcpy(p, from->b, KEY_LEN);
		p += KEY_LEN;
	}
	randombytes_buf(p, LOGIN_NONCE_LEN);
	CHECK(crypto_box_easy_afternm(
		  p + LOGIN_NONCE_LEN, (const uint8_t *)json, json_len, p, secret->k) == 0);
	return FRAME_HEADER_LEN + len;
}

size_t login_put_server_key(const struct key *server, uint8_t out[LOGIN_FRAME_MAX])
{
	frame_put_header(out, FRAME_SERVER_KEY, SERVER_KEY_LEN);
	memcpy(out + FRAME_HEADER_LEN, SERVER_KEY_MAGIC, SERVER_KEY_MAGIC_LEN);
	memcpy(out + FRAME_HEADER_LEN + SERVER_KEY_MAGIC_LEN, server->b, KEY_LEN);
	return FRAME_HEADER_LEN + SERVER_KEY_LEN;
}

/* A place for each key, which the next one of the same hash takes over. */
struct login_cache {
	struct {
		struct key key;
		struct login_secret secret;
	} entry[LOGIN_CACHE_ENTRIES];
};

struct login_cache *login_cache_new(void)
{
	return must_calloc(1, sizeof(struct login_cache));
}

void login_cache_free(struct login_cache *c)
{
	if (c)
		sodium_memzero(c, sizeof(*c));
	free(c);
}

static size_t cache_place(const struct key *k)
{
	return key_hash(k) & (LOGIN_CACHE_ENTRIES - 1);
}

/* The secret shared with a client; false for keys of small order, whose secret everybody knows. */
static bool share_secret(const struct login_keys *server, const struct login_cache *cache,
    const struct key *client, struct login_secret *secret)
{
	size_t at = cache ? cache_place(client) : 0;

	if (cache && key_equal(&cache->entry[at].key, client)) {
		*secret = cache->entry[at].secret;
		return true;
	}
	return crypto_box_beforenm(secret->k, client->b, server->private) == 0;
}

enum login_result login_open_client_info(const struct login_keys *server, struct login_cache *cache,
    const uint8_t *payload, size_t len, struct client_info *info, struct login_secret *secret)
{
	enum login_result result = LOGIN_BAD_BOX;
	size_t text_len;
	char *text;

	*info = (struct client_info){0};
	*secret = (struct login_secret){0};
	if (len < CLIENT_INFO_MIN || len > CLIENT_INFO_MAX)
		return LOGIN_BAD_LENGTH;
	memcpy(info->key.b, payload, KEY_LEN);
	if (key_is_zero(&info->key))
		return LOGIN_ZERO_KEY;
	if (!share_secret(server, cache, &info->key, secret))
		goto fail;
	if (!open_box(secret, payload + KEY_LEN, len - KEY_LEN, &text, &text_len))
		goto fail;
	result = read_client_json(info, text, text_len);
	drop_text(text, text_len);
	if (result == LOGIN_OK) {
		/* Only of who has proved to hold the key. */
		if (cache) {
			size_t at = cache_place(&info->key);

			cache->entry[at].key = info->key;
			cache->entry[at].secret = *secret;
		}
		return LOGIN_OK;
	}
fail:
	login_secret_wipe(secret);
	sodium_memzero(info, sizeof(*info));
	return result;
}

size_t login_put_server_info(const struct login_secret *secret, uint8_t out[LOGIN_FRAME_MAX])
{
	static const char json[] = "{\"version\":2}";

	_Static_assert(DERP_VERSION == 2, "the text above says so too");
	return seal_frame(FRAME_SERVER_INFO, NULL, secret, json, sizeof(json) - 1, out);
}

bool login_read_server_key(const uint8_t *payload, size_t len, struct key *server)
{
	if (len < SERVER_KEY_LEN || len > SERVER_KEY_MAX)
		return false;
	if (memcmp(payload, SERVER_KEY_MAGIC, SERVER_KEY_MAGIC_LEN) != 0)
		return false;
	memcpy(server->b, payload + SERVER_KEY_MAGIC_LEN, KEY_LEN);
	return !key_is_zero(server);
}

/* Returns 0 when the server's key is of small order: that is the server's fault, not a bug. */
size_t login_put_client_info(const struct login_keys *client, const struct key *server,
    const struct client_info *info, struct login_secret *secret, uint8_t out[LOGIN_FRAME_MAX])
{
	char json[JSON_MAX];
	size_t n;

	if (crypto_box_beforenm(secret->k, server->b, client->private) != 0) {
		login_secret_wipe(secret);
		return 0;
	}
	n = write_client_json(info, json);
	n = seal_frame(FRAME_CLIENT_INFO, &client->public, secret, json, n, out);
	sodium_memzero(json, sizeof(json));
	return n;
}

bool login_open_server_info(
    const struct login_secret *secret, const uint8_t *payload, size_t len, int *version)
{
	size_t text_len;
	char *text;
	bool ok;

	*version = 0;
	/* No server has so much to say; the limit is ClientInfo's for want of one of its own. */
	if (len > CLIENT_INFO_MAX || !open_box(secret, payload, len, &text, &text_len))
		return false;
	ok = read_server_json(version, text, text_len);
	drop_text(text, text_len);
	return ok;
}
