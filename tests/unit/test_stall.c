/* SPDX-License-Identifier: BSD-3-Clause */
/* Connections that end while others are being gone through: in the middle of being told of one that
 * has gone, and of being read again after a pause. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>

#include "relay_bed.h"

static uint8_t buf[2 * FRAME_MAX];

static struct conn *conn_of(struct bed *b, const struct bed_client *c)
{
	struct worker *w = b->worker[c->owner];

	return peer_find(&w->peers, &c->key, key_hash(&c->key))->active;
}

/* Control frames until not one more fits, but an empty one. */
static void fill_control(struct conn *conn)
{
	static const uint8_t payload[1000];

	while (!conn->control || conn->control_len + FRAME_HEADER_LEN + 1000 <= CONTROL_MAX)
		conn_put_control(conn, FRAME_HEALTH, payload, sizeof(payload));
	/* The buffer may be a little larger than the limit. */
	while (conn->control->cap - conn->control_len > 2 * FRAME_HEADER_LEN)
		conn_put_control(conn, FRAME_HEALTH, payload,
		    MIN(conn->control->cap - conn->control_len - 2 * FRAME_HEADER_LEN, 1000));
	assert_false(conn->dead);
}

/* A connection whose socket takes no more. */
static struct bed_client full_client(struct bed *b)
{
	struct bed_client c = bed_login(b, bed_key(0), NULL, 0);
	uint8_t payload[1000] = {0};

	for (int i = 0; i < 2000 && !conn_of(b, &c)->blocked; i++) {
		size_t len = bed_packet(buf, &c.key, payload, sizeof(payload));

		assert_int_equal(send(c.fd, buf, len, 0), (ssize_t)len);
		bed_turns(b, 1);
	}
	assert_true(conn_of(b, &c)->blocked);
	fill_control(conn_of(b, &c));
	bed_turns(b, 1);
	return c;
}

/* A goes. X, told of it, is over its limit and ends; of that Y is told, and so ends too, while it
 * still stands in line to be told of A. */
static void test_gone_chain(void **state)
{
	struct bed b;
	struct bed_client a, c[3];

	bed_init(&b, 64);
	for (int i = 0; i < 3; i++)
		c[i] = full_client(&b);
	a = bed_login(&b, bed_key(0), NULL, 0);
	/* Everybody has heard from A, and from each other. */
	for (int from = 0; from < 4; from++) {
		const struct bed_client *s = from < 3 ? &c[from] : &a;

		for (int to = 0; to < 3; to++) {
			size_t len = bed_packet(buf, &c[to].key, "x", 1);

			assert_int_equal(send(s->fd, buf, len, 0), (ssize_t)len);
		}
	}
	bed_turns(&b, 3);
	assert_int_equal(bed_counters(&b).v[C_CONNECTIONS], 4);
	close(a.fd);
	bed_turns(&b, 3);
	assert_int_equal(bed_counters(&b).v[C_CONNECTIONS], 0);
	assert_int_equal(bed_counters(&b).closed[CLOSE_SLOW_CONTROL], 3);
	assert_int_equal(bed_counters(&b).closed[CLOSE_CLIENT], 1);
	for (int i = 0; i < 3; i++)
		close(c[i].fd);
	bed_fini(&b);
}

/* Packets to a worker that reads no mail, until who sends them is paused. */
static void pause_client(struct bed *b, const struct bed_client *c, const struct key *far)
{
	static uint8_t payload[16000];

	for (int i = 0; i < 1000 && !conn_of(b, c)->paused; i++) {
		size_t len = bed_packet(buf, far, payload, sizeof(payload));

		assert_int_equal(send(c->fd, buf, len, 0), (ssize_t)len);
		worker_turn(b->worker[0], false);
	}
	assert_non_null(conn_of(b, c)->paused);
}

/* One paused connection is read again and brings another one, paused as well, so many packets that
 * they are sent at once; that one's socket is shut, and it ends. */
static void test_end_while_paused(void **state)
{
	static uint8_t payload[PACKET_MAX];
	struct bed b;
	struct bed_client x[8], y, far;
	size_t len;

	bed_init(&b, 64);
	far = bed_login(&b, bed_key(1), NULL, 0);
	for (int i = 0; i < 8; i++)
		x[i] = bed_login(&b, bed_key(0), NULL, 0);
	y = bed_login(&b, bed_key(0), NULL, 0);
	pause_client(&b, &x[0], &far.key);
	for (int i = 1; i < 8; i++) {
		/* The first packet pauses it; the rest of the same receive is kept. */
		len = bed_packet(buf, &far.key, "x", 1);
		len += bed_packet(buf + len, &y.key, payload, 60000);
		assert_int_equal(send(x[i].fd, buf, len, 0), (ssize_t)len);
	}
	worker_turn(b.worker[0], false);
	pause_client(&b, &y, &far.key);
	shutdown(y.fd, SHUT_RD);
	bed_turns(&b, 20);
	assert_int_equal(bed_counters(&b).closed[CLOSE_CLIENT], 1);
	assert_int_equal(bed_counters(&b).v[C_CONNECTIONS], 9);
	assert_null(b.worker[0]->neighbour[1].paused);
	close(y.fd);
	close(far.fd);
	for (int i = 0; i < 8; i++)
		close(x[i].fd);
	bed_turns(&b, 3);
	assert_int_equal(bed_counters(&b).v[C_CONNECTIONS], 0);
	bed_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_gone_chain),
	    cmocka_unit_test(test_end_while_paused),
	};

	if (sodium_init() < 0)
		return 1;
	srand(1);
	return cmocka_run_group_tests_name("stall", tests, NULL, NULL);
}
