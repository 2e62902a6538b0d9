/* SPDX-License-Identifier: BSD-3-Clause */
/* Names and addresses, against a name server of our own on a loopback socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "fake_clock.h"
#include "gate/resolve.h"

static struct loop loop;
static struct resolve r;
static int called; /* how often done was */
static int server; /* the name server's socket */
static char list[64];

static void done(struct resolve *q)
{
	assert_ptr_equal(q, &r);
	called++;
}

static int setup(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);

	fake_clock_ms = 5000000;
	loop_init(&loop);
	resolve_init();
	r = (struct resolve){.done = done};
	called = 0;
	server = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(server, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(server, (struct sockaddr *)&at, &len), 0);
	snprintf(list, sizeof(list), "127.0.0.1:%u", ntohs(at.sin_port));
	resolve_use_servers(list);
	return 0;
}

static int teardown(void **state)
{
	resolve_end(&r);
	for (int i = 0; i < RESOLVE_SOCKETS_MAX; i++)
		assert_int_equal(r.socket[i].watch.events, 0);
	resolve_use_servers(NULL);
	close(server);
	loop_fini(&loop);
	fake_clock_ms = 0;
	return 0;
}

/* Answers what was asked: one address if n is 1 (of the type that was asked for), none if it is 0,
 * with that code. True when there was a question. */
static bool answer(int n, uint8_t code)
{
	uint8_t m[512];
	struct sockaddr_in from;
	socklen_t fromlen = sizeof(from);
	ssize_t len = recvfrom(server, m, sizeof(m), 0, (struct sockaddr *)&from, &fromlen);
	size_t at = 12;
	bool v6;

	if (len < 0)
		return false;
	while (m[at] != 0)
		at += 1 + (size_t)m[at];
	v6 = m[at + 2] == 28;
	at += 5;
	m[2] |= 0x80;
	m[3] = (uint8_t)(0x80 | code);
	m[7] = (uint8_t)n;
	m[9] = m[11] = 0;
	if (n > 0) {
		const uint8_t record[] = {
		    0xc0, 12, 0, v6 ? 28 : 1, 0, 1, 0, 0, 0, 60, 0, v6 ? 16 : 4};
		const uint8_t ip4[] = {192, 0, 2, 1};
		uint8_t ip6[16] = {0x20, 0x01, 0x0d, 0xb8};

		memcpy(m + at, record, sizeof(record));
		memcpy(m + at + sizeof(record), v6 ? ip6 : ip4, v6 ? 16 : 4);
		at += sizeof(record) + (v6 ? 16 : 4);
	}
	assert_int_equal(sendto(server, m, at, 0, (struct sockaddr *)&from, fromlen), (ssize_t)at);
	return true;
}

static void turn(void)
{
	loop_wait(&loop, 5);
	loop_dispatch(&loop);
}

/* Lets everything happen that needs no time to pass. */
static void settle(int n, uint8_t code)
{
	for (int i = 0; i < 100 && !called; i++) {
		answer(n, code);
		turn();
	}
}

static void ask(const char *name)
{
	called = 0;
	resolve_begin(&r, &loop, name, clock_ms());
}

static void test_literals(void **state)
{
	char text[ADDR_TEXT_LEN];

	ask("192.0.2.7");
	assert_int_equal(called, 1);
	assert_int_equal(r.n, 1);
	addr_format_ip((struct sockaddr *)&r.addr[0].ss, text);
	assert_string_equal(text, "192.0.2.7");
	ask("2001:db8::7");
	assert_int_equal(called, 1);
	assert_int_equal(r.n, 1);
	addr_format_ip((struct sockaddr *)&r.addr[0].ss, text);
	assert_string_equal(text, "2001:db8::7");
	assert_false(answer(0, 0));
}

/* Without a name server: /etc/hosts has it, or everybody knows it. */
static void test_localhost(void **state)
{
	ask("localhost");
	settle(0, 3);
	assert_int_equal(called, 1);
	assert_true(r.n >= 1);
	for (int i = 0; i < r.n; i++)
		assert_true(addr_is_loopback((struct sockaddr *)&r.addr[i].ss));
}

