/* SPDX-License-Identifier: BSD-3-Clause */
/* Mesh links step by step, against a node that the test plays on a loopback socket. */
#include "gate_bed.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <sodium.h>

#include "base/clock.h"
#include "daemon/selfcert.h"
#include "gate/dial.h"
#include "io/wipe.h"
#include "log_keep.h"

#define OK_HEAD "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"

static EVP_PKEY *key;
static X509 *cert; /* for 127.0.0.1 */

/* The other node. */
struct node {
	SSL_CTX *ctx;
	struct login_keys keys;
	int listener, fd; /* fd -1: nobody has come */
	uint16_t port;
	struct tls *tls;
	bool up;
	bool alerted; /* TLS failed, with the connection still there */
	bool failed;  /* TLS did, or the client has gone */
	uint8_t in[16384];
	size_t in_len;
};

static struct gate_bed b;
static struct mesh mesh;
static struct mesh_link *link0 = &mesh.link[0];
static struct node node;
static SSL_CTX *client_ctx;
static struct admit *admit; /* the last that was mailed */
static int admits, admit_to;

static int lines_with(const char *what)
{
	int n = 0;

	for (const char *p = logged; (p = strstr(p, what)); p++)
		n++;
	return n;
}

/* ---- The node -------------------------------------------------------------------------------- */

static void node_listen(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	node.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(node.listener, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(node.listener, 5), 0);
	assert_int_equal(getsockname(node.listener, (struct sockaddr *)&at, &len), 0);
	node.port = ntohs(at.sin_port);
}

/* Hangs up. */
static void node_close(void)
{
	tls_free(node.tls);
	node.tls = NULL;
	if (node.fd >= 0)
		close(node.fd);
	node.fd = -1;
	node.up = node.alerted = node.failed = false;
	node.in_len = 0;
}

static void node_put(const struct sink *out)
{
	if (out->len > 0 && send(node.fd, out->p, out->len, MSG_NOSIGNAL) != (ssize_t)out->len)
		node.failed = true;
}

static void node_take(const uint8_t *p, size_t len)
{
	static uint8_t reply[TLS_REPLY_MAX], plain[65536];
	struct span in = {.p = p, .len = len};
	struct sink out = {.p = reply, .cap = sizeof(reply)};
	struct sink opened = {.p = plain, .cap = sizeof(plain)};
	enum tls_result r = TLS_OK;

	if (!node.up) {
		r = tls_handshake(node.tls, &in, &out);
		node.up = r == TLS_OK;
	}
	if (node.up)
		r = tls_open(node.tls, &in, &opened, &out);
	node_put(&out);
	node.alerted |= r == TLS_FAILED;
	node.failed |= r != TLS_OK && r != TLS_WANT_READ;
	assert_true(node.in_len + opened.len <= sizeof(node.in));
	memcpy(node.in + node.in_len, plain, opened.len);
	node.in_len += opened.len;
}

static void node_step(void)
{
	static uint8_t buf[16384];
	ssize_t n;

	if (node.fd < 0) {
		node.fd = accept4(node.listener, NULL, NULL, SOCK_NONBLOCK);
		if (node.fd >= 0 && node.ctx)
			node.tls = tls_new(node.ctx);
	}
	if (node.fd < 0 || !node.tls || node.failed)
		return;
	n = recv(node.fd, buf, sizeof(buf), 0);
	if (n > 0)
		node_take(buf, (size_t)n);
	else if (n == 0 || errno != EAGAIN)
		node.failed = true;
}

static void node_send(const void *p, size_t len)
{
	static uint8_t wire[200000];
	struct sink out = {.p = wire, .cap = sizeof(wire)};

	assert_true(tls_seal(node.tls, p, len, &out));
	node_put(&out);
}

static void node_send_text(const char *text)
{
	node_send(text, strlen(text));
}

/* ---- The bed --------------------------------------------------------------------------------- */

static void take_letter(void *arg, int from, const struct letter *l)
{
	if (l->kind != LETTER_ADMIT)
		return;
	assert_null(admit);
	admit = *(struct admit *const *)(const void *)l->body;
	admits++;
}

