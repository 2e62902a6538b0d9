/* SPDX-License-Identifier: BSD-3-Clause */
#include "tool/flows_error.h"

#include <stdarg.h>
#include <stdio.h>

bool flows_fail(char err[FLOWS_ERR_LEN], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, FLOWS_ERR_LEN, fmt, ap);
	va_end(ap);
	return false;
}

void flows_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text >= 0x7f)
			*text = '?';
}
