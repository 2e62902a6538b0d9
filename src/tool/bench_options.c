/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/bench_options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"
#include "tool/bench_stream.h"

enum option_type { OPT_INT, OPT_NUMBER, OPT_BOOL, OPT_TEXT, OPT_PIDS };

#define IN_BULK (1u << BENCH_BULK)
#define IN_CHATTER (1u << BENCH_CHATTER)
#define IN_IDLE (1u << BENCH_IDLE)
#define IN_CHURN (1u << BENCH_CHURN)
#define IN_SLOW (1u << BENCH_SLOW)
#define IN_SCALE (1u << BENCH_SCALE)
#define IN_PIPE (1u << BENCH_PIPE)
#define IN_PAIRS (IN_BULK | IN_SLOW | IN_PIPE)
#define IN_SINGLE (IN_CHATTER | IN_CHURN | IN_SCALE)
#define IN_PACKETS (IN_PAIRS | IN_SINGLE)
#define IN_ALL (IN_PACKETS | IN_IDLE)

/* Loads that take the flag, flag, type, field, default, least, most, value's name, help. A flag
 * whose default depends on the load has several rows. */
#define OPTIONS(X)                                                                               \
	X(IN_ALL, "server", OPT_TEXT, server, "127.0.0.1:443", 0, 0, "HOST:PORT",                \
	    "server under load")                                                                 \
	X(IN_ALL, "i-own-this-server", OPT_BOOL, own_server, "false", 0, 0, "",                  \
	    "allow a server that is not on loopback")                                            \
	X(IN_ALL, "tls", OPT_BOOL, tls, "true", 0, 0, "",                                        \
	    "TLS (certificates are NOT verified) or plain TCP")                                  \
	X(IN_ALL, "fast-start", OPT_BOOL, fast_start, "true", 0, 0, "",                          \
	    "skip a round trip when the certificate chain tells the server's key")               \
	X(IN_ALL, "cipher", OPT_TEXT, cipher,                                                    \
	    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256", 0, 0,  \
	    "LIST", "TLS 1.3 cipher suites to offer, best first")                                \
	X(IN_ALL, "tls-engine", OPT_TEXT, tls_engine, "auto", 0, 0, "auto|sluice|openssl",       \
	    "who does records: sluice for TLS 1.3, openssl always, auto as sluice where it can") \
	X(IN_ALL, "pid", OPT_PIDS, pids, "", 0, 0, "PID[,PID]",                                  \
	    "the server's processes: report their CPU and memory")                               \
	X(IN_ALL, "seed", OPT_INT, seed, "1", 0, 0x7fffffff, "N", "for all that is random")      \
	X(IN_ALL, "json", OPT_BOOL, json, "false", 0, 0, "", "print one JSON object")            \
	X(IN_ALL, "progress", OPT_BOOL, progress, "false", 0, 0, "",                             \
	    "a line a second on standard error, even if it is no terminal")                      \
	X(IN_ALL, "connecting", OPT_INT, connecting, "32", 1, 4096, "N",                         \
	    "most handshakes at a time")                                                         \
	X(IN_ALL, "handshake-timeout", OPT_NUMBER, handshake_timeout_s, "10", 0.1, 300, "S",     \
	    "seconds until a client must be logged in")                                          \
	X(IN_ALL, "seconds", OPT_NUMBER, seconds, "10", 0.1, 86400, "S", "how long to measure")  \
	X(IN_PACKETS, "warmup", OPT_NUMBER, warmup_s, "1", 0, 3600, "S",                         \
	    "seconds of load before measuring begins")                                           \
	X(IN_PAIRS, "size", OPT_INT, size, "1400", BENCH_HEAD_LEN, PACKET_MAX, "BYTES",          \
	    "a packet's size")                                                                   \
	X(IN_PAIRS, "pairs", OPT_INT, pairs, "16", 1, 16384, "N", "pairs of clients")            \
	X(IN_PAIRS, "window", OPT_INT, window, "28", 1, BENCH_WINDOW_MAX, "N",                   \
	    "packets in flight a pair (derper drops above 32)")                                  \
	X(IN_BULK, "to", OPT_TEXT, to, "", 0, 0, "HOST:PORT",                                    \
	    "where those who receive connect: another node of the region")                       \
	X(IN_BULK, "cross", OPT_TEXT, cross, "any", 0, 0, "yes|no|any",                          \
	    "pairs whose ends are on two workers of sluice, or on one (asks /debug/clients)")    \
	X(IN_BULK, "both", OPT_BOOL, both, "false", 0, 0, "", "send both ways in each pair")     \
	X(IN_BULK, "rate", OPT_NUMBER, rate, "0", 0, 1e7, "N",                                   \
	    "packets a second and sender; 0: as fast as the window lets")                        \
	X(IN_SINGLE, "size", OPT_INT, size, "150", BENCH_HEAD_LEN, PACKET_MAX, "BYTES",          \
	    "a packet's size")                                                                   \
	X(IN_CHATTER, "clients", OPT_INT, clients, "500", 2, 100000, "N", "clients")             \
	X(IN_CHATTER, "rate", OPT_NUMBER, rate, "20", 0.001, 1e6, "N",                           \
	    "packets a second that each sends")                                                  \
	X(IN_CHATTER, "partners", OPT_INT, partners, "16", 1, 1024, "N",                         \
	    "partners of each client; a packet goes to one of them by chance")                   \
	X(IN_IDLE, "clients", OPT_INT, clients, "1000", 1, 100000, "N", "clients")               \
	X(IN_IDLE, "base", OPT_INT, base, "50", 0, 10000, "N",                                   \
	    "clients that are there before memory is first looked at")                           \
	X(IN_CHURN, "parallel", OPT_INT, parallel, "16", 1, 4096, "N", "clients at a time")      \
	X(IN_SLOW, "slow-rate", OPT_NUMBER, slow_rate, "5000", 1, 1e6, "N",                      \
	    "packets a second to the receiver that stops reading")                               \
	X(IN_SLOW, "stall", OPT_NUMBER, stall_s, "1.5", 0.01, 600, "S",                          \
	    "seconds in which it reads nothing")                                                 \
	X(IN_SCALE, "clients", OPT_INT, clients, "1000", 2, 100000, "N", "clients")              \
	X(IN_SCALE, "flows", OPT_INT, flows, "1000", 1, 1048576, "N",                            \
	    "flows, that is pairs of a sender and a receiver; a client is in many")              \
	X(IN_SCALE, "rate", OPT_NUMBER, rate, "20000", 1, 1e7, "N",                              \
	    "packets a second, of all clients together")                                         \
	X(IN_SCALE, "burst", OPT_INT, burst, "4", 1, 256, "N",                                   \
	    "packets of one flow in a row (derper drops above 32)")                              \
	X(IN_PIPE, "listen", OPT_TEXT, listen, "127.0.0.1:8443", 0, 0, "HOST:PORT",              \
	    "where we listen for the proxy under load")

struct option {
	unsigned int loads;
	const char *name;
	enum option_type type;
	size_t at;
	const char *def;
	double least;
	double most;
	const char *value;
	const char *help;
};

static const struct option options[] = {
#define X(loads, name, type, field, def, least, most, value, help) \
	{loads, name, type, offsetof(struct bench_options, field), def, least, most, value, help},
    OPTIONS(X)
#undef X
};

const char *bench_kind_name(enum bench_kind kind)
{
	static const char *const names[] = {
#define X(id, name, help) name,
	    BENCH_LOADS(X)
#undef X
	};

	CHECK((size_t)kind < ARRAY_LEN(names));
	return names[kind];
}

static void print_loads(FILE *f)
{
	fputs("usage: sluice bench LOAD [flags]\n\n"
	      "Puts load on a DERP server (derper, sluice) on this machine and measures it.\n\n"
	      "loads:\n",
	    f);
#define X(id, name, help) fprintf(f, "  %-10s %s\n", name, help);
	BENCH_LOADS(X)
#undef X
	fputs("\n'sluice bench LOAD -help' tells a load's flags.\n", f);
}

static void print_help(enum bench_kind kind)
{
	printf("usage: sluice bench %s [flags]\n\n", bench_kind_name(kind));
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option *o = &options[i];

		if (!(o->loads & (1u << kind)))
			continue;
		printf("  -%s%s%s\n        %s", o->name, o->value[0] ? " " : "", o->value, o->help);
		if (o->def[0] && strcmp(o->def, "false") != 0)
			printf(" (default %s)", o->def);
		putchar('\n');
	}
}

