/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/certs.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/file.h"
#include "daemon/selfcert.h"
#include "io/addr.h"
#include "io/tls.h"

#define PEM_FILE_MAX (1u << 20)
#define DAY_S 86400LL
/* More than a year makes macOS refuse it. */
#define SELF_SIGNED_DAYS 365

/* What hangs on a context and is freed with it. */
struct certs {
	uint64_t renew_at_ms;
	int chain_len; /* certificates besides the meta certificate */
	bool any_name; /* the SNI doesn't matter */
	char hostname[ADDR_HOST_LEN];
	char file[PATH_MAX]; /* the certificate's, for messages */
};

/* What the two files hold. */
struct pair {
	char crt[PATH_MAX], key_file[PATH_MAX];
	X509 *leaf;
	STACK_OF(X509) * chain; /* behind the leaf */
	EVP_PKEY *key;
};

/* --- what hangs on a context --- */

static void certs_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	free(ptr);
}

/* Main makes and asks contexts, nobody else, so there is no race to be first. */
static int certs_index(void)
{
	static int index = -1;

	if (index < 0)
		index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, certs_free);
	CHECK(index >= 0);
	return index;
}

static const struct certs *certs_of(const SSL_CTX *ctx)
{
	const struct certs *c = SSL_CTX_get_ex_data(ctx, certs_index());

	CHECK(c);
	return c;
}

/* Length of a host name without the dot that may end it. */
static size_t name_len(const char *name)
{
	size_t n = strlen(name);

	return n > 0 && name[n - 1] == '.' ? n - 1 : n;
}

/* Called for every handshake, with or without an SNI. Scanners that don't know the name learn
 * nothing about it from a refusal. */
