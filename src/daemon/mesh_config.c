/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/mesh_config.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/log.h"
#include "daemon/file.h"
#include "io/addr.h"
#include "io/tls.h"

#define KEY_FILE_MAX (4u << 10)
#define KEY_FILE_OF_DERP "/home/derp/keys/derp-mesh.key"
#define KEY_ENV "TAILSCALE_DERPER_MESH_KEY"
#define CA_FILE_MAX (4u << 20)
#define PIN_PREFIX "sha256-raw:"
#define BLANKS " \t\r\n"
/* Longest name in the DNS. */
#define NAME_MAX_LEN 253
#define ENTRY_MAX 600

/* ---- Lists ----------------------------------------------------------------------------------- */

/* Takes the next entry off a comma-separated list, without the blanks around it. 0 at the end, 1,
 * or -1 when it is empty or too long. */
static int next_entry(const char **list, char out[ENTRY_MAX])
{
	const char *begin = *list;
	size_t len;

	if (!begin)
		return 0;
	len = strcspn(begin, ",");
	*list = begin[len] == ',' ? begin + len + 1 : NULL;
	while (len > 0 && strchr(BLANKS, *begin)) {
		begin++;
		len--;
	}
	while (len > 0 && strchr(BLANKS, begin[len - 1]))
		len--;
	if (len == 0 || len >= ENTRY_MAX)
		return -1;
	memcpy(out, begin, len);
	out[len] = '\0';
	return 1;
}

/* A list without anything in it. */
static bool is_blank(const char *text)
{
	return text[strspn(text, BLANKS)] == '\0';
}

/* A name that can be asked for, sent as SNI and put into a Host field. */
static bool is_name(const char *text)
{
	size_t len = strlen(text);

	if (len == 0 || len > NAME_MAX_LEN || text[0] == '-' || text[0] == '.')
		return false;
	for (const char *p = text; *p != '\0'; p++)
		if (!isalnum((unsigned char)*p) && !strchr("-_.", *p))
			return false;
	return !strstr(text, "..");
}

/* A name or an IP address, the latter in brackets if there are any. */
static bool is_host(const char *text)
{
	struct addr ip;

	return addr_parse_ip(text, &ip) || is_name(text);
}

/* "name", "name:port", "ip", "[ip]", "[ip]:port" into host (ADDR_HOST_LEN) and port, which is 0
 * when there is none. NULL, or what is wrong. */
static const char *split_host(const char *text, char *host, uint16_t *port)
{
	const char *colon = strrchr(text, ':'), *close = strrchr(text, ']');
	bool bracket = text[0] == '[';
	size_t len = strlen(text);
	struct addr ip;
	char *end;
	long n;

	*port = 0;
	if (!bracket && colon && strchr(text, ':') != colon)
		return "an IPv6 address needs brackets, as in [::1] or [::1]:4443";
	if (bracket && (!close || (close[1] != '\0' && close[1] != ':')))
		return "the closing ] must end the address or come right before :port";
	if (colon && (!bracket || colon > close)) {
		n = isdigit((unsigned char)colon[1]) ? strtol(colon + 1, &end, 10) : 0;
		if (n < 1 || n > UINT16_MAX || *end != '\0')
			return "the port must be a number from 1 to 65535";
		*port = (uint16_t)n;
		len = (size_t)(colon - text);
	}
	if (bracket) {
		text++;
		len -= 2;
	}
	if (len >= ADDR_HOST_LEN)
		return "the host is too long";
	memcpy(host, text, len);
	host[len] = '\0';
	if (bracket ? !addr_parse_ip(host, &ip) || ip.ss.ss_family != AF_INET6 : !is_host(host))
		return bracket ? "there is no IPv6 address in the brackets"
			       : "the host must be a name or an IP address, without a scheme";
	return NULL;
}

/* ---- Links ----------------------------------------------------------------------------------- */

/* What is dialled instead of the host: no port, brackets or not. NULL, or what is wrong. */
static const char *read_dial(const char *text, char *dial)
{
	size_t len = strlen(text);
	struct addr ip;

	if (text[0] == '[' && len > 2 && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len >= ADDR_HOST_LEN)
		return "what is to be dialled is too long";
	memcpy(dial, text, len);
	dial[len] = '\0';
	if (is_host(dial))
		return NULL;
	if (strchr(dial, ':') && !addr_parse_ip(dial, &ip))
		return "what stands behind the slash is dialled on the host's port: it must be a "
		       "name or an IP address without a port";
	return "what stands behind the slash must be a name or an IP address";
}