static bool set_number(const struct option *o, void *field, const char *text)
{
	char *end;
	double v;

	errno = 0;
	v = strtod(text, &end);
	if (end == text || *end || errno || !isfinite(v) || v < o->least || v > o->most ||
	    (o->type == OPT_INT && v != (double)(int)v)) {
		fprintf(stderr, "sluice bench: -%s %s: give a%s number from %.15g to %.15g\n",
		    o->name, text, o->type == OPT_INT ? " whole" : "", o->least, o->most);
		return false;
	}
	if (o->type == OPT_INT)
		*(int *)field = (int)v;
	else
		*(double *)field = v;
	return true;
}

static bool set_bool(const struct option *o, bool *field, const char *text)
{
	static const char *const yes[] = {"true", "t", "T", "TRUE", "True", "1"};
	static const char *const no[] = {"false", "f", "F", "FALSE", "False", "0"};

	for (size_t i = 0; i < ARRAY_LEN(yes); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			*field = strcmp(text, yes[i]) == 0;
			return true;
		}
	}
	fprintf(stderr, "sluice bench: -%s=%s: give true or false\n", o->name, text);
	return false;
}

static bool add_pids(const struct option *o, struct bench_pids *p, const char *text)
{
	while (*text) {
		char *end;
		long pid = strtol(text, &end, 10);

		if (end == text || pid <= 0 || pid > 0x7fffffff || (*end && *end != ',')) {
			fprintf(stderr,
			    "sluice bench: -%s %s: give process ids, with commas between\n",
			    o->name, text);
			return false;
		}
		if (p->n == BENCH_PIDS_MAX) {
			fprintf(stderr, "sluice bench: -%s: at most %d of them\n", o->name,
			    BENCH_PIDS_MAX);
			return false;
		}
		p->pid[p->n++] = (pid_t)pid;
		text = *end ? end + 1 : end;
	}
	return true;
}

