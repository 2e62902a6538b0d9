/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "io/addr.h"

static struct addr ip(const char *text)
{
	struct addr a;

	assert_true(addr_parse_ip(text, &a));
	return a;
}

static const struct sockaddr *sa(const struct addr *a)
{
	return (const struct sockaddr *)&a->ss;
}

static void test_split(void **state)
{
	static const struct {
		const char *text, *host;
		int port; /* -1: refused */
	} cases[] = {
	    {":443", "", 443},
	    {"127.0.0.1:4443", "127.0.0.1", 4443},
	    {"[::1]:443", "::1", 443},
	    {"[fe80::1%lo]:80", "fe80::1%lo", 80},
	    {"relay.example.com:https", "relay.example.com", 443},
	    {":http", "", 80},
	    {"[]:1", "", 1},
	    {":0", "", 0},
	    {":65535", "", 65535},
	    {"", NULL, -1},
	    {"443", NULL, -1},
	    {"[::1]", NULL, -1},
	    {"::1:443", NULL, -1},
	    {"[::1:443", NULL, -1},
	    {"[::1]x:443", NULL, -1},
	    {":", NULL, -1},
	    {":65536", NULL, -1},
	    {":-1", NULL, -1},
	    {":4x", NULL, -1},
	    {":99999999999999999999", NULL, -1},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		char host[ADDR_HOST_LEN], err[128] = "";
		uint16_t port;
		int rc = addr_split(cases[i].text, host, &port, err, sizeof(err));

		if (cases[i].port < 0) {
			assert_int_equal(rc, -1);
			assert_true(err[0] != '\0');
			continue;
		}
		assert_int_equal(rc, 0);
		assert_string_equal(host, cases[i].host);
		assert_int_equal(port, cases[i].port);
	}
}

static void test_split_long_host(void **state)
{
	char text[ADDR_HOST_LEN + 8], host[ADDR_HOST_LEN], err[128];
	uint16_t port;

	memset(text, 'a', sizeof(text));
	snprintf(text + ADDR_HOST_LEN - 1, 8, ":80");
	assert_int_equal(addr_split(text, host, &port, err, sizeof(err)), 0);
	snprintf(text + ADDR_HOST_LEN - 1, 8, "a:80");
	assert_int_equal(addr_split(text, host, &port, err, sizeof(err)), -1);
}

static void test_parse_listen(void **state)
{
	struct addr_list l;
	char err[128], text[ADDR_TEXT_LEN];

	assert_int_equal(addr_parse_listen(":443", &l, err, sizeof(err)), 0);
	assert_int_equal(l.n, 2);
	addr_format(sa(&l.a[0]), text);
	assert_string_equal(text, "[::]:443");
	addr_format(sa(&l.a[1]), text);
	assert_string_equal(text, "0.0.0.0:443");

	assert_int_equal(addr_parse_listen("127.0.0.1:4443", &l, err, sizeof(err)), 0);
	assert_int_equal(l.n, 1);
	addr_format(sa(&l.a[0]), text);
	assert_string_equal(text, "127.0.0.1:4443");

	assert_int_equal(addr_parse_listen("localhost:80", &l, err, sizeof(err)), 0);
	assert_true(l.n >= 1 && addr_is_loopback(sa(&l.a[0])));
	assert_int_equal(addr_port(sa(&l.a[0])), 80);

	assert_int_equal(addr_parse_listen("no.such.host.invalid:80", &l, err, sizeof(err)), -1);
	assert_int_equal(addr_parse_listen("nonsense", &l, err, sizeof(err)), -1);
}

static void test_unix(void **state)
{
	struct addr a;
	char text[ADDR_TEXT_LEN], path[200];

	assert_string_equal(addr_unix_path("unix:/run/x"), "/run/x");
	assert_string_equal(addr_unix_path("/run/x"), "/run/x");
	assert_null(addr_unix_path("127.0.0.1:80"));
	assert_true(addr_set_unix(&a, "/run/x"));
	addr_format(sa(&a), text);
	assert_string_equal(text, "unix:/run/x");
	assert_true(addr_is_loopback(sa(&a)));
	assert_false(addr_is_tailscale(sa(&a)));
	assert_int_equal(addr_port(sa(&a)), 0);
	memset(path, 'p', sizeof(path));
	path[108] = '\0';
	assert_false(addr_set_unix(&a, path));
	path[107] = '\0';
	assert_true(addr_set_unix(&a, path));
	addr_format(sa(&a), text);
	assert_int_equal(strlen(text), 5 + 107);
	assert_false(addr_set_unix(&a, ""));
}

