/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * login.c: from the request for an upgrade to a client that a worker owns.
 *
 * Reads no further than the end of ClientInfo; what came behind it travels with the connection.
 */
#include <sodium.h>
#include <stdlib.h>

#include "base/log.h"
#include "gate/visitor.h"
#include "io/addr.h"
#include "relay/worker.h"

static void greet(struct visitor *v)
{
	uint8_t frame[LOGIN_FRAME_MAX];

	v->ungreeted = false;
	visitor_send(v, frame, login_put_server_key(&v->gate->config->keys->public, frame));
}

/* 101 for raw DERP; clients that asked for a fast start get none. */
static void agree_derp(struct visitor *v)
{
	struct http_out o;
	char hex[KEY_HEX_LEN + 1];

	if (v->req.fast_start)
		return;
	key_hex(v->gate->config->keys->public.b, KEY_LEN, hex);
	http_out_init(&o, v->gate->page, REPLY_ROOM);
	http_put_status(&o, 101);
	http_put_field(&o, "Upgrade", "DERP");
	http_put_field(&o, "Connection", "Upgrade");
	http_put_fieldf(&o, "Derp-Version", "%d", DERP_VERSION);
	http_put_field(&o, "Derp-Public-Key", hex);
	http_put_end(&o);
	visitor_send_plain(v, o.p, o.len);
}

/* 101 for WebSocket; false when the request is not a proper one: the site says what is wrong. */
static bool agree_websocket(struct visitor *v)
{
	char accept[HTTP_WS_ACCEPT_LEN];
	struct http_out o;

	if (!v->req.conn_upgrade || v->req.ws_version != 13 ||
	    !http_ws_accept(v->req.ws_key, accept))
		return false;
	v->ws = ws_new();
	if (!v->ws) {
		visitor_close(v, CLOSE_NO_MEMORY);
		return true;
	}
	http_out_init(&o, v->gate->page, REPLY_ROOM);
	http_put_status(&o, 101);
	http_put_field(&o, "Upgrade", "websocket");
	http_put_field(&o, "Connection", "Upgrade");
	http_put_field(&o, "Sec-WebSocket-Accept", accept);
	http_put_field_span(&o, "Sec-WebSocket-Protocol", v->req.ws_protocol);
	http_put_end(&o);
	visitor_send_plain(v, o.p, o.len);
	count(&v->gate->counters, C_WEBSOCKET_ACCEPTS, 1);
	return true;
}

/* What came behind the request's head is WebSocket frames. */
static void reopen_ws(struct visitor *v)
{
	uint8_t reply[WS_REPLY_MAX];
	size_t len = v->in_len, reply_len;
	enum ws_result r;

	if (len == 0)
		return;
	r = ws_open(v->ws, v->in, v->in_len, v->in, &len, reply, &reply_len, sizeof(reply));
	visitor_send_plain(v, reply, reply_len);
	if (v->dead)
		return;
	v->in_len = (uint32_t)len;
	if (r != WS_OK)
		visitor_close(v, r == WS_CLOSED ? CLOSE_CLIENT : CLOSE_WS_ERROR);
}

bool login_begin(struct visitor *v)
{
	struct gate *g = v->gate;
	const struct http_request *r = &v->req;
	bool websocket = r->upgrade == HTTP_UPGRADE_WEBSOCKET && r->ws_protocol.p;

	if (!g->config->derp || r->upgrade == HTTP_UPGRADE_NONE || r->method != HTTP_GET ||
	    !http_is(r->path, "/derp") || v->kind != LISTEN_PUBLIC)
		return false;
	if (websocket) {
		if (!agree_websocket(v))
			return false;
	} else {
		agree_derp(v);
	}
	count(&g->counters, C_ACCEPTS, 1);
	if (v->tls)
		count(&g->counters,
		    tls_minor_version(v->tls) == 13 ? C_TLS13_REQUESTS : C_TLS12_REQUESTS, 1);
	if (v->dead)
		return true;
	v->not_ideal = r->ideal_node.len > 0;
	v->state = VISIT_LOGIN;
	visitor_deadline(v, LOGIN_MS);
	visitor_used(v, r->head_len);
	/* Who starts fast has said all behind the request: then ServerKey and ServerInfo are one
	 * send, the worker's. */
	v->ungreeted = true;
	if (v->in_len == 0 || v->ws)
		greet(v);
	if (!v->dead && v->ws)
		reopen_ws(v);
	return true;
}

