/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/websocket.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#define CONTROL_MAX 125
#define FIN 0x80

struct websocket {
	wslay_frame_context_ptr frames;
	enum ws_result state; /* once it isn't WS_OK, nothing is parsed any more */
	bool in_message;      /* a message waits for its continuation */
	uint64_t frame_left;  /* payload of the present frame that is yet to come, bytes */
	uint8_t control_len;
	uint8_t control[CONTROL_MAX]; /* payload of the present control frame, as it gathers */
	uint8_t pong_len;
	uint8_t pong[CONTROL_MAX]; /* owed, if pong_due */
	bool pong_due;
	uint8_t close_len;
	uint8_t close[WS_CLOSE_LEN]; /* owed, if close_len */
	/* the input of the present ws_open */
	const uint8_t *in;
	size_t in_len;
};

_Static_assert(WS_REPLY_MAX >= 2 + CONTROL_MAX + WS_CLOSE_LEN, "a pong and a close");

/* wslay wants input: as much of ours as it has room for, or -1 for "later". */
static ssize_t feed(uint8_t *buf, size_t len, int flags, void *arg)
{
	struct websocket *w = arg;
	size_t n = MIN(len, w->in_len);

	if (n == 0)
		return -1;
	memcpy(buf, w->in, n);
	w->in += n;
	w->in_len -= n;
	return (ssize_t)n;
}

struct websocket *ws_new(void)
{
	struct websocket *w = must_calloc(1, sizeof(*w));
	/* Frames to send are too simple for wslay's way of sending: see ws_seal. */
	const struct wslay_frame_callbacks callbacks = {.recv_callback = feed};

	CHECK(wslay_frame_context_init(&w->frames, &callbacks, w) == 0);
	return w;
}

void ws_free(struct websocket *w)
{
	if (!w)
		return;
	wslay_frame_context_free(w->frames);
	free(w);
}

size_t ws_put_close(uint16_t code, uint8_t out[WS_CLOSE_LEN])
{
	out[0] = FIN | WSLAY_CONNECTION_CLOSE;
	out[1] = 2;
	out[2] = (uint8_t)(code >> 8);
	out[3] = (uint8_t)code;
	return WS_CLOSE_LEN;
}

static void fail(struct websocket *w, uint16_t code)
{
	w->state = WS_ERROR;
	w->close_len = (uint8_t)ws_put_close(code, w->close);
}

/* Whether this frame may come now (RFC 6455 §5.1, §5.2, §5.4); fails the stream if not. wslay has
 * checked that control frames are short and whole, and the form of the length. */
static bool begin_frame(struct websocket *w, const struct wslay_frame_iocb *f)
{
	bool ok;

	if (!f->mask || f->rsv != 0) {
		fail(w, WS_CODE_PROTOCOL_ERROR);
		return false;
	}
	switch (f->opcode) {
	case WSLAY_CONTINUATION_FRAME:
		ok = w->in_message;
		w->in_message = !f->fin;
		break;
	case WSLAY_BINARY_FRAME:
		ok = !w->in_message;
		w->in_message = !f->fin;
		break;
	case WSLAY_TEXT_FRAME:
		fail(w, WS_CODE_UNSUPPORTED);
		return false;
	case WSLAY_CONNECTION_CLOSE:
	case WSLAY_PING:
	case WSLAY_PONG:
		ok = true;
		w->control_len = 0;
		break;
	default:
		ok = false;
	}
	if (!ok)
		fail(w, WS_CODE_PROTOCOL_ERROR);
	w->frame_left = f->payload_length;
	return ok;
}

/* Codes that may stand in a frame (RFC 6455 §7.4; 1012 to 1014 are registered since). */
static bool close_code_ok(unsigned code)
{
	return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
	       (code >= 3000 && code <= 4999);
}

