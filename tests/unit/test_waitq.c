/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting packets against a plain list. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "relay/waitq.h"
#include "wire/frame.h"

#define LEN_MIN FRAME_PACKET_HEAD
#define LEN_MAX (FRAME_PACKET_HEAD + PACKET_MAX)
#define WAITING 512

struct model {
	struct pool pool;
	struct waitq q;
	struct pool_buf *spent;
	/* What waits, oldest first: numbers in a row, from `first` on. */
	uint32_t first, n;
	uint32_t len[WAITING];
	uint32_t bytes;
	/* What was popped into buffers that are not freed yet. */
	const uint8_t *frame[WAITING];
	uint32_t frame_len[WAITING], frame_number[WAITING], frames;
};

static uint8_t frame_buf[LEN_MAX];

/* Each frame's bytes follow from its number. */
static const uint8_t *frame_of(uint32_t number, uint32_t len)
{
	memset(frame_buf, (int)(number * 31 + 7), len);
	memcpy(frame_buf, &number, sizeof(number));
	memcpy(frame_buf + len - sizeof(number), &number, sizeof(number));
	return frame_buf;
}

static uint32_t draw_len(void)
{
	switch (rand() % 8) {
	case 0:
		return LEN_MIN + (uint32_t)rand() % (LEN_MAX - LEN_MIN + 1);
	case 1:
		return rand() % 2 ? LEN_MIN : LEN_MAX;
	default:
		return LEN_MIN + (uint32_t)rand() % 1500;
	}
}

static bool push(struct model *m, uint32_t len)
{
	uint32_t number = m->first + m->n;
	struct wait_entry what = {
	    .len = len,
	    .at_ms = number * 3,
	    .flow = {.slot = number + 1, .gen = number + 2},
	    .flow_worker = number % 64,
	};

	if (!waitq_push(&m->q, &m->pool, &what, frame_of(number, len)))
		return false;
	m->len[number % WAITING] = len;
	m->n++;
	m->bytes += len;
	return true;
}

static void free_spent(struct model *m)
{
	for (uint32_t i = 0; i < m->frames; i++)
		assert_memory_equal(
		    m->frame[i], frame_of(m->frame_number[i], m->frame_len[i]), m->frame_len[i]);
	m->frames = 0;
	while (m->spent) {
		struct pool_buf *b = m->spent;

		m->spent = b->next;
		/* What is read after this is not there any more. */
		memset(b->data, 0xee, b->cap);
		pool_put(&m->pool, b);
	}
}

static void pop(struct model *m)
{
	uint32_t len = m->len[m->first % WAITING];
	struct wait_entry *e = waitq_peek(&m->q);

	if (m->n == 0) {
		assert_null(e);
		return;
	}
	assert_non_null(e);
	assert_int_equal(e->len, len);
	assert_int_equal(e->at_ms, m->first * 3);
	assert_int_equal(e->flow.slot, m->first + 1);
	assert_int_equal(e->flow.gen, m->first + 2);
	assert_int_equal(e->flow_worker, m->first % 64);
	assert_memory_equal(e->frame, frame_of(m->first, len), len);
	m->frame[m->frames] = e->frame;
	m->frame_len[m->frames] = len;
	m->frame_number[m->frames++] = m->first;
	waitq_pop(&m->q, &m->spent);
	m->first++;
	m->n--;
	m->bytes -= len;
	if (m->frames == WAITING)
		free_spent(m);
}

static void check(const struct model *m)
{
	assert_int_equal(m->q.packets, m->n);
	assert_int_equal(m->q.bytes, m->bytes);
	assert_int_equal(m->q.head == NULL, m->n == 0);
}

static void finish(struct model *m)
{
	while (m->n)
		pop(m);
	pop(m);
	check(m);
	free_spent(m);
	assert_int_equal(m->pool.used, 0);
	pool_fini(&m->pool);
}

static void test_random(void **state)
{
	static struct model m;

	pool_init(&m.pool, 64u << 20);
	for (int i = 0; i < 20000; i++) {
		/* It fills and empties in waves. */
		bool fill = (i / 300) % 2 ? rand() % 3 : rand() % 3 == 0;

		if (fill && m.n < WAITING)
			assert_true(push(&m, draw_len()));
		else
			pop(&m);
		if (rand() % 20 == 0)
			free_spent(&m);
		check(&m);
	}
	finish(&m);
}

/* Every length there is, one at a time and in a row. */
static void test_lengths(void **state)
{
	static struct model m;

	pool_init(&m.pool, 64u << 20);
	for (uint32_t len = LEN_MIN; len < LEN_MIN + 4000; len++) {
		assert_true(push(&m, len));
		if (len % 7 == 0)
			pop(&m);
		if (m.n == WAITING)
			while (m.n)
				pop(&m);
	}
	for (uint32_t len = LEN_MAX - 64; len <= LEN_MAX; len++)
		assert_true(m.n < WAITING ? push(&m, len) : true);
	finish(&m);
}

/* A full pool refuses and changes nothing; what is popped makes room again. */
static void test_exhausted(void **state)
{
	static struct model m;
	uint32_t before;

	pool_init(&m.pool, 300u << 10);
	for (int round = 0; round < 50; round++) {
		uint32_t len = draw_len();

		while (m.n < WAITING && push(&m, len))
			len = draw_len();
		check(&m);
		before = m.n;
		/* However small: a buffer may still have room for it, else it is refused too. */
		while (m.n < WAITING && push(&m, LEN_MIN))
			;
		check(&m);
		assert_true(m.n >= before && m.pool.used <= m.pool.limit);
		for (int i = rand() % 20; i >= 0; i--)
			pop(&m);
		free_spent(&m);
		check(&m);
	}
	finish(&m);
	/* Nothing at all to be had: an empty queue stays empty. */
	pool_init(&m.pool, 0);
	assert_false(push(&m, LEN_MIN));
	check(&m);
	assert_null(waitq_peek(&m.q));
	pool_fini(&m.pool);
}

/* One small packet does not hold a large buffer. */
static void test_small(void **state)
{
	static struct model m;

	pool_init(&m.pool, 64u << 20);
	assert_true(push(&m, LEN_MIN + 1400));
	assert_true(m.pool.used <= 2048);
	finish(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_exhausted),
	    cmocka_unit_test(test_small),
	};

	srand(1);
	return cmocka_run_group_tests_name("waitq", tests, NULL, NULL);
}
