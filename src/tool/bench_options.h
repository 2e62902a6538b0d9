/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_options.h: the flags of `sluice bench`.
 *
 * Go's syntax, as derper's: -name value, -name=value, --name; a switch is -name or -name=false.
 * One table holds each flag's default, range, help and the loads that take it.
 */
#ifndef SLUICE_TOOL_BENCH_OPTIONS_H
#define SLUICE_TOOL_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "tool/bench_proc.h"

#define BENCH_LOADS(X)                                                                          \
	X(BENCH_BULK, "bulk", "pairs of clients, each with a window of packets in flight")      \
	X(BENCH_CHATTER, "chatter", "many clients that send a little to changing partners")     \
	X(BENCH_IDLE, "idle", "many connections that do nothing: what one costs in memory")     \
	X(BENCH_CHURN, "churn", "connect, log in, have one packet delivered, close, and again") \
	X(BENCH_SLOW, "slow", "bulk, and one receiver that stops reading for a while")          \
	X(BENCH_SCALE, "scale", "the same traffic over more and more clients and flows")        \
	X(BENCH_PIPE, "pipe", "bulk through a proxy that carries bytes: a yardstick")

enum bench_kind {
#define X(id, name, help) id,
	BENCH_LOADS(X)
#undef X
};

/* The largest window and so the most packets whose order one stream remembers. */
#define BENCH_WINDOW_MAX 4096

struct bench_options {
	enum bench_kind kind;
	const char *server; /* HOST:PORT */
	const char *to;     /* the same for those who receive in bulk; "": there, too */
	const char *cross;  /* bulk: "any"; "yes" or "no": pairs on two workers or on one */
	bool tls;
	bool fast_start;
	bool own_server; /* -i-own-this-server: it need not be on loopback */
	bool json;
	bool progress;
	const char *cipher;
	const char *tls_engine; /* auto, sluice, openssl */
	int seed;
	int connecting; /* handshakes at a time */
	double handshake_timeout_s;
	struct bench_pids pids;

	double seconds;
	double warmup_s;
	int size;
	int pairs;
	int window;
	bool both;
	double rate; /* packets a second and sender; in bulk 0 means as fast as the window lets */
	int clients;
	int partners;
	int base;
	int parallel;
	double slow_rate; /* slow: packets a second to the receiver that stops reading */
	double stall_s;
	int flows;          /* scale: (sender, receiver) pairs */
	int burst;          /* scale: packets of one flow in a row */
	const char *listen; /* pipe: HOST:PORT where the proxy connects to */
};

enum bench_parse {
	BENCH_PARSE_OK,
	BENCH_PARSE_HELP, /* help was printed, as asked for */
	BENCH_PARSE_BAD,  /* one line on standard error says why */
};

const char *bench_kind_name(enum bench_kind kind);
enum bench_parse bench_options_parse(int argc, char **argv, struct bench_options *o) must_use;

#endif
