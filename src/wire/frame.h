/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * frame.h: DERP frames as they lie on the wire.
 *
 * A frame is a type (1 byte), the payload's length (4 bytes, big-endian) and the payload.
 * Source: the DERP protocol, version 2, as Tailscale's clients and derper speak it.
 */
#ifndef SLUICE_WIRE_FRAME_H
#define SLUICE_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/key.h"

#define DERP_VERSION 2
#define FRAME_HEADER_LEN 5
/* The largest packet a client may send, without the keys in front of it. */
#define PACKET_MAX 65536
/* The longest frame that the relay takes or makes: ForwardPacket, header, two keys, packet. */
#define FRAME_MAX (FRAME_HEADER_LEN + 2 * KEY_LEN + PACKET_MAX)
/* Header and key in front of the packet, the same for SendPacket and RecvPacket. */
#define FRAME_PACKET_HEAD (FRAME_HEADER_LEN + KEY_LEN)
/* Header and both keys in front of a ForwardPacket's packet: source, then destination. */
#define FRAME_FORWARD_HEAD (FRAME_HEADER_LEN + 2 * KEY_LEN)

/* Name, value, who sends it. */
#define FRAME_TYPES(X)                \
	X(FRAME_SERVER_KEY, 0x01)     \
	X(FRAME_CLIENT_INFO, 0x02)    \
	X(FRAME_SERVER_INFO, 0x03)    \
	X(FRAME_SEND_PACKET, 0x04)    \
	X(FRAME_RECV_PACKET, 0x05)    \
	X(FRAME_KEEP_ALIVE, 0x06)     \
	X(FRAME_NOTE_PREFERRED, 0x07) \
	X(FRAME_PEER_GONE, 0x08)      \
	X(FRAME_PEER_PRESENT, 0x09)   \
	X(FRAME_FORWARD_PACKET, 0x0a) \
	X(FRAME_WATCH_CONNS, 0x10)    \
	X(FRAME_CLOSE_PEER, 0x11)     \
	X(FRAME_PING, 0x12)           \
	X(FRAME_PONG, 0x13)           \
	X(FRAME_HEALTH, 0x14)         \
	X(FRAME_RESTARTING, 0x15)

enum frame_type {
#define X(id, value) id = value,
	FRAME_TYPES(X)
#undef X
};

#define PING_LEN 8
#define PING_BODY_MAX 1000

enum peer_gone_reason {
	PEER_GONE_DISCONNECTED = 0,
	PEER_GONE_NOT_HERE = 1,
};
#define PEER_GONE_LEN (KEY_LEN + 1)

/* PeerPresent: key, address (IPv4 mapped; zeros: unknown), port, flags; newer servers may append.
 */
#define PEER_PRESENT_LEN (KEY_LEN + 16 + 2 + 1)
enum peer_present_flag {
	PEER_PRESENT_REGULAR = 1, /* only when no other is set */
	PEER_PRESENT_MESH_PEER = 2,
	PEER_PRESENT_PROBER = 4,
	PEER_PRESENT_NOT_IDEAL = 8,
};

/* Restarting: reconnect in, and try for, both in milliseconds, 4 bytes each. */
#define RESTARTING_LEN 8

/* ServerKey: magic and key. */
#define SERVER_KEY_MAGIC "DERP\xf0\x9f\x94\x91"
#define SERVER_KEY_MAGIC_LEN 8
#define SERVER_KEY_LEN (SERVER_KEY_MAGIC_LEN + KEY_LEN)
/* The longest ServerKey payload that clients accept. */
#define SERVER_KEY_MAX 1024

/* A disco packet begins with this and is at least so long (magic, key, nonce). */
#define DISCO_MAGIC "TS\xf0\x9f\x92\xac"
#define DISCO_MAGIC_LEN 6
#define DISCO_LEN_MIN 62

static inline uint32_t be32_get(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static inline void be32_put(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

/* Writes a frame's header (FRAME_HEADER_LEN bytes); the payload is the caller's. */
static inline void frame_put_header(uint8_t *p, enum frame_type type, uint32_t len)
{
	p[0] = (uint8_t)type;
	be32_put(p + 1, len);
}

static inline uint32_t frame_payload_len(const uint8_t *p)
{
	return be32_get(p + 1);
}

static inline bool packet_is_disco(const uint8_t *packet, size_t len)
{
	return len >= DISCO_LEN_MIN && memcmp(packet, DISCO_MAGIC, DISCO_MAGIC_LEN) == 0;
}

#endif
