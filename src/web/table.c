/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/table.h"

#include <time.h>

#include "base/check.h"
#include "web/stream.h"

static uint64_t ms_ago(const struct shot *s, uint64_t then_ms)
{
	/* Workers' clocks may be a tick ahead of when their part came. */
	return s->at_ms > then_ms ? s->at_ms - then_ms : 0;
}

uint64_t table_seconds_ago(const struct shot *s, uint64_t then_ms)
{
	return ms_ago(s, then_ms) / 1000;
}

void table_time(const struct shot *s, uint64_t then_ms, char out[CLOCK_RFC3339_LEN])
{
	clock_rfc3339(s->wall_ms - ms_ago(s, then_ms), out);
}

void table_put_now(struct http_out *o, const struct shot *s)
{
	time_t sec = (time_t)(s->wall_ms / 1000);
	struct tm tm;
	char text[32];

	CHECK(localtime_r(&sec, &tm));
	CHECK(strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm) > 0);
	http_putf(o, "current time: %s\n", text);
}

void table_key(const struct key *k, char out[KEY_TEXT_LEN])
{
	if (key_is_zero(k))
		out[0] = '\0';
	else
		key_text(k, out);
}

json_t *table_delays(const struct delays *d, uint64_t sent)
{
	return json_pack("{sI sI sf sI}", "waited", table_number(d->packets), "last_ms",
	    table_number(d->last_ms), "average_ms", delays_average(d, sent), "p99_ms",
	    table_number(delays_p99(d, sent)));
}

json_t *table_drops(const uint64_t packets[DROP_REASON_COUNT])
{
	json_t *drops = json_object();

	for (int r = 0; r < DROP_REASON_COUNT; r++)
		if (packets[r])
			json_object_set_new(
			    drops, drop_reason_label[r], json_integer(table_number(packets[r])));
	return drops;
}

void table_put_json(struct http_out *o, json_t *object)
{
	char text[STREAM_ROW_MAX];
	size_t len;

	CHECK(object);
	len = json_dumpb(object, text, sizeof(text), JSON_COMPACT | JSON_REAL_PRECISION(6));
	CHECK(len > 0 && len <= sizeof(text));
	http_put(o, text, len);
	json_decref(object);
}

void table_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text >= 0x7f)
			*text = '?';
}
