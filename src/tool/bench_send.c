/* SPDX-License-Identifier: BSD-3-Clause */
/* bench_send.c: how a client's frames leave: composed, sealed and sent together. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "tool/bench_client.h"

void bench_client_poll(const struct bench_client *c, int op)
{
	struct epoll_event ev = {
	    .events = (c->deaf ? 0 : EPOLLIN) | (c->polls_out ? EPOLLOUT : 0),
	    .data.ptr = (void *)(uintptr_t)c,
	};

	CHECK(epoll_ctl(c->net->epfd, op, c->fd, &ev) == 0);
}

void bench_client_poll_out(struct bench_client *c, bool out)
{
	if (c->polls_out == out)
		return;
	c->polls_out = out;
	bench_client_poll(c, EPOLL_CTL_MOD);
}

/* Seals what was composed: a record for each frame, the key expanded once for all of them. */
static void seal_clear(struct bench_client *c)
{
	struct bench_net *n = c->net;
	size_t len = n->clear_len;

	n->clear_len = 0;
	if (len > 0 &&
	    !tls_seal_each(c->tls, n->clear, len, MIN(n->each, (size_t)TLS_RECORD_MAX), &n->out))
		/* It has failed before, and what comes of that will be told. */
		n->out.len = 0;
}

/* Whether `len` more bytes have room in `clear`, and all of it in `out` when it is sealed. */
static bool has_room(const struct bench_net *n, size_t len)
{
	size_t records = n->clear_len / MAX(n->each, (size_t)1) + len / TLS_RECORD_MAX + 2;

	return n->clear_len + len <= BENCH_CLEAR_CAP &&
	       n->clear_len + len + records * TLS_RECORD_EXTRA <= sink_room(&n->out);
}

uint8_t *bench_client_reserve(struct bench_client *c, size_t len)
{
	struct bench_net *n = c->net;

	if (c->pending_len > 0 || c->state < BENCH_CLIENT_UPGRADE)
		return NULL;
	/* Frames of one length are sealed in one go. */
	if (n->clear_len > 0 && (len != n->each || len > TLS_RECORD_MAX))
		seal_clear(c);
	if (!has_room(n, len)) {
		bench_client_flush(c);
		if (c->pending_len > 0 || c->state == BENCH_CLIENT_CLOSED)
			return NULL;
	}
	return c->tls ? n->clear + n->clear_len : n->out.p + n->out.len;
}

void bench_client_commit(struct bench_client *c, size_t len)
{
	struct bench_net *n = c->net;

	if (c->tls) {
		n->clear_len += len;
		n->each = len;
	} else {
		n->out.len += len;
	}
}

/* Keeps what the socket didn't take. */
static void keep_pending(struct bench_client *c, const uint8_t *p, size_t len)
{
	CHECK(c->pending_len == 0);
	c->pending = must_alloc(len);
	memcpy(c->pending, p, len);
	c->pending_len = len;
	c->pending_off = 0;
	bench_client_poll_out(c, true);
}

void bench_client_flush(struct bench_client *c)
{
	struct bench_net *n = c->net;
	const uint8_t *p = n->out.p;
	size_t len;
	ssize_t r;

	if (n->clear_len > 0)
		seal_clear(c);
	len = n->out.len;
	if (len == 0)
		return;
	n->out.len = 0;
	if (c->pending_len > 0) {
		/* Only an answer to a ping or to a key update can get here. */
		c->pending = realloc(c->pending, c->pending_len + len);
		CHECK(c->pending);
		memcpy(c->pending + c->pending_len, p, len);
		c->pending_len += len;
		return;
	}
	n->sends++;
	r = send(c->fd, p, len, MSG_NOSIGNAL);
	if (r < 0 && errno != EAGAIN) {
		bench_client_fail(c, "sending failed: %s", strerror(errno));
		return;
	}
	if (r < 0)
		r = 0;
	if ((size_t)r < len)
		keep_pending(c, p + r, len - (size_t)r);
}

void bench_client_send_pending(struct bench_client *c)
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
	bench_client_poll_out(c, false);
	if (c->state == BENCH_CLIENT_READY)
		c->net->events->writable(c->net->arg, c);
}
