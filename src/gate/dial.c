/* SPDX-License-Identifier: BSD-3-Clause */
#include "gate/dial.h"

#include <errno.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/tls.h"

_Static_assert(MESH_PIN_LEN == TLS_PIN_LEN, "a link's pin is what TLS compares");

static void dial_ready(struct watch *watch, uint32_t events);
static void connect_next(struct dial *d);

/* ---- States ---------------------------------------------------------------------------------- */

void dial_state(struct dial *d, enum mesh_state state)
{
	d->link->state = state;
	d->link->since_ms = d->gate->now_ms;
}

bool dial_alive(const struct dial *d)
{
	return d->watch.fd >= 0;
}

static void close_socket(struct dial *d)
{
	if (d->watch.fd < 0)
		return;
	loop_del(&d->gate->loop, &d->watch);
	close(d->watch.fd);
	d->watch.fd = -1;
}

void dial_drop(struct dial *d)
{
	resolve_end(&d->resolve);
	close_socket(d);
	tls_free(d->tls);
	d->tls = NULL;
	login_secret_wipe(&d->secret);
	if (d->in)
		sodium_memzero(d->in, DIAL_IN_MAX);
	free(d->in);
	free(d->out);
	d->in = NULL;
	d->out = NULL;
	d->in_len = d->out_at = d->out_len = 0;
	d->eof = false;
	d->step = DIAL_ANSWER;
}

/* Once when it changes, then once a minute: a node that is down for a week fills no disk. */
static void warn(struct dial *d, bool always)
{
	uint64_t now = d->gate->now_ms;

	if (!always && d->warned_ms && now - d->warned_ms < DIAL_WARN_MS &&
	    strcmp(d->warned, d->link->error) == 0)
		return;
	d->warned_ms = now;
	memcpy(d->warned, d->link->error, sizeof(d->warned));
	log_warn("mesh link to %s: %s; trying again every 5 s", d->name, d->link->error);
}

static void plan(struct dial *d)
{
	d->link->error_wall_ms = clock_wall_ms();
	d->at_ms = d->gate->now_ms + DIAL_PAUSE_MS + randombytes_uniform(DIAL_JITTER_MS + 1);
	dial_state(d, MESH_WAITING);
}

void dial_fail(struct dial *d, const char *fmt, ...)
{
	va_list args;

	/* First the text: it may be about what is dropped. */
	va_start(args, fmt);
	vsnprintf(d->link->error, sizeof(d->link->error), fmt, args);
	va_end(args);
	dial_drop(d);
	plan(d);
	warn(d, false);
}

void dials_link_ended(struct gate *g, const struct link_ended_letter *l)
{
	static const char *const text[CLOSE_REASON_COUNT] = {
#define X(id, label, text) [id] = text,
	    CLOSE_REASONS(X)
#undef X
	};
	struct dial *d;

	if (!g->dial || l->link >= g->config->mesh->n)
		return;
	d = &g->dial[l->link];
	if (d->link->state != MESH_UP || d->link->epoch != l->epoch)
		return;
	d->steady = g->now_ms - d->link->since_ms >= DIAL_STEADY_MS;
	if (l->why == CLOSE_CLIENT)
		snprintf(d->link->error, sizeof(d->link->error),
		    "lost: the other node closed or reset it (%s)%s", close_reason_label[l->why],
		    d->steady ? "" : "; is its mesh key the same?");
	else
		snprintf(d->link->error, sizeof(d->link->error), "lost: %s (%s)", text[l->why],
		    close_reason_label[l->why]);
	plan(d);
	warn(d, d->steady);
}

/* ---- Sending --------------------------------------------------------------------------------- */

void dial_ask(struct dial *d)
{
	bool in = d->step != DIAL_HAND_OVER, out = d->out_len > d->out_at;

	if (dial_alive(d))
		loop_set(&d->gate->loop, &d->watch, (in ? EPOLLIN : 0) | (out ? EPOLLOUT : 0));
}

/* The other end has cut the connection, in whatever state. */
static void cut(struct dial *d)
{
	if (d->link->state == MESH_LOGIN)
		dial_login_cut(d);
	else
		dial_fail(d, "it closed the connection during the TLS handshake");
}

static void flush(struct dial *d)
{
	ssize_t n = send(
	    d->watch.fd, d->out + d->out_at, d->out_len - d->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		cut(d);
		return;
	}
	d->out_at += (uint32_t)MAX(n, 0);
	if (d->out_at == d->out_len)
		d->out_at = d->out_len = 0;
	dial_ask(d);
}