static void read_mail(void)
{
	for (int w = 0; w < BED_WORKERS; w++) {
		int before = admits;

		while (mail_drain(b.mail, w, 1000, take_letter, NULL))
			;
		mail_release(b.mail, w);
		if (admits > before)
			admit_to = w;
	}
}

static void admit_drop(void)
{
	if (!admit)
		return;
	tls_free(admit->tls);
	close(admit->fd);
	free(admit);
	admit = NULL;
}

/* Both go on while bytes may be under way; no time passes for the gate. */
static void go(void)
{
	for (int quiet = 0; quiet < 10; quiet++) {
		size_t before = node.in_len;

		gate_turn(b.g, false);
		node_step();
		if (node.in_len != before)
			quiet = 0;
		usleep(200);
	}
	read_mail();
}

#define GO_UNTIL(x)                                      \
	do {                                             \
		for (int i_ = 0; i_ < 500 && !(x); i_++) \
			go();                            \
		assert_true(x);                          \
	} while (0)

/* The first tick, in which it dials. */
static void start(void)
{
	bed_pass(&b, 2 * WHEEL_TICK_MS + 100);
}

static void set_pin(void)
{
	uint8_t d[EVP_MAX_MD_SIZE];
	unsigned int n;

	assert_int_equal(X509_digest(cert, EVP_sha256(), d, &n), 1);
	memcpy(link0->pin, d, MESH_PIN_LEN);
	link0->has_pin = true;
}

