/* SPDX-License-Identifier: BSD-3-Clause */
/* Snapshots and their readers: when one is asked for, who shares it, who goes away midway. */
#include "test_web_flows.h"

static void test_when_asked(void **state)
{
	struct fetch *f = ask_page(FLOWS);

	assert_true(f->reply.waiting);
	assert_int_equal(f->len, 0);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 1);
	pass(100);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 1);
	send_part(part_new(1, 0));
	assert_true(f->reply.waiting);
	send_part(part_new(0, 0));
	assert_true(f->reply.waiting);
	for (int i = 0; i < 8; i++) {
		pass(100);
		assert_int_equal(asked[LETTER_ASK_FLOWS], 1);
	}
	pass(100);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 2);
	send_part(part_new(0, 0));
	assert_true(f->reply.waiting);
	send_part(part_new(1, 0));
	assert_false(f->reply.waiting);
	pump_ready();
	fetch_split(f);
	assert_non_null(strstr(f->body, "\nnumber flows: 0\n"));
	fetch_free(f);
}

/* Answers all that has been asked for and not been answered. */
static void answer_asked(void)
{
	static int answered;

	if (asked[LETTER_ASK_FLOWS] < answered)
		answered = 0; /* another test has begun */
	for (; answered < asked[LETTER_ASK_FLOWS]; answered++)
		send_empty();
	pump_ready();
}

static void test_once_a_second(void **state)
{
	for (int i = 0; i < 200; i++) {
		struct fetch *f = ask_page(FLOWS "?format=json"), *g = ask_page(FLOWS);
		int ticks = 0;

		answer_asked();
		while (f->reply.waiting && ticks++ < 12) {
			pass(100);
			answer_asked();
		}
		fetch_split(f);
		fetch_split(g);
		fetch_free(f);
		fetch_free(g);
		pass(50);
	}
	/* 200 turns of 50 ms, and the first second */
	assert_in_range(asked[LETTER_ASK_FLOWS], 9, 12);
}

static void test_base_age(void **state)
{
	struct fetch *f = flows_page_of(FLOWS);

	fetch_free(f);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 2);
	/* Young enough to be compared with: one more is enough. */
	pass(9000);
	f = ask_page(FLOWS "?format=json");
	assert_int_equal(asked[LETTER_ASK_FLOWS], 3);
	second_parts();
	pump_ready();
	fetch_split(f);
	assert_non_null(strstr(f->body, "\"interval_s\":9.000"));
	fetch_free(f);
	/* Too old: two. */
	pass(10001);
	f = ask_page(FLOWS);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 4);
	second_parts();
	assert_true(f->reply.waiting);
	pass(1000);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 5);
	second_parts();
	pump_ready();
	fetch_split(f);
	fetch_free(f);
}

static void test_freed_unread(void **state)
{
	struct fetch *f = flows_page_of(FLOWS);

	fetch_free(f);
	assert_int_equal(gathered()->alive, 1);
	pass(30000);
	assert_int_equal(gathered()->alive, 1);
	pass(100);
	assert_int_equal(gathered()->alive, 0);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 2);
}

static void test_reader_goes_away(void **state)
{
	struct fetch *f = ask_page(FLOWS), *g = ask_page(FLOWS), *h = ask_page(FLOWS);

	/* In the middle, first and last of those who wait. */
	fetch_free(g);
	fetch_free(h);
	first_parts();
	fetch_free(f);
	pass(1000);
	/* Nobody wants it any more. */
	assert_int_equal(asked[LETTER_ASK_FLOWS], 1);
	assert_int_equal(gathered()->alive, 1);

	/* Midway through the body, while a newer snapshot has come. */
	f = many_page(FLOWS "?format=json&limit=0");
	fetch_free(f);
	f = ask_page(FLOWS "?format=json&limit=0");
	assert_true(f->reply.waiting);
	many_parts(2500);
	nready = 0;
	fetch_step(f);
	fetch_step(f);
	assert_non_null(f->reply.more);
	pass(2000);
	g = ask_page(FLOWS);
	many_parts(3000);
	pump_ready();
	assert_int_equal(gathered()->alive, 2);
	fetch_step(f);
	fetch_free(f);
	assert_int_equal(gathered()->alive, 1);
	fetch_split(g);
	fetch_free(g);
}

