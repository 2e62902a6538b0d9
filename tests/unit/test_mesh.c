/* SPDX-License-Identifier: BSD-3-Clause */
/* The mesh turn by turn: links, forwarders, watchers, what crosses. The test is the other nodes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sodium.h>

#include "fake_clock.h"
#include "relay/link.h"
#include "relay_talk.h"

/* PeerPresent or PeerGone as another node says it. */
static void say_present(const struct bed_client *link, const struct key *k, bool present)
{
	uint8_t f[FRAME_HEADER_LEN + PEER_PRESENT_LEN] = {0};
	uint32_t len = present ? PEER_PRESENT_LEN : PEER_GONE_LEN;

	frame_put_header(f, present ? FRAME_PEER_PRESENT : FRAME_PEER_GONE, len);
	memcpy(f + FRAME_HEADER_LEN, k->b, KEY_LEN);
	client_send(link, f, FRAME_HEADER_LEN + len);
}

static size_t put_forward(
    uint8_t *f, const struct key *src, const struct key *dst, const void *p, uint32_t len)
{
	frame_put_header(f, FRAME_FORWARD_PACKET, 2 * KEY_LEN + len);
	memcpy(f + FRAME_HEADER_LEN, src->b, KEY_LEN);
	memcpy(f + FRAME_PACKET_HEAD, dst->b, KEY_LEN);
	memcpy(f + FRAME_FORWARD_HEAD, p, len);
	return FRAME_FORWARD_HEAD + len;
}

static void expect_forward(const struct bed_client *link, const struct key *src,
    const struct key *dst, const void *p, uint32_t len)
{
	uint8_t f[FRAME_FORWARD_HEAD + 256];

	expect(link, f, put_forward(f, src, dst, p, len));
}

static struct bed_client mesh_login(struct bed *b, int owner)
{
	struct admit facts = {.info.key = bed_key(owner), .mesh_peer = true};
	struct bed_client c = bed_login_as(b, facts, NULL, 0);

	expect(&c, "\x03\0\0\0\3hi!", 8);
	return c;
}

static void watch(struct bed *b, const struct bed_client *c)
{
	client_send(c, "\x10\0\0\0\0", 5);
	bed_turns(b, 6);
}

/* Reads one frame of presence; returns whether it is PeerPresent, the key and the flags. */
static bool next_presence(const struct bed_client *c, struct key *k, uint8_t *flags)
{
	uint8_t f[FRAME_HEADER_LEN + PEER_PRESENT_LEN];
	uint32_t len;

	assert_int_equal(recv(c->fd, f, FRAME_HEADER_LEN, 0), FRAME_HEADER_LEN);
	len = frame_payload_len(f);
	assert_int_equal(len, f[0] == FRAME_PEER_PRESENT ? PEER_PRESENT_LEN : PEER_GONE_LEN);
	assert_int_equal(recv(c->fd, f + FRAME_HEADER_LEN, len, 0), len);
	memcpy(k->b, f + FRAME_HEADER_LEN, KEY_LEN);
	*flags = f[FRAME_HEADER_LEN + PEER_PRESENT_LEN - 1];
	if (f[0] == FRAME_PEER_PRESENT)
		return true;
	assert_int_equal(f[0], FRAME_PEER_GONE);
	return false;
}

static uint64_t counter(const struct bed *b, enum counter id)
{
	return bed_counters(b).v[id];
}

/* Sender, owner of the destination and link on all combinations of two workers; both ways. */
static void test_crossings(void **state)
{
	for (int at = 0; at < 8; at++) {
		struct key there = {{0}};
		struct bed_client here, link, node;
		struct bed b;
		uint8_t f[512];
		size_t n = 0;

		bed_init(&b, 64);
		bed_mesh(&b, 2);
		link = bed_link(&b, 1, bed_key(at & 1));
		node = mesh_login(&b, at & 1);
		here = login(&b, at >> 1 & 1);
		there = bed_key(at >> 2);
		say_present(&link, &there, true);
		bed_turns(&b, 2);
		assert_int_equal(counter(&b, C_CLIENTS_REMOTE), 1);
		send_packet(&here, &there, "first", 5);
		send_packet(&here, &there, "", 0);
		bed_turns(&b, 4);
		n = put_forward(f, &here.key, &there, "first", 5);
		n += put_forward(f + n, &here.key, &there, "", 0);
		expect(&link, f, n);
		/* And the answers, two sources mixed. */
		n = put_forward(f, &there, &here.key, "one", 3);
		n += put_forward(f + n, &there, &here.key, "two", 3);
		n += put_forward(f + n, &node.key, &here.key, "other", 5);
		n += put_forward(f + n, &there, &here.key, "", 0);
		client_send(&node, f, n);
		bed_turns(&b, 4);
		n = 0;
		for (int i = 0; i < 4; i++) {
			static const char *const text[] = {"one", "two", "other", ""};
			uint32_t len = (uint32_t)strlen(text[i]);

			frame_put_header(f + n, FRAME_RECV_PACKET, KEY_LEN + len);
			memcpy(f + n + FRAME_HEADER_LEN, i == 2 ? node.key.b : there.b, KEY_LEN);
			memcpy(f + n + FRAME_PACKET_HEAD, text[i], len);
			n += FRAME_PACKET_HEAD + len;
		}
		expect(&here, f, n);
		assert_int_equal(counter(&b, C_FORWARDED_OUT), 2);
		assert_int_equal(counter(&b, C_FORWARDED_OUT_BYTES), 5);
		assert_int_equal(counter(&b, C_FORWARDED_IN), 4);
		assert_int_equal(counter(&b, C_FORWARDED_IN_BYTES), 11);
		assert_int_equal(counter(&b, C_PACKETS_RECV), 2);
		assert_int_equal(counter(&b, C_PACKETS_SENT), 4);
		assert_int_equal(counter(&b, C_FLOWS), 3);
		bed_fini(&b);
	}
}