static void got_close(struct websocket *w)
{
	unsigned code;

	w->state = WS_CLOSED;
	if (w->control_len == 0) {
		w->close[0] = FIN | WSLAY_CONNECTION_CLOSE;
		w->close[1] = 0;
		w->close_len = 2;
		return;
	}
	code = (unsigned)w->control[0] << 8 | w->control[1];
	if (w->control_len == 1 || !close_code_ok(code))
		fail(w, WS_CODE_PROTOCOL_ERROR);
	else
		w->close_len = (uint8_t)ws_put_close((uint16_t)code, w->close);
}

static void end_control(struct websocket *w, uint8_t opcode)
{
	if (opcode == WSLAY_CONNECTION_CLOSE) {
		got_close(w);
	} else if (opcode == WSLAY_PING) {
		memcpy(w->pong, w->control, w->control_len);
		w->pong_len = w->control_len;
		w->pong_due = true;
	}
}

/* Handles the next piece of a frame: *n bytes of payload go to out. False when there is no more. */
static bool open_piece(struct websocket *w, uint8_t *out, size_t *n)
{
	struct wslay_frame_iocb f = {0};
	ssize_t r = wslay_frame_recv(w->frames, &f);

	*n = 0;
	if (r == WSLAY_ERR_WANT_READ)
		return false;
	if (r < 0) {
		fail(w, WS_CODE_PROTOCOL_ERROR);
		return false;
	}
	if (w->frame_left == 0 && !begin_frame(w, &f))
		return false;
	CHECK(f.data_length <= w->frame_left);
	w->frame_left -= f.data_length;
	if (!wslay_is_ctrl_frame(f.opcode)) {
		memcpy(out, f.data, f.data_length);
		*n = f.data_length;
		return true;
	}
	CHECK(f.data_length <= sizeof(w->control) - w->control_len);
	memcpy(w->control + w->control_len, f.data, f.data_length);
	w->control_len += (uint8_t)f.data_length;
	if (w->frame_left == 0)
		end_control(w, f.opcode);
	return w->state == WS_OK;
}

/* Writes the frames that are owed. */
static size_t put_replies(struct websocket *w, uint8_t *reply)
{
	size_t n = 0;

	if (w->pong_due) {
		reply[0] = FIN | WSLAY_PONG;
		reply[1] = w->pong_len;
		memcpy(reply + 2, w->pong, w->pong_len);
		n = 2u + w->pong_len;
		w->pong_due = false;
	}
	memcpy(reply + n, w->close, w->close_len);
	n += w->close_len;
	w->close_len = 0;
	return n;
}

enum ws_result ws_open(struct websocket *w, const uint8_t *in, size_t in_len, uint8_t *out,
    size_t *out_len, uint8_t *reply, size_t *reply_len, size_t reply_cap)
{
	size_t n;
	bool more = w->state == WS_OK;

	CHECK(reply_cap >= WS_REPLY_MAX);
	w->in = in;
	w->in_len = in_len;
	*out_len = 0;
	/* wslay takes input through a buffer of its own and gives back no more than it took from
	 * this very input, so out never overtakes in. */
	while (more) {
		more = open_piece(w, out + *out_len, &n);
		*out_len += n;
	}
	CHECK(*out_len <= in_len);
	*reply_len = put_replies(w, reply);
	return w->state;
}

size_t ws_seal_bound(size_t len)
{
	return len + (len + WS_MESSAGE_MAX - 1) / WS_MESSAGE_MAX * WS_HEADER_MAX;
}

size_t ws_seal(const uint8_t *in, size_t len, uint8_t *out)
{
	uint8_t *p = out;

	while (len > 0) {
		size_t n = MIN(len, (size_t)WS_MESSAGE_MAX);

		*p++ = FIN | WSLAY_BINARY_FRAME;
		if (n < 126) {
			*p++ = (uint8_t)n;
		} else {
			*p++ = 126;
			*p++ = (uint8_t)(n >> 8);
			*p++ = (uint8_t)n;
		}
		memcpy(p, in, n);
		p += n;
		in += n;
		len -= n;
	}
	return (size_t)(p - out);
}
