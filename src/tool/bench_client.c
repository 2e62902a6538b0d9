/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/bench_client.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

/* The longest answer to the upgrade request. */
#define ANSWER_MAX 4096

const char *bench_client_doing(const struct bench_client *c)
{
	static const char *const text[] = {
#define X(id, text) text,
	    BENCH_CLIENT_STATES(X)
#undef X
	};

	CHECK((size_t)c->state < ARRAY_LEN(text));
	return text[c->state];
}

void bench_client_init(struct bench_client *c, struct bench_net *n, uint32_t index)
{
	memset(c, 0, sizeof(*c));
	c->net = n;
	c->fd = -1;
	c->index = index;
	login_keys_new(&c->keys);
}

void bench_client_fini(struct bench_client *c)
{
	bench_client_close(c);
	login_keys_wipe(&c->keys);
}

static void list_connecting(struct bench_client *c)
{
	struct bench_net *n = c->net;

	c->next = n->connecting;
	c->pprev = &n->connecting;
	if (c->next)
		c->next->pprev = &c->next;
	n->connecting = c;
	n->n_connecting++;
}

static void unlist_connecting(struct bench_client *c)
{
	*c->pprev = c->next;
	if (c->next)
		c->next->pprev = c->pprev;
	c->next = NULL;
	c->pprev = NULL;
	c->net->n_connecting--;
}

static void poll_for(struct bench_client *c, bool out)
{
	struct epoll_event ev = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};

	if (c->polls_out == out)
		return;
	c->polls_out = out;
	CHECK(epoll_ctl(c->net->epfd, EPOLL_CTL_MOD, c->fd, &ev) == 0);
}

bool bench_client_open(struct bench_client *c)
{
	const struct addr *to = c->other ? &c->net->to : &c->net->addr;
	const struct sockaddr *sa = (const struct sockaddr *)&to->ss;
	struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
	int on = 1;

	CHECK(c->state == BENCH_CLIENT_CLOSED && !c->listed);
	c->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return false;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (connect(c->fd, sa, to->len) != 0 && errno != EINPROGRESS) {
		int e = errno;

		close(c->fd);
		c->fd = -1;
		errno = e;
		return false;
	}
	c->polls_out = true;
	c->opened_ns = clock_ns();
	c->state = BENCH_CLIENT_TCP;
	list_connecting(c);
	CHECK(epoll_ctl(c->net->epfd, EPOLL_CTL_ADD, c->fd, &ev) == 0);
	return true;
}

/* Frees what the connection holds; the socket closes with it. */
static void drop(struct bench_client *c)
{
	if (c->state == BENCH_CLIENT_CLOSED)
		return;
	if (c->state == BENCH_CLIENT_READY)
		c->net->n_ready--;
	else
		unlist_connecting(c);
	c->state = BENCH_CLIENT_CLOSED;
	close(c->fd);
	c->fd = -1;
	if (c->tls.ssl)
		bench_tls_fini(&c->tls);
	login_secret_wipe(&c->secret);
	free(c->rest);
	free(c->pending);
	c->rest = NULL;
	c->pending = NULL;
	c->rest_len = 0;
	c->pending_len = c->pending_off = 0;
	c->has_server_key = false;
}

void bench_client_fail(struct bench_client *c, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	if (c->state == BENCH_CLIENT_CLOSED)
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	drop(c);
	c->net->events->closed(c->net->arg, c, why);
}

/* Points the TLS engine's output at the shared buffer, behind what lies there. */
static void tls_aim(struct bench_client *c)
{
	c->tls.out = c->net->out;
	c->tls.out_len = c->net->out_len;
	c->tls.out_cap = BENCH_OUT_CAP;
}

void bench_client_close(struct bench_client *c)
{
	if (c->state == BENCH_CLIENT_READY && c->tls.ssl && c->pending_len == 0) {
		tls_aim(c);
		bench_tls_close(&c->tls);
		c->net->out_len = c->tls.out_len;
		bench_client_flush(c);
	}
	drop(c);
}

