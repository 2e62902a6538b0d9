/* SPDX-License-Identifier: BSD-3-Clause */
/* clientpage.h: /debug/clients, who is connected and who was, as a table or as JSON. */
#ifndef SLUICE_WEB_CLIENTPAGE_H
#define SLUICE_WEB_CLIENTPAGE_H

#include "web/gather.h"
#include "web/page.h"

/* Answers ?format= ?sort= ?limit= ?key= ?which=; a bad one with 400 and a line that says what is
 * wrong. g gathers client_gather. */
void client_page(const struct page *p, struct http_span query, struct gather *g,
    void (*ready)(struct reply *), uint64_t now_ms);

#endif