static SSL_CTX *node_ctx(int version)
{
	SSL_CTX *ctx = tls_server_ctx_new();

	assert_int_equal(SSL_CTX_use_certificate(ctx, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	SSL_CTX_set_max_proto_version(ctx, version);
	return ctx;
}

static int setup(void **state)
{
	node = (struct node){.fd = -1, .ctx = node_ctx(TLS1_3_VERSION)};
	login_keys_new(&node.keys);
	node_listen();
	memset(&mesh, 0, sizeof(mesh));
	mesh.has_key = true;
	memset(mesh.key, 0x5a, MESH_KEY_LEN);
	mesh.n = 1;
	link0->host = link0->dial = "127.0.0.1";
	link0->port = node.port;
	client_ctx = tls_client_ctx_new();
	X509_STORE_add_cert(SSL_CTX_get_cert_store(client_ctx), cert);
	admits = 0;
	admit_to = -1;
	bed_init_mesh(&b, 10, &mesh, client_ctx);
	log_set_level(LOG_INFO);
	log_keep();
	assert_int_equal(link0->state, MESH_WAITING);
	return 0;
}

static int teardown(void **state)
{
	read_mail();
	admit_drop();
	bed_fini(&b);
	log_set_sink(NULL, NULL);
	assert_int_equal(lines_with("5a5a"), 0);
	node_close();
	close(node.listener);
	SSL_CTX_free(node.ctx);
	SSL_CTX_free(client_ctx);
	ERR_clear_error();
	return 0;
}

static void expect_waiting(const char *error)
{
	for (int i = 0; i < 500 && link0->state != MESH_WAITING; i++)
		go();
	assert_int_equal(link0->state, MESH_WAITING);
	if (!strstr(link0->error, error))
		fail_msg("\"%s\" says nothing of \"%s\"", link0->error, error);
	assert_true(link0->error_wall_ms > 0);
	assert_true(b.g->dial[0].watch.fd < 0);
	assert_null(b.g->dial[0].tls);
	assert_null(b.g->dial[0].in);
	assert_true(sodium_is_zero(b.g->dial[0].secret.k, KEY_LEN));
	assert_int_equal(admits, 0);
	assert_null(strstr(link0->error, "5a5a"));
}

/* Until the next attempt has begun. */
static void redial(void)
{
	uint64_t dials = link0->dials, since = link0->since_ms;

	node_close();
	while (link0->dials == dials) {
		bed_pass(&b, WHEEL_TICK_MS);
		assert_true(clock_ms() - since <= DIAL_PAUSE_MS + DIAL_JITTER_MS + 300);
	}
	assert_true(clock_ms() - since >= DIAL_PAUSE_MS);
	assert_int_equal(link0->dials, dials + 1);
}

/* ---- Steps of a login ------------------------------------------------------------------------ */

/* TLS is up and the request has come. */
static void get_request(void)
{
	char want[256];
	int n = snprintf(want, sizeof(want),
	    "GET /derp HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: DERP\r\nConnection: "
	    "Upgrade\r\n\r\n",
	    node.port);

	GO_UNTIL(node.in_len >= (size_t)n);
	assert_int_equal(node.in_len, n);
	assert_memory_equal(node.in, want, (size_t)n);
	assert_int_equal(link0->state, MESH_LOGIN);
	node.in_len = 0;
}

/* 101 and ServerKey, with `more` bytes of padding. */
static void greet(const struct key *server, size_t more)
{
	uint8_t frames[2048] = OK_HEAD;
	size_t head = strlen(OK_HEAD);
	size_t len = login_put_server_key(server, frames + head);

	frame_put_header(frames + head, FRAME_SERVER_KEY, (uint32_t)(SERVER_KEY_LEN + more));
	memset(frames + head + len, 0xee, more);
	node_send(frames, head + len + more);
}

/* ClientInfo and WatchConns, as they must be; returns what ServerInfo is sealed with. */
static struct login_secret get_client_info(void)
{
	struct login_secret secret;
	struct client_info info;
	size_t len;

	GO_UNTIL(node.in_len >= FRAME_HEADER_LEN &&
		 node.in_len >= 2 * FRAME_HEADER_LEN + frame_payload_len(node.in));
	len = frame_payload_len(node.in);
	assert_int_equal(node.in[0], FRAME_CLIENT_INFO);
	assert_int_equal(login_open_client_info(
			     &node.keys, NULL, node.in + FRAME_HEADER_LEN, len, &info, &secret),
	    LOGIN_OK);
	assert_true(key_equal(&info.key, &b.keys.public));
	assert_int_equal(info.version, DERP_VERSION);
	assert_true(info.has_mesh_key && info.can_ack_pings && !info.is_prober);
	assert_memory_equal(info.mesh_key, mesh.key, MESH_KEY_LEN);
	assert_int_equal(node.in_len, 2 * FRAME_HEADER_LEN + len);
	assert_memory_equal(node.in + FRAME_HEADER_LEN + len, "\x10\0\0\0\0", FRAME_HEADER_LEN);
	node.in_len = 0;
	return secret;
}

/* All up to where the node answers with ServerInfo. */
static struct login_secret get_login(void)
{
	get_request();
	greet(&node.keys.public, 0);
	return get_client_info();
}

/* ServerInfo, and `early` behind it in the same record. */
static void accept_login(const struct login_secret *secret, const void *early, size_t len)
{
	uint8_t frames[LOGIN_FRAME_MAX + 4096];
	size_t n = login_put_server_info(secret, frames);

	memcpy(frames + n, early, len);
	node_send(frames, n + len);
}

static void log_in(void)
{
	struct login_secret secret = get_login();

	accept_login(&secret, "", 0);
	GO_UNTIL(admit);
}

/* Bytes both ways through what the worker has. */
static void exchange(void)
{
	uint8_t wire[1024], opened[65536], back[TLS_REPLY_MAX];
	struct sink out = {.p = wire, .cap = sizeof(wire)};
	struct sink plain = {.p = opened, .cap = sizeof(opened)};
	struct sink reply = {.p = back, .cap = sizeof(back)};
	struct span in;
	ssize_t n;

	assert_true(tls_seal(admit->tls, (const uint8_t *)"up", 2, &out));
	say(admit->fd, out.p, out.len);
	GO_UNTIL(node.in_len == 2);
	assert_memory_equal(node.in, "up", 2);
	node_send_text("down");
	usleep(2000);
	n = recv(admit->fd, wire, sizeof(wire), 0);
	assert_true(n > 0);
	in = (struct span){.p = wire, .len = (size_t)n};
	assert_int_equal(tls_open(admit->tls, &in, &plain, &reply), TLS_OK);
	assert_int_equal(plain.len, 4);
	assert_memory_equal(opened, "down", 4);
}

/* ---- Tests ----------------------------------------------------------------------------------- */

static void expect_admit(size_t early)
{
	uint8_t ip[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
	struct client_info want = {.key = node.keys.public};

	assert_int_equal(admit_to, key_owner(key_hash(&node.keys.public), BED_WORKERS));
	assert_true(admit->is_link && !admit->mesh_peer && !admit->not_ideal);
	assert_int_equal(admit->link, 0);
	assert_int_equal(admit->epoch, link0->epoch);
	assert_memory_equal(&admit->info, &want, sizeof(want));
	assert_memory_equal(admit->addr.s6_addr, ip, 16);
	assert_int_equal(admit->port, node.port);
	assert_int_equal(admit->number, 0);
	assert_int_equal(admit->server_info_len, 0);
	assert_null(admit->ws);
	assert_non_null(admit->tls);
	assert_int_equal(admit->early_len, early);
	assert_int_equal(link0->state, MESH_UP);
	assert_true(key_equal(&link0->server, &node.keys.public));
	assert_int_equal(b.g->logins, 0);
	assert_true(sodium_is_zero(b.g->dial[0].secret.k, KEY_LEN));
	assert_null(b.g->dial[0].in);
}

static void test_login(void **state)
{
	struct login_secret secret;
	char address[64];

	assert_int_equal(link0->dials, 0);
	start();
	assert_int_equal(link0->dials, 1);
	secret = get_login();
	accept_login(&secret, "early bytes", 11);
	GO_UNTIL(admit);
	expect_admit(11);
	assert_memory_equal(admit->early, "early bytes", 11);
	assert_int_equal(link0->epoch, 1);
	assert_int_equal(link0->logins, 1);
	snprintf(address, sizeof(address), "127.0.0.1:%u", node.port);
	assert_string_equal(link0->address, address);
	assert_string_equal(link0->error, "");
	assert_int_equal(lines_with(" is up: "), 1);
	exchange();
	/* It is the worker's now: nothing more happens here. */
	bed_pass(&b, 30000);
	assert_int_equal(link0->dials, 1);
	assert_int_equal(link0->state, MESH_UP);
}

/* TLS 1.2; OpenSSL's records; a longer greeting; a pin. */
static void test_other_logins(void **state)
{
	struct login_secret secret;

	for (int i = 0; i < 4; i++) {
		tls_use_records(i != 1);
		SSL_CTX_free(node.ctx);
		node.ctx = node_ctx(i == 0 ? TLS1_2_VERSION : TLS1_3_VERSION);
		if (i == 3) {
			set_pin();
			link0->host = "127.0.0.1";
		}
		i == 0 ? start() : redial();
		get_request();
		greet(&node.keys.public, i == 2 ? SERVER_KEY_MAX - SERVER_KEY_LEN : 0);
		secret = get_client_info();
		accept_login(&secret, "", 0);
		GO_UNTIL(admit);
		expect_admit(0);
		assert_int_equal(tls_minor_version(admit->tls), i == 0 ? 12 : 13);
		assert_int_equal(tls_on_records(admit->tls), i >= 2);
		exchange();
		admit_drop();
		dials_link_ended(b.g, &(struct link_ended_letter){
					  .link = 0, .epoch = link0->epoch, .why = CLOSE_CLIENT});
		assert_int_equal(link0->state, MESH_WAITING);
	}
	tls_use_records(true);
}

/* Each byte by itself, whenever loopback delivers it. */
static void trickle(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint32_t had = b.g->dial[0].in_len;

		node_send(p + i, 1);
		for (int n = 0; n < 500 && b.g->dial[0].in_len == had; n++) {
			usleep(20);
			gate_turn(b.g, false);
		}
	}
}

/* However the node's bytes are cut. */
static void test_byte_by_byte(void **state)
{
	uint8_t all[LOGIN_FRAME_MAX + 200] = OK_HEAD;
	size_t len = strlen(OK_HEAD);
	struct login_secret secret;

	len += login_put_server_key(&node.keys.public, all + len);
	start();
	get_request();
	trickle(all, len);
	secret = get_client_info();
	trickle(all, login_put_server_info(&secret, all));
	GO_UNTIL(admit);
	expect_admit(0);
}

static void test_self(void **state)
{
	start();
	get_request();
	greet(&b.keys.public, 0);
	GO_UNTIL(link0->state == MESH_SELF);
	GO_UNTIL(node.failed);
	assert_int_equal(node.in_len, 0);
	assert_true(key_equal(&link0->server, &b.keys.public));
	bed_pass(&b, 60000);
	assert_int_equal(link0->state, MESH_SELF);
	assert_int_equal(link0->dials, 1);
	assert_int_equal(lines_with("this very server"), 1);
	assert_string_equal(link0->error, "");
	assert_int_equal(admits, 0);
}

static void test_bad_answers(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
	    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "\"HTTP/1.1 200 OK\""},
	    {"HTTP/1.1 403 No\r\n\r\nrest", "\"HTTP/1.1 403 No\""},
	    {"HTTP/1.0 101 x\r\n\r\n", "\"HTTP/1.0 101 x\""},
	    {"HTTP/1.1 1010 x\r\n\r\n", "\"HTTP/1.1 1010 x\""},
	    {"HTTP/1.1 10\r\n\r\n", "\"HTTP/1.1 10\""},
	    {"HTTP/1.1 1\r\n\r\n", "\"HTTP/1.1 1\""},
	    {"\r\n\r\n", "\"\""},
	    {"a\x01\"\x7f\xff\x1b[2J\r\n\r\n", "\"a?????[2J\""},
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		i == 0 ? start() : redial();
		get_request();
		node_send_text(bad[i].text);
		expect_waiting(bad[i].why);
		GO_UNTIL(node.failed);
		assert_int_equal(node.in_len, 0);
	}
}

