/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * addr.h: socket addresses: reading what an operator wrote, printing, and telling kinds apart.
 *
 * Listen addresses have Go's syntax (net.Listen), because derper's flags do. An IPv4 client on a
 * dual-stack socket shows up as ::ffff:a.b.c.d; everything here treats and prints it as IPv4.
 */
#ifndef SLUICE_IO_ADDR_H
#define SLUICE_IO_ADDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/check.h"

/* Any address as text with its NUL: "1.2.3.4:5", "[fe80::1%2]:5", "unix:/path". */
#define ADDR_TEXT_LEN 128
/* A host as an operator may write it, with its NUL. */
#define ADDR_HOST_LEN 256
#define ADDR_LIST_MAX 4
#define ADDR_CIDRS_MAX 64

struct addr {
	struct sockaddr_storage ss;
	socklen_t len;
};

/*
 * Where one listener may be bound, best first: the next one is for when the machine doesn't have
 * the address or its family (EAFNOSUPPORT, EADDRNOTAVAIL), not for when the port is taken.
 */
struct addr_list {
	size_t n;
	struct addr a[ADDR_LIST_MAX];
};

/* Blocks of addresses. IPv4 ones are kept mapped, so bits counts from 96; they match IPv4 only. */
struct addr_cidrs {
	size_t n;
	struct {
		uint8_t ip[16];
		uint8_t bits; /* 0 to 128 */
		bool v4;
	} block[ADDR_CIDRS_MAX];
};

/*
 * Splits ":443", "1.2.3.4:443", "[::1]:443" or "name:https" without asking any resolver; host is
 * empty when none was given. 0, or -1 with err saying what is wrong.
 */
int addr_split(
    const char *text, char host[ADDR_HOST_LEN], uint16_t *port, char *err, size_t errlen) must_use;
/*
 * A TCP or UDP address to listen on. No host: [::] for both families, else 0.0.0.0. A name is
 * resolved, which may block: at start only. 0, or -1 with err.
 */
int addr_parse_listen(const char *text, struct addr_list *out, char *err, size_t errlen) must_use;
/* The path in "unix:/path" or "/path"; NULL when text is no such thing. */
const char *addr_unix_path(const char *text);
/* A Unix socket's address; false when the path is too long. */
bool addr_set_unix(struct addr *a, const char *path) must_use;
/* Reads an IP address without brackets, zone or port; false when it is none. Port 0. */
bool addr_parse_ip(const char *text, struct addr *a) must_use;

void addr_set_port(struct addr *a, uint16_t port);
uint16_t addr_port(const struct sockaddr *sa);

/* Address and port; for a Unix socket "unix:" and its path; "?" for other families. */
void addr_format(const struct sockaddr *sa, char out[ADDR_TEXT_LEN]);
/* The address alone, as Go's net package prints it. */
void addr_format_ip(const struct sockaddr *sa, char out[ADDR_TEXT_LEN]);
/* 16 bytes, IPv4 mapped (as in PeerPresent); all zeros for what is no IP address. */
void addr_ip16(const struct sockaddr *sa, uint8_t ip[16]);

/* 127.0.0.0/8 and ::1, and any Unix socket. */
bool addr_is_loopback(const struct sockaddr *sa);
/* An address of a Tailscale node: 100.64.0.0/10 but not 100.115.92.0/23 (ChromeOS has that), and
 * fd7a:115c:a1e0::/48. */
bool addr_is_tailscale(const struct sockaddr *sa);

/* Comma-separated blocks, "10.0.0.0/8, fd00::/8"; blanks around them are skipped. 0, or -1 with
 * err. An empty text is no block. */
int addr_cidrs_parse(struct addr_cidrs *c, const char *text, char *err, size_t errlen) must_use;
bool addr_cidrs_match(const struct addr_cidrs *c, const struct sockaddr *sa);

#endif
