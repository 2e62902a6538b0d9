/* SPDX-License-Identifier: BSD-3-Clause */
/* /debug/clients: connections, remembered nodes, and names that peers made up. */
#include "test_web.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define CLIENTS "/debug/clients"

static struct client_part *part_new(int worker, uint32_t cap)
{
	struct client_part *p = calloc(1, sizeof(*p) + cap * sizeof(p->row[0]));

	assert_non_null(p);
	p->worker = worker;
	p->cap = cap;
	return p;
}

static struct client_row *add_row(struct client_part *p, uint8_t key, uint64_t number)
{
	struct client_row *r = &p->row[p->n++];

	memset(r->key.b, key, KEY_LEN);
	r->number = number;
	r->node_logins = 2;
	r->node_rx_bytes = 1000u * key;
	if (number) {
		assert_int_equal(inet_pton(AF_INET6, "::ffff:192.0.2.1", &r->addr), 1);
		r->port = 4567;
		r->since_ms = fake_now - 61500;
		r->rx_packets = 3;
		r->rx_bytes = 100u * key;
		r->tx_packets = 4;
		r->tx_bytes = 50;
		r->queue_bytes = 77;
		r->queue_ms = 12;
		r->dropped[DROP_QUEUE_HEAD] = 9;
		delays_note(&r->delays, delay_bucket(30), 4, 120);
		r->path = (struct path_view){
		    .known = true,
		    .congestion = "bbr",
		    .rtt_us = 51500,
		    .rtt_least_us = 50000,
		    .retransmits = 6,
		    .unsent = 4000,
		    .lowat = 16384,
		    .cwnd = 14480,
		    .delivery_rate = 2500000,
		};
		r->other_flows = 3;
		r->other_bytes = 333;
		r->flows = 5;
		r->active = r->home = r->tls = true;
	}
	return r;
}

static struct fetch *clients_page_of(const char *target)
{
	struct fetch *f = fetch_from("127.0.0.1", LISTEN_PUBLIC, target);

	if (f->reply.waiting) {
		struct client_part *p = part_new(0, 3);
		struct client_row *r;

		r = add_row(p, 1, 7);
		memcpy(r->app_name, "<b>\"\\\x80\n&", 9);
		r->websocket = r->not_ideal = true;
		r->home = false;
		add_row(p, 9, 0);
		site_ops(site).clients(site, p);
		p = part_new(1, 4);
		r = add_row(p, 5, 0); /* connected to another node of the region */
		memset(r->via.b, 0x42, KEY_LEN);
		r->forwarders = 2;
		r = add_row(p, 2, 8);
		r->mesh_peer = r->watcher = true;
		memset(r->app_name, 'x', sizeof(r->app_name)); /* not even terminated */
		site_ops(site).clients(site, p);
		pump_ready();
	}
	fetch_split(f);
	return f;
}

static void test_json(void **state)
{
	struct fetch *f = clients_page_of(CLIENTS "?format=json");
	json_t *page = json_of(f), *rows = json_object_get(page, "clients"), *r;

	assert_int_equal(asked[LETTER_ASK_CLIENTS], 1);
	assert_int_equal(json_array_size(rows), 4);
	r = json_array_get(rows, 0);
	assert_int_equal(json_integer_value(json_object_get(r, "conn")), 8);
	assert_string_equal(
	    json_string_value(json_object_get(r, "app")), "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	assert_string_equal(json_string_value(json_object_get(r, "addr")), "192.0.2.1:4567");
	assert_true(json_is_true(json_object_get(r, "home")));
	assert_true(json_is_false(json_object_get(r, "websocket")));
	r = json_array_get(rows, 1);
	assert_string_equal(json_string_value(json_object_get(r, "app")), "<b>\"\\??&");
	assert_true(json_is_true(json_object_get(r, "not_ideal")));
	assert_int_equal(json_integer_value(json_object_get(r, "queue_bytes")), 77);
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(r, "other"), "flows")), 3);
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(r, "other"), "bytes")), 333);
	r = json_object_get(r, "node");
	assert_int_equal(json_integer_value(json_object_get(r, "rx_bytes")), 1000);
	r = json_array_get(rows, 2);
	assert_true(json_is_false(json_object_get(r, "connected")));
	assert_string_equal(json_string_value(json_object_get(r, "addr")), "");
	assert_string_equal(json_string_value(json_object_get(r, "since")), "");
	r = json_object_get(page, "totals");
	assert_int_equal(json_integer_value(json_object_get(r, "connections")), 2);
	assert_int_equal(json_integer_value(json_object_get(r, "gone")), 1);
	assert_int_equal(json_integer_value(json_object_get(r, "remote")), 1);
	assert_int_equal(json_integer_value(json_object_get(r, "rows")), 4);
	json_decref(page);
	fetch_free(f);
}

