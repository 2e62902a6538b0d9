/* SPDX-License-Identifier: BSD-3-Clause */
/* What waits for a client: each rule of the queue alone. The bed compares all with plain lists. */
#include "queue_bed.h"

#define COMMON (FRAME_PACKET_HEAD + 1400)
#define LIMITS                                                               \
	{                                                                    \
		.memory = 8u << 20, .disco = 32, .age_ms = 250, .fair = true \
	}
#define POOL (64u << 20)

static struct bed bed;

static void begin(size_t pool, struct queue_limits limits)
{
	bed_init(&bed, pool, 1000, limits);
	assert_true(bed_open(&bed, 0));
}

static void push_many(uint32_t queue, uint32_t src, uint32_t len, uint32_t n)
{
	while (n--)
		bed_push(&bed, queue, src, len, false);
}

/* Every length there is, alone and in a row, and what is popped stays readable until it is freed.
 */
static void test_lengths(void **state)
{
	begin(POOL, (struct queue_limits)LIMITS);
	for (uint32_t len = LEN_MIN; len < LEN_MIN + 4000; len++) {
		bed_push(&bed, 0, len % 3, len, len % 11 == 0);
		if (len % 7)
			bed_pop(&bed, 0);
		if (len % 100 == 0) {
			while (bed_pop(&bed, 0) != BED_NONE)
				;
			bed_check(&bed);
			bed_free_spent(&bed);
		}
	}
	for (uint32_t len = LEN_MAX - 64; len <= LEN_MAX; len++) {
		bed_push(&bed, 0, 1, len, false);
		bed_check(&bed);
	}
	while (bed_pop(&bed, 0) != BED_NONE)
		;
	assert_int_equal(bed.dropped, 0);
	bed_fini(&bed);
}

/* A small packet does not hold a large buffer. */
static void test_small(void **state)
{
	begin(POOL, (struct queue_limits)LIMITS);
	push_many(0, 1, COMMON, 10);
	bed_check(&bed);
	assert_true(bed.pool.used <= 12 * 2048);
	push_many(0, 1, LEN_MIN, 10);
	assert_true(bed.pool.used <= 12 * 2048 + 10 * 512);
	bed_fini(&bed);
}

/* Disco goes first, and of too much of it the oldest is lost. It hides nothing else. */
static void test_disco(void **state)
{
	struct queue_limits limits = LIMITS;
	uint32_t first;

	begin(POOL, limits);
	push_many(0, 1, COMMON, 50);
	first = bed_push(&bed, 0, 1, 100, true);
	assert_int_equal(bed_pop(&bed, 0), first);
	assert_int_equal(bed_pop(&bed, 0), 0);
	first = bed.items;
	for (uint32_t i = 0; i < 40; i++) {
		bed_push(&bed, 0, i % 3, 100, true);
		bed_check(&bed);
	}
	assert_int_equal(bed.dropped, 8);
	assert_int_equal(bed.drops[DROP_QUEUE_HEAD], 8);
	for (uint32_t i = 8; i < 40; i++)
		assert_int_equal(bed_pop(&bed, 0), first + i);
	assert_int_equal(bed_pop(&bed, 0), 1);
	bed_fini(&bed);
	/* Forged at a high rate it goes ahead for 16 KiB, and then takes turns. */
	begin(POOL, limits);
	push_many(0, 1, COMMON, 50);
	for (int i = 0; i < 32; i++)
		bed_push(&bed, 0, 2, COMMON, true);
	for (uint32_t n = 16384 / COMMON + 1; n > 0; n--)
		assert_int_equal(bed_item[bed_pop(&bed, 0)].disco, true);
	for (int i = 0; i < 20; i++)
		assert_int_equal(bed_item[bed_pop(&bed, 0)].disco, i % 2);
	bed_fini(&bed);
	/* Its magic is forged on large packets: they don't drive all others out. */
	limits.memory = 1 << 20;
	begin(POOL, limits);
	push_many(0, 1, COMMON, 200);
	for (int i = 0; i < 40; i++) {
		bed_push(&bed, 0, 2, LEN_MAX, true);
		bed_check(&bed);
	}
	assert_int_equal(bed.queue[0].packets, 200);
	/* But when nobody else wants the room, it is theirs. */
	bed_close(&bed, 0, DROP_WRITE_ERROR);
	assert_true(bed_open(&bed, 0));
	for (int i = 0; i < 40; i++)
		bed_push(&bed, 0, 2, LEN_MAX, true);
	assert_true(bed.queue[0].disco.memory > limits.memory / 10 * 9);
	/* It makes way for others as they come. */
	push_many(0, 1, COMMON, 200);
	bed_check(&bed);
	assert_int_equal(bed.queue[0].packets, 200);
	bed_fini(&bed);
}

