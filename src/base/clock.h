/* SPDX-License-Identifier: BSD-3-Clause */
/* clock.h: monotonic and wall time, and the cycle counter that prices the stages of a packet. */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* Monotonic time in nanoseconds. */
static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Monotonic time in milliseconds; counts on from a value far from zero, so that 0 can mean "never".
 */
static inline uint64_t clock_ms(void)
{
	return clock_ns() / 1000000u + 1;
}

/* Wall time in milliseconds since 1970. */
static inline uint64_t clock_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000u + (uint64_t)ts.tv_nsec / 1000000u;
}

/* CPU cycles where the machine counts them in user space, else nanoseconds. */
static inline uint64_t clock_cycles(void)
{
#if defined(__x86_64__)
	return __rdtsc();
#elif defined(__aarch64__)
	uint64_t v;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(v));
	return v;
#else
	return clock_ns();
#endif
}

/* What reading that counter itself costs. */
uint64_t clock_cycles_overhead(void);

/* Writes wall time `ms` as RFC 3339 in UTC with milliseconds: 2026-11-23T06:30:00.123Z. */
#define CLOCK_RFC3339_LEN 25
void clock_rfc3339(uint64_t wall_ms, char out[CLOCK_RFC3339_LEN]);

#endif