static bool set_option(const struct option *o, struct bench_options *into, const char *text)
{
	void *field = (char *)into + o->at;

	switch (o->type) {
	case OPT_INT:
	case OPT_NUMBER:
		return set_number(o, field, text);
	case OPT_BOOL:
		return set_bool(o, field, text);
	case OPT_TEXT:
		*(const char **)field = text;
		return true;
	case OPT_PIDS:
		return add_pids(o, field, text);
	}
	return false;
}

static const struct option *find_option(enum bench_kind kind, const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_LEN(options); i++) {
		const struct option *o = &options[i];

		if ((o->loads & (1u << kind)) && strlen(o->name) == len &&
		    memcmp(o->name, name, len) == 0)
			return o;
	}
	return NULL;
}

/* One flag at argv[*i]; moves *i to the last argument that it took. */
static enum bench_parse parse_flag(int argc, char **argv, int *i, struct bench_options *into)
{
	const char *name = argv[*i] + 1, *value;
	const struct option *o;
	size_t len;

	if (*name == '-')
		name++;
	len = strcspn(name, "=");
	value = name[len] ? name + len + 1 : NULL;
	if (strcmp(name, "h") == 0 || strcmp(name, "help") == 0) {
		print_help(into->kind);
		return BENCH_PARSE_HELP;
	}
	o = find_option(into->kind, name, len);
	if (!o) {
		fprintf(stderr,
		    "sluice bench %s: there is no flag -%.*s; see sluice bench %s -help\n",
		    bench_kind_name(into->kind), (int)len, name, bench_kind_name(into->kind));
		return BENCH_PARSE_BAD;
	}
	if (!value && o->type == OPT_BOOL)
		value = "true";
	if (!value && *i + 1 < argc)
		value = argv[++*i];
	if (!value) {
		fprintf(stderr, "sluice bench: -%s needs a value\n", o->name);
		return BENCH_PARSE_BAD;
	}
	return set_option(o, into, value) ? BENCH_PARSE_OK : BENCH_PARSE_BAD;
}

static bool find_kind(const char *name, enum bench_kind *kind)
{
#define X(id, text, help)              \
	if (strcmp(name, text) == 0) { \
		*kind = id;            \
		return true;           \
	}
	BENCH_LOADS(X)
#undef X
	return false;
}

/* What flags ask of each other. */
static bool check_together(struct bench_options *o)
{
	static const char *const engines[] = {"auto", "sluice", "openssl"};
	double flows = (double)o->clients * (o->clients - 1);
	bool known = false;

	for (size_t i = 0; i < ARRAY_LEN(engines); i++)
		known |= strcmp(o->tls_engine, engines[i]) == 0;
	if (!known) {
		fprintf(stderr, "sluice bench: -tls-engine %s: give auto, sluice or openssl\n",
		    o->tls_engine);
		return false;
	}
	if (o->kind == BENCH_SCALE && o->flows > flows) {
		fprintf(stderr,
		    "sluice bench: -flows %d: between %d clients there are at most %.0f\n",
		    o->flows, o->clients, flows);
		return false;
	}
	if (o->kind == BENCH_CHATTER && o->partners > o->clients - 1)
		o->partners = o->clients - 1;
	return true;
}

enum bench_parse bench_options_parse(int argc, char **argv, struct bench_options *into)
{
	memset(into, 0, sizeof(*into));
	if (argc < 2 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "-help") == 0 ||
	    strcmp(argv[1], "--help") == 0) {
		print_loads(argc < 2 ? stderr : stdout);
		return argc < 2 ? BENCH_PARSE_BAD : BENCH_PARSE_HELP;
	}
	if (!find_kind(argv[1], &into->kind)) {
		fprintf(stderr, "sluice bench: there is no load '%s'; see sluice bench -help\n",
		    argv[1]);
		return BENCH_PARSE_BAD;
	}
	for (size_t i = 0; i < ARRAY_LEN(options); i++)
		if (options[i].loads & (1u << into->kind))
			CHECK(set_option(&options[i], into, options[i].def));
	for (int i = 2; i < argc; i++) {
		enum bench_parse r;

		if (argv[i][0] != '-' || !argv[i][1]) {
			fprintf(
			    stderr, "sluice bench: what is '%s'? Flags begin with -\n", argv[i]);
			return BENCH_PARSE_BAD;
		}
		r = parse_flag(argc, argv, &i, into);
		if (r != BENCH_PARSE_OK)
			return r;
	}
	return check_together(into) ? BENCH_PARSE_OK : BENCH_PARSE_BAD;
}
