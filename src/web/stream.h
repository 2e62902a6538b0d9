/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stream.h: a page of many rows of one snapshot, written in pieces as the socket takes them.
 *
 * The page waits for its shot (gather.h), holds it while rows go out, and gives it back at the end
 * or when its reader goes away midway. Embedded at the beginning of the page's own state.
 */
#ifndef SLUICE_WEB_STREAM_H
#define SLUICE_WEB_STREAM_H

#include "web/gather.h"
#include "web/page.h"

/* The longest row, and the longest beginning or end. */
#define STREAM_ROW_MAX 8192

struct stream;

struct stream_ops {
	const char *type; /* Content-Type */
	/* What comes before the first row, the next row (false: there is none), and behind all. */
	void (*begin)(struct stream *s, struct http_out *o);
	bool (*row)(struct stream *s, struct http_out *o);
	void (*end)(struct stream *s, struct http_out *o);
};

struct stream {
	struct reader reader;
	struct gather *gather;
	struct page page;
	const struct stream_ops *ops;
	void (*ready)(struct reply *r); /* reply_ready */
	bool begun;
	bool chunked;
};

/* Takes over s, which must be from malloc and is freed with the reply; ops is set. HEAD is answered
 * without a snapshot. */
void stream_start(struct stream *s, const struct page *p, struct gather *g,
    void (*ready)(struct reply *), uint64_t now_ms);

#endif
