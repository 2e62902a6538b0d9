/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/bench.h"

#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "tool/bench_run.h"
#include "tool/bench_slow.h"

/* A window in which nothing moved for so long is given up. */
#define STUCK_NS 1000000000u
#define CHECK_NS 100000000u
#define SECOND_NS 1000000000u
/* What a run may take on top of its phases: connecting, draining, reading /proc. */
#define SLACK_S 15.0
#define CONNECT_S 0.02 /* a client, at most, on average */
/* Descriptors that are not clients. */
#define OTHER_FDS 32u

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

bool bench_interrupted(void)
{
	return interrupted;
}

void bench_fail(struct bench *b, const char *fmt, ...)
{
	va_list ap;

	if (b->failed)
		return;
	b->failed = true;
	fputs("sluice bench: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

bool bench_over(const struct bench *b)
{
	return b->failed || interrupted;
}

void bench_mark_now(struct bench *b, struct bench_mark *m)
{
	m->ns = clock_ns();
	m->own_cpu_ns = bench_proc_own_cpu();
	if (!bench_proc_cpu(&b->opt.pids, &m->server_cpu_ns))
		bench_fail(b, "-pid: cannot read the server's CPU time: %s", strerror(errno));
	m->sent = b->traffic.count.sent;
	m->received = b->traffic.count.received;
	m->done = b->done;
	m->receives = b->net.receives;
	m->sends = b->net.sends;
}

void bench_eager(struct bench *b, struct bench_client *c)
{
	if (c->listed || c->state != BENCH_CLIENT_READY)
		return;
	c->listed = true;
	c->next = b->eager;
	b->eager = c;
}

struct bench_client *bench_eager_next(struct bench *b)
{
	struct bench_client *c = b->eager;

	if (c) {
		b->eager = c->next;
		c->next = NULL;
		c->listed = false;
	}
	return c;
}

void bench_put_due(struct bench *b, struct bench_traffic *t, struct bench_stream *s)
{
	struct bench_client *c = &b->client[s->from];
	uint8_t *p = NULL;

	if (c->state == BENCH_CLIENT_READY)
		p = bench_client_reserve(c, bench_frame_len(t));
	if (!p) {
		b->skipped++;
		return;
	}
	bench_stream_put(t, s, b->net.now_ns, p);
	bench_client_commit(c, bench_frame_len(t));
}

static void on_ready(void *arg, struct bench_client *c)
{
	bench_eager(arg, c);
}

static void on_packet(
    void *arg, struct bench_client *c, const uint8_t *src, const uint8_t *p, size_t len)
{
	struct bench *b = arg;
	struct bench_stream *s;
	uint64_t took;

	if (b->load->packet && b->load->packet(b, c, src, p, len))
		return;
	s = bench_traffic_take(&b->traffic, c->index, src, p, len, b->net.now_ns, &took);
	if (!s)
		return;
	if (b->measuring && b->opt.kind != BENCH_CHURN)
		bench_hist_add(&b->traffic.latency, took);
	if (b->load->arrived)
		b->load->arrived(b, s);
}

static void on_closed(void *arg, struct bench_client *c, const char *why)
{
	struct bench *b = arg;

	if (b->load->gone && b->load->gone(b, c, why))
		return;
	b->disconnects++;
	bench_fail(b, "client %u of %u: %s", c->index, b->n_clients, why);
}

static const struct bench_events events = {
    .ready = on_ready, .packet = on_packet, .writable = on_ready, .closed = on_closed};

/* Windows in which nothing moves are given up, so that a loss does not stall the load. */
static void check_windows(struct bench *b)
{
	struct bench_traffic *t = &b->traffic;
	uint64_t now = b->net.now_ns;

	if (now - b->checked_ns < CHECK_NS)
		return;
	b->checked_ns = now;
	for (uint32_t i = 0; i < t->n && t->outstanding > 0; i++) {
		struct bench_stream *s = &t->stream[i];

		if (s->outstanding == 0 || now < s->moved_ns + STUCK_NS)
			continue;
		t->count.timeouts++;
		bench_stream_give_up(t, s);
		bench_eager(b, &b->client[s->from]);
	}
}

void bench_turn(struct bench *b, uint64_t until_ns)
{
	bench_net_turn(&b->net, MIN(until_ns, b->net.now_ns + CHECK_NS));
	check_windows(b);
	if (b->net.now_ns - b->told_ns >= SECOND_NS)
		bench_report_progress(b);
	if (b->net.now_ns > b->hard_stop_ns)
		bench_fail(b, "took far too long (%s): stopped", b->phase);
}

void bench_until(struct bench *b, uint64_t until_ns, bool pump)
{
	while (!bench_over(b) && b->net.now_ns < until_ns)
		bench_turn(b, pump ? MIN(until_ns, b->load->pump(b)) : until_ns);
}

bool bench_open(struct bench *b, struct bench_client *c)
{
	if (bench_client_open(c))
		return true;
	bench_fail(
	    b, "cannot connect to %s: %s", c->other ? b->opt.to : b->opt.server, strerror(errno));
	return false;
}

bool bench_connect(struct bench *b, uint32_t from, uint32_t to)
{
	uint32_t next = from;
	int want = b->net.n_ready + (int)(to - from);

	b->phase = "connecting";
	b->net.now_ns = clock_ns();
	while (!bench_over(b) && b->net.n_ready < want) {
		while (next < to && b->net.n_connecting < b->opt.connecting) {
			if (!bench_open(b, &b->client[next++]))
				return false;
		}
		bench_turn(b, BENCH_NEVER);
	}
	return !bench_over(b);
}

void bench_warm_up(struct bench *b)
{
	b->start_ns = b->net.now_ns = clock_ns();
	b->phase = "warm-up";
	bench_until(b, b->start_ns + (uint64_t)(b->opt.warmup_s * 1e9), true);
	b->late_ns = 0;
}

void bench_drain(struct bench *b)
{
	/* check_windows gives up what doesn't come, so this ends; the bound is for its errors. */
	uint64_t drained = b->net.now_ns + 5ull * SECOND_NS;

	b->phase = "draining";
	while (!bench_over(b) && b->traffic.outstanding > 0 && b->net.now_ns < drained)
		bench_until(b, b->net.now_ns + 1000000, false);
}

bool bench_measure(struct bench *b)
{
	bench_warm_up(b);
	bench_hist_reset(&b->traffic.latency);
	b->measuring = true;
	b->phase = "measuring";
	bench_mark_now(b, &b->begin);
	bench_until(b, b->begin.ns + (uint64_t)(b->opt.seconds * 1e9), true);
	bench_mark_now(b, &b->end);
	b->measuring = false;
	bench_drain(b);
	return !b->failed;
}

void bench_make(struct bench *b, uint32_t clients, uint32_t streams, uint32_t remember)
{
	b->n_clients = clients;
	b->client = must_calloc(clients, sizeof(*b->client));
	for (uint32_t i = 0; i < clients; i++)
		bench_client_init(&b->client[i], &b->net, i);
	bench_traffic_init(&b->traffic, streams, (uint32_t)MAX(b->opt.size, BENCH_HEAD_LEN),
	    remember, (uint64_t)b->opt.seed);
}

/* How many clients the options ask for. */
static uint32_t clients_of(const struct bench_options *o)
{
	switch (o->kind) {
	case BENCH_BULK:
		return bench_bulk_clients(o);
	case BENCH_CHATTER:
	case BENCH_SCALE:
		return (uint32_t)o->clients;
	case BENCH_IDLE:
		return (uint32_t)(o->clients + o->base);
	case BENCH_CHURN:
		return (uint32_t)o->parallel + 1;
	case BENCH_SLOW:
		return 2 * (uint32_t)o->pairs + 2;
	case BENCH_PIPE:
		return 2 * (uint32_t)o->pairs;
	}
	return 0;
}

/* Raises the limit on descriptors as far as it goes; false when that is too few. */
static bool raise_limit(uint32_t clients)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) != 0)
		return true;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_cur >= clients + OTHER_FDS)
		return true;
	fprintf(stderr,
	    "sluice bench: %u clients need %u descriptors and only %llu are allowed (ulimit -Hn)\n",
	    clients, clients + OTHER_FDS, (unsigned long long)r.rlim_cur);
	return false;
}