static void refuse(struct visitor *v, const char *why)
{
	char addr[ADDR_TEXT_LEN];

	addr_format((const struct sockaddr *)&v->addr, addr);
	log_debug("login from %s refused: %s", addr, why);
	if (v->ungreeted)
		greet(v);
	visitor_close(v, CLOSE_LOGIN_FAILED);
}

/* Another node of the mesh: it knows the key that only they have. Whoever shows another key is an
 * ordinary client. */
static bool is_mesh_peer(const struct gate *g, const struct client_info *info)
{
	const struct mesh *m = g->config->mesh;

	return m && m->has_key && info->has_mesh_key &&
	       sodium_memcmp(info->mesh_key, m->key, MESH_KEY_LEN) == 0;
}

/* Everything that the worker is to have. NULL: out of memory. */
static struct admit *admit_new(struct visitor *v, const struct client_info *info,
    const struct login_secret *secret, size_t used)
{
	uint32_t early = v->in_len - (uint32_t)used;
	struct admit *a = malloc(sizeof(*a) + early);

	if (!a)
		return NULL;
	*a = (struct admit){
	    .fd = v->watch.fd,
	    .tls = v->tls,
	    .ws = v->ws,
	    .info = *info,
	    .mesh_peer = is_mesh_peer(v->gate, info),
	    .not_ideal = v->not_ideal,
	    .number = ++v->gate->logins,
	    .port = addr_port((const struct sockaddr *)&v->addr),
	    .early_len = early,
	};
	sodium_memzero(a->info.mesh_key, sizeof(a->info.mesh_key));
	if (a->mesh_peer)
		gate_keep_alive(a->fd);
	addr_ip16((const struct sockaddr *)&v->addr, a->addr.s6_addr);
	if (v->ungreeted)
		a->greeting_len =
		    (uint32_t)login_put_server_key(&v->gate->config->keys->public, a->greeting);
	a->server_info_len = (uint32_t)login_put_server_info(secret, a->server_info);
	if (early)
		memcpy(a->early, v->in + used, early);
	return a;
}

/* Hands the connection to the owner of its key; false when the owner's mailbox is full. */
static bool hand_over(
    struct visitor *v, struct client_info *info, struct login_secret *secret, size_t used)
{
	struct gate *g = v->gate;
	int owner = key_owner(key_hash(&info->key), mail_workers(g->mail));
	struct admit **letter =
	    mail_reserve(g->mail, g->self, owner, LETTER_ADMIT, sizeof(*letter), true);
	struct admit *a;

	if (!letter)
		return false;
	a = admit_new(v, info, secret, used);
	if (!a) {
		visitor_close(v, CLOSE_NO_MEMORY);
		return true;
	}
	*letter = a;
	visitor_leave(v);
	v->tls = NULL;
	v->ws = NULL;
	v->watch.fd = -1;
	mail_commit(g->mail, g->self, owner);
	return true;
}

static void client_info(struct visitor *v, const uint8_t *payload, size_t len)
{
	struct login_secret secret;
	struct client_info info;
	enum login_result r = login_open_client_info(
	    v->gate->config->keys, v->gate->cache, payload, len, &info, &secret);

	if (r != LOGIN_OK)
		refuse(v, login_strerror(r));
	else if (!hand_over(v, &info, &secret, FRAME_HEADER_LEN + len)) {
		v->retries++;
		visitor_deadline(v, LOGIN_RETRY_MS);
		visitor_ask(v);
	}
	login_secret_wipe(&secret);
	sodium_memzero(info.mesh_key, sizeof(info.mesh_key));
}

void login_advance(struct visitor *v)
{
	uint32_t len;

	/* The greeting first: a worker begins with an empty socket. */
	if (v->dead || v->out)
		return;
	if (v->in_len > 0 && v->in[0] != FRAME_CLIENT_INFO) {
		refuse(v, "the first frame is not ClientInfo");
		return;
	}
	len = v->in_len < FRAME_HEADER_LEN ? CLIENT_INFO_MIN : frame_payload_len(v->in);
	if (len < CLIENT_INFO_MIN || len > CLIENT_INFO_MAX) {
		refuse(v, "ClientInfo has a bad length");
		return;
	}
	if (v->in_len >= FRAME_HEADER_LEN + len)
		client_info(v, v->in + FRAME_HEADER_LEN, len);
	else if (v->ungreeted)
		greet(v);
}
