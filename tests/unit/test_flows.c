/* SPDX-License-Identifier: BSD-3-Clause */
/* sluice flows: each packet once, each drop once, whatever nodes it went through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool/flows_merge.h"
#include "tool/flows_source.h"

/* Keys by one letter. */
static const char *key_of(char name)
{
	static char ring[8][KEY_TEXT_LEN];
	static int next;
	struct key k;

	next = (next + 1) % 8;
	memset(k.b, name, sizeof(k.b));
	if (name)
		key_text(&k, ring[next]);
	else
		ring[next][0] = '\0';
	return ring[next];
}

static bool is_key(const struct key *k, char name)
{
	struct key other;

	memset(other.b, name, sizeof(other.b));
	return key_equal(k, &other);
}

static json_t *totals(int flows)
{
	return json_pack("{si si si si si si si}", "flows", flows, "packets", 0, "bytes", 0,
	    "mesh_packets", 0, "mesh_bytes", 0, "dropped_packets", 0, "dropped_bytes", 0);
}

static json_t *doc_new(char server)
{
	return json_pack("{ss ss sf s[] so so}", "time", "2026-11-23T06:30:00.123Z", "server",
	    key_of(server), "interval_s", 1.0, "flows", "other", totals(0), "totals", totals(0));
}

static void bump(json_t *o, const char *name, json_int_t by)
{
	json_t *v = json_object_get(o, name);

	assert_true(json_is_integer(v));
	json_integer_set(v, json_integer_value(v) + by);
}

static void count_in(json_t *o, bool mesh, int packets, int drops)
{
	bump(o, "packets", packets);
	bump(o, "bytes", packets * 100);
	if (mesh) {
		bump(o, "mesh_packets", packets);
		bump(o, "mesh_bytes", packets * 100);
	}
	bump(o, "dropped_packets", drops);
	bump(o, "dropped_bytes", drops * 100);
}

struct flow {
	char src, dst, from, to;
	int packets, fwded, drops;
};

/* As a node's page has it; the rate is a tenth. */
static void add(json_t *doc, struct flow f)
{
	json_array_append_new(json_object_get(doc, "flows"),
	    json_pack("{ss ss ss ss si si si si si si si}", "src", key_of(f.src), "dst",
		key_of(f.dst), "recv_from", key_of(f.from), "fwded_to", key_of(f.to), "packets",
		f.packets, "bytes", f.packets * 100, "fwded_packets", f.fwded, "dropped_packets",
		f.drops, "dropped_bytes", f.drops * 100, "bytes_per_s", f.packets * 10,
		"packets_per_s", f.packets / 10));
	count_in(json_object_get(doc, "totals"), f.from != 0, f.packets, f.drops);
	bump(json_object_get(doc, "totals"), "flows", 1);
}

static void add_other(json_t *doc, bool mesh, int packets, int drops)
{
	count_in(json_object_get(doc, "totals"), mesh, packets, drops);
	count_in(json_object_get(doc, "other"), mesh, packets, drops);
}

static struct flows_region region;

static void take(json_t *doc)
{
	char err[FLOWS_ERR_LEN] = "";

	if (!flows_region_add(&region, doc, err))
		fail_msg("%s", err);
	json_decref(doc);
}

static void refuse(json_t *doc, const char *text)
{
	char err[FLOWS_ERR_LEN] = "";
	size_t rows = region.nrows;
	int nodes = region.nnodes;

	assert_false(flows_region_add(&region, doc, err));
	if (!strstr(err, text))
		fail_msg("\"%s\" instead of \"%s\"", err, text);
	assert_int_equal(region.nrows, rows);
	assert_int_equal(region.nnodes, nodes);
	json_decref(doc);
}

static int setup(void **state)
{
	flows_region_init(&region);
	return 0;
}

static int teardown(void **state)
{
	flows_region_fini(&region);
	return 0;
}

static void assert_sum(const struct flows_sum *s, uint64_t packets, uint64_t dropped)
{
	assert_int_equal(s->packets, packets);
	assert_int_equal(s->bytes, packets * 100);
	assert_int_equal(s->dropped_packets, dropped);
	assert_int_equal(s->dropped_bytes, dropped * 100);
}

static void assert_delivery(const struct flows_merged *m, uint32_t i, char node, uint64_t packets)
{
	assert_true(i < m->ndeliveries);
	assert_true(is_key(&region.delivery[m->delivery + i].node, node));
	assert_int_equal(region.delivery[m->delivery + i].packets, packets);
}

/* What rows and other have is what the totals say. */
static void assert_reconciled(void)
{
	struct flows_sum s = region.other;

	for (size_t i = 0; i < region.nmerged; i++) {
		s.packets += region.merged[i].sum.packets;
		s.bytes += region.merged[i].sum.bytes;
		s.dropped_packets += region.merged[i].sum.dropped_packets;
		s.dropped_bytes += region.merged[i].sum.dropped_bytes;
	}
	assert_memory_equal(&s, &region.total, sizeof(s));
}

