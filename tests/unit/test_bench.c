/* SPDX-License-Identifier: BSD-3-Clause */
/* src/tool/bench_*: what the load generator says must be true, so its counting is tested here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "tool/bench_hist.h"
#include "tool/bench_options.h"
#include "tool/bench_slow.h"
#include "tool/bench_stream.h"

#define SIZE 100
#define FRAME (FRAME_PACKET_HEAD + SIZE)

static const struct key alice = {{1}}, bob = {{2}}, carol = {{3}};

/* Streams 0 (alice, client 0, to bob, client 1) and 1 (the other way). */
static void begin(struct bench_traffic *t)
{
	bench_traffic_init(t, 2, SIZE, 64, 1);
	bench_stream_init(t, 0, 0, &alice, 1, &bob);
	bench_stream_init(t, 1, 1, &bob, 0, &alice);
}

static void send_n(struct bench_traffic *t, uint8_t (*frame)[FRAME], int n)
{
	for (int i = 0; i < n; i++)
		bench_stream_put(t, &t->stream[0], 1000, frame[i]);
}

/* What a server makes of it: bob gets it with alice's key in front. */
static struct bench_stream *come(struct bench_traffic *t, const uint8_t *frame)
{
	uint64_t took;

	return bench_traffic_take(t, 1, alice.b, frame + FRAME_PACKET_HEAD, SIZE, 3000, &took);
}

static void test_in_order(void **state)
{
	struct bench_traffic t;
	uint8_t f[200][FRAME];
	uint64_t took;

	begin(&t);
	send_n(&t, f, 200);
	assert_int_equal(f[0][0], FRAME_SEND_PACKET);
	assert_int_equal(frame_payload_len(f[0]), KEY_LEN + SIZE);
	assert_memory_equal(f[0] + FRAME_HEADER_LEN, bob.b, KEY_LEN);
	assert_memory_not_equal(f[0] + FRAME_PACKET_HEAD + BENCH_HEAD_LEN,
	    f[1] + FRAME_PACKET_HEAD + BENCH_HEAD_LEN, SIZE - BENCH_HEAD_LEN);
	assert_int_equal(t.outstanding, 200);
	assert_ptr_equal(
	    bench_traffic_take(&t, 1, alice.b, f[0] + FRAME_PACKET_HEAD, SIZE, 3000, &took),
	    &t.stream[0]);
	assert_int_equal(took, 2000);
	for (int i = 1; i < 200; i++)
		assert_non_null(come(&t, f[i]));
	assert_int_equal(t.outstanding, 0);
	assert_int_equal(t.count.sent, 200);
	assert_int_equal(t.count.received, 200);
	assert_int_equal(t.count.lost + t.count.reordered + t.count.late + t.count.duplicated +
			     t.count.corrupt + t.count.misdelivered,
	    0);
	bench_traffic_fini(&t);
}

static void test_lost_reordered_duplicated(void **state)
{
	struct bench_traffic t;
	uint8_t f[300][FRAME];

	begin(&t);
	send_n(&t, f, 300);
	come(&t, f[0]);
	come(&t, f[3]); /* 1 and 2 are missing, and free their places */
	assert_int_equal(t.count.lost, 2);
	assert_int_equal(t.outstanding, 296);
	assert_non_null(come(&t, f[2])); /* one comes after all */
	assert_int_equal(t.count.lost, 1);
	assert_int_equal(t.count.reordered, 1);
	assert_null(come(&t, f[2]));
	assert_null(come(&t, f[3]));
	assert_null(come(&t, f[0]));
	assert_int_equal(t.count.duplicated, 3);
	assert_int_equal(t.outstanding, 296);
	/* A gap longer than what is remembered, then one from inside it that is still known. */
	come(&t, f[250]);
	assert_int_equal(t.count.lost, 1 + 246);
	assert_non_null(come(&t, f[200]));
	assert_int_equal(t.count.reordered, 2);
	assert_int_equal(t.count.lost, 246);
	/* Too old to tell. */
	assert_null(come(&t, f[100]));
	assert_int_equal(t.count.duplicated, 4);
	/* Sums hold: all sent are received, lost or under way. */
	assert_int_equal(t.count.sent, t.count.received + t.count.lost + t.outstanding);
	bench_traffic_fini(&t);
}

