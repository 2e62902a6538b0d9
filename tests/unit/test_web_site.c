/* SPDX-License-Identifier: BSD-3-Clause */
/* The relay's routes: statuses, fields, methods, and who may see the debug pages. */
#include "test_web.h"

#define STRANGER "203.0.113.9"
#define FRIEND "127.0.0.1"
#define REQUEST(method, target) method " " target " HTTP/1.1\r\nHost: relay.example"

static void expect(
    const char *ip, enum listener_kind listener, const char *text, int status, const char *field)
{
	struct fetch *f = get_from(ip, listener, text);

	if (f->status != status)
		fail_msg("%s: %d, expected %d", text, f->status, status);
	if (field && !has_field(f, field))
		fail_msg("%s: no \"%s\" in\n%s", text, field, f->head);
	fetch_free(f);
}

static void expect_body(const char *text, const char *body)
{
	struct fetch *f = get_from(STRANGER, LISTEN_PUBLIC, text);

	assert_int_equal(f->status, 200);
	assert_string_equal(f->body, body);
	fetch_free(f);
}

static void test_routes(void **state)
{
	expect(STRANGER, LISTEN_PUBLIC, "/derp", 426, "Upgrade: DERP");
	expect(STRANGER, LISTEN_PUBLIC, REQUEST("POST", "/derp"), 426, NULL);
	expect(STRANGER, LISTEN_PUBLIC, "/derp/probe", 200, "Access-Control-Allow-Origin: *");
	expect(STRANGER, LISTEN_PUBLIC, "/derp/probe?x=1", 200, "Content-Length: 0");
	expect(STRANGER, LISTEN_PUBLIC, REQUEST("HEAD", "/derp/latency-check"), 200,
	    "Access-Control-Allow-Origin: *");
	expect(STRANGER, LISTEN_PUBLIC, REQUEST("POST", "/derp/probe"), 405, "Allow: GET, HEAD");
	expect(STRANGER, LISTEN_PUBLIC, "/robots.txt", 200, "X-Content-Type-Options: nosniff");
	expect(STRANGER, LISTEN_PUBLIC, "/", 200, "Content-Type: text/html; charset=utf-8");
	expect(STRANGER, LISTEN_PUBLIC, "/no/such/page", 200, "X-Frame-Options: DENY");
	expect(STRANGER, LISTEN_PUBLIC, REQUEST("DELETE", "/x"), 200, NULL);
	expect(STRANGER, LISTEN_PUBLIC, REQUEST("OPTIONS", "*"), 200, NULL);
	expect(STRANGER, LISTEN_PUBLIC, "CONNECT a:443 HTTP/1.1\r\nHost: a:443", 403, NULL);
	expect(STRANGER, LISTEN_PUBLIC, "/", 200,
	    "Strict-Transport-Security: max-age=63072000; includeSubDomains");
	expect_body("/robots.txt", "User-agent: *\nDisallow: /\n");
	expect_body("/derp/probe", "");
}

static void test_home(void **state)
{
	struct fetch *f = get_from(STRANGER, LISTEN_PUBLIC, "/");

	assert_null(strstr(f->body, "<h1>DERP"));
	assert_null(strstr(f->body, "/debug/"));
	assert_null(strstr(f->body, "switched off"));
	assert_non_null(strstr(f->head, "Content-Security-Policy: default-src 'self'; "));
	fetch_free(f);
	f = get_from(FRIEND, LISTEN_PUBLIC, "/");
	assert_non_null(strstr(f->body, "/debug/"));
	fetch_free(f);

	site_free(site);
	config.home = "blank";
	config.derp = false;
	make_site();
	expect_body("/", "");
	expect(STRANGER, LISTEN_PUBLIC, "/derp", 404, NULL);

	site_free(site);
	config.home = "https://example.com/a?b";
	make_site();
	expect(STRANGER, LISTEN_PUBLIC, "/", 302, "Location: https://example.com/a?b");
	expect(STRANGER, LISTEN_PUBLIC, "/x", 302, "Location: https://example.com/a?b");

	site_free(site);
	config.home = "";
	make_site();
	f = get_from(STRANGER, LISTEN_PUBLIC, "/");
	assert_non_null(strstr(f->body, "switched off"));
	fetch_free(f);
}

