/* SPDX-License-Identifier: BSD-3-Clause */
#include "gate/visitor.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "io/addr.h"

/* What a visitor may send before it is logged in, beyond what it is allowed to say: room for what
 * comes along in the same receive. */
#define IN_SLACK (3 * GATE_READ_MAX)

/* Requests that came in one go and are answered in one turn. */
#define REQUESTS_A_TURN 8
/* Chunks of a long page that one visitor gets in a turn. */
#define CHUNKS_A_TURN 4

/* ---- Beginning and end ----------------------------------------------------------------------- */

static void visitor_ready(struct watch *watch, uint32_t events);
static void visitor_read(struct visitor *v);

static void turn_away(struct gate *g, int fd, bool tls, enum close_reason why)
{
	tally(&g->counters.closed[why], 1);
	if (tls)
		count(&g->counters, C_TLS_REJECTED, 1);
	close(fd);
}

/* Too many: one goes for the next; false when none can. */
static bool make_room(struct gate *g)
{
	struct visitor *v = crowd_to_go(&g->visitors);

	if (!v)
		return false;
	if (v->tls)
		count(&g->counters, C_TLS_REJECTED, 1);
	visitor_close(v, CLOSE_PRE_LOGIN_CAP);
	return true;
}

void visitor_new(
    struct gate *g, int fd, const struct listener *l, const struct sockaddr_storage *addr)
{
	struct visitor *v;

	if (g->visitors.n >= g->config->max_visitors && l->kind != LISTEN_DEBUG && !make_room(g)) {
		turn_away(g, fd, l->tls, CLOSE_PRE_LOGIN_CAP);
		return;
	}
	v = calloc(1, sizeof(*v));
	if (!v || (l->tls && !(v->tls = tls_new(g->ctx)))) {
		free(v);
		turn_away(g, fd, l->tls, CLOSE_NO_MEMORY);
		return;
	}
	v->watch = (struct watch){.ready = visitor_ready, .fd = fd};
	v->gate = g;
	v->kind = l->kind;
	v->state = l->tls ? VISIT_TLS : VISIT_REQUEST;
	v->addr = *addr;
	http_request_init(&v->req);
	crowd_join(&g->visitors, v);
	count(&g->counters, C_VISITORS, 1);
	if (l->tls)
		count(&g->counters, C_TLS_ACCEPTED, 1);
	visitor_deadline(v, HANDSHAKE_MS);
	if (loop_add(&g->loop, &v->watch, EPOLLIN) < 0)
		visitor_close(v, CLOSE_NO_MEMORY);
	else if (l->tls)
		visitor_read(v); /* with a crowd waiting, it has said something by now */
}

static void reply_end(struct visitor *v)
{
	if (v->reply.free)
		v->reply.free(&v->reply);
	v->reply = (struct reply){0};
}

static void buffer_free(struct visitor *v, uint8_t **p, uint32_t cap)
{
	if (*p) {
		/* A login's box, a debug key: nothing is left lying about. */
		sodium_memzero(*p, cap);
		free(*p);
		v->gate->buffered -= cap;
		*p = NULL;
	}
}

/* Out of everything but memory. Its socket stays open: closed by visitor_free, or handed on. */
void visitor_leave(struct visitor *v)
{
	struct gate *g = v->gate;
	struct visitor **at = &g->ready;

	v->dead = true;
	while (v->is_ready && *at && *at != v)
		at = &(*at)->next_ready;
	if (v->is_ready && *at)
		*at = v->next_ready;
	loop_del(&g->loop, &v->watch);
	wheel_clear(&g->wheel, &v->timer);
	reply_end(v);
	buffer_free(v, &v->in, v->in_cap);
	buffer_free(v, &v->out, v->out_len);
	crowd_leave(&g->visitors, v);
	count_down(&g->counters, C_VISITORS, 1);
	v->next_dead = g->dead;
	g->dead = v;
}