static void test_endless_answer(void **state)
{
	static char junk[70000];

	memset(junk, 'x', sizeof(junk));
	memcpy(junk, "HTTP/1.1 101 ", 13);
	start();
	get_request();
	node_send(junk, DIAL_HEAD_MAX - 1);
	go();
	assert_int_equal(link0->state, MESH_LOGIN);
	node_send(junk, 1);
	expect_waiting("does not end");
	redial();
	get_request();
	node_send(junk, 60000);
	expect_waiting("does not end");
	/* A long first line is quoted no longer than it should. */
	redial();
	get_request();
	junk[0] = 'Y';
	memcpy(junk + 3000, "\r\n\r\n", 5);
	node_send(junk, 3004);
	expect_waiting("it answered \"YTTP");
	assert_true(strlen(link0->error) < 150);
}

/* What may not follow the answer, and what may not follow the greeting. */
static void test_bad_frames(void **state)
{
	uint8_t frame[2048];
	struct key zero = {0}, small = {{1}};
	struct login_secret secret;
	size_t n;

	start();
	get_request();
	node_send_text(OK_HEAD "\x03");
	expect_waiting("type 0x03 where ServerKey was due");
	redial();
	get_request();
	n = login_put_server_key(&node.keys.public, frame);
	frame[FRAME_HEADER_LEN] ^= 1;
	node_send_text(OK_HEAD);
	node_send(frame, n);
	expect_waiting("greeting");
	for (uint32_t len = SERVER_KEY_LEN - 1; len != 0xffffffff;
	     len = len < 1000 ? SERVER_KEY_MAX + 1 : 0xffffffff) {
		redial();
		get_request();
		frame_put_header(frame, FRAME_SERVER_KEY, len);
		node_send_text(OK_HEAD);
		node_send(frame, FRAME_HEADER_LEN);
		expect_waiting("ServerKey has a bad length");
	}
	redial();
	get_request();
	greet(&zero, 0);
	expect_waiting("greeting");
	redial();
	get_request();
	greet(&small, 0);
	expect_waiting("server key is no good");
	redial();
	get_login();
	node_send("\x06\0\0\0\0", 5);
	expect_waiting("type 0x06 where ServerInfo was due");
	redial();
	get_login();
	frame_put_header(frame, FRAME_SERVER_INFO, DIAL_SERVER_INFO_MAX + 1);
	node_send(frame, FRAME_HEADER_LEN);
	expect_waiting("ServerInfo has a bad length");
	redial();
	secret = get_login();
	secret.k[0] ^= 1;
	accept_login(&secret, "", 0);
	expect_waiting("ServerInfo can't be read");
	assert_int_equal(link0->logins, 0);
}

