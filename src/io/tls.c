/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/tls.h"

#include <stdlib.h>
#include <string.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "io/addr.h"
#include "io/metacert.h"
#include "io/provider.h"
#include "io/record.h"

/* What a handshake needs, gone when it is done. */
struct shake {
	struct provider_secrets secrets;
	/* of a client */
	const uint8_t *pin;  /* the caller's; NULL without */
	unsigned long error; /* OpenSSL's, why it failed; 0 unknown */
	struct key *meta;    /* where the server's key goes, the caller's; NULL: not asked for */
};

/* A connection is on OpenSSL (handshake, TLS 1.2) or on our record layer, never on both. */
struct tls {
	SSL *ssl; /* NULL once the record layer has taken over */
	uint8_t minor;
	bool client;
	union {
		struct {
			/* set only while a call is under way */
			struct span *in;
			struct sink *out;
			struct shake *shake; /* NULL when done */
		};
		struct record record;
	};
};

static bool use_records = true;

void tls_use_records(bool on)
{
	use_records = on;
}

/* ---- OpenSSL on memory of ours --------------------------------------------------------------- */

static int span_read(BIO *b, char *buf, int len)
{
	struct tls *t = BIO_get_data(b);
	size_t n;

	BIO_clear_retry_flags(b);
	if (!t->in || t->in->len == 0) {
		BIO_set_retry_read(b);
		return -1;
	}
	n = MIN((size_t)len, t->in->len);
	memcpy(buf, t->in->p, n);
	t->in->p += n;
	t->in->len -= n;
	return (int)n;
}

static int sink_write(BIO *b, const char *buf, int len)
{
	struct tls *t = BIO_get_data(b);

	BIO_clear_retry_flags(b);
	if (!t->out || sink_room(t->out) < (size_t)len)
		return -1;
	sink_put(t->out, buf, (size_t)len);
	return len;
}

static long span_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	return cmd == BIO_CTRL_FLUSH;
}

static BIO_METHOD *span_method(void)
{
	static BIO_METHOD *m;

	if (!m) {
		m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "span");
		CHECK(m);
		BIO_meth_set_read(m, span_read);
		BIO_meth_set_write(m, sink_write);
		BIO_meth_set_ctrl(m, span_ctrl);
	}
	return m;
}

/* http/1.1 when it is offered; a client that offers only others goes on without ALPN. */
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *outlen,
    const unsigned char *in, unsigned int inlen, void *arg)
{
	static const unsigned char ours[] = "\x08http/1.1";
	unsigned char *sel;

	if (SSL_select_next_proto(&sel, outlen, ours, sizeof(ours) - 1, in, inlen) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = sel;
	return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *ctx_new(const SSL_METHOD *side)
{
	(void)!provider_init();
	return SSL_CTX_new_ex(NULL, PROVIDER_QUERY, side);
}

/* What both sides have in common; false when OpenSSL fails. */
static bool set_up(SSL_CTX *ctx)
{
	aead_init();
	span_method();
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(
	    ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* Bytes behind the handshake must stay with us. */
	SSL_CTX_set_read_ahead(ctx, 0);
	return SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
	       SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
					     "TLS_CHACHA20_POLY1305_SHA256") == 1;
}

SSL_CTX *tls_server_ctx_new(void)
{
	SSL_CTX *ctx = ctx_new(TLS_server_method());

	if (ctx && !set_up(ctx)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	if (ctx) {
		SSL_CTX_set_num_tickets(ctx, 0);
		SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
	}
	return ctx;
}

/* ---- Whom a client trusts -------------------------------------------------------------------- */

/* The very certificate that is pinned, and today within its dates, as upstream's clients want it.
 * What else lies in the chain proves nothing and harms nothing. */
static int verify_pin(X509_STORE_CTX *store, const uint8_t *pin)
{
	X509 *leaf = X509_STORE_CTX_get0_cert(store);
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned int n = 0;
	int why = X509_V_OK;

	if (!leaf || X509_digest(leaf, EVP_sha256(), digest, &n) != 1 || n != TLS_PIN_LEN ||
	    CRYPTO_memcmp(digest, pin, TLS_PIN_LEN) != 0)
		why = X509_V_ERR_APPLICATION_VERIFICATION;
	else if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0)
		why = X509_V_ERR_CERT_NOT_YET_VALID;
	else if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0)
		why = X509_V_ERR_CERT_HAS_EXPIRED;
	X509_STORE_CTX_set_error(store, why);
	return why == X509_V_OK;
}

static int verify(X509_STORE_CTX *store, void *arg)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls *t = SSL_get_app_data(ssl);

	int good =
	    t->shake && t->shake->pin ? verify_pin(store, t->shake->pin) : X509_verify_cert(store);

	/* What was looked for in vain on the way to a good chain is no failure of the handshake. */
	if (good == 1)
		ERR_clear_error();
	return good;
}

