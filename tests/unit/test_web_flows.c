/* SPDX-License-Identifier: BSD-3-Clause */
/* /debug/flows: rates, orders, selection, sums, pieces, bad queries. */
#include "test_web_flows.h"

#include <time.h>

#include "base/clock.h"

static int64_t int_of(const json_t *object, const char *name)
{
	const json_t *v = json_object_get(object, name);

	assert_true(json_is_integer(v));
	return json_integer_value(v);
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *v = json_string_value(json_object_get(object, name));

	assert_non_null(v);
	return v;
}

static void test_text(void **state)
{
	struct fetch *f = flows_page_of(FLOWS);
	struct tm tm;
	char *line, *save, expected[256], *end;

	assert_int_equal(f->status, 200);
	assert_true(has_field(f, "Content-Type: text/plain; charset=utf-8"));
	assert_true(has_field(f, "X-Content-Type-Options: nosniff"));
	line = strtok_r(f->body, "\n", &save);
	end = strptime(line, "current time: %Y-%m-%d %H:%M:%S", &tm);
	assert_non_null(end);
	assert_string_equal(end, "");
	assert_string_equal(strtok_r(NULL, "\n", &save), "number flows: 3");
	assert_string_equal(strtok_r(NULL, "\n", &save),
	    "conn#      src        dst        recv from  fwded to        bytes    packets        "
	    "bps        pps last active ");
	/* 600 s after the start, and 1 s more */
	assert_string_equal(strtok_r(NULL, "\n", &save),
	    "100        [AAAAA]    [AAEA/]                               "
	    " 3000        300       2000        200     1 secs");
	assert_string_equal(strtok_r(NULL, "\n", &save),
	    "103        [AAADA]    [AAgA/]                               "
	    "  400         40        400         40     1 secs");
	snprintf(expected, sizeof(expected),
	    "%-10d %-10s %-10s %-10s %-10s %10d %10d %10d %10d "
	    "%5d secs",
	    100, "[AAAAA]", "[AAEA/]", "[q83vA]", "[EjRWA]", 100, 10, 0, 0, 1);
	assert_string_equal(strtok_r(NULL, "\n", &save), expected);
	assert_null(strtok_r(NULL, "\n", &save));
	fetch_free(f);
}

static void check_sums(const json_t *page)
{
	static const char *const names[] = {"packets", "bytes", "disco_packets", "disco_bytes",
	    "dropped_packets", "dropped_bytes", "fwded_packets", "fwded_bytes"};
	const json_t *totals = json_object_get(page, "totals");
	const json_t *flows = json_object_get(page, "flows"), *flow;
	size_t i;

	for (size_t n = 0; n < ARRAY_LEN(names); n++) {
		int64_t sum = int_of(json_object_get(page, "other"), names[n]);

		json_array_foreach(flows, i, flow) sum += int_of(flow, names[n]);
		assert_int_equal(sum, int_of(totals, names[n]));
	}
	assert_int_equal(int_of(totals, "flows"), json_array_size(flows));
}

static void test_json(void **state)
{
	struct fetch *f = flows_page_of(FLOWS "?format=json");
	json_t *page = json_of(f), *flow, *drops, *delay;
	int64_t sent;
	char key[KEY_TEXT_LEN];
	struct key k = make_key(0);

	assert_true(has_field(f, "Content-Type: application/json"));
	assert_int_equal(json_object_size(page), 6);
	key_text(&config.server_key, key);
	assert_string_equal(text_of(page, "server"), key);
	assert_int_equal(strlen(text_of(page, "time")), CLOCK_RFC3339_LEN - 1);
	assert_true(json_number_value(json_object_get(page, "interval_s")) == 1.0);
	check_sums(page);
	flow = json_array_get(json_object_get(page, "flows"), 0);
	assert_int_equal(json_object_size(flow), 19);
	key_text(&k, key);
	assert_string_equal(text_of(flow, "src"), key);
	assert_string_equal(text_of(flow, "recv_from"), "");
	assert_string_equal(text_of(flow, "fwded_to"), "");
	assert_int_equal(int_of(flow, "conn"), 100);
	assert_int_equal(int_of(flow, "bytes_per_s"), 2000);
	assert_int_equal(int_of(flow, "packets_per_s"), 200);
	assert_int_equal(json_object_size(json_object_get(flow, "drops")), 0);
	/* Wall time of 1.5 s before the page's. */
	assert_int_equal(strlen(text_of(flow, "last_active")), CLOCK_RFC3339_LEN - 1);
	assert_true(strcmp(text_of(flow, "last_active"), text_of(page, "time")) < 0);
	assert_true(strcmp(text_of(flow, "first_active"), text_of(flow, "last_active")) < 0);

	flow = json_array_get(json_object_get(page, "flows"), 1);
	drops = json_object_get(flow, "drops");
	assert_int_equal(int_of(flow, "dropped_packets"), 3);
	assert_int_equal(int_of(flow, "dropped_bytes"), 30);
	assert_int_equal(json_object_size(drops), 2);
	assert_int_equal(int_of(json_object_get(drops, "queue_head"), "bytes"), 20);
	assert_int_equal(int_of(json_object_get(drops, "unknown_dest"), "packets"), 1);
	/* Three of those that were sent waited 40 ms each. */
	delay = json_object_get(flow, "queue_delay");
	sent = int_of(flow, "packets") - 3;
	assert_int_equal(int_of(delay, "waited"), 3);
	assert_int_equal(int_of(delay, "last_ms"), 40);
	assert_float_equal(
	    json_real_value(json_object_get(delay, "average_ms")), 120.0 / (double)sent, 0.01);
	assert_int_equal(int_of(delay, "p99_ms"), sent < 300 ? 50 : 0);
	drops = json_object_get(json_object_get(page, "other"), "drops");
	assert_int_equal(int_of(json_object_get(drops, "dup_client"), "bytes"), 33);
	assert_int_equal(int_of(json_object_get(page, "other"), "flows"), 3);
	json_decref(page);
	fetch_free(f);
}

