/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots: a slice at a time, while the table goes on changing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sodium.h>

#include "flow/snapshot.h"

#define CONNS 1000
#define PER_CONN 5
#define CAP 8192

struct bed {
	struct flow_table t;
	struct counters counters;
	struct flow_set set[CONNS];
	uint32_t named;
};

static struct flow_set *set_of(void *arg, uint32_t conn)
{
	return &((struct bed *)arg)->set[conn];
}

static struct key key_of(uint32_t n)
{
	struct key k = {{0}};

	memcpy(k.b, &n, sizeof(n));
	return k;
}

static uint32_t flow_of(struct bed *b, uint32_t conn, uint32_t n)
{
	struct key k = key_of(n);

	return flow_create(&b->t, &b->set[conn], conn, &k, key_hash(&k), NULL, 10 + n, set_of, b);
}

/* CONNS connections with PER_CONN flows each; flow n of a connection has n + 1 packets. */
static struct bed *bed_new(void)
{
	struct bed *b;
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, 64, sizeof(*b)), 0);
	b = memset(p, 0, sizeof(*b));
	flow_table_init(&b->t, CAP, &b->counters);
	for (uint32_t c = 0; c < CONNS; c++) {
		flow_set_init(&b->set[c]);
		for (uint32_t n = 0; n < PER_CONN; n++) {
			uint32_t slot = flow_of(b, c, n);

			for (uint32_t i = 0; i <= n; i++)
				flow_count(&b->t.slot[slot], 100, i == 0, 20 + n);
		}
	}
	return b;
}

static void bed_free(struct bed *b)
{
	for (uint32_t c = 0; c < CONNS; c++)
		flow_set_fini(&b->t, &b->set[c]);
	flow_table_fini(&b->t);
	free(b);
}

static void name(void *arg, const struct flow *f, struct flow_row *row)
{
	struct bed *b = arg;

	assert_int_not_equal(f->conn, FLOW_NONE);
	row->conn_number = 1000 + f->conn;
	b->named++;
}

/* Takes it to the end, no more than a slice a step; returns the steps. */
static uint32_t fill(struct bed *b, struct flow_part *p)
{
	uint32_t steps = 1;

	for (uint32_t before = p->next; !flow_part_fill(p, &b->t, name, b); before = p->next) {
		assert_true(p->next - before <= SNAPSHOT_SLICE);
		assert_true(p->next > before);
		steps++;
	}
	return steps;
}

/* Every flow once, with its numbers. */
static void test_rows(void **state)
{
	struct bed *b = bed_new();
	struct flow_part *p = flow_part_new(3, b->t.used);
	uint64_t seen[CONNS] = {0};

	assert_non_null(p);
	flow_drop(&b->t, flow_ref_of(&b->t, 7), DROP_QUEUE_HEAD, 2, 33);
	assert_int_equal(fill(b, p), (CONNS * PER_CONN + SNAPSHOT_SLICE - 1) / SNAPSHOT_SLICE);
	assert_int_equal(p->worker, 3);
	assert_int_equal(p->n, CONNS * PER_CONN);
	assert_int_equal(b->named, p->n);
	for (uint32_t i = 0; i < p->n; i++) {
		const struct flow_row *r = &p->row[i];
		struct key k;
		uint32_t n;

		memcpy(&n, r->dst.b, sizeof(n));
		k = key_of(n);
		assert_memory_equal(&r->dst, &k, sizeof(k));
		assert_int_equal(r->packets, n + 1);
		assert_int_equal(r->bytes, 100 * (n + 1));
		assert_int_equal(r->disco_packets, 1);
		assert_int_equal(r->disco_bytes, 100);
		assert_int_equal(r->first_ds, 10 + n);
		assert_int_equal(r->last_ds, 20 + n);
		assert_true(key_is_zero(&r->recv_from) && key_is_zero(&r->fwded_to));
		assert_int_equal(r->gen, b->t.slot[r->slot].gen);
		assert_int_equal(drops_sum(r->drop_packets), r->slot == 7 ? 2 : 0);
		assert_int_equal(r->drop_bytes[DROP_QUEUE_HEAD], r->slot == 7 ? 33 : 0);
		seen[r->conn_number - 1000] |= 1ull << n;
	}
	for (uint32_t c = 0; c < CONNS; c++)
		assert_int_equal(seen[c], (1 << PER_CONN) - 1);
	free(p);
	bed_free(b);
}

