/* SPDX-License-Identifier: BSD-3-Clause */
/* flows_error.h: how the parts of `sluice flows` say what is wrong: in one printable line. */
#ifndef SLUICE_TOOL_FLOWS_ERROR_H
#define SLUICE_TOOL_FLOWS_ERROR_H

#include <stdbool.h>

#include "base/check.h"

#define FLOWS_ERR_LEN 512

/* Writes the line; returns false, for the caller to return as well. */
bool flows_fail(char err[FLOWS_ERR_LEN], const char *fmt, ...) printf_like(2, 3);
/* What others say may stand in a line: all but printable ASCII becomes a question mark. */
void flows_printable(char *text);

#endif
