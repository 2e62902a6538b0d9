/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/record.h"

#include <stdlib.h>
#include <openssl/crypto.h>

enum content { CONTENT_ALERT = 21, CONTENT_HANDSHAKE = 22, CONTENT_DATA = 23 };

enum alert {
	ALERT_CLOSE_NOTIFY = 0,
	ALERT_UNEXPECTED_MESSAGE = 10,
	ALERT_BAD_RECORD_MAC = 20,
	ALERT_RECORD_OVERFLOW = 22,
	ALERT_INTERNAL_ERROR = 80,
	ALERT_USER_CANCELED = 90,
};

#define ALERT_WARNING 1
#define ALERT_FATAL 2
#define HANDSHAKE_NEW_SESSION_TICKET 4
#define HANDSHAKE_KEY_UPDATE 24
#define KEY_UPDATE_LEN 5

/* ---- Keys ------------------------------------------------------------------------------------ */

void record_expand(
    const uint8_t *secret, size_t secret_len, const char *label, uint8_t *out, size_t len)
{
	hkdf_expand_label(secret_len == 48 ? HKDF_SHA384 : HKDF_SHA256, secret,
	    &(struct hkdf_label){.label = label, .label_len = strlen(label)}, out, len);
}

static void derive(const struct record *r, struct record_keys *k)
{
	record_expand(
	    k->secret, r->secret_len, "key", k->key, aead_key_len((enum aead_kind)r->kind));
	record_expand(k->secret, r->secret_len, "iv", k->iv, sizeof(k->iv));
	k->seq = 0;
}

/* The next generation of one direction (§7.2). */
static void update(const struct record *r, struct record_keys *k)
{
	uint8_t next[RECORD_SECRET_MAX];

	record_expand(k->secret, r->secret_len, "traffic upd", next, r->secret_len);
	memcpy(k->secret, next, r->secret_len);
	OPENSSL_cleanse(next, sizeof(next));
	derive(r, k);
}

void record_init(struct record *r, enum aead_kind kind, size_t secret_len, const uint8_t *rx_secret,
    const uint8_t *tx_secret)
{
	CHECK(secret_len == 32 || secret_len == 48);
	*r = (struct record){.kind = (uint8_t)kind, .secret_len = (uint8_t)secret_len};
	memcpy(r->rx.secret, rx_secret, secret_len);
	memcpy(r->tx.secret, tx_secret, secret_len);
	derive(r, &r->rx);
	derive(r, &r->tx);
}

void record_as_client(struct record *r)
{
	r->client = true;
}

void record_fini(struct record *r)
{
	free(r->rest);
	OPENSSL_cleanse(r, sizeof(*r));
}

/* The IV with the sequence number in its last eight bytes (§5.3). */
static void next_nonce(struct record_keys *k, uint8_t nonce[AEAD_NONCE_LEN])
{
	uint64_t iv, seq = __builtin_bswap64(k->seq++);

	memcpy(nonce, k->iv, 4);
	memcpy(&iv, k->iv + 4, sizeof(iv));
	iv ^= seq;
	memcpy(nonce + 4, &iv, sizeof(iv));
}

/* ---- Sealing --------------------------------------------------------------------------------- */

static bool seal_one(struct record *r, struct aead *a, enum content type, const uint8_t *p,
    size_t len, struct sink *out)
{
	size_t body = len + 1 + AEAD_TAG_LEN;
	uint8_t *head = out->p + out->len;
	uint8_t nonce[AEAD_NONCE_LEN];

	if (sink_room(out) < RECORD_HEADER_LEN + body)
		return false;
	head[0] = CONTENT_DATA;
	head[1] = 3;
	head[2] = 3;
	head[3] = (uint8_t)(body >> 8);
	head[4] = (uint8_t)body;
	next_nonce(&r->tx, nonce);
	if (!aead_seal(
		a, nonce, head, RECORD_HEADER_LEN, p, len, (uint8_t)type, head + RECORD_HEADER_LEN))
		return false;
	out->len += RECORD_HEADER_LEN + body;
	return true;
}

/* One record with the sending key expanded for it alone: alerts, KeyUpdates. */
static bool seal_alone(
    struct record *r, enum content type, const uint8_t *p, size_t len, struct sink *out)
{
	struct aead a;
	bool ok;

	if (!aead_begin(&a, (enum aead_kind)r->kind, r->tx.key, true))
		return false;
	ok = seal_one(r, &a, type, p, len, out);
	aead_end(&a);
	return ok;
}

/* Announces a new sending key under the old one, then changes to it. */
static bool send_key_update(struct record *r, struct sink *out)
{
	static const uint8_t message[KEY_UPDATE_LEN] = {HANDSHAKE_KEY_UPDATE, 0, 0, 1, 0};

	if (!seal_alone(r, CONTENT_HANDSHAKE, message, sizeof(message), out))
		return false;
	update(r, &r->tx);
	return true;
}