static int check_sni(SSL *ssl, int *alert, void *arg)
{
	const struct certs *c = arg;
	const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	if (c->any_name)
		return SSL_TLSEXT_ERR_OK;
	if (sni && name_len(sni) == name_len(c->hostname) &&
	    strncasecmp(sni, c->hostname, name_len(sni)) == 0)
		return SSL_TLSEXT_ERR_OK;
	*alert = SSL_AD_UNRECOGNIZED_NAME;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* --- files --- */

/* OpenSSL's first complaint since the last call of this, in words. */
static const char *openssl_says(void)
{
	const char *why = ERR_reason_error_string(ERR_get_error());

	ERR_clear_error();
	return why ? why : "unknown error";
}

static bool pair_paths(struct pair *p, const struct options *o, char *err, size_t errlen)
{
	char name[ADDR_HOST_LEN];
	size_t n = 0;

	for (const char *c = o->hostname; *c != '\0' && n + 1 < sizeof(name); c++)
		if (isalnum((unsigned char)*c) || *c == '.' || *c == '-')
			name[n++] = *c;
	name[n] = '\0';
	if ((size_t)snprintf(p->crt, sizeof(p->crt), "%s/%s.crt", o->certdir, name) <
		sizeof(p->crt) &&
	    (size_t)snprintf(p->key_file, sizeof(p->key_file), "%s/%s.key", o->certdir, name) <
		sizeof(p->key_file))
		return true;
	snprintf(err, errlen, "-certdir is too long");
	return false;
}

/* 0, -ENOENT, or -1; err is set in every case but success. */
static int read_pem(
    const char *path, const char *what, char **data, size_t *len, char *err, size_t errlen)
{
	int rc = file_read(path, PEM_FILE_MAX, data, len);

	if (rc == 0)
		return 0;
	snprintf(err, errlen, "cannot read the %s %s: %s%s", what, path, strerror(-rc),
	    rc == -ENOENT ? " (-certdir and -hostname make up its name)" : "");
	return rc == -ENOENT ? rc : -1;
}

static int load_chain(struct pair *p, char *err, size_t errlen)
{
	char *data;
	size_t len;
	int rc = read_pem(p->crt, "certificate", &data, &len, err, errlen);
	BIO *bio;
	X509 *x;

	if (rc != 0)
		return rc;
	bio = BIO_new_mem_buf(data, (int)len);
	p->chain = sk_X509_new_null();
	CHECK(bio && p->chain);
	ERR_clear_error();
	while ((x = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		if (!p->leaf)
			p->leaf = x;
		else
			CHECK(sk_X509_push(p->chain, x) > 0);
	}
	/* Only the end of the file may end it. */
	if (!p->leaf || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
		snprintf(err, errlen, "the certificate %s is not PEM: %s", p->crt, openssl_says());
		rc = -1;
	}
	ERR_clear_error();
	BIO_free(bio);
	file_free(data, len);
	return rc;
}

/* There is nobody to type a passphrase. */
static int no_passphrase(char *buf, int size, int rwflag, void *arg)
{
	return -1;
}

static int load_key(struct pair *p, char *err, size_t errlen)
{
	char *data;
	size_t len;
	int rc = read_pem(p->key_file, "certificate's key", &data, &len, err, errlen);
	BIO *bio;

	if (rc != 0)
		return rc;
	bio = BIO_new_mem_buf(data, (int)len);
	CHECK(bio);
	ERR_clear_error();
	p->key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	if (!p->key && strstr(data, "ENCRYPTED"))
		snprintf(err, errlen, "the key %s has a passphrase: remove it (openssl pkey)",
		    p->key_file);
	else if (!p->key)
		snprintf(err, errlen, "the key %s is not a PEM private key: %s", p->key_file,
		    openssl_says());
	ERR_clear_error();
	BIO_free(bio);
	file_free(data, len);
	return p->key ? 0 : -1;
}

static int write_bio(const char *path, BIO *bio, mode_t mode, char *err, size_t errlen)
{
	char *data;
	long len = BIO_get_mem_data(bio, &data);
	int rc = file_make_parents(path, 0700);

	if (rc == 0)
		rc = file_create(path, data, (size_t)len, mode);
	if (rc != 0)
		snprintf(err, errlen, "cannot make %s: %s", path, strerror(-rc));
	return rc == 0 ? 0 : -1;
}

/* The key is written first: should we die in between, the next start goes on with it. */
static int make_self_signed(struct pair *p, const char *ip, char *err, size_t errlen)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	int rc = -1;

	CHECK(bio);
	snprintf(err, errlen, "cannot make a certificate: OpenSSL fails");
	if (!p->key) {
		p->key = EVP_EC_gen("P-256");
		if (!p->key ||
		    PEM_write_bio_PrivateKey(bio, p->key, NULL, NULL, 0, NULL, NULL) != 1 ||
		    write_bio(p->key_file, bio, 0600, err, errlen) != 0)
			goto out;
		(void)BIO_reset(bio);
	}
	p->leaf = selfcert_for_ip(p->key, ip, SELF_SIGNED_DAYS);
	if (!p->leaf || PEM_write_bio_X509(bio, p->leaf) != 1 ||
	    write_bio(p->crt, bio, 0644, err, errlen) != 0)
		goto out;
	log_info("made a self-signed certificate for %s in %s", ip, p->crt);
	rc = 0;
out:
	BIO_free(bio);
	return rc;
}

static int load_pair(struct pair *p, const struct options *o, char *err, size_t errlen)
{
	int crt = load_chain(p, err, errlen), key;

	if (crt == -1 || (crt != 0 && !o->hostname_is_ip))
		return -1;
	key = load_key(p, err, errlen);
	if (key == -1 || (key != 0 && crt == 0))
		return -1;
	return crt == 0 ? 0 : make_self_signed(p, o->hostname, err, errlen);
}

static void pair_fini(struct pair *p)
{
	X509_free(p->leaf);
	sk_X509_pop_free(p->chain, X509_free);
	EVP_PKEY_free(p->key);
}

/* --- contexts --- */

static bool is_for(X509 *leaf, const struct options *o)
{
	/* The common name counts for nothing, as in every current client. */
	const unsigned flags =
	    X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS;

	if (o->hostname_is_ip)
		return X509_check_ip_asc(leaf, o->hostname, 0) == 1;
	return X509_check_host(leaf, o->hostname, name_len(o->hostname), flags, NULL) == 1;
}

/* Puts leaf, chain, key and meta certificate into the context, which takes references. */
static bool fill(SSL_CTX *ctx, struct pair *p, const struct login_keys *server)
{
	X509 *meta;

	if (SSL_CTX_use_certificate(ctx, p->leaf) != 1 || SSL_CTX_use_PrivateKey(ctx, p->key) != 1)
		return false;
	for (int i = 0; i < sk_X509_num(p->chain); i++)
		if (SSL_CTX_add1_chain_cert(ctx, sk_X509_value(p->chain, i)) != 1)
			return false;
	/* With a chain of its own the context sends just that, and builds none. */
	meta = selfcert_meta(&server->public, CERTS_META_DAYS);
	if (!meta || SSL_CTX_add0_chain_cert(ctx, meta) != 1) {
		X509_free(meta);
		return false;
	}
	return true;
}

static void attach(SSL_CTX *ctx, const struct pair *p, const struct options *o)
{
	struct certs *c = must_calloc(1, sizeof(*c));

	c->renew_at_ms = clock_wall_ms() + CERTS_META_RENEW_DAYS * DAY_S * 1000;
	c->chain_len = 1 + MAX(sk_X509_num(p->chain), 0);
	c->any_name = o->hostname_is_ip;
	snprintf(c->hostname, sizeof(c->hostname), "%s", o->hostname);
	snprintf(c->file, sizeof(c->file), "%s", p->crt);
	CHECK(SSL_CTX_set_ex_data(ctx, certs_index(), c) == 1);
	SSL_CTX_set_tlsext_servername_callback(ctx, check_sni);
	SSL_CTX_set_tlsext_servername_arg(ctx, c);
}

SSL_CTX *certs_server_ctx(
    const struct options *o, const struct login_keys *server, char *err, size_t errlen)
{
	struct pair p = {0};
	SSL_CTX *ctx = NULL;

	if (!pair_paths(&p, o, err, errlen) || load_pair(&p, o, err, errlen) != 0)
		goto out;
	if (X509_check_private_key(p.leaf, p.key) != 1) {
		snprintf(err, errlen, "the key %s does not belong to the certificate %s",
		    p.key_file, p.crt);
		goto out;
	}
	if (!is_for(p.leaf, o)) {
		snprintf(err, errlen,
		    "the certificate %s is not for -hostname %s: that must be one of its subject "
		    "alternative names",
		    p.crt, o->hostname);
		goto out;
	}
	ctx = tls_server_ctx_new();
	if (!ctx || !fill(ctx, &p, server)) {
		snprintf(err, errlen, "cannot use the certificate %s: %s", p.crt, openssl_says());
		SSL_CTX_free(ctx);
		ctx = NULL;
		goto out;
	}
	attach(ctx, &p, o);
out:
	ERR_clear_error();
	pair_fini(&p);
	return ctx;
}

uint64_t certs_renew_at(const SSL_CTX *ctx)
{
	return certs_of(ctx)->renew_at_ms;
}

/* --- what the operator is told --- */

void certs_announce(const SSL_CTX *ctx, const struct options *o)
{
	const struct certs *c = certs_of(ctx);
	unsigned char sum[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1], pin[160] = "", ports[64] = "";
	char host[ADDR_HOST_LEN], why[128];
	unsigned len;
	uint16_t port;
	int n = 0;

	if (!o->hostname_is_ip)
		return;
	/* A pinned certificate must be the only one, so one that came with its issuers can't be. */
	if (c->chain_len == 1) {
		CHECK(X509_digest(SSL_CTX_get0_certificate(ctx), EVP_sha256(), sum, &len) == 1);
		key_hex(sum, len, hex);
		snprintf(pin, sizeof(pin), ",\"CertName\":\"sha256-raw:%s\"", hex);
	}
	CHECK(addr_split(o->listen, host, &port, why, sizeof(why)) == 0);
	if (!o->stun || o->stun_port != 3478)
		n = snprintf(ports, sizeof(ports), ",\"STUNPort\":%d", o->stun ? o->stun_port : -1);
	if (port != 443)
		snprintf(ports + n, sizeof(ports) - (size_t)n, ",\"DERPPort\":%u", port);
	log_info("certificate for IP address %s: configure it in the DERP map "
		 "(https://tailscale.com/s/custom-derp) as node "
		 "{\"Name\":\"custom\",\"RegionID\":900,\"HostName\":\"%s\"%s%s}",
	    o->hostname, o->hostname, pin, ports);
}

static time_t to_time(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? timegm(&tm) : 0;
}

void certs_warn_expiry(const SSL_CTX *ctx)
{
	const struct certs *c = certs_of(ctx);
	const X509 *leaf = SSL_CTX_get0_certificate(ctx);
	time_t now = time(NULL), end = to_time(X509_get0_notAfter(leaf));
	char when[CLOCK_RFC3339_LEN];

	clock_rfc3339((uint64_t)MAX(end, 0) * 1000, when);
	if (to_time(X509_get0_notBefore(leaf)) > now)
		log_warn(
		    "the certificate %s is not valid yet: is this machine's clock right?", c->file);
	else if (end <= now)
		log_warn("the certificate %s has expired at %s: clients refuse it; replace it",
		    c->file, when);
	else if (end - now < CERTS_WARN_DAYS * DAY_S)
		log_warn("the certificate %s ends at %s: replace it in time", c->file, when);
}
