/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

_Noreturn void check_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "sluice: bug at %s:%d: (%s) does not hold\n", file, line, what);
	abort();
}

static void *or_die(void *p)
{
	if (!p) {
		fputs("sluice: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *must_alloc(size_t size)
{
	return or_die(malloc(size ? size : 1));
}

void *must_calloc(size_t n, size_t size)
{
	return or_die(calloc(n ? n : 1, size ? size : 1));
}

void *must_alloc_lines(size_t size)
{
	return memset(or_die(aligned_alloc(CACHE_LINE, size)), 0, size);
}

char *must_strdup(const char *s)
{
	return or_die(strdup(s));
}

void *must_map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return or_die(p == MAP_FAILED ? NULL : p);
}
