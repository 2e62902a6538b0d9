/* SPDX-License-Identifier: BSD-3-Clause */
/* span.h: bytes to read and room to write into, as sans-I/O code passes them. */
#ifndef SLUICE_BASE_SPAN_H
#define SLUICE_BASE_SPAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"

/* Bytes of somebody else; what is read is taken off the front. */
struct span {
	const uint8_t *p;
	size_t len;
};

/* Room of somebody else; len bytes of cap are written. */
struct sink {
	uint8_t *p;
	size_t len;
	size_t cap;
};

static inline size_t sink_room(const struct sink *s)
{
	return s->cap - s->len;
}

/* The caller has made sure that there is room. */
static inline void sink_put(struct sink *s, const void *p, size_t len)
{
	CHECK(len <= sink_room(s));
	memcpy(s->p + s->len, p, len);
	s->len += len;
}

#endif
