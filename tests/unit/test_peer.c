/* SPDX-License-Identifier: BSD-3-Clause */
/* Peer records: who is active, handles that become void, idle records that go in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sodium.h>
#include <string.h>

#include "relay/conn.h"
#include "relay/peer.h"

static struct key key_of(uint32_t n)
{
	struct key k = {{0}};

	memcpy(k.b, &n, sizeof(n));
	return k;
}

static struct peer *get(struct peer_table *t, uint32_t n)
{
	struct key k = key_of(n);

	return peer_get(t, &k, key_hash(&k));
}

static struct peer *find(const struct peer_table *t, uint32_t n)
{
	struct key k = key_of(n);

	return peer_find(t, &k, key_hash(&k));
}

/* The idle list both ways: as long as it says, of records without connections. */
static void check_idle(const struct peer_table *t)
{
	const struct peer *before = NULL;
	uint32_t n = 0;

	for (const struct peer *p = t->idle_first; p; p = p->idle_next) {
		assert_ptr_equal(p->idle_prev, before);
		assert_int_equal(p->nconns, 0);
		before = p;
		n++;
	}
	assert_ptr_equal(t->idle_last, before);
	assert_int_equal(t->idle, n);
}

static void test_handles(void **state)
{
	struct peer_table t;
	struct key k = key_of(1);
	struct peer *p;

	peer_table_init(&t);
	assert_null(find(&t, 1));
	p = get(&t, 1);
	assert_ptr_equal(get(&t, 1), p);
	assert_ptr_equal(find(&t, 1), p);
	assert_ptr_equal(peer_at(&t, p->slot, peer_gen(&t, p)), p);
	assert_null(peer_at(&t, p->slot, peer_gen(&t, p) + 1));
	assert_null(peer_at(&t, UINT32_MAX, 0));
	/* The hash alone is not enough: another key behind the same hash is not this one. */
	k.b[31] = 1;
	assert_null(peer_find(&t, &k, p->hash));
	peer_table_fini(&t);
}

/* At the cap the record that has been idle longest goes, its handle is void from then on; those
 * with a connection, and those somebody is still to be told of, stay. */
static void test_idle_trim(void **state)
{
	struct peer_table t;
	struct conn c = {0};
	uint32_t gen, slot;
	struct peer *p;

	peer_table_init(&t);
	peer_add(&t, get(&t, 0), &c);
	get(&t, 1)->gone_pending = true;
	p = get(&t, 2);
	slot = p->slot;
	gen = peer_gen(&t, p);
	for (uint32_t n = 3; n < PEER_IDLE_MAX + 100; n++) {
		get(&t, n);
		assert_true(t.idle <= PEER_IDLE_MAX + 1);
	}
	check_idle(&t);
	assert_int_equal(t.by_hash.n, t.idle + 1);
	assert_non_null(find(&t, 0));
	assert_non_null(find(&t, 1));
	for (uint32_t n = 2; n < PEER_IDLE_MAX + 100; n++)
		assert_int_equal(find(&t, n) == NULL, n < 100);
	assert_null(peer_at(&t, slot, gen));
	/* Its slot serves another: the old handle stays void. */
	assert_non_null(t.slot[slot].peer);
	assert_int_not_equal(t.slot[slot].gen, gen);
	/* Told: it is the oldest now. */
	find(&t, 1)->gone_pending = false;
	get(&t, UINT32_MAX);
	assert_null(find(&t, 1));
	peer_remove(&t, find(&t, 0), &c);
	check_idle(&t);
	peer_table_fini(&t);
}

/* A record that has just become idle is in its caller's hand: it stays until the turn ends, also
 * when it is the only one that may go. */
static void test_idle_in_hand(void **state)
{
	struct forwarder f = {.link = 1};
	struct peer_table t;
	struct conn c = {0};
	struct peer *p;

	peer_table_init(&t);
	for (uint32_t n = 1; n < PEER_IDLE_MAX + 100; n++) {
		get(&t, n)->gone_pending = true;
		assert_non_null(find(&t, n));
	}
	p = get(&t, 0);
	peer_add(&t, p, &c);
	peer_remove(&t, p, &c);
	assert_ptr_equal(find(&t, 0), p);
	assert_true(peer_add_forwarder(&t, p, f));
	assert_true(peer_remove_forwarder(&t, p, f.link));
	assert_ptr_equal(find(&t, 0), p);
	for (uint32_t n = 1; n < PEER_IDLE_MAX + 100; n++)
		find(&t, n)->gone_pending = false;
	peer_trim(&t);
	assert_int_equal(t.idle, PEER_IDLE_MAX);
	check_idle(&t);
	assert_ptr_equal(find(&t, 0), p);
	peer_table_fini(&t);
}

