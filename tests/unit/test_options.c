/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/cpus.h"
#include "daemon/option_table.h"
#include "daemon/options.h"

static struct options o;
static char err[512];

/* Parses the arguments, which end with NULL, as the program `name`. */
static enum options_verdict parse_as(const char *name, const char *const *args)
{
	char *argv[16] = {(char *)name};
	int argc = 1;

	while (args[argc - 1]) {
		argv[argc] = (char *)args[argc - 1];
		argc++;
	}
	err[0] = '\0';
	return options_parse(&o, argc, argv, err, sizeof(err));
}

#define PARSE_AS(name, ...) parse_as(name, (const char *const[]){__VA_ARGS__, NULL})
#define PARSE(...) PARSE_AS("sluice", __VA_ARGS__)

/* With what makes a start possible: plain HTTP and a key file. */
#define PARSE_PLAIN(...) PARSE("-c", "k", "-a", ":80", __VA_ARGS__)

static int setup(void **state)
{
	assert_int_equal(clearenv(), 0);
	assert_int_equal(setenv("HOME", "/home/me", 1), 0);
	memset(&o, 0, sizeof(o));
	return 0;
}

static int teardown(void **state)
{
	options_free(&o);
	return 0;
}

static void expect_error(enum options_verdict v, const char *part)
{
	assert_int_equal(v, OPTIONS_BAD);
	if (!strstr(err, part))
		fail_msg("\"%s\" says nothing of \"%s\"", err, part);
	assert_null(strchr(err, '\n'));
}

static void test_defaults(void **state)
{
	assert_int_equal(PARSE_PLAIN("-tcp-user-timeout", "15s"), OPTIONS_OK);
	assert_string_equal(o.hostname, "derp.tailscale.com");
	assert_string_equal(o.certmode, "letsencrypt");
	assert_string_equal(o.home, "");
	assert_true(o.stun && o.derp && !o.dev && !o.tls && !o.as_derper);
	assert_int_equal(o.stun_port, 3478);
	assert_int_equal(o.http_port, -1); /* plain HTTP needs no second port */
	assert_int_equal(o.tcp_keepalive_time_ms, 600000);
	assert_int_equal(o.tcp_user_timeout_ms, 15000);
	assert_int_equal(o.tcp_write_timeout_ms, 2000);
	assert_int_equal(o.flow_limit, 65536);
	assert_int_equal(o.max_pre_login, 4096);
	assert_int_equal(o.send_queue_packets, 0);
	assert_int_equal(o.log_level, LOG_INFO);
	assert_string_equal(o.debug_listen, "");
	assert_string_equal(o.allow_debug_ip, "");
	assert_in_range(options_workers(&o), 1, 64);
}

/* How derper is started today. */
static void test_derpers_command_line(void **state)
{
	assert_int_equal(
	    PARSE("-a", "127.0.0.1:4443", "-certmode", "manual", "-hostname", "127.0.0.1",
		"-certdir", "DIR", "-http-port", "-1", "-stun=false", "-c", "KEYFILE"),
	    OPTIONS_OK);
	assert_string_equal(o.listen, "127.0.0.1:4443");
	assert_string_equal(o.certdir, "DIR");
	assert_string_equal(o.key_file, "KEYFILE");
	assert_true(o.tls && o.hostname_is_ip && !o.stun);
	assert_int_equal(o.http_port, -1);
}

static void test_tls(void **state)
{
	assert_int_equal(PARSE("-c", "k", "-certmode=manual"), OPTIONS_OK);
	assert_true(o.tls && !o.hostname_is_ip);
	assert_int_equal(o.http_port, 80);
	assert_string_equal(o.certdir, "/home/me/.cache/tailscale/derper-certs");
	options_free(&o);

	setenv("XDG_CACHE_HOME", "/cache", 1);
	assert_int_equal(PARSE("-c", "k", "-certmode=manual", "-a", ":4443"), OPTIONS_OK);
	assert_true(o.tls);
	assert_string_equal(o.certdir, "/cache/tailscale/derper-certs");
	options_free(&o);

	unsetenv("XDG_CACHE_HOME");
	unsetenv("HOME");
	expect_error(PARSE("-c", "k", "-certmode=manual"), "-certdir is missing");
	expect_error(PARSE("-c", "k"), "-certmode letsencrypt is not supported");
	expect_error(PARSE("-c", "k", "-a", ":https", "-certmode", "gcp"), "-certmode gcp");
	/* Where nothing speaks TLS the mode doesn't matter. */
	assert_int_equal(PARSE_PLAIN("-certmode", "letsencrypt"), OPTIONS_OK);
}

