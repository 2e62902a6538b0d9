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

void counters_write(struct counters *c, uint32_t n)
{
	static const uint32_t bounds[] = WRITE_FRAMES_BOUNDS;
	size_t b = 0;

	while (b < ARRAY_LEN(bounds) && n > bounds[b])
		b++;
	tally(&c->write_frames[b], 1);
	tally(&c->write_frames_sum, n);
}

void counters_rtt(struct counters *c, uint32_t us)
{
	static const uint32_t bounds_ms[] = {10, 20, 50, 100, 150, 250, 500};
	size_t b = 0;

	while (b < ARRAY_LEN(bounds_ms) && us > bounds_ms[b] * 1000)
		b++;
	count(c, (enum counter)(C_RTT_10 + b), 1);
}

void counters_add(struct counters *sum, const struct counters *c)
{
	uint64_t *to = (uint64_t *)(void *)sum;
	const uint64_t *from = (const uint64_t *)(const void *)c;

	for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++)
		to[i] += tally_read(&from[i]);
}