static struct fetch *victim;

static void free_victim(struct reply *r)
{
	if (victim && r != &victim->reply) {
		fetch_free(victim);
		victim = NULL;
	}
}

/* Waking one reader may make another one go, or come back. */
static void test_woken_reader_frees_another(void **state)
{
	struct fetch *f = ask_page(FLOWS), *g;

	victim = ask_page(FLOWS);
	g = ask_page(FLOWS);
	ready_hook = free_victim;
	first_parts();
	pass(1000);
	second_parts();
	assert_null(victim);
	pump_ready();
	fetch_split(f);
	fetch_split(g);
	fetch_free(f);
	fetch_free(g);
}

static struct fetch *again;

static void ask_again(struct reply *r)
{
	if (!again)
		again = ask_page(FLOWS);
}

/* One that asks again as it is given up must wait for its own turn. */
static void test_silent_worker(void **state)
{
	struct fetch *f = ask_page(FLOWS), *g = ask_page(FLOWS);

	ready_hook = ask_again;
	again = NULL;
	send_part(part_new(0, 0));
	pass(5000);
	assert_true(f->reply.waiting);
	pass(1);
	assert_false(f->reply.waiting);
	assert_true(again->reply.waiting);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 2);
	ready_hook = NULL;
	pump_ready();
	fetch_split(f);
	fetch_split(g);
	assert_int_equal(f->status, 503);
	assert_int_equal(g->status, 503);
	fetch_free(f);
	fetch_free(g);
	/* The late part may serve the next one; parts that nobody waits for are freed. */
	first_parts();
	pass(1000);
	second_parts();
	pump_ready();
	fetch_split(again);
	assert_int_equal(again->status, 200);
	fetch_free(again);
	again = NULL;
	first_parts();
	assert_int_equal(gathered()->alive, 1);
}

static void test_ask_refused(void **state)
{
	struct fetch *f;

	ask_refuses = true;
	f = ask_page(FLOWS);
	pass(100);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 0);
	ask_refuses = false;
	pass(100);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 1);
	pass(100);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 1);
	/* A part that comes twice: the later one counts. */
	send_part(part_new(0, 0));
	first_parts();
	pass(1000);
	send_part(part_new(0, 0));
	second_parts();
	pump_ready();
	fetch_split(f);
	assert_int_equal(f->status, 200);
	fetch_free(f);
}

/* Slow readers cannot pile up snapshots. */
static void test_slow_readers(void **state)
{
	struct fetch *f[10];

	for (int i = 0; i < 10; i++) {
		f[i] = ask_page(FLOWS "?format=json&limit=0");
		while (f[i]->reply.waiting) {
			many_parts((uint64_t)i * 1000);
			pass(1000);
		}
		fetch_step(f[i]);
		pass(1100);
	}
	nready = 0;
	assert_in_range(gathered()->alive, 2, GATHER_SHOTS_MAX);
	for (int i = 0; i < 10; i++) {
		fetch_split(f[i]);
		json_decref(json_of(f[i]));
		fetch_free(f[i]);
	}
	assert_int_equal(gathered()->alive, 1);
	pass(60000);
	assert_int_equal(gathered()->alive, 0);
}

/* The tick's clock lies behind the one that is read at a request. */
static void test_clock_behind(void **state)
{
	struct fetch *f = ask_page(FLOWS);

	first_parts();
	site_ops(site).tick(site, fake_now - 500);
	assert_int_equal(asked[LETTER_ASK_FLOWS], 1);
	assert_int_equal(gathered()->alive, 1);
	pass(1000);
	second_parts();
	pump_ready();
	site_ops(site).tick(site, fake_now - 500);
	fetch_split(f);
	fetch_free(f);
	assert_int_equal(gathered()->alive, 1);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_when_asked),
	    T(test_once_a_second),
	    T(test_base_age),
	    T(test_freed_unread),
	    T(test_reader_goes_away),
	    T(test_woken_reader_frees_another),
	    T(test_silent_worker),
	    T(test_ask_refused),
	    T(test_slow_readers),
	    T(test_clock_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