static void test_dev(void **state)
{
	assert_int_equal(PARSE("-dev"), OPTIONS_OK);
	assert_string_equal(o.listen, ":3340");
	assert_string_equal(o.key_file, "");
	assert_false(o.tls);
	options_free(&o);
	assert_int_equal(PARSE("-dev", "-certmode", "manual", "-a", ":443", "-c", "k"), OPTIONS_OK);
	assert_string_equal(o.listen, ":3340");
	assert_string_equal(o.key_file, "");
	assert_true(o.tls);
}

static void test_key_file(void **state)
{
	if (getuid() == 0) {
		assert_int_equal(PARSE("-a", ":80"), OPTIONS_OK);
		assert_string_equal(o.key_file, "/var/lib/derper/derper.key");
	} else {
		expect_error(PARSE("-a", ":80"), "-c is missing");
	}
}

static void test_go_syntax(void **state)
{
	static const char *const yes[] = {"1", "t", "T", "TRUE", "true", "True"};
	static const char *const no[] = {"0", "f", "F", "FALSE", "false", "False"};
	char arg[32];

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		snprintf(arg, sizeof(arg), "--derp=%s", no[i]);
		assert_int_equal(PARSE_PLAIN(arg), OPTIONS_OK);
		assert_false(o.derp);
		options_free(&o);
		snprintf(arg, sizeof(arg), "-dev=%s", yes[i]);
		assert_int_equal(PARSE(arg), OPTIONS_OK);
		assert_true(o.dev);
		options_free(&o);
	}
	/* The last one counts, a value may begin with a dash or be empty. */
	assert_int_equal(PARSE_PLAIN("-workers=3", "--workers", "4", "-home=", "--"), OPTIONS_OK);
	assert_int_equal(o.workers, 4);
	assert_int_equal(options_workers(&o), 4);
	options_free(&o);
	assert_int_equal(PARSE_PLAIN("-workers=0x10", "-derp"), OPTIONS_OK);
	assert_int_equal(o.workers, 16);
}

static void test_times(void **state)
{
	static const struct {
		const char *text;
		int64_t ms;
	} good[] = {
	    {"0", 0},
	    {"0s", 0},
	    {"+5s", 5000},
	    {"250ms", 250},
	    {"1m30s", 90000},
	    {"1.5s", 1500},
	    {".5s", 500},
	    {"1h", 3600000},
	    {"1ns", 1},
	    {"1000000ns", 1},
	    {"1500us", 2},
	    {"1500\u00b5s", 2},
	    {"0.1s", 100},
	    {"0.3s", 300},
	};
	static const char *const bad[] = {"", "5", "s", "-1s", "1d", "1 s", "1s ", "1.s.", "1..5s",
	    ".", "-", "+", "1e3s", "99999999h", "0x1s", "1m30"};
	char arg[64];

	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		snprintf(arg, sizeof(arg), "-tcp-write-timeout=%s", good[i].text);
		assert_int_equal(PARSE_PLAIN(arg), OPTIONS_OK);
		assert_int_equal(o.tcp_write_timeout_ms, good[i].ms);
		options_free(&o);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		snprintf(arg, sizeof(arg), "-tcp-write-timeout=%s", bad[i]);
		expect_error(PARSE_PLAIN(arg), "-tcp-write-timeout");
	}
	assert_int_equal(PARSE_PLAIN("-tcp-keepalive-time", "-1s"), OPTIONS_OK);
	assert_int_equal(o.tcp_keepalive_time_ms, -1000);
}