/* What flows know of the mesh, on both sides, and what is left when they have gone. */
static void test_flows(void **state)
{
	for (int at = 0; at < 4; at++) {
		struct bed b;
		struct bed_client here, link, node;
		struct key there;
		uint8_t f[256];
		const struct flow_table *t;
		const struct flow_totals *other;

		bed_init(&b, 64);
		bed_mesh(&b, 2);
		link = bed_link(&b, 1, bed_key(at & 1));
		node = mesh_login(&b, at & 1);
		here = login(&b, 0);
		there = bed_key(at >> 1);
		say_present(&link, &there, true);
		bed_turns(&b, 2);
		send_packet(&here, &there, "12345", 5);
		bed_turns(&b, 4);
		t = &b.worker[0]->flows;
		assert_true(t->slot[0].fwded);
		assert_int_equal(t->mesh[0].fwded_packets, 1);
		assert_int_equal(t->mesh[0].fwded_bytes, 5);
		assert_int_equal(t->mesh[0].link, 1);
		client_send(&node, f, put_forward(f, &there, &here.key, "abc", 3));
		bed_turns(&b, 4);
		t = &b.worker[node.owner]->flows;
		for (uint32_t i = 0; i < t->touched; i++)
			if (t->slot[i].has_src)
				assert_true(key_equal(&t->mesh[i].src, &there));
		close(here.fd);
		close(node.fd);
		bed_turns(&b, 3);
		other = &b.worker[0]->flows.other;
		assert_int_equal(other->fwded_packets, 1);
		assert_int_equal(other->fwded_bytes, 5);
		other = &b.worker[node.owner]->flows.other;
		assert_int_equal(other->mesh_packets, 1);
		assert_int_equal(other->mesh_bytes, 3);
		bed_fini(&b);
	}
}

/* The oldest forwarder is used, then the next; a local client wins; a key gone everywhere is told.
 */
static void test_choice(void **state)
{
	for (int owner = 0; owner < 2; owner++) {
		struct bed b;
		struct bed_client link[2], here, there;
		struct key k;
		uint8_t f[256];
		struct bed_client node;

		bed_init(&b, 64);
		bed_mesh(&b, 2);
		k = bed_key(owner);
		link[0] = bed_link(&b, 0, bed_key(0));
		link[1] = bed_link(&b, 1, bed_key(1));
		node = mesh_login(&b, 0);
		here = login(&b, 0);
		say_present(&link[1], &k, true);
		bed_turns(&b, 2);
		say_present(&link[0], &k, true);
		say_present(&link[0], &k, true);
		bed_turns(&b, 2);
		assert_int_equal(counter(&b, C_CLIENTS_REMOTE), 1);
		assert_int_equal(counter(&b, C_MULTI_CREATED), 1);
		assert_int_equal(b.mesh->peers[owner][0], 1);
		assert_int_equal(b.mesh->peers[owner][1], 1);
		/* It has heard from it. */
		client_send(&node, f, put_forward(f, &k, &here.key, "hi", 2));
		bed_turns(&b, 4);
		expect_packet(&here, &k, "hi", 2);
		send_packet(&here, &k, "a", 1);
		bed_turns(&b, 4);
		expect_nothing(&link[0]);
		expect_forward(&link[1], &here.key, &k, "a", 1);
		say_present(&link[1], &k, false);
		bed_turns(&b, 2);
		assert_int_equal(counter(&b, C_MULTI_DELETED), 1);
		send_packet(&here, &k, "b", 1);
		bed_turns(&b, 4);
		expect_forward(&link[0], &here.key, &k, "b", 1);
		/* It comes here as well, and what it sent is not lost on the way. */
		there = bed_login(&b, k, NULL, 0);
		expect(&there, "\x03\0\0\0\3hi!", 8);
		assert_int_equal(counter(&b, C_CLIENTS_REMOTE), 0);
		send_packet(&here, &k, "c", 1);
		bed_turns(&b, 4);
		expect_packet(&there, &here.key, "c", 1);
		expect_nothing(&link[0]);
		logout(&b, &there);
		expect_nothing(&here);
		send_packet(&here, &k, "d", 1);
		bed_turns(&b, 4);
		expect_forward(&link[0], &here.key, &k, "d", 1);
		/* Its last forwarder goes with its link. */
		close(link[0].fd);
		bed_turns(&b, 4);
		expect_gone(&here, &k, PEER_GONE_DISCONNECTED);
		assert_int_equal(counter(&b, C_CLIENTS_REMOTE), 0);
		assert_int_equal(b.mesh->peers[owner][0], 0);
		send_packet(&here, &k, "e", 1);
		bed_turns(&b, 4);
		assert_int_equal(bed_counters(&b).drop_packets[DROP_UNKNOWN_DEST][0], 1);
		say_present(&link[1], &k, false);
		bed_turns(&b, 2);
		assert_int_equal(counter(&b, C_FORWARDER_OTHER), 0);
		bed_fini(&b);
	}
}