void visitor_close(struct visitor *v, enum close_reason why)
{
	char addr[ADDR_TEXT_LEN];

	if (v->dead)
		return;
	if (log_enabled(LOG_DEBUG)) {
		addr_format((const struct sockaddr *)&v->addr, addr);
		log_debug("visitor %s: %s", addr, close_reason_label[why]);
	}
	tally(&v->gate->counters.closed[why], 1);
	visitor_leave(v);
}

void visitor_free(struct visitor *v)
{
	tls_free(v->tls);
	ws_free(v->ws);
	if (v->watch.fd >= 0)
		close(v->watch.fd);
	free(v);
}

void visitor_deadline(struct visitor *v, uint64_t ms)
{
	wheel_set(&v->gate->wheel, &v->timer, v->gate->now_ms + ms);
}

void visitor_timeout(struct visitor *v)
{
	switch (v->state) {
	case VISIT_TLS:
		visitor_close(v, CLOSE_HANDSHAKE_TIMEOUT);
		break;
	case VISIT_REQUEST:
		visitor_close(
		    v, v->kept && v->in_len == 0 ? CLOSE_HTTP_IDLE : CLOSE_HANDSHAKE_TIMEOUT);
		break;
	case VISIT_ANSWER:
		visitor_close(v, CLOSE_WRITE_TIMEOUT);
		break;
	case VISIT_LOGIN:
		if (v->retries == 0 || v->retries > LOGIN_RETRIES_MAX)
			visitor_close(v, CLOSE_HANDSHAKE_TIMEOUT);
		else
			login_advance(v);
		break;
	case VISIT_LINGER:
		visitor_close(v, v->end);
	}
}

/* ---- Sending --------------------------------------------------------------------------------- */

/* What the socket is asked for follows from what the visitor is doing. */
void visitor_ask(struct visitor *v)
{
	bool in = v->state != VISIT_ANSWER && !v->is_ready &&
		  (v->state != VISIT_LOGIN || (!v->out && !v->retries));

	if (!v->dead)
		loop_set(&v->gate->loop, &v->watch, (in ? EPOLLIN : 0) | (v->out ? EPOLLOUT : 0));
}

/* Bytes for the wire: what the socket does not take is kept behind what it did not take before. */
static void send_wire(struct visitor *v, const uint8_t *p, size_t len)
{
	struct gate *g = v->gate;
	size_t before = v->out ? v->out_len - v->out_at : 0;
	ssize_t n = 0;
	uint8_t *all;

	if (v->dead || len == 0)
		return;
	if (!v->out)
		n = send(v->watch.fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		visitor_close(v, CLOSE_CLIENT);
		return;
	}
	n = MAX(n, 0);
	if ((size_t)n == len)
		return;
	all = g->buffered + before + len > GATE_BUFFERED_MAX ? NULL : malloc(before + len);
	if (!all) {
		visitor_close(v, CLOSE_NO_MEMORY);
		return;
	}
	if (before)
		memcpy(all, v->out + v->out_at, before);
	memcpy(all + before, p + n, len - (size_t)n);
	buffer_free(v, &v->out, v->out_len);
	v->out = all;
	v->out_at = 0;
	v->out_len = (uint32_t)(before + len - (size_t)n);
	g->buffered += v->out_len;
	visitor_ask(v);
}

void visitor_send_plain(struct visitor *v, const void *p, size_t len)
{
	struct sink out = {.p = v->gate->wire, .cap = tls_seal_bound(REPLY_ROOM)};

	CHECK(len <= REPLY_ROOM);
	if (v->dead)
		return;
	if (!v->tls) {
		send_wire(v, p, len);
	} else if (tls_seal(v->tls, p, len, &out)) {
		send_wire(v, out.p, out.len);
	} else {
		visitor_close(v, CLOSE_TLS_FAILED);
	}
}

