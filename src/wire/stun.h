/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stun.h: the one STUN exchange that a relay serves, a binding request and its answer.
 *
 * Sans-I/O, no allocation. Source: RFC 5389 §6, §7.3, §15.2 (XOR-MAPPED-ADDRESS), §15.5
 * (FINGERPRINT) and §15.10 (SOFTWARE). Like derper, only requests of Tailscale's own clients count:
 * SOFTWARE must be "tailnode" and the message must end in a valid FINGERPRINT. All others get
 * silence, so that the server is of no use to reflect traffic.
 *
 * Addresses are 16 bytes, IPv4 as ::ffff:a.b.c.d; ports are in host order.
 */
#ifndef SLUICE_WIRE_STUN_H
#define SLUICE_WIRE_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define STUN_HEADER_LEN 20
#define STUN_TXID_LEN 12
#define STUN_IP_LEN 16
/* What stun_write_request makes: header, SOFTWARE and FINGERPRINT. */
#define STUN_REQUEST_LEN 40
/* The longest answer: header and an IPv6 address. */
#define STUN_RESPONSE_MAX 44

enum stun_result {
	STUN_OK,
	STUN_NOT_STUN,    /* too short, wrong cookie, or a length that is not the datagram's */
	STUN_NOT_REQUEST, /* STUN, but not the kind of message that was asked for */
	STUN_MALFORMED,   /* attributes run over the end, or what is asked for is not among them */
	STUN_WRONG_SOFTWARE, /* not one of Tailscale's clients */
	STUN_NO_FINGERPRINT, /* the last attribute is not a FINGERPRINT */
	STUN_WRONG_FINGERPRINT,
};

/* Checks a binding request that is a whole datagram; txid is written only on STUN_OK. */
enum stun_result stun_parse_request(
    const uint8_t *msg, size_t len, uint8_t txid[STUN_TXID_LEN]) must_use;

/* Writes the success response, XOR-MAPPED-ADDRESS alone: 32 bytes for IPv4 (mapped addresses too,
 * as family 1), 44 for IPv6. Returns the length. */
size_t stun_write_response(uint8_t out[STUN_RESPONSE_MAX], const uint8_t txid[STUN_TXID_LEN],
    const uint8_t ip[STUN_IP_LEN], uint16_t port);

/* The client's side, for probes and tests: the very request that Tailscale's clients send, and the
 * address in the answer to it. STUN_NOT_REQUEST also tells of an answer to another request. */
void stun_write_request(uint8_t out[STUN_REQUEST_LEN], const uint8_t txid[STUN_TXID_LEN]);
enum stun_result stun_parse_response(const uint8_t *msg, size_t len,
    const uint8_t txid[STUN_TXID_LEN], uint8_t ip[STUN_IP_LEN], uint16_t *port) must_use;

/* The value of a FINGERPRINT behind these bytes. */
uint32_t stun_fingerprint(const uint8_t *msg, size_t len);

/* ::ffff:0:0/96, an IPv4 address in 16 bytes. */
bool stun_ip_is_v4(const uint8_t ip[STUN_IP_LEN]);

#endif