/* A link that comes again begins anew: what it said before is void, what it says now counts. */
static void test_again(void **state)
{
	struct bed b;
	struct bed_client link, here;
	struct key server, k[64];

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	server = bed_key(1);
	here = login(&b, 0);
	for (int i = 0; i < 64; i++)
		k[i] = bed_key(i & 1);
	for (int round = 0; round < 5; round++) {
		link = bed_link(&b, 0, server);
		for (int i = round; i < 64; i++)
			say_present(&link, &k[i], true);
		bed_turns(&b, 3);
		assert_int_equal(counter(&b, C_CLIENTS_REMOTE), 64 - round);
		assert_int_equal(counter(&b, C_MESH_LINKS), 1);
		send_packet(&here, &k[63], "x", 1);
		bed_turns(&b, 3);
		expect_forward(&link, &here.key, &k[63], "x", 1);
		/* The next one comes in the very turn in which this one is found dead. */
		close(link.fd);
	}
	bed_turns(&b, 3);
	assert_int_equal(counter(&b, C_CLIENTS_REMOTE), 0);
	assert_int_equal(counter(&b, C_CLIENTS), 1);
	assert_int_equal(counter(&b, C_MESH_LINKS), 0);
	bed_fini(&b);
}

/* A link ends with many keys, and one that must be told of them takes no mail: the others wait. */
static void test_gone_in_time(void **state)
{
	enum { KEYS = 3000 };
	struct bed_client link, node, here;
	struct key k[KEYS];
	uint8_t f[256];
	struct bed b;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	here = login(&b, 1);
	node = mesh_login(&b, 0);
	link = bed_link(&b, 0, bed_key(0));
	for (int i = 0; i < KEYS; i++) {
		k[i] = bed_key(0);
		say_present(&link, &k[i], true);
		bed_turns(&b, 1);
	}
	client_send(&node, f, put_forward(f, &k[0], &here.key, "hi", 2));
	bed_turns(&b, 4);
	expect_packet(&here, &k[0], "hi", 2);
	bed_fill(&b, 0, 1, 0);
	close(link.fd);
	for (int i = 0; i < 4; i++)
		worker_turn(b.worker[0], false);
	assert_true(counter(&b, C_CLIENTS_REMOTE) > KEYS / 2);
	bed_turns(&b, 200);
	assert_int_equal(counter(&b, C_CLIENTS_REMOTE), 0);
	expect_gone(&here, &k[0], PEER_GONE_DISCONNECTED);
	bed_fini(&b);
}

/* News of a link's earlier connection, over a slower way; epochs go round. */
static void test_old_news(void **state)
{
	struct link_letter l = {.worker = 1, .up = true};
	struct link_view *v;
	struct bed b;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	v = &b.worker[0]->region.link[0];
	for (int i = 1; i < 600; i++) {
		l.epoch = (uint8_t)i;
		l.up = true;
		region_take_link(b.worker[0], &l);
		assert_true(v->up && v->epoch == l.epoch);
		l.epoch--;
		l.up = false;
		region_take_link(b.worker[0], &l);
		assert_true(v->up);
		l.epoch++;
		region_take_link(b.worker[0], &l);
		assert_false(v->up);
	}
	bed_fini(&b);
}

/* Never forwarded twice; disco is answered. */
static void test_on_fwd(void **state)
{
	for (int owner = 0; owner < 2; owner++) {
		struct bed b;
		struct bed_client link, node;
		struct key k, src;
		uint8_t f[256], disco[DISCO_LEN_MIN] = DISCO_MAGIC;

		bed_init(&b, 64);
		bed_mesh(&b, 1);
		k = bed_key(owner);
		src = bed_key(0);
		link = bed_link(&b, 0, bed_key(1));
		node = mesh_login(&b, 0);
		say_present(&link, &k, true);
		bed_turns(&b, 2);
		client_send(&node, f, put_forward(f, &src, &k, "hi", 2));
		client_send(&node, f, put_forward(f, &src, &k, disco, sizeof(disco)));
		bed_turns(&b, 4);
		expect_nothing(&link);
		expect_gone(&node, &k, PEER_GONE_NOT_HERE);
		assert_int_equal(bed_counters(&b).drop_packets[DROP_UNKNOWN_DEST_ON_FWD][0], 1);
		assert_int_equal(bed_counters(&b).drop_packets[DROP_UNKNOWN_DEST_ON_FWD][1], 1);
		bed_fini(&b);
	}
}

