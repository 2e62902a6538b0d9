/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a run found, as lines for people or as one JSON object for scripts (-json). Both are made
 * from the same object, so they can't differ: the lines print what is in it.
 */
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "tool/bench_run.h"
#include "tool/bench_slow.h"

#define NS_US 1e-3
#define NS_MS 1e-6
#define NS_S 1e-9

static double per(double a, uint64_t n)
{
	return n ? a / (double)n : 0;
}

static void set_int(json_t *o, const char *name, uint64_t v)
{
	json_object_set_new(o, name, json_integer((json_int_t)v));
}

static void set_real(json_t *o, const char *name, double v)
{
	json_object_set_new(o, name, json_real(v));
}

static double real_of(const json_t *o, const char *name)
{
	return json_number_value(json_object_get(o, name));
}

static json_t *latency_of(const struct bench_hist *h)
{
	json_t *o = json_object();

	set_int(o, "count", h->count);
	set_real(o, "mean", per((double)h->sum * NS_US, h->count));
	set_real(o, "p50", (double)bench_hist_quantile(h, 0.5) * NS_US);
	set_real(o, "p90", (double)bench_hist_quantile(h, 0.9) * NS_US);
	set_real(o, "p99", (double)bench_hist_quantile(h, 0.99) * NS_US);
	set_real(o, "p999", (double)bench_hist_quantile(h, 0.999) * NS_US);
	set_real(o, "max", (double)h->max * NS_US);
	return o;
}

/* CPU between two moments: of this process, and of the server when its pid is known. */
static void set_cpu(const struct bench *b, json_t *o, const struct bench_mark *from,
    const struct bench_mark *to, uint64_t units, const char *per_unit)
{
	double own = (double)(to->own_cpu_ns - from->own_cpu_ns);
	double server = (double)(to->server_cpu_ns - from->server_cpu_ns);
	double elapsed = (double)(to->ns - from->ns);
	char name[64];

	set_real(o, "own_cpu_s", own * NS_S);
	set_real(o, "own_cpu_percent", elapsed > 0 ? own / elapsed * 100 : 0);
	if (per_unit) {
		snprintf(name, sizeof(name), "own_cpu_us_per_%s", per_unit);
		set_real(o, name, per(own * NS_US, units));
	}
	if (b->opt.pids.n == 0)
		return;
	set_real(o, "server_cpu_s", server * NS_S);
	set_real(o, "server_cpu_percent", elapsed > 0 ? server / elapsed * 100 : 0);
	if (per_unit) {
		snprintf(name, sizeof(name), "server_cpu_us_per_%s", per_unit);
		set_real(o, name, per(server * NS_US, units));
	}
}

static void set_options(const struct bench_options *opt, json_t *o)
{
	json_object_set_new(o, "bench", json_string(bench_kind_name(opt->kind)));
	json_object_set_new(o, "server", json_string(opt->server));
	json_object_set_new(o, "tls", json_boolean(opt->tls));
	set_int(o, "seed", (uint64_t)opt->seed);
	switch (opt->kind) {
	case BENCH_SLOW:
	case BENCH_PIPE:
	case BENCH_BULK:
		set_int(o, "pairs", (uint64_t)opt->pairs);
		set_int(o, "window", (uint64_t)opt->window);
		json_object_set_new(o, "both", json_boolean(opt->both));
		set_real(o, "rate", opt->rate);
		break;
	case BENCH_CHATTER:
		set_int(o, "clients", (uint64_t)opt->clients);
		set_int(o, "partners", (uint64_t)opt->partners);
		set_real(o, "rate", opt->rate);
		break;
	case BENCH_IDLE:
		set_int(o, "clients", (uint64_t)opt->clients);
		set_int(o, "base", (uint64_t)opt->base);
		return;
	case BENCH_CHURN:
		set_int(o, "parallel", (uint64_t)opt->parallel);
		break;
	case BENCH_SCALE:
		set_int(o, "clients", (uint64_t)opt->clients);
		set_int(o, "flows", (uint64_t)opt->flows);
		set_int(o, "burst", (uint64_t)opt->burst);
		set_real(o, "rate", opt->rate);
		break;
	}
	set_int(o, "size", (uint64_t)opt->size);
}

/* Sends by a schedule, whatever has arrived. */
static bool paced(const struct bench *b)
{
	return b->opt.rate > 0;
}

