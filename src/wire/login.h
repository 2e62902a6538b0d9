/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * login.h: the boxes that client and server exchange before a DERP stream begins.
 *
 * ClientInfo's payload is the client's key, a nonce and a NaCl box (X25519, XSalsa20-Poly1305) of
 * JSON; ServerInfo's is a nonce and such a box. Sans-I/O; JSON by jansson, boxes by libsodium. The
 * shared secret of the two keys is computed once and serves both boxes.
 */
#ifndef SLUICE_WIRE_LOGIN_H
#define SLUICE_WIRE_LOGIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/key.h"
#include "wire/frame.h"

#define LOGIN_NONCE_LEN 24
#define LOGIN_MAC_LEN 16
#define CLIENT_INFO_MIN (KEY_LEN + LOGIN_NONCE_LEN)
#define CLIENT_INFO_MAX 262144
#define MESH_KEY_LEN 32
#define APP_NAME_MAX 32
/* Room for a whole ServerKey frame, and for a whole ServerInfo or ClientInfo frame that we make. */
#define LOGIN_FRAME_MAX 512

/* A private key and its public half; login_keys_wipe before it is freed. */
struct login_keys {
	struct key public;
	uint8_t private[KEY_LEN];
};

struct client_info {
	struct key key;
	int version;
	bool has_mesh_key;
	bool can_ack_pings;
	bool is_prober;
	uint8_t mesh_key[MESH_KEY_LEN];
	char app_name[APP_NAME_MAX + 1]; /* empty when absent */
};

/* The secret that both boxes of one login share; wipe after use. */
struct login_secret {
	uint8_t k[KEY_LEN];
};

/* Shared secrets of those who logged in last: who comes again, as all do after an interruption,
 * costs no multiplication. One thread's. */
struct login_cache;
#define LOGIN_CACHE_ENTRIES 4096 /* power of two */

#define LOGIN_RESULTS(X)                                                 \
	X(LOGIN_OK, "ok")                                                \
	X(LOGIN_BAD_LENGTH, "ClientInfo has a bad length")               \
	X(LOGIN_ZERO_KEY, "the client's key is zero")                    \
	X(LOGIN_BAD_BOX, "the box does not open")                        \
	X(LOGIN_BAD_JSON, "ClientInfo is not the JSON that is expected") \
	X(LOGIN_BAD_MESH_KEY, "the mesh key is not 64 hex digits")       \
	X(LOGIN_BAD_APP_NAME, "the app name is too long or not printable")

enum login_result {
#define X(id, text) id,
	LOGIN_RESULTS(X)
#undef X
};

const char *login_strerror(enum login_result r);

/* Draws a new key pair. */
void login_keys_new(struct login_keys *k);
/* Computes the public half of k->private; false when the private key is no good. */
bool login_keys_derive(struct login_keys *k) must_use;
void login_keys_wipe(struct login_keys *k);
void login_secret_wipe(struct login_secret *s);

/* Server: a whole ServerKey frame into out; returns its length. */
size_t login_put_server_key(const struct key *server, uint8_t out[LOGIN_FRAME_MAX]);
struct login_cache *login_cache_new(void);
/* Wipes it. */
void login_cache_free(struct login_cache *c);
/* Server: opens a ClientInfo payload of len bytes. On LOGIN_OK fills info and secret. cache: NULL,
 * or always with the same server. */
enum login_result login_open_client_info(const struct login_keys *server, struct login_cache *cache,
    const uint8_t *payload, size_t len, struct client_info *info,
    struct login_secret *secret) must_use;
/* Server: a whole ServerInfo frame, {"version":2} in a box, into out; returns its length. */
size_t login_put_server_info(const struct login_secret *secret, uint8_t out[LOGIN_FRAME_MAX]);

/* Client (bench, probe, mesh): reads a ServerKey payload. */
bool login_read_server_key(const uint8_t *payload, size_t len, struct key *server) must_use;
/* Client: a whole ClientInfo frame into out; returns its length. info->key is ignored, client's is
 * sent; fills secret, which opens the ServerInfo. */
size_t login_put_client_info(const struct login_keys *client, const struct key *server,
    const struct client_info *info, struct login_secret *secret, uint8_t out[LOGIN_FRAME_MAX]);
/* Client: opens a ServerInfo payload; false when the box or the JSON is bad. */
bool login_open_server_info(
    const struct login_secret *secret, const uint8_t *payload, size_t len, int *version) must_use;

#endif
