/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * log.h: one line a message on standard error.
 *
 * Only main writes to the descriptor: a blocked terminal or pipe must not stall a worker. Other
 * threads post their lines through a sink (see log_set_sink); before any is set, and for main
 * itself, a line is written at once. No line ever holds a private key, a mesh key or packet bytes.
 */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

#define LOG_LEVELS(X)         \
	X(LOG_ERROR, "error") \
	X(LOG_WARN, "warn")   \
	X(LOG_INFO, "info")   \
	X(LOG_DEBUG, "debug")

enum log_level {
#define X(id, name) id,
	LOG_LEVELS(X)
#undef X
};

/* The longest line, with its prefix and newline; longer ones are cut. */
#define LOG_LINE_MAX 1024

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
/* Parses a level's name; false when there is none of that name. */
bool log_level_parse(const char *name, enum log_level *level) must_use;

/* Where this thread's lines go: called with a whole line, newline included. NULL writes at once. */
void log_set_sink(void (*sink)(void *arg, const char *line, size_t len), void *arg);
/* Writes a finished line to standard error (main, on behalf of others). */
void log_write(const char *line, size_t len);

void log_line(enum log_level level, const char *fmt, ...) printf_like(2, 3);
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