/* Bytes for the wire, behind those that wait. There are few of them: only who makes us answer and
 * reads nothing can fill the buffer. */
static void send_wire(struct dial *d, const uint8_t *p, size_t len)
{
	if (!dial_alive(d) || len == 0)
		return;
	if (len > DIAL_OUT_MAX - d->out_len) {
		dial_fail(d, "it takes no data");
		return;
	}
	memcpy(d->out + d->out_len, p, len);
	d->out_len += (uint32_t)len;
	flush(d);
}

void dial_send(struct dial *d, const void *p, size_t len)
{
	struct sink out = {.p = d->gate->wire, .cap = TLS_REPLY_MAX};

	CHECK(tls_seal_bound(len) <= out.cap);
	if (!dial_alive(d))
		return;
	if (tls_seal(d->tls, p, len, &out))
		send_wire(d, out.p, out.len);
	else
		dial_fail(d, "TLS failed");
}

/* ---- Receiving ------------------------------------------------------------------------------- */

/* True when the handshake is done by now. */
static bool shake_hands(struct dial *d, struct span *in)
{
	struct sink reply = {.p = d->gate->wire, .cap = TLS_REPLY_MAX};
	enum tls_result r = tls_handshake(d->tls, in, &reply);
	char why[TLS_ERROR_LEN];

	send_wire(d, reply.p, reply.len);
	if (!dial_alive(d) || r == TLS_WANT_READ)
		return false;
	if (r == TLS_OK)
		return true;
	tls_error_text(d->tls, why);
	dial_fail(d, "%s", why);
	return false;
}

static void open_records(struct dial *d, struct span *in)
{
	struct sink plain = {.p = d->gate->plain, .cap = GATE_READ_MAX + TLS_RECORD_MAX + 1024};
	struct sink reply = {.p = d->gate->wire, .cap = TLS_REPLY_MAX};
	enum tls_result r = tls_open(d->tls, in, &plain, &reply);

	send_wire(d, reply.p, reply.len);
	if (!dial_alive(d))
		return;
	if (plain.len > DIAL_IN_MAX - d->in_len) {
		dial_fail(d, "it sends too much before the login is done");
		return;
	}
	memcpy(d->in + d->in_len, plain.p, plain.len);
	d->in_len += (uint32_t)plain.len;
	/* What it said before it closed may tell why. */
	d->eof = r != TLS_OK;
	dial_login_advance(d);
	if (dial_alive(d) && r == TLS_CLOSED)
		cut(d);
	else if (dial_alive(d) && r != TLS_OK)
		dial_fail(d, "TLS failed in the middle of the login");
}

static void take_bytes(struct dial *d, size_t n)
{
	struct span in = {.p = d->gate->cipher, .len = n};

	if (d->link->state == MESH_HANDSHAKE) {
		if (!shake_hands(d, &in))
			return;
		dial_login_begin(d);
		if (!dial_alive(d))
			return;
	}
	open_records(d, &in);
	dial_ask(d);
}

