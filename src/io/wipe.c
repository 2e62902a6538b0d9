/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/wipe.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/crypto.h>

#include "base/check.h"

/* OpenSSL 3.0 leaves copies of traffic secrets in memory that it frees. */
static void wipe_free(void *p, const char *file, int line)
{
	if (p) {
		/* explicit_bzero is memset: OPENSSL_cleanse is slow for 16 KiB. */
		explicit_bzero(p, malloc_usable_size(p));
		free(p);
	}
}

static void *plain_malloc(size_t n, const char *file, int line)
{
	return malloc(n);
}

/* Not realloc: it may leave the old place unwiped. */
static void *wipe_realloc(void *p, size_t n, const char *file, int line)
{
	size_t old = p ? malloc_usable_size(p) : 0;
	void *fresh;

	if (p && n <= old && n > 0)
		return p;
	fresh = n ? malloc(n) : NULL;
	if (fresh && p)
		memcpy(fresh, p, MIN(old, n));
	if (fresh || n == 0)
		wipe_free(p, file, line);
	return fresh;
}

void wipe_init(void)
{
	/* Refused when OpenSSL has allocated already: then memory is as clean as it leaves it. */
	(void)!CRYPTO_set_mem_functions(plain_malloc, wipe_realloc, wipe_free);
}
