/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static const char *const level_names[] = {
#define X(id, name) [id] = name,
    LOG_LEVELS(X)
#undef X
};

/* Written at start only, before threads. */
static enum log_level max_level = LOG_INFO;

static _Thread_local void (*sink_fn)(void *, const char *, size_t);
static _Thread_local void *sink_arg;

void log_set_level(enum log_level level)
{
	max_level = level;
}

bool log_enabled(enum log_level level)
{
	return level <= max_level;
}

bool log_level_parse(const char *name, enum log_level *level)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
		if (strcmp(name, level_names[i]) == 0) {
			*level = (enum log_level)i;
			return true;
		}
	}
	return false;
}

void log_set_sink(void (*sink)(void *, const char *, size_t), void *arg)
{
	sink_fn = sink;
	sink_arg = arg;
}

void log_write(const char *line, size_t len)
{
	/* A full disk or a closed pipe must not end the relay: what cannot be written is lost. */
	while (len > 0) {
		struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

		/* Nor may a pipe that nobody reads stop it: a pipe that polls writable takes a
		 * line. */
		if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
			return;
		ssize_t n = write(STDERR_FILENO, line, len);

		if (n <= 0)
			return;
		line += n;
		len -= (size_t)n;
	}
}

void log_line(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX];
	char when[CLOCK_RFC3339_LEN];
	va_list ap;
	int n;
	size_t len;

	if (!log_enabled(level))
		return;
	clock_rfc3339(clock_wall_ms(), when);
	n = snprintf(line, sizeof(line), "%s %-5s ", when, level_names[level]);
	CHECK(n > 0 && (size_t)n < sizeof(line));
	len = (size_t)n;
	va_start(ap, fmt);
	n = vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	va_end(ap);
	CHECK(n >= 0);
	len = MIN(len + (size_t)n, sizeof(line) - 2);
	/* What a peer sent may be quoted in a line: it must not forge another one. */
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	if (sink_fn)
		sink_fn(sink_arg, line, len);
	else
		log_write(line, len);
}