/* How many flows have sent something: what the server must count as well. */
static uint64_t flows_used(const struct bench *b)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < b->traffic.n; i++)
		n += b->traffic.stream[i].sent > 0;
	return n;
}

static json_t *slow_phase_of(const struct bench_slow_phase *ph)
{
	double s = (double)(ph->end.ns - ph->begin.ns) * NS_S;
	json_t *o = json_object();

	set_real(o, "elapsed_s", s);
	set_real(
	    o, "packets_per_s", s > 0 ? (double)(ph->end.received - ph->begin.received) / s : 0);
	set_real(o, "p99_us", (double)ph->p99_ns * NS_US);
	return o;
}

/* The load `slow`: what became of the stalled stream, and of the others meanwhile. */
static void set_slow(const struct bench *b, json_t *o)
{
	const struct bench_slow *w = b->slow;
	json_t *before = slow_phase_of(&w->before), *stalled = slow_phase_of(&w->stalled);
	double rate = real_of(before, "packets_per_s"), p99 = real_of(before, "p99_us");

	set_real(o, "slow_rate", b->opt.slow_rate);
	set_real(o, "stall_s", b->opt.stall_s);
	set_int(o, "skipped", b->skipped);
	set_real(o, "others_rate_ratio", rate > 0 ? real_of(stalled, "packets_per_s") / rate : 0);
	set_real(o, "others_p99_ratio", p99 > 0 ? real_of(stalled, "p99_us") / p99 : 0);
	json_object_set_new(o, "before", before);
	json_object_set_new(o, "stalled", stalled);
	set_int(o, "slow_sent", w->traffic.count.sent);
	set_int(o, "slow_received", w->traffic.count.received);
	set_int(o, "slow_lost", w->traffic.count.lost);
	set_int(o, "slow_faults",
	    w->traffic.count.reordered + w->traffic.count.duplicated + w->traffic.count.corrupt +
		w->traffic.count.misdelivered);
	set_int(o, "kernel_packets", w->kernel_packets);
	set_int(o, "kernel_bytes", w->kernel_packets * w->traffic.size);
	set_int(o, "gap_packets", w->gap);
	set_int(o, "held_packets", w->held.count);
	set_real(o, "held_age_p50_ms", (double)bench_hist_quantile(&w->held, 0.5) * NS_MS);
	set_real(o, "held_age_max_ms", (double)w->held.max * NS_MS);
}

/* Loads that send packets: throughput, what went wrong, latency. */
static void set_traffic(const struct bench *b, json_t *o)
{
	uint64_t delivered = b->end.received - b->begin.received;
	double elapsed = real_of(o, "elapsed_s");

	set_int(o, "delivered", delivered);
	set_real(o, "packets_per_s", elapsed > 0 ? (double)delivered / elapsed : 0);
	set_real(o, "mbit_per_s",
	    elapsed > 0 ? (double)delivered * b->traffic.size * 8e-6 / elapsed : 0);
#define X(name, help) set_int(o, #name, b->traffic.count.name);
	BENCH_COUNTERS(X)
#undef X
	set_int(o, "outstanding", b->traffic.outstanding);
	set_int(o, "disconnects", b->disconnects);
	set_real(
	    o, "packets_per_receive", per((double)delivered, b->end.receives - b->begin.receives));
	set_real(o, "packets_per_send",
	    per((double)(b->end.sent - b->begin.sent), b->end.sends - b->begin.sends));
	json_object_set_new(o, "latency_us", latency_of(&b->traffic.latency));
	if (paced(b)) {
		set_real(o, "late_us", (double)b->late_ns * NS_US);
		set_int(o, "skipped", b->skipped);
	}
	if (b->opt.kind == BENCH_SCALE)
		set_int(o, "flows_used", flows_used(b));
	if (b->slow)
		set_slow(b, o);
	if (b->opt.kind == BENCH_CHURN) {
		uint64_t done = b->end.done - b->begin.done;

		set_int(o, "connects", done);
		set_int(o, "failures", b->failures);
		set_real(o, "connects_per_s", elapsed > 0 ? (double)done / elapsed : 0);
		set_cpu(b, o, &b->begin, &b->end, done, "connect");
	} else {
		set_cpu(b, o, &b->begin, &b->end, delivered, "packet");
	}
}

