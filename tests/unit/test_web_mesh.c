/* SPDX-License-Identifier: BSD-3-Clause */
/* /debug/mesh: what is said of each link, and texts that other nodes made up. */
#include "test_web.h"

#define MESH "/debug/mesh"

static struct mesh mesh;
static uint64_t peers[WORKERS][MESH_LINKS_MAX];

static void use_mesh(const struct mesh *m)
{
	site_free(site);
	config.mesh = m;
	make_site();
}

/* One that is up, one that can't be reached. */
static void make_mesh(void)
{
	struct mesh_link *l;

	memset(&mesh, 0, sizeof(mesh));
	memset(peers, 0, sizeof(peers));
	mesh.has_key = true;
	memset(mesh.key, 0xee, sizeof(mesh.key));
	mesh.n = 2;
	mesh.peers = peers;
	peers[0][0] = 10;
	peers[1][0] = 5;
	l = &mesh.link[0];
	l->host = "derp1.example.com";
	l->dial = "10.0.0.1";
	l->port = 443;
	l->state = MESH_UP;
	l->since_ms = fake_now - 61500;
	l->dials = 3;
	l->logins = 2;
	memcpy(l->address, "10.0.0.1:443", 13);
	memset(l->server.b, 0x42, KEY_LEN);
	l->traffic = (struct mesh_traffic){11, 1100, 22, 2200, 1234};
	l = &mesh.link[1];
	l->host = l->dial = "2001:db8::1";
	l->port = 4443;
	l->state = MESH_WAITING;
	l->dials = 7;
	memcpy(l->error, "<b>\"refused\"\n\x80\x1b", 16);
	l->error_wall_ms = 1700000000000;
	use_mesh(&mesh);
}

static struct fetch *get_page(const char *target)
{
	struct fetch *f = get_from("127.0.0.1", LISTEN_PUBLIC, target);

	assert_int_equal(f->status, 200);
	/* Nothing to wait for, and never the key. */
	assert_int_equal(asked[LETTER_ASK_FLOWS] + asked[LETTER_ASK_CLIENTS], 0);
	assert_null(strstr(f->body, "eeeeeeee"));
	return f;
}

static json_t *get_json(void)
{
	struct fetch *f = get_page(MESH "?format=json");
	json_t *j = json_of(f);

	assert_true(has_field(f, "Content-Type: application/json"));
	fetch_free(f);
	return j;
}

static void assert_text(const json_t *o, const char *name, const char *expected)
{
	assert_string_equal(json_string_value(json_object_get(o, name)), expected);
}

static void assert_int(const json_t *o, const char *name, json_int_t expected)
{
	assert_true(json_is_integer(json_object_get(o, name)));
	assert_int_equal(json_integer_value(json_object_get(o, name)), expected);
}

static void test_json(void **state)
{
	json_t *page, *l;

	make_mesh();
	page = get_json();
	assert_true(json_is_true(json_object_get(page, "mesh_key")));
	assert_text(page, "note", "");
	assert_text(page, "server",
	    "nodekey:7777777777777777777777777777777777777777777777777777777777777777");
	assert_int_equal(json_array_size(json_object_get(page, "links")), 2);
	l = json_array_get(json_object_get(page, "links"), 0);
	assert_text(l, "host", "derp1.example.com");
	assert_int(l, "port", 443);
	assert_text(l, "dial", "10.0.0.1");
	assert_text(l, "address", "10.0.0.1:443");
	assert_text(l, "server",
	    "nodekey:4242424242424242424242424242424242424242424242424242424242424242");
	assert_text(l, "state", "up");
	assert_true(json_is_true(json_object_get(l, "up")));
	assert_int_equal(strlen(json_string_value(json_object_get(l, "since"))), 24);
	assert_int(l, "peers", 15);
	assert_int(l, "tx_packets", 11);
	assert_int(l, "tx_bytes", 1100);
	assert_int(l, "rx_packets", 22);
	assert_int(l, "rx_bytes", 2200);
	assert_true(json_real_value(json_object_get(l, "rtt_ms")) > 1.23);
	assert_true(json_real_value(json_object_get(l, "rtt_ms")) < 1.24);
	assert_int(l, "dials", 3);
	assert_int(l, "logins", 2);
	assert_text(l, "error", "");
	assert_text(l, "error_time", "");

	l = json_array_get(json_object_get(page, "links"), 1);
	assert_text(l, "dial", "2001:db8::1");
	assert_text(l, "address", "");
	assert_text(l, "server", "");
	assert_text(l, "state", "waiting to dial");
	assert_true(json_is_false(json_object_get(l, "up")));
	assert_text(l, "since", "");
	assert_true(json_is_null(json_object_get(l, "rtt_ms")));
	assert_text(l, "error", "<b>\"refused\"???");
	assert_text(l, "error_time", "2023-11-14T22:13:20.000Z");
	json_decref(page);
}

