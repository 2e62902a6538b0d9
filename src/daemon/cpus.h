/* SPDX-License-Identifier: BSD-3-Clause */
/* cpus.h: how many CPUs this process may really use, by affinity and cgroup quota. */
#ifndef SLUICE_DAEMON_CPUS_H
#define SLUICE_DAEMON_CPUS_H

/* At least 1. */
int cpus_allowed(void);
/*
 * The tightest CPU quota in whole CPUs (rounded up) on the way from cgroup `path` ("/a/b") to the
 * root below the mount point `mount`; 0 when there is none. Reads cgroup v2's cpu.max and v1's
 * cpu.cfs_quota_us.
 */
int cpus_quota(const char *mount, const char *path);

#endif
