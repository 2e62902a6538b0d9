/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls.h: TLS as a sans-I/O engine: bytes in, bytes out, no sockets.
 *
 * The engine belongs to one thread at a time: the gate shakes hands, then hands it with the
 * connection to the worker that owns the client's key. OpenSSL does the handshake, and all of
 * TLS 1.2, on spans and sinks through a BIO of our own. For TLS 1.3 its secrets are taken over when
 * the handshake is done: records are ours from there on (io/record.h), and OpenSSL's object is
 * freed.
 */
#ifndef SLUICE_IO_TLS_H
#define SLUICE_IO_TLS_H

#include <stdbool.h>
#include <openssl/ssl.h>

#include "base/key.h"
#include "base/span.h"

/* Plaintext of one record at most. */
#define TLS_RECORD_MAX 16384
/* What a record may add: header, explicit nonce, type, tag. */
#define TLS_RECORD_EXTRA 64
/* Room that the answers to a peer's handshake and post-handshake messages need at most; a
 * certificate chain that is larger fails the handshake. */
#define TLS_REPLY_MAX (64u << 10)

/* Why a handshake failed, as text with its NUL. */
#define TLS_ERROR_LEN 160
/* SHA-256 of a certificate's DER. */
#define TLS_PIN_LEN 32

enum tls_result {
	TLS_OK,        /* handshake done, or all input taken */
	TLS_WANT_READ, /* handshake needs more bytes */
	TLS_CLOSED,    /* the peer sent close_notify */
	TLS_FAILED,    /* the connection is beyond repair; an alert may lie in the reply */
};

struct tls;

/* False: OpenSSL stays on for TLS 1.3 too, as fallback and oracle. Before the first connection. */
void tls_use_records(bool on);

/* A context with our choices: TLS 1.2 and 1.3, no tickets, no session cache, ALPN http/1.1 offered
 * and not required. Certificates are the caller's. NULL when OpenSSL fails. */
SSL_CTX *tls_server_ctx_new(void);

/* Server side of a connection under ctx, of which it keeps a reference. NULL: out of memory. */
struct tls *tls_new(SSL_CTX *ctx);
/* A context for dialling: TLS 1.2 and 1.3, the system's certificates are trusted; the caller may
 * add others to its store, of authorities or of servers themselves. NULL when OpenSSL fails. */
SSL_CTX *tls_client_ctx_new(void);
/*
 * Client side of a connection under a context of tls_client_ctx_new. host is a name, or an IP
 * address without brackets: the server's certificate must be good for it and lead to one that is
 * trusted. With a pin (TLS_PIN_LEN bytes, which stay the caller's) its certificate must be the one
 * whose DER has this SHA-256, within its dates, and neither issuer nor name matter. NULL: out of
 * memory.
 */
struct tls *tls_new_client(SSL_CTX *ctx, const char *host, const uint8_t *pin);
/* For the load generator, which only talks to servers of who runs it: a context that takes any
 * certificate, and offers these TLS 1.3 cipher suites, the best first. NULL when OpenSSL fails or
 * knows no such suite. Its connections are made with host and pin NULL, and send no SNI. */
SSL_CTX *tls_unverified_ctx_new(const char *suites);
/* Before the handshake of a client: *key, the caller's, is set in it if a meta certificate behind
 * the server's tells its DERP key (derp-protocol.md 1.2). */
void tls_learn_server_key(struct tls *t, struct key *key);
void tls_free(struct tls *t);

/* Takes bytes off `in`, appends to `out`. Call again with more input on TLS_WANT_READ; on TLS_OK
 * what is left of `in` is the first records. */
enum tls_result tls_handshake(struct tls *t, struct span *in, struct sink *out) must_use;
/* Why tls_handshake failed: what an operator can act on, where that is known. */
void tls_error_text(const struct tls *t, char out[TLS_ERROR_LEN]);
/* Opens all records of `in`: plaintext is appended to `plain`, which needs room for in->len bytes
 * and TLS_RECORD_MAX + 256 (the rest of a record that came before, padding included); answers go to
 * `reply`. */
enum tls_result tls_open(
    struct tls *t, struct span *in, struct sink *plain, struct sink *reply) must_use;
/* Seals len bytes into records of at most TLS_RECORD_MAX; `out` needs tls_seal_bound(len) of room.
 */
bool tls_seal(struct tls *t, const uint8_t *p, size_t len, struct sink *out) must_use;
static inline size_t tls_seal_bound(size_t len)
{
	return len + (len / TLS_RECORD_MAX + 1) * TLS_RECORD_EXTRA;
}
/* The same in records of `each` bytes, at most TLS_RECORD_MAX: `out` needs TLS_RECORD_EXTRA of room
 * besides for each of them and once more. */
bool tls_seal_each(
    struct tls *t, const uint8_t *p, size_t len, size_t each, struct sink *out) must_use;
/* Appends close_notify, as far as there is room. */
void tls_close(struct tls *t, struct sink *out);

/* It is about to be used. */
void tls_prefetch(const struct tls *t);
/* 12 or 13; once the handshake is done. */
int tls_minor_version(const struct tls *t);
/* Records are ours, OpenSSL is out of it; once the handshake is done. */
bool tls_on_records(const struct tls *t);

#endif
