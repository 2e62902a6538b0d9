/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * congestion.h: which of the kernel's congestion controls this process may use.
 */
#ifndef SLUICE_IO_CONGESTION_H
#define SLUICE_IO_CONGESTION_H

#include <stddef.h>

/* Names as the kernel has them, such as "cubic" or "bbr"; with the terminator. */
#define CONGESTION_NAME_LEN 16

/* What -tcp-congestion auto chooses from: the first for all, the other for paths that lose packets
 * though nothing on them is full. */
#define CONGESTION_CLEAN "cubic"
#define CONGESTION_LOSSY "bbr"

/* 0 when sockets can have it, else a negative errno: -ENOENT when the kernel does not know it or
 * its module is not loaded, -EPERM when only root may use it. */
int congestion_try(const char *name);
/* Gives it to a socket, and what it accepts; 0 or a negative errno. */
int congestion_set(int fd, const char *name);
/* Which one a socket has; "" when that can't be told. */
void congestion_get(int fd, char out[CONGESTION_NAME_LEN]);
/* What the kernel gives to sockets that ask for nothing; "" when that can't be told. */
void congestion_preset(char out[CONGESTION_NAME_LEN]);

#endif
