/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dial_login.c: the client's side of an upgrade and a login, as a mesh peer.
 *
 * We log in with the server's own key, which is how the other node, and we, recognise a server that
 * dials itself, and say WatchConns right behind ClientInfo. ServerInfo must be the next frame; what
 * comes behind it travels along to the worker.
 */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gate/dial.h"
#include "io/tls.h"
#include "relay/worker.h"

#define STATUS_LINE_MAX 80

void dial_login_begin(struct dial *d)
{
	char head[ADDR_HOST_LEN + 128];
	int n = snprintf(head, sizeof(head),
	    "GET /derp HTTP/1.1\r\nHost: %s\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n",
	    d->name);

	CHECK(n > 0 && (size_t)n < sizeof(head));
	dial_state(d, MESH_LOGIN);
	dial_send(d, head, (size_t)n);
}

void dial_login_cut(struct dial *d)
{
	switch (d->step) {
	case DIAL_ANSWER:
		dial_fail(d, "it closed the connection instead of answering the upgrade");
		break;
	case DIAL_SERVER_KEY:
		dial_fail(d, "it closed the connection instead of greeting");
		break;
	case DIAL_SERVER_INFO:
		dial_fail(d, "it closed the connection instead of logging us in: is its mesh key "
			     "the same?");
		break;
	case DIAL_HAND_OVER:
		dial_fail(d, "it closed the connection right behind the login: is its mesh key the "
			     "same?");
	}
}

static void used(struct dial *d, size_t n)
{
	d->in_len -= (uint32_t)n;
	memmove(d->in, d->in + n, d->in_len);
}

/* The first line of an answer, fit for a log. */
static void status_line(const uint8_t *p, size_t len, char out[STATUS_LINE_MAX + 1])
{
	size_t n = 0;

	for (; n < MIN(len, STATUS_LINE_MAX) && p[n] != '\r' && p[n] != '\n'; n++)
		out[n] = p[n] >= ' ' && p[n] < 0x7f && p[n] != '"' ? (char)p[n] : '?';
	out[n] = '\0';
}

/* True when the upgrade was agreed on. */
static bool read_answer(struct dial *d)
{
	static const char want[] = "HTTP/1.1 101";
	size_t len = sizeof(want) - 1;
	const uint8_t *end = memmem(d->in, MIN(d->in_len, DIAL_HEAD_MAX), "\r\n\r\n", 4);
	char line[STATUS_LINE_MAX + 1];

	if (!end) {
		if (d->in_len >= DIAL_HEAD_MAX)
			dial_fail(d, "its answer to the upgrade does not end");
		return false;
	}
	if (memcmp(d->in, want, MIN(len, (size_t)(end - d->in))) != 0 ||
	    (size_t)(end - d->in) < len || (d->in[len] != ' ' && d->in[len] != '\r')) {
		status_line(d->in, (size_t)(end - d->in), line);
		dial_fail(d, "it answered \"%s\" to the upgrade: is it a DERP server?", line);
		return false;
	}
	used(d, (size_t)(end - d->in) + 4);
	d->step = DIAL_SERVER_KEY;
	return true;
}

/* The frame at the front must be of that type and length; true when all of it has come. */
static bool next_frame(
    struct dial *d, enum frame_type type, uint32_t min, uint32_t max, const char *name)
{
	uint32_t len;

	if (d->in_len == 0)
		return false;
	if (d->in[0] != type) {
		dial_fail(d, "it sent a frame of type 0x%02x where %s was due", d->in[0], name);
		return false;
	}
	if (d->in_len < FRAME_HEADER_LEN)
		return false;
	len = frame_payload_len(d->in);
	if (len < min || len > max) {
		dial_fail(d, "its %s has a bad length: %u bytes", name, len);
		return false;
	}
	return d->in_len - FRAME_HEADER_LEN >= len;
}

/* ClientInfo and WatchConns. False when it has failed. */
static bool introduce(struct dial *d)
{
	const struct gate_config *c = d->gate->config;
	struct client_info me = {
	    .version = DERP_VERSION,
	    .has_mesh_key = true,
	    .can_ack_pings = true,
	};
	uint8_t frames[LOGIN_FRAME_MAX + FRAME_HEADER_LEN];
	size_t n;

	memcpy(me.mesh_key, c->mesh->key, MESH_KEY_LEN);
	n = login_put_client_info(c->keys, &d->link->server, &me, &d->secret, frames);
	sodium_memzero(&me, sizeof(me));
	if (n == 0) {
		dial_fail(d, "its server key is no good");
		return false;
	}
	frame_put_header(frames + n, FRAME_WATCH_CONNS, 0);
	dial_send(d, frames, n + FRAME_HEADER_LEN);
	sodium_memzero(frames, sizeof(frames));
	return dial_alive(d);
}

