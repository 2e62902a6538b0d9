/* SPDX-License-Identifier: BSD-3-Clause */
/* table.h: what the text and JSON tables of the debug pages have in common. */
#ifndef SLUICE_WEB_TABLE_H
#define SLUICE_WEB_TABLE_H

#include <stdint.h>
#include <jansson.h>

#include "base/clock.h"
#include "base/counter.h"
#include "base/delay.h"
#include "base/key.h"
#include "web/gather.h"
#include "wire/http_out.h"

/* A moment on the monotonic clock, seen from a shot (of which nothing but its times counts): whole
 * seconds before it, or RFC 3339. */
uint64_t table_seconds_ago(const struct shot *s, uint64_t then_ms);
void table_time(const struct shot *s, uint64_t then_ms, char out[CLOCK_RFC3339_LEN]);

/* "current time: 2026-11-22 06:30:00", in local time, as the first line of a text table. */
void table_put_now(struct http_out *o, const struct shot *s);

/* "nodekey:<hex>"; empty for the zero key, which means "none". */
void table_key(const struct key *k, char out[KEY_TEXT_LEN]);

/* As json_pack wants it. */
static inline json_int_t table_number(uint64_t n)
{
	return (json_int_t)n;
}
/* How long packets waited, of so many that were sent. */
json_t *table_delays(const struct delays *d, uint64_t sent);
/* Dropped packets by reason, those there are. */
json_t *table_drops(const uint64_t packets[DROP_REASON_COUNT]);
/* Appends an object and gives it back to jansson. It is never NULL but when memory is out. */
void table_put_json(struct http_out *o, json_t *object);

/* What a peer sent as text, made printable ASCII: any other byte becomes '?'. */
void table_printable(char *text);

#endif