static void test_bad_values(void **state)
{
	expect_error(PARSE_PLAIN("-workers", "65"), "from 0 to 64");
	expect_error(PARSE_PLAIN("-workers", "-1"), "from 0 to 64");
	expect_error(PARSE_PLAIN("-workers", "2x"), "from 0 to 64");
	expect_error(PARSE_PLAIN("-workers", ""), "from 0 to 64");
	expect_error(PARSE_PLAIN("-workers", "99999999999999999999"), "from 0 to 64");
	expect_error(PARSE_PLAIN("-flow-limit=15"), "from 16");
	expect_error(PARSE_PLAIN("-http-port=65536"), "from -1 to 65535");
	expect_error(PARSE_PLAIN("-stun=perhaps"), "true or false");
	expect_error(PARSE_PLAIN("-log-level", "loud"), "one of error, warn, info, debug");
	expect_error(PARSE_PLAIN("-home", "ftp://x"), "blank");
	expect_error(PARSE_PLAIN("-certmode", "magic"), "magic");
	expect_error(PARSE_PLAIN("-hostname", "https://x"), "host name");
	expect_error(PARSE_PLAIN("-hostname", ""), "host name");
	expect_error(PARSE_PLAIN("-a", "443"), "the port is missing");
	expect_error(PARSE_PLAIN("-debug-listen", "unix:"), "path");
	expect_error(PARSE_PLAIN("-debug-listen", "localhost"), "port");
	expect_error(PARSE_PLAIN("-workers"), "needs a value");
}

static void test_bad_arguments(void **state)
{
	expect_error(PARSE("-wokers=2"), "did you mean -workers?");
	expect_error(PARSE("-hotsname=x"), "did you mean -hostname?");
	expect_error(PARSE("--xyzzy"), "see -help");
	expect_error(PARSE("---a"), "is no flag");
	expect_error(PARSE("-=x"), "is no flag");
	expect_error(PARSE("-stun", "false"), "write -stun=false");
	expect_error(PARSE("stray"), "stray argument");
	expect_error(PARSE("-"), "stray argument");
	expect_error(PARSE("-dev", "--", "x"), "stray argument");
}

static void test_help_and_version(void **state)
{
	assert_int_equal(PARSE("-h"), OPTIONS_HELP);
	assert_int_equal(PARSE("-help", "rubbish"), OPTIONS_HELP);
	assert_int_equal(PARSE("--help"), OPTIONS_HELP);
	assert_int_equal(PARSE("-version"), OPTIONS_VERSION);
	/* A bad environment is no reason not to help. */
	setenv("SLUICE_WORKERS", "many", 1);
	assert_int_equal(PARSE("-help"), OPTIONS_HELP);
	assert_int_equal(PARSE("-version"), OPTIONS_VERSION);
}

static void test_environment(void **state)
{
	setenv("DERP_DOMAIN", "container", 1);
	setenv("DERP_STUN_PORT", "1", 1);
	setenv("DERP_ADDR", ":81", 1);
	setenv("SLUICE_STUN_PORT", "2", 1);
	setenv("SLUICE_WORKERS", "", 1);
	setenv("SLUICE_FLOW_LIMIT", "100", 1);
	setenv("SLUICE_LOG_LEVEL", "debug", 1);
	setenv("SLUICE_DERP", "F", 1);
	setenv("SLUICE_VERSION", "1.2.3", 1); /* an image's label, nothing of ours */
	setenv("TS_DEBUG_DERP_PER_CLIENT_SEND_QUEUE_DEPTH", "64", 1);
	setenv("TS_ALLOW_DEBUG_IP", "192.0.2.1", 1);
	setenv("TS_DEBUG_TRUSTED_CIDRS", "10.0.0.0/8", 1);
	setenv("TS_DEBUG_KEY_PATH", "/key", 1);
	assert_int_equal(PARSE("-c", "k", "-flow-limit", "200"), OPTIONS_OK);
	assert_string_equal(o.hostname, "container");
	assert_string_equal(o.listen, ":81");
	assert_int_equal(o.stun_port, 2);
	assert_int_equal(o.flow_limit, 200);
	assert_int_equal(o.log_level, LOG_DEBUG);
	assert_int_equal(o.send_queue_packets, 64);
	assert_false(o.derp);
	assert_string_equal(o.allow_debug_ip, "192.0.2.1");
	assert_string_equal(o.debug_trusted_cidrs, "10.0.0.0/8");
	assert_string_equal(o.debug_key_path, "/key");
	options_free(&o);

	setenv("DERP_HTTP_PORT", "x", 1);
	expect_error(PARSE("-c", "k"), "DERP_HTTP_PORT");
	assert_int_equal(PARSE("-c", "k", "-http-port=1"), OPTIONS_OK);
	options_free(&o);
	setenv("DERP_HTTP_PORT", "80", 1);
	setenv("TS_DEBUG_TRUSTED_CIDRS", "10.0.0.0/99", 1);
	expect_error(PARSE("-c", "k"), "10.0.0.0/99");
}