/* A to B by nodes 1 and 2, with drops at both; A to C within node 1. */
static void test_two_nodes(void **state)
{
	json_t *one = doc_new('1'), *two = doc_new('2');
	const struct flows_merged *m;

	add(one, (struct flow){'A', 'C', .packets = 50});
	add(one, (struct flow){'A', 'B', .to = '2', .packets = 100, .fwded = 90, .drops = 10});
	add(two, (struct flow){'A', 'B', .from = '1', .packets = 90, .drops = 5});
	take(two);
	take(one);
	flows_region_merge(&region);
	assert_int_equal(region.nmerged, 2);
	assert_int_equal(region.nmissing, 0);
	m = &region.merged[0];
	assert_true(is_key(&m->src, 'A') && is_key(&m->dst, 'B') && is_key(&m->entered, '1'));
	assert_sum(&m->sum, 100, 15);
	assert_int_equal(m->bytes_per_s, 1000);
	assert_int_equal(m->packets_per_s, 10);
	assert_int_equal(m->ndeliveries, 1);
	assert_delivery(m, 0, '2', 85);
	m = &region.merged[1];
	assert_true(is_key(&m->dst, 'C'));
	assert_sum(&m->sum, 50, 0);
	assert_int_equal(m->ndeliveries, 1);
	assert_delivery(m, 0, '1', 50);
	assert_sum(&region.total, 150, 15);
	assert_sum(&region.node[0].entered, 0, 5);
	assert_sum(&region.node[0].all, 90, 5);
	assert_reconciled();
	/* The rows themselves are in order, too. */
	assert_int_equal(region.row[0].sum.packets, 100);
	assert_int_equal(region.row[2].sum.packets, 50);
}

/* B moved from node 1 to 2 and on to 3 while A was sending. */
static void test_dst_moved(void **state)
{
	json_t *one = doc_new('1'), *two = doc_new('2'), *three = doc_new('3');
	const struct flows_merged *m = NULL;

	add(one, (struct flow){'A', 'B', .to = '3', .packets = 100, .fwded = 70});
	add(two, (struct flow){'A', 'B', .from = '1', .packets = 20});
	add(three, (struct flow){'A', 'B', .from = '1', .packets = 50});
	take(one);
	take(two);
	take(three);
	flows_region_merge(&region);
	assert_int_equal(region.nmerged, 1);
	m = region.merged;
	assert_sum(&m->sum, 100, 0);
	assert_int_equal(m->ndeliveries, 3);
	assert_delivery(m, 0, '3', 50);
	assert_delivery(m, 1, '1', 30);
	assert_delivery(m, 2, '2', 20);
	assert_sum(&region.total, 100, 0);
	assert_reconciled();
}

/* A moved from node 1 to 2, where B is; two connections of A on node 1. */
static void test_src_moved(void **state)
{
	json_t *one = doc_new('1'), *two = doc_new('2');

	add(one, (struct flow){'A', 'B', .to = '2', .packets = 60, .fwded = 60});
	add(one, (struct flow){'A', 'B', .to = '2', .packets = 10, .fwded = 10});
	add(two, (struct flow){'A', 'B', .from = '1', .packets = 70});
	add(two, (struct flow){'A', 'B', .packets = 40});
	take(one);
	take(two);
	flows_region_merge(&region);
	assert_int_equal(region.nmerged, 2);
	assert_true(is_key(&region.merged[0].entered, '1'));
	assert_sum(&region.merged[0].sum, 70, 0);
	assert_int_equal(region.merged[0].bytes_per_s, 700);
	assert_int_equal(region.merged[0].ndeliveries, 1);
	assert_delivery(&region.merged[0], 0, '2', 70);
	assert_true(is_key(&region.merged[1].entered, '2'));
	assert_sum(&region.merged[1].sum, 40, 0);
	assert_delivery(&region.merged[1], 0, '2', 40);
	assert_sum(&region.total, 110, 0);
	assert_reconciled();
}

/* What was evicted counts by the same rule; a flow evicted at either end. */
static void test_other(void **state)
{
	json_t *one = doc_new('1'), *two = doc_new('2');
	const struct flows_merged *m;

	add_other(one, false, 30, 1);
	add_other(one, true, 7, 2);
	add_other(two, true, 11, 4);
	/* Evicted at 2, known at 1. */
	add(one, (struct flow){'A', 'B', .to = '2', .packets = 10, .fwded = 10});
	/* Evicted at 1, known at 2: in other of 1. */
	add(two, (struct flow){'C', 'B', .from = '1', .packets = 20, .drops = 3});
	take(one);
	take(two);
	flows_region_merge(&region);
	assert_int_equal(region.nmerged, 2);
	m = &region.merged[0];
	assert_true(is_key(&m->src, 'A'));
	assert_sum(&m->sum, 10, 0);
	assert_delivery(m, 0, '2', 10);
	m = &region.merged[1];
	assert_true(is_key(&m->src, 'C') && is_key(&m->entered, '1'));
	assert_sum(&m->sum, 0, 3);
	assert_int_equal(m->bytes_per_s, 0);
	assert_delivery(m, 0, '2', 17);
	assert_sum(&region.other, 30, 7);
	assert_sum(&region.total, 40, 10);
	assert_reconciled();
}

