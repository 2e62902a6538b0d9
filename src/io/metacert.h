/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * metacert.h: the certificate behind a DERP server's own that tells its key (derp-protocol.md 1.2).
 */
#ifndef SLUICE_IO_METACERT_H
#define SLUICE_IO_METACERT_H

#include <openssl/x509.h>

#include "base/key.h"

/* Its common name: this, and the key in hex. */
#define METACERT_NAME "derpkey"

/* The key that a chain tells; false when it tells none. chain may be NULL. */
bool metacert_key(STACK_OF(X509) * chain, struct key *key) must_use;

#endif
