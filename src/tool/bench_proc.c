/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/bench_proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* utime and stime of /proc/PID/stat, in ticks of usually 10 ms: where the CPU clock is refused. */
static bool stat_cpu(pid_t pid, uint64_t *ns)
{
	char path[64], line[1024], *p;
	unsigned long long user, sys;
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(line, 1, sizeof(line) - 1, f);
	fclose(f);
	line[n] = '\0';
	/* The name may hold blanks and brackets: the fields begin behind its last bracket. */
	p = strrchr(line, ')');
	if (!p || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
		      &sys) != 2)
		return false;
	*ns = (user + sys) * (1000000000ull / (unsigned long long)sysconf(_SC_CLK_TCK));
	return true;
}

/* The process's CPU clock has a resolution of 1 ns and also counts threads that have ended. */
static bool clock_cpu(pid_t pid, uint64_t *ns)
{
	struct timespec ts;
	clockid_t id;

	if (clock_getcpuclockid(pid, &id) != 0 || clock_gettime(id, &ts) != 0)
		return false;
	*ns = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
	return true;
}

bool bench_proc_cpu(const struct bench_pids *p, uint64_t *ns)
{
	uint64_t one;

	*ns = 0;
	for (int i = 0; i < p->n; i++) {
		if (!clock_cpu(p->pid[i], &one) && !stat_cpu(p->pid[i], &one))
			return false;
		*ns += one;
	}
	return true;
}

/* Adds up the lines of one file that are named in `m`; false when it can't be read. */
static bool add_memory(const char *path, const char *rss, const char *anon, struct bench_memory *m)
{
	char line[256], name[64];
	uint64_t kib;
	FILE *f = fopen(path, "re");
	bool found = false;

	if (!f)
		return false;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63[^:]: %" SCNu64 " kB", name, &kib) != 2)
			continue;
		if (strcmp(name, rss) == 0) {
			m->rss_kib += kib;
			found = true;
		} else if (strcmp(name, anon) == 0) {
			m->anon_kib += kib;
		} else if (strcmp(name, "Pss") == 0) {
			m->pss_kib += kib;
		}
	}
	fclose(f);
	return found;
}

bool bench_proc_memory(const struct bench_pids *p, struct bench_memory *m)
{
	char path[64];

	memset(m, 0, sizeof(*m));
	for (int i = 0; i < p->n; i++) {
		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)p->pid[i]);
		if (add_memory(path, "Rss", "Anonymous", m))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/status", (int)p->pid[i]);
		if (!add_memory(path, "VmRSS", "RssAnon", m))
			return false;
	}
	return true;
}

uint64_t bench_proc_own_cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
