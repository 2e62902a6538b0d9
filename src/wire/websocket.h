/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * websocket.h: the server's side of a WebSocket that carries a DERP stream.
 *
 * Sans-I/O, after the HTTP upgrade. Source: RFC 6455 §5 (frames) and §7 (closing), without
 * extensions. Messages are binary; their payloads, one behind the other, are the stream: borders
 * carry no meaning in either direction, so payload is handed on as it comes and a message may be of
 * any size. Receiving stands on wslay's frame layer, which takes frames apart and unmasks; what is
 * allowed to follow what is decided here.
 *
 * A websocket belongs to one thread at a time, that of its connection. Memory: about 4.5 KiB each.
 */
#ifndef SLUICE_WIRE_WEBSOCKET_H
#define SLUICE_WIRE_WEBSOCKET_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

/* The largest message that is sent: Tailscale's client closes on anything longer. */
#define WS_MESSAGE_MAX 32768
/* Most that one ws_open replies: a pong and a close. */
#define WS_REPLY_MAX (2 * (2 + 125))
#define WS_CLOSE_LEN 4
/* In front of each message that is sent, at most. */
#define WS_HEADER_MAX 4

/* Status codes that the relay sends (RFC 6455 §7.4.1). */
#define WS_CODE_NORMAL 1000
#define WS_CODE_GOING_AWAY 1001
#define WS_CODE_PROTOCOL_ERROR 1002
#define WS_CODE_UNSUPPORTED 1003

enum ws_result {
	WS_OK,
	WS_CLOSED, /* the peer closed; send the reply, then close */
	WS_ERROR,  /* the peer broke the protocol; the reply is a close that says so */
};

struct websocket;

struct websocket *ws_new(void) must_use;
void ws_free(struct websocket *w);

/*
 * Eats all of `in`. Payload goes to `out`, which needs room for in_len bytes and may be `in` itself
 * (the payload is compacted to its beginning) or a place before it; *out_len is set, also to what
 * came before a close or an error. What must be answered goes to `reply` at once: at most one pong
 * (for the last ping, RFC 6455 §5.5.3) and one close; *reply_len is set, reply_cap is at least
 * WS_REPLY_MAX. After WS_CLOSED or WS_ERROR, which are told again and again, all input is
 * discarded and no more is replied.
 *
 * WS_ERROR: text message, unmasked frame, reserved bits or opcodes, fragmented or long control
 * frames, a continuation of nothing or a message within a message, lengths not in their shortest
 * form or with bit 63 set, malformed close frames. Where a frame's header alone is wrong, this may
 * be told only with the next byte of its payload.
 */
enum ws_result ws_open(struct websocket *w, const uint8_t *in, size_t in_len, uint8_t *out,
    size_t *out_len, uint8_t *reply, size_t *reply_len, size_t reply_cap) must_use;

/* Writes `len` bytes of the stream as binary messages of at most WS_MESSAGE_MAX bytes, each one
 * unmasked frame. `out` doesn't overlap `in` and has room for ws_seal_bound(len); the return is
 * what was written, nothing for nothing. */
size_t ws_seal_bound(size_t len);
size_t ws_seal(const uint8_t *in, size_t len, uint8_t *out);

/* Writes a close frame without a reason; returns WS_CLOSE_LEN. Nothing may be sealed after it. */
size_t ws_put_close(uint16_t code, uint8_t out[WS_CLOSE_LEN]);

#endif