/* True when it goes on. */
static bool read_server_key(struct dial *d)
{
	uint32_t len;
	struct key server;

	if (!next_frame(d, FRAME_SERVER_KEY, SERVER_KEY_LEN, SERVER_KEY_MAX, "ServerKey"))
		return false;
	len = frame_payload_len(d->in);
	if (!login_read_server_key(d->in + FRAME_HEADER_LEN, len, &server)) {
		dial_fail(d, "its greeting is not that of a DERP server");
		return false;
	}
	d->link->server = server;
	if (key_equal(&server, &d->gate->config->keys->public)) {
		dial_drop(d);
		dial_state(d, MESH_SELF);
		log_info(
		    "mesh link to %s: that is this very server, it is not dialled again", d->name);
		return false;
	}
	used(d, FRAME_HEADER_LEN + len);
	d->step = DIAL_SERVER_INFO;
	return introduce(d);
}

static bool read_server_info(struct dial *d)
{
	uint32_t len;
	int version;
	bool ok;

	if (!next_frame(d, FRAME_SERVER_INFO, LOGIN_NONCE_LEN + LOGIN_MAC_LEN, DIAL_SERVER_INFO_MAX,
		"ServerInfo"))
		return false;
	len = frame_payload_len(d->in);
	ok = login_open_server_info(&d->secret, d->in + FRAME_HEADER_LEN, len, &version);
	login_secret_wipe(&d->secret);
	if (!ok) {
		dial_fail(d, "its ServerInfo can't be read");
		return false;
	}
	used(d, FRAME_HEADER_LEN + len);
	d->step = DIAL_HAND_OVER;
	return true;
}

/* What the worker is to have. NULL: out of memory. */
static struct admit *admit_new(struct dial *d)
{
	const struct sockaddr *to = (const struct sockaddr *)&d->resolve.addr[d->at].ss;
	struct admit *a = malloc(sizeof(*a) + d->in_len);

	if (!a)
		return NULL;
	*a = (struct admit){
	    .fd = d->watch.fd,
	    .tls = d->tls,
	    .info = {.key = d->link->server},
	    .is_link = true,
	    .link = d->index,
	    .epoch = ++d->link->epoch,
	    .port = addr_port(to),
	    .early_len = d->in_len,
	};
	addr_ip16(to, a->addr.s6_addr);
	if (d->in_len)
		memcpy(a->early, d->in, d->in_len);
	return a;
}

static void tell_up(struct dial *d)
{
	uint64_t now = d->gate->now_ms;
	char key[KEY_TEXT_LEN];

	/* A link that ends again and again is told as its failures are. */
	if (d->told_ms && now - d->told_ms < DIAL_WARN_MS && !d->steady)
		return;
	d->told_ms = now;
	key_text(&d->link->server, key);
	log_info("mesh link to %s is up: %s, server key %s", d->name, d->link->address, key);
}

/* To the worker that owns the other server's key; when its mailbox is full, with the next tick. */
static void hand_over(struct dial *d)
{
	struct gate *g = d->gate;
	int owner = key_owner(key_hash(&d->link->server), mail_workers(g->mail));
	struct admit **letter =
	    mail_reserve(g->mail, g->self, owner, LETTER_ADMIT, sizeof(*letter), true);
	struct admit *a;

	if (!letter)
		return;
	a = admit_new(d);
	if (!a) {
		dial_fail(d, "out of memory");
		return;
	}
	*letter = a;
	mail_commit(g->mail, g->self, owner);
	loop_del(&g->loop, &d->watch);
	d->watch.fd = -1;
	d->tls = NULL;
	dial_drop(d);
	dial_state(d, MESH_UP);
	d->link->logins++;
	tell_up(d);
}

void dial_login_advance(struct dial *d)
{
	if (d->step == DIAL_ANSWER && !read_answer(d))
		return;
	if (d->step == DIAL_SERVER_KEY && !read_server_key(d))
		return;
	if (d->step == DIAL_SERVER_INFO && !read_server_info(d))
		return;
	/* A worker begins with an empty socket. */
	if (d->out_len == d->out_at && !d->eof)
		hand_over(d);
}
