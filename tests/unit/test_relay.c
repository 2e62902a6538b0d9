/* SPDX-License-Identifier: BSD-3-Clause */
/* The relay turn by turn: two workers, clients on socket pairs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>

#include "relay_talk.h"

/* Same worker and across; self-send; empty packets. */
static void test_packets(void **state)
{
	struct bed b;
	struct bed_client c[4];

	bed_init(&b, 64);
	for (int i = 0; i < 4; i++)
		c[i] = login(&b, i / 2);
	for (int from = 0; from < 4; from++) {
		for (int to = 0; to < 4; to++) {
			char text[32];
			uint32_t len = (uint32_t)snprintf(text, sizeof(text), "%d to %d", from, to);

			send_packet(&c[from], &c[to].key, text, len);
			bed_turns(&b, 2);
			expect_packet(&c[to], &c[from].key, text, len);
			send_packet(&c[from], &c[to].key, "", 0);
			bed_turns(&b, 2);
			expect_packet(&c[to], &c[from].key, "", 0);
		}
	}
	assert_int_equal(bed_counters(&b).v[C_PACKETS_RECV], 32);
	assert_int_equal(bed_counters(&b).v[C_PACKETS_SENT], 32);
	assert_int_equal(bed_counters(&b).v[C_BYTES_SENT], 16 * 6);
	assert_int_equal(bed_counters(&b).v[C_FLOWS], 16);
	for (int i = 0; i < 4; i++)
		logout(&b, &c[i]);
	assert_int_equal(bed_counters(&b).v[C_FLOWS], 0);
	assert_int_equal(bed_counters(&b).v[C_CONNECTIONS], 0);
	assert_int_equal(bed_counters(&b).closed[CLOSE_CLIENT], 4);
	bed_fini(&b);
}

/* ServerKey, where it has not been sent yet, in front of ServerInfo. */
static void test_greeting(void **state)
{
	struct admit facts = {.info.key = bed_key(0)};
	struct bed_client c;
	struct bed b;

	bed_init(&b, 64);
	facts.greeting_len = (uint32_t)login_put_server_key(&facts.info.key, facts.greeting);
	c = bed_login_as(&b, facts, "\x12\0\0\0\x08pingping", 13);
	memcpy(facts.greeting + facts.greeting_len, "\x03\0\0\0\3hi!\x13\0\0\0\x08pingping", 21);
	expect(&c, facts.greeting, facts.greeting_len + 21);
	bed_fini(&b);
}

/* Every way to cut a stream of frames into two receives gives the same packets. */
static void test_split(void **state)
{
	uint8_t buf[512];
	struct bed b;
	struct bed_client from, to;

	bed_init(&b, 64);
	from = login(&b, 0);
	to = login(&b, 1);
	for (size_t cut = 1; cut < 37 + 5 + 8 + 37 + 3; cut++) {
		size_t n = bed_packet(buf, &to.key, "hello", 5);
		uint8_t want[FRAME_PACKET_HEAD + 3];

		frame_put_header(buf + n, 0x7f, 3); /* nothing we know */
		memset(buf + n + FRAME_HEADER_LEN, 0x04, 3);
		n += FRAME_HEADER_LEN + 3;
		n += bed_packet(buf + n, &to.key, "you", 3);
		client_send(&from, buf, cut);
		bed_turns(&b, 2);
		client_send(&from, buf + cut, n - cut);
		bed_turns(&b, 2);
		frame_put_header(want, FRAME_RECV_PACKET, KEY_LEN + 5);
		memcpy(want + FRAME_HEADER_LEN, from.key.b, KEY_LEN);
		assert_int_equal(recv(to.fd, buf, FRAME_PACKET_HEAD + 5, 0), FRAME_PACKET_HEAD + 5);
		assert_memory_equal(buf, want, FRAME_PACKET_HEAD);
		assert_memory_equal(buf + FRAME_PACKET_HEAD, "hello", 5);
		expect_packet(&to, &from.key, "you", 3);
	}
	assert_int_equal(bed_counters(&b).v[C_UNKNOWN_FRAMES], 89);
	logout(&b, &from);
	logout(&b, &to);
	bed_fini(&b);
}