/* It goes at each stage: the connection cut, or close_notify. */
static void test_closes(void **state)
{
	static const char *const why[] = {"during the TLS handshake", "instead of answering",
	    "instead of greeting", "is its mesh key the same?"};

	for (int stage = 0; stage < 4; stage++) {
		for (int polite = 0; polite < 2; polite++) {
			uint8_t bye[64];
			struct sink out = {.p = bye, .cap = sizeof(bye)};
			SSL_CTX *ctx = node.ctx;

			node.ctx = stage == 0 ? NULL : ctx;
			stage + polite == 0 ? start() : redial();
			if (stage == 0)
				GO_UNTIL(node.fd >= 0);
			else
				get_request();
			node.ctx = ctx;
			if (stage == 2)
				node_send_text(OK_HEAD "\1\0\0");
			if (stage == 3) {
				greet(&node.keys.public, 0);
				get_client_info();
				node_send_text("\3");
			}
			if (polite && stage > 0) {
				tls_close(node.tls, &out);
				node_put(&out);
				go();
			} else {
				node_close();
			}
			expect_waiting(why[stage]);
		}
	}
}

/* Right behind a good login: there is no link to be handed over. */
static void test_closes_behind_login(void **state)
{
	uint8_t wire[4096];
	struct sink out = {.p = wire, .cap = sizeof(wire)};
	uint8_t frame[LOGIN_FRAME_MAX];
	struct login_secret secret;
	size_t n;

	start();
	secret = get_login();
	n = login_put_server_info(&secret, frame);
	assert_true(tls_seal(node.tls, frame, n, &out));
	tls_close(node.tls, &out);
	node_put(&out);
	expect_waiting("right behind the login");
}

