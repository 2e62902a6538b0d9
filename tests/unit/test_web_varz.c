/* SPDX-License-Identifier: BSD-3-Clause */
/* /debug/varz: the format, the sums, the names that derper's dashboards know. */
#include "test_web.h"

#include <ctype.h>

#define SERIES_MAX 1024

static struct counters threads[2];
static const struct counters *const thread_list[] = {&threads[0], &threads[1]};
static uint64_t delay[2] = {1000, 4500};
static const uint64_t *const delay_list[] = {&delay[0], &delay[1]};
static struct stun_stats stun = {.success = 7, .not_stun = 8, .ipv6 = 9, .no_local_addr = 3};

static struct mesh mesh;
static uint64_t mesh_peers_of[WORKERS][MESH_LINKS_MAX];

/* As many links as there may be, of one host but the first two; the second is the node itself. */
static void make_mesh(int n)
{
	static char host[3][300] = {"derp1.example", "derp2.example", ""};

	memset(host[2], '"', 255);
	memset(&mesh, 0, sizeof(mesh));
	memset(mesh_peers_of, 0, sizeof(mesh_peers_of));
	mesh.has_key = true;
	mesh.n = n;
	mesh.peers = mesh_peers_of;
	for (int i = 0; i < n; i++) {
		mesh.link[i].host = mesh.link[i].dial = host[MIN(i, 2)];
		mesh.link[i].port = i < 4 ? 443 : (uint16_t)(1000 + i);
		mesh.link[i].traffic.rtt_us = 1;
	}
	if (n > 1)
		mesh.link[1].state = MESH_SELF;
	config.mesh = &mesh;
}

static struct fetch *get_varz(void)
{
	struct fetch *f;

	site_free(site);
	config.counters = thread_list;
	config.ncounters = 2;
	config.queue_delay_us = delay_list;
	config.nqueue_delay = 2;
	config.stun = &stun;
	make_site();
	f = get_from("127.0.0.1", LISTEN_PUBLIC, "/debug/varz");
	assert_int_equal(f->status, 200);
	assert_true(has_field(f, "Content-Type: text/plain; version=0.0.4; charset=utf-8"));
	return f;
}

static void assert_line(const struct fetch *f, const char *line)
{
	char text[256];

	snprintf(text, sizeof(text), "\n%s\n", line);
	if (!strstr(f->body, text))
		fail_msg("no line \"%s\"", line);
}

/* A sample's line: name, labels, a number, nothing else. Returns the name's length. */
static size_t check_sample(const char *line)
{
	size_t name = 0, at;
	char *end;

	while (isalnum((unsigned char)line[name]) || line[name] == '_')
		name++;
	assert_true(name > 0 && !isdigit((unsigned char)line[0]));
	at = name;
	if (line[at] == '{') {
		do {
			at++;
			assert_true(islower((unsigned char)line[at]));
			at += strcspn(line + at, "=");
			assert_memory_equal(line + at, "=\"", 2);
			for (at += 2; line[at] != '"'; at++) {
				assert_true(line[at] != '\0');
				at += line[at] == '\\';
			}
			at++;
		} while (line[at] == ',');
		assert_int_equal(line[at++], '}');
	}
	assert_int_equal(line[at], ' ');
	strtod(line + at + 1, &end);
	assert_true(end > line + at + 1);
	assert_string_equal(end, "");
	return name;
}