static void expect_challenge(const char *challenge, const char *response)
{
	char text[512], field[512];
	struct fetch *f;

	for (int listener = LISTEN_PUBLIC; listener <= LISTEN_HTTP; listener++) {
		snprintf(text, sizeof(text), REQUEST("GET", "/generate_204?t=1") "\r\n%s%s",
		    "X-Tailscale-Challenge: ", challenge);
		f = get_from(STRANGER, (enum listener_kind)listener, text);
		assert_int_equal(f->status, 204);
		assert_string_equal(f->body, "");
		assert_null(strstr(f->head, "Content-Length"));
		assert_true(has_field(f, "Cache-Control: no-cache, no-store, must-revalidate, "
					 "no-transform, max-age=0"));
		snprintf(field, sizeof(field), "X-Tailscale-Response: response %s", challenge);
		if (response)
			assert_true(has_field(f, field));
		else
			assert_null(strstr(f->head, "X-Tailscale-Response"));
		fetch_free(f);
	}
}

static void test_generate_204(void **state)
{
	char text[66] = {0};

	expect_challenge("ts_1.2-3:Z", "");
	expect_challenge("", NULL);
	expect_challenge("a b", NULL);
	expect_challenge("a/b", NULL);
	memset(text, 'a', 64);
	expect_challenge(text, "");
	text[64] = 'a';
	expect_challenge(text, NULL);
}

static void test_head(void **state)
{
	static const char *const paths[] = {
	    "/", "/robots.txt", "/derp", "/debug/", "/debug/x", "/debug/mesh"};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct fetch *get = get_from(FRIEND, LISTEN_PUBLIC, paths[i]), *head;
		char text[128], length[64];

		snprintf(text, sizeof(text), REQUEST("HEAD", "%s"), paths[i]);
		head = get_from(FRIEND, LISTEN_PUBLIC, text);
		assert_int_equal(head->status, get->status);
		snprintf(length, sizeof(length), "Content-Length: %zu", get->body_len);
		assert_true(has_field(get, length));
		assert_true(has_field(head, length));
		assert_int_equal(head->body_len, 0);
		assert_true(get->body_len > 0);
		fetch_free(get);
		fetch_free(head);
	}
	/* Pages of unknown length ask nobody anything. */
	expect(FRIEND, LISTEN_PUBLIC, REQUEST("HEAD", "/debug/flows"), 200,
	    "Transfer-Encoding: chunked");
	expect(FRIEND, LISTEN_PUBLIC, REQUEST("HEAD", "/debug/clients?limit=x"), 400, NULL);
	assert_int_equal(asked[LETTER_ASK_FLOWS] + asked[LETTER_ASK_CLIENTS], 0);
}

static void test_keep_alive(void **state)
{
	struct fetch *f = get_from(STRANGER, LISTEN_PUBLIC, "/robots.txt");

	assert_false(f->reply.close);
	assert_true(has_field(f, "Connection: keep-alive"));
	fetch_free(f);
	f = get_from(
	    STRANGER, LISTEN_PUBLIC, REQUEST("GET", "/robots.txt") "\r\nConnection: close");
	assert_true(f->reply.close);
	assert_true(has_field(f, "Connection: close"));
	fetch_free(f);
	f = get_from(STRANGER, LISTEN_PUBLIC, "GET /robots.txt HTTP/1.0");
	assert_true(f->reply.close);
	fetch_free(f);
}

static void test_http_port(void **state)
{
	expect(STRANGER, LISTEN_HTTP, "/a/b?c=%20d", 302,
	    "Location: https://relay.example/a/b?c=%20d");
	expect(
	    STRANGER, LISTEN_HTTP, REQUEST("HEAD", "/?"), 302, "Location: https://relay.example/?");
	expect(STRANGER, LISTEN_HTTP, "/derp", 302, "Location: https://relay.example/derp");
	expect(STRANGER, LISTEN_HTTP, "/", 302, "Location: https://relay.example/");
	expect(FRIEND, LISTEN_HTTP, "/", 302, "Location: https://relay.example/debug/");
	expect(STRANGER, LISTEN_HTTP, "GET / HTTP/1.1\r\nHost: [2001:db8::1]:8080", 302,
	    "Location: https://[2001:db8::1]/");
	expect(STRANGER, LISTEN_HTTP, "GET http://other.example/x HTTP/1.1\r\nHost: other.example",
	    302, "Location: https://other.example/x");
	expect(STRANGER, LISTEN_HTTP, "GET / HTTP/1.0", 400, NULL);
	expect(STRANGER, LISTEN_HTTP, REQUEST("POST", "/"), 400, NULL);
	expect(STRANGER, LISTEN_HTTP, REQUEST("OPTIONS", "*"), 400, NULL);
	expect(STRANGER, LISTEN_HTTP, "CONNECT a:443 HTTP/1.1\r\nHost: a:443", 403, NULL);
	expect(STRANGER, LISTEN_HTTP, "/debug/varz", 403, NULL);
	expect(FRIEND, LISTEN_HTTP, "/debug/varz", 200, NULL);

	site_free(site);
	config.tls_port = 8443;
	make_site();
	expect(STRANGER, LISTEN_HTTP, "/x", 302, "Location: https://relay.example:8443/x");
}