/* It says nothing more, at each stage: ten seconds in all. */
static void test_stalls(void **state)
{
	static const char *const why[] = {
	    "(TLS handshake)", "(logging in)", "(logging in)", "(logging in)"};

	for (int stage = 0; stage < 4; stage++) {
		SSL_CTX *ctx = node.ctx;

		if (stage == 0)
			node.ctx = NULL;
		stage == 0 ? start() : redial();
		node.ctx = stage == 0 ? NULL : ctx;
		if (stage == 0)
			GO_UNTIL(link0->state == MESH_HANDSHAKE);
		else
			get_request();
		if (stage == 2)
			node_send_text(OK_HEAD);
		if (stage == 3) {
			greet(&node.keys.public, 0);
			get_client_info();
		}
		go();
		node.ctx = ctx;
		bed_pass(&b, DIAL_MS - 1000);
		assert_int_not_equal(link0->state, MESH_WAITING);
		bed_pass(&b, 1200);
		expect_waiting(why[stage]);
		assert_non_null(strstr(link0->error, "longer than 10 s"));
	}
}

/* Nobody listens; the same failure is told once a minute, another one at once. */
static void test_refused(void **state)
{
	close(node.listener);
	start();
	expect_waiting("cannot connect to 127.0.0.1:");
	assert_non_null(strstr(link0->error, "Connection refused"));
	assert_int_equal(lines_with("Connection refused"), 1);
	for (int i = 0; i < 10; i++) {
		bed_pass(&b, 5000);
		expect_waiting("refused");
	}
	assert_true(link0->dials >= 9 && link0->dials <= 12);
	assert_int_equal(lines_with("Connection refused"), 1);
	bed_pass(&b, 20000);
	assert_int_equal(lines_with("Connection refused"), 2);
	link0->dial = "no..name";
	bed_pass(&b, 6000);
	expect_waiting("cannot find the address of no..name");
	assert_int_equal(lines_with("cannot find"), 1);
}