/* Frames of forbidden lengths, and of others' rights, end the connection for the right reason. */
static void test_bad_frames(void **state)
{
	static const struct {
		uint8_t type;
		uint32_t len;
		enum close_reason why;
	} bad[] = {
	    {FRAME_SEND_PACKET, 31, CLOSE_PROTOCOL_ERROR},
	    {FRAME_SEND_PACKET, KEY_LEN + PACKET_MAX + 1, CLOSE_PACKET_TOO_LARGE},
	    {FRAME_SEND_PACKET, UINT32_MAX, CLOSE_PACKET_TOO_LARGE},
	    {FRAME_NOTE_PREFERRED, 0, CLOSE_PROTOCOL_ERROR},
	    {FRAME_NOTE_PREFERRED, 2, CLOSE_PROTOCOL_ERROR},
	    {FRAME_PING, 7, CLOSE_PROTOCOL_ERROR},
	    {FRAME_PING, 1001, CLOSE_PROTOCOL_ERROR},
	    {FRAME_WATCH_CONNS, 0, CLOSE_NOT_MESH_PEER},
	    {FRAME_CLOSE_PEER, KEY_LEN, CLOSE_NOT_MESH_PEER},
	    {FRAME_FORWARD_PACKET, 64, CLOSE_NOT_MESH_PEER},
	};
	struct bed b;

	bed_init(&b, 64);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct bed_client c = login(&b, (int)i % 2);
		uint64_t before = bed_counters(&b).closed[bad[i].why];
		uint8_t head[FRAME_HEADER_LEN];

		frame_put_header(head, bad[i].type, bad[i].len);
		client_send(&c, head, sizeof(head));
		bed_turns(&b, 2);
		assert_int_equal(bed_counters(&b).closed[bad[i].why], before + 1);
		assert_int_equal(recv(c.fd, head, 1, 0), 0);
		close(c.fd);
	}
	assert_int_equal(bed_counters(&b).v[C_CONNECTIONS], 0);
	bed_fini(&b);
}

/* PeerGone/disconnected: told to who has heard from it, once, on either worker, also of itself when
 * a question and the going cross; and again when it comes back and goes. */
static void test_gone(void **state)
{
	struct bed b;
	struct bed_client a, near, far, stranger;

	bed_init(&b, 64);
	near = login(&b, 0);
	far = login(&b, 1);
	stranger = login(&b, 1);
	for (int round = 0; round < 2; round++) {
		a = login(&b, 0);
		send_packet(&a, &near.key, "x", 1);
		send_packet(&a, &far.key, "x", 1);
		bed_turns(&b, 3);
		expect_packet(&near, &a.key, "x", 1);
		expect_packet(&far, &a.key, "x", 1);
		logout(&b, &a);
		expect_gone(&near, &a.key, PEER_GONE_DISCONNECTED);
		expect_gone(&far, &a.key, PEER_GONE_DISCONNECTED);
		expect_nothing(&stranger);
	}
	/* It sends and goes in one breath. */
	a = login(&b, 0);
	send_packet(&a, &far.key, "bye", 3);
	close(a.fd);
	worker_turn(b.worker[0], false);
	worker_turn(b.worker[0], false);
	bed_turns(&b, 4);
	uint8_t buf[FRAME_PACKET_HEAD + 3];
	assert_int_equal(recv(far.fd, buf, sizeof(buf), 0), (ssize_t)sizeof(buf));
	expect_gone(&far, &a.key, PEER_GONE_DISCONNECTED);
	assert_int_equal(bed_counters(&b).v[C_GONE_DISCONNECTED], 5);
	assert_int_equal(b.worker[0]->sightings.used + b.worker[1]->sightings.used, 0);
	logout(&b, &near);
	logout(&b, &far);
	logout(&b, &stranger);
	bed_fini(&b);
}