/* Too much memory for one client: its longest line pays, and not for less than that. */
static void test_memory(void **state)
{
	struct queue_limits limits = LIMITS;

	limits.memory = 256 << 10;
	begin(POOL, limits);
	for (int round = 0; round < 200; round++) {
		bed_push(&bed, 0, 1, COMMON, false);
		if (round < 10)
			bed_push(&bed, 0, 2, COMMON, false);
		bed_check(&bed);
	}
	/* One never sees that the other sends much. */
	assert_int_equal(bed_line[0][2].packets, 10);
	assert_in_range(bed_line[0][1].packets, 110, 116);
	assert_int_equal(bed.drops[DROP_QUEUE_HEAD], bed.dropped);
	/* What comes later and goes on pays with it, when it has grown to as much. */
	push_many(0, 3, COMMON, 300);
	bed_check(&bed);
	assert_int_equal(bed_line[0][2].packets, 10);
	assert_in_range(bed_line[0][1].packets, 25, 80);
	assert_in_range(bed_line[0][3].packets, 25, 80);
	/* One of a kind that is never to fit. */
	bed_fini(&bed);
	limits.memory = 60000;
	begin(POOL, limits);
	bed_push(&bed, 0, 1, LEN_MAX, false);
	assert_int_equal(bed.drops[DROP_QUEUE_HEAD], 1);
	bed_check(&bed);
	bed_fini(&bed);
}

/* So many sources that their lines alone are too much: what is empty does not pile up. */
static void test_many_sources(void **state)
{
	struct queue_limits limits = LIMITS;

	limits.memory = 256 << 10;
	bed_init(&bed, 1 << 20, BED_SOURCES, limits);
	assert_true(bed_open(&bed, 0));
	assert_true(bed_open(&bed, 1));
	for (uint32_t src = 0; src < BED_SOURCES; src++) {
		bed_push(&bed, 0, src, COMMON, false);
		if (src % 100 == 0)
			bed_check(&bed);
	}
	assert_in_range(bed.queue[0].packets, 95, 102);
	/* And others find room. */
	push_many(1, 5, COMMON, 50);
	assert_int_equal(bed.queue[1].packets, 50);
	bed_fini(&bed);
}

/* As many packets as derper keeps. */
static void test_depth(void **state)
{
	struct queue_limits limits = LIMITS;

	limits.packets = limits.disco = 32;
	begin(POOL, limits);
	push_many(0, 1, COMMON, 32);
	assert_int_equal(bed.dropped, 0);
	push_many(0, 2, COMMON, 5);
	bed_check(&bed);
	assert_int_equal(bed_line[0][1].packets, 27);
	assert_int_equal(bed_line[0][2].packets, 5);
	/* Disco is not among them. */
	bed_push(&bed, 0, 2, 100, true);
	bed_check(&bed);
	assert_int_equal(bed.queue[0].packets, 32);
	bed_fini(&bed);
}

/* The worker's pool is used up by one: it pays, whoever else comes loses nothing. */
static void test_squeeze(void **state)
{
	begin(1 << 20, (struct queue_limits)LIMITS);
	assert_true(bed_open(&bed, 1) && bed_open(&bed, 2));
	push_many(1, 7, COMMON, 20);
	while (bed.dropped == 0)
		push_many(0, bed.items % 5 == 0 ? 2 : 1, COMMON, 1);
	bed_check(&bed);
	/* One that had no queue until now: there is room for that, too. */
	while (bed.pool.used <= bed.pool.limit - bed.pool.limit / 4)
		push_many(0, 1, LEN_MIN, 1);
	assert_true(bed_open(&bed, 3));
	for (uint32_t i = 0; i < 40; i++) {
		bed_push(&bed, 1, 100 + i, COMMON, false);
		bed_push(&bed, 2, 200 + i % 4, i % 2 ? LEN_MIN : COMMON, i % 3 == 0);
		bed_push(&bed, 3, 300, LEN_MIN, false);
		bed_check(&bed);
	}
	for (uint32_t i = 0; i < bed.items; i++)
		if (bed_item[i].queue > 0)
			assert_int_equal(bed_item[i].state, ITEM_WAITS);
	assert_int_equal(bed.drops[DROP_QUEUE_TAIL], 0);
	/* The lesser line of the fat one keeps more than half of what it had. */
	assert_in_range(bed_line[0][2].packets, 40, 100);
	bed_fini(&bed);
}