/* Nodes that the rows name and that nobody asked. */
static void test_missing(void **state)
{
	json_t *one = doc_new('1');

	add(one, (struct flow){'A', 'B', .to = '2', .packets = 10, .fwded = 10});
	add(one, (struct flow){'C', 'A', .from = '3', .packets = 20});
	add(one, (struct flow){'D', 'A', .from = '3', .packets = 20});
	take(one);
	flows_region_merge(&region);
	assert_int_equal(region.nmissing, 2);
	assert_true(is_key(&region.missing[0], '2') != is_key(&region.missing[1], '2'));
	assert_true(is_key(&region.missing[0], '3') != is_key(&region.missing[1], '3'));
	assert_sum(&region.total, 10, 0);
	assert_delivery(&region.merged[0], 0, '2', 10);
}

static void test_nothing(void **state)
{
	take(doc_new('1'));
	flows_region_merge(&region);
	assert_int_equal(region.nmerged, 0);
	assert_sum(&region.total, 0, 0);
}

static json_t *set(json_t *doc, const char *name, json_t *value)
{
	json_object_set_new(doc, name, value);
	return doc;
}

static json_t *without(json_t *doc, const char *name)
{
	json_object_del(doc, name);
	return doc;
}

static void test_refused(void **state)
{
	json_t *doc;

	take(doc_new('1'));
	refuse(doc_new('1'), "there is a document of the same server already (nodekey:3131");
	refuse(json_pack("[]"), "not from a flows page");
	refuse(json_integer(1), "not from a flows page");
	refuse(json_pack("{}"), "not from a flows page");
	refuse(without(doc_new('2'), "server"), "\"server\"");
	refuse(set(doc_new('2'), "server", json_string("")), "\"server\"");
	refuse(set(doc_new('2'), "server", json_string("nodekey:12")), "\"server\"");
	refuse(set(doc_new('2'), "flows", json_pack("{}")), "list \"flows\"");
	refuse(set(doc_new('2'), "totals", json_null()), "\"totals\"");
	refuse(without(doc_new('2'), "other"), "\"other\"");
	/* The page of the clients. */
	refuse(json_pack("{ss s[] s{si}}", "time", "t", "clients", "totals", "rows", 0),
	    "not from a flows page");
	doc = doc_new('2');
	json_object_set_new(json_object_get(doc, "totals"), "mesh_packets", json_integer(1));
	refuse(doc, "\"totals\"");
	doc = doc_new('2');
	json_object_set_new(json_object_get(doc, "totals"), "packets", json_integer(-1));
	refuse(doc, "\"totals\"");
	doc = doc_new('2');
	add(doc, (struct flow){'A', 'B', .packets = 1});
	json_array_append_new(json_object_get(doc, "flows"), json_pack("{ss}", "src", "x"));
	refuse(doc, "flow number 2");
	take(doc_new('2'));
}

static void test_many_nodes(void **state)
{
	for (int i = 0; i < FLOWS_NODES_MAX; i++)
		take(doc_new((char)(1 + i)));
	refuse(doc_new('~'), "more than 64 nodes");
}

static void test_source(void **state)
{
	char path[] = "/tmp/test_flows.XXXXXX", err[FLOWS_ERR_LEN], name[64];
	int fd = mkstemp(path);
	json_t *doc;

	assert_true(fd >= 0);
	assert_null(flows_source_read(path, false, err));
	assert_non_null(strstr(err, "no JSON"));
	assert_int_equal(write(fd, "{\"a\":1}\n", 8), 8);
	close(fd);
	doc = flows_source_read(path, false, err);
	assert_non_null(doc);
	json_decref(doc);
	assert_int_equal(unlink(path), 0);
	assert_null(flows_source_read(path, false, err));
	assert_string_equal(err, "No such file or directory");
	assert_null(flows_source_read("/", false, err));
	assert_null(flows_source_read("unix:/tmp/no/such/socket", false, err));
	assert_string_not_equal(err, "No such file or directory"); /* as of a file's name */
	assert_null(flows_source_read("http://[::", false, err));
	assert_string_equal(err, "it is no URL");

	flows_source_name("https://me:pass@a.example:4443/?debugkey=s", name, sizeof(name));
	assert_string_equal(name, "https://a.example:4443/");
	flows_source_name("http://[::/?debugkey=s", name, sizeof(name));
	assert_string_equal(name, "http://[::/");
	flows_source_name("-", name, sizeof(name));
	assert_string_equal(name, "standard input");
	flows_source_name("a\nb", name, sizeof(name));
	assert_string_equal(name, "a?b");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_two_nodes),
	    T(test_dst_moved),
	    T(test_src_moved),
	    T(test_other),
	    T(test_missing),
	    T(test_nothing),
	    T(test_refused),
	    T(test_many_nodes),
	    T(test_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