/* Not here: for disco only, three at once, on either worker. */
static void test_not_here(void **state)
{
	uint8_t disco[DISCO_LEN_MIN] = DISCO_MAGIC;
	struct bed b;
	struct counters n;

	bed_init(&b, 64);
	for (int owner = 0; owner < 2; owner++) {
		struct bed_client a = login(&b, 0);
		struct key nobody = bed_key(owner);

		send_packet(&a, &nobody, "data", 4);
		bed_turns(&b, 3);
		expect_nothing(&a);
		for (int i = 0; i < 5; i++) {
			send_packet(&a, &nobody, disco, sizeof(disco));
			bed_turns(&b, 3);
			if (i < NOT_HERE_BURST)
				expect_gone(&a, &nobody, PEER_GONE_NOT_HERE);
			else
				expect_nothing(&a);
		}
		logout(&b, &a);
	}
	n = bed_counters(&b);
	assert_int_equal(n.v[C_GONE_NOT_HERE], 6);
	assert_int_equal(n.drop_packets[DROP_UNKNOWN_DEST][KIND_DISCO], 10);
	assert_int_equal(n.drop_packets[DROP_UNKNOWN_DEST][KIND_OTHER], 2);
	assert_int_equal(n.drop_bytes[DROP_UNKNOWN_DEST][KIND_OTHER], 8);
	bed_fini(&b);
}

/* Of several connections of a key, who sent last gets the packets. */
static void test_duplicates(void **state)
{
	static const uint8_t home[] = {FRAME_NOTE_PREFERRED, 0, 0, 0, 1, 1};
	struct bed b;
	struct bed_client x[3], from;
	struct key k;

	bed_init(&b, 64);
	from = login(&b, 1);
	k = bed_key(0);
	for (int i = 0; i < 3; i++) {
		x[i] = bed_login(&b, k, NULL, 0);
		expect(&x[i], "\x03\0\0\0\3hi!", 8);
	}
	assert_int_equal(bed_counters(&b).v[C_DUP_KEYS], 1);
	assert_int_equal(bed_counters(&b).v[C_DUP_CONNS], 3);
	send_packet(&from, &k, "newest", 6);
	bed_turns(&b, 2);
	expect_packet(&x[2], &from.key, "newest", 6);
	client_send(&x[0], home, sizeof(home));
	bed_turns(&b, 2);
	send_packet(&from, &k, "writer", 6);
	bed_turns(&b, 2);
	expect_packet(&x[0], &from.key, "writer", 6);
	/* The active one goes: who sent (or came) last before it. */
	logout(&b, &x[0]);
	send_packet(&from, &k, "before", 6);
	bed_turns(&b, 2);
	expect_packet(&x[2], &from.key, "before", 6);
	send_packet(&x[2], &from.key, "hi", 2);
	bed_turns(&b, 3);
	expect_packet(&from, &k, "hi", 2);
	logout(&b, &x[2]);
	expect_nothing(&from);
	logout(&b, &x[1]);
	expect_gone(&from, &k, PEER_GONE_DISCONNECTED);
	assert_int_equal(bed_counters(&b).v[C_DUP_CONNS], 0);
	assert_int_equal(bed_counters(&b).v[C_DUP_KEYS], 0);
	assert_int_equal(bed_counters(&b).v[C_HOME_CONNECTIONS], 0);
	logout(&b, &from);
	bed_fini(&b);
}

/* Packets that wait for a connection. */
static uint32_t queued(const struct conn *c)
{
	return c->queue ? c->queue->packets : 0;
}

/* A receiver that does not read: bounded, drops the oldest, books each on its flow, and the sums of
 * sent and dropped are what was received. */