/* The conn numbers and bytes of the rows, as text. */
static void assert_rows(const char *query, const char *expected)
{
	char target[512], got[512] = "";
	struct fetch *f;
	json_t *page, *flow;
	size_t i, n = 0;

	snprintf(target, sizeof(target), FLOWS "?format=json&%s", query);
	f = flows_page_of(target);
	if (f->status != 200)
		fail_msg("%s: %d %s", query, f->status, f->body);
	page = json_of(f);
	json_array_foreach(json_object_get(page, "flows"), i, flow) n += (size_t)snprintf(got + n,
	    sizeof(got) - n, "%d:%d ", (int)int_of(flow, "conn"), (int)int_of(flow, "bytes"));
	if (strcmp(got, expected) != 0)
		fail_msg("%s: %s, expected %s", query, got, expected);
	/* Whatever is shown, totals are over everything. */
	assert_int_equal(int_of(json_object_get(page, "totals"), "bytes"), 3500 + 5070);
	assert_int_equal(int_of(json_object_get(page, "totals"), "flows"), 3);
	json_decref(page);
	fetch_free(f);
}

/* What came by the mesh is told apart in the sums, in rows by recv_from. */
static void test_mesh(void **state)
{
	struct fetch *f = flows_page_of(FLOWS "?format=json");
	json_t *page = json_of(f), *flow = json_array_get(json_object_get(page, "flows"), 2);
	json_t *totals = json_object_get(page, "totals"), *other = json_object_get(page, "other");

	assert_int_equal(int_of(flow, "fwded_packets"), 4);
	assert_int_equal(int_of(flow, "fwded_bytes"), 40);
	assert_int_equal(int_of(other, "mesh_packets"), 5);
	assert_int_equal(int_of(other, "mesh_bytes"), 50);
	assert_int_equal(int_of(totals, "mesh_packets"), 15);
	assert_int_equal(int_of(totals, "mesh_bytes"), 150);
	assert_int_equal(int_of(totals, "fwded_packets"), 6);
	assert_int_equal(int_of(totals, "fwded_bytes"), 60);
	json_decref(page);
	fetch_free(f);
}

static void test_query(void **state)
{
	struct key k = make_key(3 << 8), mesh = make_key(0xabcdef00);
	char text[128], hex[KEY_TEXT_LEN];

	assert_rows("sort=bytes_per_s", "100:3000 103:400 100:100 ");
	assert_rows("sort=bytes", "100:3000 103:400 100:100 ");
	assert_rows("sort=packets&limit=2", "100:3000 103:400 ");
	/* All were active at the same time: the next best is bytes. */
	assert_rows("sort=last_active", "100:3000 103:400 100:100 ");
	assert_rows("limit=0", "100:3000 103:400 100:100 ");
	assert_rows("limit=1", "100:3000 ");
	key_text(&k, hex);
	snprintf(text, sizeof(text), "src=%s", hex);
	assert_rows(text, "103:400 ");
	snprintf(text, sizeof(text), "src=%s", hex + 8);
	assert_rows(text, "103:400 ");
	assert_rows("src=[AAADA]", "103:400 ");
	assert_rows("src=%5BAAADA%5D", "103:400 ");
	assert_rows("src=[AAADB]", "");
	assert_rows("dst=[AAEA/]&limit=1", "100:3000 ");
	assert_rows("dst=[AAEA/]&src=[AAAAA]", "100:3000 100:100 ");
	assert_rows("dst=[AAgA/]&src=[AAAAA]", "");
	key_text(&mesh, hex);
	snprintf(text, sizeof(text), "src=%s", hex);
	assert_rows(text, "");
	snprintf(text, sizeof(text), "recv_from=%s", hex);
	assert_rows(text, "100:100 ");
	assert_rows("recv_from=[q83vA]&fwded_to=[EjRWA]", "100:100 ");
	assert_rows("fwded_to=[EjRWA]&limit=1", "100:100 ");
	assert_rows("fwded_to=[q83vA]", "");
	assert_rows("unknown=1&debugkey=x", "100:3000 103:400 100:100 ");
	assert_rows("src=[a+b/c]", "");
}

