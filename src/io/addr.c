/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/addr.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* --- reading --- */

static bool parse_port(const char *text, uint16_t *port)
{
	char *end;
	unsigned long v;

	/* The names that Go knows without asking the system; a slim container has no services file.
	 */
	if (strcmp(text, "https") == 0) {
		*port = 443;
		return true;
	}
	if (strcmp(text, "http") == 0) {
		*port = 80;
		return true;
	}
	if (text[0] < '0' || text[0] > '9')
		return false;
	v = strtoul(text, &end, 10);
	if (*end != '\0' || v > UINT16_MAX)
		return false;
	*port = (uint16_t)v;
	return true;
}

int addr_split(const char *text, char host[ADDR_HOST_LEN], uint16_t *port, char *err, size_t errlen)
{
	const char *start = text, *end, *colon = strrchr(text, ':');

	if (!colon || text[strlen(text) - 1] == ']') {
		snprintf(err, errlen, "the port is missing: write \":port\" or \"ip:port\"");
		return -1;
	}
	end = colon;
	if (text[0] == '[') {
		if (colon == text || colon[-1] != ']') {
			snprintf(err, errlen, "the closing ] must come right before :port");
			return -1;
		}
		start++;
		end--;
	} else if (memchr(text, ':', (size_t)(colon - text))) {
		snprintf(err, errlen, "an IPv6 address needs brackets: \"[ip]:port\"");
		return -1;
	}
	if (end - start >= ADDR_HOST_LEN) {
		snprintf(err, errlen, "the host is too long");
		return -1;
	}
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';
	if (!parse_port(colon + 1, port)) {
		snprintf(err, errlen, "the port must be a number from 0 to 65535");
		return -1;
	}
	return 0;
}

bool addr_parse_ip(const char *text, struct addr *a)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&a->ss;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a->ss;

	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		a->len = sizeof(*in);
		return true;
	}
	if (inet_pton(AF_INET6, text, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		a->len = sizeof(*in6);
		return true;
	}
	return false;
}

static void add_any(struct addr_list *out, const char *ip, uint16_t port)
{
	CHECK(out->n < ADDR_LIST_MAX && addr_parse_ip(ip, &out->a[out->n]));
	addr_set_port(&out->a[out->n++], port);
}

/* Names, and IPv6 addresses with a zone. IPv4 first, as Go does when it must choose one. */
static int resolve(const char *host, uint16_t port, struct addr_list *out, char *err, size_t errlen)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *all;
	int rc = getaddrinfo(host, NULL, &hints, &all);

	if (rc != 0) {
		snprintf(err, errlen, "%s: %s", host, gai_strerror(rc));
		return -1;
	}
	for (int want_v4 = 1; want_v4 >= 0; want_v4--) {
		for (struct addrinfo *ai = all; ai && out->n < ADDR_LIST_MAX; ai = ai->ai_next) {
			struct addr *a = &out->a[out->n];

			if ((ai->ai_family == AF_INET) != want_v4 || ai->ai_addrlen > sizeof(a->ss))
				continue;
			memcpy(&a->ss, ai->ai_addr, ai->ai_addrlen);
			a->len = ai->ai_addrlen;
			addr_set_port(a, port);
			out->n++;
		}
	}
	freeaddrinfo(all);
	return 0;
}

int addr_parse_listen(const char *text, struct addr_list *out, char *err, size_t errlen)
{
	char host[ADDR_HOST_LEN];
	uint16_t port;

	memset(out, 0, sizeof(*out));
	if (addr_split(text, host, &port, err, errlen) != 0)
		return -1;
	if (host[0] == '\0') {
		add_any(out, "::", port);
		add_any(out, "0.0.0.0", port);
		return 0;
	}
	if (addr_parse_ip(host, &out->a[0])) {
		addr_set_port(&out->a[0], port);
		out->n = 1;
		return 0;
	}
	return resolve(host, port, out, err, errlen);
}

const char *addr_unix_path(const char *text)
{
	if (strncmp(text, "unix:", 5) == 0)
		return text + 5;
	return text[0] == '/' ? text : NULL;
}

bool addr_set_unix(struct addr *a, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&a->ss;
	size_t len = strlen(path);

	memset(a, 0, sizeof(*a));
	if (len == 0 || len >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, len + 1);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + 1);
	return true;
}

void addr_set_port(struct addr *a, uint16_t port)
{
	if (a->ss.ss_family == AF_INET)
		((struct sockaddr_in *)&a->ss)->sin_port = htons(port);
	else if (a->ss.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&a->ss)->sin6_port = htons(port);
}

uint16_t addr_port(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)(const void *)sa)->sin_port);
	if (sa->sa_family == AF_INET6)
		return ntohs(((const struct sockaddr_in6 *)(const void *)sa)->sin6_port);
	return 0;
}

/* --- printing --- */

static bool is_mapped(const uint8_t ip[16])
{
	return memcmp(ip, v4_mapped, sizeof(v4_mapped)) == 0;
}

void addr_ip16(const struct sockaddr *sa, uint8_t ip[16])
{
	memset(ip, 0, 16);
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		memcpy(ip, v4_mapped, sizeof(v4_mapped));
		memcpy(ip + 12, &in->sin_addr, 4);
	} else if (sa->sa_family == AF_INET6) {
		memcpy(ip, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
	}
}

