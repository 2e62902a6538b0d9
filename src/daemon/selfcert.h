/* SPDX-License-Identifier: BSD-3-Clause */
/* selfcert.h: the two kinds of self-signed certificate that a relay makes. */
#ifndef SLUICE_DAEMON_SELFCERT_H
#define SLUICE_DAEMON_SELFCERT_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/key.h"

/* A server certificate for one IP address, good for `days` from now. NULL when OpenSSL fails. */
X509 *selfcert_for_ip(EVP_PKEY *key, const char *ip, int days) must_use;
/*
 * The meta certificate (derp-protocol.md 1.2): Ed25519 by a key that nobody keeps, serial number =
 * protocol version, subject "derpkey" and the server's key in hex, good for `days` either side of
 * now. Clients find it behind the chain and know the server's key without a round trip.
 */
X509 *selfcert_meta(const struct key *server, int days) must_use;

#endif
