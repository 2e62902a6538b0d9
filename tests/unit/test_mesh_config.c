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
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sodium.h>

#include "daemon/mesh_config.h"
#include "daemon/selfcert.h"
#include "log_keep.h"

#define HEX "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
#define PIN "sha256-raw:" HEX

static char dir[64], path[128], err[512];
static struct options o;
static struct mesh *m;

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "mesh-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/mesh.key", dir);
	setenv("HOME", dir, 1);
	unsetenv("TAILSCALE_DERPER_MESH_KEY");
	o = (struct options){
	    .mesh_psk_file = strdup(""),
	    .mesh_with = strdup(""),
	    .mesh_ca = strdup(""),
	    .mesh_pin = strdup(""),
	    .mesh_key = strdup(""),
	};
	log_keep();
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	log_set_sink(NULL, NULL);
	mesh_config_free(m);
	m = NULL;
	free(o.mesh_psk_file);
	free(o.mesh_with);
	free(o.mesh_ca);
	free(o.mesh_pin);
	free(o.mesh_key);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void set(char **field, const char *text)
{
	free(*field);
	*field = strdup(text);
}

static void put(const char *where, const char *text, mode_t mode)
{
	FILE *f = fopen(where, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(where, mode), 0);
}

static int load(void)
{
	int rc;

	mesh_config_free(m);
	m = NULL;
	err[0] = '\0';
	rc = mesh_config_new(&o, 3, &m, err, sizeof(err));
	assert_true(rc == 0 || m == NULL);
	assert_int_equal(rc == 0, err[0] == '\0');
	assert_null(strchr(err, '\n'));
	return rc;
}

static void expect_error(const char *part)
{
	assert_int_equal(load(), -1);
	if (!strstr(err, part))
		fail_msg("\"%s\" says nothing of \"%s\"", err, part);
}

/* With a key file that is as it should be. */
static void with_key(void)
{
	put(path, HEX "\n", 0600);
	set(&o.mesh_psk_file, path);
}

static void expect_key(void)
{
	uint8_t want[MESH_KEY_LEN];

	assert_true(key_unhex(HEX, sizeof(want), want));
	assert_non_null(m);
	assert_true(m->has_key);
	assert_memory_equal(m->key, want, sizeof(want));
}

static void expect_link(int i, const char *host, const char *dial, uint16_t port)
{
	assert_true(i < m->n);
	assert_string_equal(m->link[i].host, host);
	assert_string_equal(m->link[i].dial, dial);
	assert_int_equal(m->link[i].port, port);
	assert_int_equal(m->link[i].state, MESH_WAITING);
}

static void test_none(void **state)
{
	assert_int_equal(load(), 0);
	assert_null(m);
	mesh_announce(m);
	assert_non_null(strstr(logged, "no mesh key"));
}

static void test_key_alone(void **state)
{
	with_key();
	assert_int_equal(load(), 0);
	expect_key();
	assert_int_equal(m->n, 0);
	assert_int_equal((uintptr_t)m % 64, 0);
	assert_int_equal((uintptr_t)m->peers % 64, 0);
	for (int w = 0; w < 3; w++)
		for (int i = 0; i < MESH_LINKS_MAX; i++)
			assert_int_equal(m->peers[w][i], 0);
	assert_string_equal(logged, "");
	mesh_announce(m);
	assert_non_null(strstr(logged, "a mesh key is configured"));
}

static void test_key_files(void **state)
{
	static const char *const good[] = {HEX, HEX "\n", " \t" HEX "\r\n", "\n\n" HEX "\n\n",
	    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"};
	static const char *const bad[] = {"", "\n", "12", HEX "0", HEX " " HEX, HEX "\n#",
	    "0011223344556677x899aabbccddeeff00112233445566778899aabbccddeeff",
	    "001122334455667 8899aabbccddeeff00112233445566778899aabbccddeeff0", "key:" HEX,
	    "\"" HEX "\""};
	char zeros[65];

	set(&o.mesh_psk_file, path);
	for (size_t i = 0; i < ARRAY_LEN(good); i++) {
		put(path, good[i], 0600);
		assert_int_equal(load(), 0);
		assert_true(m->has_key);
	}
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		put(path, bad[i], 0600);
		expect_error("64 hex digits");
		assert_non_null(strstr(err, path));
		assert_null(strstr(err, "0011"));
	}
	memset(zeros, '0', 64);
	zeros[64] = '\0';
	put(path, zeros, 0600);
	expect_error("nothing but zeros");
	assert_string_equal(logged, "");
	put(path, HEX, 0640);
	assert_int_equal(load(), 0);
	assert_non_null(strstr(logged, "chmod 600"));
	assert_null(strstr(logged, "0011"));
	assert_int_equal(unlink(path), 0);
	expect_error("No such file");
	set(&o.mesh_psk_file, dir);
	expect_error("directory");
	set(&o.mesh_psk_file, "/proc/self/maps");
	expect_error("/proc/self/maps");
}