bool record_seal_each(struct record *r, const uint8_t *p, size_t len, size_t each, struct sink *out)
{
	struct aead a;
	bool ok = true;

	CHECK(each > 0 && each <= RECORD_PLAIN_MAX);
	if (r->failed || (r->tx.seq >= RECORD_KEY_LIMIT && !send_key_update(r, out)) ||
	    !aead_begin(&a, (enum aead_kind)r->kind, r->tx.key, true))
		return false;
	while (len > 0 && ok) {
		size_t n = MIN(len, each);

		ok = seal_one(r, &a, CONTENT_DATA, p, n, out);
		p += n;
		len -= n;
	}
	aead_end(&a);
	return ok;
}

bool record_seal(struct record *r, const uint8_t *p, size_t len, struct sink *out)
{
	return record_seal_each(r, p, len, RECORD_PLAIN_MAX, out);
}

static void send_alert(struct record *r, uint8_t level, enum alert what, struct sink *out)
{
	uint8_t message[2] = {level, (uint8_t)what};

	/* Best effort: the connection ends in any case. */
	(void)!seal_alone(r, CONTENT_ALERT, message, sizeof(message), out);
}

void record_close(struct record *r, struct sink *out)
{
	if (!r->failed)
		send_alert(r, ALERT_WARNING, ALERT_CLOSE_NOTIFY, out);
	r->failed = true;
}

/* ---- Opening --------------------------------------------------------------------------------- */

/* What one call of record_open has met. */
struct opening {
	struct record *r;
	struct aead a;
	struct sink *plain;
	struct sink *reply;
	uint32_t updates, empty;
};

static enum record_result fail(struct opening *o, enum alert why)
{
	send_alert(o->r, ALERT_FATAL, why, o->reply);
	o->r->failed = true;
	return RECORD_FAILED;
}

static enum record_result got_alert(struct opening *o, const uint8_t *p, size_t len)
{
	if (len != 2)
		return fail(o, ALERT_UNEXPECTED_MESSAGE);
	if (p[1] == ALERT_USER_CANCELED)
		return RECORD_OK; /* a close_notify follows (§6.1) */
	o->r->failed = p[1] != ALERT_CLOSE_NOTIFY;
	o->r->closed = !o->r->failed;
	return o->r->failed ? RECORD_FAILED : RECORD_CLOSED;
}

/* A whole KeyUpdate, at the end of its record: keys change at record borders (§5.1). */
static enum record_result got_key_update(struct opening *o, const uint8_t *p, size_t len)
{
	static const uint8_t head[4] = {HANDSHAKE_KEY_UPDATE, 0, 0, 1};
	struct record *r = o->r;

	if (len != KEY_UPDATE_LEN || memcmp(p, head, sizeof(head)) != 0 || p[4] > 1 ||
	    ++o->updates > RECORD_UPDATES_MAX)
		return fail(o, ALERT_UNEXPECTED_MESSAGE);
	update(r, &r->rx);
	aead_end(&o->a);
	if (p[4] == 1 && !send_key_update(r, o->reply))
		return fail(o, ALERT_INTERNAL_ERROR);
	return aead_begin(&o->a, (enum aead_kind)r->kind, r->rx.key, false)
		   ? RECORD_OK
		   : fail(o, ALERT_INTERNAL_ERROR);
}

/* The type and length of a message that a client may skip are there. */
static bool begin_ticket(struct record *r)
{
	uint32_t len = (uint32_t)r->head[1] << 16 | (uint32_t)r->head[2] << 8 | r->head[3];

	if (r->head[0] != HANDSHAKE_NEW_SESSION_TICKET || len > RECORD_TICKET_LEN_MAX ||
	    ++r->tickets > RECORD_TICKETS_MAX)
		return false;
	r->skip = len;
	r->head_len = 0;
	return true;
}

/* To a server nothing but KeyUpdate may come after the handshake; to a client tickets too, several
 * in a record or one over several, and a KeyUpdate behind them. */
static enum record_result got_handshake(struct opening *o, const uint8_t *p, size_t len)
{
	struct record *r = o->r;

	if (!r->client || len == 0)
		return got_key_update(o, p, len);
	while (len > 0) {
		size_t n = MIN(len, r->skip);

		if (n == 0 && r->head_len == 0 && p[0] == HANDSHAKE_KEY_UPDATE)
			return got_key_update(o, p, len);
		if (n == 0) {
			n = 1;
			r->head[r->head_len++] = *p;
			if (r->head_len == sizeof(r->head) && !begin_ticket(r))
				return fail(o, ALERT_UNEXPECTED_MESSAGE);
		} else {
			r->skip -= (uint32_t)n;
		}
		p += n;
		len -= n;
	}
	return RECORD_OK;
}

/* Nothing may come between the parts of a handshake message (§5.1). */
static bool amid_message(const struct record *r)
{
	return (r->skip | r->head_len) != 0;
}

/* A whole record: header and `body` bytes behind it. */
static enum record_result open_one(struct opening *o, const uint8_t *head, size_t body)
{
	uint8_t *p = o->plain->p + o->plain->len;
	size_t len = body - AEAD_TAG_LEN;
	uint8_t nonce[AEAD_NONCE_LEN];

