/* SPDX-License-Identifier: BSD-3-Clause */
/* What the small programs of this test bed share: entering a namespace, time, giving up. */
#ifndef WAN_NETNS_H
#define WAN_NETNS_H

#include <err.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000LL
#define NS_PER_MS 1000000LL

/* Sockets and tun devices opened from here on belong to the namespace, whoever uses them later. */
static inline void netns_enter(const char *name)
{
	char path[PATH_MAX];
	int fd;

	if ((size_t)snprintf(path, sizeof(path), "/run/netns/%s", name) >= sizeof(path))
		errx(1, "%s: too long for a namespace", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		err(1, "%s", path);
	close(fd);
}

static inline int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_S + t.tv_nsec;
}

/* The driver is gone: so are we. */
static inline void die_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* A number of an option, within bounds. */
static inline double number(const char *what, const char *text, double least, double most)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= least && v <= most))
		errx(2, "%s: %s is not between %g and %g", what, text, least, most);
	return v;
}

#endif