/* Flood, news, the order of them; keys of both workers; a second WatchConns changes nothing. */
static void test_watch(void **state)
{
	struct bed b;
	struct bed_client c[40], node, late, second;
	struct key k;
	uint8_t flags;
	int seen = 0;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	for (int i = 0; i < 40; i++)
		c[i] = login(&b, i & 1);
	node = mesh_login(&b, 1);
	watch(&b, &node);
	for (int n = 0; n < 41; n++) {
		assert_true(next_presence(&node, &k, &flags));
		assert_int_equal(flags,
		    key_equal(&k, &node.key) ? PEER_PRESENT_MESH_PEER : PEER_PRESENT_REGULAR);
		for (int i = 0; i < 40; i++)
			seen += key_equal(&k, &c[i].key);
	}
	assert_int_equal(seen, 40);
	watch(&b, &node);
	expect_nothing(&node);
	assert_int_equal(counter(&b, C_WATCHERS), 1);
	/* Comes, comes again, goes once, goes altogether. */
	late = login(&b, 0);
	bed_turns(&b, 4);
	assert_true(next_presence(&node, &k, &flags));
	assert_true(key_equal(&k, &late.key));
	c[0] = bed_login(&b, late.key, NULL, 0);
	bed_turns(&b, 4);
	assert_true(next_presence(&node, &k, &flags));
	logout(&b, &late);
	bed_turns(&b, 4);
	expect_nothing(&node);
	logout(&b, &c[0]);
	bed_turns(&b, 4);
	assert_false(next_presence(&node, &k, &flags));
	assert_true(key_equal(&k, &late.key));
	expect_nothing(&node);
	/* One that comes now never knew it. */
	second = mesh_login(&b, 0);
	watch(&b, &second);
	for (int n = 0; n < 42; n++)
		assert_true(next_presence(&second, &k, &flags));
	expect_nothing(&second);
	logout(&b, &second);
	logout(&b, &node);
	bed_turns(&b, 2);
	assert_int_equal(counter(&b, C_WATCHERS), 0);
	for (int w = 0; w < BED_WORKERS; w++)
		assert_null(b.worker[w]->presence.watchers);
	bed_fini(&b);
}

/* A flood of several batches needs nothing else to happen: the worker sleeps only behind it. */
static void test_flood_at_once(void **state)
{
	enum { KEYS = 350 };
	uint8_t f[512], flags;
	struct bed_client node;
	struct key k;
	struct bed b;
	int told = 0;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	for (int i = 0; i < KEYS; i++)
		login(&b, 0);
	node = mesh_login(&b, 0);
	client_send(&node, "\x10\0\0\0\0", 5);
	do
		worker_turn(b.worker[0], false);
	while (b.worker[0]->busy);
	while (recv(node.fd, f, 1, MSG_PEEK) == 1) {
		assert_true(next_presence(&node, &k, &flags));
		told++;
	}
	assert_int_equal(told, KEYS + 1);
	bed_fini(&b);
}

/* Takes all that a watcher is told; its socket holds a few frames, so that batches wait for it. */
static void read_presence(
    struct bed *b, const struct bed_client *node, const struct key *k, bool *told, int keys)
{
	static uint8_t buf[4096];
	size_t held = 0;

	for (ssize_t n; (n = recv(node->fd, buf + held, sizeof(buf) - held, 0)) > 0;) {
		size_t at = 0;

		held += (size_t)n;
		while (held - at >= FRAME_HEADER_LEN &&
		       held - at >= FRAME_HEADER_LEN + frame_payload_len(buf + at)) {
			for (int i = 0; i < keys; i++)
				if (memcmp(k[i].b, buf + at + FRAME_HEADER_LEN, KEY_LEN) == 0)
					told[i] = buf[at] == FRAME_PEER_PRESENT;
			at += FRAME_HEADER_LEN + frame_payload_len(buf + at);
		}
		held -= at;
		memmove(buf, buf + at, held);
		bed_turns(b, 4);
	}
	assert_int_equal(held, 0);
}

/* A model of a watcher's knowledge against what it is told, through random comings and goings while
 * it reads now and then: whenever it has read all, both agree. */