	CHECK(sink_room(o->plain) >= len);
	next_nonce(&o->r->rx, nonce);
	if (!aead_open(&o->a, nonce, head, RECORD_HEADER_LEN, head + RECORD_HEADER_LEN, len, p))
		return fail(o, ALERT_BAD_RECORD_MAC);
	/* The type is the last byte that is not zero; what follows is padding (§5.4). */
	while (len > 0 && p[len - 1] == 0)
		len--;
	if (len == 0)
		return fail(o, ALERT_UNEXPECTED_MESSAGE);
	len--;
	if (len > RECORD_PLAIN_MAX)
		return fail(o, ALERT_RECORD_OVERFLOW);
	switch (p[len]) {
	case CONTENT_DATA:
		if ((len == 0 && ++o->empty > RECORD_EMPTY_MAX) || amid_message(o->r))
			return fail(o, ALERT_UNEXPECTED_MESSAGE);
		o->plain->len += len;
		return RECORD_OK;
	case CONTENT_ALERT:
		return got_alert(o, p, len);
	case CONTENT_HANDSHAKE:
		return got_handshake(o, p, len);
	default:
		return fail(o, ALERT_UNEXPECTED_MESSAGE);
	}
}

/* Looks at a header: how long what follows is. */
static enum record_result check_header(struct opening *o, const uint8_t *head, size_t *body)
{
	*body = (size_t)head[3] << 8 | head[4];
	if (head[0] != CONTENT_DATA)
		return fail(o, ALERT_UNEXPECTED_MESSAGE);
	if (*body > RECORD_CIPHER_MAX)
		return fail(o, ALERT_RECORD_OVERFLOW);
	if (*body < 1 + AEAD_TAG_LEN)
		return fail(o, ALERT_BAD_RECORD_MAC);
	return RECORD_OK;
}

/* Moves up to n bytes from `in` behind the rest. */
static void rest_add(struct record *r, struct span *in, size_t n)
{
	n = MIN(n, in->len);
	memcpy(r->rest + r->rest_len, in->p, n);
	r->rest_len += (uint32_t)n;
	in->p += n;
	in->len -= n;
}

/* Completes the record whose beginning came before. */
static enum record_result open_rest(struct opening *o, struct span *in)
{
	struct record *r = o->r;
	enum record_result res;
	uint8_t *grown;
	size_t body;

	if (r->rest_len < RECORD_HEADER_LEN)
		rest_add(r, in, RECORD_HEADER_LEN - r->rest_len);
	if (r->rest_len < RECORD_HEADER_LEN)
		return RECORD_OK;
	res = check_header(o, r->rest, &body);
	if (res != RECORD_OK)
		return res;
	grown = realloc(r->rest, RECORD_HEADER_LEN + body);
	if (!grown)
		return fail(o, ALERT_INTERNAL_ERROR);
	r->rest = grown;
	rest_add(r, in, RECORD_HEADER_LEN + body - r->rest_len);
	if (r->rest_len < RECORD_HEADER_LEN + body)
		return RECORD_OK;
	res = open_one(o, r->rest, body);
	free(r->rest);
	r->rest = NULL;
	r->rest_len = 0;
	return res;
}

/* Keeps the beginning of a record for the next call. */
static enum record_result keep_rest(struct opening *o, struct span *in, size_t size)
{
	struct record *r = o->r;

	if (in->len == 0)
		return RECORD_OK;
	r->rest = malloc(size);
	if (!r->rest)
		return fail(o, ALERT_INTERNAL_ERROR);
	rest_add(r, in, size);
	return RECORD_OK;
}

static enum record_result open_all(struct opening *o, struct span *in)
{
	enum record_result res = RECORD_OK;

	if (o->r->rest)
		res = open_rest(o, in);
	while (res == RECORD_OK && in->len > 0 && !o->r->rest) {
		const uint8_t *head = in->p;
		size_t body;

		if (in->len < RECORD_HEADER_LEN)
			return keep_rest(o, in, RECORD_HEADER_LEN);
		res = check_header(o, head, &body);
		if (res != RECORD_OK)
			break;
		if (in->len < RECORD_HEADER_LEN + body)
			return keep_rest(o, in, RECORD_HEADER_LEN + body);
		in->p += RECORD_HEADER_LEN + body;
		in->len -= RECORD_HEADER_LEN + body;
		res = open_one(o, head, body);
	}
	return res;
}

enum record_result record_open(
    struct record *r, struct span *in, struct sink *plain, struct sink *reply)
{
	struct opening o;
	enum record_result res;

	/* Field by field: the key's schedule need not be cleared first. */
	o.r = r;
	o.plain = plain;
	o.reply = reply;
	o.updates = 0;
	o.empty = 0;
	if (r->closed) {
		/* What comes behind close_notify is ignored (§6.1). */
		in->p += in->len;
		in->len = 0;
		return RECORD_CLOSED;
	}
	if (r->failed || !aead_begin(&o.a, (enum aead_kind)r->kind, r->rx.key, false))
		return RECORD_FAILED;
	res = open_all(&o, in);
	aead_end(&o.a);
	return res;
}
