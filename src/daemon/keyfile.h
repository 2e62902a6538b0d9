/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * keyfile.h: the server's key pair on disk, in derper's format.
 *
 * JSON, {"PrivateKey": "privkey:<64 hex digits>"}, mode 0600. Members that we don't know are left
 * alone. Every copy of the secret is wiped after use. Main only, before other threads start.
 */
#ifndef SLUICE_DAEMON_KEYFILE_H
#define SLUICE_DAEMON_KEYFILE_H

#include <stdbool.h>
#include <stddef.h>

#include "wire/login.h"

/* Reads the file. 0, or -1 with a line for the operator in err. */
int keyfile_load(const char *path, struct login_keys *k, char *err, size_t errlen) must_use;
/*
 * Draws a key pair and makes the file (with its directories, atomically). Never replaces one: that
 * would cut off every client that knows the old key. 0, or -1 with err.
 */
int keyfile_create(const char *path, struct login_keys *k, char *err, size_t errlen) must_use;
/* Reads the file, or makes it when there is none; *created tells which. 0, or -1 with err. */
int keyfile_load_or_create(
    const char *path, struct login_keys *k, bool *created, char *err, size_t errlen) must_use;

#endif
