/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/bench_net.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "io/tls.h"
#include "tool/bench_client.h"

#define EVENTS_MAX 256
/* Handshakes that take too long are looked for this often. */
#define SWEEP_NS 100000000u

bool bench_net_resolve(
    const struct bench_options *o, const char *flag, const char *server, struct addr *addr)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list;
	char host[ADDR_HOST_LEN], err[160];
	uint16_t port;
	int r;

	if (addr_split(server, host, &port, err, sizeof(err)) != 0) {
		fprintf(stderr, "sluice bench: -%s %s: %s\n", flag, server, err);
		return false;
	}
	r = getaddrinfo(host[0] ? host : "127.0.0.1", NULL, &hints, &list);
	if (r != 0) {
		fprintf(stderr, "sluice bench: -%s %s: %s\n", flag, server, gai_strerror(r));
		return false;
	}
	memcpy(&addr->ss, list->ai_addr, list->ai_addrlen);
	addr->len = list->ai_addrlen;
	freeaddrinfo(list);
	addr_set_port(addr, port);
	if (!addr_is_loopback((struct sockaddr *)&addr->ss) && !o->own_server) {
		fprintf(stderr,
		    "sluice bench: %s is not on loopback: putting load on it is for those who run "
		    "it; if that is you, say -i-own-this-server\n",
		    server);
		return false;
	}
	return true;
}

static bool choose_engine(struct bench_net *n, const struct bench_options *o)
{
	tls_use_records(strcmp(o->tls_engine, "openssl") != 0);
	n->only_records = strcmp(o->tls_engine, "sluice") == 0;
	n->ctx = tls_unverified_ctx_new(o->cipher);
	if (!n->ctx)
		fprintf(
		    stderr, "sluice bench: -cipher %s: OpenSSL knows no such suite\n", o->cipher);
	return n->ctx;
}

bool bench_net_init(struct bench_net *n, const struct bench_options *o,
    const struct bench_events *events, void *arg)
{
	memset(n, 0, sizeof(*n));
	n->epfd = -1;
	n->events = events;
	n->arg = arg;
	n->server = o->server;
	n->fast_start = o->fast_start;
	n->handshake_timeout_ns = (uint64_t)(o->handshake_timeout_s * 1e9);
	if (!bench_net_resolve(o, "server", o->server, &n->addr) ||
	    (o->to && *o->to && !bench_net_resolve(o, "to", o->to, &n->to)))
		return false;
	if (o->tls && !choose_engine(n, o))
		return false;
	n->epfd = epoll_create1(EPOLL_CLOEXEC);
	CHECK(n->epfd >= 0);
	/* Paced loads sleep for less than the usual slack of 50 µs. */
	prctl(PR_SET_TIMERSLACK, 1000ul, 0, 0, 0);
	n->in = must_alloc(BENCH_IN_CAP);
	n->plain = must_alloc(BENCH_PLAIN_CAP);
	n->clear = must_alloc(BENCH_CLEAR_CAP);
	n->out = (struct sink){.p = must_alloc(BENCH_OUT_CAP), .cap = BENCH_OUT_CAP};
	n->now_ns = clock_ns();
	return true;
}

void bench_net_fini(struct bench_net *n)
{
	SSL_CTX_free(n->ctx);
	SSL_CTX_free(n->sink_ctx);
	if (n->epfd >= 0)
		close(n->epfd);
	free(n->in);
	free(n->plain);
	free(n->clear);
	free(n->out.p);
}

static void sweep_handshakes(struct bench_net *n)
{
	struct bench_client *c, *next;

	n->swept_ns = n->now_ns;
	for (c = n->connecting; c; c = next) {
		next = c->next;
		if (n->now_ns - c->opened_ns >= n->handshake_timeout_ns)
			bench_client_fail(c, "timed out while it was %s", bench_client_doing(c));
	}
}

void bench_net_turn(struct bench_net *n, uint64_t until_ns)
{
	struct epoll_event ev[EVENTS_MAX];
	struct timespec wait = {0};
	int count;

	if (n->n_connecting > 0)
		until_ns = MIN(until_ns, n->now_ns + SWEEP_NS);
	if (until_ns > n->now_ns) {
		uint64_t ns = until_ns - n->now_ns;

		wait.tv_sec = (time_t)(ns / 1000000000u);
		wait.tv_nsec = (long)(ns % 1000000000u);
	}
	count = epoll_pwait2(n->epfd, ev, EVENTS_MAX, &wait, NULL);
	CHECK(count >= 0 || errno == EINTR);
	n->now_ns = clock_ns();
	for (int i = 0; i < count; i++)
		bench_client_event(ev[i].data.ptr, ev[i].events);
	if (n->n_connecting > 0 && n->now_ns - n->swept_ns >= SWEEP_NS)
		sweep_handshakes(n);
}