static void test_slow_receiver(void **state)
{
	static uint8_t buf[FRAME_MAX];
	enum { PACKETS = 3000, LEN = 1400 };
	struct bed b;
	struct bed_client from[2], to;
	struct counters n;
	uint64_t dropped, waiting = 0;

	bed_init(&b, 64);
	from[0] = login(&b, 0);
	from[1] = login(&b, 1);
	to = login(&b, 0);
	memset(buf, 'x', sizeof(buf));
	for (int i = 0; i < PACKETS; i++) {
		uint8_t p[LEN] = {0};

		memcpy(p, &i, sizeof(i));
		send_packet(&from[i % 2], &to.key, p, LEN);
		bed_turns(&b, 1);
	}
	bed_turns(&b, 3);
	for (uint32_t i = 0; i < b.worker[0]->nconns; i++)
		if (b.worker[0]->conn[i].conn)
			waiting += queued(b.worker[0]->conn[i].conn);
	assert_true(waiting > 0 && waiting <= WAIT_MEMORY_MAX / LEN);
	n = bed_counters(&b);
	dropped = n.drop_packets[DROP_QUEUE_HEAD][KIND_OTHER];
	assert_true(dropped > 0);
	assert_int_equal(n.v[C_PACKETS_RECV], PACKETS);
	assert_int_equal(n.v[C_PACKETS_SENT] + dropped + waiting, PACKETS);
	/* Both flows have their own part of the drops, the one on the other worker too. */
	for (int i = 0; i < 2; i++) {
		const struct flow_table *t = &b.worker[i]->flows;

		assert_int_equal(t->used, 1);
		assert_int_not_equal(t->slot[0].trouble, FLOW_NONE);
		dropped -= t->trouble[t->slot[0].trouble].packets[DROP_QUEUE_HEAD];
	}
	assert_int_equal(dropped, 0);
	logout(&b, &to);
	n = bed_counters(&b);
	assert_int_equal(n.drop_packets[DROP_GONE_DISCONNECTED][KIND_OTHER], waiting);
	assert_int_equal(n.v[C_QUEUE_BYTES], 0);
	logout(&b, &from[0]);
	logout(&b, &from[1]);
	bed_fini(&b);
}

/* A worker that takes no mail: who sends to it is paused, others go on; nothing is lost when it
 * comes back in time. */
static void test_stuck_worker(void **state)
{
	static uint8_t buf[FRAME_MAX], payload[1000];
	struct bed b;
	struct bed_client from, to, near;
	struct counters n;
	uint64_t sent = 0, got = 0; /* bytes */

	bed_init(&b, 64);
	from = login(&b, 0);
	near = login(&b, 0);
	to = login(&b, 1);
	for (int i = 0; i < 4000 && bed_counters(&b).v[C_READ_PAUSES] == 0; i++) {
		size_t len = bed_packet(buf, &to.key, payload, 1000);

		ssize_t taken = send(from.fd, buf, len, 0);

		assert_true(taken == (ssize_t)len || taken < 0);
		sent += taken > 0 ? len : 0;
		worker_turn(b.worker[0], false);
	}
	assert_int_equal(bed_counters(&b).v[C_READ_PAUSES], 1);
	send_packet(&near, &near.key, "still", 5);
	worker_turn(b.worker[0], false);
	expect_packet(&near, &near.key, "still", 5);
	for (int i = 0; i < 1000 && got < sent; i++) {
		ssize_t len;

		bed_turns(&b, 1);
		while ((len = recv(to.fd, buf, sizeof(buf), 0)) > 0)
			got += (uint64_t)len;
	}
	/* All that the worker had kept came at once: what was more than may wait, was counted. */
	n = bed_counters(&b);
	got += n.drop_packets[DROP_QUEUE_HEAD][KIND_OTHER] * (FRAME_PACKET_HEAD + 1000);
	assert_int_equal(got, sent);
	assert_int_equal(n.drop_packets[DROP_QUEUE_TAIL][KIND_OTHER], 0);
	logout(&b, &from);
	logout(&b, &near);
	logout(&b, &to);
	bed_fini(&b);
}