static void test_default_file(void **state)
{
	char where[192];

	snprintf(where, sizeof(where), "%s/keys", dir);
	assert_int_equal(mkdir(where, 0700), 0);
	assert_int_equal(load(), 0);
	assert_null(m);
	snprintf(where, sizeof(where), "%s/keys/derp-mesh.key", dir);
	put(where, HEX, 0600);
	assert_int_equal(load(), 0);
	expect_key();
	put(where, "rubbish", 0600);
	expect_error(where);
	unsetenv("HOME");
	assert_int_equal(load(), 0);
	assert_null(m);
}

/* With -dev the key comes from the environment, and nothing is left of it there. */
static void test_dev(void **state)
{
	char *text;

	with_key();
	setenv("TAILSCALE_DERPER_MESH_KEY", HEX, 1);
	text = getenv("TAILSCALE_DERPER_MESH_KEY");
	set(&o.mesh_key, HEX);
	o.dev = true;
	assert_int_equal(load(), 0);
	expect_key();
	assert_true(sodium_is_zero((uint8_t *)text, 64));
	assert_true(sodium_is_zero((uint8_t *)o.mesh_key, 64));
	assert_non_null(strstr(logged, "does not count with -dev"));
	set(&o.mesh_psk_file, "");
	assert_int_equal(load(), 0);
	assert_null(m);
	set(&o.mesh_key, "abcd");
	expect_error("TAILSCALE_DERPER_MESH_KEY must hold 64");
	assert_null(strstr(err, "abcd"));
	set(&o.mesh_with, "a");
	expect_error("TAILSCALE_DERPER_MESH_KEY");
	/* Without -dev it is no key, and wiped all the same. */
	o.dev = false;
	set(&o.mesh_with, "");
	set(&o.mesh_key, HEX);
	assert_int_equal(load(), 0);
	assert_null(m);
	assert_true(sodium_is_zero((uint8_t *)o.mesh_key, 64));
}

static void test_good_links(void **state)
{
	with_key();
	set(&o.mesh_with, "a.example.com, B_1.example.com:8443/10.0.0.2 ,[::1]:4443/10.0.0.2,"
			  "192.0.2.1,[2001:db8::1]/[fe80::2],x/2001:db8::9,192.0.2.1:1/y.,"
			  "a.example.com/10.0.0.9,a.example.com:444");
	assert_int_equal(load(), 0);
	assert_int_equal(m->n, 9);
	expect_link(0, "a.example.com", "a.example.com", 443);
	expect_link(1, "B_1.example.com", "10.0.0.2", 8443);
	expect_link(2, "::1", "10.0.0.2", 4443);
	expect_link(3, "192.0.2.1", "192.0.2.1", 443);
	expect_link(4, "2001:db8::1", "fe80::2", 443);
	expect_link(5, "x", "2001:db8::9", 443);
	expect_link(6, "192.0.2.1", "y.", 1);
	expect_link(7, "a.example.com", "10.0.0.9", 443);
	expect_link(8, "a.example.com", "a.example.com", 444);
	mesh_announce(m);
	assert_non_null(strstr(logged, "the mesh is with 9: a.example.com, B_1"));
	set(&o.mesh_with, " \t");
	assert_int_equal(load(), 0);
	assert_int_equal(m->n, 0);
}

static void test_bad_links(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
	    {",", "empty"},
	    {"a,", "empty"},
	    {",a", "empty"},
	    {"a, ,b", "empty"},
	    {"a/b/c", "slash"},
	    {"https://a", "slash"},
	    {"/b", "name or an IP"},
	    {"a/", "behind the slash"},
	    {"a/b:443", "without a port"},
	    {"a/[::1]:443", "without a port"},
	    {"a/10.0.0.1:1", "without a port"},
	    {"a/[10.0.0.1", "behind the slash"},
	    {"::1", "brackets"},
	    {"fe80::1:443", "brackets"},
	    {"[::1", "closing ]"},
	    {"[::1]x", "closing ]"},
	    {"[::1]443", "closing ]"},
	    {"[]", "no IPv6"},
	    {"[a]", "no IPv6"},
	    {"[10.0.0.1]", "no IPv6"},
	    {"[:1]", "no IPv6"},
	    {"a]:1", "name or an IP"},
	    {"a:", "port"},
	    {"a:0", "port"},
	    {"a:65536", "port"},
	    {"a:99999999999999999999", "port"},
	    {"a:https", "port"},
	    {"a:+1", "port"},
	    {"a:1x", "port"},
	    {":443", "name or an IP"},
	    {"a b", "name or an IP"},
	    {"a..b", "name or an IP"},
	    {"-a", "name or an IP"},
	    {"a?b", "name or an IP"},
	    {"a\rb", "name or an IP"},
	    {"a@b", "name or an IP"},
	    {"a,a", "twice"},
	    {"a,A:443", "twice"},
	    {"a,a/a", "twice"},
	    {"a/B,A/b", "twice"},
	};
	char longest[700], many[8 * (MESH_LINKS_MAX + 1)] = "";

	with_key();
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		set(&o.mesh_with, bad[i].text);
		expect_error(bad[i].why);
		assert_non_null(mesh_check_with(bad[i].text));
	}
	memset(longest, 'a', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	set(&o.mesh_with, longest);
	expect_error("too long");
	longest[254] = '\0';
	set(&o.mesh_with, longest);
	expect_error("name or an IP");
	longest[253] = '\0';
	set(&o.mesh_with, longest);
	assert_int_equal(load(), 0);
	for (int i = 0; i <= MESH_LINKS_MAX; i++) {
		snprintf(many + strlen(many), 8, "%sh%d", i > 0 ? "," : "", i);
		set(&o.mesh_with, many);
		if (i < MESH_LINKS_MAX)
			assert_int_equal(load(), 0);
		else
			expect_error("too many");
	}
}

