/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * query.h: the parameters that the debug tables have in common.
 *
 * Each call reads one parameter and returns true when it is absent (the value stays as it is) or
 * good; false when it isn't, and then err has one line for the reader. Parameters of other names
 * are nobody's business.
 */
#ifndef SLUICE_WEB_QUERY_H
#define SLUICE_WEB_QUERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "web/flowview.h"
#include "wire/http.h"

#define QUERY_ERR_LEN 256
#define QUERY_LIMIT_DEFAULT 1000

/* ?format=json or text */
bool query_format(struct http_span query, bool *json, char err[QUERY_ERR_LEN]) must_use;
/* ?limit=N, 0 for all */
bool query_limit(struct http_span query, uint32_t *limit, char err[QUERY_ERR_LEN]) must_use;
/* ?sort=, one of n names; *by becomes its place. */
bool query_sort(struct http_span query, const char *const *names, int n, int *by,
    char err[QUERY_ERR_LEN]) must_use;
/* The same for any parameter. */
bool query_choice(struct http_span query, const char *param, const char *const *names, int n,
    int *choice, char err[QUERY_ERR_LEN]) must_use;
/* A key in any of its forms. */
bool query_key(struct http_span query, const char *name, struct key_select *sel,
    char err[QUERY_ERR_LEN]) must_use;

#endif
