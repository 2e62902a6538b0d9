/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys, pool, wheel: the small things that everything stands on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <sodium.h>

#include "base/clock.h"
#include "base/key.h"
#include "base/pool.h"
#include "base/wheel.h"

static void test_key_text(void **state)
{
	struct key k, back;
	char text[KEY_TEXT_LEN], brief[KEY_SHORT_LEN];

	for (int i = 0; i < KEY_LEN; i++)
		k.b[i] = (uint8_t)(i * 7);
	key_text(&k, text);
	assert_int_equal(strlen(text), KEY_TEXT_LEN - 1);
	assert_memory_equal(text, "nodekey:00070e15", 16);
	assert_true(key_parse(text, &back));
	assert_true(key_equal(&k, &back));
	assert_true(key_parse(text + 8, &back));
	key_short(&k, brief);
	assert_string_equal(brief, "[AAcOF]");
	k = (struct key){0};
	key_short(&k, brief);
	assert_string_equal(brief, "");
	text[10] = 'x';
	assert_false(key_parse(text, &back));
	assert_false(key_parse("nodekey:00", &back));
}

static void test_clock_rfc3339(void **state)
{
	char out[CLOCK_RFC3339_LEN];

	clock_rfc3339(1795415400123u, out);
	assert_string_equal(out, "2026-11-23T06:30:00.123Z");
}

static void test_pool_limit(void **state)
{
	struct pool p;
	struct pool_buf *a, *b;

	pool_init(&p, 10000);
	a = pool_get(&p, 5000);
	assert_non_null(a);
	assert_true(a->cap >= 5000);
	assert_null(pool_get(&p, 5000));
	b = pool_get(&p, 100);
	assert_non_null(b);
	pool_put(&p, a);
	a = pool_get(&p, 8000);
	assert_non_null(a);
	pool_put(&p, a);
	pool_put(&p, b);
	assert_int_equal(p.used, 0);
	pool_fini(&p);
	pool_init(&p, 1 << 20);
	a = pool_get(&p, POOL_MAX);
	assert_non_null(a);
	assert_true(a->cap >= POOL_MAX);
	pool_put(&p, a);
	pool_fini(&p);
}

#define TIMERS 500

struct fired {
	struct wheel w;
	struct timer t[TIMERS];
	uint64_t now;
	int count;
};

static void fire(void *arg, struct timer *t)
{
	struct fired *f = arg;

	assert_true(t->at_ms <= f->now);
	assert_true(f->now - t->at_ms <= 4 * WHEEL_TICK_MS);
	f->count++;
}

/* Every timer fires once, never early, at most a few steps late, also past a whole turn. */
static void test_wheel(void **state)
{
	struct fired *f = calloc(1, sizeof(*f));
	uint64_t start = 123456;
	uint64_t last = 0;

	f->now = start;
	wheel_init(&f->w, start);
	for (int i = 0; i < TIMERS; i++) {
		uint64_t at = start + (uint64_t)i * 311;

		wheel_set(&f->w, &f->t[i], at);
		if (i % 10 == 3)
			wheel_clear(&f->w, &f->t[i]);
		else
			last = at;
	}
	for (; f->now < last + 1000; f->now += 97)
		wheel_run(&f->w, f->now, fire, f);
	assert_int_equal(f->count, TIMERS - TIMERS / 10);
	assert_int_equal(f->w.set, 0);
	assert_int_equal(wheel_sleep_ms(&f->w, f->now), -1);
	wheel_set(&f->w, &f->t[0], f->now + 200);
	assert_in_range(wheel_sleep_ms(&f->w, f->now), 137, 200 + WHEEL_TICK_MS);
	wheel_clear(&f->w, &f->t[0]);
	free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_key_text),
	    cmocka_unit_test(test_clock_rfc3339),
	    cmocka_unit_test(test_pool_limit),
	    cmocka_unit_test(test_wheel),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
