/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "daemon/file.h"
#include "daemon/keyfile.h"
#include "tool/tool.h"

static char dir[64], path[128];
static char err[512];

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "keyfile-test-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/derper.key", dir);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void put(const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0600), 0);
}

static void test_create_and_load(void **state)
{
	struct login_keys made, read;
	struct stat st;
	bool created;

	snprintf(path, sizeof(path), "%s/a/b/derper.key", dir);
	assert_int_equal(keyfile_load_or_create(path, &made, &created, err, sizeof(err)), 0);
	assert_true(created);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(keyfile_load_or_create(path, &read, &created, err, sizeof(err)), 0);
	assert_false(created);
	assert_memory_equal(&made, &read, sizeof(made));
	/* Nothing is left beside it. */
	snprintf(err, sizeof(err), "test \"$(ls -A %s/a/b)\" = derper.key", dir);
	assert_int_equal(system(err), 0);
}

static void test_never_replaces(void **state)
{
	struct login_keys made, again;

	assert_int_equal(keyfile_create(path, &made, err, sizeof(err)), 0);
	assert_int_equal(keyfile_create(path, &again, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "File exists"));
	assert_true(sodium_is_zero(again.private, KEY_LEN));
	assert_int_equal(keyfile_load(path, &again, err, sizeof(err)), 0);
	assert_memory_equal(&made, &again, sizeof(made));
}

/* A file as derper writes it, and one that a later version might. */
static void test_reads_derpers(void **state)
{
	static const char hex[] =
	    "77076d0a7318a57d3c16c17251b26645c6ad2f3a7a8b8e4a2e4e2f0b3a5c7d10";
	char text[256];
	uint8_t want[KEY_LEN];
	struct login_keys k;

	assert_true(key_unhex(hex, KEY_LEN, want));
	snprintf(text, sizeof(text), "{\n\t\"PrivateKey\": \"privkey:%s\"\n}", hex);
	put(text);
	assert_int_equal(keyfile_load(path, &k, err, sizeof(err)), 0);
	assert_memory_equal(k.private, want, KEY_LEN);
	snprintf(text, sizeof(text), "{\"Other\":[1],\"PrivateKey\":\"privkey:%s\"}\n", hex);
	put(text);
	assert_int_equal(keyfile_load(path, &k, err, sizeof(err)), 0);
}

static void test_bad_files(void **state)
{
	static const char *const bad[] = {
	    "",
	    "not json",
	    "{}",
	    "[]",
	    "{\"PrivateKey\": 1}",
	    "{\"PrivateKey\": \"\"}",
	    "{\"PrivateKey\": \"privkey:\"}",
	    "{\"PrivateKey\": \"privkey:12\"}",
	    "{\"PrivateKey\": \"nodekey:"
	    "77076d0a7318a57d3c16c17251b26645c6ad2f3a7a8b8e4a2e4e2f0b3a5c7d10\"}",
	    "{\"PrivateKey\": \"privkey:"
	    "77076d0a7318a57d3c16c17251b26645c6ad2f3a7a8b8e4a2e4e2f0b3a5c7d1g\"}",
	    "{\"PrivateKey\": \"privkey:"
	    "0000000000000000000000000000000000000000000000000000000000000000\"}",
	};
	struct login_keys k;
	bool created;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		put(bad[i]);
		assert_int_equal(keyfile_load(path, &k, err, sizeof(err)), -1);
		assert_non_null(strstr(err, path));
		assert_null(strstr(err, "77076d"));
		assert_true(sodium_is_zero(k.private, KEY_LEN));
		/* A bad file stays as it is. */
		assert_int_equal(keyfile_load_or_create(path, &k, &created, err, sizeof(err)), -1);
		assert_false(created);
	}
}

static void test_unreadable(void **state)
{
	struct login_keys k;
	bool created;
	char *data;
	size_t len;

	assert_int_equal(keyfile_load(dir, &k, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "directory"));
	assert_int_equal(keyfile_load(path, &k, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "No such file"));
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(keyfile_load(path, &k, err, sizeof(err)), -1);
	snprintf(path, sizeof(path), "/proc/no/such/derper.key");
	assert_int_equal(keyfile_load_or_create(path, &k, &created, err, sizeof(err)), -1);
	assert_int_equal(file_read("/proc/self/maps", 10, &data, &len), -EFBIG);
	assert_null(data);
}

static void test_file_limits(void **state)
{
	char *data;
	size_t len;

	put("0123456789");
	assert_int_equal(file_read(path, 10, &data, &len), 0);
	assert_int_equal(len, 10);
	assert_string_equal(data, "0123456789");
	file_free(data, len);
	assert_int_equal(file_read(path, 9, &data, &len), -EFBIG);
	assert_int_equal(file_create(path, "x", 1, 0600), -EEXIST);
}

static void test_keygen(void **state)
{
	char *ok[] = {"keygen", "-c", path, NULL};
	char *bad[] = {"keygen", NULL};
	char *unknown[] = {"keygen", "-x", path, NULL};
	struct login_keys k;

	assert_int_equal(keygen_main(1, bad), 2);
	assert_int_equal(keygen_main(3, unknown), 2);
	assert_int_equal(keygen_main(3, ok), 0);
	assert_int_equal(keyfile_load(path, &k, err, sizeof(err)), 0);
	assert_int_equal(keygen_main(3, ok), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_create_and_load, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_never_replaces, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reads_derpers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_files, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_file_limits, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_keygen, setup, teardown),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
