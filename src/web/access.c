/* SPDX-License-Identifier: BSD-3-Clause */
/* access.c: who may see the debug pages; derper's rules (tsweb.AllowDebugAccess), and our own
 * listener for them. */
#include <sodium.h>
#include <string.h>

#include "web/inside.h"

/* ?debugkey= of a GET. Compared with padding, so that the time says nothing of what is right. */
static bool has_key(const struct visit *v)
{
	const char *key = v->site->config.debug_key;
	char given[DEBUG_KEY_MAX + 1] = {0}, right[DEBUG_KEY_MAX + 1] = {0};
	bool same;

	if (!key || key[0] == '\0' || strlen(key) > DEBUG_KEY_MAX || v->req->method != HTTP_GET)
		return false;
	if (http_query_get(v->req->query, "debugkey", given, sizeof(given)) <= 0)
		return false;
	memcpy(right, key, strlen(key));
	same = sodium_memcmp(given, right, sizeof(right)) == 0;
	sodium_memzero(right, sizeof(right));
	sodium_memzero(given, sizeof(given));
	return same;
}

bool access_debug(const struct visit *v)
{
	const struct site *s = v->site;
	const struct sockaddr *addr = v->who->addr;
	uint8_t ip[16];

	/* The operator put it where only he gets. */
	if (v->who->listener == LISTEN_DEBUG)
		return true;
	if (has_key(v))
		return true;
	/* A proxy passes strangers on from its own address, which may well be one of these. */
	if (v->req->forwarded)
		return false;
	if (addr_is_loopback(addr) || addr_is_tailscale(addr) ||
	    addr_cidrs_match(&s->config.trusted, addr))
		return true;
	addr_ip16(addr, ip);
	return s->has_debug_ip && memcmp(ip, s->debug_ip, sizeof(ip)) == 0;
}
