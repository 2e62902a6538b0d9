/* SPDX-License-Identifier: BSD-3-Clause */
/* The flow table against a model that keeps everything and forgets nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sodium.h>

#include "flow/table.h"

#define CONNS 40
#define KEYS 60
#define CAP 128
#define REFS 256

struct model {
	struct flow_table t;
	struct counters counters;
	struct flow_set set[CONNS];
	struct key key[KEYS];
	uint64_t hash[KEYS];
	/* Everything that was ever counted. */
	struct flow_totals all;
	/* Flows named earlier, as letters from other workers name them. */
	struct flow_ref ref[REFS];
	/* Numbers of an entry as the model knows them, by slot: an entry's own are never mixed up.
	 */
	uint64_t packets[CAP], drops[CAP];
	uint32_t now_ds;
};

static struct flow_set *set_of(void *arg, uint32_t conn)
{
	struct model *m = arg;

	assert_true(conn < CONNS);
	return &m->set[conn];
}

static uint32_t draw(uint32_t n)
{
	return (uint32_t)rand() % n;
}

static struct model *model_new(uint32_t cap)
{
	struct model *m;
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, 64, sizeof(*m)), 0);
	m = memset(p, 0, sizeof(*m));
	m->now_ds = 100;
	flow_table_init(&m->t, cap, &m->counters);
	for (int c = 0; c < CONNS; c++)
		flow_set_init(&m->set[c]);
	for (int k = 0; k < KEYS; k++) {
		for (int i = 0; i < KEY_LEN; i++)
			m->key[k].b[i] = (uint8_t)rand();
		m->hash[k] = key_hash(&m->key[k]);
	}
	return m;
}

static void model_free(struct model *m)
{
	for (int c = 0; c < CONNS; c++)
		flow_set_fini(&m->t, &m->set[c]);
	assert_int_equal(m->t.used, 0);
	assert_int_equal(m->counters.v[C_FLOWS], 0);
	flow_table_fini(&m->t);
	free(m);
}

/* Flows that a set lists, each of which says so itself and is found by its name. */
static uint32_t check_set(const struct model *m, uint32_t conn)
{
	const struct flow_set *s = &m->set[conn];
	uint32_t n = 0, before = FLOW_NONE;

	for (uint32_t slot = s->head; slot != FLOW_NONE; slot = m->t.slot[slot].next) {
		const struct flow *f = &m->t.slot[slot];

		assert_int_equal(f->conn, conn);
		assert_int_equal(f->prev, before);
		assert_int_equal(flow_lookup(&m->t, conn, &f->dst, f->dst_hash, NULL), slot);
		before = slot;
		n++;
	}
	assert_int_equal(s->tail, before);
	assert_int_equal(s->n, n);
	assert_true(n <= m->t.share);
	if (s->last != FLOW_NONE)
		assert_int_equal(m->t.slot[s->last].conn, conn);
	return n;
}

static void add_drops(struct flow_totals *sum, const uint64_t *packets, const uint64_t *bytes)
{
	for (int r = 0; r < DROP_REASON_COUNT; r++) {
		sum->drop_packets[r] += packets[r];
		sum->drop_bytes[r] += bytes[r];
	}
}

/* What flows and other hold together is what was counted, number by number. */
static void check_sums(const struct model *m)
{
	struct flow_totals sum = m->t.other;

	sum.flows += m->t.used;
	for (uint32_t i = 0; i < m->t.touched; i++) {
		const struct flow *f = &m->t.slot[i];

		if (f->conn == FLOW_NONE)
			continue;
		assert_int_equal(f->packets, m->packets[i]);
		sum.packets += f->packets;
		sum.bytes += f->bytes;
		sum.disco_packets += f->disco_packets;
		sum.disco_bytes += f->disco_bytes;
		if (f->trouble != FLOW_NONE)
			add_drops(
			    &sum, m->t.trouble[f->trouble].packets, m->t.trouble[f->trouble].bytes);
	}
	assert_memory_equal(&sum, &m->all, sizeof(sum));
}

static void check_index(const struct model *m)
{
	uint32_t indexed = 0;

	for (uint32_t b = 0; b <= m->t.mask; b++)
		indexed += m->t.index[b] != 0;
	assert_int_equal(indexed, m->t.used);
}