static void test_format(void **state)
{
	static const char *const cases[][3] = {
	    {"1.2.3.4", "1.2.3.4:65535", "1.2.3.4"},
	    {"::ffff:1.2.3.4", "1.2.3.4:65535", "1.2.3.4"},
	    {"2001:db8::1", "[2001:db8::1]:65535", "2001:db8::1"},
	    {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
	};
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	char text[ADDR_TEXT_LEN];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct addr a = ip(cases[i][0]);

		addr_set_port(&a, 65535);
		addr_format(sa(&a), text);
		assert_string_equal(text, cases[i][1]);
		addr_format_ip(sa(&a), text);
		assert_string_equal(text, cases[i][2]);
	}
	addr_format(&none, text);
	assert_string_equal(text, "?");
}

static void test_ip16(void **state)
{
	static const uint8_t want[16] = {[10] = 0xff, 0xff, 1, 2, 3, 4};
	struct addr v4 = ip("1.2.3.4"), mapped = ip("::ffff:1.2.3.4");
	uint8_t got[16];

	addr_ip16(sa(&v4), got);
	assert_memory_equal(got, want, 16);
	addr_ip16(sa(&mapped), got);
	assert_memory_equal(got, want, 16);
}

static void test_kinds(void **state)
{
	static const struct {
		const char *ip;
		bool loopback, tailscale;
	} cases[] = {
	    {"127.0.0.1", true, false},
	    {"127.255.0.1", true, false},
	    {"::1", true, false},
	    {"::ffff:127.0.0.1", true, false},
	    {"128.0.0.1", false, false},
	    {"::", false, false},
	    {"100.63.255.255", false, false},
	    {"100.64.0.0", false, true},
	    {"100.127.255.255", false, true},
	    {"::ffff:100.64.0.1", false, true},
	    {"100.128.0.0", false, false},
	    {"100.115.91.255", false, true},
	    {"100.115.92.0", false, false},
	    {"100.115.93.255", false, false},
	    {"100.115.94.0", false, true},
	    {"fd7a:115c:a1e0::1", false, true},
	    {"fd7a:115c:a1e0:ffff::1", false, true},
	    {"fd7a:115c:a1e1::1", false, false},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct addr a = ip(cases[i].ip);

		assert_int_equal(addr_is_loopback(sa(&a)), cases[i].loopback);
		assert_int_equal(addr_is_tailscale(sa(&a)), cases[i].tailscale);
	}
}

static void test_cidrs(void **state)
{
	static const struct {
		const char *list, *ip;
		bool match;
	} cases[] = {
	    {"10.0.0.0/8", "10.255.0.1", true},
	    {"10.0.0.0/8", "::ffff:10.1.1.1", true},
	    {"10.0.0.0/8", "11.0.0.1", false},
	    {" 1.2.3.4/32 ,\tfd00::/9 ", "fd7f::1", true},
	    {" 1.2.3.4/32 ,\tfd00::/9 ", "fd80::1", false},
	    {" 1.2.3.4/32 ,\tfd00::/9 ", "1.2.3.4", true},
	    {"0.0.0.0/0", "9.9.9.9", true},
	    {"0.0.0.0/0", "2001:db8::1", false},
	    {"::/0", "2001:db8::1", true},
	    {"::/0", "9.9.9.9", false},
	    {"", "9.9.9.9", false},
	    {",,", "9.9.9.9", false},
	};
	static const char *const bad[] = {"10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/8x",
	    "x/8", "::/129", "10.0.0.0/-1", "1.2.3.4/8 5.6.7.8/8"};
	char err[128], many[ADDR_CIDRS_MAX * 16 + 32] = "";
	struct addr_cidrs c;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct addr a = ip(cases[i].ip);

		assert_int_equal(addr_cidrs_parse(&c, cases[i].list, err, sizeof(err)), 0);
		assert_int_equal(addr_cidrs_match(&c, sa(&a)), cases[i].match);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_int_equal(addr_cidrs_parse(&c, bad[i], err, sizeof(err)), -1);
	for (int i = 0; i < ADDR_CIDRS_MAX; i++)
		strcat(many, "10.0.0.0/8,");
	assert_int_equal(addr_cidrs_parse(&c, many, err, sizeof(err)), 0);
	strcat(many, "10.0.0.0/8");
	assert_int_equal(addr_cidrs_parse(&c, many, err, sizeof(err)), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_split),
	    cmocka_unit_test(test_split_long_host),
	    cmocka_unit_test(test_parse_listen),
	    cmocka_unit_test(test_unix),
	    cmocka_unit_test(test_format),
	    cmocka_unit_test(test_ip16),
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_cidrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
