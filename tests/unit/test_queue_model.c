/* SPDX-License-Identifier: BSD-3-Clause */
/* Random pushes, pops, waits and ends of several queues that share a pool, against plain lists. */
#include "queue_bed.h"

#define STEPS 20000
#define SOURCES 24

static struct bed bed;

static uint32_t draw_len(void)
{
	switch (rand() % 16) {
	case 0:
		return LEN_MIN + (uint32_t)rand() % (LEN_MAX - LEN_MIN + 1);
	case 1:
		return rand() % 2 ? LEN_MIN : LEN_MAX;
	default:
		return LEN_MIN + (uint32_t)rand() % 1500;
	}
}

/* Low numbers send most. */
static uint32_t draw_src(void)
{
	uint32_t most = 1 + (uint32_t)rand() % SOURCES;

	return (uint32_t)rand() % most;
}

static void step(bool fill)
{
	uint32_t queue = (uint32_t)(rand() % 3 ? rand() % 2 : rand() % BED_QUEUES);

	if (!bed.queue[queue].q && !bed_open(&bed, queue))
		return;
	if (!bed.lawless) {
		bed.queue[queue].q->target_ms = 5;
		bed.queue[queue].q->interval_ms = 50;
	}
	if (fill) {
		bed_push(&bed, queue, draw_src(), draw_len(), rand() % 20 == 0);
	} else if (bed_pop(&bed, queue) == BED_NONE && rand() % 2) {
		bed_close(&bed, queue, DROP_GONE_DISCONNECTED);
	}
	if (rand() % 400 == 0 && bed.queue[queue].q)
		bed_close(&bed, queue, DROP_GONE_DISCONNECTED);
	if (rand() % 4 == 0)
		bed.now_ms += (uint32_t)rand() % 3;
	if (rand() % 2000 == 0)
		bed.now_ms += (uint32_t)rand() % 400;
	/* A turn ends. */
	if (bed.spent_n > (uint32_t)rand() % 64)
		bed_free_spent(&bed);
	bed_check(&bed);
}

static void run(size_t pool, struct queue_limits limits, bool lawless)
{
	limits.disco = 8;
	bed_init(&bed, pool, SOURCES, limits);
	bed.lawless = lawless;
	for (int i = 0; i < STEPS; i++)
		/* It fills and empties in waves. */
		step((i / 600) % 2 ? rand() % 3 : rand() % 3 == 0);
	assert_true(bed.popped > STEPS / 10 && bed.dropped > 100);
	bed_fini(&bed);
}

/* Nothing is lost but by age. */
static void test_roomy(void **state)
{
	run(256u << 20, (struct queue_limits){.memory = 64u << 20, .age_ms = 150, .fair = true},
	    true);
}

static void test_memory(void **state)
{
	run(64u << 20, (struct queue_limits){.memory = 300u << 10, .age_ms = 9999, .fair = true},
	    true);
}

static void test_depth(void **state)
{
	run(64u << 20,
	    (struct queue_limits){.memory = 64u << 20, .packets = 32, .age_ms = 9999, .fair = true},
	    true);
}

/* The pool ends before any queue's own limit. */
static void test_pool(void **state)
{
	run(1u << 20, (struct queue_limits){.memory = 64u << 20, .age_ms = 9999, .fair = true},
	    true);
	run(200u << 10, (struct queue_limits){.memory = 64u << 20, .age_ms = 9999, .fair = true},
	    true);
}

static void test_fifo(void **state)
{
	run(2u << 20, (struct queue_limits){.memory = 300u << 10, .age_ms = 100}, false);
}

/* All at once. */
static void test_laws(void **state)
{
	run(2u << 20, (struct queue_limits){.memory = 1u << 20, .age_ms = 250, .fair = true},
	    false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_roomy),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_depth),
	    cmocka_unit_test(test_pool),
	    cmocka_unit_test(test_fifo),
	    cmocka_unit_test(test_laws),
	};

	srand(1);
	return cmocka_run_group_tests_name("queue_model", tests, NULL, NULL);
}
