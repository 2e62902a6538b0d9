/* SPDX-License-Identifier: BSD-3-Clause */
/* file.h: small files with secrets in them: read whole, written atomically, wiped from memory. */
#ifndef SLUICE_DAEMON_FILE_H
#define SLUICE_DAEMON_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/check.h"

/* Reads a regular file of at most `max` bytes into a fresh buffer, with a NUL behind it. 0, or a
 * negative errno: -EFBIG when it is longer, -EISDIR or -EINVAL when it is no regular file. */
int file_read(const char *path, size_t max, char **data, size_t *len) must_use;
/* Wipes and frees what file_read gave; NULL is fine. */
void file_free(char *data, size_t len);
/*
 * Makes the file `path` with this content, all of it or nothing: a temporary file in the same
 * directory, synced, then renamed. 0, or a negative errno: -EEXIST when there already is one.
 */
int file_create(const char *path, const char *data, size_t len, mode_t mode) must_use;
/* Makes the directories that lead to the file `path`. 0 or a negative errno. */
int file_make_parents(const char *path, mode_t mode) must_use;

#endif
