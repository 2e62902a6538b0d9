/* SPDX-License-Identifier: BSD-3-Clause */
/* varz.h: /debug/varz, all counters as Prometheus text 0.0.4. It names no key and no address but
 * those of -mesh-with, in the label `link`. */
#ifndef SLUICE_WEB_VARZ_H
#define SLUICE_WEB_VARZ_H

#include "web/site.h"

/* Content-Type of the format, as derper sends it. */
#define VARZ_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends the page. start_wall_ms: when the process began. */
void varz_put(
    struct http_out *o, const struct site_config *c, uint64_t start_wall_ms, uint64_t now_ms);

#endif