static void test_watch_model(void **state)
{
	enum { KEYS = 300, STEPS = 4000 };
	static struct bed_client conn[KEYS];
	static bool here[KEYS], told[KEYS];
	struct key k[KEYS];
	struct bed_client node;
	struct bed b;
	int small = 1;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	memset(here, 0, sizeof(here));
	memset(told, 0, sizeof(told));
	for (int i = 0; i < KEYS; i++)
		k[i] = bed_key(i & 1);
	for (int i = 0; i < KEYS / 2; i++) {
		conn[i] = bed_login(&b, k[i], NULL, 0);
		here[i] = true;
	}
	node = mesh_login(&b, 0);
	setsockopt(peer_find(&b.worker[0]->peers, &node.key, key_hash(&node.key))->active->watch.fd,
	    SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	client_send(&node, "\x10\0\0\0\0", 5);
	for (int step = 0; step < STEPS; step++) {
		int i = rand() % KEYS;

		if (here[i])
			close(conn[i].fd);
		else
			conn[i] = bed_login(&b, k[i], NULL, 0);
		here[i] = !here[i];
		if (rand() % 4 == 0)
			bed_turns(&b, 1);
		if (step < STEPS - 1 && rand() % 64)
			continue;
		bed_turns(&b, 8);
		read_presence(&b, &node, k, told, KEYS);
		for (i = 0; i < KEYS; i++)
			assert_int_equal(here[i], told[i]);
	}
	assert_int_equal(bed_counters(&b).closed[CLOSE_MESH_BEHIND], 0);
	bed_fini(&b);
}

/* Only for mesh peers, and only in their right length. */
static void test_privileges(void **state)
{
	static const struct {
		uint8_t type;
		uint32_t len;
		enum close_reason mesh, other;
	} cases[] = {
	    {FRAME_WATCH_CONNS, 0, CLOSE_REASON_COUNT, CLOSE_NOT_MESH_PEER},
	    {FRAME_WATCH_CONNS, 1, CLOSE_PROTOCOL_ERROR, CLOSE_NOT_MESH_PEER},
	    {FRAME_CLOSE_PEER, 32, CLOSE_REASON_COUNT, CLOSE_NOT_MESH_PEER},
	    {FRAME_CLOSE_PEER, 31, CLOSE_PROTOCOL_ERROR, CLOSE_NOT_MESH_PEER},
	    {FRAME_CLOSE_PEER, 33, CLOSE_PROTOCOL_ERROR, CLOSE_NOT_MESH_PEER},
	    {FRAME_FORWARD_PACKET, 64, CLOSE_REASON_COUNT, CLOSE_NOT_MESH_PEER},
	    {FRAME_FORWARD_PACKET, 63, CLOSE_PROTOCOL_ERROR, CLOSE_NOT_MESH_PEER},
	    {FRAME_FORWARD_PACKET, 64 + PACKET_MAX + 1, CLOSE_PACKET_TOO_LARGE,
		CLOSE_NOT_MESH_PEER},
	};
	struct bed b;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		for (int mesh = 0; mesh < 2; mesh++) {
			struct bed_client c = mesh ? mesh_login(&b, (int)i & 1) : login(&b, 0);
			enum close_reason want = mesh ? cases[i].mesh : cases[i].other;
			struct counters before = bed_counters(&b), after;
			uint8_t f[256] = {0};

			frame_put_header(f, cases[i].type, cases[i].len);
			client_send(&c, f, FRAME_HEADER_LEN + MIN(cases[i].len, 100u));
			bed_turns(&b, 4);
			after = bed_counters(&b);
			for (int r = 0; r < CLOSE_REASON_COUNT; r++)
				assert_int_equal(
				    after.closed[r] - before.closed[r], (uint64_t)(r == (int)want));
			close(c.fd);
			bed_turns(&b, 2);
		}
	}
	bed_fini(&b);
}

/* All connections of a key, wherever it is owned; the one that asked goes on. */
static void test_close_peer(void **state)
{
	for (int owner = 0; owner < 2; owner++) {
		struct bed b;
		struct bed_client node, c[2];
		uint8_t f[FRAME_HEADER_LEN + KEY_LEN];

		bed_init(&b, 64);
		bed_mesh(&b, 1);
		node = mesh_login(&b, 0);
		c[0] = login(&b, owner);
		c[1] = bed_login(&b, c[0].key, NULL, 0);
		frame_put_header(f, FRAME_CLOSE_PEER, KEY_LEN);
		memcpy(f + FRAME_HEADER_LEN, c[0].key.b, KEY_LEN);
		client_send(&node, f, sizeof(f));
		bed_turns(&b, 4);
		assert_int_equal(bed_counters(&b).closed[CLOSE_MESH_ASKED], 2);
		assert_int_equal(counter(&b, C_CONNECTIONS), 1);
		bed_fini(&b);
	}
}

static void count_line(void *n, const char *line, size_t len)
{
	(*(int *)n)++;
}

