/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/mail.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct box {
	_Alignas(64) _Atomic int sleeping;
	int bell;
	_Alignas(64)
	    uint64_t dirty; /* writer's: bit t set when a letter to t is committed, not published */
	uint64_t dirty_high; /* the same for threads 64 and up */
};

struct mail {
	int workers;
	int threads;
	struct box *box;
	struct ring **ring; /* [from * threads + to], NULL where nobody writes */
};

_Static_assert(MAIL_WORKERS_MAX + 3 <= 128, "two words of dirty bits");

/* Workers times workers rings: together at most 256 MiB up to 22 workers; beyond that 512 KiB each,
 * 2 GiB at 64 workers. Only what is written to becomes resident. */
static uint32_t packet_ring_bytes(int workers)
{
	uint32_t bytes = 2u << 20;

	while (bytes > (512u << 10) &&
	       (uint64_t)bytes * (uint64_t)workers * (uint64_t)workers > (256u << 20))
		bytes /= 2;
	return bytes;
}

static void ring_between(struct mail *m, int from, int to, uint32_t bytes)
{
	void *p = NULL;

	CHECK(posix_memalign(&p, 64, sizeof(struct ring)) == 0);
	ring_init(p, bytes, MAIL_KEEP);
	m->ring[from * m->threads + to] = p;
}

struct mail *mail_new(int workers)
{
	struct mail *m = must_calloc(1, sizeof(*m));
	void *p = NULL;

	CHECK(workers >= 1 && workers <= MAIL_WORKERS_MAX);
	m->workers = workers;
	m->threads = workers + 3;
	m->ring = must_calloc((size_t)m->threads * (size_t)m->threads, sizeof(m->ring[0]));
	CHECK(posix_memalign(&p, 64, sizeof(struct box) * (size_t)m->threads) == 0);
	m->box = p;
	for (int t = 0; t < m->threads; t++) {
		m->box[t] = (struct box){.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
		CHECK(m->box[t].bell >= 0);
	}
	for (int from = 0; from < workers; from++) {
		for (int to = 0; to < workers; to++)
			if (from != to)
				ring_between(m, from, to, packet_ring_bytes(workers));
		ring_between(m, from, mail_gate(m), MAIL_CONTROL_RING);
		ring_between(m, mail_gate(m), from, MAIL_CONTROL_RING);
	}
	for (int from = 0; from < m->threads; from++)
		if (from != mail_main(m))
			ring_between(m, from, mail_main(m), MAIL_CONTROL_RING);
	ring_between(m, mail_main(m), mail_gate(m), MAIL_CONTROL_RING);
	return m;
}

void mail_free(struct mail *m)
{
	if (!m)
		return;
	for (int i = 0; i < m->threads * m->threads; i++) {
		if (m->ring[i]) {
			ring_fini(m->ring[i]);
			free(m->ring[i]);
		}
	}
	for (int t = 0; t < m->threads; t++)
		close(m->box[t].bell);
	free(m->ring);
	free(m->box);
	free(m);
}

int mail_workers(const struct mail *m)
{
	return m->workers;
}

int mail_gate(const struct mail *m)
{
	return m->workers;
}

int mail_main(const struct mail *m)
{
	return m->workers + 1;
}

int mail_stun(const struct mail *m)
{
	return m->workers + 2;
}

int mail_bell_fd(const struct mail *m, int self)
{
	return m->box[self].bell;
}

void *mail_reserve(struct mail *m, int from, int to, uint32_t kind, uint32_t len, bool control)
{
	struct ring *r = m->ring[from * m->threads + to];

	CHECK(r);
	return ring_reserve(r, kind, len, control);
}

void mail_commit(struct mail *m, int from, int to)
{
	ring_commit(m->ring[from * m->threads + to]);
	if (to < 64)
		m->box[from].dirty |= 1ull << to;
	else
		m->box[from].dirty_high |= 1ull << (to - 64);
}

bool mail_post(
    struct mail *m, int from, int to, uint32_t kind, const void *body, uint32_t len, bool control)
{
	void *l = mail_reserve(m, from, to, kind, len, control);

	if (!l)
		return false;
	memcpy(l, body, len);
	mail_commit(m, from, to);
	return true;
}

bool mail_has_room(struct mail *m, int from, int to, uint32_t len)
{
	return ring_has_room(m->ring[from * m->threads + to], len);
}

uint64_t mail_progress(const struct mail *m, int from, int to)
{
	return atomic_load_explicit(&m->ring[from * m->threads + to]->tail, memory_order_relaxed);
}

static void publish_to(struct mail *m, int from, int to)
{
	struct box *b = &m->box[to];

	if (!ring_publish(m->ring[from * m->threads + to]))
		return;
	/* Pairs with the fence in mail_may_sleep: either we see it asleep or it sees our letter. */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&b->sleeping, memory_order_relaxed) &&
	    atomic_exchange_explicit(&b->sleeping, 0, memory_order_acq_rel))
		mail_ring_bell(m, to);
}

void mail_publish(struct mail *m, int from)
{
	struct box *b = &m->box[from];

	for (; b->dirty; b->dirty &= b->dirty - 1)
		publish_to(m, from, __builtin_ctzll(b->dirty));
	for (; b->dirty_high; b->dirty_high &= b->dirty_high - 1)
		publish_to(m, from, 64 + __builtin_ctzll(b->dirty_high));
}

bool mail_drain(
    struct mail *m, int self, int budget, void (*fn)(void *, int, const struct letter *), void *arg)
{
	bool more = false;

	for (int from = 0; from < m->threads; from++) {
		struct ring *r = m->ring[from * m->threads + self];
		struct letter *l = NULL;
		int n;

		if (!r)
			continue;
		for (n = 0; n < budget && !r->held && (l = ring_next(r)); n++)
			fn(arg, from, l);
		more |= n == budget;
		r->held = false;
	}
	return more;
}

void mail_put_back(struct mail *m, int self, int from)
{
	ring_put_back(m->ring[from * m->threads + self]);
}

void mail_release(struct mail *m, int self)
{
	for (int from = 0; from < m->threads; from++) {
		struct ring *r = m->ring[from * m->threads + self];

		if (r && atomic_load_explicit(&r->tail, memory_order_relaxed) != r->next)
			ring_release(r);
	}
}

bool mail_may_sleep(struct mail *m, int self)
{
	atomic_store_explicit(&m->box[self].sleeping, 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	for (int from = 0; from < m->threads; from++) {
		struct ring *r = m->ring[from * m->threads + self];

		if (r && atomic_load_explicit(&r->published, memory_order_acquire) != r->next) {
			mail_awake(m, self);
			return false;
		}
	}
	return true;
}

void mail_awake(struct mail *m, int self)
{
	atomic_store_explicit(&m->box[self].sleeping, 0, memory_order_relaxed);
}

void mail_ring_bell(struct mail *m, int to)
{
	uint64_t one = 1;
	ssize_t n = write(m->box[to].bell, &one, sizeof(one));

	(void)n; /* full means that it is ringing already */
}
