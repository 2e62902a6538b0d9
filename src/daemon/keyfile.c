/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/keyfile.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "base/log.h"
#include "daemon/file.h"

#define KEYFILE_MAX (64u << 10)
#define PREFIX "privkey:"

static void wiping_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

/* Takes the key out of the JSON. While it works, whatever jansson frees is wiped, as the text
 * passes through several buffers of its own. */
static bool parse(const char *data, size_t len, struct login_keys *k, char *err, size_t errlen)
{
	json_malloc_t old_malloc;
	json_free_t old_free;
	json_error_t why;
	json_t *root;
	const char *text;
	bool ok = false;

	json_get_alloc_funcs(&old_malloc, &old_free);
	json_set_alloc_funcs(malloc, wiping_free);
	root = json_loadb(data, len, 0, &why);
	if (!root) {
		/* The line of the error only: its text may quote the secret. */
		snprintf(err, errlen, "is not JSON (line %d)", why.line);
		explicit_bzero(&why, sizeof(why));
	} else if (!(text = json_string_value(json_object_get(root, "PrivateKey")))) {
		snprintf(err, errlen, "has no \"PrivateKey\"");
	} else if (strncmp(text, PREFIX, strlen(PREFIX)) != 0 ||
		   !key_unhex(text + strlen(PREFIX), KEY_LEN, k->private) ||
		   !login_keys_derive(k)) {
		snprintf(err, errlen,
		    "has a \"PrivateKey\" that is not \"" PREFIX "\" and 64 hex digits");
	} else {
		ok = true;
	}
	json_decref(root);
	json_set_alloc_funcs(old_malloc, old_free);
	return ok;
}

static void warn_if_open(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && (st.st_mode & 077) != 0)
		log_warn("others than its owner may use the key file %s: chmod 600 it", path);
}

/* 0, -ENOENT, or -1; err is set in every case but success. */
static int load(const char *path, struct login_keys *k, char *err, size_t errlen)
{
	char what[128];
	char *data;
	size_t len;
	int rc = file_read(path, KEYFILE_MAX, &data, &len);
	bool ok;

	if (rc != 0) {
		snprintf(err, errlen, "cannot read the key file %s: %s", path, strerror(-rc));
		return rc == -ENOENT ? rc : -1;
	}
	warn_if_open(path);
	ok = parse(data, len, k, what, sizeof(what));
	file_free(data, len);
	if (!ok) {
		login_keys_wipe(k);
		snprintf(err, errlen,
		    "the key file %s %s: restore it, or move it away to begin with a new key", path,
		    what);
		return -1;
	}
	return 0;
}

int keyfile_load(const char *path, struct login_keys *k, char *err, size_t errlen)
{
	return load(path, k, err, errlen) == 0 ? 0 : -1;
}

/* 0 or a negative errno. */
static int create(const char *path, struct login_keys *k, char *err, size_t errlen)
{
	char text[sizeof("{\n\t\"PrivateKey\": \"" PREFIX "\"\n}\n") + KEY_HEX_LEN];
	char hex[KEY_HEX_LEN + 1];
	int n, rc;

	login_keys_new(k);
	key_hex(k->private, KEY_LEN, hex);
	n = snprintf(text, sizeof(text), "{\n\t\"PrivateKey\": \"" PREFIX "%s\"\n}\n", hex);
	CHECK(n > 0 && (size_t)n < sizeof(text));
	/* As wide as the umask allows, like derper: the file itself is closed to others. */
	rc = file_make_parents(path, 0777);
	if (rc == 0)
		rc = file_create(path, text, (size_t)n, 0600);
	explicit_bzero(hex, sizeof(hex));
	explicit_bzero(text, sizeof(text));
	if (rc != 0) {
		login_keys_wipe(k);
		snprintf(err, errlen, "cannot make the key file %s: %s", path, strerror(-rc));
	}
	return rc;
}

int keyfile_create(const char *path, struct login_keys *k, char *err, size_t errlen)
{
	return create(path, k, err, errlen) == 0 ? 0 : -1;
}

int keyfile_load_or_create(
    const char *path, struct login_keys *k, bool *created, char *err, size_t errlen)
{
	int rc = load(path, k, err, errlen);

	*created = false;
	if (rc != -ENOENT)
		return rc;
	rc = create(path, k, err, errlen);
	if (rc == -EEXIST) /* another one was just as quick */
		return keyfile_load(path, k, err, errlen);
	*created = rc == 0;
	return rc == 0 ? 0 : -1;
}
