/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mail.h: how threads speak to each other: a ring for each ordered pair, and a bell a thread.
 *
 * Letters are written through a turn and shown to the others once, at its end (mail_publish). A
 * sleeping reader is woken by its eventfd; a reader that is awake costs no system call. Nothing is
 * shared but the rings: what a letter points to belongs to whoever holds the letter.
 *
 * Memory: a ring from worker to worker has `packet_ring` bytes (see mail_new), every other one
 * MAIL_CONTROL_RING; only pages that were used are resident.
 */
#ifndef SLUICE_BASE_MAIL_H
#define SLUICE_BASE_MAIL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/ring.h"

#define MAIL_WORKERS_MAX 64
#define MAIL_CONTROL_RING (256u << 10)
/* Kept back in every ring for control letters. */
#define MAIL_KEEP (32u << 10)

/* Threads are numbered: workers from 0, then the gate, then main, then stun. */
struct mail;

struct mail *mail_new(int workers);
void mail_free(struct mail *m);
int mail_workers(const struct mail *m);
int mail_gate(const struct mail *m);
int mail_main(const struct mail *m);
int mail_stun(const struct mail *m);
/* Readable when somebody rang; for the reader's epoll. */
int mail_bell_fd(const struct mail *m, int self);

/* Writer `from`: room for a letter to `to`, NULL when that ring is full. */
void *mail_reserve(
    struct mail *m, int from, int to, uint32_t kind, uint32_t len, bool control) must_use;
void mail_commit(struct mail *m, int from, int to);
/* Writer: both, for a body that is ready: it is copied. False, and nothing is sent, when that ring
 * is full. */
bool mail_post(struct mail *m, int from, int to, uint32_t kind, const void *body, uint32_t len,
    bool control) must_use;
/* Writer: whether an ordinary letter of len bytes would find room. */
bool mail_has_room(struct mail *m, int from, int to, uint32_t len) must_use;
/* Writer: a number that changes as `to` reads its letters. */
uint64_t mail_progress(const struct mail *m, int from, int to);
/* Writer: end of turn; publishes what was written and wakes those who sleep. */
void mail_publish(struct mail *m, int from);

/* Reader: hands up to `budget` letters of each writer to fn; true when some may be left. Letters
 * stay readable until mail_release. */
bool mail_drain(struct mail *m, int self, int budget,
    void (*fn)(void *arg, int from, const struct letter *l), void *arg);
/* Reader, within mail_drain: the letter in hand stays the next one, and nothing more is taken from
 * its writer in this drain. */
void mail_put_back(struct mail *m, int self, int from);
/* Reader: gives the room of all drained letters back to their writers. */
void mail_release(struct mail *m, int self);
/* Reader: call before sleeping; false when there is mail and it should not sleep. */
bool mail_may_sleep(struct mail *m, int self) must_use;
/* Reader: call after waking. */
void mail_awake(struct mail *m, int self);
/* Anyone: wake thread `to`. */
void mail_ring_bell(struct mail *m, int to);

#endif
