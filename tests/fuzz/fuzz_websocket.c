/* SPDX-License-Identifier: BSD-3-Clause */
/* A WebSocket client's bytes, behind one byte that says how to cut them: in pieces they give the
 * same payload, the same end and the same last replies as in one go; in place as well as apart.
 */
#include "fuzz.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "wire/websocket.h"

struct result {
	enum ws_result state;
	uint8_t *payload;
	size_t payload_len;
	uint8_t reply[WS_REPLY_MAX]; /* the last bytes of all replies */
	size_t reply_len;
};

/* Keeps the end of what is appended. */
static void keep_reply(struct result *r, const uint8_t *reply, size_t len)
{
	uint8_t both[2 * WS_REPLY_MAX];
	size_t all = r->reply_len + len;

	CHECK(len <= WS_REPLY_MAX);
	memcpy(both, r->reply, r->reply_len);
	memcpy(both + r->reply_len, reply, len);
	r->reply_len = MIN(all, WS_REPLY_MAX);
	memcpy(r->reply, both + all - r->reply_len, r->reply_len);
}

static size_t piece_len(uint8_t pattern, size_t at, size_t left)
{
	size_t n = pattern < 16 ? 1u + pattern : 1u + (at * 31 + pattern) % (pattern * 8u);

	return MIN(n, left);
}

static void open_all(struct result *r, const uint8_t *in, size_t len, bool cut, uint8_t pattern)
{
	struct websocket *w = ws_new();

	*r = (struct result){.payload = must_alloc(len + 1)};
	for (size_t at = 0; at < len;) {
		size_t n = cut ? piece_len(pattern, at, len - at) : len;
		uint8_t *piece = must_alloc(n), reply[WS_REPLY_MAX];
		uint8_t *out = cut ? piece : r->payload;
		size_t out_len, reply_len;
		enum ws_result before = r->state;

		memcpy(piece, in + at, n);
		r->state = ws_open(w, piece, n, out, &out_len, reply, &reply_len, sizeof(reply));
		CHECK(out_len <= n);
		CHECK(before == WS_OK || (r->state == before && out_len == 0 && reply_len == 0));
		if (cut)
			memcpy(r->payload + r->payload_len, out, out_len);
		r->payload_len += out_len;
		keep_reply(r, reply, reply_len);
		free(piece);
		at += n;
	}
	ws_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole, cut;

	if (size < 1)
		return 0;
	open_all(&whole, data + 1, size - 1, false, 0);
	open_all(&cut, data + 1, size - 1, true, data[0]);
	CHECK(whole.state == cut.state);
	CHECK(whole.payload_len == cut.payload_len);
	CHECK(memcmp(whole.payload, cut.payload, whole.payload_len) == 0);
	/* In one go all pings but the last go unanswered. */
	CHECK(whole.reply_len <= cut.reply_len);
	CHECK(
	    memcmp(whole.reply, cut.reply + cut.reply_len - whole.reply_len, whole.reply_len) == 0);
	CHECK(whole.state == WS_OK || whole.reply_len >= 2);
	free(whole.payload);
	free(cut.payload);
	return 0;
}
