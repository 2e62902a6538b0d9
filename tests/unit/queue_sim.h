/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * queue_sim.h: senders, a queue and a slow link in a world of their own: time in µs that passes by
 * events, the same on each run.
 *
 * A sender's packet is pushed at once. The link's socket takes packets from the queue as long as it
 * holds less than `socket` bytes, and sends them at the link's rate; one round trip after a packet
 * was delivered or dropped, its sender knows. Senders are as simple as can be told from TCP: slow
 * start, then CUBIC (RFC 9438); one reduction a round trip; whatever was lost is found out.
 */
#ifndef SLUICE_TEST_QUEUE_SIM_H
#define SLUICE_TEST_QUEUE_SIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "relay/queue.h"
#include "wire/frame.h"

#define SIM_FLOWS 104
#define SIM_WINDOW 8192u /* most packets under way */
#define SIM_SOCKET 1024u /* most packets in the socket */
#define SIM_LEN 1432     /* of a common frame */
#define SIM_BUCKET_US 250u
#define SIM_BUCKETS 1200u
#define SIM_NEVER UINT64_MAX

/* What a sender will learn. */
struct sim_echo {
	uint64_t at_us;
	uint32_t seq;
	bool lost;
};

struct sim_flow {
	uint32_t len, rtt_us;
	uint64_t next_us; /* of a sender that does not react: its next packet; or when TCP begins */
	uint32_t every_us; /* 0: TCP */
	/* TCP's, in packets and seconds */
	double cwnd, ssthresh, w_max, w_est, k;
	uint64_t epoch_us;
	uint32_t recover; /* losses before this one have been reacted to */
	uint32_t seq, under_way;
	struct sim_echo *echo;
	uint32_t echo_head, echo_tail;
	/* what became of its packets */
	uint32_t due; /* what is taken next is this one or a later one */
	uint32_t popped, dropped;
	uint64_t bytes; /* taken since measuring began */
	uint32_t waits[SIM_BUCKETS + 1], waits_n;
	uint32_t wait_max_us;
};

struct sim {
	struct queue_limits limits;
	struct queue_set set;
	struct pool pool;
	struct queue *q;
	uint64_t bytes;
	uint32_t target_ms, interval_ms;
	uint64_t rate;                     /* bytes a second */
	uint32_t socket;                   /* bytes */
	uint32_t stall_us, stall_every_us; /* the link stands so long, each so long */
	uint64_t now_us, measure_us;
	uint64_t draws;
	uint32_t base_ms; /* the queue's clock when time began */
	uint32_t n;
	struct sim_flow flow[SIM_FLOWS];
	/* the socket: flow of each packet, and its sequence */
	struct {
		uint32_t flow, seq, len;
	} held[SIM_SOCKET];
	uint32_t held_head, held_n, held_bytes;
	uint64_t sent_us; /* when its first packet will be sent */
};