static void test_unsupported(void **state)
{
	expect_error(PARSE("-rate-config", "a"), "-rate-config is not supported");
	expect_error(PARSE("-verify-clients"), "-verify-clients is not supported");
	expect_error(PARSE("-accept-connection-limit=10"), "-accept-connection-limit");
	expect_error(PARSE("-verify-clients=x"), "-verify-clients");
	assert_int_equal(PARSE_PLAIN("-verify-clients=false", "-rate-config=", "-socket", "/x",
			     "-accept-connection-limit", "+Inf", "-verify-client-url-fail-open"),
	    OPTIONS_OK);
	options_free(&o);
	/* What keeps strangers out must never be overlooked. */
	setenv("DERP_VERIFY_CLIENTS", "false", 1);
	setenv("DERP_VERIFY_CLIENT_URL", "", 1);
	assert_int_equal(PARSE_PLAIN("-derp"), OPTIONS_OK);
	options_free(&o);
	setenv("DERP_VERIFY_CLIENTS", "true", 1);
	expect_error(PARSE_PLAIN("-derp"), "DERP_VERIFY_CLIENTS");
	unsetenv("DERP_VERIFY_CLIENTS");
	setenv("SLUICE_VERIFY_CLIENT_URL", "http://x", 1);
	expect_error(PARSE_PLAIN("-derp"), "SLUICE_VERIFY_CLIENT_URL");
}

#define SHA256 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_mesh(void **state)
{
	assert_int_equal(PARSE_PLAIN("-derp"), OPTIONS_OK);
	assert_string_equal(o.mesh_with, "");
	assert_string_equal(o.mesh_psk_file, "");
	assert_string_equal(o.mesh_ca, "");
	assert_string_equal(o.mesh_pin, "");
	assert_string_equal(o.mesh_key, "");
	options_free(&o);
	assert_int_equal(PARSE_PLAIN("-mesh-with", ""), OPTIONS_OK);
	assert_string_equal(o.mesh_with, "");
	assert_string_equal(o.mesh_psk_file, "");
	options_free(&o);
	setenv("TAILSCALE_DERPER_MESH_KEY", "secret", 1);
	assert_int_equal(PARSE_PLAIN("-mesh-with=a.example,[::1]:4443/10.0.0.2", "-mesh-psk-file",
			     "f", "-mesh-ca", "c", "-mesh-pin", "[::1]=sha256-raw:" SHA256),
	    OPTIONS_OK);
	assert_string_equal(o.mesh_with, "a.example,[::1]:4443/10.0.0.2");
	assert_string_equal(o.mesh_psk_file, "f");
	assert_string_equal(o.mesh_ca, "c");
	assert_string_equal(o.mesh_pin, "[::1]=sha256-raw:" SHA256);
	assert_string_equal(o.mesh_key, "secret");
	options_free(&o);
	expect_error(PARSE_PLAIN("-mesh-with", "a,,b"), "-mesh-with");
	expect_error(PARSE_PLAIN("-mesh-with", "a/b/c"), "slash");
	expect_error(PARSE_PLAIN("-mesh-with", "a", "-mesh-pin", "a"), "write HOST=");
	expect_error(PARSE_PLAIN("-mesh-pin", "a=sha256-raw:" SHA256), "not in -mesh-with");
	assert_int_equal(
	    PARSE_AS("derper", "-dev", "-mesh-with=a", "-mesh-psk-file=f"), OPTIONS_OK);
	options_free(&o);
	expect_error(PARSE_AS("derper", "-dev", "-mesh-pin=a"), "sluice's own");
	expect_error(PARSE_AS("derper", "-dev", "-mesh-ca=a"), "sluice's own");
}