/* True when it is IPv6, so that a port behind it needs brackets. */
static bool format_ip(const struct sockaddr *sa, char out[ADDR_TEXT_LEN])
{
	uint8_t ip[16];
	uint32_t scope;
	size_t len;

	if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6) {
		snprintf(out, ADDR_TEXT_LEN, "?");
		return false;
	}
	addr_ip16(sa, ip);
	if (is_mapped(ip)) {
		CHECK(inet_ntop(AF_INET, ip + 12, out, ADDR_TEXT_LEN));
		return false;
	}
	CHECK(inet_ntop(AF_INET6, ip, out, ADDR_TEXT_LEN));
	scope = ((const struct sockaddr_in6 *)(const void *)sa)->sin6_scope_id;
	len = strlen(out);
	if (scope != 0)
		snprintf(out + len, ADDR_TEXT_LEN - len, "%%%u", scope);
	return true;
}

void addr_format_ip(const struct sockaddr *sa, char out[ADDR_TEXT_LEN])
{
	(void)format_ip(sa, out);
}

void addr_format(const struct sockaddr *sa, char out[ADDR_TEXT_LEN])
{
	char ip[ADDR_TEXT_LEN];

	if (sa->sa_family == AF_UNIX) {
		/* A client's end has no name; its path may even be missing from the structure. */
		snprintf(out, ADDR_TEXT_LEN, "unix:%.*s",
		    (int)sizeof(((struct sockaddr_un *)0)->sun_path),
		    ((const struct sockaddr_un *)(const void *)sa)->sun_path);
		return;
	}
	if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
		snprintf(out, ADDR_TEXT_LEN, "?");
	else if (format_ip(sa, ip))
		snprintf(out, ADDR_TEXT_LEN, "[%.*s]:%u", 100, ip, addr_port(sa));
	else
		snprintf(out, ADDR_TEXT_LEN, "%.*s:%u", 100, ip, addr_port(sa));
}

/* --- telling apart --- */

/* The first `bits` bits are equal. */
static bool in_block(const uint8_t ip[16], const uint8_t block[16], unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(ip, block, whole) != 0)
		return false;
	return rest == 0 || ((ip[whole] ^ block[whole]) >> (8 - rest)) == 0;
}

bool addr_is_loopback(const struct sockaddr *sa)
{
	static const uint8_t one[16] = {[15] = 1};
	uint8_t ip[16];

	if (sa->sa_family == AF_UNIX)
		return true;
	addr_ip16(sa, ip);
	return (is_mapped(ip) && ip[12] == 127) || memcmp(ip, one, 16) == 0;
}

bool addr_is_tailscale(const struct sockaddr *sa)
{
	static const uint8_t cgnat[16] = {[10] = 0xff, 0xff, 100, 64};
	static const uint8_t chromeos[16] = {[10] = 0xff, 0xff, 100, 115, 92};
	static const uint8_t ula[16] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0};
	uint8_t ip[16];

	addr_ip16(sa, ip);
	if (in_block(ip, cgnat, 96 + 10))
		return !in_block(ip, chromeos, 96 + 23);
	return in_block(ip, ula, 48);
}

static bool parse_block(char *text, struct addr_cidrs *c)
{
	char *slash = strchr(text, '/'), *end;
	struct addr a;
	unsigned long bits;
	bool v4;

	if (!slash || slash[1] < '0' || slash[1] > '9')
		return false;
	*slash = '\0';
	bits = strtoul(slash + 1, &end, 10);
	if (*end != '\0' || !addr_parse_ip(text, &a))
		return false;
	v4 = a.ss.ss_family == AF_INET;
	if (bits > (v4 ? 32 : 128))
		return false;
	addr_ip16((struct sockaddr *)&a.ss, c->block[c->n].ip);
	c->block[c->n].bits = (uint8_t)(v4 ? bits + 96 : bits);
	c->block[c->n].v4 = v4;
	c->n++;
	return true;
}

int addr_cidrs_parse(struct addr_cidrs *c, const char *text, char *err, size_t errlen)
{
	char one[ADDR_TEXT_LEN];

	memset(c, 0, sizeof(*c));
	while (*text != '\0') {
		size_t len = strcspn(text, ",");
		const char *next = text[len] == ',' ? text + len + 1 : text + len;

		while (len > 0 && (*text == ' ' || *text == '\t'))
			text++, len--;
		while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
			len--;
		if (len > 0) {
			snprintf(one, sizeof(one), "%.*s", (int)MIN(len, sizeof(one) - 1), text);
			if (c->n == ADDR_CIDRS_MAX) {
				snprintf(err, errlen, "more than %d blocks", ADDR_CIDRS_MAX);
				return -1;
			}
			if (!parse_block(one, c)) {
				snprintf(err, errlen, "\"%.*s\" is no block such as 10.0.0.0/8",
				    (int)MIN(len, sizeof(one) - 1), text);
				return -1;
			}
		}
		text = next;
	}
	return 0;
}

bool addr_cidrs_match(const struct addr_cidrs *c, const struct sockaddr *sa)
{
	uint8_t ip[16];

	if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
		return false;
	addr_ip16(sa, ip);
	for (size_t i = 0; i < c->n; i++)
		if (c->block[i].v4 == is_mapped(ip) &&
		    in_block(ip, c->block[i].ip, c->block[i].bits))
			return true;
	return false;
}