/* Far more flows than the cap: what flows and other hold is what was received. */
static void test_flow_sums(void **state)
{
	struct bed b;
	struct bed_client from[2];
	struct counters n;
	uint64_t packets = 0, bytes = 0, drops = 0;

	bed_init(&b, FLOW_LIMIT_MIN);
	from[0] = login(&b, 0);
	from[1] = login(&b, 1);
	for (int i = 0; i < 2000; i++) {
		struct key k = bed_key(i % 2);

		send_packet(&from[i % 3 == 0], &k, "0123456789", (uint32_t)i % 11);
		bed_turns(&b, 1);
	}
	bed_turns(&b, 2);
	for (int i = 0; i < 2; i++) {
		const struct flow_table *t = &b.worker[i]->flows;
		const struct flow_set *set = &b.worker[i]->conn[0].conn->flows;

		/* What was evicted, told apart by connection too. */
		assert_int_equal(set->other_flows, t->other.flows);
		assert_int_equal(set->other_packets, t->other.packets);
		assert_int_equal(set->other_bytes, t->other.bytes);
		assert_true(t->used <= FLOW_LIMIT_MIN);
		packets += t->other.packets;
		bytes += t->other.bytes;
		drops += t->other.drop_packets[DROP_UNKNOWN_DEST];
		for (uint32_t s = 0; s < t->touched; s++) {
			const struct flow *f = &t->slot[s];

			if (f->conn == FLOW_NONE)
				continue;
			packets += f->packets;
			bytes += f->bytes;
			if (f->trouble != FLOW_NONE)
				drops += t->trouble[f->trouble].packets[DROP_UNKNOWN_DEST];
		}
	}
	n = bed_counters(&b);
	assert_int_equal(packets, 2000);
	assert_int_equal(packets, n.v[C_PACKETS_RECV]);
	assert_int_equal(bytes, n.v[C_BYTES_RECV]);
	assert_int_equal(drops, 2000);
	assert_true(n.v[C_FLOWS_EVICTED] >= 2000 - 2 * FLOW_LIMIT_MIN);
	logout(&b, &from[0]);
	logout(&b, &from[1]);
	bed_fini(&b);
}

/* At the end: when to come back, then the end; nobody is told of the others. */
static void test_shutdown(void **state)
{
	uint8_t frame[FRAME_HEADER_LEN + RESTARTING_LEN];
	struct bed b;
	struct bed_client c[2];

	bed_init(&b, 64);
	for (int i = 0; i < 2; i++)
		c[i] = login(&b, 0);
	send_packet(&c[0], &c[1].key, "x", 1);
	bed_turns(&b, 2);
	expect_packet(&c[1], &c[0].key, "x", 1);
	for (int i = 0; i < BED_WORKERS; i++)
		worker_close_all(b.worker[i]);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(recv(c[i].fd, frame, sizeof(frame), 0), (ssize_t)sizeof(frame));
		assert_int_equal(frame[0], FRAME_RESTARTING);
		assert_int_equal(frame_payload_len(frame), RESTARTING_LEN);
		assert_int_equal(recv(c[i].fd, frame, 1, 0), 0);
		close(c[i].fd);
	}
	assert_int_equal(bed_counters(&b).closed[CLOSE_SHUTDOWN], 2);
	bed_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_packets),
	    cmocka_unit_test(test_greeting),
	    cmocka_unit_test(test_split),
	    cmocka_unit_test(test_bad_frames),
	    cmocka_unit_test(test_gone),
	    cmocka_unit_test(test_not_here),
	    cmocka_unit_test(test_duplicates),
	    cmocka_unit_test(test_slow_receiver),
	    cmocka_unit_test(test_stuck_worker),
	    cmocka_unit_test(test_flow_sums),
	    cmocka_unit_test(test_shutdown),
	};

	if (sodium_init() < 0)
		return 1;
	srand(1);
	return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