static void test_redirect_long(void **state)
{
	static char text[HTTP_LINE_MAX];
	int n = snprintf(text, sizeof(text), "/");

	memset(text + n, 'a', 8000);
	text[n + 8000] = '\0';
	expect(STRANGER, LISTEN_HTTP, text, 302, NULL);
}

static void test_access(void **state)
{
	static const struct {
		const char *ip;
		int status;
	} row[] = {
	    {"127.0.0.1", 200},
	    {"127.9.9.9", 200},
	    {"::1", 200},
	    {"::ffff:127.0.0.1", 200},
	    {"unix", 200},
	    {"100.64.0.1", 200},
	    {"::ffff:100.127.255.255", 200},
	    {"100.115.92.7", 403},
	    {"fd7a:115c:a1e0::5", 200},
	    {"fd7a:115c:a1e1::5", 403},
	    {"203.0.113.9", 403},
	    {"10.1.2.3", 403},
	    {"::", 403},
	    {"0.0.0.0", 403},
	};

	for (size_t i = 0; i < ARRAY_LEN(row); i++) {
		expect(row[i].ip, LISTEN_PUBLIC, "/debug/", row[i].status, NULL);
		expect(row[i].ip, LISTEN_HTTP, "/debug/varz", row[i].status, NULL);
		expect(row[i].ip, LISTEN_PUBLIC,
		    REQUEST("GET", "/debug/") "\r\nX-Forwarded-For: 127.0.0.1", 403, NULL);
		expect(row[i].ip, LISTEN_PUBLIC, "/debug/mesh", row[i].status, NULL);
	}
	expect(STRANGER, LISTEN_PUBLIC, "/debug/nosuch", 403, NULL);
	expect(FRIEND, LISTEN_PUBLIC, "/debug/nosuch", 404, NULL);
	expect(FRIEND, LISTEN_PUBLIC, "/debug/flows/", 404, NULL);
	expect(FRIEND, LISTEN_PUBLIC, "/debug", 301, "Location: /debug/");
	expect(FRIEND, LISTEN_PUBLIC, REQUEST("POST", "/debug/varz"), 405, "Allow: GET, HEAD");
	/* Not the page, whatever the spelling. */
	expect(FRIEND, LISTEN_PUBLIC, "/debugx", 200, "Content-Type: text/html; charset=utf-8");
	expect(STRANGER, LISTEN_PUBLIC, "/%64ebug/varz", 200,
	    "Content-Type: text/html; charset=utf-8");
	expect(
	    STRANGER, LISTEN_PUBLIC, "//debug/varz", 200, "Content-Type: text/html; charset=utf-8");
}

static void test_access_options(void **state)
{
	char err[128];

	site_free(site);
	assert_int_equal(
	    addr_cidrs_parse(&config.trusted, "10.0.0.0/8, 2001:db8::/32", err, sizeof(err)), 0);
	config.allow_debug_ip = "192.0.2.7";
	make_site();
	expect("10.1.2.3", LISTEN_PUBLIC, "/debug/", 200, NULL);
	expect("2001:db8::9", LISTEN_PUBLIC, "/debug/", 200, NULL);
	expect("11.1.2.3", LISTEN_PUBLIC, "/debug/", 403, NULL);
	expect("192.0.2.7", LISTEN_PUBLIC, "/debug/", 200, NULL);
	expect("::ffff:192.0.2.7", LISTEN_PUBLIC, "/debug/", 200, NULL);
	expect("192.0.2.8", LISTEN_PUBLIC, "/debug/", 403, NULL);

	site_free(site);
	config.allow_debug_ip = "nonsense";
	make_site();
	expect("192.0.2.7", LISTEN_PUBLIC, "/debug/", 403, NULL);
	expect("::", LISTEN_PUBLIC, "/debug/", 403, NULL);
}

