/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * certs.h: the certificates that a TLS server context sends.
 *
 * `-certmode manual`: <hostname>.crt and .key of certdir, or for an IP address without such files a
 * self-signed certificate that is made and kept there. Behind the chain goes the meta certificate,
 * which tells clients the server's key and saves them a round trip (derp-protocol.md 1.2, 7). It
 * ends after 30 days, so main makes a fresh context in time and gives it to the gate; a context
 * itself never changes.
 */
#ifndef SLUICE_DAEMON_CERTS_H
#define SLUICE_DAEMON_CERTS_H

#include <stddef.h>
#include <stdint.h>

#include <openssl/ssl.h>

#include "daemon/options.h"
#include "wire/login.h"

/* The meta certificate is good for this long either side of its making. */
#define CERTS_META_DAYS 30
/* And is made anew after half of it. */
#define CERTS_META_RENEW_DAYS 15
/* A warning is logged when the server's own certificate ends within: */
#define CERTS_WARN_DAYS 14

/*
 * A context with certificates, key and the check of the client's SNI: a client must name the
 * hostname (in any case), unless the hostname is an IP address; one that names another or none is
 * refused with the alert unrecognized_name. NULL with a line for the operator in err. The caller
 * frees it with SSL_CTX_free; what it needs lives as long as the last SSL made from it.
 */
SSL_CTX *certs_server_ctx(
    const struct options *o, const struct login_keys *server, char *err, size_t errlen) must_use;
/* Wall time in ms (clock_wall_ms) at which a fresh context should take the place of this one. */
uint64_t certs_renew_at(const SSL_CTX *ctx);
/* Logs the certificate's end and, where hostname is an IP address, the DERPNode for the tailnet's
 * DERP map, as derper does. Once, at start. */
void certs_announce(const SSL_CTX *ctx, const struct options *o);
/* Logs a warning when the certificate has ended, begins later or ends within CERTS_WARN_DAYS.
 * At start and once a day. */
void certs_warn_expiry(const SSL_CTX *ctx);

#endif
