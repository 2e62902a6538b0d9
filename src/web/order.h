/* SPDX-License-Identifier: BSD-3-Clause */
/* order.h: rows in an order, as numbers of rows; the rows themselves stay where they lie. */
#ifndef SLUICE_WEB_ORDER_H
#define SLUICE_WEB_ORDER_H

#include <stdint.h>

#include "base/check.h"

/* What a row is sorted by: a, then b, highest first; equal ones stay in the rows' own order. */
struct rank {
	uint64_t a, b;
	uint32_t row;
};

/* The numbers 0 to n - 1 in order; `rank` fills a and b of r->row. To be freed. */
uint32_t *order_new(
    uint32_t n, void (*rank)(const void *arg, struct rank *r), const void *arg) must_use;

#endif
