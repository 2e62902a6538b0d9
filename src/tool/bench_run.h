/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_run.h: one run of a load: its clients, its streams, its phases, its result.
 *
 * connect → warm-up → measure → drain → report. A load is a pair of functions: one that connects
 * and runs the phases, one (`pump`) that sends what may be sent now. Everything is bounded in time:
 * each phase has its end, and the whole run a hard stop.
 */
#ifndef SLUICE_TOOL_BENCH_RUN_H
#define SLUICE_TOOL_BENCH_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "tool/bench_client.h"
#include "tool/bench_net.h"
#include "tool/bench_options.h"
#include "tool/bench_proc.h"
#include "tool/bench_stream.h"

#define BENCH_NEVER UINT64_MAX

/* A moment: differences of two of them are a result. */
struct bench_mark {
	uint64_t ns;
	uint64_t own_cpu_ns;
	uint64_t server_cpu_ns;
	uint64_t sent;
	uint64_t received;
	uint64_t done; /* churn: connections that did all they should */
	uint64_t receives;
	uint64_t sends;
};

struct bench;

struct bench_load {
	/* Clients and streams are made; connects and runs the phases. False when it failed. */
	bool (*run)(struct bench *b);
	/* Sends what may be sent; returns when it wants to be called again at the latest. */
	uint64_t (*pump)(struct bench *b);
	/* A good packet of this stream came (NULL: nothing to do). */
	void (*arrived)(struct bench *b, struct bench_stream *s);
	/* A packet came; true when it was the load's own, and is counted (NULL: none is). */
	bool (*packet)(struct bench *b, struct bench_client *c, const uint8_t *src,
	    const uint8_t *p, size_t len);
	/* A client is gone, of its own or as bench_client_fail says (NULL: that ends the run). */
	bool (*gone)(struct bench *b, struct bench_client *c, const char *why);
};

struct bench {
	struct bench_options opt;
	const struct bench_load *load;
	struct bench_net net;
	struct bench_traffic traffic;
	struct bench_client *client;
	uint32_t n_clients;
	/* Clients whose streams may go on: the load's list, linked by bench_client.next. */
	struct bench_client *eager;
	uint64_t random;

	bool measuring;
	bool failed; /* a line on standard error has said why */
	uint64_t hard_stop_ns;
	uint64_t disconnects;
	uint64_t checked_ns; /* when windows were last looked at */
	uint64_t told_ns;    /* when progress was last told */
	uint64_t told_received;
	const char *phase;
	struct bench_mark begin;
	struct bench_mark end;

	/* loads' own */
	uint32_t *pair;     /* bulk: clients, each sender before its receiver */
	uint32_t *sends_in; /* bulk: the stream in which a client sends, UINT32_MAX: none */
	uint64_t start_ns;  /* paced loads: time 0 of the schedule */
	uint64_t late_ns;   /* paced loads: how far behind its schedule the load was at worst */
	uint64_t skipped;   /* paced loads: packets not sent because the socket was full */
	uint64_t done;      /* churn: see bench_mark */
	uint64_t failures;  /* churn: connections that failed */
	uint32_t failures_in_row;
	uint64_t *phase_ns; /* chatter: when in its period each client sends */
	uint32_t *order;    /* chatter: clients by that; scale: flows in the order of their turns */
	uint64_t slot;      /* sends (chatter), bursts (scale), keys that were taken (churn) */
	struct login_keys *spare; /* churn: keys to connect with */
	struct bench_memory memory_before, memory_connected, memory_after; /* idle */
	struct bench_mark connect_begin, connect_end;                      /* idle */
	struct bench_slow *slow;
};

extern const struct bench_load bench_bulk, bench_chatter, bench_idle, bench_churn, bench_slow,
    bench_scale, bench_pipe;

/* Makes n clients and s streams (to be filled by the load). */
void bench_make(struct bench *b, uint32_t clients, uint32_t streams, uint32_t remember);
/* Begins to connect a client; the run fails when it can't. */
bool bench_open(struct bench *b, struct bench_client *c) must_use;
/* Logs in clients from..to-1, opt.connecting at a time. */
bool bench_connect(struct bench *b, uint32_t from, uint32_t to) must_use;
/* Warm-up and measured time with the load's pump, then waits for what is under way. */
bool bench_measure(struct bench *b) must_use;
/* Its parts. */
void bench_warm_up(struct bench *b);
void bench_drain(struct bench *b);
/* One turn of the loop, at most until then, and what is due besides. */
void bench_turn(struct bench *b, uint64_t until_ns);
/* Turns of the loop until then, or until the run ends before. With pump: calls the load's. */
void bench_until(struct bench *b, uint64_t until_ns, bool pump);
/* True when the run must end: failure, signal, hard stop. */
bool bench_over(const struct bench *b) must_use;
bool bench_interrupted(void) must_use;
void bench_mark_now(struct bench *b, struct bench_mark *m);
/* Puts a client on the list of those that the pump serves. */
void bench_eager(struct bench *b, struct bench_client *c);
struct bench_client *bench_eager_next(struct bench *b);
/* Composes the stream's next packet, now due; skips it when it can't be sent. For the caller to
 * flush. */
void bench_put_due(struct bench *b, struct bench_traffic *t, struct bench_stream *s);
/* Fails the run with a line on standard error. */
void bench_fail(struct bench *b, const char *fmt, ...) printf_like(2, 3);

/* How many clients bulk connects; with -cross more than it uses. */
uint32_t bench_bulk_clients(const struct bench_options *o);
/* For loads with pairs like bulk's: makes clients and streams; then, when all clients are there,
 * the streams of the pairs; and what bench_bulk does with them. */
void bench_bulk_make(struct bench *b, uint32_t clients);
void bench_bulk_streams(struct bench *b);
uint64_t bench_bulk_pump(struct bench *b);
void bench_bulk_arrived(struct bench *b, struct bench_stream *s);
/* scale: who sends to whom in a flow. */
void bench_scale_ends(uint32_t clients, uint32_t flow, uint32_t *from, uint32_t *to);
/* bench_workers.c: the worker of each client, as the server's page says; -1: it doesn't say. */
bool bench_workers(struct bench *b, int *worker) must_use;

/* bench_report.c */
void bench_report(const struct bench *b);
void bench_report_progress(struct bench *b);

#endif
