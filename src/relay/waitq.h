/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * waitq.h: packets that must wait for a slow socket.
 *
 * Whole RecvPacket frames, oldest first, copied into buffers from the worker's pool. Each remembers
 * its flow and when it came, so that a drop is booked on its flow and the delay can be told.
 */
#ifndef SLUICE_RELAY_WAITQ_H
#define SLUICE_RELAY_WAITQ_H

#include <stdbool.h>
#include <stdint.h>

#include "base/pool.h"
#include "flow/table.h"

struct wait_entry {
	uint32_t len;   /* of the frame */
	uint32_t at_ms; /* low half of the turn's clock */
	struct flow_ref flow;
	uint32_t flow_worker;
	uint32_t unused;
	uint8_t frame[];
};

struct waitq {
	struct pool_buf *head; /* buffers, oldest first */
	struct pool_buf *tail;
	uint32_t head_at;  /* where the oldest entry begins in head */
	uint32_t tail_end; /* where the next entry goes in tail */
	uint32_t packets;
	uint32_t bytes; /* of frames */
};

/* Copies a frame to the end; false when the pool is used up. */
bool waitq_push(struct waitq *q, struct pool *pool, const struct wait_entry *what,
    const uint8_t *frame) must_use;
/* The oldest, NULL when empty. */
struct wait_entry *waitq_peek(const struct waitq *q);
/* Takes the oldest off. A buffer that becomes empty goes to *spent, so that the frame can still be
 * read until the caller frees that list. */
void waitq_pop(struct waitq *q, struct pool_buf **spent);

#endif
