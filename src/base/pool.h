/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool.h: one thread's buffers, in a few sizes, kept on free lists.
 *
 * For what must outlive a turn: the rest of a frame, packets that wait for a slow socket. The total
 * is capped: a pool that is used up answers NULL, and the caller drops or closes, and counts.
 */
#ifndef SLUICE_BASE_POOL_H
#define SLUICE_BASE_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

#define POOL_CLASSES 6
/* The largest buffer: a frame of the largest packet with room for its record. */
#define POOL_MAX (152u << 10)

struct pool_buf {
	struct pool_buf *next; /* the holder's to use */
	uint32_t cap;          /* bytes at data */
	uint32_t class;
	uint32_t used; /* the holder's too */
	uint32_t unused;
	uint8_t data[];
};

struct pool {
	struct pool_buf *free[POOL_CLASSES];
	uint32_t kept[POOL_CLASSES]; /* length of the free list */
	size_t used;                 /* bytes handed out */
	size_t limit;                /* most bytes that may be handed out */
};

void pool_init(struct pool *p, size_t limit);
void pool_fini(struct pool *p);
/* A buffer of at least `size` bytes (at most POOL_MAX), or NULL at the limit. */
struct pool_buf *pool_get(struct pool *p, size_t size) must_use;
/* The same for what a stranger may pile up: leaves a quarter of the pool to the others. */
struct pool_buf *pool_get_spare(struct pool *p, size_t size) must_use;
void pool_put(struct pool *p, struct pool_buf *b);

#endif
