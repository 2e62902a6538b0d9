/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ring.h: a bounded single-producer single-consumer ring of letters, in bytes.
 *
 * The writer appends letters through its turn and publishes them once at its end; the reader takes
 * what is published and gives the room back once. A letter lies contiguous in memory, its payload
 * aligned to 8 bytes. Room can be kept back for control letters: see ring_reserve.
 */
#ifndef SLUICE_BASE_RING_H
#define SLUICE_BASE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"

struct letter {
	uint32_t len;  /* of the body, bytes; the next letter begins at a multiple of 8 behind it */
	uint32_t kind; /* the users' own; LETTER_FILLER fills the ring's end */
	uint8_t body[];
};

#define LETTER_FILLER 0u

struct ring {
	uint8_t *buf;
	uint32_t cap;  /* power of two */
	uint32_t keep; /* bytes that only control letters may use */

	/* writer's */
	_Alignas(64) uint64_t head; /* end of what is written */
	uint64_t seen_tail;         /* last value read of tail */
	uint64_t published_head;    /* what the reader may know */
	uint64_t refused;           /* letters that found no room */
	/* shared */
	_Alignas(64) _Atomic uint64_t published;
	_Alignas(64) _Atomic uint64_t tail;
	/* reader's */
	_Alignas(64) uint64_t next;
	uint64_t before; /* where the letter in hand begins */
	uint64_t seen_published;
	bool held; /* that letter was put back: see mail_drain */
};

/* cap: bytes, a power of two. The memory is mapped and touched only when used. */
void ring_init(struct ring *r, uint32_t cap, uint32_t keep);
void ring_fini(struct ring *r);

/* Writer: whether ring_reserve would find room for an ordinary letter. */
bool ring_has_room(struct ring *r, uint32_t len) must_use;
/* Writer: room for a letter of `len` payload bytes, or NULL when the ring is full. A letter that is
 * not `control` leaves `keep` bytes free. Nothing is written until ring_commit. */
void *ring_reserve(struct ring *r, uint32_t kind, uint32_t len, bool control) must_use;
void ring_commit(struct ring *r);
/* Writer: shows all committed letters to the reader; true when there were any. */
bool ring_publish(struct ring *r);

/* Reader: the next letter or NULL; valid until ring_release. */
struct letter *ring_next(struct ring *r);
/* Reader: the letter that ring_next gave last will be given again. */
void ring_put_back(struct ring *r);
void ring_release(struct ring *r);

#endif
