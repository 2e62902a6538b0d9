/* SPDX-License-Identifier: BSD-3-Clause */
/* The gate step by step: web requests, upgrades, logins, and everything that ends them. */
#include "gate_bed.h"

#include <sodium.h>

#define DERP "GET /derp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n"
#define WS_KEY "dGhlIHNhbXBsZSBub25jZQ=="

/* ---- Web requests ---------------------------------------------------------------------------- */

static void test_keep_alive(void **state)
{
	struct gate_bed b;
	int fd;

	bed_init(&b, 10);
	fd = bed_public(&b);
	for (int i = 0; i < 3; i++) {
		say_text(fd, "GET /one HTTP/1.1\r\nHost: h\r\n\r\n");
		bed_turns(&b, 1);
		expect_page(fd, "/one");
		expect_nothing(fd);
	}
	say_text(fd, "GET /last HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
	bed_turns(&b, 1);
	expect_page(fd, "/last");
	expect_end(fd);
	/* It lingers until the client has closed, too. */
	assert_int_equal(b.g->visitors.n, 1);
	close(fd);
	bed_turns(&b, 1);
	expect_closed(&b, CLOSE_HTTP_DONE, 1);
	assert_int_equal(b.g->counters.v[C_HTTP_REQUESTS], 4);
	bed_fini(&b);
}

/* Several requests, one with a body, however they are cut: every one is answered, in order. */
static void test_pipelining(void **state)
{
	static const char requests[] =
	    "GET /first HTTP/1.1\r\nHost: h\r\n\r\n"
	    "POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 30\r\n\r\n"
	    "GET /no HTTP/1.1\r\nHost: h\r\n\r\n.."
	    "GET /second HTTP/1.1\r\nHost: h\r\n\r\n"
	    "POST /empty HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
	    "GET /third HTTP/1.1\r\nHost: h\r\n\r\n";
	size_t len = sizeof(requests) - 1;
	struct gate_bed b;

	bed_init(&b, 10);
	for (size_t cut = 0; cut <= len; cut++) {
		int fd = bed_public(&b);

		/* At the end: byte by byte. */
		for (size_t at = 0, n; at < len; at += n) {
			n = cut == len ? 1 : at == 0 && cut > 0 ? cut : len - at;
			say(fd, requests + at, n);
			bed_turns(&b, 1);
		}
		expect_page(fd, "/first");
		expect_page(fd, "/body");
		expect_page(fd, "/second");
		expect_page(fd, "/empty");
		expect_page(fd, "/third");
		expect_nothing(fd);
		close(fd);
		bed_turns(&b, 1);
		expect_closed(&b, CLOSE_CLIENT, cut + 1);
	}
	bed_fini(&b);
}

/* A large body is skipped as it comes and held nowhere. */
static void test_large_body(void **state)
{
	static const uint8_t zeros[HTTP_BODY_MAX / 8];
	struct gate_bed b;
	char head[200];
	int fd;

	bed_init(&b, 10);
	fd = bed_public(&b);
	snprintf(head, sizeof(head), "POST /big HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
	    HTTP_BODY_MAX);
	say_text(fd, head);
	bed_turns(&b, 1);
	expect_page(fd, "/big");
	for (int i = 0; i < 8; i++) {
		say(fd, zeros, sizeof(zeros));
		bed_turns(&b, 2);
		assert_int_equal(b.g->buffered, 0);
	}
	say_text(fd, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
	bed_turns(&b, 1);
	expect_page(fd, "/next");
	close(fd);
	bed_fini(&b);
}

static void expect_status(int fd, const char *status)
{
	char head[2048];
	ssize_t n = recv(fd, head, sizeof(head) - 1, 0);

	assert_true(n > 0);
	head[n] = '\0';
	assert_memory_equal(head, "HTTP/1.1 ", 9);
	assert_memory_equal(head + 9, status, strlen(status));
	assert_non_null(strstr(head, "Connection: close\r\n"));
}

/* 64 KiB of head: refused as soon as it is too much, then no more is kept of it, and the answer is
 * there to be read when all has been sent. */
static void test_huge_head(void **state)
{
	static char line[1024];
	struct gate_bed b;
	int fd;

	bed_init(&b, 10);
	fd = bed_public(&b);
	memset(line, 'x', sizeof(line));
	memcpy(line, "X-Junk: ", 8);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	say_text(fd, "GET /derp HTTP/1.1\r\nHost: h\r\n");
	for (int i = 0; i < 64; i++) {
		say(fd, line, sizeof(line));
		bed_turns(&b, 1);
		assert_true(b.g->buffered <= 64 << 10);
	}
	assert_int_equal(b.g->buffered, 0);
	assert_int_equal(b.answers, 0);
	expect_status(fd, "431 ");
	expect_end(fd);
	assert_int_equal(b.g->visitors.n, 1);
	close(fd);
	bed_turns(&b, 1);
	expect_closed(&b, CLOSE_HTTP_ERROR, 1);
	bed_fini(&b);
}

static void test_bad_request(void **state)
{
	static const struct {
		const char *text, *status;
	} bad[] = {
	    {"rubbish\r\n\r\n", "400 "},
	    {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505 "},
	    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "501 "},
	    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999\r\n\r\n", "413 "},
	    {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400 "},
	};
	struct gate_bed b;

	bed_init(&b, 10);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		int fd = bed_public(&b);

		say(fd, bad[i].text, i == 4 ? 15 : strlen(bad[i].text));
		bed_turns(&b, 1);
		expect_status(fd, bad[i].status);
		expect_end(fd);
		close(fd);
		bed_turns(&b, 1);
		expect_closed(&b, CLOSE_HTTP_ERROR, i + 1);
	}
	bed_fini(&b);
}

/* At the end it listens for a while, but not to everything. */
static void test_linger(void **state)
{
	static const uint8_t zeros[32 << 10];
	struct gate_bed b;
	int fd;

	bed_init(&b, 10);
	fd = bed_public(&b);
	say_text(fd, "rubbish\r\n\r\n");
	bed_turns(&b, 1);
	bed_pass(&b, LINGER_MS - 2 * WHEEL_TICK_MS);
	assert_int_equal(b.g->visitors.n, 1);
	bed_pass(&b, 3 * WHEEL_TICK_MS);
	expect_closed(&b, CLOSE_HTTP_ERROR, 1);
	close(fd);
	fd = bed_public(&b);
	say_text(fd, "GET / HTTP/1.0\r\n\r\n");
	bed_turns(&b, 1);
	for (size_t sent = 0; b.g->visitors.n > 0; sent += sizeof(zeros)) {
		assert_true(sent <= LINGER_BYTES_MAX + (64 << 10));
		say(fd, zeros, sizeof(zeros));
		bed_turns(&b, 2);
		assert_int_equal(b.g->buffered, 0);
	}
	expect_closed(&b, CLOSE_HTTP_DONE, 1);
	close(fd);
	bed_fini(&b);
}

/* An answer that waits; requests behind it wait as well; it is freed once, whoever goes first. */
static void test_waiting(void **state)
{
	struct gate_bed b;
	int fd;

	bed_init(&b, 10);
	fd = bed_public(&b);
	say_text(fd, "GET /wait HTTP/1.1\r\nHost: h\r\n\r\nGET /then HTTP/1.1\r\nHost: h\r\n\r\n");
	bed_turns(&b, 3);
	assert_non_null(b.waiting);
	expect_text(fd, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
	expect_nothing(fd);
	reply_ready(b.waiting);
	reply_ready(b.waiting);
	bed_turns(&b, 1);
	expect_text(fd, "at last");
	expect_page(fd, "/then");
	assert_int_equal(b.frees, 2);
	/* Its reader goes while it waits, and while it is ready. */
	for (int ready = 0; ready < 2; ready++) {
		say_text(fd, "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
		bed_turns(&b, 1);
		close(fd);
		if (ready)
			reply_ready(b.waiting);
		bed_turns(&b, 2);
		assert_null(b.waiting);
		expect_closed(&b, CLOSE_CLIENT, (uint64_t)ready + 1);
		fd = bed_public(&b);
	}
	/* It is never ready. */
	say_text(fd, "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n");
	bed_turns(&b, 1);
	bed_pass(&b, ANSWER_MS + 2 * WHEEL_TICK_MS);
	expect_closed(&b, CLOSE_WRITE_TIMEOUT, 1);
	close(fd);
	bed_fini(&b);
}

/* A page far longer than the socket takes: as it is read, and no buffer grows meanwhile. */
static void test_long_answer(void **state)
{
	enum { CHUNKS = 40 };
	struct gate_bed b;
	size_t got = 0;
	uint8_t buf[60000];
	ssize_t n;
	int fd;

	bed_init(&b, 10);
	fd = bed_public(&b);
	b.chunks = CHUNKS;
	say_text(fd, "GET /long HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n");
	bed_turns(&b, 50);
	assert_true(b.chunks > 0);
	for (int i = 0; i < 10000 && b.frees < 2; i++) {
		assert_true(b.g->buffered <= 2 * REPLY_ROOM);
		n = recv(fd, buf, sizeof(buf), 0);
		got += n > 0 ? (size_t)n : 0;
		bed_turns(&b, 1);
	}
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		got += (size_t)n;
	snprintf((char *)buf, sizeof(buf),
	    "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
	    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n/next",
	    CHUNKS * (int)REPLY_CHUNK);
	assert_int_equal(got, CHUNKS * (size_t)REPLY_CHUNK + strlen((char *)buf));
	/* A reader that stops reading is closed in time. */
	b.chunks = CHUNKS;
	say_text(fd, "GET /long HTTP/1.1\r\nHost: h\r\n\r\n");
	bed_turns(&b, 20);
	bed_pass(&b, ANSWER_MS + 2 * WHEEL_TICK_MS);
	expect_closed(&b, CLOSE_WRITE_TIMEOUT, 1);
	close(fd);
	bed_fini(&b);
}

/* ---- Login ----------------------------------------------------------------------------------- */

struct client {
	struct login_keys keys;
	struct login_secret secret;
	uint8_t info[LOGIN_FRAME_MAX];
	size_t info_len;
	int fd;
};

static void client_init(struct gate_bed *b, struct client *c)
{
	struct client_info info = {.version = 2, .can_ack_pings = true, .app_name = "test"};

	login_keys_new(&c->keys);
	c->info_len = login_put_client_info(&c->keys, &b->keys.public, &info, &c->secret, c->info);
	c->fd = bed_public(b);
}

static void expect_101(struct gate_bed *b, int fd)
{
	char want[512], hex[KEY_HEX_LEN + 1];

	key_hex(b->keys.public.b, KEY_LEN, hex);
	snprintf(want, sizeof(want),
	    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"
	    "Derp-Version: 2\r\nDerp-Public-Key: %s\r\n\r\n",
	    hex);
	expect_text(fd, want);
}

static bool greeted = true;

/* ServerKey has come, or will come with the letter to the worker: see expect_admitted. */
static void expect_greeting(struct gate_bed *b, int fd)
{
	uint8_t frame[LOGIN_FRAME_MAX], byte;
	size_t len = login_put_server_key(&b->keys.public, frame);

	greeted = recv(fd, &byte, 1, MSG_PEEK) == 1;
	if (greeted)
		expect_bytes(fd, frame, len);
}

/* The client was mailed to the owner of its key, with all that the owner needs. */
static void expect_admitted(struct gate_bed *b, struct client *c, const void *early, size_t len)
{
	uint8_t frame[LOGIN_FRAME_MAX];
	int version;
	uint32_t n;

	assert_true(bed_read_mail(b));
	assert_int_equal(b->admit_to, key_owner(key_hash(&c->keys.public), BED_WORKERS));
	assert_true(key_equal(&b->admit->info.key, &c->keys.public));
	assert_string_equal(b->admit->info.app_name, "test");
	assert_int_equal(b->admit->number, b->admitted);
	assert_false(b->admit->mesh_peer);
	n = (uint32_t)login_put_server_key(&b->keys.public, frame);
	assert_int_equal(b->admit->greeting_len, greeted ? 0 : n);
	if (!greeted)
		assert_memory_equal(b->admit->greeting, frame, n);
	greeted = true;
	n = b->admit->server_info_len - FRAME_HEADER_LEN;
	assert_int_equal(b->admit->server_info[0], FRAME_SERVER_INFO);
	assert_int_equal(frame_payload_len(b->admit->server_info), n);
	assert_true(login_open_server_info(
	    &c->secret, b->admit->server_info + FRAME_HEADER_LEN, n, &version));
	assert_int_equal(version, DERP_VERSION);
	assert_int_equal(b->admit->early_len, len);
	if (len)
		assert_memory_equal(b->admit->early, early, len);
	/* The socket is whole, and nobody else's. */
	say(b->admit->fd, "hi", 2);
	expect_text(c->fd, "hi");
	bed_check(b);
}

static void test_derp(void **state)
{
	struct gate_bed b;

	bed_init(&b, 10);
	for (int i = 0; i < 8; i++) {
		struct client c;

		client_init(&b, &c);
		say_text(c.fd, i % 2 ? DERP "Ideal-Node: 1b\r\n\r\n" : DERP "\r\n");
		bed_turns(&b, 1);
		expect_101(&b, c.fd);
		expect_greeting(&b, c.fd);
		assert_true(greeted);
		say(c.fd, c.info, c.info_len);
		bed_turns(&b, 1);
		expect_admitted(&b, &c, NULL, 0);
		assert_int_equal(b.admit->not_ideal, i % 2);
		assert_null(b.admit->tls);
		assert_null(b.admit->ws);
		close(c.fd);
	}
	assert_int_equal(b.g->counters.v[C_ACCEPTS], 8);
	assert_int_equal(bed_closed(&b), 0);
	bed_fini(&b);
}

/* Request, ClientInfo and first packets in one flight, cut anywhere: no answer but the greeting,
 * and all that lies behind ClientInfo travels with the client or stays in the socket. */
static void test_fast_start(void **state)
{
	static const char early[] = "\x12\0\0\0\x08pingping\x04\0\0";
	size_t early_len = sizeof(early) - 1,
	       head_len = sizeof(DERP "Derp-Fast-Start: 1\r\n\r\n") - 1;
	struct gate_bed b;

	bed_init(&b, 10);
	for (size_t cut = 0;; cut++) {
		uint8_t flight[2048];
		struct client c;
		size_t len, rest, n;

		client_init(&b, &c);
		memcpy(flight, DERP "Derp-Fast-Start: 1\r\n\r\n", head_len);
		memcpy(flight + head_len, c.info, c.info_len);
		len = head_len + c.info_len;
		memcpy(flight + len, early, early_len);
		n = MIN(cut, len + early_len);
		if (n)
			say(c.fd, flight, n);
		bed_turns(&b, 1);
		if (n < len + early_len)
			say(c.fd, flight + n, len + early_len - n);
		bed_turns(&b, 1);
		expect_greeting(&b, c.fd);
		/* At once for who may wait for it, else together with ServerInfo. */
		assert_int_equal(greeted, n >= head_len && n < len);
		/* What was sent after it had been handed over is the worker's to read. */
		rest = n >= len && n < len + early_len ? len + early_len - n : 0;
		expect_admitted(&b, &c, early, early_len - rest);
		if (rest)
			expect_bytes(b.admit->fd, early + early_len - rest, rest);
		close(c.fd);
		if (cut > len + early_len)
			break;
	}
	bed_fini(&b);
}

static void test_byte_by_byte(void **state)
{
	struct gate_bed b;
	struct client c;

	bed_init(&b, 10);
	client_init(&b, &c);
	for (const char *p = DERP "\r\n"; *p; p++) {
		say(c.fd, p, 1);
		bed_turns(&b, 1);
	}
	expect_101(&b, c.fd);
	expect_greeting(&b, c.fd);
	for (size_t i = 0; i < c.info_len; i++) {
		assert_false(bed_read_mail(&b));
		say(c.fd, c.info + i, 1);
		bed_turns(&b, 1);
	}
	expect_admitted(&b, &c, NULL, 0);
	close(c.fd);
	bed_fini(&b);
}

/* A client's frame: masked with zeros, which change nothing. */
static size_t ws_frame(uint8_t *out, const void *p, size_t len)
{
	size_t head = len < 126 ? 6 : 8;

	out[0] = 0x82;
	out[1] = (uint8_t)(0x80 | (len < 126 ? len : 126));
	out[2] = (uint8_t)(len >> 8);
	out[3] = (uint8_t)len;
	memset(out + head - 4, 0, 4);
	memcpy(out + head, p, len);
	return len + head;
}

/* WebSocket: the greeting is a message; ClientInfo in two messages, cut anywhere, also right behind
 * the request; a ping in between is answered. */
static void test_websocket(void **state)
{
	static const char request[] =
	    "GET /derp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: derp\r\n"
	    "Sec-WebSocket-Key: " WS_KEY "\r\n\r\n";
	static const char agreed[] =
	    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	    "Sec-WebSocket-Protocol: derp\r\n\r\n";
	struct gate_bed b;
	size_t len = 1;

	bed_init(&b, 10);
	for (size_t cut = 0; cut < len; cut += 7) {
		uint8_t flight[2048], frame[LOGIN_FRAME_MAX + 4];
		size_t n, half;
		struct client c;

		client_init(&b, &c);
		half = c.info_len / 2;
		len = sizeof(request) - 1;
		memcpy(flight, request, len);
		len += ws_frame(flight + len, c.info, half);
		memcpy(flight + len, "\x89\x81\0\0\0\0p", 7);
		len += 7;
		len += ws_frame(flight + len, c.info + half, c.info_len - half);
		if (cut)
			say(c.fd, flight, cut);
		bed_turns(&b, 1);
		say(c.fd, flight + cut, len - cut);
		bed_turns(&b, 1);
		expect_text(c.fd, agreed);
		n = login_put_server_key(&b.keys.public, frame + 2);
		frame[0] = 0x82;
		frame[1] = (uint8_t)n;
		expect_bytes(c.fd, frame, n + 2);
		expect_bytes(c.fd, "\x8a\1p", 3);
		expect_admitted(&b, &c, NULL, 0);
		assert_non_null(b.admit->ws);
		close(c.fd);
	}
	assert_int_equal(b.g->counters.v[C_WEBSOCKET_ACCEPTS], b.admitted);
	bed_fini(&b);
}

/* Broken WebSocket frames, and a close, before the login. */
static void test_websocket_ends(void **state)
{
	static const char request[] =
	    "GET /derp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: derp\r\n"
	    "Sec-WebSocket-Key: " WS_KEY "\r\n\r\n";
	struct gate_bed b;

	bed_init(&b, 10);
	for (int at_once = 0; at_once < 2; at_once++) {
		for (int broken = 0; broken < 2; broken++) {
			int fd = bed_public(&b);

			say(fd, request, sizeof(request) - 1);
			bed_turns(&b, !at_once);
			say(fd, broken ? "\x81\x81\0\0\0\0t" : "\x88\x80\0\0\0\0", broken ? 7 : 6);
			bed_turns(&b, 1);
			assert_int_equal(b.g->visitors.n, 0);
			close(fd);
		}
	}
	expect_closed(&b, CLOSE_WS_ERROR, 2);
	expect_closed(&b, CLOSE_CLIENT, 2);
	bed_fini(&b);
}

static void test_bad_login(void **state)
{
	struct gate_bed b;
	uint8_t flight[4096];
	size_t head_len = sizeof(DERP "Derp-Fast-Start: 1\r\n\r\n") - 1;

	bed_init(&b, 10);
	for (int i = 0; i < 7; i++) {
		struct client c;

		client_init(&b, &c);
		switch (i) {
		case 0: /* another frame first: told from its first byte */
			c.info[0] = FRAME_SEND_PACKET;
			c.info_len = 1;
			break;
		case 1: /* too short to be one */
			frame_put_header(c.info, FRAME_CLIENT_INFO, CLIENT_INFO_MIN - 1);
			c.info_len = FRAME_HEADER_LEN;
			break;
		case 2: /* too long, which is told before it comes */
			frame_put_header(c.info, FRAME_CLIENT_INFO, CLIENT_INFO_MAX + 1);
			c.info_len = FRAME_HEADER_LEN;
			break;
		case 3:
			frame_put_header(c.info, FRAME_CLIENT_INFO, UINT32_MAX);
			c.info_len = FRAME_HEADER_LEN;
			break;
		case 4: /* a box that does not open */
			c.info[c.info_len - 1] ^= 1;
			break;
		case 5: /* nobody's key */
			memset(c.info + FRAME_HEADER_LEN, 0, KEY_LEN);
			break;
		case 6: /* an empty box */
			frame_put_header(c.info, FRAME_CLIENT_INFO, CLIENT_INFO_MIN);
			c.info_len = FRAME_HEADER_LEN + CLIENT_INFO_MIN;
			break;
		}
		memcpy(flight, DERP "Derp-Fast-Start: 1\r\n\r\n", head_len);
		memcpy(flight + head_len, c.info, c.info_len);
		say(c.fd, flight, head_len + c.info_len);
		bed_turns(&b, 1);
		expect_greeting(&b, c.fd);
		assert_true(greeted);
		expect_end(c.fd);
		expect_closed(&b, CLOSE_LOGIN_FAILED, (uint64_t)i + 1);
		close(c.fd);
	}
	assert_false(bed_read_mail(&b));
	bed_fini(&b);
}

/* The upgrade is for GET /derp at the public listener; everything else is the site's. */
static void test_no_upgrade(void **state)
{
	static const char *const others[] = {
	    "GET /derp HTTP/1.1\r\nHost: h\r\n\r\n",
	    "POST /derp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n\r\n",
	    "GET /derp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
	    "GET /derp HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
	    "Sec-WebSocket-Protocol: derp\r\nConnection: Upgrade\r\n\r\n",
	    DERP "\r\n",
	    DERP "\r\n",
	};
	struct gate_bed b;

	bed_init(&b, 10);
	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		int fd = bed_visit(&b,
		    i == 4   ? LISTEN_HTTP
		    : i == 5 ? LISTEN_DEBUG
			     : LISTEN_PUBLIC,
		    false);

		say_text(fd, others[i]);
		bed_turns(&b, 1);
		expect_page(fd, "/derp");
		close(fd);
	}
	b.config.derp = false;
	int fd = bed_public(&b);
	say_text(fd, DERP "\r\n");
	bed_turns(&b, 1);
	expect_page(fd, "/derp");
	close(fd);
	assert_int_equal(b.g->counters.v[C_ACCEPTS], 0);
	bed_fini(&b);
}

/* Fills the mailboxes of all workers to the last byte. */
static void fill_mail(struct gate_bed *b)
{
	for (int w = 0; w < BED_WORKERS; w++)
		for (uint32_t len = 8192; len > 0; len /= 2)
			while (mail_reserve(b->mail, b->g->self, w, LETTER_ASK_FLOWS, len, true))
				mail_commit(b->mail, b->g->self, w);
	mail_publish(b->mail, b->g->self);
}

/* The owner's mailbox is full: the client waits, unread, and is handed over when there is room. */
static void test_full_mailbox(void **state)
{
	struct gate_bed b;
	struct client c;

	bed_init(&b, 10);
	client_init(&b, &c);
	fill_mail(&b);
	say_text(c.fd, DERP "Derp-Fast-Start: 1\r\n\r\n");
	say(c.fd, c.info, c.info_len);
	bed_turns(&b, 1);
	expect_greeting(&b, c.fd);
	assert_int_equal(b.g->visitors.n, 1);
	/* Unread: what comes now is the worker's. */
	say_text(c.fd, "early");
	bed_pass(&b, LOGIN_MS / 2);
	assert_int_equal(b.g->visitors.n, 1);
	assert_false(bed_read_mail(&b));
	bed_pass(&b, 3 * LOGIN_RETRY_MS);
	expect_admitted(&b, &c, NULL, 0);
	expect_text(b.admit->fd, "early");
	close(c.fd);
	/* There never is any. */
	client_init(&b, &c);
	fill_mail(&b);
	say_text(c.fd, DERP "Derp-Fast-Start: 1\r\n\r\n");
	say(c.fd, c.info, c.info_len);
	bed_turns(&b, 1);
	bed_pass(&b, LOGIN_MS / 2);
	assert_int_equal(b.g->visitors.n, 1);
	bed_pass(&b, 2 * LOGIN_MS);
	expect_closed(&b, CLOSE_HANDSHAKE_TIMEOUT, 1);
	close(c.fd);
	/* It goes while it waits. */
	client_init(&b, &c);
	say_text(c.fd, DERP "Derp-Fast-Start: 1\r\n\r\n");
	say(c.fd, c.info, c.info_len);
	bed_turns(&b, 1);
	close(c.fd);
	bed_turns(&b, 1);
	expect_closed(&b, CLOSE_CLIENT, 1);
	bed_fini(&b);
}

/* ---- Caps and time --------------------------------------------------------------------------- */

/* At the cap the oldest makes room for the newest, but for those who get an answer. */
static void test_visitors_cap(void **state)
{
	struct gate_bed b;
	int fd[12];

	bed_init(&b, 10);
	for (int i = 0; i < 12; i++)
		fd[i] = bed_visit(&b, LISTEN_PUBLIC, i < 6);
	expect_closed(&b, CLOSE_PRE_LOGIN_CAP, 2);
	assert_int_equal(b.g->counters.v[C_TLS_REJECTED], 2);
	bed_turns(&b, 1);
	expect_end(fd[0]);
	expect_end(fd[1]);
	expect_nothing(fd[2]);
	expect_nothing(fd[11]);
	close(fd[3]);
	bed_turns(&b, 1);
	close(fd[11]);
	fd[11] = bed_public(&b);
	say_text(fd[11], "GET /in HTTP/1.1\r\nHost: h\r\n\r\n");
	bed_turns(&b, 1);
	expect_page(fd[11], "/in");
	expect_closed(&b, CLOSE_PRE_LOGIN_CAP, 2);
	for (int i = 0; i < 12; i++)
		if (i != 3)
			close(fd[i]);
	bed_fini(&b);
}

/* Who comes from where most come goes first, however many others are older. */
static void test_crowd_from_one_place(void **state)
{
	static const char *const crowds[][2] = {
	    {"198.51.100.7", "198.51.100.7"},
	    {"2001:db8:1:2::1", "2001:db8:1:2:3:4:5:6"},
	};

	for (size_t i = 0; i < ARRAY_LEN(crowds); i++) {
		int single[2], other, many[8];
		struct gate_bed b;

		bed_init(&b, 10);
		single[0] = bed_visit_from(&b, "192.0.2.1");
		single[1] = bed_visit_from(&b, "2001:db8:1:3::1");
		for (int n = 0; n < 8; n++)
			many[n] = bed_visit_from(&b, crowds[i][n % 2]);
		other = bed_visit_from(&b, "192.0.2.2");
		bed_turns(&b, 1);
		expect_closed(&b, CLOSE_PRE_LOGIN_CAP, 1);
		expect_end(many[0]);
		expect_nothing(many[1]);
		expect_nothing(single[0]);
		expect_nothing(single[1]);
		expect_nothing(other);
		close(single[0]);
		close(single[1]);
		close(other);
		for (int n = 0; n < 8; n++)
			close(many[n]);
		bed_turns(&b, 1);
		for (int p = 0; p < CROWD_PLACES; p++)
			assert_int_equal(b.g->visitors.from[p], 0);
		bed_fini(&b);
	}
}

/* What all hold together is bounded: who wants more is closed, the others go on. */
static void test_buffered_cap(void **state)
{
	enum { MANY = 400, EACH = 200 << 10 };
	static uint8_t part[EACH];
	struct gate_bed b;
	int fd[MANY];
	uint64_t closed;

	bed_init(&b, MANY);
	frame_put_header(part, FRAME_CLIENT_INFO, CLIENT_INFO_MAX);
	for (int i = 0; i < MANY; i++) {
		fd[i] = bed_public(&b);
		say_text(fd[i], DERP "Derp-Fast-Start: 1\r\n\r\n");
		for (size_t at = 0; at < EACH;) {
			ssize_t n = send(fd[i], part + at, EACH - at, MSG_NOSIGNAL);

			if (n < 0 && errno == EPIPE)
				break;
			at += n > 0 ? (size_t)n : 0;
			bed_turns(&b, 1);
		}
		bed_turns(&b, 20);
		assert_true(b.g->buffered <= GATE_BUFFERED_MAX);
	}
	closed = bed_closed(&b);
	assert_true(closed > 0 && closed < MANY / 2);
	expect_closed(&b, CLOSE_NO_MEMORY, closed);
	assert_true(b.g->buffered > GATE_BUFFERED_MAX / 2);
	for (int i = 0; i < MANY; i++)
		close(fd[i]);
	bed_turns(&b, 20);
	assert_int_equal(b.g->visitors.n, 0);
	assert_int_equal(b.g->buffered, 0);
	expect_closed(&b, CLOSE_CLIENT, MANY - closed);
	bed_fini(&b);
}

/* In each state: not before its time, and then for its reason; bytes that trickle in do not help.
 */
static void test_timeouts(void **state)
{
	static const struct {
		bool tls;
		const char *say;
		uint64_t ms;
		enum close_reason why;
	} wait[] = {
	    {true, "", HANDSHAKE_MS, CLOSE_HANDSHAKE_TIMEOUT},
	    {true, "\x16\x03\x01", HANDSHAKE_MS, CLOSE_HANDSHAKE_TIMEOUT},
	    {false, "", HANDSHAKE_MS, CLOSE_HANDSHAKE_TIMEOUT},
	    {false, "GET / HT", HANDSHAKE_MS, CLOSE_HANDSHAKE_TIMEOUT},
	    {false, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", HTTP_IDLE_MS, CLOSE_HTTP_IDLE},
	    {false, "GET / HTTP/1.1\r\nHost: h\r\n\r\nGET", HTTP_IDLE_MS, CLOSE_HANDSHAKE_TIMEOUT},
	    {false, "GET / HTTP/1.0\r\n\r\n", LINGER_MS, CLOSE_HTTP_DONE},
	    {false, "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n", ANSWER_MS, CLOSE_WRITE_TIMEOUT},
	    {false, DERP "\r\n", LOGIN_MS, CLOSE_HANDSHAKE_TIMEOUT},
	    {false, DERP "\r\n\x02", LOGIN_MS, CLOSE_HANDSHAKE_TIMEOUT},
	};

	for (size_t i = 0; i < ARRAY_LEN(wait); i++) {
		struct gate_bed b;
		int fd;

		bed_init(&b, 10);
		fd = bed_visit(&b, LISTEN_PUBLIC, wait[i].tls);
		say_text(fd, wait[i].say);
		bed_turns(&b, 1);
		bed_pass(&b, wait[i].ms - 2 * WHEEL_TICK_MS);
		assert_int_equal(b.g->visitors.n, 1);
		bed_pass(&b, 4 * WHEEL_TICK_MS);
		assert_int_equal(b.g->visitors.n, 0);
		expect_closed(&b, wait[i].why, 1);
		close(fd);
		bed_fini(&b);
	}
}

/* One byte a second, for ever. */
static void test_trickle(void **state)
{
	static const char *const begin[] = {"GET /", DERP "\r\n\x02\0\0\x10\0"};

	for (int i = 0; i < 2; i++) {
		struct gate_bed b;
		int seconds = 0;
		int fd;

		bed_init(&b, 10);
		fd = bed_public(&b);
		say(fd, begin[i], i ? sizeof(DERP "\r\n") - 1 + 5 : 5);
		bed_turns(&b, 1);
		while (b.g->visitors.n && seconds < 100) {
			say_text(fd, "x");
			bed_pass(&b, 1000);
			seconds++;
		}
		assert_in_range(seconds, 10, 11);
		expect_closed(&b, CLOSE_HANDSHAKE_TIMEOUT, 1);
		close(fd);
		bed_fini(&b);
	}
}

/* ---- All at once ----------------------------------------------------------------------------- */

#define CROWD 24

static const char *const lines[] = {
    "GET /one HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /wait HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /long HTTP/1.1\r\nHost: h\r\n\r\n",
    "POST /two HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123456789",
    "GET /end HTTP/1.0\r\n\r\n",
    DERP "\r\n",
    DERP "Derp-Fast-Start: 1\r\n\r\n",
    "\x02\0\0\0\x40rubbish",
    "\r\n",
    "GET /derp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: derp\r\nSec-WebSocket-Key: " WS_KEY
    "\r\n\r\n",
};

/* Something happens to one of the crowd. */
static void random_step(struct gate_bed *b, struct client *crowd)
{
	struct client *c = &crowd[rand() % CROWD];
	const char *line = lines[(size_t)rand() % ARRAY_LEN(lines)];
	uint8_t buf[30000];
	ssize_t n;

	if (c->fd < 0) {
		client_init(b, c);
		return;
	}
	switch (rand() % 10) {
	case 0:
		close(c->fd);
		c->fd = -1;
		break;
	case 1:
		shutdown(c->fd, rand() % 2 ? SHUT_WR : SHUT_RD);
		break;
	case 2:
	case 3:
		n = recv(c->fd, buf, sizeof(buf), 0);
		break;
	case 4:
		n = send(c->fd, c->info, (size_t)rand() % c->info_len, MSG_NOSIGNAL);
		break;
	case 5:
		line = lines[6];
		n = send(c->fd, line, strlen(line), MSG_NOSIGNAL);
		n = send(c->fd, c->info, c->info_len, MSG_NOSIGNAL);
		break;
	default:
		n = send(c->fd, line, strlen(line) - (size_t)(rand() % 8 == 0), MSG_NOSIGNAL);
	}
	(void)n;
}

/* A crowd that does anything in any order, through hours: everyone is accounted for, once. */
static void test_crowd(void **state)
{
	struct client crowd[CROWD];
	struct gate_bed b;

	bed_init(&b, CROWD - 4);
	for (int i = 0; i < CROWD; i++)
		crowd[i].fd = -1;
	for (int i = 0; i < 30000; i++) {
		random_step(&b, crowd);
		b.chunks = b.chunks ? b.chunks : 9;
		if (b.waiting && rand() % 50 == 0)
			reply_ready(b.waiting);
		if (rand() % 3 == 0)
			bed_turns(&b, 1);
		if (rand() % 100 == 0)
			bed_pass(&b, (uint64_t)(rand() % 4000));
		if (rand() % 2000 == 0)
			fill_mail(&b);
		if (rand() % 50 == 0) {
			bed_turns(&b, 1);
			bed_read_mail(&b);
			bed_check(&b);
		}
	}
	assert_true(b.admitted > 50);
	assert_true(bed_closed(&b) > 500);
	for (int i = 0; i < CROWD; i++)
		if (crowd[i].fd >= 0)
			close(crowd[i].fd);
	bed_fini(&b);
}

/* Letters: parts of snapshots are the site's; new certificates are the next visitors'. */
static void test_letters(void **state)
{
	SSL_CTX *ctx = tls_server_ctx_new();
	struct gate_bed b;
	void **l;

	bed_init(&b, 10);
	l = mail_reserve(b.mail, 1, b.g->self, LETTER_FLOWS, sizeof(*l), true);
	assert_non_null(l);
	*l = flow_part_new(1, 3);
	mail_commit(b.mail, 1, b.g->self);
	mail_publish(b.mail, 1);
	l = mail_reserve(b.mail, mail_main(b.mail), b.g->self, LETTER_CTX, sizeof(*l), true);
	assert_non_null(l);
	*l = ctx;
	mail_commit(b.mail, mail_main(b.mail), b.g->self);
	mail_publish(b.mail, mail_main(b.mail));
	bed_turns(&b, 1);
	assert_non_null(b.flows);
	assert_int_equal(b.flows->worker, 1);
	assert_ptr_equal(b.g->ctx, ctx);
	assert_true(gate_ask(b.g, LETTER_ASK_FLOWS));
	fill_mail(&b);
	assert_false(gate_ask(b.g, LETTER_ASK_CLIENTS));
	bed_pass(&b, 1000);
	assert_in_range(b.ticks, 6, 11);
	bed_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_keep_alive),
	    cmocka_unit_test(test_pipelining),
	    cmocka_unit_test(test_large_body),
	    cmocka_unit_test(test_huge_head),
	    cmocka_unit_test(test_bad_request),
	    cmocka_unit_test(test_linger),
	    cmocka_unit_test(test_waiting),
	    cmocka_unit_test(test_long_answer),
	    cmocka_unit_test(test_derp),
	    cmocka_unit_test(test_fast_start),
	    cmocka_unit_test(test_byte_by_byte),
	    cmocka_unit_test(test_websocket),
	    cmocka_unit_test(test_websocket_ends),
	    cmocka_unit_test(test_bad_login),
	    cmocka_unit_test(test_no_upgrade),
	    cmocka_unit_test(test_full_mailbox),
	    cmocka_unit_test(test_visitors_cap),
	    cmocka_unit_test(test_crowd_from_one_place),
	    cmocka_unit_test(test_buffered_cap),
	    cmocka_unit_test(test_timeouts),
	    cmocka_unit_test(test_trickle),
	    cmocka_unit_test(test_crowd),
	    cmocka_unit_test(test_letters),
	};

	if (sodium_init() < 0)
		return 1;
	srand(1);
	return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}
