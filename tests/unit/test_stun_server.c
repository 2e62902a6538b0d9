/* SPDX-License-Identifier: BSD-3-Clause */
/* The STUN server's thread over loopback: both families, garbage, batches, the address asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/counter.h"
#include "gate/stun_server.h"
#include "wire/stun.h"

#define WAIT_MS 5000

struct fixture {
	struct stun_server *server;
	pthread_t thread;
};

static void *body(void *arg)
{
	stun_server_run(arg);
	return NULL;
}

static union sock {
	struct sockaddr sa;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
} sock_addr(const char *ip, uint16_t port)
{
	union sock a = {0};

	if (strchr(ip, ':')) {
		a.v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
		assert_int_equal(inet_pton(AF_INET6, ip, &a.v6.sin6_addr), 1);
	} else {
		a.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
		assert_int_equal(inet_pton(AF_INET, ip, &a.v4.sin_addr), 1);
	}
	return a;
}

static bool have_ipv6(void)
{
	union sock a = sock_addr("::1", 0);
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	bool ok = fd >= 0 && bind(fd, &a.sa, sizeof(a.v6)) == 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

static void start(struct fixture *f, const char *ip)
{
	union sock a = sock_addr(ip, 0);
	char err[128] = "";

	f->server = stun_server_open(&a.sa, err, sizeof(err));
	assert_string_equal(err, "");
	assert_non_null(f->server);
	assert_int_not_equal(stun_server_port(f->server), 0);
	assert_int_equal(pthread_create(&f->thread, NULL, body, f->server), 0);
}

static void stop(struct fixture *f)
{
	stun_server_stop(f->server);
	assert_int_equal(pthread_join(f->thread, NULL), 0);
	stun_server_free(f->server);
}

/* A client that hears only what comes from the very address that it asks. */
static int client(const struct fixture *f, const char *ip)
{
	union sock a = sock_addr(ip, stun_server_port(f->server));
	socklen_t len = a.sa.sa_family == AF_INET6 ? sizeof(a.v6) : sizeof(a.v4);
	int fd = socket(a.sa.sa_family, SOCK_DGRAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, &a.sa, len), 0);
	return fd;
}

/* Receives an answer to `txid` and checks that it names the client's own address. */
static void expect_answer(int fd, const uint8_t *txid)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint8_t buf[256], ip[STUN_IP_LEN], want[STUN_IP_LEN] = {[10] = 0xff, 0xff};
	union sock self;
	socklen_t len = sizeof(self);
	uint16_t port;
	ssize_t n;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	n = recv(fd, buf, sizeof(buf), 0);
	assert_true(n > 0);
	assert_int_equal(stun_parse_response(buf, (size_t)n, txid, ip, &port), STUN_OK);
	assert_int_equal(getsockname(fd, &self.sa, &len), 0);
	if (self.sa.sa_family == AF_INET6) {
		memcpy(want, &self.v6.sin6_addr, sizeof(want));
		assert_int_equal(n, 44);
		assert_int_equal(port, ntohs(self.v6.sin6_port));
	} else {
		memcpy(want + 12, &self.v4.sin_addr, 4);
		assert_int_equal(n, 32);
		assert_int_equal(port, ntohs(self.v4.sin_port));
	}
	assert_memory_equal(ip, want, sizeof(want));
}

static void make_txid(uint8_t txid[STUN_TXID_LEN], uint32_t n)
{
	memset(txid, 0x5a, STUN_TXID_LEN);
	memcpy(txid, &n, sizeof(n));
}

static void ask(int fd, uint32_t n)
{
	uint8_t txid[STUN_TXID_LEN], msg[STUN_REQUEST_LEN];

	make_txid(txid, n);
	stun_write_request(msg, txid);
	assert_int_equal(send(fd, msg, sizeof(msg), 0), sizeof(msg));
}

static void expect(int fd, uint32_t n)
{
	uint8_t txid[STUN_TXID_LEN];

	make_txid(txid, n);
	expect_answer(fd, txid);
}

/* The server counts a batch after it was sent. */
static void expect_count(const uint64_t *counter, uint64_t want)
{
	for (uint64_t end = clock_ms() + WAIT_MS; tally_read(counter) != want;) {
		assert_true(clock_ms() < end);
		usleep(1000);
	}
}

static void exchange(const char *listen_ip, const char *ask_ip)
{
	struct fixture f;
	const struct stun_stats *st;
	bool v6 = strchr(ask_ip, ':') != NULL;
	int fd;

	start(&f, listen_ip);
	st = stun_server_stats(f.server);
	fd = client(&f, ask_ip);
	for (uint32_t i = 0; i < 10; i++) {
		ask(fd, i);
		expect(fd, i);
	}
	expect_count(&st->success, 10);
	assert_int_equal(tally_read(&st->ipv4), v6 ? 0 : 10);
	assert_int_equal(tally_read(&st->ipv6), v6 ? 10 : 0);
	assert_int_equal(tally_read(&st->not_stun), 0);
	assert_int_equal(tally_read(&st->write_error), 0);
	assert_int_equal(tally_read(&st->read_error), 0);
	assert_int_equal(tally_read(&st->no_local_addr), 0);
	close(fd);
	stop(&f);
}

static void test_ipv4(void **state)
{
	exchange("127.0.0.1", "127.0.0.1");
}

static void test_ipv6(void **state)
{
	if (!have_ipv6())
		skip();
	exchange("::1", "::1");
}

