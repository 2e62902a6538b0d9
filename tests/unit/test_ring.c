/* SPDX-License-Identifier: BSD-3-Clause */
/* Rings: borders, fullness, the reserve for control letters, and two threads at full speed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/ring.h"

#define CAP 4096u
/* The longest letter's body. */
#define BODY_MAX (CAP / 4 - (uint32_t)sizeof(struct letter))

/* Lengths for letters, the same in every run and for writer and reader. */
static uint32_t draw(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

static void fill_body(uint8_t *body, uint32_t len, uint32_t number)
{
	for (uint32_t i = 0; i < len; i++)
		body[i] = (uint8_t)(number + i);
}

static void check_letter(
    const struct ring *r, const struct letter *l, uint32_t kind, uint32_t len, uint32_t number)
{
	assert_non_null(l);
	assert_int_equal(l->kind, kind);
	assert_int_equal(l->len, len);
	assert_int_equal((uintptr_t)l->body % 8, 0);
	assert_true(l->body >= r->buf && l->body + len <= r->buf + r->cap);
	for (uint32_t i = 0; i < len; i++)
		if (l->body[i] != (uint8_t)(number + i))
			fail_msg("letter %u, byte %u", number, i);
}

static bool post(struct ring *r, uint32_t kind, uint32_t len, uint32_t number, bool control)
{
	bool room = ring_has_room(r, len);
	uint8_t *body = ring_reserve(r, kind, len, control);

	/* The reader may make room between the two, but never takes it away. */
	assert_true(!room || body);
	if (!body)
		return false;
	fill_body(body, len, number);
	ring_commit(r);
	return true;
}

static void test_publish(void **state)
{
	struct ring r;

	ring_init(&r, CAP, 0);
	assert_false(ring_publish(&r));
	assert_null(ring_next(&r));
	assert_true(post(&r, 1, 5, 10, false));
	assert_true(post(&r, 2, 0, 20, false));
	assert_null(ring_next(&r));
	assert_true(ring_publish(&r));
	assert_false(ring_publish(&r));
	check_letter(&r, ring_next(&r), 1, 5, 10);
	check_letter(&r, ring_next(&r), 2, 0, 20);
	assert_null(ring_next(&r));
	ring_release(&r);
	assert_int_equal(r.tail, r.head);
	ring_fini(&r);
}

/* What is reserved and not committed was never there. */
static void test_reserve_without_commit(void **state)
{
	struct ring r;

	ring_init(&r, CAP, 0);
	for (uint32_t i = 0; i < 1000; i++) {
		assert_non_null(ring_reserve(&r, 9, BODY_MAX, false));
		assert_true(post(&r, 1, i % 300, i, false));
		assert_non_null(ring_reserve(&r, 9, BODY_MAX, false));
		assert_true(ring_publish(&r));
		check_letter(&r, ring_next(&r), 1, i % 300, i);
		assert_null(ring_next(&r));
		ring_release(&r);
	}
	ring_fini(&r);
}

/* Letters of all lengths go round many times, with some always under way. */
static void test_wrap(void **state)
{
	enum { LETTERS = 200000 };
	uint32_t in = 1, out = 1, written = 0, read = 0, open = 0;
	struct ring r;

	ring_init(&r, CAP, 0);
	while (read < LETTERS) {
		while (written < LETTERS) {
			uint32_t before = in;
			uint32_t len = draw(&in) % (BODY_MAX + 1);

			if (!post(&r, 1 + written % 7, len, written, written % 3 == 0)) {
				in = before;
				break;
			}
			written++;
		}
		ring_publish(&r);
		/* Leave some, so that the borders fall everywhere. */
		for (open = written - read; open > read % 3; open--) {
			uint32_t len = draw(&out) % (BODY_MAX + 1);

			check_letter(&r, ring_next(&r), 1 + read % 7, len, read);
			read++;
		}
		ring_release(&r);
		if (written == LETTERS && open) {
			check_letter(
			    &r, ring_next(&r), 1 + read % 7, draw(&out) % (BODY_MAX + 1), read);
			read++;
		}
	}
	assert_null(ring_next(&r));
	assert_int_equal(in, out);
	assert_true(r.refused > 0);
	ring_fini(&r);
}

/* Every place a letter can begin at, with every length that does or doesn't fit before the end. */
static void test_every_border(void **state)
{
	for (uint32_t start = 0; start < CAP; start += 8) {
		for (uint32_t len = 0; len <= 24; len++) {
			struct ring r;

			ring_init(&r, CAP, 0);
			r.head = r.seen_tail = r.published_head = r.next = start;
			r.tail = r.published = r.seen_published = start;
			for (uint32_t i = 0; i < 3; i++)
				assert_true(post(&r, 1, len, i, false));
			assert_true(ring_publish(&r));
			for (uint32_t i = 0; i < 3; i++)
				check_letter(&r, ring_next(&r), 1, len, i);
			assert_null(ring_next(&r));
			ring_fini(&r);
			if (start > 64 && start < CAP - 128)
				break;
		}
	}
}

static void test_full(void **state)
{
	struct ring r;
	uint32_t n = 0;

	ring_init(&r, CAP, 0);
	while (post(&r, 1, 56, n, false))
		n++;
	assert_int_equal(n, CAP / 64);
	assert_int_equal(r.refused, 1);
	assert_false(post(&r, 1, 0, 0, true));
	assert_int_equal(r.refused, 2);
	ring_publish(&r);
	/* Taking isn't giving back. */
	check_letter(&r, ring_next(&r), 1, 56, 0);
	assert_false(post(&r, 1, 56, n, false));
	ring_release(&r);
	assert_true(post(&r, 1, 56, n, false));
	assert_false(post(&r, 1, 0, 0, false));
	ring_publish(&r);
	for (uint32_t i = 1; i <= n; i++)
		check_letter(&r, ring_next(&r), 1, 56, i);
	assert_null(ring_next(&r));
	ring_fini(&r);
}

/* Ordinary letters stop short of the reserve, control letters use it up. */
static void test_control_reserve(void **state)
{
	const uint32_t keep = 1024;
	struct ring r;
	uint32_t n = 0, control = 0;

	ring_init(&r, CAP, keep);
	while (post(&r, 1, 56, n, false))
		n++;
	assert_int_equal(n, (CAP - keep) / 64);
	while (post(&r, 2, 24, control, true))
		control++;
	assert_int_equal(control, keep / 32);
	ring_publish(&r);
	for (uint32_t i = 0; i < n; i++)
		check_letter(&r, ring_next(&r), 1, 56, i);
	ring_release(&r);
	/* What was given back refills the reserve first. */
	for (uint32_t i = 0; i < control; i++)
		check_letter(&r, ring_next(&r), 2, 24, i);
	assert_null(ring_next(&r));
	assert_true(post(&r, 1, 56, 0, false));
	ring_fini(&r);
}

/* The largest letters pass one by one, wherever the ring stands, with a reserve too. */
static void test_largest(void **state)
{
	struct ring r;

	ring_init(&r, CAP, CAP / 2);
	for (uint32_t i = 0; i < 2000; i++) {
		uint32_t len = i % 2 ? BODY_MAX : i % BODY_MAX;

		assert_true(post(&r, 1, len, i, false));
		assert_true(ring_publish(&r));
		check_letter(&r, ring_next(&r), 1, len, i);
		ring_release(&r);
	}
	ring_fini(&r);
}

#define RACE_LETTERS 400000u
#define RACE_BODY 700u

static void *race_writer(void *arg)
{
	struct ring *r = arg;
	uint32_t state = 7, turn = 99;

	for (uint32_t i = 0; i < RACE_LETTERS; i++) {
		uint32_t len = draw(&state) % RACE_BODY;

		while (!post(r, 1, len, i, i % 5 == 0)) {
			ring_publish(r);
			sched_yield();
		}
		if (draw(&turn) % 8 == 0)
			ring_publish(r);
	}
	ring_publish(r);
	return NULL;
}

/* 140 MB through 4 KiB and through 64 KiB, in order and unharmed. */
static void race(uint32_t cap)
{
	uint32_t state = 7, turn = 5;
	pthread_t thread;
	struct ring r;

	ring_init(&r, cap, 512);
	assert_int_equal(pthread_create(&thread, NULL, race_writer, &r), 0);
	for (uint32_t i = 0; i < RACE_LETTERS;) {
		struct letter *l = ring_next(&r);

		if (!l) {
			ring_release(&r);
			sched_yield();
			continue;
		}
		check_letter(&r, l, 1, draw(&state) % RACE_BODY, i++);
		if (draw(&turn) % 8 == 0)
			ring_release(&r);
	}
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_null(ring_next(&r));
	ring_fini(&r);
}

static void test_two_threads(void **state)
{
	race(CAP);
	race(16 * CAP);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_publish),
	    cmocka_unit_test(test_reserve_without_commit),
	    cmocka_unit_test(test_wrap),
	    cmocka_unit_test(test_every_border),
	    cmocka_unit_test(test_full),
	    cmocka_unit_test(test_control_reserve),
	    cmocka_unit_test(test_largest),
	    cmocka_unit_test(test_two_threads),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