static const struct bench_load *load_of(enum bench_kind kind)
{
	switch (kind) {
	case BENCH_BULK:
		return &bench_bulk;
	case BENCH_CHATTER:
		return &bench_chatter;
	case BENCH_IDLE:
		return &bench_idle;
	case BENCH_CHURN:
		return &bench_churn;
	case BENCH_SLOW:
		return &bench_slow;
	case BENCH_SCALE:
		return &bench_scale;
	case BENCH_PIPE:
		return &bench_pipe;
	}
	return NULL;
}

static void bench_free(struct bench *b)
{
	for (uint32_t i = 0; i < b->n_clients; i++)
		bench_client_fini(&b->client[i]);
	free(b->client);
	free(b->pair);
	free(b->sends_in);
	free(b->phase_ns);
	free(b->order);
	free(b->spare);
	bench_slow_fini(b->slow);
	bench_traffic_fini(&b->traffic);
	bench_net_fini(&b->net);
	free(b);
}

static void catch_signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int bench_main(int argc, char **argv)
{
	struct bench *b = must_calloc(1, sizeof(*b));
	enum bench_parse parsed = bench_options_parse(argc, argv, &b->opt);
	uint32_t clients;
	uint64_t cpu_ns;
	bool done;

	if (parsed != BENCH_PARSE_OK) {
		free(b);
		return parsed == BENCH_PARSE_HELP ? 0 : 2;
	}
	CHECK(sodium_init() >= 0);
	clients = clients_of(&b->opt);
	b->load = load_of(b->opt.kind);
	b->random = (uint64_t)b->opt.seed;
	b->phase = "starting";
	if (!bench_proc_cpu(&b->opt.pids, &cpu_ns)) {
		fputs("sluice bench: -pid: there is no such process\n", stderr);
		free(b);
		return 1;
	}
	if (!raise_limit(clients) || !bench_net_init(&b->net, &b->opt, &events, b)) {
		bench_free(b);
		return 1;
	}
	catch_signals();
	b->told_ns = b->net.now_ns;
	b->hard_stop_ns = b->net.now_ns +
			  (uint64_t)((b->opt.seconds + b->opt.warmup_s + b->opt.stall_s + SLACK_S +
					 b->opt.handshake_timeout_s + clients * CONNECT_S) *
				     1e9);
	done = b->load->run(b);
	/* After a failure or a signal too: what there is may tell why. */
	if (b->begin.ns || b->connect_end.ns || done)
		bench_report(b);
	bench_free(b);
	if (interrupted)
		return 130;
	return done ? 0 : 1;
}