SSL_CTX *tls_client_ctx_new(void)
{
	SSL_CTX *ctx = ctx_new(TLS_client_method());

	if (!ctx)
		return NULL;
	if (!set_up(ctx) || SSL_CTX_set_default_verify_paths(ctx) != 1) {
		SSL_CTX_free(ctx);
		ERR_clear_error();
		return NULL;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(ctx, verify, NULL);
	/* A server's own certificate may be what is trusted, too. */
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN);
	return ctx;
}

static int take_any(X509_STORE_CTX *store, void *arg)
{
	return 1;
}

SSL_CTX *tls_unverified_ctx_new(const char *suites)
{
	SSL_CTX *ctx = ctx_new(TLS_client_method());

	if (ctx && (!set_up(ctx) || SSL_CTX_set_ciphersuites(ctx, suites) != 1)) {
		SSL_CTX_free(ctx);
		ctx = NULL;
	}
	if (ctx)
		SSL_CTX_set_cert_verify_callback(ctx, take_any, NULL);
	ERR_clear_error();
	return ctx;
}

/* For whom the certificate must be good. No SNI for addresses (RFC 6066 §3), none with a dot at the
 * end; subjects are not looked at where names belong into the extension. */
static bool set_host(SSL *ssl, const char *host)
{
	char name[ADDR_HOST_LEN];
	size_t len = strlen(host);
	struct addr ip;

	if (addr_parse_ip(host, &ip))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	if (len > 0 && host[len - 1] == '.')
		len--;
	if (len == 0 || len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	SSL_set_hostflags(
	    ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

void tls_error_text(const struct tls *t, char out[TLS_ERROR_LEN])
{
	const char *reason = NULL;
	long why = t->ssl ? SSL_get_verify_result(t->ssl) : X509_V_OK;

	if (why == X509_V_ERR_APPLICATION_VERIFICATION) {
		snprintf(out, TLS_ERROR_LEN, "the certificate is not the one of -mesh-pin");
	} else if (why == X509_V_ERR_HOSTNAME_MISMATCH || why == X509_V_ERR_IP_ADDRESS_MISMATCH) {
		snprintf(out, TLS_ERROR_LEN, "the certificate is for another name: %s",
		    X509_verify_cert_error_string(why));
	} else if (why == X509_V_ERR_CERT_HAS_EXPIRED || why == X509_V_ERR_CERT_NOT_YET_VALID) {
		snprintf(out, TLS_ERROR_LEN,
		    "the certificate is not good today: %s (or a clock is wrong)",
		    X509_verify_cert_error_string(why));
	} else if (why != X509_V_OK) {
		snprintf(out, TLS_ERROR_LEN,
		    "the certificate is not trusted: %s (use -mesh-ca or -mesh-pin)",
		    X509_verify_cert_error_string(why));
	} else {
		if (t->ssl && t->shake && t->shake->error)
			reason = ERR_reason_error_string(t->shake->error);
		snprintf(out, TLS_ERROR_LEN, "the TLS handshake failed%s%s", reason ? ": " : "",
		    reason ? reason : "");
	}
}

/* ---- Connections ----------------------------------------------------------------------------- */

static struct tls *engine_new(SSL_CTX *ctx)
{
	struct tls *t = calloc(1, sizeof(*t));
	BIO *b;

	if (!t)
		return NULL;
	t->ssl = SSL_new(ctx);
	t->shake = calloc(1, sizeof(*t->shake));
	b = BIO_new(span_method());
	if (!t->ssl || !b || !t->shake) {
		BIO_free(b);
		tls_free(t);
		ERR_clear_error();
		return NULL;
	}
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	SSL_set_bio(t->ssl, b, b);
	SSL_set_app_data(t->ssl, t);
	return t;
}

struct tls *tls_new(SSL_CTX *ctx)
{
	struct tls *t = engine_new(ctx);

	if (t)
		SSL_set_accept_state(t->ssl);
	return t;
}

struct tls *tls_new_client(SSL_CTX *ctx, const char *host, const uint8_t *pin)
{
	struct tls *t = engine_new(ctx);

	if (!t)
		return NULL;
	t->client = true;
	t->shake->pin = pin;
	/* Nothing but a context that verifies nothing goes without a name. */
	CHECK(host || SSL_CTX_get_verify_mode(ctx) == SSL_VERIFY_NONE);
	if (host && !set_host(t->ssl, host)) {
		tls_free(t);
		ERR_clear_error();
		return NULL;
	}
	SSL_set_connect_state(t->ssl);
	return t;
}

void tls_learn_server_key(struct tls *t, struct key *key)
{
	CHECK(t->client && t->shake);
	t->shake->meta = key;
}

static void shake_free(struct tls *t)
{
	if (t->shake)
		OPENSSL_cleanse(t->shake, sizeof(*t->shake));
	free(t->shake);
	t->shake = NULL;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	if (t->ssl || t->minor == 0) {
		shake_free(t);
		SSL_free(t->ssl);
	} else {
		record_fini(&t->record);
	}
	free(t);
}

/* Errors are told apart by SSL_get_error, which wants the thread's error queue to be empty before
 * each call: it is cleared whenever something was put there. */
static enum tls_result tls_verdict(struct tls *t, int ret)
{
	switch (SSL_get_error(t->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_CLOSED;
	default:
		if (t->shake)
			t->shake->error = ERR_peek_last_error();
		ERR_clear_error();
		return TLS_FAILED;
	}
}

/* The cipher of our record layer for what was agreed on; false when it is OpenSSL's to go on. */
static bool suite_kind(const struct tls *t, enum aead_kind *kind)
{
	if (!use_records || t->minor != 13 || SSL_has_pending(t->ssl))
		return false;
	switch (SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(t->ssl))) {
	case 0x1301:
		*kind = AEAD_AES_128_GCM;
		return true;
	case 0x1302:
		*kind = AEAD_AES_256_GCM;
		return true;
	case 0x1303:
		*kind = AEAD_CHACHA20_POLY1305;
		return true;
	default:
		return false;
	}
}

/* The handshake is done: from here on it is our record layer, or OpenSSL with larger reads. A
 * server has sent no ticket, a client has read none yet, and nothing was read beyond Finished, so
 * that both sequence numbers are 0. */
static void take_over(struct tls *t)
{
	struct shake *k = t->shake;
	const struct provider_secrets *s = &k->secrets;
	enum aead_kind kind;

	t->minor = SSL_version(t->ssl) == TLS1_3_VERSION ? 13 : 12;
	if (k->meta)
		(void)!metacert_key(SSL_get_peer_cert_chain(t->ssl), k->meta);
	if (suite_kind(t, &kind) && s->client_len > 0 && s->client_len == s->server_len) {
		t->shake = NULL;
		SSL_free(t->ssl);
		t->ssl = NULL;
		record_init(&t->record, kind, s->client_len, t->client ? s->server : s->client,
		    t->client ? s->client : s->server);
		if (t->client)
			record_as_client(&t->record);
		OPENSSL_cleanse(k, sizeof(*k));
		free(k);
		return;
	}
	shake_free(t);
	SSL_set_read_ahead(t->ssl, 1);
}

enum tls_result tls_handshake(struct tls *t, struct span *in, struct sink *out)
{
	int ret;

	t->in = in;
	t->out = out;
	provider_listen(&t->shake->secrets);
	ret = SSL_do_handshake(t->ssl);
	provider_listen(NULL);
	t->in = NULL;
	t->out = NULL;
	if (ret != 1)
		return tls_verdict(t, ret);
	take_over(t);
	return TLS_OK;
}

/* OpenSSL's buffers, 16 KiB each way, are held only during a call, but for the rest of a record.
 * SSL_MODE_RELEASE_BUFFERS would free and allocate them once a record instead of once a call. */
static void drop_buffers(struct tls *t)
{
	SSL_free_buffers(t->ssl);
}

static enum tls_result open_records(
    struct tls *t, struct span *in, struct sink *plain, struct sink *reply)
{
	switch (record_open(&t->record, in, plain, reply)) {
	case RECORD_OK:
		return TLS_OK;
	case RECORD_CLOSED:
		return TLS_CLOSED;
	case RECORD_FAILED:
		break;
	}
	return TLS_FAILED;
}

enum tls_result tls_open(struct tls *t, struct span *in, struct sink *plain, struct sink *reply)
{
	enum tls_result res = TLS_OK;

	if (!t->ssl)
		return open_records(t, in, plain, reply);

	t->in = in;
	t->out = reply;
	for (;;) {
		size_t n;
		int ret;

		CHECK(sink_room(plain) > 0);
		ret = SSL_read_ex(t->ssl, plain->p + plain->len, sink_room(plain), &n);
		if (ret != 1) {
			res = tls_verdict(t, ret);
			break;
		}
		plain->len += n;
	}
	t->in = NULL;
	t->out = NULL;
	drop_buffers(t);
	return res == TLS_WANT_READ ? TLS_OK : res;
}

bool tls_seal_each(struct tls *t, const uint8_t *p, size_t len, size_t each, struct sink *out)
{
	int ret = 1;

	if (!t->ssl)
		return record_seal_each(&t->record, p, len, each, out);
	t->out = out;
	while (len > 0 && ret == 1) {
		size_t n = MIN(len, each);
		size_t done;

		ret = SSL_write_ex(t->ssl, p, n, &done);
		p += n;
		len -= n;
	}
	t->out = NULL;
	drop_buffers(t);
	if (ret == 1)
		return true;
	ERR_clear_error();
	return false;
}

bool tls_seal(struct tls *t, const uint8_t *p, size_t len, struct sink *out)
{
	return tls_seal_each(t, p, len, TLS_RECORD_MAX, out);
}

void tls_close(struct tls *t, struct sink *out)
{
	if (!t->ssl) {
		record_close(&t->record, out);
		return;
	}
	t->out = out;
	if (SSL_is_init_finished(t->ssl))
		SSL_shutdown(t->ssl);
	ERR_clear_error();
	t->out = NULL;
}

void tls_prefetch(const struct tls *t)
{
	prefetch(t, sizeof(*t));
}

int tls_minor_version(const struct tls *t)
{
	return t->minor;
}

bool tls_on_records(const struct tls *t)
{
	return t->minor != 0 && !t->ssl;
}