static void check(const struct model *m)
{
	uint32_t n = 0;

	for (uint32_t c = 0; c < CONNS; c++)
		n += check_set(m, c);
	assert_int_equal(n, m->t.used);
	assert_true(n <= m->t.cap && m->t.touched <= m->t.cap);
	assert_int_equal(m->counters.v[C_FLOWS], n);
	assert_int_equal(m->counters.v[C_FLOWS_CREATED], m->all.flows);
	check_index(m);
	check_sums(m);
}

/* Counts a packet as the relay does; remembers the flow's name in place of another. */
static uint32_t packet(struct model *m, uint32_t conn, uint32_t key)
{
	uint32_t slot = flow_lookup(&m->t, conn, &m->key[key], m->hash[key], NULL);
	uint32_t bytes = draw(1500);
	bool disco = draw(5) == 0;

	if (slot == FLOW_NONE) {
		slot = flow_create(&m->t, &m->set[conn], conn, &m->key[key], m->hash[key], NULL,
		    m->now_ds, set_of, m);
		assert_int_equal(m->t.slot[slot].packets, 0);
		m->packets[slot] = 0;
		m->all.flows++;
	}
	m->set[conn].last = slot;
	flow_count(&m->t.slot[slot], bytes, disco, m->now_ds);
	m->packets[slot]++;
	m->all.packets++;
	m->all.bytes += bytes;
	m->all.disco_packets += disco;
	m->all.disco_bytes += disco ? bytes : 0;
	m->ref[draw(REFS)] = flow_ref_of(&m->t, slot);
	return slot;
}

static void drop(struct model *m, struct flow_ref ref)
{
	enum drop_reason why = (enum drop_reason)draw(DROP_REASON_COUNT);
	uint32_t packets = 1 + draw(9), bytes = draw(9000);

	flow_drop(&m->t, ref, why, packets, bytes);
	m->all.drop_packets[why] += packets;
	m->all.drop_bytes[why] += bytes;
}

/* More flows than fit, from more connections than may have their share. */
static void test_random(void **state)
{
	struct model *m = model_new(CAP);

	for (int r = 0; r < REFS; r++)
		m->ref[r] = (struct flow_ref){.slot = FLOW_NONE};
	for (int i = 0; i < 60000; i++) {
		uint32_t what = draw(1000);

		m->now_ds += draw(20) == 0 ? draw(40) : 0;
		if (what < 700)
			packet(m, draw(CONNS) * draw(CONNS) / CONNS, draw(KEYS));
		else if (what < 950)
			drop(m, m->ref[draw(REFS)]);
		else if (what < 990)
			flow_sweep(&m->t, draw(50), m->now_ds, set_of, m);
		else if (what < 998)
			flow_set_fini(&m->t, &m->set[draw(CONNS)]);
		else
			m->now_ds += draw(2 * FLOW_IDLE_DS);
		if (i % 64 == 0)
			check(m);
	}
	assert_true(m->counters.v[C_FLOWS_EVICTED] > 1000);
	check(m);
	model_free(m);
}

/* A connection at its share loses a flow of its own, the longest idle of those looked at; the flows
 * of others stay. */
static void test_share(void **state)
{
	struct model *m = model_new(CAP);
	uint32_t share = m->t.share, oldest;
	struct flow_ref ref;

	assert_int_equal(share, MAX(CAP / FLOW_SHARE, FLOW_SHARE_MIN));
	packet(m, 1, 0);
	oldest = packet(m, 0, 0);
	ref = flow_ref_of(&m->t, oldest);
	for (uint32_t k = 1; k < share; k++) {
		m->now_ds++;
		packet(m, 0, k);
	}
	assert_int_equal(m->counters.v[C_FLOWS_EVICTED], 0);
	m->now_ds++;
	packet(m, 0, share);
	assert_int_equal(m->counters.v[C_FLOWS_EVICTED], 1);
	assert_int_equal(m->set[0].n, share);
	assert_int_equal(flow_lookup(&m->t, 0, &m->key[0], m->hash[0], NULL), FLOW_NONE);
	assert_int_not_equal(flow_lookup(&m->t, 1, &m->key[0], m->hash[0], NULL), FLOW_NONE);
	/* The slot is somebody else's now: the old name is void, its drops go to other. */
	assert_int_not_equal(m->t.slot[oldest].gen, ref.gen);
	drop(m, ref);
	for (uint32_t i = 0; i < m->t.touched; i++)
		assert_int_equal(m->t.slot[i].trouble, FLOW_NONE);
	check(m);
	model_free(m);
}