static void test_format(void **state)
{
	static char *series[SERIES_MAX];
	char *families[SERIES_MAX];
	int nseries = 0, nfamilies = 0;
	char *save, *family = NULL;
	bool histogram = false;
	struct fetch *f;

	make_mesh(MESH_LINKS_MAX);
	f = get_varz();
	/* Longer than a reply has room for, so it came in pieces. */
	assert_true(f->body_len > REPLY_ROOM && f->calls > 2);
	assert_int_equal(f->body[f->body_len - 1], '\n');
	for (char *line = strtok_r(f->body, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char name[128], type[32];

		if (sscanf(line, "# TYPE %127s %31s", name, type) == 2) {
			histogram = strcmp(type, "histogram") == 0;
			assert_true(histogram || strcmp(type, "counter") == 0 ||
				    strcmp(type, "gauge") == 0);
			for (int i = 0; i < nfamilies; i++)
				assert_string_not_equal(families[i], name);
			family = families[nfamilies++] = strdup(name);
			continue;
		}
		if (sscanf(line, "# HELP %127s %31s", name, type) == 2)
			continue;
		assert_non_null(family);
		/* A histogram's samples carry _bucket, _sum and _count behind the name. */
		assert_true(histogram ? check_sample(line) > strlen(family)
				      : check_sample(line) == strlen(family));
		assert_memory_equal(line, family, strlen(family));
		*strrchr(line, ' ') = '\0';
		for (int i = 0; i < nseries; i++)
			assert_string_not_equal(series[i], line);
		assert_true(nseries < SERIES_MAX);
		series[nseries++] = line;
	}
	assert_true(nseries >= COUNTER_COUNT + 4 * DROP_REASON_COUNT + CLOSE_REASON_COUNT);
	while (nfamilies)
		free(families[--nfamilies]);
	fetch_free(f);
}

static void test_values(void **state)
{
	struct fetch *f;

	memset(threads, 0, sizeof(threads));
	count(&threads[0], C_BYTES_RECV, 5);
	count(&threads[1], C_BYTES_RECV, 6);
	count(&threads[0], C_CONNECTIONS, 3);
	count_down(&threads[1], C_CONNECTIONS, 2);
	count_down(&threads[1], C_VISITORS, 2);
	tally(&threads[0].drop_packets[DROP_QUEUE_HEAD][KIND_DISCO], 4);
	tally(&threads[1].drop_bytes[DROP_QUEUE_HEAD][KIND_OTHER], 44);
	tally(&threads[1].closed[CLOSE_WS_ERROR], 2);
	counters_write(&threads[0], 2);
	counters_write(&threads[1], 12);
	counters_write(&threads[1], 1000);
	counters_rtt(&threads[0], 15000);
	counters_observe(&threads[0], H_MESH_BATCH, 0, 1);
	counters_observe(&threads[0], H_MESH_BATCH, 1000, 1);
	counters_observe(&threads[1], H_MESH_BATCH, 1001, 1);
	counters_observe(&threads[1], H_MESH_LOOPS, 3, 1);
	f = get_varz();
	assert_line(f, "derp_buffered_write_frames_bucket{le=\"1\"} 0");
	assert_line(f, "derp_buffered_write_frames_bucket{le=\"15\"} 2");
	assert_line(f, "derp_buffered_write_frames_bucket{le=\"+Inf\"} 3");
	assert_line(f, "derp_buffered_write_frames_sum 1014");
	assert_line(f, "# TYPE derp_mesh_update_batch_size histogram");
	assert_line(f, "derp_mesh_update_batch_size_bucket{le=\"0\"} 1");
	assert_line(f, "derp_mesh_update_batch_size_bucket{le=\"1000\"} 2");
	assert_line(f, "derp_mesh_update_batch_size_bucket{le=\"+Inf\"} 3");
	assert_line(f, "derp_mesh_update_batch_size_sum 2001");
	assert_line(f, "derp_mesh_update_loop_count_bucket{le=\"2\"} 0");
	assert_line(f, "derp_mesh_update_loop_count_bucket{le=\"5\"} 1");
	assert_line(f, "derp_mesh_update_loop_count_bucket{le=\"100\"} 1");
	assert_line(f, "derp_mesh_update_loop_count_count 1");
	assert_null(strstr(f->body, "sluice_mesh_link_"));
	assert_line(f, "derp_tcp_rtt{le=\"20ms\"} 1");
	assert_line(f, "derp_bytes_received 11");
	assert_line(f, "# TYPE derp_bytes_received counter");
	assert_line(f, "# TYPE derp_current_connections gauge");
	assert_line(f, "derp_current_connections 1");
	/* One thread's part of a move seen before the other's. */
	assert_line(f, "sluice_pre_login_connections 0");
	assert_line(f, "derp_packets_received_kind{kind=\"disco\"} 0");
	assert_line(f, "derp_packets_dropped{reason=\"queue_head\",kind=\"disco\"} 4");
	assert_line(f, "derp_bytes_dropped{reason=\"queue_head\",kind=\"other\"} 44");
	assert_line(f, "sluice_conns_closed_total{reason=\"ws_error\"} 2");
	assert_line(f, "stun_requests{disposition=\"success\"} 7");
	assert_line(f, "stun_requests{disposition=\"not_stun\"} 8");
	assert_line(f, "stun_addrfamily{family=\"ipv6\"} 9");
	assert_line(f, "stun_no_local_addr 3");
	assert_line(f, "derp_average_queue_duration_ms 2.750");
	assert_line(f, "uptime_sec 600");
	assert_line(f, "version{version=\"1.2.3\\\"<\",binary=\"sluice\"} 1");
	assert_non_null(strstr(f->body, "\nprocess_resident_memory_bytes "));
	assert_non_null(strstr(f->body, "\nprocess_start_unix_time "));
	assert_non_null(strstr(f->body, "\nderp_current_file_descriptors "));
	assert_null(strstr(f->body, "nodekey"));
	assert_null(strstr(f->body, "7777"));
	fetch_free(f);
}

static void test_no_stun(void **state)
{
	struct fetch *f = get_from("127.0.0.1", LISTEN_PUBLIC, "/debug/varz");

	assert_null(strstr(f->body, "stun"));
	assert_line(f, "derp_average_queue_duration_ms 0.000");
	fetch_free(f);
}

static void test_mesh(void **state)
{
	struct fetch *f;

	make_mesh(2);
	mesh.link[0].traffic = (struct mesh_traffic){1, 2, 3, 4, 2500};
	mesh.link[0].state = MESH_UP;
	mesh.link[0].dials = 9;
	mesh_peers_of[0][0] = 20;
	mesh_peers_of[1][0] = 3;
	f = get_varz();
	assert_line(f, "# TYPE sluice_mesh_link_up gauge");
	assert_line(f, "sluice_mesh_link_up{link=\"derp1.example\"} 1");
	assert_line(f, "sluice_mesh_link_peers{link=\"derp1.example\"} 23");
	assert_line(f, "sluice_mesh_link_packets{link=\"derp1.example\",direction=\"out\"} 1");
	assert_line(f, "sluice_mesh_link_packets{link=\"derp1.example\",direction=\"in\"} 3");
	assert_line(f, "sluice_mesh_link_bytes{link=\"derp1.example\",direction=\"out\"} 2");
	assert_line(f, "sluice_mesh_link_bytes{link=\"derp1.example\",direction=\"in\"} 4");
	assert_line(f, "sluice_mesh_link_rtt_seconds{link=\"derp1.example\"} 0.002500");
	assert_line(f, "sluice_mesh_link_dials{link=\"derp1.example\"} 9");
	/* Its own name among them. */
	assert_null(strstr(f->body, "derp2"));
	fetch_free(f);

	mesh.link[0].state = MESH_LOGIN;
	mesh.link[0].traffic.rtt_us = 0;
	f = get_varz();
	assert_line(f, "sluice_mesh_link_up{link=\"derp1.example\"} 0");
	assert_null(strstr(f->body, "sluice_mesh_link_rtt_seconds{"));
	fetch_free(f);

	mesh.link[0].state = MESH_SELF;
	f = get_varz();
	assert_null(strstr(f->body, "sluice_mesh_link_"));
	fetch_free(f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_format),
	    T(test_values),
	    T(test_no_stun),
	    T(test_mesh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