/* A record that was in use lately is not the oldest idle one. */
static void test_idle_again(void **state)
{
	struct peer_table t;
	struct conn c = {0};

	peer_table_init(&t);
	for (uint32_t n = 0; n <= PEER_IDLE_MAX; n++)
		get(&t, n);
	peer_add(&t, find(&t, 0), &c);
	assert_int_equal(t.idle, PEER_IDLE_MAX);
	peer_remove(&t, find(&t, 0), &c);
	get(&t, PEER_IDLE_MAX + 1);
	assert_non_null(find(&t, 0));
	assert_null(find(&t, 1));
	check_idle(&t);
	peer_table_fini(&t);
}

/* The one that has just become idle stays, also when all others wait for their watchers to be told:
 * the caller is busy with it. */
static void test_idle_newest(void **state)
{
	struct peer_table t;
	struct conn c = {0};

	peer_table_init(&t);
	for (uint32_t n = 0; n <= PEER_IDLE_MAX + 1; n++)
		get(&t, n)->gone_pending = true;
	find(&t, 0)->gone_pending = false;
	peer_add(&t, find(&t, 0), &c);
	peer_remove(&t, find(&t, 0), &c);
	assert_non_null(find(&t, 0));
	assert_int_equal(find(&t, 0)->nconns, 0);
	for (uint32_t n = 1; n <= PEER_IDLE_MAX + 1; n++)
		find(&t, n)->gone_pending = false;
	peer_table_fini(&t);
}

#define DUPS 6

/* The order of a set as a plain array, the active one first. */
struct order {
	struct conn *at[DUPS];
	uint32_t n;
};

static void order_remove(struct order *o, const struct conn *c)
{
	uint32_t i = 0;

	while (o->at[i] != c)
		i++;
	memmove(&o->at[i], &o->at[i + 1], (o->n - i - 1) * sizeof(o->at[0]));
	o->n--;
}

static void order_first(struct order *o, struct conn *c)
{
	memmove(&o->at[1], &o->at[0], o->n * sizeof(o->at[0]));
	o->at[0] = c;
	o->n++;
}

static void check_order(const struct peer *p, const struct order *o)
{
	const struct conn *c = p->conns;

	assert_int_equal(p->nconns, o->n);
	assert_ptr_equal(p->active, o->n ? o->at[0] : NULL);
	for (uint32_t i = 0; i < o->n; i++, c = c->next_of_peer)
		assert_ptr_equal(c, o->at[i]);
	assert_null(c);
}

/* Who came or sent last is active; when it goes, who did before it. Totals of all are kept. */
static void test_duplicates(void **state)
{
	struct peer_table t;
	struct conn c[DUPS] = {{.worker = NULL}};
	struct order o = {.n = 0};
	uint64_t logins = 0, packets = 0;
	struct peer *p;

	peer_table_init(&t);
	p = get(&t, 7);
	for (int i = 0; i < 20000; i++) {
		struct conn *one = &c[rand() % DUPS];

		if (!one->peer) {
			peer_add(&t, p, one);
			order_first(&o, one);
			logins++;
		} else if (rand() % 2) {
			one->totals.rx_packets++;
			one->totals.tx_bytes += 3;
			packets++;
			peer_activate(p, one);
			order_remove(&o, one);
			order_first(&o, one);
		} else {
			peer_remove(&t, p, one);
			order_remove(&o, one);
			*one = (struct conn){.worker = NULL};
		}
		check_order(p, &o);
		assert_int_equal(t.idle, o.n == 0);
	}
	while (o.n) {
		struct conn *one = o.at[0];

		peer_remove(&t, p, one);
		order_remove(&o, one);
		check_order(p, &o);
	}
	assert_int_equal(p->logins, logins);
	assert_int_equal(p->past.rx_packets, packets);
	assert_int_equal(p->past.tx_bytes, 3 * packets);
	assert_int_equal(p->past.rx_bytes + p->past.tx_packets, 0);
	check_idle(&t);
	peer_table_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_handles),
	    cmocka_unit_test(test_idle_trim),
	    cmocka_unit_test(test_idle_in_hand),
	    cmocka_unit_test(test_idle_again),
	    cmocka_unit_test(test_idle_newest),
	    cmocka_unit_test(test_duplicates),
	};

	if (sodium_init() < 0)
		return 1;
	srand(1);
	key_hash_init();
	return cmocka_run_group_tests_name("peer", tests, NULL, NULL);
}
