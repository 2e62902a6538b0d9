/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/counter.h"

#include <stddef.h>

const char *const drop_reason_label[DROP_REASON_COUNT] = {
#define X(id, label) [id] = label,
    DROP_REASONS(X)
#undef X
};

const char *const close_reason_label[CLOSE_REASON_COUNT] = {
#define X(id, label, text) [id] = label,
    CLOSE_REASONS(X)
#undef X
};

const char *const packet_kind_label[KIND_COUNT] = {
    [KIND_OTHER] = "other",
    [KIND_DISCO] = "disco",
};

void counters_add(struct counters *sum, const struct counters *c)
{
	uint64_t *to = (uint64_t *)(void *)sum;
	const uint64_t *from = (const uint64_t *)(const void *)c;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += tally_read(&from[i]);
}