static void test_names(void **state)
{
	bool v4 = false, v6 = false;

	ask("relay.example.com.");
	assert_int_equal(called, 0);
	settle(1, 0);
	assert_int_equal(called, 1);
	assert_null(r.error);
	assert_int_equal(r.n, 2);
	for (int i = 0; i < r.n; i++) {
		v4 |= r.addr[i].ss.ss_family == AF_INET &&
		      r.addr[i].len == sizeof(struct sockaddr_in);
		v6 |= r.addr[i].ss.ss_family == AF_INET6 &&
		      r.addr[i].len == sizeof(struct sockaddr_in6);
	}
	assert_true(v4 && v6);
}

static void test_no_such_name(void **state)
{
	ask("relay.example.com.");
	settle(0, 3);
	assert_int_equal(called, 1);
	assert_int_equal(r.n, 0);
	assert_string_equal(r.error, "Domain name not found");
	ask("relay.example.com.");
	settle(0, 0);
	assert_int_equal(called, 1);
	assert_int_equal(r.n, 0);
	assert_non_null(r.error);
	ask("bad..name");
	settle(0, 3);
	assert_int_equal(called, 1);
	assert_int_equal(r.n, 0);
}

/* What was asked so far is never answered. */
static void lose(void)
{
	uint8_t b;

	while (recv(server, &b, 1, 0) > 0)
		;
}

/* A name server that says nothing costs so much time and no more. */
static void test_silence(void **state)
{
	uint64_t began = fake_clock_ms;

	ask("relay.example.com.");
	while (!called) {
		fake_clock_ms += 100;
		turn();
		resolve_tick(&r, clock_ms());
		assert_true(fake_clock_ms - began <= RESOLVE_MS + 200);
	}
	assert_int_equal(called, 1);
	assert_int_equal(r.n, 0);
	assert_non_null(r.error);
	assert_true(fake_clock_ms - began >= 2000);
	/* A question that was lost is asked again. */
	lose();
	ask("relay.example.com.");
	turn();
	lose();
	for (int i = 0; i < 13; i++) {
		fake_clock_ms += 100;
		resolve_tick(&r, clock_ms());
	}
	assert_int_equal(called, 0);
	settle(1, 0);
	assert_int_equal(called, 1);
	assert_int_equal(r.n, 2);
}

/* Rubbish for an answer is no answer. */
static void test_rubbish(void **state)
{
	uint8_t m[512];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	int n = 0;

	ask("relay.example.com.");
	for (int i = 0; i < 20; i++) {
		ssize_t got = recvfrom(server, m, sizeof(m), 0, (struct sockaddr *)&from, &len);

		if (got > 0) {
			n++;
			memset(m + 2, 0xff, (size_t)got - 2);
			sendto(server, m, (size_t)got, 0, (struct sockaddr *)&from, len);
			sendto(server, m, 1, 0, (struct sockaddr *)&from, len);
		}
		turn();
	}
	assert_true(n >= 2);
	/* None of it was an answer; the next try gets one. */
	assert_int_equal(called, 0);
	for (int i = 0; i < 100 && !called; i++) {
		fake_clock_ms += 100;
		answer(1, 0);
		turn();
		resolve_tick(&r, clock_ms());
	}
	assert_int_equal(called, 1);
	assert_int_equal(r.n, 2);
}

/* Ended in the middle, nobody is called, and nothing is left behind. */
static void test_end(void **state)
{
	ask("relay.example.com.");
	turn();
	resolve_end(&r);
	for (int i = 0; i < RESOLVE_SOCKETS_MAX; i++)
		assert_int_equal(r.socket[i].watch.events, 0);
	settle(1, 0);
	fake_clock_ms += 10000;
	resolve_tick(&r, clock_ms());
	assert_int_equal(called, 0);
	resolve_end(&r);
	ask("relay.example.com.");
	settle(1, 0);
	assert_int_equal(called, 1);
	assert_int_equal(r.n, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_literals),
	    TEST(test_localhost),
	    TEST(test_names),
	    TEST(test_no_such_name),
	    TEST(test_silence),
	    TEST(test_rubbish),
	    TEST(test_end),
	};

	return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
