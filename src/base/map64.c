/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/map64.h"

#include <stdlib.h>

#include "base/check.h"

#define BUCKETS_MIN 64u

static struct map64_entry *buckets_new(uint32_t n)
{
	struct map64_entry *e = must_alloc(n * sizeof(*e));

	for (uint32_t i = 0; i < n; i++)
		e[i] = (struct map64_entry){.slot = MAP64_NONE};
	return e;
}

void map64_init(struct map64 *m)
{
	*m = (struct map64){.mask = BUCKETS_MIN - 1, .entry = buckets_new(BUCKETS_MIN)};
}

void map64_fini(struct map64 *m)
{
	free(m->entry);
	m->entry = NULL;
}

/* The bucket that holds the hash, or the empty one where it would go. */
static uint32_t bucket_of(const struct map64 *m, uint64_t hash)
{
	uint32_t b = (uint32_t)hash & m->mask;

	while (m->entry[b].slot != MAP64_NONE && m->entry[b].hash != hash)
		b = (b + 1) & m->mask;
	return b;
}

uint32_t map64_get(const struct map64 *m, uint64_t hash)
{
	return m->entry[bucket_of(m, hash)].slot;
}

static void rehash(struct map64 *m, uint32_t buckets)
{
	struct map64_entry *old = m->entry;
	uint32_t n = m->mask + 1;

	m->entry = buckets_new(buckets);
	m->mask = buckets - 1;
	for (uint32_t i = 0; i < n; i++)
		if (old[i].slot != MAP64_NONE)
			m->entry[bucket_of(m, old[i].hash)] = old[i];
	free(old);
}

void map64_put(struct map64 *m, uint64_t hash, uint32_t slot)
{
	uint32_t b;

	CHECK(slot != MAP64_NONE);
	if ((m->n + 1) * 2 > m->mask)
		rehash(m, (m->mask + 1) * 2);
	b = bucket_of(m, hash);
	CHECK(m->entry[b].slot == MAP64_NONE);
	m->entry[b] = (struct map64_entry){.hash = hash, .slot = slot};
	m->n++;
}

void map64_del(struct map64 *m, uint64_t hash)
{
	uint32_t hole = bucket_of(m, hash);

	CHECK(m->entry[hole].slot != MAP64_NONE);
	/* Entries behind the hole move up while they may: no tombstones. */
	for (uint32_t b = (hole + 1) & m->mask; m->entry[b].slot != MAP64_NONE;
	     b = (b + 1) & m->mask) {
		uint32_t home = (uint32_t)m->entry[b].hash & m->mask;

		if (((b - home) & m->mask) >= ((b - hole) & m->mask)) {
			m->entry[hole] = m->entry[b];
			hole = b;
		}
	}
	m->entry[hole].slot = MAP64_NONE;
	m->n--;
	if (m->mask + 1 > BUCKETS_MIN && m->n * 16 < m->mask)
		rehash(m, (m->mask + 1) / 4 > BUCKETS_MIN ? (m->mask + 1) / 4 : BUCKETS_MIN);
}
