/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pipe: a yardstick. What is under load carries bytes and knows nothing of packets: a proxy in TCP
 * mode, in front of a listener of ours. The same frames go in as in bulk, one record each, the
 * proxy opens and seals them, and they come back by the connection that it makes to us. Nobody
 * routes anything, so this is what moving the bytes alone costs.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "daemon/selfcert.h"
#include "tool/bench_run.h"

/* How often it is looked whether the proxy has connected. */
#define LOOK_NS 1000000u
#define CERT_DAYS 1

static int listen_for_proxy(struct bench *b)
{
	const struct sockaddr *sa;
	struct addr addr;
	int fd, on = 1;

	if (!bench_net_resolve(&b->opt, "listen", b->opt.listen, &addr)) {
		b->failed = true;
		return -1;
	}
	sa = (const struct sockaddr *)&addr.ss;
	fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, sa, addr.len) != 0 || listen(fd, SOMAXCONN) != 0) {
		bench_fail(b, "cannot listen on %s: %s", b->opt.listen, strerror(errno));
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* The proxy does not verify what we are. */
static void make_sink_ctx(struct bench_net *n)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = key ? selfcert_for_ip(key, "127.0.0.1", CERT_DAYS) : NULL;

	n->sink_ctx = tls_server_ctx_new();
	CHECK(cert && n->sink_ctx && SSL_CTX_use_certificate(n->sink_ctx, cert) == 1 &&
	      SSL_CTX_use_PrivateKey(n->sink_ctx, key) == 1);
	X509_free(cert);
	EVP_PKEY_free(key);
}

/* One pair at a time, so that it is known whose bytes come by which connection. */
static bool connect_pair(struct bench *b, int listener, uint32_t pair)
{
	struct bench_client *from = &b->client[2 * pair], *to = &b->client[2 * pair + 1];
	uint64_t until = b->net.now_ns + b->net.handshake_timeout_ns;
	int on = 1;

	if (!bench_open(b, from))
		return false;
	while (!bench_over(b) &&
	       (from->state != BENCH_CLIENT_READY || to->state != BENCH_CLIENT_READY)) {
		bench_turn(b, b->net.now_ns + LOOK_NS);
		if (to->state == BENCH_CLIENT_CLOSED) {
			int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

			if (fd >= 0) {
				setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
				bench_client_accept(to, fd);
			}
		}
		if (b->net.now_ns > until)
			bench_fail(b, "the proxy at %s did not connect to %s", b->opt.server,
			    b->opt.listen);
	}
	return !bench_over(b);
}

static bool run(struct bench *b)
{
	int listener = listen_for_proxy(b);
	uint32_t pairs = (uint32_t)b->opt.pairs;
	bool ok = listener >= 0;

	b->net.raw = true;
	if (b->opt.tls)
		make_sink_ctx(&b->net);
	bench_bulk_make(b, 2 * pairs);
	b->phase = "connecting";
	for (uint32_t i = 0; ok && i < pairs; i++)
		ok = connect_pair(b, listener, i);
	if (listener >= 0)
		close(listener);
	if (!ok)
		return false;
	bench_bulk_streams(b);
	/* A frame comes as it was sent: the key in it is whom it is for. */
	for (uint32_t i = 0; i < b->traffic.n; i++) {
		struct bench_stream *s = &b->traffic.stream[i];

		s->src = b->client[s->to].keys.public;
	}
	return bench_measure(b);
}

const struct bench_load bench_pipe = {
    .run = run, .pump = bench_bulk_pump, .arrived = bench_bulk_arrived};