static const char *add_link(struct mesh *m, char *entry)
{
	char host[ADDR_HOST_LEN], dial[ADDR_HOST_LEN];
	char *slash = strchr(entry, '/');
	struct mesh_link *l;
	const char *wrong;
	uint16_t port;

	if (slash && strchr(slash + 1, '/'))
		return "an entry is HOST or HOST/DIAL, with one slash at most";
	if (m->n == MESH_LINKS_MAX)
		return "there are too many entries (at most 32)";
	if (slash)
		*slash = '\0';
	wrong = split_host(entry, host, &port);
	if (!wrong && slash)
		wrong = read_dial(slash + 1, dial);
	if (slash)
		*slash = '/';
	if (wrong)
		return wrong;
	port = port ? port : MESH_PORT;
	for (l = m->link; l < m->link + m->n; l++)
		if (l->port == port && strcasecmp(l->host, host) == 0 &&
		    strcasecmp(l->dial, slash ? dial : host) == 0)
			return "it is in the list twice";
	m->n++;
	l->host = must_strdup(host);
	l->dial = must_strdup(slash ? dial : host);
	l->port = port;
	return NULL;
}

_Static_assert(MESH_LINKS_MAX == 32, "the text above says so too");

/* Pins the links to that host; a port only where it is given. NULL, or what is wrong. */
static const char *add_pin(struct mesh *m, char *entry)
{
	char *equals = strchr(entry, '='), host[ADDR_HOST_LEN];
	uint8_t pin[MESH_PIN_LEN];
	const char *wrong;
	uint16_t port;
	int hits = 0;

	if (!equals || strncmp(equals + 1, PIN_PREFIX, strlen(PIN_PREFIX)) != 0 ||
	    !key_unhex(equals + 1 + strlen(PIN_PREFIX), sizeof(pin), pin))
		return "write HOST=" PIN_PREFIX " and the 64 hex digits of the certificate's "
		       "SHA-256";
	*equals = '\0';
	wrong = split_host(entry, host, &port);
	*equals = '=';
	if (wrong)
		return wrong;
	for (struct mesh_link *l = m->link; l < m->link + m->n; l++) {
		if (strcasecmp(l->host, host) != 0 || (port && l->port != port))
			continue;
		if (l->has_pin)
			return "that host is pinned twice";
		l->has_pin = true;
		memcpy(l->pin, pin, sizeof(pin));
		hits++;
	}
	return hits ? NULL : "that host is not in -mesh-with";
}

/* Adds each entry of a list; -1 with err, which begins with `where`. */
static int parse_list(struct mesh *m, const char *text,
    const char *(*add)(struct mesh *m, char *entry), const char *where, char *err, size_t errlen)
{
	char entry[ENTRY_MAX];
	const char *wrong;
	int got;

	if (is_blank(text))
		return 0;
	while ((got = next_entry(&text, entry)) > 0) {
		wrong = add(m, entry);
		if (wrong) {
			snprintf(err, errlen, "%s\"%s\": %s", where, entry, wrong);
			return -1;
		}
	}
	if (got == 0)
		return 0;
	snprintf(err, errlen, "%san entry is empty or too long", where);
	return -1;
}

static int parse_with(struct mesh *m, const char *text, char *err, size_t errlen)
{
	return parse_list(m, text, add_link, "", err, errlen);
}

static int parse_pins(struct mesh *m, const char *text, char *err, size_t errlen)
{
	return parse_list(m, text, add_pin, "-mesh-pin: ", err, errlen);
}

/* ---- The key --------------------------------------------------------------------------------- */

/* Blanks around it are skipped. What is wrong never quotes it. */
static const char *read_key(struct mesh *m, const char *text)
{
	char hex[2 * MESH_KEY_LEN + 1];
	bool ok = false;
	size_t len;

	text += strspn(text, BLANKS);
	len = strcspn(text, BLANKS);
	if (len == sizeof(hex) - 1 && is_blank(text + len)) {
		memcpy(hex, text, len);
		hex[len] = '\0';
		ok = key_unhex(hex, MESH_KEY_LEN, m->key);
		sodium_memzero(hex, sizeof(hex));
	}
	if (!ok)
		return "must hold 64 hex digits and nothing else";
	if (sodium_is_zero(m->key, MESH_KEY_LEN))
		return "holds nothing but zeros, which never match: draw a key, for example with "
		       "openssl rand -hex 32";
	m->has_key = true;
	return NULL;
}