/* A name with two addresses, of which the node has the second only. */
static void test_addresses_in_turn(void **state)
{
	struct dial *d = &b.g->dial[0];

	/* Nobody answers there: the addresses are ours to give. */
	resolve_use_servers("127.0.0.1:9");
	link0->dial = "relay.example.com.";
	start();
	resolve_use_servers(NULL);
	assert_int_equal(link0->state, MESH_RESOLVING);
	assert_true(addr_parse_ip("127.0.0.2", &d->resolve.addr[0]));
	assert_true(addr_parse_ip("127.0.0.1", &d->resolve.addr[1]));
	d->resolve.n = 2;
	d->resolve.answered = true;
	resolve_tick(&d->resolve, clock_ms());
	log_in();
	expect_admit(0);
}

static void test_untrusted(void **state)
{
	SSL_CTX *ctx = tls_client_ctx_new();

	b.config.mesh_ctx = ctx;
	start();
	expect_waiting("the certificate is not trusted");
	assert_int_equal(node.in_len, 0);
	/* The alert tells the node why. */
	GO_UNTIL(node.failed);
	assert_true(node.alerted);
	set_pin();
	redial();
	log_in();
	admit_drop();
	assert_int_equal(link0->logins, 1);
	SSL_CTX_free(ctx);
}

static void end_link(uint8_t link, uint8_t epoch, enum close_reason why)
{
	struct link_ended_letter *l =
	    mail_reserve(b.mail, 1, b.g->self, LETTER_LINK_ENDED, sizeof(*l), true);

	assert_non_null(l);
	*l = (struct link_ended_letter){.link = link, .epoch = epoch, .why = why};
	mail_commit(b.mail, 1, b.g->self);
	mail_publish(b.mail, 1);
	bed_turns(&b, 1);
}

/* The worker tells that it has ended: dialled again, with the next epoch. */
static void test_link_ended(void **state)
{
	start();
	log_in();
	admit_drop();
	/* Letters about others, and about what never was. */
	end_link(0, link0->epoch + 1, CLOSE_CLIENT);
	end_link(1, link0->epoch, CLOSE_CLIENT);
	end_link(255, link0->epoch, CLOSE_CLIENT);
	assert_int_equal(link0->state, MESH_UP);
	end_link(0, link0->epoch, CLOSE_CLIENT);
	assert_int_equal(link0->state, MESH_WAITING);
	assert_non_null(strstr(link0->error, "(client_closed); is its mesh key the same?"));
	assert_int_equal(lines_with("lost: "), 1);
	end_link(0, link0->epoch, CLOSE_WRITE_TIMEOUT);
	assert_non_null(strstr(link0->error, "(client_closed)"));
	redial();
	log_in();
	assert_int_equal(admit->epoch, 2);
	assert_int_equal(link0->logins, 2);
	admits = 0;
	admit_drop();
	bed_pass(&b, DIAL_STEADY_MS + 100);
	end_link(0, 1, CLOSE_LINK_SILENT);
	assert_int_equal(link0->state, MESH_UP);
	end_link(0, 2, CLOSE_LINK_SILENT);
	assert_int_equal(link0->state, MESH_WAITING);
	assert_string_equal(
	    link0->error, "lost: the other node did not answer pings (link_silent)");
	assert_int_equal(lines_with("lost: "), 2);
	/* Up for so long, it is not the mesh key. */
	redial();
	log_in();
	admit_drop();
	bed_pass(&b, DIAL_STEADY_MS + 100);
	end_link(0, 3, CLOSE_CLIENT);
	assert_string_equal(
	    link0->error, "lost: the other node closed or reset it (client_closed)");
}

/* A node that throws us out each time fills no log. */
static void test_flapping(void **state)
{
	start();
	for (int i = 0; i < 5; i++) {
		log_in();
		admit_drop();
		end_link(0, link0->epoch, CLOSE_CLIENT);
		redial();
	}
	assert_int_equal(lines_with(" is up: "), 1);
	assert_int_equal(lines_with("lost: "), 1);
}