/* Nothing at all is to be had: what arrives is lost, and only that. */
static void test_exhausted(void **state)
{
	struct pool_buf *hog, *all = NULL;

	bed_init(&bed, 0, 10, (struct queue_limits)LIMITS);
	assert_false(bed_open(&bed, 0));
	bed_fini(&bed);
	begin(1 << 20, (struct queue_limits)LIMITS);
	bed_push(&bed, 0, 1, COMMON, false);
	while ((hog = pool_get(&bed.pool, 2000))) {
		hog->next = all;
		all = hog;
	}
	/* For the first, what waits is given up in vain; then nothing more is left to give up. */
	for (int i = 0; i < 5; i++) {
		uint32_t number = bed_push(&bed, 0, 2, COMMON, i % 2);

		assert_int_equal(bed_item[number].state, ITEM_DROPPED);
		assert_int_equal(bed_item[number].why, DROP_QUEUE_TAIL);
		assert_int_equal(bed.drops[DROP_QUEUE_TAIL], i + 1);
		assert_int_equal(bed.drops[DROP_QUEUE_HEAD], 1);
	}
	assert_int_equal(bed_pop(&bed, 0), BED_NONE);
	while ((hog = all)) {
		all = hog->next;
		pool_put(&bed.pool, hog);
	}
	bed_check(&bed);
	bed_push(&bed, 0, 2, COMMON, false);
	assert_int_equal(bed_pop(&bed, 0), bed.items - 1);
	bed_fini(&bed);
}

/* Many wait with little each: one that has been emptied does not end the search for room. */
static void test_squeeze_all(void **state)
{
	struct pool_buf *hog, *all = NULL;
	uint32_t number;

	begin(1 << 20, (struct queue_limits)LIMITS);
	assert_true(bed_open(&bed, 1) && bed_open(&bed, 2));
	for (uint32_t i = 0; i < 3; i++)
		bed_push(&bed, i, 1, LEN_MIN, false);
	/* So much that two packets with their lines must go. */
	while (bed.pool.used < bed.pool.limit - bed.pool.limit / 4 + 3 * BED_FLOW_COST) {
		hog = pool_get(&bed.pool, 400);
		hog->next = all;
		all = hog;
	}
	number = bed_push(&bed, 0, 1, LEN_MIN, false);
	assert_int_equal(bed_item[number].state, ITEM_WAITS);
	assert_int_equal(bed.queue[0].packets, 2);
	assert_int_equal(bed.drops[DROP_QUEUE_HEAD], 2);
	/* They weigh again. */
	bed_push(&bed, 1, 1, COMMON, false);
	bed_push(&bed, 2, 1, COMMON, false);
	while ((hog = all)) {
		all = hog->next;
		pool_put(&bed.pool, hog);
	}
	bed_check(&bed);
	bed_fini(&bed);
}

/* Without fairness: in the order of arrival whoever sent it, and no law but the limits. */
static void test_fifo(void **state)
{
	struct queue_limits limits = LIMITS;

	limits.fair = false;
	limits.packets = 64;
	begin(POOL, limits);
	bed.queue[0].q->target_ms = bed.queue[0].q->interval_ms = 1;
	for (uint32_t i = 0; i < 64; i++)
		bed_push(&bed, 0, i % 5, LEN_MIN + i % 7 * 1000, false);
	for (uint32_t i = 0; i < 60; i++) {
		bed.now_ms += 4;
		assert_int_equal(bed_pop(&bed, 0), i);
	}
	assert_int_equal(bed.dropped, 0);
	for (uint32_t i = 0; i < 64; i++)
		bed_push(&bed, 0, i % 5, LEN_MIN, false);
	assert_int_equal(bed.drops[DROP_QUEUE_HEAD], 4);
	assert_int_equal(bed_pop(&bed, 0), 64);
	bed_check(&bed);
	bed_fini(&bed);
}