static json_t *memory_of(const struct bench *b, const struct bench_memory *now)
{
	const struct bench_memory *then = &b->memory_before;
	double n = b->opt.clients;
	json_t *o = json_object();

	set_int(o, "rss_kib", now->rss_kib);
	set_int(o, "pss_kib", now->pss_kib);
	set_int(o, "anon_kib", now->anon_kib);
	if (now == then)
		return o;
	set_real(o, "rss_kib_per_client", ((double)now->rss_kib - (double)then->rss_kib) / n);
	set_real(o, "pss_kib_per_client", ((double)now->pss_kib - (double)then->pss_kib) / n);
	set_real(o, "anon_kib_per_client", ((double)now->anon_kib - (double)then->anon_kib) / n);
	return o;
}

static void set_idle(const struct bench *b, json_t *o)
{
	double took = (double)(b->connect_end.ns - b->connect_begin.ns) * NS_S;
	json_t *c = json_object();

	set_real(c, "elapsed_s", took);
	set_real(c, "connects_per_s", took > 0 ? b->opt.clients / took : 0);
	set_cpu(b, c, &b->connect_begin, &b->connect_end, (uint64_t)b->opt.clients, "connect");
	json_object_set_new(o, "connect", c);
	set_int(o, "disconnects", b->disconnects);
	set_cpu(b, o, &b->begin, &b->end, 0, NULL);
	if (b->opt.pids.n == 0)
		return;
	json_object_set_new(o, "memory_before", memory_of(b, &b->memory_before));
	json_object_set_new(o, "memory_connected", memory_of(b, &b->memory_connected));
	if (b->memory_after.rss_kib)
		json_object_set_new(o, "memory", memory_of(b, &b->memory_after));
}

static json_t *report_of(const struct bench *b)
{
	json_t *o = json_object();

	set_options(&b->opt, o);
	set_real(o, "elapsed_s", (double)(b->end.ns - b->begin.ns) * NS_S);
	json_object_set_new(o, "interrupted", json_boolean(bench_interrupted()));
	json_object_set_new(o, "failed", json_boolean(b->failed));
	if (b->opt.kind == BENCH_IDLE)
		set_idle(b, o);
	else
		set_traffic(b, o);
	return o;
}

static void print_cpu(const json_t *o, const char *unit)
{
	char name[64];

	printf("own CPU    %6.1f %%", real_of(o, "own_cpu_percent"));
	if (unit) {
		snprintf(name, sizeof(name), "own_cpu_us_per_%s", unit);
		printf("  %8.3f µs a %s", real_of(o, name), unit);
	}
	putchar('\n');
	if (!json_object_get(o, "server_cpu_s"))
		return;
	printf("server CPU %6.1f %%", real_of(o, "server_cpu_percent"));
	if (unit) {
		snprintf(name, sizeof(name), "server_cpu_us_per_%s", unit);
		printf("  %8.3f µs a %s", real_of(o, name), unit);
	}
	putchar('\n');
}

static void print_slow(const json_t *o)
{
	const json_t *before = json_object_get(o, "before"),
		     *stalled = json_object_get(o, "stalled");

	printf("others     %.0f packets/s before, %.0f stalled: %.2f; p99 %.0f µs, %.0f: %.2f\n",
	    real_of(before, "packets_per_s"), real_of(stalled, "packets_per_s"),
	    real_of(o, "others_rate_ratio"), real_of(before, "p99_us"), real_of(stalled, "p99_us"),
	    real_of(o, "others_p99_ratio"));
	printf("stalled    %.0f sent, %.0f came, %.0f lost; %.0f packets not sent (socket full)\n",
	    real_of(o, "slow_sent"), real_of(o, "slow_received"), real_of(o, "slow_lost"),
	    real_of(o, "skipped"));
	printf("resumed    %.0f packets (%.0f bytes) out of the kernels' buffers",
	    real_of(o, "kernel_packets"), real_of(o, "kernel_bytes"));
	if (real_of(o, "gap_packets") > 0)
		printf("; behind the gap %.0f, p50 %.1f ms old, the oldest %.1f",
		    real_of(o, "held_packets"), real_of(o, "held_age_p50_ms"),
		    real_of(o, "held_age_max_ms"));
	else
		printf("; nothing was lost");
	putchar('\n');
}