void visitor_send(struct visitor *v, const void *p, size_t len)
{
	if (!v->ws)
		visitor_send_plain(v, p, len);
	else
		visitor_send_plain(v, v->gate->framed, ws_seal(p, len, v->gate->framed));
}

static void flush_out(struct visitor *v)
{
	ssize_t n = send(
	    v->watch.fd, v->out + v->out_at, v->out_len - v->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			visitor_close(v, CLOSE_CLIENT);
		return;
	}
	v->out_at += (uint32_t)n;
	if (v->state == VISIT_ANSWER)
		visitor_deadline(v, ANSWER_MS);
	if (v->out_at == v->out_len)
		buffer_free(v, &v->out, v->out_len);
	visitor_ask(v);
}

/* ---- Requests -------------------------------------------------------------------------------- */

/* No more will be sent; waits for the client to close. */
static void linger(struct visitor *v, enum close_reason why)
{
	uint8_t bye[256];
	struct sink out = {.p = bye, .cap = sizeof(bye)};

	v->end = why;
	v->state = VISIT_LINGER;
	if (v->tls) {
		tls_close(v->tls, &out);
		send_wire(v, out.p, out.len);
	}
	if (v->dead)
		return;
	visitor_deadline(v, LINGER_MS);
	if (!v->out)
		shutdown(v->watch.fd, SHUT_WR);
	visitor_used(v, v->in_len);
	visitor_ask(v);
}

/* The answer has gone out: the next request, or the end. */
static void answered(struct visitor *v)
{
	bool close = v->reply.close;

	reply_end(v);
	count(&v->gate->counters, C_HTTP_REQUESTS, 1);
	if (close) {
		linger(v, v->end == CLOSE_HTTP_ERROR ? CLOSE_HTTP_ERROR : CLOSE_HTTP_DONE);
		return;
	}
	v->state = VISIT_REQUEST;
	v->kept = true;
	http_request_init(&v->req);
	visitor_deadline(v, HTTP_IDLE_MS);
	visitor_ask(v);
}

/* Sends the answer as far as the socket takes it; true when it is through. */
static bool pump(struct visitor *v)
{
	for (int chunks = 0; !v->dead && !v->out && !v->reply.waiting; chunks++) {
		bool whole;

		if (!v->reply.more) {
			answered(v);
			return !v->dead && v->state == VISIT_REQUEST;
		}
		if (chunks == CHUNKS_A_TURN) {
			/* A long page gives way to others. */
			reply_ready(&v->reply);
			break;
		}
		http_out_init(&v->reply.out, v->gate->page, REPLY_ROOM);
		whole = v->reply.more(&v->reply);
		CHECK(!v->reply.out.overflow);
		if (whole)
			v->reply.more = NULL;
		visitor_send_plain(v, v->reply.out.p, v->reply.out.len);
	}
	return false;
}

static void refuse_request(struct visitor *v)
{
	struct reply *r = &v->reply;

	v->end = CLOSE_HTTP_ERROR;
	r->close = true;
	http_put_status(&r->out, v->req.status);
	http_put_field(&r->out, "Content-Type", "text/plain; charset=utf-8");
	http_put_connection(&r->out, false);
	http_put_length(&r->out, strlen(http_reason(v->req.status)) + 1);
	http_put_end(&r->out);
	http_putf(&r->out, "%s\n", http_reason(v->req.status));
}