/* What is too old is never sent, and one that just is not too old is. */
static void age(bool fair)
{
	struct queue_limits limits = LIMITS;

	limits.fair = fair;
	begin(POOL, limits);
	push_many(0, 1, COMMON, 10);
	bed_push(&bed, 0, 1, 100, true);
	bed.now_ms += 100;
	push_many(0, 2, COMMON, 10);
	bed_push(&bed, 0, 1, 100, true);
	bed.now_ms += 150;
	assert_int_equal(queue_age(bed.queue[0].q, bed.now_ms), 250);
	assert_int_equal(bed_pop(&bed, 0), 10);
	assert_int_equal(bed_pop(&bed, 0), 21);
	assert_int_equal(bed_pop(&bed, 0), 0);
	assert_int_equal(bed.dropped, 0);
	bed.now_ms += 1;
	for (int i = 0; i < 10; i++)
		assert_int_equal(bed_pop(&bed, 0), 11 + i);
	assert_int_equal(bed.dropped, 9);
	assert_int_equal(queue_age(bed.queue[0].q, bed.now_ms), 0);
	assert_int_equal(bed_pop(&bed, 0), BED_NONE);
	push_many(0, 1, COMMON, 10);
	bed_push(&bed, 0, 1, 100, true);
	bed.now_ms += 251;
	assert_int_equal(bed_pop(&bed, 0), BED_NONE);
	assert_int_equal(bed.dropped, 20);
	/* A longer path, known meanwhile. */
	push_many(0, 1, COMMON, 2);
	bed_push(&bed, 0, 1, 100, true);
	bed.queue[0].q->age_ms = 600;
	bed.now_ms += 600;
	assert_int_equal(bed_pop(&bed, 0), bed.items - 1);
	assert_int_equal(bed_pop(&bed, 0), bed.items - 3);
	bed.now_ms += 1;
	assert_int_equal(bed_pop(&bed, 0), BED_NONE);
	bed_check(&bed);
	bed_fini(&bed);
}

static void test_age(void **state)
{
	age(true);
	age(false);
}

/* One packet comes and one goes each ms, so that a line of n waits n ms; how many are lost. */
static uint32_t stand(uint32_t packets, uint32_t ms)
{
	uint32_t dropped = bed.dropped, before;

	while (bed_line[0][1].packets > packets)
		bed_pop(&bed, 0);
	while (bed_line[0][1].packets < packets)
		bed_push(&bed, 0, 1, COMMON, false);
	while (ms--) {
		before = bed.dropped;
		bed.now_ms++;
		bed_push(&bed, 0, 1, COMMON, false);
		bed_pop(&bed, 0);
		bed_check(&bed);
		/* One by one. */
		assert_true(bed.dropped <= before + 1);
	}
	return bed.dropped - dropped;
}

/* The clock starts 200 ms before it wraps: CoDel goes by it as by any other. */
static void test_codel(void **state)
{
	begin(POOL, (struct queue_limits)LIMITS);
	bed.lawless = false;
	bed.queue[0].q->target_ms = 5;
	bed.queue[0].q->interval_ms = 100;
	/* Nothing before an interval has passed; then the faster the longer it lasts: at 105, 205,
	 * 276, 334, 384, 429, 470, 508, 543 and 576 ms. */
	assert_int_equal(stand(20, 100), 0);
	assert_in_range(stand(bed_line[0][1].packets, 500), 9, 11);
	/* No longer than the target: nothing more is lost. */
	assert_int_equal(stand(3, 300), 0);
	/* Again so soon: the first after an interval, and then at about the rate that it had. */
	assert_in_range(stand(20, 190), 3, 4);
	/* Much later that is forgotten. */
	assert_int_equal(stand(3, 1800), 0);
	assert_int_equal(stand(20, 190), 1);
	bed_fini(&bed);
}

/* While the worker is behind nothing is dropped early, but in front of a path that is full. Behind
 * it a line has an interval, as any other. */
static void test_overloaded(void **state)
{
	begin(POOL, (struct queue_limits)LIMITS);
	bed.queue[0].q->target_ms = 5;
	bed.queue[0].q->interval_ms = 100;
	bed.set.overloaded = true;
	bed.lawless = true;
	assert_int_equal(stand(20, 600), 0);
	bed.lawless = false;
	bed.set.overloaded = false;
	assert_int_equal(stand(20, 99), 0);
	assert_int_equal(stand(20, 50), 1);
	bed.set.overloaded = bed.queue[0].q->path_full = true;
	assert_in_range(stand(20, 300), 2, 5);
	bed_fini(&bed);
}

/* A single packet is no standing queue, however long each must wait. */
static void test_floor(void **state)
{
	begin(POOL, (struct queue_limits)LIMITS);
	bed.lawless = false;
	bed.queue[0].q->target_ms = 5;
	bed.queue[0].q->interval_ms = 20;
	for (uint32_t src = 0; src < 20; src++)
		bed_push(&bed, 0, src, COMMON, false);
	for (uint32_t i = 0; i < 500; i++) {
		uint32_t number;

		bed.now_ms += 2;
		number = bed_pop(&bed, 0);
		bed_push(&bed, 0, bed_item[number].src, COMMON, false);
	}
	assert_int_equal(bed.dropped, 0);
	bed_fini(&bed);
}

