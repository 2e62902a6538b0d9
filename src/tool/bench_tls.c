/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/bench_tls.h"

#include <stdio.h>
#include <string.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509.h>

/* The meta certificate's common name: this and the key in hex. */
#define META_NAME "derpkey"

static int span_read(BIO *bio, char *p, size_t len, size_t *got)
{
	struct bench_tls *t = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	*got = MIN(len, t->in_len);
	if (*got == 0) {
		BIO_set_retry_read(bio);
		return 0;
	}
	memcpy(p, t->in, *got);
	t->in += *got;
	t->in_len -= *got;
	return 1;
}

static int span_write(BIO *bio, const char *p, size_t len, size_t *put)
{
	struct bench_tls *t = BIO_get_data(bio);

	CHECK(len <= t->out_cap - t->out_len);
	memcpy(t->out + t->out_len, p, len);
	t->out_len += len;
	*put = len;
	return 1;
}

static long span_ctrl(BIO *bio, int cmd, long num, void *ptr)
{
	return cmd == BIO_CTRL_FLUSH;
}

static int span_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

/* Made once; the process's end frees it. */
static BIO_METHOD *span_method(void)
{
	static BIO_METHOD *m;

	if (!m) {
		m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "span");
		CHECK(m && BIO_meth_set_read_ex(m, span_read) &&
		      BIO_meth_set_write_ex(m, span_write) && BIO_meth_set_ctrl(m, span_ctrl) &&
		      BIO_meth_set_create(m, span_create));
	}
	return m;
}

SSL_CTX *bench_tls_context(const char *ciphers, bool lean)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	CHECK(ctx);
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	/* A server that closes without close_notify has closed all the same. */
	SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_NO_RENEGOTIATION);
	if (lean)
		SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	if (!SSL_CTX_set_ciphersuites(ctx, ciphers)) {
		fprintf(stderr, "sluice bench: -cipher %s: OpenSSL knows no such suite\n", ciphers);
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

void bench_tls_init(struct bench_tls *t, SSL_CTX *ctx)
{
	BIO *bio = BIO_new(span_method());

	memset(t, 0, sizeof(*t));
	t->ssl = SSL_new(ctx);
	CHECK(t->ssl && bio);
	BIO_set_data(bio, t);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_connect_state(t->ssl);
}

void bench_tls_fini(struct bench_tls *t)
{
	SSL_free(t->ssl);
	t->ssl = NULL;
}

static enum bench_tls_result result_of(struct bench_tls *t, int r)
{
	switch (SSL_get_error(t->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		return BENCH_TLS_MORE;
	case SSL_ERROR_ZERO_RETURN:
		return BENCH_TLS_CLOSED;
	default:
		return BENCH_TLS_FAILED;
	}
}

enum bench_tls_result bench_tls_handshake(struct bench_tls *t)
{
	int r;

	ERR_clear_error();
	r = SSL_do_handshake(t->ssl);
	return r == 1 ? BENCH_TLS_DONE : result_of(t, r);
}

enum bench_tls_result bench_tls_open(struct bench_tls *t, uint8_t *plain, size_t *len, size_t cap)
{
	enum bench_tls_result r;
	size_t got;

	ERR_clear_error();
	for (;;) {
		/* OpenSSL doesn't read ahead and `plain` has room, so it holds no whole record
		 * back. */
		if (t->in_len == 0)
			return BENCH_TLS_DONE;
		CHECK(cap - *len >= SSL3_RT_MAX_PLAIN_LENGTH);
		if (SSL_read_ex(t->ssl, plain + *len, cap - *len, &got) != 1)
			break;
		*len += got;
	}
	r = result_of(t, 0);
	return r == BENCH_TLS_MORE ? BENCH_TLS_DONE : r;
}

bool bench_tls_seal(struct bench_tls *t, const uint8_t *p, size_t len)
{
	size_t put;

	return SSL_write_ex(t->ssl, p, len, &put) == 1 && put == len;
}

void bench_tls_close(struct bench_tls *t)
{
	ERR_clear_error();
	SSL_shutdown(t->ssl);
}

bool bench_tls_server_key(const struct bench_tls *t, struct key *k)
{
	STACK_OF(X509) *chain = SSL_get_peer_cert_chain(t->ssl);
	char name[sizeof(META_NAME) + KEY_HEX_LEN + 1];

	for (int i = 0; chain && i < sk_X509_num(chain); i++) {
		X509_NAME *subject = X509_get_subject_name(sk_X509_value(chain, i));
		int len = X509_NAME_get_text_by_NID(subject, NID_commonName, name, sizeof(name));

		if (len == (int)strlen(META_NAME) + KEY_HEX_LEN &&
		    memcmp(name, META_NAME, strlen(META_NAME)) == 0 &&
		    key_unhex(name + strlen(META_NAME), KEY_LEN, k->b))
			return true;
	}
	return false;
}

const char *bench_tls_error(void)
{
	const char *why = ERR_reason_error_string(ERR_peek_last_error());

	return why ? why : "TLS failed";
}