static void test_links_without_key(void **state)
{
	set(&o.mesh_with, "a");
	expect_error("-mesh-with needs -mesh-psk-file");
}

static void test_pins(void **state)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
	    {"a", "write HOST="},
	    {"a=", "write HOST="},
	    {"a=" HEX, "write HOST="},
	    {"a=sha256-raw:", "write HOST="},
	    {"a=sha256-raw:" HEX "0", "write HOST="},
	    {"a=sha256-raw:g0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
		"write HOST="},
	    {"c=" PIN, "not in -mesh-with"},
	    {"a:443=" PIN ",a=" PIN, "twice"},
	    {"a:81=" PIN, "not in -mesh-with"},
	    {"=" PIN, "name or an IP"},
	    {"::1=" PIN, "brackets"},
	    {"a=" PIN ",", "empty"},
	};
	uint8_t want[MESH_PIN_LEN];

	with_key();
	set(&o.mesh_with, "a,b:80,b:81/10.0.0.1,[::1]:1");
	set(&o.mesh_pin, "A=" PIN " , b=" PIN ",[::1]=" PIN);
	assert_int_equal(load(), 0);
	assert_true(key_unhex(HEX, sizeof(want), want));
	for (int i = 0; i < 4; i++) {
		assert_true(m->link[i].has_pin);
		assert_memory_equal(m->link[i].pin, want, sizeof(want));
	}
	set(&o.mesh_pin, "b:81=" PIN);
	assert_int_equal(load(), 0);
	assert_true(m->link[2].has_pin && !m->link[1].has_pin && !m->link[0].has_pin);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		set(&o.mesh_pin, bad[i].text);
		expect_error(bad[i].why);
		assert_non_null(strstr(err, "-mesh-pin"));
	}
}

static void write_cert(FILE *f)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = selfcert_for_ip(key, "127.0.0.1", 1);

	assert_non_null(x);
	assert_int_equal(PEM_write_X509(f, x), 1);
	X509_free(x);
	EVP_PKEY_free(key);
}

static SSL_CTX *load_ca(void)
{
	err[0] = '\0';
	return mesh_client_ctx(&o, NULL, err, sizeof(err));
}

static void test_ca(void **state)
{
	SSL_CTX *ctx = load_ca();
	STACK_OF(X509_OBJECT) * all;
	FILE *f;

	assert_non_null(ctx);
	SSL_CTX_free(ctx);
	set(&o.mesh_ca, path);
	assert_null(load_ca());
	assert_non_null(strstr(err, "No such file"));
	put(path, "", 0600);
	assert_null(load_ca());
	assert_non_null(strstr(err, "holds no certificate"));
	put(path, "rubbish\n-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0600);
	assert_null(load_ca());
	assert_non_null(strstr(err, "holds no certificate"));
	put(path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0600);
	assert_null(load_ca());
	assert_non_null(strstr(err, "can't be read"));
	put(path,
	    "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: "
	    "AES-256-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAAAAAAAAAAAAAAAAAAAA==\n"
	    "-----END CERTIFICATE-----\n",
	    0600);
	assert_null(load_ca());
	assert_non_null(strstr(err, "can't be read"));
	f = fopen(path, "w");
	write_cert(f);
	fputs("something between them\n", f);
	write_cert(f);
	fclose(f);
	ctx = load_ca();
	assert_non_null(ctx);
	all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));
	assert_true(sk_X509_OBJECT_num(all) >= 2);
	SSL_CTX_free(ctx);
	/* One good and one bad: nobody finds out later which of them counts. */
	f = fopen(path, "a");
	fputs("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", f);
	fclose(f);
	assert_null(load_ca());
	assert_non_null(strstr(err, "can't be read"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_none),
	    TEST(test_key_alone),
	    TEST(test_key_files),
	    TEST(test_default_file),
	    TEST(test_dev),
	    TEST(test_good_links),
	    TEST(test_bad_links),
	    TEST(test_links_without_key),
	    TEST(test_pins),
	    TEST(test_ca),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("mesh_config", tests, NULL, NULL);
}