/* A part has room for so many rows and takes no more; it is through all the same. */
static void test_capped(void **state)
{
	struct bed *b = bed_new();
	struct flow_part *p = flow_part_new(0, 1500);

	assert_non_null(p);
	fill(b, p);
	assert_int_equal(p->n, 1500);
	/* Asked again, as while the gate takes no mail: nothing more is written. */
	assert_true(flow_part_fill(p, &b->t, name, b));
	assert_int_equal(p->n, 1500);
	free(p);
	p = flow_part_new(0, 0);
	assert_true(flow_part_fill(p, &b->t, name, b));
	assert_int_equal(p->n, 0);
	free(p);
	bed_free(b);
}

/* Other is that of the end of the walk: what went before the walk came to it is in there. */
static void test_other_at_end(void **state)
{
	struct bed *b = bed_new();
	struct flow_part *p = flow_part_new(0, CAP);
	uint64_t packets = 0;

	assert_false(flow_part_fill(p, &b->t, name, b));
	assert_int_equal(p->n, SNAPSHOT_SLICE);
	assert_int_equal(p->other.flows, 0);
	/* The last ones go, before they have been copied; holes are stepped over. */
	flow_set_fini(&b->t, &b->set[CONNS - 1]);
	flow_set_fini(&b->t, &b->set[CONNS / 2]);
	fill(b, p);
	assert_int_equal(p->n, (CONNS - 2) * PER_CONN);
	assert_int_equal(p->other.flows, 2 * PER_CONN);
	assert_int_equal(p->other.bytes, 2 * 1500);
	for (uint32_t i = 0; i < p->n; i++)
		packets += p->row[i].packets;
	assert_int_equal(packets + p->other.packets, CONNS * 15);
	free(p);
	bed_free(b);
}

/* A slot that was used again is another flow: its generation says so. */
static void test_generations(void **state)
{
	struct bed *b = bed_new();
	struct flow_part *one = flow_part_new(0, CAP), *two = flow_part_new(0, CAP);
	uint32_t slot = b->set[5].head, same = 0;

	fill(b, one);
	flow_set_fini(&b->t, &b->set[5]);
	for (uint32_t n = 0; n < PER_CONN; n++)
		flow_of(b, 6, 100 + n);
	fill(b, two);
	assert_int_equal(one->n, two->n);
	assert_int_equal(two->row[slot].slot, slot);
	for (uint32_t i = 0; i < one->n; i++) {
		assert_int_equal(one->row[i].slot, two->row[i].slot);
		if (one->row[i].gen == two->row[i].gen)
			same++;
		else
			assert_int_equal(two->row[i].conn_number, 1006);
	}
	assert_int_equal(same, one->n - PER_CONN);
	free(one);
	free(two);
	bed_free(b);
}

static void test_empty(void **state)
{
	struct bed *b;
	struct flow_part *p = flow_part_new(0, 4);
	struct flow_table t;
	struct counters n = {0};

	b = bed_new();
	flow_table_init(&t, FLOW_LIMIT_MIN, &n);
	assert_true(flow_part_fill(p, &t, name, b));
	assert_int_equal(p->n, 0);
	assert_int_equal(p->other.flows, 0);
	flow_table_fini(&t);
	free(p);
	bed_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_capped),
	    cmocka_unit_test(test_other_at_end),
	    cmocka_unit_test(test_generations),
	    cmocka_unit_test(test_empty),
	};

	if (sodium_init() < 0)
		return 1;
	key_hash_init();
	return cmocka_run_group_tests_name("flow snapshot", tests, NULL, NULL);
}
