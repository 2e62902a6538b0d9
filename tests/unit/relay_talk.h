/* SPDX-License-Identifier: BSD-3-Clause */
/* relay_talk.h: what tests of the relay bed say, and expect to hear. After cmocka.h. */
#ifndef SLUICE_TESTS_RELAY_TALK_H
#define SLUICE_TESTS_RELAY_TALK_H

#include <errno.h>

#include "relay_bed.h"

static inline void client_send(const struct bed_client *c, const void *p, size_t len)
{
	assert_int_equal(send(c->fd, p, len, 0), (ssize_t)len);
}

static inline void send_packet(
    const struct bed_client *c, const struct key *dst, const void *p, uint32_t len)
{
	static uint8_t buf[FRAME_MAX];

	client_send(c, buf, bed_packet(buf, dst, p, len));
}

/* Exactly these bytes have arrived, and no others. */
static inline void expect(const struct bed_client *c, const void *want, size_t len)
{
	uint8_t *got = malloc(len + 1);

	assert_int_equal(recv(c->fd, got, len + 1, 0), (ssize_t)len);
	assert_memory_equal(got, want, len);
	free(got);
}

static inline void expect_nothing(const struct bed_client *c)
{
	uint8_t b;

	assert_int_equal(recv(c->fd, &b, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static inline void expect_packet(
    const struct bed_client *c, const struct key *src, const void *p, uint32_t len)
{
	static uint8_t buf[FRAME_MAX];

	frame_put_header(buf, FRAME_RECV_PACKET, KEY_LEN + len);
	memcpy(buf + FRAME_HEADER_LEN, src->b, KEY_LEN);
	memcpy(buf + FRAME_PACKET_HEAD, p, len);
	expect(c, buf, FRAME_PACKET_HEAD + len);
}

static inline void expect_gone(
    const struct bed_client *c, const struct key *k, enum peer_gone_reason why)
{
	uint8_t buf[FRAME_HEADER_LEN + PEER_GONE_LEN];

	frame_put_header(buf, FRAME_PEER_GONE, PEER_GONE_LEN);
	memcpy(buf + FRAME_HEADER_LEN, k->b, KEY_LEN);
	buf[sizeof(buf) - 1] = (uint8_t)why;
	expect(c, buf, sizeof(buf));
}

static inline struct bed_client login(struct bed *b, int owner)
{
	struct bed_client c = bed_login(b, bed_key(owner), NULL, 0);

	expect(&c, "\x03\0\0\0\3hi!", 8);
	return c;
}

static inline void logout(struct bed *b, struct bed_client *c)
{
	close(c->fd);
	bed_turns(b, 3);
}

#endif