/* A whole head, or one that is refused, lies at the front of `in`. */
static void answer(struct visitor *v, enum http_result head)
{
	struct gate *g = v->gate;
	struct asker who = {
	    .addr = (const struct sockaddr *)&v->addr,
	    .listener = v->kind,
	    .tls = v->tls != NULL,
	};

	v->state = VISIT_ANSWER;
	v->end = CLOSE_HTTP_DONE;
	v->reply = (struct reply){0};
	http_out_init(&v->reply.out, g->page, REPLY_ROOM);
	if (head == HTTP_BAD) {
		refuse_request(v);
	} else {
		if (v->tls)
			count(&g->counters,
			    tls_minor_version(v->tls) == 13 ? C_TLS13_REQUESTS : C_TLS12_REQUESTS,
			    1);
		g->site.answer(g->site.site, &v->reply, &v->req, &who);
		if (!v->req.keep_alive)
			v->reply.close = true;
		v->skip = v->req.content_length;
		visitor_used(v, v->req.head_len);
	}
	CHECK(!v->reply.out.overflow);
	visitor_deadline(v, ANSWER_MS);
	visitor_send_plain(v, v->reply.out.p, v->reply.out.len);
	visitor_ask(v);
}

static void advance(struct visitor *v)
{
	for (int answers = 0; !v->dead && v->state == VISIT_REQUEST; answers++) {
		uint32_t n = MIN(v->skip, v->in_len);
		enum http_result head;

		if (answers == REQUESTS_A_TURN) {
			/* It gives way to others, and is not read meanwhile. */
			reply_ready(&v->reply);
			visitor_ask(v);
			return;
		}
		v->skip -= n;
		visitor_used(v, n);
		if (v->in_len == 0)
			return;
		head = http_parse((const char *)v->in, v->in_len, &v->req);
		if (head == HTTP_MORE)
			return;
		if (head == HTTP_DONE && login_begin(v))
			break;
		answer(v, head);
		if (!pump(v))
			return;
	}
	if (!v->dead && v->state == VISIT_LOGIN)
		login_advance(v);
	visitor_ask(v);
}

/* After close_notify nothing more is waited for, but what is due is still sent. */
static void said_all(struct visitor *v)
{
	if (!v->eof || v->dead || v->is_ready)
		return;
	if (v->state == VISIT_ANSWER)
		v->reply.close = true;
	else if (v->state != VISIT_LINGER)
		visitor_close(v, CLOSE_CLIENT);
}

void visitor_go_on(struct visitor *v)
{
	if (v->state != VISIT_ANSWER || pump(v))
		advance(v);
	said_all(v);
	visitor_ask(v);
}

/* ---- Receiving ------------------------------------------------------------------------------- */

/* Keeps stream bytes until they are used up; false when that ended the visitor. */
static bool in_append(struct visitor *v, const uint8_t *p, size_t len)
{
	struct gate *g = v->gate;
	size_t limit = (v->state == VISIT_LOGIN ? CLIENT_INFO_MAX : HTTP_HEAD_MAX) + IN_SLACK;
	size_t need = v->in_len + len;
	size_t cap = v->in_cap ? v->in_cap : 1024;
	uint8_t *in;

	if (need > limit) {
		visitor_close(v, v->state == VISIT_LOGIN ? CLOSE_LOGIN_FAILED : CLOSE_HTTP_ERROR);
		return false;
	}
	if (need > v->in_cap) {
		while (cap < need)
			cap *= 2;
		/* What an ordinary login needs is there for every visitor: they are capped by
		 * number. */
		in = cap > 4096 && g->buffered + cap > GATE_BUFFERED_MAX ? NULL : malloc(cap);
		if (!in) {
			visitor_close(v, CLOSE_NO_MEMORY);
			return false;
		}
		if (v->in_len)
			memcpy(in, v->in, v->in_len);
		buffer_free(v, &v->in, v->in_cap);
		v->in = in;
		v->in_cap = (uint32_t)cap;
		g->buffered += cap;
	}
	memcpy(v->in + v->in_len, p, len);
	v->in_len += (uint32_t)len;
	return true;
}

void visitor_used(struct visitor *v, size_t n)
{
	CHECK(n <= v->in_len);
	if (n == 0)
		return;
	v->in_len -= (uint32_t)n;
	memmove(v->in, v->in + n, v->in_len);
	if (v->in_len == 0) {
		buffer_free(v, &v->in, v->in_cap);
		v->in_cap = 0;
	}
}

