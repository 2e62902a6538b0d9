/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest value that means anything is a key. */
#define VALUE_MAX 128

bool query_format(struct http_span query, bool *json, char err[QUERY_ERR_LEN])
{
	char value[VALUE_MAX];

	if (http_query_get(query, "format", value, sizeof(value)) == HTTP_QUERY_ABSENT)
		return true;
	*json = strcmp(value, "json") == 0;
	if (*json || strcmp(value, "text") == 0)
		return true;
	snprintf(err, QUERY_ERR_LEN, "format: expected text or json");
	return false;
}

bool query_limit(struct http_span query, uint32_t *limit, char err[QUERY_ERR_LEN])
{
	char value[VALUE_MAX];
	int len = http_query_get(query, "limit", value, sizeof(value));

	if (len == HTTP_QUERY_ABSENT)
		return true;
	if (len > 0 && len <= 9 && strspn(value, "0123456789") == (size_t)len) {
		*limit = (uint32_t)strtoul(value, NULL, 10);
		return true;
	}
	snprintf(err, QUERY_ERR_LEN, "limit: expected a number of rows up to 999999999, 0 for all");
	return false;
}

bool query_choice(struct http_span query, const char *param, const char *const *names, int n,
    int *choice, char err[QUERY_ERR_LEN])
{
	char value[VALUE_MAX];
	size_t at;

	if (http_query_get(query, param, value, sizeof(value)) == HTTP_QUERY_ABSENT)
		return true;
	for (int i = 0; i < n; i++) {
		if (strcmp(value, names[i]) == 0) {
			*choice = i;
			return true;
		}
	}
	at = (size_t)snprintf(err, QUERY_ERR_LEN, "%s: expected one of", param);
	for (int i = 0; i < n && at < QUERY_ERR_LEN; i++)
		at += (size_t)snprintf(err + at, QUERY_ERR_LEN - at, " %s", names[i]);
	return false;
}

bool query_sort(
    struct http_span query, const char *const *names, int n, int *by, char err[QUERY_ERR_LEN])
{
	return query_choice(query, "sort", names, n, by, err);
}

bool query_key(
    struct http_span query, const char *name, struct key_select *sel, char err[QUERY_ERR_LEN])
{
	char value[VALUE_MAX];

	if (http_query_get(query, name, value, sizeof(value)) == HTTP_QUERY_ABSENT)
		return true;
	if (key_select_parse(value, sel))
		return true;
	snprintf(err, QUERY_ERR_LEN,
	    "%s: expected a key: nodekey:<64 hex digits>, the digits alone, or its short form "
	    "[abcde]",
	    name);
	return false;
}
