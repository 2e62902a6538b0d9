/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz.h: what fuzz targets share.
 *
 * A target defines LLVMFuzzerTestOneInput, which CHECKs what must hold for any input. It keeps no
 * state from one input to the next. libFuzzer drives it in `make fuzz`, replay.c in every test run.
 */
#ifndef SLUICE_FUZZ_H
#define SLUICE_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "wire/login.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The key pairs of both sides, always the same; corpus.py knows them too. */
void fuzz_keys(struct login_keys *server, struct login_keys *client);
/* Seals text as either side would: nonce (zeros) and box into out, LOGIN_NONCE_LEN + LOGIN_MAC_LEN
 * + len bytes; returns that length. Fills the secret that opens it. */
size_t fuzz_seal(const uint8_t *text, size_t len, struct login_secret *secret, uint8_t *out);

#endif
