/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * map64.h: a growing map from a 64-bit hash to a 32-bit slot, for one thread.
 *
 * The hashes are SipHash under a secret (key.h), so two different keys share one so rarely that a
 * second one is simply refused; the caller still compares the keys of what it finds.
 */
#ifndef SLUICE_BASE_MAP64_H
#define SLUICE_BASE_MAP64_H

#include <stdbool.h>
#include <stdint.h>

#define MAP64_NONE UINT32_MAX

struct map64 {
	struct map64_entry {
		uint64_t hash;
		uint32_t slot; /* MAP64_NONE: empty */
	} * entry;
	uint32_t mask;
	uint32_t n;
};

void map64_init(struct map64 *m);
void map64_fini(struct map64 *m);
/* MAP64_NONE when there is none. */
uint32_t map64_get(const struct map64 *m, uint64_t hash);
/* The hash must not be in the map. */
void map64_put(struct map64 *m, uint64_t hash, uint32_t slot);
/* The hash must be in the map. */
void map64_del(struct map64 *m, uint64_t hash);

#endif
