/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check.h: contracts and small helpers that every module uses.
 *
 * CHECK is always on: a broken contract is a bug, and a relay that goes on after a bug leaks or
 * forges somebody's traffic. It is never used for what a peer can cause.
 */
#ifndef SLUICE_BASE_CHECK_H
#define SLUICE_BASE_CHECK_H

#include <stddef.h>
#include <stdint.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define must_use __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define CACHE_LINE 64

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Asks for the cache lines of something that is about to be used, so that they come together. */
static inline void prefetch(const void *p, size_t size)
{
	for (size_t at = 0; at < size; at += CACHE_LINE)
		__builtin_prefetch((const char *)p + at);
}

/* Prints file, line and expression on standard error and aborts. */
_Noreturn void check_failed(const char *file, int line, const char *what);

#define CHECK(x) (likely(x) ? (void)0 : check_failed(__FILE__, __LINE__, #x))

/* Allocation that cannot fail: outside the packet path, running out of memory ends the process
 * with a clear line. What a peer can make us allocate goes through pool.h, which has limits. */
void *must_alloc(size_t size) __attribute__((malloc, returns_nonnull)) must_use;
void *must_calloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull)) must_use;
char *must_strdup(const char *s) __attribute__((malloc, returns_nonnull)) must_use;
/* Zeros that begin a cache line; size is a multiple of one. */
void *must_alloc_lines(size_t size) __attribute__((malloc, returns_nonnull)) must_use;
/* Pages of zeros, which take memory as they are touched; munmap gives them back. */
void *must_map(size_t size) __attribute__((malloc, returns_nonnull)) must_use;

#endif
