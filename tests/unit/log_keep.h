/* SPDX-License-Identifier: BSD-3-Clause */
/* log_keep.h: what is logged while a test runs, for it to look at. */
#ifndef SLUICE_TESTS_LOG_KEEP_H
#define SLUICE_TESTS_LOG_KEEP_H

#include <stdio.h>
#include <string.h>

#include "base/log.h"

static char logged[8192];

static void keep_line(void *arg, const char *line, size_t len)
{
	size_t have = strlen(logged);

	snprintf(logged + have, sizeof(logged) - have, "%.*s", (int)len, line);
}

/* From now on, until log_set_sink(NULL, NULL). */
static void log_keep(void)
{
	logged[0] = '\0';
	log_set_sink(keep_line, NULL);
}

#endif
