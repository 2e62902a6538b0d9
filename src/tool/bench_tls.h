/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bench_tls.h: the client side of TLS without sockets: bytes in, bytes out.
 *
 * OpenSSL reads from and writes to spans that the caller names for the length of one call, so one
 * receive of many records and one send of many records need one system call each and no memory BIO
 * that grows. Certificates are not verified: the load generator only ever talks to a server that
 * its operator owns.
 */
#ifndef SLUICE_TOOL_BENCH_TLS_H
#define SLUICE_TOOL_BENCH_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <openssl/ssl.h>

#include "base/check.h"
#include "base/key.h"

/* What sealing `len` bytes may add, alerts and key updates included. */
#define BENCH_TLS_EXTRA(len) (((len) / 16384 + 2) * 64)

struct bench_tls {
	SSL *ssl;
	const uint8_t *in; /* bytes not yet read, valid during a call */
	size_t in_len;
	uint8_t *out; /* where sealed bytes go, valid during a call */
	size_t out_len;
	size_t out_cap;
};

enum bench_tls_result {
	BENCH_TLS_DONE,   /* handshake done; or all input opened */
	BENCH_TLS_MORE,   /* the handshake needs more bytes */
	BENCH_TLS_CLOSED, /* the server said close_notify */
	BENCH_TLS_FAILED,
};

/* `lean`: hold no buffers while nothing is in flight (for thousands of clients). NULL with a line
 * on standard error when OpenSSL doesn't like the ciphers. */
SSL_CTX *bench_tls_context(const char *ciphers, bool lean);
void bench_tls_init(struct bench_tls *t, SSL_CTX *ctx);
void bench_tls_fini(struct bench_tls *t);

/* Each call takes all of in/in_len and appends to out at out_len. */
enum bench_tls_result bench_tls_handshake(struct bench_tls *t) must_use;
/* Opens records to plain, which holds *len bytes of cap and needs room for in_len more and 16 KiB.
 */
enum bench_tls_result bench_tls_open(
    struct bench_tls *t, uint8_t *plain, size_t *len, size_t cap) must_use;
/* Seals into one record (or several, above 16 KiB). */
bool bench_tls_seal(struct bench_tls *t, const uint8_t *p, size_t len) must_use;
void bench_tls_close(struct bench_tls *t);
/* The server's DERP key from the meta certificate behind its chain; false when there is none. */
bool bench_tls_server_key(const struct bench_tls *t, struct key *k) must_use;
/* Why the last call failed. */
const char *bench_tls_error(void);

#endif