/* The worker's mailbox is full: handed over when it has room, and given up in the end. */
static void test_full_mailbox(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct login_secret secret;

		i == 0 ? start() : redial();
		secret = get_login();
		for (int w = 0; w < BED_WORKERS; w++)
			for (uint32_t size = 8192; size > 0; size /= 2)
				while (mail_reserve(b.mail, b.g->self, w, LETTER_RUN, size, true))
					mail_commit(b.mail, b.g->self, w);
		accept_login(&secret, "early", 5);
		for (int turns = 0; turns < 20; turns++) {
			bed_turns(&b, 1);
			usleep(500);
		}
		assert_int_equal(link0->state, MESH_LOGIN);
		assert_int_equal(b.g->dial[0].step, DIAL_HAND_OVER);
		if (i == 1) {
			bed_pass(&b, DIAL_MS + 200);
			assert_int_equal(link0->state, MESH_WAITING);
			assert_non_null(strstr(link0->error, "longer than"));
			break;
		}
		bed_pass(&b, 1000);
		read_mail();
		assert_null(admit);
		bed_pass(&b, 300);
		read_mail();
		assert_non_null(admit);
		expect_admit(5);
		admit_drop();
		admits = 0;
		end_link(0, link0->epoch, CLOSE_CLIENT);
	}
}

/* The gate ends in the middle of it, at each stage. */
static void test_shutdown(void **state)
{
	link0->dial = "relay.example.com.";
	resolve_use_servers("127.0.0.1:9");
	start();
	resolve_use_servers(NULL);
	assert_int_equal(link0->state, MESH_RESOLVING);
	dials_free(b.g, b.g->dial);
	b.g->dial = dials_new(b.g);
	link0->dial = "127.0.0.1";
	start();
	get_request();
	dials_free(b.g, b.g->dial);
	b.g->dial = NULL;
	GO_UNTIL(node.failed);
	bed_pass(&b, 1000);
}

/* Who knows the mesh key at our own login is a mesh peer; who shows another is a client. */
static void test_peers_login(void **state)
{
	static const struct {
		bool has, peer;
		uint8_t first;
	} c[] = {{true, true, 0x5a}, {true, false, 0x5b}, {false, false, 0}};

	for (size_t i = 0; i < ARRAY_LEN(c); i++) {
		struct client_info info = {.version = 2, .has_mesh_key = c[i].has};
		uint8_t frame[LOGIN_FRAME_MAX];
		struct login_secret secret;
		int fd = bed_public(&b);

		memset(info.mesh_key, 0x5a, MESH_KEY_LEN);
		info.mesh_key[0] = c[i].first;
		say_text(fd, "GET /derp HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: "
			     "DERP\r\nDerp-Fast-Start: 1\r\n\r\n");
		say(fd, frame,
		    login_put_client_info(&node.keys, &b.keys.public, &info, &secret, frame));
		bed_turns(&b, 2);
		read_mail();
		assert_non_null(admit);
		assert_int_equal(admit->mesh_peer, c[i].peer);
		assert_false(admit->is_link);
		assert_true(sodium_is_zero(admit->info.mesh_key, MESH_KEY_LEN));
		admit_drop();
		b.admitted++;
		close(fd);
	}
}

static int make_cert(void **state)
{
	key = EVP_EC_gen("P-256");
	cert = selfcert_for_ip(key, "127.0.0.1", 10);
	return cert ? 0 : -1;
}

static int free_cert(void **state)
{
	X509_free(cert);
	EVP_PKEY_free(key);
	return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_login),
	    TEST(test_other_logins),
	    TEST(test_byte_by_byte),
	    TEST(test_self),
	    TEST(test_bad_answers),
	    TEST(test_endless_answer),
	    TEST(test_bad_frames),
	    TEST(test_closes),
	    TEST(test_closes_behind_login),
	    TEST(test_stalls),
	    TEST(test_refused),
	    TEST(test_addresses_in_turn),
	    TEST(test_untrusted),
	    TEST(test_link_ended),
	    TEST(test_flapping),
	    TEST(test_full_mailbox),
	    TEST(test_shutdown),
	    TEST(test_peers_login),
	};

	wipe_init();
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("dial", tests, make_cert, free_cert);
}
