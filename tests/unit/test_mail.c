/* SPDX-License-Identifier: BSD-3-Clause */
/* Mail: who may write to whom, draining in portions, and no wake-up is ever lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mail.h"

/* A sleeper that isn't woken within this was forgotten. */
#define WAKE_MS 10000

static bool rung(struct mail *m, int self)
{
	uint64_t n;

	return read(mail_bell_fd(m, self), &n, sizeof(n)) == sizeof(n);
}

static void post(struct mail *m, int from, int to, uint32_t number)
{
	uint32_t *body = mail_reserve(m, from, to, 1, sizeof(number), true);

	assert_non_null(body);
	*body = number;
	mail_commit(m, from, to);
}

struct heard {
	int letters;
	int from;
	uint32_t number;
};

static void hear(void *arg, int from, const struct letter *l)
{
	struct heard *h = arg;

	assert_int_equal(l->len, sizeof(h->number));
	memcpy(&h->number, l->body, sizeof(h->number));
	h->from = from;
	h->letters++;
}

static void check_path(struct mail *m, int from, int to)
{
	struct heard h = {0};

	post(m, from, to, (uint32_t)(from * 1000 + to));
	mail_drain(m, to, 10, hear, &h);
	assert_int_equal(h.letters, 0);
	mail_publish(m, from);
	assert_false(mail_drain(m, to, 10, hear, &h));
	mail_release(m, to);
	assert_int_equal(h.letters, 1);
	assert_int_equal(h.from, from);
	assert_int_equal(h.number, from * 1000 + to);
}

static void check_paths(int workers)
{
	struct mail *m = mail_new(workers);

	assert_int_equal(mail_workers(m), workers);
	for (int from = 0; from < workers; from++) {
		for (int to = 0; to < workers; to++)
			if (from != to)
				check_path(m, from, to);
		check_path(m, from, mail_gate(m));
		check_path(m, mail_gate(m), from);
		check_path(m, from, mail_main(m));
	}
	check_path(m, mail_gate(m), mail_main(m));
	check_path(m, mail_stun(m), mail_main(m));
	check_path(m, mail_main(m), mail_gate(m));
	mail_free(m);
}

static void test_paths(void **state)
{
	check_paths(1);
	check_paths(3);
	check_paths(MAIL_WORKERS_MAX);
	mail_free(NULL);
}

static void test_budget(void **state)
{
	struct mail *m = mail_new(2);
	struct heard h = {0};

	for (uint32_t i = 0; i < 10; i++)
		post(m, 1, 0, i);
	for (uint32_t i = 0; i < 3; i++)
		post(m, mail_gate(m), 0, i);
	mail_publish(m, 1);
	mail_publish(m, mail_gate(m));
	assert_true(mail_drain(m, 0, 4, hear, &h));
	assert_int_equal(h.letters, 7);
	assert_false(mail_may_sleep(m, 0));
	assert_true(mail_drain(m, 0, 4, hear, &h));
	assert_int_equal(h.letters, 11);
	assert_false(mail_drain(m, 0, 4, hear, &h));
	assert_int_equal(h.letters, 13);
	assert_int_equal(h.number, 9);
	assert_true(mail_may_sleep(m, 0));
	mail_free(m);
}

/* The bell rings for those who sleep, once, and not for letters that are not yet published. */
static void test_bell(void **state)
{
	struct mail *m = mail_new(2);
	struct heard h = {0};

	post(m, 1, 0, 1);
	mail_publish(m, 1);
	assert_false(rung(m, 0));
	assert_false(mail_may_sleep(m, 0));
	assert_false(mail_drain(m, 0, 10, hear, &h));
	assert_true(mail_may_sleep(m, 0));
	post(m, 1, 0, 2);
	assert_false(rung(m, 0));
	mail_publish(m, 1);
	mail_publish(m, 1);
	assert_true(rung(m, 0));
	post(m, 1, 0, 3);
	mail_publish(m, 1);
	assert_false(rung(m, 0));
	mail_awake(m, 0);
	assert_false(mail_drain(m, 0, 10, hear, &h));
	assert_int_equal(h.letters, 3);
	for (int i = 0; i < 3; i++)
		mail_ring_bell(m, 0);
	assert_true(rung(m, 0));
	assert_false(rung(m, 0));
	mail_free(m);
}

