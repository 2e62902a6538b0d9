/* SPDX-License-Identifier: BSD-3-Clause */
/* Who has heard from whom, against a plain matrix. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sodium.h>
#include <string.h>

#include "relay/conn.h"
#include "relay/sighting.h"

#define CONNS 24
#define KEYS 80

struct model {
	struct sightings s;
	struct conn conn[CONNS];
	struct key key[KEYS];
	uint64_t hash[KEYS];
	bool heard[CONNS][KEYS];
	bool told[KEYS];      /* its owner has been asked, since the key was heard first */
	uint32_t gone[CONNS]; /* connections that the last sightings_gone named */
};

static struct model *model_new(void)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	sightings_init(&m->s);
	for (uint32_t c = 0; c < CONNS; c++) {
		m->conn[c].slot = c;
		sighting_set_init(&m->conn[c].sightings);
	}
	for (int k = 0; k < KEYS; k++) {
		randombytes_buf(m->key[k].b, KEY_LEN);
		m->hash[k] = key_hash(&m->key[k]);
	}
	return m;
}

static bool anybody(const struct model *m, int k)
{
	for (int c = 0; c < CONNS; c++)
		if (m->heard[c][k])
			return true;
	return false;
}

static void check(const struct model *m)
{
	uint32_t n = 0, keys = 0;

	for (int c = 0; c < CONNS; c++) {
		uint32_t mine = 0;

		for (int k = 0; k < KEYS; k++)
			mine += m->heard[c][k];
		assert_int_equal(m->conn[c].sightings.n, mine);
		assert_int_equal(m->conn[c].sightings.first == MAP64_NONE, mine == 0);
		n += mine;
	}
	for (int k = 0; k < KEYS; k++)
		keys += anybody(m, k);
	assert_int_equal(m->s.used, n);
	assert_int_equal(m->s.by_pair.n, n);
	assert_int_equal(m->s.by_source.n, keys);
}

static void model_free(struct model *m)
{
	for (int c = 0; c < CONNS; c++) {
		sighting_set_fini(&m->s, &m->conn[c].sightings);
		memset(m->heard[c], 0, sizeof(m->heard[c]));
	}
	check(m);
	assert_null(sightings_untold(&m->s));
	sightings_fini(&m->s);
	free(m);
}

static void note(struct model *m, int c, int k)
{
	if (!anybody(m, k))
		m->told[k] = false;
	assert_int_equal(sighting_note(&m->s, &m->conn[c].sightings, &m->conn[c], &m->key[k],
			     m->hash[k], (uint16_t)(k % 7), false),
	    0);
	m->heard[c][k] = true;
}

static void count_gone(void *arg, struct conn *c)
{
	struct model *m = arg;

	m->gone[c - m->conn]++;
}

/* Exactly those who have heard from it are named, once. */
static void gone(struct model *m, int k)
{
	memset(m->gone, 0, sizeof(m->gone));
	sightings_gone(&m->s, &m->key[k], m->hash[k], count_gone, m);
	for (int c = 0; c < CONNS; c++) {
		assert_int_equal(m->gone[c], m->heard[c][k]);
		m->heard[c][k] = false;
	}
}

/* Some connection ends; another takes its place and slot. */
static void end(struct model *m, int c)
{
	sighting_set_fini(&m->s, &m->conn[c].sightings);
	sighting_set_init(&m->conn[c].sightings);
	m->conn[c].gen++;
	memset(m->heard[c], 0, sizeof(m->heard[c]));
}

/* Asks the owners of up to n sources: each is one that somebody has heard from, and not asked yet.
 */
static void ask(struct model *m, int n)
{
	struct source *s;

	for (; n > 0 && (s = sightings_untold(&m->s)); n--) {
		int k = 0;

		while (k < KEYS && !key_equal(&m->key[k], &s->key))
			k++;
		assert_true(k < KEYS);
		assert_int_equal(s->hash, m->hash[k]);
		assert_int_equal(s->owner, k % 7);
		assert_true(anybody(m, k));
		assert_false(m->told[k]);
		m->told[k] = true;
		sightings_told(&m->s);
	}
	if (n == 0)
		return;
	/* None is left: all that are heard from have been asked for. */
	for (int k = 0; k < KEYS; k++)
		assert_true(!anybody(m, k) || m->told[k]);
}