static inline uint64_t sim_draw(struct sim *s)
{
	uint64_t z = s->draws += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline void sim_echo(struct sim *s, struct sim_flow *f, uint32_t seq, bool lost)
{
	assert_true(f->echo_tail - f->echo_head < SIM_WINDOW);
	f->echo[f->echo_tail++ % SIM_WINDOW] =
	    (struct sim_echo){.at_us = s->now_us + f->rtt_us, .seq = seq, .lost = lost};
}

static inline void sim_dropped(
    void *owner, const struct queue_packet *p, enum drop_reason why, bool disco)
{
	struct sim *s = owner;
	struct sim_flow *f = &s->flow[p->flow.slot];

	assert_int_equal(why, DROP_QUEUE_HEAD);
	assert_true(p->flow.gen >= f->due);
	f->due = p->flow.gen + 1;
	f->dropped++;
	sim_echo(s, f, p->flow.gen, true);
}

static inline struct sim *sim_new(uint64_t bits, uint32_t target_ms, uint32_t interval_ms)
{
	struct sim *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->limits =
	    (struct queue_limits){.memory = 2u << 20, .disco = 32, .age_ms = 250, .fair = true};
	s->set = (struct queue_set){.pool = &s->pool, .bytes = &s->bytes, .dropped = sim_dropped};
	pool_init(&s->pool, 64u << 20);
	s->rate = bits / 8;
	s->socket = 16u << 10;
	s->target_ms = target_ms;
	s->interval_ms = interval_ms;
	s->base_ms = 0u - 2500; /* wraps soon */
	return s;
}

/* A sender: TCP when every_us is 0. */
static inline struct sim_flow *sim_add(
    struct sim *s, uint32_t len, uint32_t rtt_us, uint32_t every_us, uint64_t begin_us)
{
	struct sim_flow *f = &s->flow[s->n++];

	assert_true(s->n <= SIM_FLOWS);
	*f = (struct sim_flow){
	    .len = len, .rtt_us = rtt_us, .every_us = every_us, .next_us = begin_us};
	f->cwnd = 10;
	f->ssthresh = 1e9;
	f->echo = malloc(SIM_WINDOW * sizeof(*f->echo));
	assert_non_null(f->echo);
	return f;
}

static inline uint32_t sim_ms(const struct sim *s)
{
	return s->base_ms + (uint32_t)(s->now_us / 1000);
}

static inline void sim_send(struct sim *s, struct sim_flow *f)
{
	static uint8_t frame[FRAME_MAX];
	struct queue_packet what = {
	    .len = f->len,
	    .at_ms = sim_ms(s),
	    .flow = {.slot = (uint32_t)(f - s->flow), .gen = f->seq++},
	    .flow_worker = (uint32_t)s->now_us,
	};

	/* As for a connection, a queue exists while packets wait. */
	if (!s->q) {
		s->q = queue_new(&s->set, s, &s->limits);
		assert_non_null(s->q);
		s->q->target_ms = s->target_ms;
		s->q->interval_ms = s->interval_ms;
	}
	memcpy(frame + FRAME_HEADER_LEN, &what.flow.slot, sizeof(what.flow.slot));
	f->under_way++;
	queue_push(s->q, &what, frame, false);
}

/* When that much work is done that begins then. */
static inline uint64_t sim_done(const struct sim *s, uint64_t begin, uint64_t us)
{
	while (s->stall_us) {
		uint64_t phase = begin % s->stall_every_us, left = s->stall_every_us - phase;

		if (phase < s->stall_us) {
			begin += s->stall_us - phase;
		} else if (us <= left) {
			break;
		} else {
			us -= left;
			begin += left;
		}
	}
	return begin + us;
}

static inline void sim_link(struct sim *s)
{
	if (s->held_n == 0)
		s->sent_us = SIM_NEVER;
	else
		s->sent_us = sim_done(
		    s, s->now_us, s->held[s->held_head % SIM_SOCKET].len * 1000000ull / s->rate);
}

static inline void sim_waited(struct sim *s, struct sim_flow *f, const struct queue_packet *p)
{
	uint32_t us = (uint32_t)s->now_us - p->flow_worker;

	/* Neither does anything overtake nor come twice, nor is it too old. */
	assert_true(p->flow.gen >= f->due && p->flow.gen < f->seq);
	assert_true(us <= s->limits.age_ms * 1000 + 999);
	f->due = p->flow.gen + 1;
	f->popped++;
	if (s->now_us < s->measure_us)
		return;
	f->bytes += p->len;
	f->waits[MIN(us / SIM_BUCKET_US, SIM_BUCKETS)]++;
	f->waits_n++;
	f->wait_max_us = MAX(f->wait_max_us, us);
}

/* The socket takes what it has room for. */
static inline void sim_take(struct sim *s)
{
	while (s->q) {
		struct pool_buf *spent = NULL;
		struct queue_packet *p;
		bool disco;

		if (s->held_bytes >= s->socket)
			return;
		p = queue_peek(s->q, sim_ms(s), &disco);
		if (!p) {
			/* The link is never idle while something waits. */
			assert_true(queue_empty(s->q));
			queue_free(s->q, DROP_GONE_DISCONNECTED);
			s->q = NULL;
			return;
		}
		assert_false(disco);
		if (s->held_n && s->held_bytes + p->len > s->socket)
			return;
		sim_waited(s, &s->flow[p->flow.slot], p);
		assert_true(s->held_n < SIM_SOCKET);
		s->held[(s->held_head + s->held_n) % SIM_SOCKET].flow = p->flow.slot;
		s->held[(s->held_head + s->held_n) % SIM_SOCKET].seq = p->flow.gen;
		s->held[(s->held_head + s->held_n) % SIM_SOCKET].len = p->len;
		s->held_bytes += p->len;
		if (s->held_n++ == 0)
			sim_link(s);
		queue_pop(s->q, &spent);
		assert_null(spent->next);
		pool_put(&s->pool, spent);
	}
}

static inline void sim_sent(struct sim *s)
{
	uint32_t at = s->held_head++ % SIM_SOCKET;

	sim_echo(s, &s->flow[s->held[at].flow], s->held[at].seq, false);
	s->held_bytes -= s->held[at].len;
	s->held_n--;
	sim_link(s);
}

static inline void sim_acked(const struct sim *s, struct sim_flow *f)
{
	double t = (double)(s->now_us - f->epoch_us + f->rtt_us) / 1e6 - f->k, cubic;

	if (f->cwnd < f->ssthresh) {
		f->cwnd += 1;
	} else {
		cubic = MIN(f->w_max + 0.4 * t * t * t, f->cwnd * 1.5);
		f->w_est += 0.53 / f->cwnd;
		if (cubic > f->cwnd)
			f->cwnd += (cubic - f->cwnd) / f->cwnd;
		f->cwnd = MAX(f->cwnd, f->w_est);
	}
	f->cwnd = MIN(f->cwnd, SIM_WINDOW / 2);
}

static inline void sim_lost(const struct sim *s, struct sim_flow *f, uint32_t seq)
{
	double cube;

	if (seq < f->recover)
		return;
	f->recover = f->seq;
	f->epoch_us = s->now_us;
	f->w_max = f->cwnd;
	f->cwnd = f->ssthresh = f->w_est = MAX(f->cwnd * 0.7, 2);
	/* The cube root, by Newton. */
	cube = f->w_max * 0.3 / 0.4;
	f->k = 1;
	for (int i = 0; i < 30; i++)
		f->k = (2 * f->k + cube / (f->k * f->k)) / 3;
}

static inline uint64_t sim_flow_next(const struct sim_flow *f)
{
	uint64_t echo = SIM_NEVER;

	if (f->echo_head != f->echo_tail)
		echo = f->echo[f->echo_head % SIM_WINDOW].at_us;
	return MIN(echo, f->next_us);
}

static inline void sim_flow_turn(struct sim *s, struct sim_flow *f)
{
	while (
	    f->echo_head != f->echo_tail && f->echo[f->echo_head % SIM_WINDOW].at_us == s->now_us) {
		struct sim_echo *e = &f->echo[f->echo_head++ % SIM_WINDOW];

		f->under_way--;
		if (e->lost)
			sim_lost(s, f, e->seq);
		else
			sim_acked(s, f);
	}
	if (f->next_us == s->now_us) {
		if (f->every_us) {
			sim_send(s, f);
			/* Never quite in step with others. */
			f->next_us +=
			    f->every_us - f->every_us / 8 + sim_draw(s) % (f->every_us / 4 + 1);
		} else {
			f->next_us = SIM_NEVER;
		}
	}
	while (!f->every_us && f->next_us == SIM_NEVER && f->under_way + 1 <= f->cwnd)
		sim_send(s, f);
}

/* Each packet was taken or dropped, or it waits. */
static inline void sim_check(const struct sim *s)
{
	uint64_t sent = 0, gone = 0, bytes = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		const struct sim_flow *f = &s->flow[i];

		sent += f->seq;
		gone += f->popped + f->dropped;
		bytes += (uint64_t)(f->seq - f->popped - f->dropped) * f->len;
	}
	assert_int_equal(sent - gone, s->q ? s->q->packets : 0);
	assert_int_equal(bytes, s->bytes);
	assert_int_equal(s->pool.used, s->q ? s->q->memory : 0);
}