static void test_as_derper(void **state)
{
	expect_error(PARSE_AS("/usr/bin/derper", "-workers=2"), "sluice's own");
	assert_int_equal(PARSE_AS("derper", "-dev"), OPTIONS_OK);
	assert_true(o.as_derper);
	options_free(&o);
	assert_int_equal(PARSE_AS("derper", "-h"), OPTIONS_HELP);
	assert_true(o.as_derper);
	assert_false(options_is_derper("sluice"));
	assert_false(options_is_derper("derper/x"));
	assert_false(options_is_derper(NULL));
}

/* Every row can be found in the help and in the man page. */
static void test_usage(void **state)
{
	for (int man = 0; man < 2; man++) {
		char *text;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		assert_non_null(f);
		if (man)
			options_man(f);
		else
			options_usage(f, false);
		assert_int_equal(fclose(f), 0);
		for (size_t i = 0; i < OPTION_ROWS; i++) {
			const struct option_row *r = &option_rows[i];
			char name[80];

			if (r->section || (man && r->flag && strchr(r->flag, '-')))
				continue;
			snprintf(name, sizeof(name), "%s%s",
			    !r->flag ? ""
			    : man    ? "\\-"
				     : "-",
			    r->flag ? r->flag : r->env);
			if (!strstr(text, name))
				fail_msg("%s is missing", name);
		}
		for (char *line = strtok(text, "\n"); line && !man; line = strtok(NULL, "\n"))
			assert_true(strlen(line) <= 80);
		free(text);
	}
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	mkdir(dir, 0700);
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void test_cpus(void **state)
{
	char dir[] = "options-test-XXXXXX", sub[64], deep[64], command[64];

	assert_true(cpus_allowed() >= 1);
	assert_non_null(mkdtemp(dir));
	snprintf(sub, sizeof(sub), "%s/a", dir);
	snprintf(deep, sizeof(deep), "%s/a/b", dir);
	assert_int_equal(cpus_quota(dir, "/"), 0);
	put(sub, "cpu.max", "150000 100000\n");
	put(deep, "cpu.max", "max 100000\n");
	assert_int_equal(cpus_quota(dir, "/"), 0);
	assert_int_equal(cpus_quota(dir, "/a/b"), 2);
	assert_int_equal(cpus_quota(dir, "/a/b/not/there/"), 2);
	put(deep, "cpu.max", "50000 100000\n");
	assert_int_equal(cpus_quota(dir, "/a/b"), 1);
	/* version 1 */
	put(dir, "cpu.cfs_quota_us", "-1\n");
	put(dir, "cpu.cfs_period_us", "100000\n");
	assert_int_equal(cpus_quota(dir, "/"), 0);
	put(dir, "cpu.cfs_quota_us", "300000\n");
	assert_int_equal(cpus_quota(dir, "/"), 3);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	setenv("PATH", "/usr/bin:/bin", 1);
	assert_int_equal(system(command), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_defaults),
	    TEST(test_derpers_command_line),
	    TEST(test_tls),
	    TEST(test_dev),
	    TEST(test_key_file),
	    TEST(test_go_syntax),
	    TEST(test_times),
	    TEST(test_bad_values),
	    TEST(test_bad_arguments),
	    TEST(test_help_and_version),
	    TEST(test_environment),
	    TEST(test_unsupported),
	    TEST(test_mesh),
	    TEST(test_as_derper),
	    TEST(test_usage),
	    TEST(test_cpus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
