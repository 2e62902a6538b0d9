/* SPDX-License-Identifier: BSD-3-Clause */
/* STUN datagrams, both directions: only what begins and ends as a request should is accepted, also
 * when its length and checksum have been put right; and every answer that is written can be read.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"
#include "wire/stun.h"

#define FINGERPRINT_HEAD "\x80\x28\x00\x04"

static void check_answer(const uint8_t *txid, const uint8_t *ip, uint16_t port)
{
	uint8_t out[STUN_RESPONSE_MAX], back[STUN_IP_LEN] = {0};
	uint16_t back_port = 0;
	size_t n = stun_write_response(out, txid, ip, port);

	CHECK(n == (stun_ip_is_v4(ip) ? 32 : 44));
	CHECK(stun_parse_response(out, n, txid, back, &back_port) == STUN_OK);
	CHECK(memcmp(back, ip, STUN_IP_LEN) == 0 && back_port == port);
}

static void check_request(const uint8_t *msg, size_t len)
{
	uint8_t txid[STUN_TXID_LEN];

	if (stun_parse_request(msg, len, txid) != STUN_OK)
		return;
	CHECK(len >= STUN_REQUEST_LEN && len % 4 == 0);
	CHECK(memcmp(msg, "\x00\x01", 2) == 0 && memcmp(txid, msg + 8, sizeof(txid)) == 0);
	CHECK(memmem(msg, len, "tailnode", 8));
	CHECK(memcmp(msg + len - 8, FINGERPRINT_HEAD, 4) == 0);
	CHECK(be32_get(msg + len - 4) == stun_fingerprint(msg, len - 8));
	check_answer(txid, msg + len - STUN_IP_LEN, (uint16_t)len);
}

static void check_response(const uint8_t *msg, size_t len)
{
	uint8_t ip[STUN_IP_LEN];
	uint16_t port;

	if (len < STUN_HEADER_LEN || stun_parse_response(msg, len, msg + 8, ip, &port) != STUN_OK)
		return;
	check_answer(msg + 8, ip, port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;

	check_request(data, size);
	check_response(data, size);
	if (size < STUN_HEADER_LEN + 8 || size > STUN_HEADER_LEN + UINT16_MAX)
		return 0;
	copy = must_alloc(size);
	memcpy(copy, data, size);
	copy[2] = (uint8_t)((size - STUN_HEADER_LEN) >> 8);
	copy[3] = (uint8_t)(size - STUN_HEADER_LEN);
	memcpy(copy + 4, "\x21\x12\xa4\x42", 4);
	check_response(copy, size);
	memcpy(copy + size - 8, FINGERPRINT_HEAD, 4);
	be32_put(copy + size - 4, stun_fingerprint(copy, size - 8));
	check_request(copy, size);
	free(copy);
	return 0;
}