static inline void sim_run(struct sim *s, uint64_t until_us)
{
	for (uint32_t events = 0;; events++) {
		uint64_t next = s->held_n ? s->sent_us : SIM_NEVER, at;
		struct sim_flow *f = NULL;

		for (uint32_t i = 0; i < s->n; i++) {
			at = sim_flow_next(&s->flow[i]);
			if (at < next) {
				next = at;
				f = &s->flow[i];
			}
		}
		if (next > until_us)
			break;
		s->now_us = next;
		if (f)
			sim_flow_turn(s, f);
		else
			sim_sent(s);
		sim_take(s);
		assert_true(s->held_n || !s->q);
		if (events % 64 == 0)
			sim_check(s);
	}
	s->now_us = until_us;
	sim_check(s);
}

/* Forgets what was measured. */
static inline void sim_measure(struct sim *s)
{
	s->measure_us = s->now_us;
	for (uint32_t i = 0; i < s->n; i++) {
		struct sim_flow *f = &s->flow[i];

		f->bytes = f->wait_max_us = f->waits_n = 0;
		memset(f->waits, 0, sizeof(f->waits));
	}
}

/* How long half of its packets waited at most, in µs. */
static inline uint32_t sim_median(const struct sim_flow *f)
{
	uint32_t i = 0;

	for (uint32_t sum = f->waits[0]; 2 * sum < f->waits_n; sum += f->waits[i])
		i++;
	return i * SIM_BUCKET_US;
}

/* Part of what the link could have carried since measuring began. */
static inline double sim_use(const struct sim *s)
{
	double bytes = 0, us = (double)(s->now_us - s->measure_us);

	for (uint32_t i = 0; i < s->n; i++)
		bytes += (double)s->flow[i].bytes;
	if (s->stall_us)
		us -= us / s->stall_every_us * s->stall_us;
	return bytes / ((double)s->rate * us / 1e6);
}

/* Jain's index of the first n: 1 when all got the same. */
static inline double sim_jain(const struct sim *s, uint32_t n)
{
	double sum = 0, squares = 0;

	for (uint32_t i = 0; i < n; i++) {
		sum += (double)s->flow[i].bytes;
		squares += (double)s->flow[i].bytes * (double)s->flow[i].bytes;
	}
	return sum * sum / (n * squares);
}

static inline void sim_forgotten(
    void *owner, const struct queue_packet *p, enum drop_reason why, bool disco)
{
	assert_int_equal(why, DROP_GONE_DISCONNECTED);
}

static inline void sim_free(struct sim *s)
{
	s->set.dropped = sim_forgotten;
	if (s->q)
		queue_free(s->q, DROP_GONE_DISCONNECTED);
	assert_int_equal(s->bytes, 0);
	pool_fini(&s->pool);
	for (uint32_t i = 0; i < s->n; i++)
		free(s->flow[i].echo);
	free(s);
}

#endif