/* A storm of it fills no log; to ask for one's own end is fine. */
static void test_close_peer_storm(void **state)
{
	uint8_t f[FRAME_HEADER_LEN + KEY_LEN];
	struct bed_client node;
	struct bed b;
	struct key k;
	int lines = 0;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	node = mesh_login(&b, 0);
	frame_put_header(f, FRAME_CLOSE_PEER, KEY_LEN);
	log_set_level(LOG_INFO);
	log_set_sink(count_line, &lines);
	for (int i = 0; i <= 1000; i++) {
		k = i < 1000 ? bed_key(i & 1) : node.key;
		memcpy(f + FRAME_HEADER_LEN, k.b, KEY_LEN);
		client_send(&node, f, sizeof(f));
		bed_turns(&b, i % 100 == 0);
	}
	bed_turns(&b, 4);
	log_set_sink(NULL, NULL);
	assert_int_equal(bed_counters(&b).closed[CLOSE_MESH_ASKED], 1);
	assert_in_range(lines, 1, 50);
	bed_fini(&b);
}

/* Pings keep a link; silence ends it; what it may not say does so at once. */
static void test_link_life(void **state)
{
	static const struct {
		uint8_t type;
		uint32_t len, sent;
	} bad[] = {
	    {FRAME_PEER_PRESENT, KEY_LEN - 1, KEY_LEN - 1},
	    {FRAME_PEER_GONE, 0, 0},
	    {FRAME_PEER_PRESENT, PING_BODY_MAX + 1, 0},
	    {FRAME_HEALTH, LINK_FRAME_MAX + 1, 0},
	};
	struct bed b;
	struct bed_client link;
	uint8_t f[200] = {0};

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	link = bed_link(&b, 0, bed_key(0));
	/* What is longer than a receive is skipped; a ping is answered; unknown frames are nothing.
	 */
	frame_put_header(f, FRAME_HEALTH, 150);
	memset(f + FRAME_HEADER_LEN, 0xff, 150);
	client_send(&link, f, 100);
	bed_turns(&b, 1);
	client_send(&link, f + 100, 55);
	memset(f, 0, sizeof(f));
	frame_put_header(f, FRAME_PING, PING_LEN + 3);
	client_send(&link, f, FRAME_HEADER_LEN + PING_LEN + 3);
	frame_put_header(f, 0x77, 5);
	client_send(&link, f, 10);
	bed_turns(&b, 1);
	frame_put_header(f, FRAME_PONG, PING_LEN);
	memset(f + FRAME_HEADER_LEN, 0, PING_LEN);
	expect(&link, f, FRAME_HEADER_LEN + PING_LEN);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		link = bed_link(&b, 0, bed_key(0));
		frame_put_header(f, (enum frame_type)bad[i].type, bad[i].len);
		client_send(&link, f, FRAME_HEADER_LEN + bad[i].sent);
		bed_turns(&b, 2);
		assert_int_equal(bed_counters(&b).closed[CLOSE_PROTOCOL_ERROR], i + 1);
	}
	/* A ping at once and then every five seconds, as long as they are answered. */
	link = bed_link(&b, 0, bed_key(0));
	fake_clock_ms += 100;
	for (int i = 0; i < 10; i++) {
		bed_turns(&b, 1);
		assert_int_equal(
		    recv(link.fd, f, sizeof(f), 0), (ssize_t)(FRAME_HEADER_LEN + PING_LEN));
		assert_int_equal(f[0], FRAME_PING);
		f[0] = FRAME_PONG;
		/* One to another ping tells nothing. */
		f[FRAME_HEADER_LEN] ^= 1;
		client_send(&link, f, FRAME_HEADER_LEN + PING_LEN);
		bed_turns(&b, 1);
		f[FRAME_HEADER_LEN] ^= 1;
		fake_clock_ms += 20;
		client_send(&link, f, FRAME_HEADER_LEN + PING_LEN);
		bed_turns(&b, 1);
		assert_int_equal(b.mesh->link[0].traffic.rtt_us, 20000);
		expect_nothing(&link);
		fake_clock_ms += LINK_PING_MS + 64;
	}
	assert_int_equal(counter(&b, C_MESH_LINKS), 1);
	fake_clock_ms += LINK_SILENT_MS + LINK_PING_MS + 64;
	bed_turns(&b, 2);
	assert_int_equal(bed_counters(&b).closed[CLOSE_LINK_SILENT], 1);
	assert_int_equal(counter(&b, C_MESH_LINKS), 0);
	bed_fini(&b);
}

/* Whole frames of a stream, as they come; returns how many. */
static uint32_t take_forwards(int fd, uint32_t *next, const struct bed_client *from, uint32_t n)
{
	static uint8_t buf[1 << 20];
	static size_t held;
	uint32_t got = 0;
	size_t at = 0;
	ssize_t r;

	while ((r = recv(fd, buf + held, sizeof(buf) - held, 0)) > 0)
		held += (size_t)r;
	while (held - at > FRAME_FORWARD_HEAD &&
	       held - at >= FRAME_HEADER_LEN + frame_payload_len(buf + at)) {
		uint32_t number, i = 0;

		while (i < n && memcmp(from[i].key.b, buf + at + FRAME_HEADER_LEN, KEY_LEN) != 0)
			i++;
		assert_int_not_equal(i, n);
		memcpy(&number, buf + at + FRAME_FORWARD_HEAD, sizeof(number));
		assert_int_equal(number, next[i]);
		next[i]++;
		got++;
		at += FRAME_HEADER_LEN + frame_payload_len(buf + at);
	}
	memmove(buf, buf + at, held - at);
	held -= at;
	return got;
}

