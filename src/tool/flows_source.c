/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/flows_source.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIX_PREFIX "unix:"

struct text {
	char *p;
	size_t len, cap;
	bool too_long;
};

/* False: it would be longer than FLOWS_SOURCE_MAX. */
static bool text_room(struct text *t, size_t more)
{
	size_t cap = MAX(t->cap, (size_t)1 << 16);
	char *p;

	if (more > FLOWS_SOURCE_MAX - t->len) {
		t->too_long = true;
		return false;
	}
	while (cap < t->len + more)
		cap *= 2;
	if (cap == t->cap)
		return true;
	p = realloc(t->p, cap);
	CHECK(p);
	t->p = p;
	t->cap = cap;
	return true;
}

static bool too_long(char err[FLOWS_ERR_LEN])
{
	return flows_fail(err, "it is longer than %u MiB", FLOWS_SOURCE_MAX >> 20);
}

static bool read_stream(FILE *f, struct text *t, char err[FLOWS_ERR_LEN])
{
	size_t n;

	do {
		/* One byte more than is allowed tells a file that is too long. */
		if (!text_room(t, MIN((size_t)1 << 16, FLOWS_SOURCE_MAX - t->len)) ||
		    t->cap == t->len)
			return too_long(err);
		n = fread(t->p + t->len, 1, t->cap - t->len, f);
		t->len += n;
		if (t->len > FLOWS_SOURCE_MAX)
			return too_long(err);
	} while (n > 0);
	if (ferror(f))
		return flows_fail(err, "%s", strerror(errno));
	return true;
}

static bool read_file(const char *path, struct text *t, char err[FLOWS_ERR_LEN])
{
	FILE *f = fopen(path, "re");
	bool ok;

	if (!f)
		return flows_fail(err, "%s", strerror(errno));
	ok = read_stream(f, t, err);
	fclose(f);
	return ok;
}

static size_t take(char *p, size_t size, size_t n, void *text)
{
	struct text *t = text;

	if (!text_room(t, size * n))
		return 0;
	memcpy(t->p + t->len, p, size * n);
	t->len += size * n;
	return size * n;
}

static bool is_url(const char *source)
{
	return strncasecmp(source, "http://", 7) == 0 || strncasecmp(source, "https://", 8) == 0;
}

/* The URL to fetch, with the page's path where it has none; NULL: it is no URL. For curl_free. */
static char *complete(const char *source)
{
	char *url = NULL, *path = NULL, *query = NULL;
	CURLU *u = curl_url();

	CHECK(u);
	if (curl_url_set(u, CURLUPART_URL, source, 0) == CURLUE_OK &&
	    curl_url_get(u, CURLUPART_PATH, &path, 0) == CURLUE_OK) {
		curl_url_get(u, CURLUPART_QUERY, &query, 0);
		if (strcmp(path, "/") == 0) {
			curl_url_set(u, CURLUPART_PATH, FLOWS_SOURCE_PATH, 0);
			/* What is there, a debug key, stays. */
			curl_url_set(u, CURLUPART_QUERY, FLOWS_SOURCE_QUERY,
			    query && *query ? CURLU_APPENDQUERY : 0);
		}
		curl_url_get(u, CURLUPART_URL, &url, 0);
	}
	curl_free(path);
	curl_free(query);
	curl_url_cleanup(u);
	return url;
}

void flows_source_name(const char *source, char *out, size_t cap)
{
	char *url = NULL;
	CURLU *u = curl_url();

	CHECK(u);
	if (is_url(source) && curl_url_set(u, CURLUPART_URL, source, 0) == CURLUE_OK) {
		curl_url_set(u, CURLUPART_QUERY, NULL, 0);
		curl_url_set(u, CURLUPART_USER, NULL, 0);
		curl_url_set(u, CURLUPART_PASSWORD, NULL, 0);
		curl_url_get(u, CURLUPART_URL, &url, 0);
	}
	if (url)
		snprintf(out, cap, "%s", url);
	else if (is_url(source))
		snprintf(out, cap, "%.*s", (int)strcspn(source, "?@"), source);
	else
		snprintf(out, cap, "%s", strcmp(source, "-") == 0 ? "standard input" : source);
	curl_free(url);
	curl_url_cleanup(u);
	for (; *out; out++)
		if ((unsigned char)*out < ' ' || *out == 0x7f)
			*out = '?';
}

