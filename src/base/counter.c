/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/counter.h"

#include <stddef.h>

#include "base/check.h"

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

#define BOUNDS_LEN(...) (sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

const struct histogram_info histogram_info[HISTOGRAM_COUNT] = {
#define X(id, name, help, ...) [id] = {name, help, BOUNDS_LEN(__VA_ARGS__), {__VA_ARGS__}},
    HISTOGRAMS(X)
#undef X
};

#define X(id, name, help, ...) \
	_Static_assert(BOUNDS_LEN(__VA_ARGS__) <= HISTOGRAM_BOUNDS_MAX, name);
HISTOGRAMS(X)
#undef X

void counters_observe(struct counters *c, enum histogram h, uint32_t n, uint64_t times)
{
	const struct histogram_info *info = &histogram_info[h];
	uint32_t b = bound_index(info->bound, info->n, n);

	tally(&c->histogram[h].bucket[b], times);
	tally(&c->histogram[h].sum, n * times);
}

void counters_rtt(struct counters *c, uint32_t us)
{
	static const uint32_t bound_us[] = {10000, 20000, 50000, 100000, 150000, 250000, 500000};

	count(c, (enum counter)(C_RTT_10 + bound_index(bound_us, ARRAY_LEN(bound_us), us)), 1);
}

void counters_add(struct counters *sum, const struct counters *c)
{
	uint64_t *to = (uint64_t *)(void *)sum;
	const uint64_t *from = (const uint64_t *)(const void *)c;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += tally_read(&from[i]);
}