/* More than a ring holds goes from worker 0 to the owner 1 and back to the link on 0: what finds no
 * room waits where it is, in order, and nothing is lost. */
static void test_put_back(void **state)
{
	enum { SENDERS = 48, PACKETS = 600, SIZE = 200 };
	static uint8_t frame[FRAME_PACKET_HEAD + SIZE], p[SIZE];
	struct bed_client from[SENDERS], link;
	uint32_t sent[SENDERS] = {0}, next[SENDERS] = {0}, got = 0;
	size_t part[SENDERS] = {0}; /* of a frame that was not sent whole */
	struct key there;
	bool waited = false;
	struct bed b;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	there = bed_key(1);
	link = bed_link(&b, 0, bed_key(0));
	say_present(&link, &there, true);
	for (int i = 0; i < SENDERS; i++)
		from[i] = login(&b, 0);
	while (got < SENDERS * PACKETS) {
		for (int i = 0; i < SENDERS; i++)
			while (sent[i] < PACKETS) {
				ssize_t n;

				memcpy(p, &sent[i], sizeof(sent[i]));
				bed_packet(frame, &there, p, SIZE);
				n = send(from[i].fd, frame + part[i], sizeof(frame) - part[i], 0);
				if (n < 0)
					break;
				part[i] = (part[i] + (size_t)n) % sizeof(frame);
				sent[i] += part[i] == 0;
			}
		bed_turns(&b, 1);
		waited |= b.worker[1]->neighbour[0].awaited;
		got += take_forwards(link.fd, next, from, SENDERS);
	}
	assert_true(waited);
	assert_int_equal(counter(&b, C_FORWARDED_OUT), SENDERS * PACKETS);
	for (int r = 0; r < DROP_REASON_COUNT; r++)
		assert_int_equal(bed_counters(&b).drop_packets[r][0], 0);
	assert_false(b.worker[1]->neighbour[0].awaited);
	bed_fini(&b);
}

/* A link comes again with another server key, so on another worker, while news of its end wait
 * behind other letters, or for room, in that one's mailbox: they undo nothing. */
static void test_moved(void **state)
{
	static const struct {
		int letters, owner;
	} c[] = {{0, 0}, {0, 1}, {1100, 0}};

	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		struct bed_client link, here;
		struct key k;
		struct bed b;

		bed_init(&b, 64);
		bed_mesh(&b, 1);
		here = login(&b, c[i].owner);
		k = bed_key(c[i].owner);
		link = bed_link(&b, 0, bed_key(0));
		bed_fill(&b, 0, 1, c[i].letters);
		close(link.fd);
		worker_turn(b.worker[0], false);
		assert_int_equal(region_waits(b.worker[0]), c[i].letters == 0);
		link = bed_link(&b, 0, bed_key(1));
		/* More letters than a worker takes in a turn. */
		bed_turns(&b, 200);
		for (int w = 0; w < BED_WORKERS; w++) {
			const struct link_view *v = &b.worker[w]->region.link[0];

			assert_true(v->up);
			assert_int_equal(v->worker, 1);
			assert_int_equal(v->epoch, 2);
			assert_int_equal(v->untold, 0);
			assert_false(region_waits(b.worker[w]));
		}
		say_present(&link, &k, true);
		bed_turns(&b, 2);
		send_packet(&here, &k, "hi", 2);
		bed_turns(&b, 4);
		expect_forward(&link, &here.key, &k, "hi", 2);
		bed_fini(&b);
	}
}

static void note_ended(void *arg, int from, const struct letter *l)
{
	struct link_ended_letter *last = arg;
	const struct link_ended_letter *e = (const void *)l->body;

	if (l->kind == LETTER_LINK_ENDED)
		*last = *e;
}

/* A gate that is behind hears of the end of that connection which has ended. */
static void test_gate_behind(void **state)
{
	struct link_ended_letter last = {0};
	struct bed_client link;
	struct bed b;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	link = bed_link(&b, 0, bed_key(0));
	bed_fill(&b, 0, mail_gate(b.mail), 0);
	close(link.fd);
	bed_turns(&b, 2);
	bed_link(&b, 0, link.key);
	for (int i = 0; i < 3; i++) {
		mail_drain(b.mail, mail_gate(b.mail), 100000, note_ended, &last);
		mail_release(b.mail, mail_gate(b.mail));
		bed_turns(&b, 1);
	}
	assert_int_equal(last.epoch, 1);
	assert_int_equal(counter(&b, C_MESH_LINKS), 1);
	bed_fini(&b);
}