/* A flood of ordinary letters leaves room for control letters, and both keep their order. */
static void test_full_ring(void **state)
{
	struct mail *m = mail_new(2);
	struct heard h = {0};
	uint64_t progress;
	uint32_t n = 0;
	uint32_t *body;

	while ((body = mail_reserve(m, 1, 0, 1, sizeof(n), false))) {
		assert_true(mail_has_room(m, 1, 0, sizeof(n)));
		*body = n++;
		mail_commit(m, 1, 0);
	}
	assert_false(mail_has_room(m, 1, 0, sizeof(n)));
	for (int i = 0; i < (int)(MAIL_KEEP / 16); i++)
		post(m, 1, 0, n++);
	assert_null(mail_reserve(m, 1, 0, 1, sizeof(n), true));
	mail_publish(m, 1);
	progress = mail_progress(m, 1, 0);
	while (mail_drain(m, 0, 1000, hear, &h))
		assert_int_equal(h.number, h.letters - 1);
	assert_int_equal(h.letters, n);
	/* What was read keeps its room until it is released. */
	assert_false(mail_has_room(m, 1, 0, sizeof(n)));
	assert_null(mail_reserve(m, 1, 0, 1, sizeof(n), true));
	assert_int_equal(mail_progress(m, 1, 0), progress);
	assert_true(mail_may_sleep(m, 0));
	mail_release(m, 0);
	assert_int_not_equal(mail_progress(m, 1, 0), progress);
	assert_true(mail_has_room(m, 1, 0, sizeof(n)));
	assert_non_null(mail_reserve(m, 1, 0, 1, sizeof(n), false));
	mail_free(m);
}

/* Sleeps if it may; false when it wasn't woken in time. */
static bool nap(struct mail *m, int self)
{
	struct pollfd p = {.fd = mail_bell_fd(m, self), .events = POLLIN};
	int n;

	if (!mail_may_sleep(m, self))
		return true;
	n = poll(&p, 1, WAKE_MS);
	mail_awake(m, self);
	rung(m, self);
	return n == 1;
}

struct player {
	struct mail *m;
	int self, other;
	int rounds;
	bool lost;
};

/* Answers each letter with one; both sleep between any two letters. */
static void *play(void *arg)
{
	struct player *p = arg;

	while (p->rounds > 0) {
		struct heard h = {0};

		mail_drain(p->m, p->self, 10, hear, &h);
		mail_release(p->m, p->self);
		if (h.letters) {
			p->rounds--;
			post(p->m, p->self, p->other, h.number + 1);
			mail_publish(p->m, p->self);
		} else if (!nap(p->m, p->self)) {
			p->lost = true;
			break;
		}
	}
	return NULL;
}

static void test_ping_pong(void **state)
{
	struct mail *m = mail_new(2);
	struct player p[2] = {
	    {.m = m, .self = 0, .other = 1, .rounds = 20000},
	    {.m = m, .self = 1, .other = 0, .rounds = 20000},
	};
	pthread_t thread[2];

	post(m, 0, 1, 0);
	mail_publish(m, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, play, &p[i]), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_false(p[0].lost || p[1].lost);
	mail_free(m);
}

#define FLOOD_LETTERS 100000u
#define FLOOD_WRITERS 4

/* Posts numbers to worker 0 in turns of all lengths, with pauses in which the reader dozes off. */
static void *flood(void *arg)
{
	struct player *p = arg;
	uint32_t state = (uint32_t)p->self * 77 + 1;

	for (uint32_t i = 0; i < FLOOD_LETTERS;) {
		uint32_t *body = mail_reserve(p->m, p->self, 0, 1, sizeof(i), false);

		if (body) {
			*body = i++;
			mail_commit(p->m, p->self, 0);
		}
		state = state * 1664525 + 1013904223;
		if (!body || state >> 27 == 0) {
			mail_publish(p->m, p->self);
			sched_yield();
		}
		if (state >> 19 == 0)
			usleep(100);
	}
	mail_publish(p->m, p->self);
	return NULL;
}

struct flooded {
	uint32_t next[MAIL_WORKERS_MAX + 3];
	uint32_t letters;
	uint32_t wrong;
};

static void hear_flood(void *arg, int from, const struct letter *l)
{
	struct flooded *f = arg;
	uint32_t number;

	memcpy(&number, l->body, sizeof(number));
	f->wrong += number != f->next[from]++;
	f->letters++;
}

static void test_many_writers(void **state)
{
	struct mail *m = mail_new(FLOOD_WRITERS);
	struct player p[FLOOD_WRITERS];
	pthread_t thread[FLOOD_WRITERS];
	struct flooded f = {0};
	bool lost = false;

	/* Workers 1 to 3, and the gate. */
	for (int i = 0; i < FLOOD_WRITERS; i++) {
		p[i] = (struct player){.m = m, .self = i + 1};
		assert_int_equal(pthread_create(&thread[i], NULL, flood, &p[i]), 0);
	}
	while (f.letters < FLOOD_WRITERS * FLOOD_LETTERS && !lost) {
		bool more = mail_drain(m, 0, 64, hear_flood, &f);

		mail_release(m, 0);
		if (!more && f.letters < FLOOD_WRITERS * FLOOD_LETTERS)
			lost = !nap(m, 0);
	}
	for (int i = 0; i < FLOOD_WRITERS; i++)
		assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_false(lost);
	assert_int_equal(f.wrong, 0);
	mail_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_paths),
	    cmocka_unit_test(test_budget),
	    cmocka_unit_test(test_bell),
	    cmocka_unit_test(test_full_ring),
	    cmocka_unit_test(test_ping_pong),
	    cmocka_unit_test(test_many_writers),
	};

	return cmocka_run_group_tests_name("mail", tests, NULL, NULL);
}
