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

void bench_client_listen(struct bench_client *c, bool on)
{
	c->deaf = !on;
	if (c->state != BENCH_CLIENT_CLOSED)
		bench_client_poll(c, EPOLL_CTL_MOD);
}

bool bench_client_open(struct bench_client *c)
{
	const struct addr *to = c->other ? &c->net->to : &c->net->addr;
	const struct sockaddr *sa = (const struct sockaddr *)&to->ss;
	int on = 1;

	CHECK(c->state == BENCH_CLIENT_CLOSED && !c->listed);
	c->fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return false;
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (c->rcvbuf)
		setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &c->rcvbuf, sizeof(c->rcvbuf));
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
	bench_client_poll(c, EPOLL_CTL_ADD);
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
	tls_free(c->tls);
	c->tls = NULL;
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

void bench_client_close(struct bench_client *c)
{
	if (c->state == BENCH_CLIENT_READY && c->tls && c->pending_len == 0) {
		tls_close(c->tls, &c->net->out);
		bench_client_flush(c);
	}
	drop(c);
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

static void become_ready(struct bench_client *c)
{
	unlist_connecting(c);
	c->state = BENCH_CLIENT_READY;
	c->net->n_ready++;
	c->net->events->ready(c->net->arg, c);
}

static void begin_upgrade(struct bench_client *c)
{
	char text[512];
	int len;

	if (c->net->raw) {
		bench_client_flush(c); /* Finished */
		if (c->state != BENCH_CLIENT_CLOSED)
			become_ready(c);
		return;
	}
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

static void shake_hands(struct bench_client *c, struct span *in)
{
	enum tls_result r = tls_handshake(c->tls, in, &c->net->out);
	char why[TLS_ERROR_LEN];

	if (r == TLS_OK) {
		if (c->net->only_records && !tls_on_records(c->tls)) {
			bench_client_fail(c,
			    "TLS 1.%d was agreed on, which is OpenSSL's (-tls-engine auto)",
			    tls_minor_version(c->tls) - 10);
			return;
		}
		/* Only TLS 1.3 has the chain in what nobody else can have changed. */
		c->has_server_key = c->net->fast_start && tls_minor_version(c->tls) == 13 &&
				    !key_is_zero(&c->server_key);
		begin_upgrade(c);
		return;
	}
	bench_client_flush(c);
	if (r == TLS_WANT_READ)
		return;
	tls_error_text(c->tls, why);
	bench_client_fail(c, "%s", why);
}

/* The connection is there; shakes hands or begins to speak. */
static void begin(struct bench_client *c, struct tls *t)
{
	struct span nothing = {0};

	c->state = BENCH_CLIENT_TLS;
	c->tls = t;
	if (t)
		shake_hands(c, &nothing);
	else
		begin_upgrade(c);
}

static void connected(struct bench_client *c)
{
	socklen_t len = sizeof(int);
	struct tls *t;
	int e = 0;

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len);
	if (e != 0) {
		bench_client_fail(c, "cannot connect: %s", strerror(e));
		return;
	}
	bench_client_poll_out(c, false);
	if (!c->net->ctx) {
		begin(c, NULL);
		return;
	}
	t = tls_new_client(c->net->ctx, NULL, NULL);
	CHECK(t);
	memset(&c->server_key, 0, sizeof(c->server_key));
	tls_learn_server_key(t, &c->server_key);
	begin(c, t);
}

void bench_client_accept(struct bench_client *c, int fd)
{
	struct tls *t = c->net->sink_ctx ? tls_new(c->net->sink_ctx) : NULL;

	CHECK(c->state == BENCH_CLIENT_CLOSED && c->net->raw && (t || !c->net->sink_ctx));
	c->fd = fd;
	c->polls_out = false;
	c->opened_ns = clock_ns();
	c->state = BENCH_CLIENT_TCP;
	list_connecting(c);
	bench_client_poll(c, EPOLL_CTL_ADD);
	begin(c, t);
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
	become_ready(c);
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
	uint8_t packet = c->net->raw ? FRAME_SEND_PACKET : FRAME_RECV_PACKET;
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
		if (likely(p[at] == packet && payload >= KEY_LEN && c->state == BENCH_CLIENT_READY))
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

static void open_records(struct bench_client *c, struct span *in)
{
	struct bench_net *n = c->net;
	struct sink plain = {.p = n->plain, .len = recall_rest(c), .cap = BENCH_PLAIN_CAP};
	enum tls_result r = tls_open(c->tls, in, &plain, &n->out);

	bench_client_flush(c); /* the answer to a key update */
	if (c->state != BENCH_CLIENT_CLOSED)
		take_plain(c, n->plain, plain.len);
	if (r == TLS_CLOSED)
		bench_client_fail(c, "the server closed while it was %s", bench_client_doing(c));
	else if (r != TLS_OK)
		bench_client_fail(
		    c, "TLS: a bad record or an alert while it was %s", bench_client_doing(c));
}

static void receive(struct bench_client *c)
{
	struct bench_net *n = c->net;
	size_t len = 0;
	uint8_t *to = n->in;
	struct span in;
	ssize_t r;

	if (!c->tls) {
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
	if (!c->tls) {
		take_plain(c, n->plain, len + (size_t)r);
		return;
	}
	in = (struct span){.p = n->in, .len = (size_t)r};
	if (c->state == BENCH_CLIENT_TLS)
		shake_hands(c, &in);
	if (c->state > BENCH_CLIENT_TLS && in.len > 0)
		open_records(c, &in);
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
		bench_client_send_pending(c);
	if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && c->state != BENCH_CLIENT_CLOSED)
		receive(c);
}