/* A worker that is behind still learns that a watcher has ended, and forgets it. */
static void test_unwatch_behind(void **state)
{
	struct bed_client node;
	struct bed b;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	node = mesh_login(&b, 0);
	watch(&b, &node);
	assert_non_null(b.worker[1]->presence.watchers);
	bed_fill(&b, 0, 1, 0);
	close(node.fd);
	worker_turn(b.worker[0], false);
	assert_int_equal(counter(&b, C_WATCHERS), 0);
	/* More letters than a worker takes in a turn. */
	bed_turns(&b, 200);
	assert_null(b.worker[1]->presence.watchers);
	assert_null(b.worker[0]->presence.farewells);
	/* What could not be told when all stops is given back. */
	node = mesh_login(&b, 0);
	watch(&b, &node);
	bed_fill(&b, 0, 1, 0);
	close(node.fd);
	worker_turn(b.worker[0], false);
	assert_non_null(b.worker[0]->presence.farewells);
	bed_fini(&b);
}

/* A watcher that takes nothing while a key that it was told of goes and is forgotten is closed. */
static void test_watcher_lost(void **state)
{
	enum { KEYS = 300 };
	static struct bed_client c[KEYS];
	struct bed_client node, link;
	static const uint8_t packet[9000];
	int small = 4096;
	struct bed b;

	bed_init(&b, 64);
	bed_mesh(&b, 1);
	link = bed_link(&b, 0, bed_key(0));
	node = mesh_login(&b, 0);
	for (int i = 0; i < KEYS; i++)
		c[i] = login(&b, 0);
	setsockopt(b.worker[0]->peers.slot[0].peer->active->watch.fd, SOL_SOCKET, SO_SNDBUF, &small,
	    sizeof(small));
	/* A full socket: not even the first batch leaves. */
	for (int i = 0; i < 4; i++)
		send_packet(&c[1], &node.key, packet, sizeof(packet));
	bed_turns(&b, 2);
	watch(&b, &node);
	assert_non_null(b.worker[0]->presence.watchers->at);
	bed_login(&b, bed_key(0), NULL, 0);
	logout(&b, &c[0]);
	for (int i = 0; i <= PEER_IDLE_MAX; i++) {
		struct key k = bed_key(0);

		say_present(&link, &k, true);
		say_present(&link, &k, false);
		if (i % 64 == 0)
			bed_turns(&b, 1);
	}
	bed_turns(&b, 2);
	assert_true(b.worker[0]->presence.watchers->lost);
	for (uint8_t f[4096]; recv(node.fd, f, sizeof(f), 0) > 0;)
		bed_turns(&b, 2);
	assert_int_equal(bed_counters(&b).closed[CLOSE_MESH_BEHIND], 1);
	assert_int_equal(counter(&b, C_WATCHERS), 0);
	assert_null(b.worker[0]->presence.watchers);
	bed_fini(&b);
}

/* What waits for a link is bounded in bytes, disco too: it may be as long as any packet. */
static void test_link_bounds(void **state)
{
	static uint8_t packet[PACKET_MAX];

	for (int disco = 0; disco < 2; disco++) {
		struct bed_client here, link;
		struct key there;
		struct bed b;

		bed_init(&b, 64);
		bed_mesh(&b, 1);
		there = bed_key(0);
		here = login(&b, 0);
		link = bed_link(&b, 0, bed_key(0));
		say_present(&link, &there, true);
		memcpy(packet, disco ? DISCO_MAGIC : "other.", DISCO_MAGIC_LEN);
		for (int i = 0; i < 400; i++) {
			bed_turns(&b, 2);
			send_packet(&here, &there, packet, sizeof(packet));
		}
		bed_turns(&b, 2);
		/* A buffer for the largest packet has 8 KiB more than that. */
		assert_in_range(counter(&b, C_QUEUE_BYTES), LINK_WAIT_MEMORY_MAX / 10 * 8,
		    LINK_WAIT_MEMORY_MAX);
		bed_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_crossings),
	    cmocka_unit_test(test_flows),
	    cmocka_unit_test(test_choice),
	    cmocka_unit_test(test_again),
	    cmocka_unit_test(test_gone_in_time),
	    cmocka_unit_test(test_old_news),
	    cmocka_unit_test(test_on_fwd),
	    cmocka_unit_test(test_watch),
	    cmocka_unit_test(test_flood_at_once),
	    cmocka_unit_test(test_watch_model),
	    cmocka_unit_test(test_privileges),
	    cmocka_unit_test(test_close_peer),
	    cmocka_unit_test(test_close_peer_storm),
	    cmocka_unit_test(test_link_life),
	    cmocka_unit_test(test_put_back),
	    cmocka_unit_test(test_moved),
	    cmocka_unit_test(test_gate_behind),
	    cmocka_unit_test(test_unwatch_behind),
	    cmocka_unit_test(test_watcher_lost),
	    cmocka_unit_test(test_link_bounds),
	};

	if (sodium_init() < 0)
		return 1;
	srand(1);
	fake_clock_ms = 1000000; /* nothing happens by itself: no pings, nobody is stuck */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
