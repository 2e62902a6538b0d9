/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/stun.h"

#include <string.h>

#include "wire/frame.h"

#define COOKIE 0x2112a442u
#define BINDING_REQUEST 0x0001
#define BINDING_SUCCESS 0x0101

#define ATTR_HEADER_LEN 4
#define ATTR_XOR_MAPPED_ADDRESS 0x0020
#define ATTR_SOFTWARE 0x8022
#define ATTR_FINGERPRINT 0x8028

#define SOFTWARE "tailnode"
#define SOFTWARE_LEN 8
#define FINGERPRINT_XOR 0x5354554eu
#define FINGERPRINT_LEN (ATTR_HEADER_LEN + 4)

#define FAMILY_IPV4 1
#define FAMILY_IPV6 2

_Static_assert(
    STUN_REQUEST_LEN == STUN_HEADER_LEN + ATTR_HEADER_LEN + SOFTWARE_LEN + FINGERPRINT_LEN,
    "what stun_write_request writes");

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

struct attr {
	uint16_t type;
	uint16_t len; /* without padding */
	const uint8_t *value;
};

static uint16_t be16_get(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void be16_put(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* CRC-32 of ISO 3309, half a byte a step: requests have 32 bytes to sum, a larger table would only
 * take cache from others. */
uint32_t stun_fingerprint(const uint8_t *msg, size_t len)
{
	static const uint32_t table[16] = {
	    0x00000000,
	    0x1db71064,
	    0x3b6e20c8,
	    0x26d930ac,
	    0x76dc4190,
	    0x6b6b51f4,
	    0x4db26158,
	    0x5005713c,
	    0xedb88320,
	    0xf00f9344,
	    0xd6d6a3e8,
	    0xcb61b38c,
	    0x9b64c2b0,
	    0x86d3d2d4,
	    0xa00ae278,
	    0xbdbdf21c,
	};
	uint32_t crc = 0xffffffffu;

	for (size_t i = 0; i < len; i++) {
		crc ^= msg[i];
		crc = crc >> 4 ^ table[crc & 15];
		crc = crc >> 4 ^ table[crc & 15];
	}
	return ~crc ^ FINGERPRINT_XOR;
}

bool stun_ip_is_v4(const uint8_t ip[STUN_IP_LEN])
{
	return memcmp(ip, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

/* RFC 5389 §7.3: two zero bits, the cookie, and a length that is all of the datagram. */
static bool header_ok(const uint8_t *msg, size_t len)
{
	return len >= STUN_HEADER_LEN && (msg[0] & 0xc0) == 0 && be32_get(msg + 4) == COOKIE &&
	       be16_get(msg + 2) == len - STUN_HEADER_LEN && len % 4 == 0;
}

static void put_header(uint8_t *out, unsigned type, size_t attrs_len, const uint8_t *txid)
{
	be16_put(out, type);
	be16_put(out + 2, (unsigned)attrs_len);
	be32_put(out + 4, COOKIE);
	memcpy(out + 8, txid, STUN_TXID_LEN);
}

/* Takes the attribute at *pos and steps over its padding; false when it runs over the end. */
static bool next_attr(const uint8_t *msg, size_t len, size_t *pos, struct attr *a)
{
	size_t left = len - *pos;

	if (left < ATTR_HEADER_LEN)
		return false;
	a->type = be16_get(msg + *pos);
	a->len = be16_get(msg + *pos + 2);
	a->value = msg + *pos + ATTR_HEADER_LEN;
	left -= ATTR_HEADER_LEN;
	if (((a->len + 3u) & ~3u) > left)
		return false;
	*pos += ATTR_HEADER_LEN + ((a->len + 3u) & ~3u);
	return true;
}

enum stun_result stun_parse_request(const uint8_t *msg, size_t len, uint8_t txid[STUN_TXID_LEN])
{
	struct attr a = {0};
	bool ours = false;

	if (!header_ok(msg, len))
		return STUN_NOT_STUN;
	if (be16_get(msg) != BINDING_REQUEST)
		return STUN_NOT_REQUEST;
	for (size_t pos = STUN_HEADER_LEN; pos < len;) {
		if (!next_attr(msg, len, &pos, &a))
			return STUN_MALFORMED;
		if (a.type == ATTR_SOFTWARE && a.len == SOFTWARE_LEN &&
		    memcmp(a.value, SOFTWARE, SOFTWARE_LEN) == 0)
			ours = true;
	}
	if (!ours)
		return STUN_WRONG_SOFTWARE;
	if (a.type != ATTR_FINGERPRINT || a.len != 4)
		return STUN_NO_FINGERPRINT;
	/* Last of all, as it costs the most. */
	if (be32_get(a.value) != stun_fingerprint(msg, len - FINGERPRINT_LEN))
		return STUN_WRONG_FINGERPRINT;
	memcpy(txid, msg + 8, STUN_TXID_LEN);
	return STUN_OK;
}

/* RFC 5389 §15.2: the address is xored with the cookie and, behind it, the transaction ID: just
 * the 16 bytes that stand in the header, in the same order. */
static void xor_address(uint8_t *out, const uint8_t *in, size_t len, const uint8_t *header)
{
	for (size_t i = 0; i < len; i++)
		out[i] = in[i] ^ header[4 + i];
}

size_t stun_write_response(uint8_t out[STUN_RESPONSE_MAX], const uint8_t txid[STUN_TXID_LEN],
    const uint8_t ip[STUN_IP_LEN], uint16_t port)
{
	bool v4 = stun_ip_is_v4(ip);
	size_t ip_len = v4 ? 4 : STUN_IP_LEN;
	uint8_t *attr = out + STUN_HEADER_LEN;

	put_header(out, BINDING_SUCCESS, ATTR_HEADER_LEN + 4 + ip_len, txid);
	be16_put(attr, ATTR_XOR_MAPPED_ADDRESS);
	be16_put(attr + 2, (unsigned)(4 + ip_len));
	be16_put(attr + 4, v4 ? FAMILY_IPV4 : FAMILY_IPV6);
	be16_put(attr + 6, port ^ COOKIE >> 16);
	xor_address(attr + 8, ip + STUN_IP_LEN - ip_len, ip_len, out);
	return STUN_HEADER_LEN + ATTR_HEADER_LEN + 4 + ip_len;
}

void stun_write_request(uint8_t out[STUN_REQUEST_LEN], const uint8_t txid[STUN_TXID_LEN])
{
	uint8_t *attr = out + STUN_HEADER_LEN;

	put_header(out, BINDING_REQUEST, STUN_REQUEST_LEN - STUN_HEADER_LEN, txid);
	be16_put(attr, ATTR_SOFTWARE);
	be16_put(attr + 2, SOFTWARE_LEN);
	memcpy(attr + ATTR_HEADER_LEN, SOFTWARE, SOFTWARE_LEN);
	attr += ATTR_HEADER_LEN + SOFTWARE_LEN;
	be16_put(attr, ATTR_FINGERPRINT);
	be16_put(attr + 2, 4);
	be32_put(attr + ATTR_HEADER_LEN, stun_fingerprint(out, (size_t)(attr - out)));
}

enum stun_result stun_parse_response(const uint8_t *msg, size_t len,
    const uint8_t txid[STUN_TXID_LEN], uint8_t ip[STUN_IP_LEN], uint16_t *port)
{
	struct attr a = {0};

	if (!header_ok(msg, len))
		return STUN_NOT_STUN;
	if (be16_get(msg) != BINDING_SUCCESS || memcmp(msg + 8, txid, STUN_TXID_LEN) != 0)
		return STUN_NOT_REQUEST;
	for (size_t pos = STUN_HEADER_LEN; pos < len;) {
		if (!next_attr(msg, len, &pos, &a))
			return STUN_MALFORMED;
		if (a.type != ATTR_XOR_MAPPED_ADDRESS)
			continue;
		if (a.len == 8 && a.value[1] == FAMILY_IPV4) {
			memcpy(ip, mapped_prefix, sizeof(mapped_prefix));
			xor_address(ip + 12, a.value + 4, 4, msg);
		} else if (a.len == 20 && a.value[1] == FAMILY_IPV6) {
			xor_address(ip, a.value + 4, STUN_IP_LEN, msg);
		} else {
			return STUN_MALFORMED;
		}
		*port = (uint16_t)(be16_get(a.value + 2) ^ COOKIE >> 16);
		return STUN_OK;
	}
	return STUN_MALFORMED;
}
