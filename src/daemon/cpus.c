/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/cpus.h"

#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

/* One line of a small file; false when it can't be read. */
static bool read_line(const char *mount, const char *dir, const char *name, char *out, size_t size)
{
	char path[PATH_MAX];
	FILE *f;
	bool ok;

	if ((size_t)snprintf(path, sizeof(path), "%s%s/%s", mount, dir, name) >= sizeof(path))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fgets(out, (int)size, f) != NULL;
	fclose(f);
	return ok;
}

/* Of one group, in whole CPUs rounded up; 0 for none. */
static int quota_of(const char *mount, const char *dir)
{
	char line[64], line2[64];
	long long quota, period;

	if (read_line(mount, dir, "cpu.max", line, sizeof(line))) {
		if (sscanf(line, "%lld %lld", &quota, &period) != 2)
			return 0; /* "max" */
	} else if (read_line(mount, dir, "cpu.cfs_quota_us", line, sizeof(line)) &&
		   read_line(mount, dir, "cpu.cfs_period_us", line2, sizeof(line2))) {
		if (sscanf(line, "%lld", &quota) != 1 || sscanf(line2, "%lld", &period) != 1)
			return 0;
	} else {
		return 0;
	}
	if (quota <= 0 || period <= 0 || quota / period >= INT_MAX)
		return 0;
	return (int)((quota + period - 1) / period);
}

int cpus_quota(const char *mount, const char *path)
{
	char dir[PATH_MAX];
	int least = 0;

	if ((size_t)snprintf(dir, sizeof(dir), "%s", path) >= sizeof(dir))
		return 0;
	for (;;) {
		char *slash;
		int q;

		while ((slash = strrchr(dir, '/')) && slash[1] == '\0')
			*slash = '\0';
		q = quota_of(mount, dir);
		if (q > 0 && (least == 0 || q < least))
			least = q;
		if (!slash)
			return least;
		*slash = '\0';
	}
}

/* Whether `list`, "cpu,cpuacct", names the controller cpu. */
static bool names_cpu(const char *list, size_t len)
{
	while (len > 0) {
		const char *comma = memchr(list, ',', len);
		size_t n = comma ? (size_t)(comma - list) : len;

		if (n == 3 && memcmp(list, "cpu", 3) == 0)
			return true;
		list += MIN(n + 1, len);
		len -= MIN(n + 1, len);
	}
	return false;
}

/* The quota of our own cgroup. Inside a container its path may not exist below the mount: then the
 * mount's root is the container's group, and that is on the way in any case. */
static int own_quota(void)
{
	char line[PATH_MAX];
	int least = 0;
	FILE *f = fopen("/proc/self/cgroup", "re");

	if (!f)
		return 0;
	/* "0::/path" is v2's; "4:cpu,cpuacct:/path" v1's. */
	while (fgets(line, sizeof(line), f)) {
		char *list = strchr(line, ':');
		char *path = list ? strchr(list + 1, ':') : NULL;
		bool v2;
		int q;

		if (!path)
			continue;
		v2 = path == list + 1;
		if (!v2 && !names_cpu(list + 1, (size_t)(path - list - 1)))
			continue;
		path++;
		path[strcspn(path, "\n")] = '\0';
		q = cpus_quota(v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu", path);
		if (q > 0 && (least == 0 || q < least))
			least = q;
	}
	fclose(f);
	return least;
}

int cpus_allowed(void)
{
	cpu_set_t set;
	int n, quota = own_quota();

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	else
		n = (int)sysconf(_SC_NPROCESSORS_ONLN); /* more CPUs than the set holds */
	if (quota > 0 && quota < n)
		n = quota;
	return MAX(n, 1);
}
