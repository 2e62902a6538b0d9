/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/tls.h"

#include <stdlib.h>
#include <openssl/bio.h>
#include <openssl/err.h>

struct tls {
	SSL *ssl;
	/* set only while a call is under way */
	struct span *in;
	struct sink *out;
};

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

SSL_CTX *tls_server_ctx_new(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx)
		return NULL;
	span_method();
	SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(
	    ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
	if (SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20") != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
					  "TLS_CHACHA20_POLY1305_SHA256") != 1) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

struct tls *tls_new(SSL_CTX *ctx)
{
	struct tls *t = calloc(1, sizeof(*t));
	BIO *b;

	if (!t)
		return NULL;
	t->ssl = SSL_new(ctx);
	b = BIO_new(span_method());
	if (!t->ssl || !b) {
		BIO_free(b);
		tls_free(t);
		ERR_clear_error();
		return NULL;
	}
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	SSL_set_bio(t->ssl, b, b);
	SSL_set_accept_state(t->ssl);
	return t;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
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
		ERR_clear_error();
		return TLS_FAILED;
	}
}

enum tls_result tls_handshake(struct tls *t, struct span *in, struct sink *out)
{
	int ret;

	t->in = in;
	t->out = out;
	ret = SSL_do_handshake(t->ssl);
	t->in = NULL;
	t->out = NULL;
	return ret == 1 ? TLS_OK : tls_verdict(t, ret);
}

/* OpenSSL's buffers, 16 KiB each way, are held only during a call, but for the rest of a record.
 * SSL_MODE_RELEASE_BUFFERS would free and allocate them once a record instead of once a call. */
static void drop_buffers(struct tls *t)
{
	SSL_free_buffers(t->ssl);
}

enum tls_result tls_open(struct tls *t, struct span *in, struct sink *plain, struct sink *reply)
{
	enum tls_result res = TLS_OK;

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

bool tls_seal(struct tls *t, const uint8_t *p, size_t len, struct sink *out)
{
	int ret = 1;

	t->out = out;
	while (len > 0 && ret == 1) {
		size_t n = MIN(len, TLS_RECORD_MAX);
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

void tls_close(struct tls *t, struct sink *out)
{
	t->out = out;
	if (SSL_is_init_finished(t->ssl))
		SSL_shutdown(t->ssl);
	ERR_clear_error();
	t->out = NULL;
}

int tls_minor_version(const struct tls *t)
{
	return SSL_version(t->ssl) == TLS1_3_VERSION ? 13 : 12;
}
