/* SPDX-License-Identifier: BSD-3-Clause */
/* wipe.h: what OpenSSL frees is wiped, as it leaves copies of secrets there. */
#ifndef SLUICE_IO_WIPE_H
#define SLUICE_IO_WIPE_H

/* First of all in main, before OpenSSL allocates: what it frees is wiped from then on. */
void wipe_init(void);

#endif