static void test_given_up(void **state)
{
	struct bench_traffic t;
	uint8_t f[4][FRAME];

	begin(&t);
	send_n(&t, f, 3);
	come(&t, f[0]);
	assert_int_equal(bench_stream_give_up(&t, &t.stream[0]), 2);
	assert_int_equal(t.outstanding, 0);
	assert_int_equal(t.count.lost, 2);
	/* Late, not overtaken: nothing behind it had come. */
	assert_non_null(come(&t, f[1]));
	assert_non_null(come(&t, f[2]));
	assert_int_equal(t.count.late, 2);
	assert_int_equal(t.count.reordered, 0);
	assert_int_equal(t.count.lost, 0);
	assert_int_equal(bench_stream_give_up(&t, &t.stream[0]), 0);
	send_n(&t, f, 1);
	assert_non_null(come(&t, f[0]));
	assert_int_equal(t.count.received, 4);
	bench_traffic_fini(&t);
}

static void test_corrupt_and_misdelivered(void **state)
{
	struct bench_traffic t, other;
	uint8_t f[2][FRAME], bad[FRAME];
	uint64_t took;

	begin(&t);
	send_n(&t, f, 1);
	/* Any bit of the packet that flips is noticed. */
	for (size_t bit = 0; bit < SIZE * 8; bit++) {
		memcpy(bad, f[0], FRAME);
		bad[FRAME_PACKET_HEAD + bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_null(come(&t, bad));
		assert_int_equal(t.count.corrupt, bit + 1);
	}
	t.count.corrupt = 0;
	assert_null(
	    bench_traffic_take(&t, 1, alice.b, f[0] + FRAME_PACKET_HEAD, SIZE - 1, 0, &took));
	assert_null(bench_traffic_take(&t, 1, alice.b, f[0] + FRAME_PACKET_HEAD, 0, 0, &took));
	assert_int_equal(t.count.corrupt, 2);
	/* One that this run never sent. */
	begin(&other);
	send_n(&other, f, 2);
	assert_null(come(&t, f[1]));
	assert_int_equal(t.count.corrupt, 3);
	bench_traffic_fini(&other);
	/* From the wrong one, to the wrong one. */
	assert_null(bench_traffic_take(&t, 1, carol.b, f[0] + FRAME_PACKET_HEAD, SIZE, 0, &took));
	assert_null(bench_traffic_take(&t, 0, alice.b, f[0] + FRAME_PACKET_HEAD, SIZE, 0, &took));
	assert_int_equal(t.count.misdelivered, 2);
	assert_int_equal(t.count.received, 0);
	bench_traffic_fini(&t);
}

static void test_hist(void **state)
{
	static struct bench_hist h;
	uint64_t random = 7;

	assert_int_equal(bench_hist_quantile(&h, 0.5), 0);
	for (uint64_t v = 1; v <= 100000; v++)
		bench_hist_add(&h, v * 1000);
	for (int q = 1; q < 100; q++) {
		double got = (double)bench_hist_quantile(&h, q / 100.0), want = q * 1e6;

		assert_true(got > want * 0.984 && got < want * 1.016);
	}
	assert_int_equal(bench_hist_quantile(&h, 1), 100000000);
	assert_int_equal(h.max, 100000000);
	/* Every value has a bucket. */
	for (int i = 0; i < 100000; i++)
		assert_true(
		    bench_hist_index(bench_random(&random) >> (i % 64)) < BENCH_HIST_BUCKETS);
	assert_true(bench_hist_index(UINT64_MAX) < BENCH_HIST_BUCKETS);
	bench_hist_reset(&h);
	bench_hist_add(&h, 5);
	assert_int_equal(bench_hist_quantile(&h, 0.99), 5);
}

/* The stalled receiver: what the kernels held, what the server held, what was sent since. */
static void test_slow(void **state)
{
	static struct bench_slow w;
	static uint8_t f[400][FRAME];
	const uint64_t ms = 1000000;

	memset(&w, 0, sizeof(w));
	bench_traffic_init(&w.traffic, 1, SIZE, 65536, 1);
	bench_stream_init(&w.traffic, 0, 0, &alice, 1, &bob);
	for (uint64_t i = 0; i < 400; i++)
		bench_stream_put(&w.traffic, &w.traffic.stream[0], i * ms, f[i]);
#define TAKE(i, at) \
	bench_slow_take(&w, 1, alice.b, f[i] + FRAME_PACKET_HEAD, SIZE, (uint64_t)(at)*ms)
	/* Before it reads again nothing is told apart, and losses mean nothing. */
	for (uint64_t i = 10; i < 20; i++)
		TAKE(i, 20);
	assert_int_equal(w.kernel_packets + w.held.count + w.gap, 0);
	w.resumed_ns = 350 * ms;
	for (uint64_t i = 20; i < 70; i++)
		TAKE(i, 351);
	assert_int_equal(w.kernel_packets, 50);
	/* A stray loss looks like the border, until the real one comes. */
	for (uint64_t i = 72; i < 100; i++)
		TAKE(i, 352);
	assert_int_equal(w.gap, 2);
	assert_int_equal(w.held.count, 28);
	/* Late, but sent before reading began again: no gap either. */
	TAKE(71, 353);
	assert_int_equal(w.gap, 2);
	for (uint64_t i = 300; i < 400; i++)
		TAKE(i, MAX(i, (uint64_t)360));
	assert_int_equal(w.gap, 200);
	assert_int_equal(w.kernel_packets, 79);
	assert_int_equal(w.held.count, 60); /* 300 to 359 */
	assert_int_equal(w.held.max, 60 * ms);
	/* One that comes late takes a loss back, and is no gap. */
	TAKE(70, 401);
	assert_int_equal(w.gap, 200);
	assert_int_equal(w.held.count, 61);
#undef TAKE
	bench_traffic_fini(&w.traffic);
}

/* The server holds nothing that was sent before reading began again: the gap is one all the same;
 * what is lost later is not. */
static void test_slow_all_new(void **state)
{
	static struct bench_slow w;
	static uint8_t f[300][FRAME];

	memset(&w, 0, sizeof(w));
	bench_traffic_init(&w.traffic, 1, SIZE, 65536, 1);
	bench_stream_init(&w.traffic, 0, 0, &alice, 1, &bob);
	for (uint64_t i = 0; i < 300; i++)
		bench_stream_put(&w.traffic, &w.traffic.stream[0], i, f[i]);
	w.resumed_ns = 100;
	for (uint64_t i = 0; i < 300; i++)
		if (i < 10 || (i >= 110 && i < 130) || i >= 290)
			bench_slow_take(&w, 1, alice.b, f[i] + FRAME_PACKET_HEAD, SIZE,
			    i < 10 ? 101 : MAX(i, (uint64_t)120));
	assert_int_equal(w.kernel_packets, 10);
	assert_int_equal(w.gap, 100);
	assert_int_equal(w.held.count, 10); /* 110 to 119 */
	assert_int_equal(w.held.max, 10);
	bench_traffic_fini(&w.traffic);
}

/* Flows of the load `scale` are all different, and nobody sends to itself. */
static void test_scale_ends(void **state)
{
	static const struct {
		uint32_t clients, flows;
	} sizes[] = {{2, 2}, {10, 90}, {10, 37}, {300, 65536}, {8000, 10}};
	static bool seen[300 * 300];

	for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
		uint32_t n = sizes[k].clients, from, to;

		memset(seen, 0, sizeof(seen));
		for (uint32_t i = 0; i < sizes[k].flows; i++) {
			bench_scale_ends(n, i, &from, &to);
			assert_true(from < n && to < n && from != to);
			if (n <= 300) {
				assert_false(seen[from * n + to]);
				seen[from * n + to] = true;
			}
		}
	}
}