static int read_key_file(struct mesh *m, const char *path, char *err, size_t errlen)
{
	const char *wrong;
	struct stat st;
	char *data;
	size_t len;
	int rc = file_read(path, KEY_FILE_MAX, &data, &len);

	if (rc != 0) {
		snprintf(err, errlen, "cannot read the mesh key (-mesh-psk-file) %s: %s", path,
		    strerror(-rc));
		return -1;
	}
	if (stat(path, &st) == 0 && (st.st_mode & 077) != 0)
		log_warn("others than its owner may use the mesh key %s: chmod 600 it", path);
	wrong =
	    strlen(data) == len ? read_key(m, data) : "must hold 64 hex digits and nothing else";
	file_free(data, len);
	if (!wrong)
		return 0;
	snprintf(err, errlen, "the mesh key file (-mesh-psk-file) %s %s", path, wrong);
	return -1;
}

/* Where upstream looks when it isn't told. */
static int read_default_file(struct mesh *m, char *err, size_t errlen)
{
	const char *home = getenv("HOME");
	char path[4096];

	if (access(KEY_FILE_OF_DERP, F_OK) == 0)
		return read_key_file(m, KEY_FILE_OF_DERP, err, errlen);
	if (!home || *home == '\0')
		return 0;
	snprintf(path, sizeof(path), "%s/keys/derp-mesh.key", home);
	return access(path, F_OK) == 0 ? read_key_file(m, path, err, errlen) : 0;
}

/* The option's text, and what the environment keeps of it. */
static void wipe_text(const struct options *o)
{
	char *env = getenv(KEY_ENV);

	sodium_memzero(o->mesh_key, strlen(o->mesh_key));
	if (env)
		sodium_memzero(env, strlen(env));
}

static int find_key(const struct options *o, struct mesh *m, char *err, size_t errlen)
{
	const char *wrong;

	if (!o->dev && *o->mesh_psk_file)
		return read_key_file(m, o->mesh_psk_file, err, errlen);
	if (!o->dev)
		return read_default_file(m, err, errlen);
	if (*o->mesh_psk_file)
		log_warn("-mesh-psk-file does not count with -dev: " KEY_ENV " does");
	if (*o->mesh_key == '\0')
		return 0;
	wrong = read_key(m, o->mesh_key);
	if (!wrong)
		return 0;
	snprintf(err, errlen, KEY_ENV " %s", wrong);
	return -1;
}

/* ---- The whole ------------------------------------------------------------------------------- */

static struct mesh *mesh_new(void)
{
	void *p;

	CHECK(posix_memalign(&p, 64, sizeof(struct mesh)) == 0);
	return memset(p, 0, sizeof(struct mesh));
}

void mesh_config_free(struct mesh *m)
{
	if (!m)
		return;
	for (int i = 0; i < m->n; i++) {
		free(m->link[i].host);
		free(m->link[i].dial);
	}
	free(m->peers);
	sodium_memzero(m, sizeof(*m));
	free(m);
}

const char *mesh_check_with(const char *text)
{
	static char err[ENTRY_MAX + 256];
	struct mesh *m = mesh_new();
	int rc = parse_with(m, text, err, sizeof(err));

	mesh_config_free(m);
	return rc == 0 ? NULL : err;
}

static int parse_lists(const struct options *o, struct mesh *m, char *err, size_t errlen)
{
	char why[ENTRY_MAX + 256];

	if (parse_with(m, o->mesh_with, why, sizeof(why)) < 0) {
		snprintf(err, errlen, "-mesh-with: %s", why);
		return -1;
	}
	return parse_pins(m, o->mesh_pin, err, errlen);
}

int mesh_check_lists(const struct options *o, char *err, size_t errlen)
{
	struct mesh *m = mesh_new();
	int rc = parse_lists(o, m, err, errlen);

	mesh_config_free(m);
	return rc;
}

