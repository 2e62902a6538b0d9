/* SPDX-License-Identifier: BSD-3-Clause */
/* flowpage.h: /debug/flows, as the seed's table or as JSON. */
#ifndef SLUICE_WEB_FLOWPAGE_H
#define SLUICE_WEB_FLOWPAGE_H

#include "web/gather.h"
#include "web/page.h"

/*
 * Answers ?format= ?sort= ?limit= ?src= ?dst=; a bad one with 400 and a line that says what is
 * wrong. g gathers flow_gather; start_ms is what the rows' _ds times count from.
 */
void flow_page(const struct page *p, struct http_span query, struct gather *g,
    void (*ready)(struct reply *), uint64_t start_ms, uint64_t now_ms);

#endif