uint8_t *bench_client_reserve(struct bench_client *c, size_t len)
{
	struct bench_net *n = c->net;

	if (c->pending_len > 0 || c->state < BENCH_CLIENT_UPGRADE)
		return NULL;
	if (n->out_len + len + BENCH_TLS_EXTRA(len) > BENCH_OUT_CAP) {
		bench_client_flush(c);
		if (c->pending_len > 0 || c->state == BENCH_CLIENT_CLOSED)
			return NULL;
	}
	return n->ctx ? n->frame : n->out + n->out_len;
}

void bench_client_commit(struct bench_client *c, size_t len)
{
	struct bench_net *n = c->net;

	if (!n->ctx) {
		n->out_len += len;
		return;
	}
	tls_aim(c);
	CHECK(bench_tls_seal(&c->tls, n->frame, len));
	n->out_len = c->tls.out_len;
}

/* Keeps what the socket didn't take. */
static void keep_pending(struct bench_client *c, const uint8_t *p, size_t len)
{
	CHECK(c->pending_len == 0);
	c->pending = must_alloc(len);
	memcpy(c->pending, p, len);
	c->pending_len = len;
	c->pending_off = 0;
	poll_for(c, true);
}

void bench_client_flush(struct bench_client *c)
{
	struct bench_net *n = c->net;
	size_t len = n->out_len;
	ssize_t r;

	if (len == 0)
		return;
	n->out_len = 0;
	if (c->pending_len > 0) {
		/* Only an answer to a ping or to a key update can get here. */
		c->pending = realloc(c->pending, c->pending_len + len);
		CHECK(c->pending);
		memcpy(c->pending + c->pending_len, n->out, len);
		c->pending_len += len;
		return;
	}
	n->sends++;
	r = send(c->fd, n->out, len, MSG_NOSIGNAL);
	if (r < 0 && errno != EAGAIN) {
		bench_client_fail(c, "sending failed: %s", strerror(errno));
		return;
	}
	if (r < 0)
		r = 0;
	if ((size_t)r < len)
		keep_pending(c, n->out + r, len - (size_t)r);
}

static void send_pending(struct bench_client *c)
{
	size_t left = c->pending_len - c->pending_off;
	ssize_t r = send(c->fd, c->pending + c->pending_off, left, MSG_NOSIGNAL);

	c->net->sends++;
	if (r < 0) {
		if (errno != EAGAIN)
			bench_client_fail(c, "sending failed: %s", strerror(errno));
		return;
	}
	c->pending_off += (size_t)r;
	if ((size_t)r < left)
		return;
	free(c->pending);
	c->pending = NULL;
	c->pending_len = c->pending_off = 0;
	poll_for(c, false);
	if (c->state == BENCH_CLIENT_READY)
		c->net->events->writable(c->net->arg, c);
}

/* Composes and seals one small frame or text; there is always room for it. */
static void put(struct bench_client *c, const void *p, size_t len)
{
	uint8_t *to = bench_client_reserve(c, len);

	/* Nothing is pending before the first packet, and pings come one at a time. */
	if (to) {
		memcpy(to, p, len);
		bench_client_commit(c, len);
	}
}

static void put_client_info(struct bench_client *c)
{
	struct client_info info = {.version = DERP_VERSION, .can_ack_pings = true};
	uint8_t frame[LOGIN_FRAME_MAX];
	size_t len;

	len = login_put_client_info(&c->keys, &c->server_key, &info, &c->secret, frame);
	put(c, frame, len);
}

static void begin_upgrade(struct bench_client *c)
{
	char text[512];
	int len;

	c->state = BENCH_CLIENT_UPGRADE;
	len = snprintf(text, sizeof(text),
	    "GET /derp HTTP/1.1\r\nHost: %.256s\r\nUser-Agent: sluice-bench/" SLUICE_VERSION "\r\n"
	    "Connection: Upgrade\r\nUpgrade: DERP\r\n%s\r\n",
	    c->net->server, c->has_server_key ? "Derp-Fast-Start: 1\r\n" : "");
	put(c, text, (size_t)len);
	if (c->has_server_key) {
		/* No HTTP answer will come. ServerKey does, and is only compared. */
		c->state = BENCH_CLIENT_GREETING;
		put_client_info(c);
	}
	bench_client_flush(c);
}

