/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fake_clock.h: monotonic time that passes only when a test says so.
 *
 * The program's own clock_gettime comes before the C library's. Wall time stays as it is: the tools
 * that watch a test (libFuzzer) go by that.
 */
#ifndef SLUICE_TESTS_FAKE_CLOCK_H
#define SLUICE_TESTS_FAKE_CLOCK_H

#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t fake_clock_ms;      /* 0: the real time */
static uint64_t fake_clock_step_ms; /* passes whenever somebody looks */

int clock_gettime(clockid_t id, struct timespec *ts)
{
	if (id != CLOCK_MONOTONIC || fake_clock_ms == 0)
		return (int)syscall(SYS_clock_gettime, id, ts);
	fake_clock_ms += fake_clock_step_ms;
	ts->tv_sec = (time_t)(fake_clock_ms / 1000);
	ts->tv_nsec = (long)(fake_clock_ms % 1000) * 1000000;
	return 0;
}

#endif