static int fill(const struct options *o, struct mesh *m, char *err, size_t errlen)
{
	if (parse_lists(o, m, err, errlen) < 0 || find_key(o, m, err, errlen) < 0)
		return -1;
	if (m->n == 0 || m->has_key)
		return 0;
	snprintf(err, errlen,
	    o->dev ? "-mesh-with needs the mesh key: with -dev it comes from " KEY_ENV
		   : "-mesh-with needs -mesh-psk-file: the file of the key that all nodes of the "
		     "mesh share");
	return -1;
}

int mesh_config_new(
    const struct options *o, int workers, struct mesh **mesh, char *err, size_t errlen)
{
	struct mesh *m = mesh_new();
	size_t size = (size_t)workers * sizeof(*m->peers);
	void *p;
	int rc = fill(o, m, err, errlen);

	*mesh = NULL;
	wipe_text(o);
	if (rc < 0 || !m->has_key) {
		mesh_config_free(m);
		return rc;
	}
	CHECK(posix_memalign(&p, 64, size) == 0);
	m->peers = memset(p, 0, size);
	*mesh = m;
	return 0;
}

void mesh_announce(const struct mesh *m)
{
	char list[800] = "";
	size_t at = 0;

	for (int i = 0; m && i < m->n && at < sizeof(list); i++) {
		char name[MESH_TARGET_LEN];

		mesh_target(m->link[i].host, m->link[i].port, MESH_PORT, name);
		at +=
		    (size_t)snprintf(list + at, sizeof(list) - at, "%s%s", i > 0 ? ", " : "", name);
	}
	if (!m)
		log_info("no mesh key is configured: this node stands alone");
	else if (m->n == 0)
		log_info("a mesh key is configured: mesh peers may come; -mesh-with names none to "
			 "dial");
	else
		log_info("a mesh key is configured, the mesh is with %d: %s", m->n, list);
}

/* ---- Whom to trust --------------------------------------------------------------------------- */

/* Nobody is asked for a password. */
static int no_password(char *buf, int size, int rwflag, void *arg)
{
	return -1;
}

/* Adds all certificates of a PEM text; returns how many, or -1 when one can't be read. */
static int add_certs(X509_STORE *store, const char *data, size_t len)
{
	BIO *b = BIO_new_mem_buf(data, (int)len);
	unsigned long why;
	int n = 0;
	X509 *x;

	CHECK(b);
	while ((x = PEM_read_bio_X509(b, NULL, no_password, NULL))) {
		n += X509_STORE_add_cert(store, x) == 1;
		X509_free(x);
	}
	why = ERR_peek_last_error();
	if (ERR_GET_LIB(why) != ERR_LIB_PEM || ERR_GET_REASON(why) != PEM_R_NO_START_LINE)
		n = -1;
	ERR_clear_error();
	BIO_free(b);
	return n;
}

SSL_CTX *mesh_client_ctx(const struct options *o, const SSL_CTX *own, char *err, size_t errlen)
{
	SSL_CTX *ctx = tls_client_ctx_new();
	char *data;
	size_t len;
	int rc, n;

	if (!ctx) {
		snprintf(err, errlen, "OpenSSL can't be set up for dialling mesh nodes");
		return NULL;
	}
	/* Self-signed, it is trusted by nobody else; only who has our private key can show it. */
	if (own &&
	    X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), SSL_CTX_get0_certificate(own)) != 1) {
		snprintf(err, errlen, "OpenSSL can't be set up for dialling mesh nodes");
		goto failed;
	}
	if (*o->mesh_ca == '\0')
		return ctx;
	rc = file_read(o->mesh_ca, CA_FILE_MAX, &data, &len);
	if (rc != 0) {
		snprintf(err, errlen, "cannot read -mesh-ca %s: %s", o->mesh_ca, strerror(-rc));
		goto failed;
	}
	n = add_certs(SSL_CTX_get_cert_store(ctx), data, len);
	file_free(data, len);
	if (n > 0)
		return ctx;
	snprintf(err, errlen, "-mesh-ca %s %s", o->mesh_ca,
	    n == 0 ? "holds no certificate (PEM is wanted)"
		   : "holds a certificate that can't be read");
failed:
	SSL_CTX_free(ctx);
	return NULL;
}