static void test_text(void **state)
{
	struct fetch *f;
	int lines = 0;

	make_mesh();
	f = get_page(MESH);
	assert_true(has_field(f, "Content-Type: text/plain; charset=utf-8"));
	assert_true(has_field(f, "X-Content-Type-Options: nosniff"));
	assert_non_null(strstr(f->body, "\nnumber links: 2\n"));
	assert_non_null(strstr(f->body, "\nderp1.example.com        10.0.0.1:443                 "
					"10.0.0.1:443             [QkJCQ]  up "));
	assert_non_null(strstr(f->body, "      61 secs       15         11         1100 "
					"        22         2200     1.234      3      2 -\n"));
	assert_non_null(strstr(f->body, " 7      0 2023-11-14T22:13:20.000Z <b>\"refused\"???\n"));
	for (const char *p = f->body; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 5);
	fetch_free(f);
}

static void assert_note(const char *note, bool key)
{
	json_t *page = get_json();
	struct fetch *f = get_page(MESH);

	assert_text(page, "note", note);
	assert_true(json_boolean_value(json_object_get(page, "mesh_key")) == key);
	assert_int_equal(json_array_size(json_object_get(page, "links")), 0);
	assert_non_null(strstr(f->body, note));
	fetch_free(f);
	json_decref(page);
}

static void test_none(void **state)
{
	assert_note("no mesh key is configured", false);
	memset(&mesh, 0, sizeof(mesh));
	use_mesh(&mesh);
	assert_note("no mesh key is configured", false);
	mesh.has_key = true;
	assert_note("a mesh key is configured, no -mesh-with: others may dial us", true);
}

/* As many links as there may be, with the longest of everything. */
static void test_full(void **state)
{
	static char host[400];
	json_t *page;
	struct fetch *f;
	int lines = 0;

	memset(host, '\\', sizeof(host) - 1);
	make_mesh();
	for (int i = 0; i < MESH_LINKS_MAX; i++) {
		struct mesh_link *l = &mesh.link[i];

		*l = mesh.link[0];
		l->host = l->dial = host;
		l->port = UINT16_MAX;
		l->state = (enum mesh_state)(i % MESH_STATE_COUNT);
		memset(l->error, '"', MESH_ERROR_LEN - 1);
		memset(l->address, '"', sizeof(l->address) - 1);
		memset(&l->traffic, 0x77, sizeof(l->traffic));
		l->dials = l->logins = UINT64_MAX / 2;
	}
	mesh.n = MESH_LINKS_MAX;
	f = get_page(MESH "?format=json");
	assert_true(f->largest < 64u << 10);
	page = json_of(f);
	fetch_free(f);
	assert_int_equal(json_array_size(json_object_get(page, "links")), MESH_LINKS_MAX);
	for (size_t i = 0; i < MESH_LINKS_MAX; i++) {
		const json_t *l = json_array_get(json_object_get(page, "links"), i);

		assert_int_equal(json_string_length(json_object_get(l, "host")), 255);
		assert_text(l, "state", mesh_state_text[i % MESH_STATE_COUNT]);
	}
	json_decref(page);
	f = get_page(MESH);
	assert_non_null(strstr(f->body, "\nnumber links: 32\n"));
	assert_non_null(strstr(f->body, " this very server "));
	assert_true(f->largest < 64u << 10);
	for (const char *p = f->body; (p = strchr(p, '\n')); p++)
		lines++;
	assert_int_equal(lines, 3 + MESH_LINKS_MAX);
	fetch_free(f);
}

static void test_bad_query(void **state)
{
	struct fetch *f = get_from("127.0.0.1", LISTEN_PUBLIC, MESH "?format=xml");

	assert_int_equal(f->status, 400);
	assert_string_equal(f->body, "format: expected text or json\n");
	fetch_free(f);
	f = get_from("203.0.113.9", LISTEN_PUBLIC, MESH);
	assert_int_equal(f->status, 403);
	fetch_free(f);
	f = get_from("127.0.0.1", LISTEN_PUBLIC, "POST " MESH " HTTP/1.1\r\nHost: a");
	assert_int_equal(f->status, 405);
	fetch_free(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_json),
	    T(test_text),
	    T(test_none),
	    T(test_full),
	    T(test_bad_query),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