static void shake_hands(struct bench_client *c)
{
	enum bench_tls_result r;

	tls_aim(c);
	r = bench_tls_handshake(&c->tls);
	c->net->out_len = c->tls.out_len;
	if (r == BENCH_TLS_DONE) {
		if (c->net->fast_start && SSL_version(c->tls.ssl) == TLS1_3_VERSION)
			c->has_server_key = bench_tls_server_key(&c->tls, &c->server_key);
		begin_upgrade(c);
		return;
	}
	bench_client_flush(c);
	if (r != BENCH_TLS_MORE)
		bench_client_fail(c, "TLS handshake failed: %s", bench_tls_error());
}

static void connected(struct bench_client *c)
{
	socklen_t len = sizeof(int);
	int e = 0;

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len);
	if (e != 0) {
		bench_client_fail(c, "cannot connect: %s", strerror(e));
		return;
	}
	poll_for(c, false);
	if (!c->net->ctx) {
		begin_upgrade(c);
		return;
	}
	c->state = BENCH_CLIENT_TLS;
	bench_tls_init(&c->tls, c->net->ctx);
	shake_hands(c);
}

/* Takes the HTTP answer off the front; returns its length, 0 when it isn't whole. */
static size_t take_answer(struct bench_client *c, const uint8_t *p, size_t len)
{
	const uint8_t *end = memmem(p, len, "\r\n\r\n", 4);

	if (!end) {
		if (len > ANSWER_MAX)
			bench_client_fail(c, "the answer to the upgrade request does not end");
		return 0;
	}
	if (len < 12 || memcmp(p, "HTTP/1.1 101", 12) != 0) {
		int line = (int)MIN((size_t)80, (size_t)((uint8_t *)memchr(p, '\r', len) - p));

		bench_client_fail(c, "no upgrade to DERP: the server answers '%.*s'", line, p);
		return 0;
	}
	c->state = BENCH_CLIENT_GREETING;
	return (size_t)(end - p) + 4;
}

static void take_greeting(struct bench_client *c, const uint8_t *p, size_t len)
{
	struct key server;

	if (!login_read_server_key(p, len, &server)) {
		bench_client_fail(c, "ServerKey is not one");
		return;
	}
	if (!c->has_server_key) {
		c->server_key = server;
		put_client_info(c);
		bench_client_flush(c);
	} else if (!key_equal(&server, &c->server_key)) {
		bench_client_fail(c, "ServerKey and the certificate tell different keys");
	}
	if (c->state != BENCH_CLIENT_CLOSED)
		c->state = BENCH_CLIENT_LOGIN;
}

static void take_server_info(struct bench_client *c, const uint8_t *p, size_t len)
{
	int version;

	if (!login_open_server_info(&c->secret, p, len, &version)) {
		bench_client_fail(c, "ServerInfo's box does not open");
		return;
	}
	login_secret_wipe(&c->secret);
	unlist_connecting(c);
	c->state = BENCH_CLIENT_READY;
	c->net->n_ready++;
	c->net->events->ready(c->net->arg, c);
}

static void take_ping(struct bench_client *c, const uint8_t *p, size_t len)
{
	uint8_t pong[FRAME_HEADER_LEN + PING_LEN];

	if (len < PING_LEN)
		return;
	frame_put_header(pong, FRAME_PONG, PING_LEN);
	memcpy(pong + FRAME_HEADER_LEN, p, PING_LEN);
	put(c, pong, sizeof(pong));
	bench_client_flush(c);
}

/* A whole frame of any type but RecvPacket. */
static void take_frame(struct bench_client *c, uint8_t type, const uint8_t *p, size_t len)
{
	if (c->state == BENCH_CLIENT_GREETING || c->state == BENCH_CLIENT_LOGIN) {
		uint8_t expected =
		    c->state == BENCH_CLIENT_LOGIN ? FRAME_SERVER_INFO : FRAME_SERVER_KEY;

		if (type != expected)
			bench_client_fail(c, "got a frame of type 0x%02x while it was %s", type,
			    bench_client_doing(c));
		else if (type == FRAME_SERVER_KEY)
			take_greeting(c, p, len);
		else
			take_server_info(c, p, len);
		return;
	}
	if (type == FRAME_PING)
		take_ping(c, p, len);
	else if (type == FRAME_PEER_GONE)
		c->net->peer_gone++;
}