static void dial_read(struct dial *d)
{
	ssize_t n = recv(d->watch.fd, d->gate->cipher, GATE_READ_MAX, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		cut(d);
	else
		take_bytes(d, (size_t)n);
}

/* ---- Connecting ------------------------------------------------------------------------------ */

static void connected(struct dial *d)
{
	const struct mesh_link *l = d->link;
	struct span nothing = {0};

	d->in = malloc(DIAL_IN_MAX);
	d->out = malloc(DIAL_OUT_MAX);
	d->tls = tls_new_client(d->gate->config->mesh_ctx, l->host, l->has_pin ? l->pin : NULL);
	if (!d->in || !d->out || !d->tls) {
		dial_fail(d, "out of memory");
		return;
	}
	dial_state(d, MESH_HANDSHAKE);
	if (!shake_hands(d, &nothing))
		dial_ask(d);
}

static void connection_ready(struct dial *d)
{
	socklen_t len = sizeof(d->why);

	CHECK(getsockopt(d->watch.fd, SOL_SOCKET, SO_ERROR, &d->why, &len) == 0);
	if (d->why == 0) {
		connected(d);
		return;
	}
	close_socket(d);
	d->at++;
	connect_next(d);
}

/* 0, or a positive errno. */
static int connect_to(struct dial *d, struct addr *a)
{
	struct gate *g = d->gate;
	int fd = socket(a->ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err = 0;

	if (fd < 0)
		return errno;
	gate_set_options(g->config, fd);
	gate_keep_alive(fd);
	d->watch = (struct watch){.ready = dial_ready, .fd = fd};
	if (connect(fd, (struct sockaddr *)&a->ss, a->len) < 0 && errno != EINPROGRESS)
		err = errno;
	else
		err = -loop_add(&g->loop, &d->watch, EPOLLOUT);
	if (err == 0)
		return 0;
	close(fd);
	d->watch.fd = -1;
	return err;
}

/* The address that is the next one's turn, and those behind it when that fails at once. */
static void connect_next(struct dial *d)
{
	struct gate *g = d->gate;

	for (; d->at < d->resolve.n; d->at++) {
		struct addr *a = &d->resolve.addr[d->at];
		char text[ADDR_TEXT_LEN];

		addr_set_port(a, d->link->port);
		addr_format((const struct sockaddr *)&a->ss, text);
		snprintf(d->link->address, sizeof(d->link->address), "%.63s", text);
		d->why = connect_to(d, a);
		if (d->why != 0)
			continue;
		dial_state(d, MESH_CONNECTING);
		d->connect_until_ms =
		    d->at + 1 < d->resolve.n ? g->now_ms + DIAL_CONNECT_MS : d->deadline_ms;
		return;
	}
	dial_fail(d, "cannot connect to %s: %s", d->link->address, strerror(d->why));
}

static void dial_ready(struct watch *watch, uint32_t events)
{
	struct dial *d = container_of(watch, struct dial, watch);

	if (!dial_alive(d))
		return;
	if (d->link->state == MESH_CONNECTING) {
		connection_ready(d);
		return;
	}
	if ((events & EPOLLOUT) && d->out_len > d->out_at) {
		flush(d);
		if (dial_alive(d) && d->step == DIAL_HAND_OVER)
			dial_login_advance(d);
	}
	if (!dial_alive(d) || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (d->step != DIAL_HAND_OVER)
		dial_read(d);
	else if (events & (EPOLLHUP | EPOLLERR))
		cut(d);
}

/* ---- Attempts -------------------------------------------------------------------------------- */

static void resolved(struct resolve *r)
{
	struct dial *d = container_of(r, struct dial, resolve);

	d->at = 0;
	if (r->n > 0)
		connect_next(d);
	else
		dial_fail(d, "cannot find the address of %s: %s", d->link->dial, r->error);
}

static void begin(struct dial *d)
{
	struct gate *g = d->gate;

	d->link->dials++;
	d->deadline_ms = g->now_ms + DIAL_MS;
	dial_state(d, MESH_RESOLVING);
	resolve_begin(&d->resolve, &g->loop, d->link->dial, g->now_ms);
}

static void tick(struct dial *d)
{
	uint64_t now = d->gate->now_ms;
	enum mesh_state state = d->link->state;

	if (state == MESH_UP || state == MESH_SELF)
		return;
	if (state == MESH_WAITING) {
		if (now >= d->at_ms)
			begin(d);
	} else if (state == MESH_CONNECTING && now >= d->connect_until_ms) {
		close_socket(d);
		d->why = ETIMEDOUT;
		d->at++;
		connect_next(d);
	} else if (now >= d->deadline_ms) {
		dial_fail(
		    d, "it took longer than %d s (%s)", DIAL_MS / 1000, mesh_state_text[state]);
	} else if (state == MESH_RESOLVING) {
		resolve_tick(&d->resolve, now);
	} else if (d->step == DIAL_HAND_OVER) {
		dial_login_advance(d);
	}
}

void dials_tick(struct gate *g)
{
	for (int i = 0; g->dial && i < g->config->mesh->n; i++)
		tick(&g->dial[i]);
}

struct dial *dials_new(struct gate *g)
{
	struct mesh *m = g->config->mesh;
	struct dial *dials;

	if (!m || m->n == 0)
		return NULL;
	CHECK(g->config->mesh_ctx && m->has_key);
	resolve_init();
	dials = must_calloc((size_t)m->n, sizeof(*dials));
	for (int i = 0; i < m->n; i++) {
		struct dial *d = &dials[i];

		mesh_target(m->link[i].host, m->link[i].port, MESH_PORT, d->name);
		d->watch.fd = -1;
		d->gate = g;
		d->link = &m->link[i];
		d->index = (uint8_t)i;
		d->resolve.done = resolved;
		dial_state(d, MESH_WAITING);
	}
	return dials;
}

void dials_free(struct gate *g, struct dial *dials)
{
	for (int i = 0; dials && i < g->config->mesh->n; i++)
		dial_drop(&dials[i]);
	free(dials);
}