static void test_number_is_of_selection(void **state)
{
	struct fetch *f = flows_page_of(FLOWS "?limit=1&dst=[AAEA/]");

	assert_non_null(strstr(f->body, "\nnumber flows: 2\n"));
	fetch_free(f);
}

static void test_bad_query(void **state)
{
	static const char *const bad[] = {
	    "format=xml",
	    "format=",
	    "format=JSON",
	    "limit=",
	    "limit=-1",
	    "limit=1x",
	    "limit=+1",
	    "limit=0x10",
	    "limit=99999999999999999999",
	    "limit=%00",
	    "limit=%",
	    "limit=%zz",
	    "limit=1%0d%0aSet-Cookie:a",
	    "sort=",
	    "sort=bytes_per_s2",
	    "sort=%3Cscript%3E",
	    "src=",
	    "src=nodekey:",
	    "src=nodekey:zz",
	    "src=[abc]",
	    "src=[abc!e]",
	    "src=[abcde",
	    "src=[=====]",
	    "src=[abcdef]",
	    "dst=7777",
	    "recv_from=",
	    "recv_from=me",
	    "fwded_to=nodekey:1",
	    "dst=%ff%fe",
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char target[256];
		struct fetch *f;

		snprintf(target, sizeof(target), FLOWS "?%s", bad[i]);
		f = ask_page(target);
		fetch_split(f);
		if (f->status != 400)
			fail_msg("%s: %d", bad[i], f->status);
		/* One line, and nothing of what was asked in it. */
		assert_ptr_equal(strchr(f->body, '\n'), f->body + f->body_len - 1);
		assert_null(strstr(f->raw, "Cookie"));
		assert_null(strstr(f->raw, "script"));
		fetch_free(f);
	}
	assert_int_equal(asked[LETTER_ASK_FLOWS], 0);
}

static void test_long_query(void **state)
{
	static char target[HTTP_LINE_MAX];
	struct fetch *f;

	snprintf(target, sizeof(target), FLOWS "?src=");
	memset(target + strlen(target), 'a', 8000);
	f = ask_page(target);
	fetch_split(f);
	assert_int_equal(f->status, 400);
	fetch_free(f);
}

static void test_pieces(void **state)
{
	struct fetch *f = many_page(FLOWS "?format=json&limit=0");
	json_t *page;
	size_t lines = 0;

	fetch_split(f);
	assert_true(f->calls > 20);
	assert_true(f->largest < 64u << 10);
	page = json_of(f);
	check_sums(page);
	assert_int_equal(json_array_size(json_object_get(page, "flows")), 2 * 3000);
	json_decref(page);
	fetch_free(f);

	f = many_page(FLOWS "?limit=0");
	fetch_split(f);
	for (const char *p = f->body; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 3 + 2 * 3000);
	fetch_free(f);

	f = many_page(FLOWS "?format=json");
	fetch_split(f);
	page = json_of(f);
	assert_int_equal(json_array_size(json_object_get(page, "flows")), 1000);
	json_decref(page);
	fetch_free(f);
}

/* Without chunks the body ends with the connection. */
static void test_http10(void **state)
{
	struct fetch *f = many_page("GET " FLOWS "?format=json&limit=0 HTTP/1.0\r\n"
				    "Connection: keep-alive");
	json_t *page;

	fetch_split(f);
	assert_true(f->reply.close);
	assert_true(has_field(f, "Connection: close"));
	assert_null(strstr(f->head, "Transfer-Encoding"));
	assert_null(strstr(f->head, "Content-Length"));
	page = json_of(f);
	assert_int_equal(json_array_size(json_object_get(page, "flows")), 2 * 3000);
	json_decref(page);
	fetch_free(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_text),
	    T(test_json),
	    T(test_mesh),
	    T(test_query),
	    T(test_number_is_of_selection),
	    T(test_bad_query),
	    T(test_long_query),
	    T(test_pieces),
	    T(test_http10),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