static void test_debug_key(void **state)
{
	site_free(site);
	config.debug_key = "open sesame";
	make_site();
	expect(STRANGER, LISTEN_PUBLIC, "/debug/varz?debugkey=open+sesame", 200, NULL);
	expect(STRANGER, LISTEN_PUBLIC,
	    REQUEST("GET", "/debug/?debugkey=open%20sesame") "\r\nX-Forwarded-For: 1.2.3.4", 200,
	    NULL);
	expect(STRANGER, LISTEN_PUBLIC, REQUEST("HEAD", "/debug/?debugkey=open+sesame"), 403, NULL);
	expect(STRANGER, LISTEN_PUBLIC, REQUEST("POST", "/debug/?debugkey=open+sesame"), 403, NULL);
	expect(STRANGER, LISTEN_PUBLIC, "/debug/?debugkey=open+sesam", 403, NULL);
	expect(STRANGER, LISTEN_PUBLIC, "/debug/?debugkey=open+sesame2", 403, NULL);
	expect(STRANGER, LISTEN_PUBLIC, "/debug/?debugkey=", 403, NULL);
	expect(STRANGER, LISTEN_PUBLIC, "/debug/?debugkey=%00", 403, NULL);
	expect(STRANGER, LISTEN_PUBLIC, "/debug/", 403, NULL);

	site_free(site);
	config.debug_key = "";
	make_site();
	expect(STRANGER, LISTEN_PUBLIC, "/debug/?debugkey=", 403, NULL);
}

static void test_debug_listener(void **state)
{
	expect(STRANGER, LISTEN_DEBUG, "/debug/", 200, NULL);
	expect(STRANGER, LISTEN_DEBUG, REQUEST("GET", "/debug/varz") "\r\nX-Forwarded-For: 1.2.3.4",
	    200, NULL);
	expect(STRANGER, LISTEN_DEBUG, "/", 302, "Location: /debug/");
	expect(STRANGER, LISTEN_DEBUG, "/derp", 404, NULL);

	site_free(site);
	config.debug_elsewhere = true;
	config.debug_key = "k";
	make_site();
	expect("unix", LISTEN_DEBUG, "/debug/", 200, NULL);
	expect(FRIEND, LISTEN_PUBLIC, "/debug/", 404, NULL);
	expect(FRIEND, LISTEN_PUBLIC, "/debug", 404, NULL);
	expect(FRIEND, LISTEN_PUBLIC, "/debug/varz?debugkey=k", 404, NULL);
	expect(FRIEND, LISTEN_HTTP, "/debug/flows", 404, NULL);
	expect(FRIEND, LISTEN_HTTP, "/", 302, "Location: https://relay.example/");
	expect(FRIEND, LISTEN_PUBLIC, "/", 200, NULL);
}

static void test_index(void **state)
{
	struct fetch *f = get_from(FRIEND, LISTEN_PUBLIC, "/debug/");

	assert_non_null(strstr(f->body, "href=\"/debug/varz\""));
	assert_non_null(strstr(f->body, "href=\"/debug/flows\""));
	assert_non_null(strstr(f->body, "href=\"/debug/clients\""));
	assert_non_null(strstr(f->body, "href=\"/debug/mesh\""));
	assert_null(strstr(f->body, "href=\"/debug/\""));
	assert_non_null(strstr(f->body, "1.2.3&quot;&lt;"));
	assert_non_null(strstr(f->body, "nodekey:7777"));
	assert_non_null(strstr(f->body, "<b>Uptime:</b> 600 s"));
	fetch_free(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_routes),
	    T(test_home),
	    T(test_generate_204),
	    T(test_head),
	    T(test_keep_alive),
	    T(test_http_port),
	    T(test_redirect_long),
	    T(test_access),
	    T(test_access_options),
	    T(test_debug_key),
	    T(test_debug_listener),
	    T(test_index),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