static void print_traffic(const struct bench *b, const json_t *o)
{
	const json_t *l = json_object_get(o, "latency_us");

	printf("delivered  %.0f packets of %d bytes in %.2f s: %.0f packets/s, %.1f Mbit/s\n",
	    real_of(o, "delivered"), b->opt.size, real_of(o, "elapsed_s"),
	    real_of(o, "packets_per_s"), real_of(o, "mbit_per_s"));
	if (b->opt.kind == BENCH_CHURN)
		printf("connects   %.0f, %.1f a second; %.0f failed\n", real_of(o, "connects"),
		    real_of(o, "connects_per_s"), real_of(o, "failures"));
	printf("whole run ");
#define X(name, help) printf(" " #name " %llu", (unsigned long long)b->traffic.count.name);
	BENCH_COUNTERS(X)
#undef X
	if (b->traffic.outstanding)
		printf(" (%llu still under way)", (unsigned long long)b->traffic.outstanding);
	putchar('\n');
	printf("latency    p50 %.0f µs, p90 %.0f, p99 %.0f, p99.9 %.0f, max %.0f\n",
	    real_of(l, "p50"), real_of(l, "p90"), real_of(l, "p99"), real_of(l, "p999"),
	    real_of(l, "max"));
	if (paced(b))
		printf("schedule   at worst %.0f µs late, %llu packets skipped (socket full)\n",
		    real_of(o, "late_us"), (unsigned long long)b->skipped);
	if (b->opt.kind == BENCH_SCALE)
		printf("flows      %.0f\n", real_of(o, "flows_used"));
	if (b->slow)
		print_slow(o);
	printf("batches    %.1f packets a receive, %.1f a send\n",
	    real_of(o, "packets_per_receive"), real_of(o, "packets_per_send"));
	print_cpu(o, b->opt.kind == BENCH_CHURN ? "connect" : "packet");
}

static void print_memory(const json_t *o, const char *name, const char *title)
{
	const json_t *m = json_object_get(o, name);

	if (!m)
		return;
	printf("%-10s RSS %.0f KiB, PSS %.0f, anonymous %.0f", title, real_of(m, "rss_kib"),
	    real_of(m, "pss_kib"), real_of(m, "anon_kib"));
	if (json_object_get(m, "rss_kib_per_client"))
		printf("; a client %.2f, %.2f, %.2f", real_of(m, "rss_kib_per_client"),
		    real_of(m, "pss_kib_per_client"), real_of(m, "anon_kib_per_client"));
	putchar('\n');
}

static void print_idle(const json_t *o)
{
	const json_t *c = json_object_get(o, "connect");

	printf("connecting %.0f a second\n", real_of(c, "connects_per_s"));
	print_cpu(c, "connect");
	print_memory(o, "memory_before", "before");
	print_memory(o, "memory_connected", "connected");
	print_memory(o, "memory", "after");
	printf("idle for   %.2f s, %.0f clients lost\n", real_of(o, "elapsed_s"),
	    real_of(o, "disconnects"));
	print_cpu(o, NULL);
}

void bench_report(const struct bench *b)
{
	json_t *o = report_of(b);

	if (b->opt.json) {
		json_dumpf(o, stdout, JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
		putchar('\n');
	} else if (b->opt.kind == BENCH_IDLE) {
		print_idle(o);
	} else {
		print_traffic(b, o);
	}
	json_decref(o);
	fflush(stdout);
}

void bench_report_progress(struct bench *b)
{
	const struct bench_counters *n = &b->traffic.count;
	uint64_t now = b->net.now_ns, got = n->received - b->told_received;
	double s = (double)(now - b->told_ns) * NS_S;

	b->told_ns = now;
	b->told_received = n->received;
	if (!b->opt.progress && !isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "%s: %d clients", b->phase, b->net.n_ready);
	if (b->opt.kind != BENCH_IDLE)
		fprintf(stderr, ", %.0f packets/s, lost %llu, reordered %llu, corrupt %llu",
		    (double)got / s, (unsigned long long)n->lost, (unsigned long long)n->reordered,
		    (unsigned long long)n->corrupt);
	if (b->opt.kind == BENCH_CHURN)
		fprintf(stderr, ", %llu connects, %llu failed", (unsigned long long)b->done,
		    (unsigned long long)b->failures);
	fputc('\n', stderr);
}
