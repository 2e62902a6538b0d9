/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The TLS 1.3 record layer. Bytes as they come off the wire hardly ever pass the tag, so that most
 * inputs are sealed first under the peer's key: the fuzzer chooses what lies inside. The reader is
 * a server, or a client, which skips tickets. However the bytes are cut, the result must be the
 * same.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "io/record.h"

#define ROOM (256u << 10)

static uint8_t wire[ROOM], plain[2][ROOM], reply[ROOM];

static void both_init(
    struct record *server, struct record *client, enum aead_kind kind, bool as_client)
{
	uint8_t up[48], down[48];
	size_t n = kind == AEAD_AES_256_GCM ? 48 : 32;

	memset(up, 1, sizeof(up));
	memset(down, 2, sizeof(down));
	record_init(server, kind, n, up, down);
	record_init(client, kind, n, down, up);
	if (as_client)
		record_as_client(server);
}

/* The input as records: a length byte, a type byte, then so much inner plaintext. */
static size_t seal_input(struct record *client, const uint8_t *p, size_t len)
{
	size_t at = 0;

	while (len >= 2 && at < ROOM / 2) {
		size_t n = MIN((size_t)p[0], len - 2), body = n + 1 + AEAD_TAG_LEN;
		uint8_t head[RECORD_HEADER_LEN] = {23, 3, 3, (uint8_t)(body >> 8), (uint8_t)body};
		uint8_t nonce[AEAD_NONCE_LEN];
		struct aead a;

		memcpy(nonce, client->tx.iv, sizeof(nonce));
		for (int i = 0; i < 8; i++)
			nonce[4 + i] ^= (uint8_t)(client->tx.seq >> (56 - 8 * i));
		client->tx.seq++;
		memcpy(wire + at, head, sizeof(head));
		CHECK(aead_begin(&a, (enum aead_kind)client->kind, client->tx.key, true));
		CHECK(aead_seal(
		    &a, nonce, head, sizeof(head), p + 2, n, p[1], wire + at + sizeof(head)));
		aead_end(&a);
		at += sizeof(head) + body;
		p += 2 + n;
		len -= 2 + n;
	}
	return at;
}

/* Opens len bytes in pieces; returns the plaintext's length. */
static size_t open_pieces(
    struct record *r, size_t len, size_t piece, uint8_t *out, enum record_result *res)
{
	struct sink to = {.p = out, .cap = ROOM};

	*res = RECORD_OK;
	for (size_t at = 0; at < len && *res == RECORD_OK; at += piece) {
		struct span in = {.p = wire + at, .len = MIN(piece, len - at)};
		struct sink answer = {.p = reply, .cap = sizeof(reply)};

		*res = record_open(r, &in, &to, &answer);
		CHECK(*res != RECORD_OK || in.len == 0);
		CHECK(r->rest_len <= RECORD_HEADER_LEN + RECORD_CIPHER_MAX);
	}
	return to.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct record server, client;
	enum record_result whole, cut;
	size_t len, n[2];
	enum aead_kind kind;
	bool raw;

	if (size < 2 || size > 60000)
		return 0;
	aead_init();
	kind = (enum aead_kind)(data[0] % 3);
	raw = data[0] & 0x80;
	both_init(&server, &client, kind, data[0] & 0x40);
	if (raw) {
		len = size - 2;
		memcpy(wire, data + 2, len);
	} else {
		len = seal_input(&client, data + 2, size - 2);
	}
	n[0] = open_pieces(&server, len, ROOM, plain[0], &whole);
	record_fini(&server);
	record_fini(&client);
	both_init(&server, &client, kind, data[0] & 0x40);
	n[1] = open_pieces(&server, len, 1 + data[1] % 64, plain[1], &cut);
	/* What is counted a call, storms, may end the whole sooner than the pieces. */
	if (whole == cut) {
		CHECK(n[0] == n[1] || whole == RECORD_FAILED);
		CHECK(memcmp(plain[0], plain[1], MIN(n[0], n[1])) == 0);
	} else {
		CHECK(whole == RECORD_FAILED);
	}
	record_fini(&server);
	record_fini(&client);
	return 0;
}