static enum bench_parse parse(struct bench_options *o, int argc, const char *const *argv)
{
	char *copy[16];

	for (int i = 0; i < argc; i++)
		copy[i] = (char *)(uintptr_t)argv[i];
	return bench_options_parse(argc, copy, o);
}
#define PARSE(o, ...) \
	parse(o, (int)ARRAY_LEN(((const char *[]){__VA_ARGS__})), (const char *[]){__VA_ARGS__})

static void test_options(void **state)
{
	struct bench_options o;

	assert_int_equal(PARSE(&o, "bench", "bulk"), BENCH_PARSE_OK);
	assert_int_equal(o.size, 1400);
	assert_int_equal(o.window, 28);
	assert_true(o.tls);
	assert_int_equal(PARSE(&o, "bench", "chatter", "-pid", "1,2", "--size=200", "-tls=false",
			     "-json", "-clients", "4", "-pid=3"),
	    BENCH_PARSE_OK);
	assert_int_equal(o.kind, BENCH_CHATTER);
	assert_int_equal(o.size, 200);
	assert_int_equal(o.clients, 4);
	assert_int_equal(o.partners, 3); /* no more than there are others */
	assert_int_equal(o.pids.n, 3);
	assert_int_equal(o.pids.pid[2], 3);
	assert_false(o.tls);
	assert_true(o.json);
	assert_string_equal(o.tls_engine, "auto");
	assert_int_equal(
	    PARSE(&o, "bench", "slow", "-stall", "0.5", "-pairs", "2"), BENCH_PARSE_OK);
	assert_true(o.stall_s == 0.5 && o.slow_rate == 5000 && o.size == 1400 && o.window == 28);
	assert_int_equal(
	    PARSE(&o, "bench", "scale", "-clients", "10", "-flows", "90"), BENCH_PARSE_OK);
	assert_int_equal(o.flows, 90);
	assert_int_equal(
	    PARSE(&o, "bench", "scale", "-clients", "10", "-flows", "91"), BENCH_PARSE_BAD);
	assert_int_equal(PARSE(&o, "bench", "pipe", "-listen", "127.0.0.1:1"), BENCH_PARSE_OK);
	assert_int_equal(PARSE(&o, "bench", "bulk", "-tls-engine", "sluice"), BENCH_PARSE_OK);
	assert_int_equal(PARSE(&o, "bench", "bulk", "-tls-engine", "gnutls"), BENCH_PARSE_BAD);
	assert_int_equal(PARSE(&o, "bench", "bulk", "-stall", "1"), BENCH_PARSE_BAD);
	assert_int_equal(PARSE(&o, "bench", "bulk", "-clients", "4"), BENCH_PARSE_BAD);
	assert_int_equal(PARSE(&o, "bench", "bulk", "-size", "31"), BENCH_PARSE_BAD);
	assert_int_equal(PARSE(&o, "bench", "bulk", "-size", "1e3x"), BENCH_PARSE_BAD);
	assert_int_equal(PARSE(&o, "bench", "bulk", "-pid", "1,,2"), BENCH_PARSE_BAD);
	assert_int_equal(PARSE(&o, "bench", "bulk", "-tls=perhaps"), BENCH_PARSE_BAD);
	assert_int_equal(PARSE(&o, "bench", "bulk", "-pairs"), BENCH_PARSE_BAD);
	assert_int_equal(PARSE(&o, "bench", "bulk", "more"), BENCH_PARSE_BAD);
	assert_int_equal(PARSE(&o, "bench", "fish"), BENCH_PARSE_BAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_in_order),
	    cmocka_unit_test(test_lost_reordered_duplicated),
	    cmocka_unit_test(test_given_up),
	    cmocka_unit_test(test_corrupt_and_misdelivered),
	    cmocka_unit_test(test_hist),
	    cmocka_unit_test(test_slow),
	    cmocka_unit_test(test_slow_all_new),
	    cmocka_unit_test(test_scale_ends),
	    cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
