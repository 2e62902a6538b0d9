/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream.c: between the bytes of a socket and the DERP stream: TLS, WebSocket, and what of a frame
 * came too early.
 */
#include "io/tls.h"
#include "relay/batch.h"
#include "relay/worker.h"
#include "wire/websocket.h"

uint32_t stream_restore(struct conn *c, uint8_t *base)
{
	uint32_t len = c->rest_len;

	if (!c->rest)
		return 0;
	memcpy(base, c->rest->data, len);
	pool_put(&c->worker->pool, c->rest);
	c->rest = NULL;
	c->rest_len = 0;
	return len;
}

void stream_keep(struct conn *c, const uint8_t *p, size_t len)
{
	if (len == 0 || c->dead)
		return;
	c->rest =
	    len > 2048 ? pool_get_spare(&c->worker->pool, len) : pool_get(&c->worker->pool, len);
	if (!c->rest) {
		conn_close(c, CLOSE_NO_MEMORY);
		return;
	}
	memcpy(c->rest->data, p, len);
	c->rest_len = (uint32_t)len;
}

/* Opens n bytes of w->cipher: appends stream bytes to `to`. Answers go out at once. Returns
 * CLOSE_REASON_COUNT while all is well, else why the connection ends after these bytes. */
enum close_reason stream_open(struct conn *c, size_t n, struct sink *to)
{
	struct worker *w = c->worker;
	struct sink reply = {.p = w->batch, .cap = BATCH_ROOM};
	struct sink plain = {.p = w->plain, .cap = SLAB_BYTES};
	struct span in = {.p = w->cipher, .len = n};
	enum close_reason end = CLOSE_REASON_COUNT;

	if (c->tls) {
		enum tls_result r = tls_open(c->tls, &in, c->ws ? &plain : to, &reply);

		if (r != TLS_OK)
			end = r == TLS_CLOSED ? CLOSE_CLIENT : CLOSE_TLS_FAILED;
		stall_send_raw(c, reply.p, reply.len);
	} else {
		plain = (struct sink){.p = w->cipher, .len = n};
	}
	if (c->ws) {
		enum close_reason ws_end = CLOSE_REASON_COUNT;
		enum ws_result r;

		reply.len = 0;
		r = ws_open(
		    c->ws, plain.p, plain.len, to->p + to->len, &n, reply.p, &reply.len, reply.cap);
		to->len += n;
		if (r != WS_OK)
			ws_end = r == WS_CLOSED ? CLOSE_CLIENT : CLOSE_WS_ERROR;
		if (reply.len && c->tls) {
			struct sink out = {.p = w->framed, .cap = BATCH_ROOM};

			if (tls_seal(c->tls, reply.p, reply.len, &out))
				stall_send_raw(c, out.p, out.len);
		} else {
			stall_send_raw(c, reply.p, reply.len);
		}
		if (end == CLOSE_REASON_COUNT)
			end = ws_end;
	}
	return end;
}

/* WebSocket is off the fast path: one copy to gather, one to frame. */
size_t stream_frame(struct conn *c, const struct iovec *iov, int n)
{
	struct worker *w = c->worker;
	struct sink all = {.p = w->plain, .cap = SLAB_BYTES};

	for (int i = 0; i < n; i++)
		sink_put(&all, iov[i].iov_base, iov[i].iov_len);
	return ws_seal(all.p, all.len, w->framed);
}

/* Seals a batch into records of up to 16 KiB: straight from where it lies when a piece is long,
 * else small pieces are put together first. */
bool stream_seal(struct conn *c, const struct batch *b, struct sink *out)
{
	struct worker *w = c->worker;
	size_t held = 0;

	for (int i = 0; i < b->n; i++) {
		const uint8_t *p = b->iov[i].iov_base;
		size_t len = b->iov[i].iov_len;

		while (len > 0) {
			size_t n = MIN(len, TLS_RECORD_MAX - held);

			if (held == 0 && (n == TLS_RECORD_MAX || b->n == 1)) {
				if (!tls_seal(c->tls, p, n, out))
					return false;
			} else {
				memcpy(w->record + held, p, n);
				held += n;
				if (held == TLS_RECORD_MAX) {
					if (!tls_seal(c->tls, w->record, held, out))
						return false;
					held = 0;
				}
			}
			p += n;
			len -= n;
		}
	}
	return held == 0 || tls_seal(c->tls, w->record, held, out);
}
