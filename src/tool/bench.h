/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench.h: `sluice bench`, a load generator for any DERP server.
 *
 * One thread, because it shares the machine with what it measures. It is a client like the real
 * ones (TLS 1.3, upgrade or fast start, one record a packet), only with thousands of connections
 * on one epoll, many records in one system call, and a check of every byte that arrives.
 */
#ifndef SLUICE_TOOL_BENCH_H
#define SLUICE_TOOL_BENCH_H

/* argv[0] is "bench". Exit status: 0 done, 1 failed, 2 bad usage, 130 interrupted. */
int bench_main(int argc, char **argv);

#endif