static bool check_status(long status, char err[FLOWS_ERR_LEN])
{
	if (status == 200)
		return true;
	if (status == 403)
		return flows_fail(err,
		    "status 403: its debug pages are closed to this machine (they open to "
		    "TS_DEBUG_TRUSTED_CIDRS and to holders of the debug key)");
	if (status == 404)
		return flows_fail(err, "status 404: there is no flows page (derper has none; with "
				       "-debug-listen it is at that address)");
	return flows_fail(err, "status %ld instead of 200", status);
}

static bool set_options(
    CURL *c, const char *url, const char *socket, bool insecure, struct text *t, char *curl_err)
{
	CURLcode bad = CURLE_OK;

#define SET(option, value) bad = bad ? bad : curl_easy_setopt(c, option, value)
	SET(CURLOPT_URL, url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TIMEOUT_MS, (long)FLOWS_SOURCE_TIMEOUT_MS);
	SET(CURLOPT_WRITEFUNCTION, take);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_ERRORBUFFER, curl_err);
	SET(CURLOPT_USERAGENT, "sluice/" SLUICE_VERSION);
	if (socket) {
		SET(CURLOPT_UNIX_SOCKET_PATH, socket);
		SET(CURLOPT_PROXY, "");
	}
	if (insecure) {
		SET(CURLOPT_SSL_VERIFYPEER, 0L);
		SET(CURLOPT_SSL_VERIFYHOST, 0L);
	}
#undef SET
	return bad == CURLE_OK;
}

/* socket: the path of a Unix socket, or NULL. */
static bool fetch(
    const char *source, const char *socket, bool insecure, struct text *t, char err[FLOWS_ERR_LEN])
{
	char curl_err[CURL_ERROR_SIZE] = "";
	char *url = complete(source);
	CURL *c = curl_easy_init();
	CURLcode code = CURLE_FAILED_INIT;
	long status = 0;
	bool ok;

	CHECK(c);
	if (!url) {
		curl_easy_cleanup(c);
		return flows_fail(err, "it is no URL");
	}
	if (set_options(c, url, socket, insecure, t, curl_err))
		code = curl_easy_perform(c);
	curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
	if (t->too_long)
		ok = too_long(err);
	else if (code != CURLE_OK)
		ok = flows_fail(err, "%s%s", *curl_err ? curl_err : curl_easy_strerror(code),
		    code == CURLE_PEER_FAILED_VERIFICATION ? " (-k goes without)" : "");
	else
		ok = check_status(status, err);
	curl_easy_cleanup(c);
	curl_free(url);
	return ok;
}

static bool read_text(const char *source, bool insecure, struct text *t, char err[FLOWS_ERR_LEN])
{
	if (strcmp(source, "-") == 0)
		return read_stream(stdin, t, err);
	if (is_url(source))
		return fetch(source, NULL, insecure, t, err);
	if (strncmp(source, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
		return fetch("http://localhost/", source + strlen(UNIX_PREFIX), insecure, t, err);
	return read_file(source, t, err);
}

json_t *flows_source_read(const char *source, bool insecure, char err[FLOWS_ERR_LEN])
{
	struct text t = {0};
	json_t *doc = NULL;
	json_error_t json_err;

	if (read_text(source, insecure, &t, err)) {
		doc = json_loadb(t.p ? t.p : "", t.len, 0, &json_err);
		if (!doc)
			flows_fail(err,
			    "it is no JSON, line %d: %s (the flows page's ?format=json)",
			    json_err.line, json_err.text);
	}
	free(t.p);
	/* What a server said may stand in it. */
	if (!doc)
		flows_printable(err);
	return doc;
}