/* Takes whole frames off the front; returns how many bytes they were. */
static size_t take_frames(struct bench_client *c, const uint8_t *p, size_t len)
{
	const struct bench_events *events = c->net->events;
	size_t at = 0;

	while (len - at >= FRAME_HEADER_LEN && c->state != BENCH_CLIENT_CLOSED) {
		size_t payload = frame_payload_len(p + at);
		const uint8_t *body = p + at + FRAME_HEADER_LEN;

		if (payload > FRAME_MAX - FRAME_HEADER_LEN) {
			bench_client_fail(c, "got a frame of %zu bytes", payload);
			break;
		}
		if (len - at - FRAME_HEADER_LEN < payload)
			break;
		if (likely(p[at] == FRAME_RECV_PACKET && payload >= KEY_LEN &&
			   c->state == BENCH_CLIENT_READY))
			events->packet(c->net->arg, c, body, body + KEY_LEN, payload - KEY_LEN);
		else
			take_frame(c, p[at], body, payload);
		at += FRAME_HEADER_LEN + payload;
	}
	return at;
}

/* All that came lies at plain; what isn't whole is kept for later. */
static void take_plain(struct bench_client *c, const uint8_t *p, size_t len)
{
	size_t at = 0;

	if (c->state == BENCH_CLIENT_UPGRADE)
		at = take_answer(c, p, len);
	if (c->state >= BENCH_CLIENT_GREETING)
		at += take_frames(c, p + at, len - at);
	if (c->state == BENCH_CLIENT_CLOSED || at == len)
		return;
	c->rest_len = (uint32_t)(len - at);
	c->rest = must_alloc(c->rest_len);
	memcpy(c->rest, p + at, c->rest_len);
}

/* Brings the rest of last time to the front of `plain`; returns its length. */
static size_t recall_rest(struct bench_client *c)
{
	size_t len = c->rest_len;

	if (len > 0) {
		memcpy(c->net->plain, c->rest, len);
		free(c->rest);
		c->rest = NULL;
		c->rest_len = 0;
	}
	return len;
}

static void open_records(struct bench_client *c)
{
	struct bench_net *n = c->net;
	enum bench_tls_result r;
	size_t len = recall_rest(c);

	tls_aim(c);
	r = bench_tls_open(&c->tls, n->plain, &len, BENCH_PLAIN_CAP);
	n->out_len = c->tls.out_len;
	bench_client_flush(c); /* the answer to a key update */
	if (c->state != BENCH_CLIENT_CLOSED)
		take_plain(c, n->plain, len);
	if (r == BENCH_TLS_CLOSED)
		bench_client_fail(c, "the server closed while it was %s", bench_client_doing(c));
	else if (r == BENCH_TLS_FAILED)
		bench_client_fail(c, "TLS: %s", bench_tls_error());
}

static void receive(struct bench_client *c)
{
	struct bench_net *n = c->net;
	size_t len = 0;
	uint8_t *to = n->in;
	ssize_t r;

	if (!n->ctx) {
		len = recall_rest(c);
		to = n->plain + len;
	}
	r = recv(c->fd, to, BENCH_IN_CAP, 0);
	n->now_ns = clock_ns();
	if (r < 0 && errno == EAGAIN)
		r = 0;
	else if (r <= 0) {
		bench_client_fail(c, "%s while it was %s",
		    r < 0 ? strerror(errno) : "the server closed", bench_client_doing(c));
		return;
	}
	n->receives++;
	if (!n->ctx) {
		take_plain(c, n->plain, len + (size_t)r);
		return;
	}
	c->tls.in = n->in;
	c->tls.in_len = (size_t)r;
	if (c->state == BENCH_CLIENT_TLS)
		shake_hands(c);
	if (c->state > BENCH_CLIENT_TLS && c->tls.in_len > 0)
		open_records(c);
}

void bench_client_event(struct bench_client *c, uint32_t events)
{
	/* Events of this turn may lie behind the one that closed the client. */
	if (c->state == BENCH_CLIENT_CLOSED)
		return;
	if (c->state == BENCH_CLIENT_TCP) {
		connected(c);
		return;
	}
	if (events & EPOLLOUT)
		send_pending(c);
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && c->state != BENCH_CLIENT_CLOSED)
		receive(c);
}