/* Sources come and go while they wait to be asked for, and their places are used again. */
static void test_random(void **state)
{
	struct model *m = model_new();

	for (int i = 0; i < 100000; i++) {
		int what = rand() % 100;

		if (what < 60)
			note(m, rand() % CONNS, rand() % KEYS);
		else if (what < 85)
			gone(m, rand() % KEYS);
		else if (what < 90)
			end(m, rand() % CONNS);
		else
			ask(m, rand() % (i / 10000 % 2 ? 4 : 100));
		if (i % 50 == 0)
			check(m);
	}
	check(m);
	ask(m, INT32_MAX);
	model_free(m);
}

/* A key that has gone and comes back is noted, asked for and told of again. */
static void test_again(void **state)
{
	struct model *m = model_new();

	for (int i = 0; i < 3; i++) {
		note(m, 0, 0);
		note(m, 0, 0);
		assert_int_equal(m->s.used, 1);
		ask(m, 5);
		assert_true(m->told[0]);
		gone(m, 0);
		assert_int_equal(m->gone[0], 1);
		gone(m, 0);
	}
	model_free(m);
}

static struct key numbered(uint32_t n)
{
	struct key k = {{1}};

	memcpy(k.b + 4, &n, sizeof(n));
	return k;
}

static uint32_t note_number(struct sightings *s, struct conn *c, uint32_t n)
{
	struct key k = numbered(n);

	return sighting_note(s, &c->sightings, c, &k, key_hash(&k), 0, false);
}

static void got_gone(void *arg, struct conn *c)
{
	(*(uint32_t *)arg)++;
}

/* At its cap a connection forgets the oldest, which is told; the newest are kept. */
static void test_cap_of_conn(void **state)
{
	struct sightings s;
	struct conn c = {.slot = 3};
	uint32_t forgotten = 0, named = 0;

	sightings_init(&s);
	sighting_set_init(&c.sightings);
	for (uint32_t n = 0; n < SIGHTINGS_PER_CONN + 10; n++)
		forgotten += note_number(&s, &c, n);
	assert_int_equal(forgotten, 10);
	assert_int_equal(c.sightings.n, SIGHTINGS_PER_CONN);
	for (uint32_t n = 0; n < SIGHTINGS_PER_CONN + 10; n++) {
		struct key k = numbered(n);

		sightings_gone(&s, &k, key_hash(&k), got_gone, &named);
		assert_int_equal(named, n < 10 ? 0 : n - 9);
	}
	assert_int_equal(s.used, 0);
	sightings_fini(&s);
}

/* At the worker's cap new ones are not noted, which is told each time; the known ones go on. */
static void test_cap_of_worker(void **state)
{
	enum { N = SIGHTINGS_MAX / SIGHTINGS_PER_CONN };
	struct conn *c = calloc(N + 1, sizeof(*c));
	struct sightings s;

	sightings_init(&s);
	for (uint32_t i = 0; i <= N; i++) {
		c[i].slot = i;
		sighting_set_init(&c[i].sightings);
	}
	for (uint32_t i = 0; i < N; i++)
		for (uint32_t n = 0; n < SIGHTINGS_PER_CONN; n++)
			assert_int_equal(note_number(&s, &c[i], n), 0);
	assert_int_equal(s.used, SIGHTINGS_MAX);
	assert_int_equal(s.by_source.n, SIGHTINGS_PER_CONN);
	assert_int_equal(note_number(&s, &c[N], 0), 1);
	assert_int_equal(note_number(&s, &c[N], 0), 1);
	assert_int_equal(note_number(&s, &c[0], 0), 0);
	sighting_set_fini(&s, &c[1].sightings);
	assert_int_equal(note_number(&s, &c[N], 0), 0);
	for (uint32_t i = 0; i <= N; i++)
		sighting_set_fini(&s, &c[i].sightings);
	assert_int_equal(s.by_source.n + s.by_pair.n, 0);
	sightings_fini(&s);
	free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_again),
	    cmocka_unit_test(test_cap_of_conn),
	    cmocka_unit_test(test_cap_of_worker),
	};

	if (sodium_init() < 0)
		return 1;
	srand(1);
	key_hash_init();
	return cmocka_run_group_tests_name("sighting", tests, NULL, NULL);
}