/* Where packets wait, and what the kernel knows of the way. */
static void test_queue(void **state)
{
	struct fetch *f = clients_page_of(CLIENTS "?format=json");
	json_t *page = json_of(f), *rows = json_object_get(page, "clients"), *r, *q, *path;

	r = json_array_get(rows, 0);
	q = json_object_get(r, "queue");
	assert_int_equal(json_integer_value(json_object_get(q, "oldest_ms")), 12);
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(q, "dropped"), "queue_head")), 9);
	q = json_object_get(q, "delay");
	assert_int_equal(json_integer_value(json_object_get(q, "waited")), 4);
	assert_float_equal(json_real_value(json_object_get(q, "average_ms")), 30, 1e-9);
	assert_int_equal(json_integer_value(json_object_get(q, "p99_ms")), 30);
	path = json_object_get(r, "path");
	assert_float_equal(json_real_value(json_object_get(path, "rtt_ms")), 51.5, 1e-9);
	assert_float_equal(json_real_value(json_object_get(path, "rtt_min_ms")), 50, 1e-9);
	assert_int_equal(json_integer_value(json_object_get(path, "retransmits")), 6);
	assert_int_equal(json_integer_value(json_object_get(path, "unsent_bytes")), 4000);
	assert_int_equal(json_integer_value(json_object_get(path, "unsent_limit")), 16384);
	assert_int_equal(json_integer_value(json_object_get(path, "window_bytes")), 14480);
	assert_int_equal(json_integer_value(json_object_get(path, "bytes_per_s")), 2500000);
	assert_string_equal(json_string_value(json_object_get(path, "congestion")), "bbr");
	/* Of who isn't connected here the kernel knows nothing. */
	assert_true(json_is_null(json_object_get(json_array_get(rows, 2), "path")));
	json_decref(page);
	fetch_free(f);
}

static void test_mesh(void **state)
{
	struct fetch *f = clients_page_of(CLIENTS "?format=json");
	json_t *page = json_of(f), *rows = json_object_get(page, "clients"), *r;

	r = json_array_get(rows, 3);
	assert_true(json_is_false(json_object_get(r, "connected")));
	assert_true(json_is_true(json_object_get(r, "remote")));
	assert_int_equal(json_integer_value(json_object_get(r, "forwarders")), 2);
	assert_string_equal(json_string_value(json_object_get(r, "via")),
	    "nodekey:4242424242424242424242424242424242424242424242424242424242424242");
	r = json_array_get(rows, 2);
	assert_true(json_is_false(json_object_get(r, "remote")));
	assert_string_equal(json_string_value(json_object_get(r, "via")), "");
	r = json_array_get(rows, 0);
	assert_true(json_is_true(json_object_get(r, "watcher")));
	json_decref(page);
	fetch_free(f);
}

static void test_text(void **state)
{
	struct fetch *f = clients_page_of(CLIENTS);
	const char *end;

	assert_non_null(strstr(f->body, "\nnumber connections: 2\nreached by the mesh: 1\n"
					"nodes that have gone: 1\n"));
	assert_non_null(strstr(f->body, "192.0.2.1:4567         61 secs "));
	assert_non_null(strstr(f->body, "     30.0       30    51.5       6 bbr    active,"));
	assert_non_null(strstr(f->body, " active,notideal,tls,ws <b>\"\\??&\n"));
	assert_non_null(strstr(f->body, "\n-          [CQkJC] "));
	assert_non_null(strstr(f->body, " active,mesh,tls,watcher xxx"));
	assert_non_null(strstr(f->body, " remote           \n"));
	assert_non_null(strstr(f->body, "[BQUFB]    via [QkJCQ] "));
	end = strrchr(f->body, '\n');
	assert_ptr_equal(end, f->body + f->body_len - 1);
	fetch_free(f);
}

static void assert_rows(const char *query, const char *expected)
{
	char target[256], got[256] = "";
	struct fetch *f;
	json_t *page, *row;
	size_t i, n = 0;

	snprintf(target, sizeof(target), CLIENTS "?format=json&%s", query);
	f = clients_page_of(target);
	page = json_of(f);
	json_array_foreach(json_object_get(page, "clients"), i, row) n += (size_t)snprintf(
	    got + n, sizeof(got) - n, "%d ", (int)json_integer_value(json_object_get(row, "conn")));
	assert_string_equal(got, expected);
	json_decref(page);
	fetch_free(f);
}

static void test_query(void **state)
{
	struct fetch *f;

	assert_rows("sort=bytes", "8 7 0 0 ");
	assert_rows("sort=since&limit=1", "8 ");
	assert_rows("sort=queue", "8 7 0 0 ");
	assert_rows("sort=flows&limit=0", "8 7 0 0 ");
	assert_rows("key=[AQEBA]", "7 ");
	assert_int_equal(asked[LETTER_ASK_CLIENTS], 1);
	f = clients_page_of(CLIENTS "?sort=bytes_per_s");
	assert_int_equal(f->status, 400);
	assert_string_equal(f->body, "sort: expected one of bytes packets since queue flows\n");
	fetch_free(f);
	assert_rows("which=all", "8 7 0 0 ");
	assert_rows("which=connected", "8 7 ");
	assert_rows("which=gone&key=[CQkJC]", "0 ");
	assert_rows("which=gone&key=[BQUFB]", "");
	assert_rows("which=remote&key=[BQUFB]", "0 ");
	assert_rows("which=remote", "0 ");
	f = clients_page_of(CLIENTS "?which=near");
	assert_int_equal(f->status, 400);
	assert_string_equal(f->body, "which: expected one of all connected gone remote\n");
	fetch_free(f);
	f = clients_page_of(CLIENTS "?key=me");
	assert_int_equal(f->status, 400);
	fetch_free(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_json),
	    T(test_queue),
	    T(test_mesh),
	    T(test_text),
	    T(test_query),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
