/* SPDX-License-Identifier: BSD-3-Clause */
/* When a worker counts as overloaded, and which queues that concerns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_clock.h"
#include "relay/path.h"
#include "relay_talk.h"

static void test_law(void **state)
{
	struct overload o = {0};

	assert_false(overload_busy(&o, OVERLOAD_PACKETS - 1));
	assert_true(overload_busy(&o, 2 * OVERLOAD_PACKETS - 1));
	assert_false(overload_busy(&o, 2 * OVERLOAD_PACKETS - 1));

	assert_false(overload_turn(&o, 10000, 10004));
	assert_int_equal(o.until_ms, 0);
	assert_true(overload_turn(&o, 10000, 10005));
	assert_int_equal(o.until_ms, 10005 + OVERLOAD_HOLD_MS);
}

/* A turn in which one client sends so many packets to another, each look at the clock taking so
 * long. */
static void turn(struct bed *b, const struct bed_client *from, const struct bed_client *to,
    int packets, uint64_t step)
{
	static uint8_t buf[64 << 10];
	size_t n = 0;

	for (int i = 0; i < packets; i++)
		n += bed_packet(buf + n, &to->key, "x", 1);
	client_send(from, buf, n);
	fake_clock_step_ms = step;
	worker_turn(b->worker[0], false);
	fake_clock_step_ms = 0;
	assert_true(recv(to->fd, buf, sizeof(buf), 0) > 0);
}

static void test_worker(void **state)
{
	struct bed b;
	struct bed_client from, to;
	struct worker *w;

	fake_clock_ms = 1000000;
	bed_init(&b, 64);
	w = b.worker[0];
	from = login(&b, 0);
	to = login(&b, 0);

	turn(&b, &from, &to, OVERLOAD_PACKETS / 2, OVERLOAD_TURN_MS - 1);
	assert_false(w->queues.overloaded);
	/* Long, but there was little to do. */
	turn(&b, &from, &to, OVERLOAD_PACKETS / 2 - 1, 100);
	assert_false(w->queues.overloaded);
	assert_int_equal(w->counters.v[C_LONG_TURNS], 0);

	turn(&b, &from, &to, OVERLOAD_PACKETS / 2, OVERLOAD_TURN_MS);
	assert_true(w->queues.overloaded);
	assert_int_equal(w->counters.v[C_LONG_TURNS], 1);
	fake_clock_ms += OVERLOAD_HOLD_MS - 1;
	worker_turn(w, false);
	assert_true(w->queues.overloaded);
	fake_clock_ms++;
	worker_turn(w, false);
	assert_false(w->queues.overloaded);
	assert_int_equal(w->counters.v[C_LONG_TURNS], 1);

	logout(&b, &from);
	logout(&b, &to);
	bed_fini(&b);
	fake_clock_ms = 0;
}

/* A queue in front of a path that is known to be full keeps its law. */
static void test_full_path(void **state)
{
	struct queue_limits limits = {.age_ms = 250};
	struct queue q = {.limits = &limits};
	struct path p = {.interval_ms = 100, .target_ms = 5, .rtt_least_us = PATH_NEAR_US};
	struct conn c = {.queue = &q, .path = &p};

	path_rule(&c);
	assert_int_equal(q.target_ms, 5);
	assert_false(q.path_full);
	p.window.held = true;
	path_rule(&c);
	assert_true(q.path_full);
	p.rtt_least_us = PATH_NEAR_US - 1;
	path_rule(&c);
	assert_false(q.path_full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_law),
	    cmocka_unit_test(test_worker),
	    cmocka_unit_test(test_full_path),
	};

	return cmocka_run_group_tests_name("overload", tests, NULL, NULL);
}