/* One socket for both, whichever unspecified address was meant; 127.0.0.9 is not the address that
 * the kernel would choose to answer from. */
static void test_all_addresses(void **state)
{
	exchange("0.0.0.0", "127.0.0.1");
	exchange("0.0.0.0", "127.0.0.9");
	if (!have_ipv6())
		skip();
	exchange("0.0.0.0", "::1");
	exchange("::", "127.0.0.9");
	exchange("::", "::1");
}

static void test_specific_is_specific(void **state)
{
	struct fixture f;
	union sock a;
	int fd;

	start(&f, "127.0.0.1");
	a = sock_addr("127.0.0.2", stun_server_port(f.server));
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd, &a.sa, sizeof(a.v4)), 0);
	close(fd);
	stop(&f);
}

static void test_port_taken(void **state)
{
	static const char *const ips[] = {"127.0.0.1", "0.0.0.0"};
	struct fixture f;
	char err[128], want[128];

	start(&f, "127.0.0.1");
	for (size_t i = 0; i < ARRAY_LEN(ips); i++) {
		union sock a = sock_addr(ips[i], stun_server_port(f.server));

		assert_null(stun_server_open(&a.sa, err, sizeof(err)));
		snprintf(want, sizeof(want),
		    "cannot bind UDP port %u for STUN: Address already in use: another program has "
		    "it, choose another -stun-port or -stun=false",
		    stun_server_port(f.server));
		assert_string_equal(err, want);
	}
	stop(&f);
}

/* Silence for what is no request; requests among it are answered. */
static void test_garbage(void **state)
{
	struct fixture f;
	const struct stun_stats *st;
	uint8_t junk[2000];
	uint64_t sent = 0;
	uint32_t asked = 0;
	int fd;

	start(&f, "127.0.0.1");
	st = stun_server_stats(f.server);
	fd = client(&f, "127.0.0.1");
	for (size_t len = 0; len < sizeof(junk); len += 37) {
		for (size_t i = 0; i < len; i++)
			junk[i] = (uint8_t)(i * len);
		assert_int_equal(send(fd, junk, len, 0), len);
		sent++;
		if (sent % 8 == 0) {
			ask(fd, asked);
			expect(fd, asked++);
		}
	}
	/* A good request with a long tail: what was cut off is not looked at. */
	memset(junk, 0, sizeof(junk));
	stun_write_request(junk, (uint8_t[STUN_TXID_LEN]){7});
	assert_int_equal(send(fd, junk, sizeof(junk), 0), sizeof(junk));
	expect_count(&st->not_stun, sent + 1);
	expect_count(&st->success, asked);
	assert_int_equal(recv(fd, junk, sizeof(junk), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	close(fd);
	stop(&f);
}

/* What waits when the thread starts is taken 64 at a time, and every request gets its answer. */
static void test_batches(void **state)
{
	enum { REQUESTS = 150 };
	union sock a = sock_addr("127.0.0.1", 0);
	struct fixture f;
	char err[128];
	int one, two;

	f.server = stun_server_open(&a.sa, err, sizeof(err));
	assert_non_null(f.server);
	one = client(&f, "127.0.0.1");
	two = client(&f, "127.0.0.1");
	for (uint32_t i = 0; i < REQUESTS; i++) {
		ask(i % 3 == 0 ? two : one, i);
		if (i % 5 == 0)
			assert_int_equal(send(one, "junk", 4, 0), 4);
	}
	assert_int_equal(pthread_create(&f.thread, NULL, body, f.server), 0);
	for (uint32_t i = 0; i < REQUESTS; i++)
		expect(i % 3 == 0 ? two : one, i);
	expect_count(&stun_server_stats(f.server)->success, REQUESTS);
	expect_count(&stun_server_stats(f.server)->not_stun, REQUESTS / 5);
	close(one);
	close(two);
	stop(&f);
}

/* An answer to a port that nobody listens on any more harms no one. */
static void test_client_gone(void **state)
{
	struct fixture f;
	const struct stun_stats *st;
	int fd;

	start(&f, "127.0.0.1");
	st = stun_server_stats(f.server);
	for (uint32_t i = 0; i < 20; i++) {
		fd = client(&f, "127.0.0.1");
		ask(fd, i);
		close(fd);
	}
	fd = client(&f, "127.0.0.1");
	ask(fd, 99);
	expect(fd, 99);
	expect_count(&st->success, 21);
	assert_int_equal(tally_read(&st->read_error), 0);
	close(fd);
	stop(&f);
}

static void test_stop_before_run(void **state)
{
	union sock a = sock_addr("127.0.0.1", 0);
	char err[128];
	struct stun_server *s = stun_server_open(&a.sa, err, sizeof(err));

	assert_non_null(s);
	stun_server_stop(s);
	stun_server_stop(s);
	stun_server_run(s);
	stun_server_free(s);
	stun_server_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ipv4),
	    cmocka_unit_test(test_ipv6),
	    cmocka_unit_test(test_all_addresses),
	    cmocka_unit_test(test_specific_is_specific),
	    cmocka_unit_test(test_port_taken),
	    cmocka_unit_test(test_garbage),
	    cmocka_unit_test(test_batches),
	    cmocka_unit_test(test_client_gone),
	    cmocka_unit_test(test_stop_before_run),
	};

	return cmocka_run_group_tests_name("stun_server", tests, NULL, NULL);
}
