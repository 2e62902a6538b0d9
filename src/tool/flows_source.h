/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flows_source.h: where `sluice flows` gets a node's document from.
 *
 * A file, "-" for standard input, an http or https URL, or unix:/path for a socket of
 * -debug-listen. Bounded in time and size; redirections are not followed.
 */
#ifndef SLUICE_TOOL_FLOWS_SOURCE_H
#define SLUICE_TOOL_FLOWS_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

#include "base/check.h"
#include "tool/flows_error.h"

#define FLOWS_SOURCE_TIMEOUT_MS 10000
#define FLOWS_SOURCE_MAX (256u << 20)
/* What is asked for where a URL has no path. */
#define FLOWS_SOURCE_PATH "/debug/flows"
#define FLOWS_SOURCE_QUERY "format=json&limit=0"

/* The document, to be given back to jansson; NULL: err has one line that doesn't name the source.
 * insecure: a server's certificate is not verified. */
json_t *flows_source_read(const char *source, bool insecure, char err[FLOWS_ERR_LEN]) must_use;

/* How messages name it: without a URL's query and password, which may hold secrets, and printable.
 */
void flows_source_name(const char *source, char *out, size_t cap);

#endif