/* One that has just begun goes ahead of those that go on, but no more than a quantum. */
static void test_fresh(void **state)
{
	uint32_t bytes[5] = {0}, sum = 0, number;

	begin(POOL, (struct queue_limits)LIMITS);
	for (uint32_t src = 0; src < 4; src++)
		push_many(0, src, COMMON, 30);
	for (int i = 0; i < 9; i++)
		bed_pop(&bed, 0);
	number = bed_push(&bed, 0, 4, 300, false);
	assert_int_equal(bed_pop(&bed, 0), number);
	/* It keeps one waiting all the time, or sends each time it sees that it was served. */
	for (int i = 0; i < 4000; i++) {
		if (bed.queue[0].packets < 110 + (uint32_t)i % 9)
			for (uint32_t src = 0; src < 4; src++)
				bed_push(&bed, 0, src, COMMON, false);
		if (bed_line[0][4].packets == 0 && i % 3)
			bed_push(&bed, 0, 4, 300, false);
		number = bed_pop(&bed, 0);
		bytes[bed_item[number].src] += bed_item[number].len;
		sum += bed_item[number].len;
		if (i % 64 == 0)
			bed_free_spent(&bed);
	}
	assert_in_range(bytes[4], sum / 100, sum / 5 + 3000);
	for (uint32_t src = 0; src < 4; src++)
		assert_in_range(bytes[src], sum / 5 - 3000, sum / 4);
	bed_fini(&bed);
}

/* Lines share by bytes, however large their packets are, at every moment within one packet. */
static void test_bytes(void **state)
{
	static const uint32_t len[3] = {LEN_MAX, 300, COMMON};
	int64_t bytes[3] = {0};

	begin(POOL, (struct queue_limits)LIMITS);
	for (int i = 0; i < 20000; i++) {
		uint32_t src;

		for (src = 0; src < 3; src++)
			while (bed_line[0][src].packets < 5)
				bed_push(&bed, 0, src, len[src], false);
		src = bed_item[bed_pop(&bed, 0)].src;
		bytes[src] += len[src];
		for (src = 1; src < 3; src++)
			assert_true(llabs(bytes[0] - bytes[src]) <= LEN_MAX + 2 * QUEUE_QUANTUM);
		if (i % 16 == 0)
			bed_free_spent(&bed);
	}
	assert_true(bytes[0] > 30 * LEN_MAX);
	bed_fini(&bed);
}

/* A queue that ends tells of each packet, whatever the state of its lines. */
static void test_end(void **state)
{
	begin(POOL, (struct queue_limits)LIMITS);
	for (uint32_t src = 0; src < 100; src++)
		push_many(0, src, LEN_MIN + src * 20, src % 4 + 1);
	for (int i = 0; i < 120; i++)
		bed_pop(&bed, 0);
	push_many(0, 200, COMMON, 5);
	bed_push(&bed, 0, 3, 100, true);
	bed_close(&bed, 0, DROP_WRITE_ERROR);
	assert_int_equal(bed.dropped, 250 + 5 + 1 - 120);
	assert_int_equal(bed.drops[DROP_WRITE_ERROR], bed.dropped);
	bed_fini(&bed);
}

/* Who never slows down is dropped from for hours: the number of drops has an end. */
static void test_count(void **state)
{
	struct queue_flow *f;

	begin(POOL, (struct queue_limits)LIMITS);
	bed.lawless = false;
	bed.queue[0].q->target_ms = 5;
	bed.queue[0].q->interval_ms = 100;
	push_many(0, 1, COMMON, 200);
	bed.now_ms += 6;
	bed_pop(&bed, 0);
	f = bed.queue[0].q->old.first ? bed.queue[0].q->old.first : bed.queue[0].q->fresh.first;
	f->dropping = true;
	f->above_at = f->drop_at = bed.now_ms;
	f->count = (1u << 24) - 3;
	for (int i = 0; i < 8; i++) {
		bed.now_ms += 10;
		bed_pop(&bed, 0);
	}
	assert_true(bed.dropped > 8 && f->count <= 1u << 20);
	bed_fini(&bed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_small),
	    cmocka_unit_test(test_disco),
	    cmocka_unit_test(test_count),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_many_sources),
	    cmocka_unit_test(test_depth),
	    cmocka_unit_test(test_squeeze),
	    cmocka_unit_test(test_squeeze_all),
	    cmocka_unit_test(test_exhausted),
	    cmocka_unit_test(test_fifo),
	    cmocka_unit_test(test_age),
	    cmocka_unit_test(test_codel),
	    cmocka_unit_test(test_overloaded),
	    cmocka_unit_test(test_floor),
	    cmocka_unit_test(test_fresh),
	    cmocka_unit_test(test_bytes),
	    cmocka_unit_test(test_end),
	};

	return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