/* Full of flows of connections within their share: any may go, what is idle before what is not. */
static void test_full(void **state)
{
	struct model *m = model_new(CAP);
	uint32_t per_conn = CAP / CONNS + 1;

	for (uint32_t i = 0; i < CAP; i++)
		packet(m, i / per_conn, i % per_conn);
	assert_int_equal(m->t.used, CAP);
	m->now_ds = 200;
	/* All but every sixteenth are fresh again. */
	for (uint32_t i = 0; i < CAP; i++)
		if (i % 16)
			packet(m, i / per_conn, i % per_conn);
	for (uint32_t i = 0; i < CAP / 16; i++)
		packet(m, CONNS - 1, KEYS - 1 - i);
	assert_int_equal(m->counters.v[C_FLOWS_EVICTED], CAP / 16);
	for (uint32_t i = 0; i < CAP; i++) {
		uint32_t slot = flow_lookup(
		    &m->t, i / per_conn, &m->key[i % per_conn], m->hash[i % per_conn], NULL);

		assert_int_equal(slot == FLOW_NONE, i % 16 == 0);
	}
	check(m);
	model_free(m);
}

/* The sweep frees what was idle longer than FLOW_IDLE_DS, and nothing else. */
static void test_sweep(void **state)
{
	struct model *m = model_new(CAP);
	uint32_t idle = 0;

	for (uint32_t i = 0; i < 64; i++) {
		m->now_ds = 100 + i;
		packet(m, i % 16, i / 16);
	}
	m->now_ds = 100 + FLOW_IDLE_DS + 20;
	for (int rounds = 0; rounds < 8; rounds++)
		flow_sweep(&m->t, 8, m->now_ds, set_of, m);
	for (uint32_t i = 0; i < 64; i++) {
		uint32_t slot = flow_lookup(&m->t, i % 16, &m->key[i / 16], m->hash[i / 16], NULL);

		assert_int_equal(slot == FLOW_NONE, i < 20);
		idle += slot == FLOW_NONE;
	}
	assert_int_equal(m->t.other.flows, idle);
	assert_int_equal(m->counters.v[C_FLOWS_EVICTED], 0);
	check(m);
	/* More than there is to look at does no harm, nor does an empty table. */
	flow_sweep(&m->t, 1000, m->now_ds, set_of, m);
	check(m);
	model_free(m);
}

/* Drop records are bounded: when they are used up other has the drops, until one comes free. */
static void test_drop_records(void **state)
{
	struct model *m = model_new(CAP);
	struct flow_ref ref[CAP];
	uint32_t n = 0;

	for (uint32_t i = 0; i < CAP; i++) {
		uint32_t slot = packet(m, i / 4, i % 4);

		ref[n++] = flow_ref_of(&m->t, slot);
		drop(m, ref[i]);
		drop(m, ref[i]);
	}
	assert_int_equal(m->t.trouble_touched, m->t.trouble_cap);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(m->t.slot[ref[i].slot].trouble != FLOW_NONE, i < m->t.trouble_cap);
	check(m);
	flow_set_fini(&m->t, &m->set[0]);
	drop(m, ref[CAP - 1]);
	assert_int_not_equal(m->t.slot[ref[CAP - 1].slot].trouble, FLOW_NONE);
	check(m);
	/* Names that never were any. */
	drop(m, (struct flow_ref){.slot = FLOW_NONE});
	drop(m, (struct flow_ref){.slot = CAP - 1, .gen = 77});
	check(m);
	model_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_share),
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_sweep),
	    cmocka_unit_test(test_drop_records),
	};

	if (sodium_init() < 0)
		return 1;
	srand(1);
	key_hash_init();
	return cmocka_run_group_tests_name("flow table", tests, NULL, NULL);
}
