/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * provider.h: the key schedule of TLS 1.3 for OpenSSL.
 *
 * OpenSSL 3.0 derives about a dozen secrets a handshake, and looks up a hash, a MAC and a KDF by
 * name for each, which costs several times what the mathematics do. A provider of our own stands in
 * for its TLS13-KDF. It takes part where it is asked for, in contexts made with PROVIDER_QUERY, and
 * nowhere else.
 *
 * So the secrets that our record layer goes on with are at hand as they are derived. OpenSSL's key
 * log has them as well, but prints five in hexadecimal for the two that are wanted.
 */
#ifndef SLUICE_IO_PROVIDER_H
#define SLUICE_IO_PROVIDER_H

#include <stdbool.h>
#include <stdint.h>

#include "io/hkdf.h"

/* The property query of a context: ours where there is one, OpenSSL's otherwise. */
#define PROVIDER_QUERY "?provider=sluice"

/* The secrets of application data (RFC 8446 §7.1). */
struct provider_secrets {
	uint8_t client[HKDF_HASH_MAX];
	uint8_t server[HKDF_HASH_MAX];
	uint8_t client_len, server_len; /* 0: not derived, or not by us */
};

/* Makes the provider known to OpenSSL, once. False: OpenSSL refuses, and does the work by itself.
 * Any thread. */
bool provider_init(void);
/* Where the secrets go that are derived on this thread from now on; NULL: nowhere. */
void provider_listen(struct provider_secrets *to);

#endif