/* Through TLS: handshake first, then records into `plain`. False when nothing more comes of it. */
static bool open_tls(struct visitor *v, struct span *in, struct sink *plain)
{
	struct sink reply = {.p = v->gate->wire, .cap = TLS_REPLY_MAX};
	enum tls_result r;

	if (v->state == VISIT_TLS) {
		r = tls_handshake(v->tls, in, &reply);
		send_wire(v, reply.p, reply.len);
		if (r == TLS_WANT_READ || v->dead)
			return false;
		if (r != TLS_OK) {
			visitor_close(v, r == TLS_CLOSED ? CLOSE_CLIENT : CLOSE_TLS_FAILED);
			return false;
		}
		v->state = VISIT_REQUEST;
		reply.len = 0;
	}
	r = tls_open(v->tls, in, plain, &reply);
	send_wire(v, reply.p, reply.len);
	if (r == TLS_OK || v->dead)
		return !v->dead;
	if (r == TLS_CLOSED && plain->len > 0) {
		/* It said what it wanted and that it will say no more: an answer is still due. */
		v->eof = true;
		return true;
	}
	visitor_close(v, r == TLS_CLOSED ? CLOSE_CLIENT : CLOSE_TLS_FAILED);
	return false;
}

/* Through WebSocket, once that is agreed on. */
static bool open_ws(struct visitor *v, const struct sink *plain, struct sink *stream)
{
	uint8_t reply[WS_REPLY_MAX];
	size_t reply_len;
	enum ws_result r = ws_open(
	    v->ws, plain->p, plain->len, stream->p, &stream->len, reply, &reply_len, sizeof(reply));

	visitor_send_plain(v, reply, reply_len);
	if (r != WS_OK)
		visitor_close(v, r == WS_CLOSED ? CLOSE_CLIENT : CLOSE_WS_ERROR);
	return !v->dead;
}

static void take_bytes(struct visitor *v, size_t n)
{
	struct gate *g = v->gate;
	struct span in = {.p = g->cipher, .len = n};
	struct sink plain = {.p = g->plain, .cap = GATE_READ_MAX + TLS_RECORD_MAX + 1024};
	struct sink stream = {.p = g->stream, .cap = GATE_READ_MAX + TLS_RECORD_MAX + 1024};

	if (!v->tls)
		plain = (struct sink){.p = g->cipher, .len = n};
	else if (!open_tls(v, &in, &plain))
		return;
	if (!v->ws)
		stream = plain;
	else if (!open_ws(v, &plain, &stream))
		return;
	if (stream.len == 0)
		return;
	if (in_append(v, stream.p, stream.len))
		advance(v);
	said_all(v);
}

static void visitor_read(struct visitor *v)
{
	ssize_t n = recv(v->watch.fd, v->gate->cipher, GATE_READ_MAX, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (v->state == VISIT_LINGER) {
		/* Whatever else it sends is of no interest, and not without end. */
		v->lingered += (uint32_t)MAX(n, 0);
		if (n <= 0 || v->lingered > LINGER_BYTES_MAX)
			visitor_close(v, v->end);
		return;
	}
	if (n <= 0)
		visitor_close(v, CLOSE_CLIENT);
	else
		take_bytes(v, (size_t)n);
}

static void visitor_ready(struct watch *watch, uint32_t events)
{
	struct visitor *v = container_of(watch, struct visitor, watch);

	if (v->dead)
		return;
	if ((events & EPOLLOUT) && v->out) {
		flush_out(v);
		if (!v->dead && !v->out && v->state == VISIT_ANSWER)
			visitor_go_on(v);
		else if (!v->dead && !v->out && v->state == VISIT_LOGIN)
			login_advance(v);
	}
	if (v->dead || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if (v->watch.events & EPOLLIN)
		visitor_read(v);
	else if (events & (EPOLLHUP | EPOLLERR))
		visitor_close(v, CLOSE_CLIENT);
}
