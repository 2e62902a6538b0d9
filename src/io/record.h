/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * record.h: the record layer of an established TLS 1.3 connection, ours from the handshake's end.
 *
 * Sans-I/O. It starts from the two application traffic secrets with both sequence numbers 0, and
 * does what RFC 8446 asks for behind the handshake: records (§5.1, §5.2), padding (§5.4), alerts
 * (§6), KeyUpdate (§4.6.3, §7.2), limits of a key (§5.5). A client also gets NewSessionTicket
 * (§4.6.1), which it has no use for and skips. Everything else ends the connection.
 */
#ifndef SLUICE_IO_RECORD_H
#define SLUICE_IO_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "io/aead.h"
#include "io/hkdf.h"

#define RECORD_HEADER_LEN 5
#define RECORD_PLAIN_MAX 16384
/* Of what follows the header (§5.2). */
#define RECORD_CIPHER_MAX (RECORD_PLAIN_MAX + 256)
/* What sealing adds: header, content type, tag. */
#define RECORD_EXTRA (RECORD_HEADER_LEN + 1 + AEAD_TAG_LEN)
#define RECORD_SECRET_MAX HKDF_HASH_MAX
/* Records sealed under one key before it is changed: half of what §5.5 allows for AES-GCM. */
#define RECORD_KEY_LIMIT (1u << 23)
/* KeyUpdates and empty records that one call of record_open takes: more is an attack. */
#define RECORD_UPDATES_MAX 16
#define RECORD_EMPTY_MAX 64
/* NewSessionTickets that a client takes over a connection's life, and the longest of them. */
#define RECORD_TICKETS_MAX 64
#define RECORD_TICKET_LEN_MAX (64u << 10)

enum record_result {
	RECORD_OK,     /* all input taken */
	RECORD_CLOSED, /* close_notify */
	RECORD_FAILED, /* an alert lies in the reply, as far as there was room */
};

/* One direction's keys. */
struct record_keys {
	uint8_t key[AEAD_KEY_MAX];
	uint8_t iv[AEAD_NONCE_LEN];
	uint32_t unused;
	uint64_t seq;
	uint8_t secret[RECORD_SECRET_MAX];
};

struct record {
	struct record_keys rx, tx;
	uint8_t *rest; /* the beginning of a record, malloc'ed; NULL without */
	uint32_t rest_len;
	uint8_t kind;       /* enum aead_kind */
	uint8_t secret_len; /* 32 or 48: that of the suite's hash */
	bool failed;        /* nothing more is read or sealed */
	bool closed;        /* close_notify came: nothing more is read */
	/* Of a client: a NewSessionTicket under way, which may go over several records. */
	bool client;
	uint8_t tickets;  /* that have begun so far */
	uint8_t head_len; /* bytes in head; the message's type and length */
	uint8_t head[4];
	uint32_t skip; /* bytes of its body that are still to come */
};

_Static_assert(sizeof(struct record) <= 240, "a connection's TLS state is small");

/* HKDF-Expand-Label with an empty context (§7.1), SHA-256 for secrets of 32 bytes, SHA-384 for 48.
 * len is at most the secret's. */
void record_expand(
    const uint8_t *secret, size_t secret_len, const char *label, uint8_t *out, size_t len);

void record_init(struct record *r, enum aead_kind kind, size_t secret_len, const uint8_t *rx_secret,
    const uint8_t *tx_secret);
/* It is the client's end: what a server may send behind the handshake is taken. */
void record_as_client(struct record *r);
/* Wipes it. */
void record_fini(struct record *r);

/* Takes all of `in`: plaintext is appended to `plain`, which needs room for in->len and
 * RECORD_CIPHER_MAX (the rest of a record that came before, padding included); alerts and
 * KeyUpdates to be sent go to `reply`. */
enum record_result record_open(
    struct record *r, struct span *in, struct sink *plain, struct sink *reply) must_use;
/* Seals len bytes; `out` needs RECORD_EXTRA for each record of RECORD_PLAIN_MAX begun, and as much
 * again for a KeyUpdate. */
bool record_seal(struct record *r, const uint8_t *p, size_t len, struct sink *out) must_use;
/* The same in records of `each` bytes (the last may be shorter), at most RECORD_PLAIN_MAX; the key
 * is expanded once for all of them. */
bool record_seal_each(
    struct record *r, const uint8_t *p, size_t len, size_t each, struct sink *out) must_use;
/* Seals close_notify, if there is room. */
void record_close(struct record *r, struct sink *out);

#endif
