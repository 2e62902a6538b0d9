/* SPDX-License-Identifier: BSD-3-Clause */
#include "web/stream.h"

#include <stdlib.h>

_Static_assert(REPLY_CHUNK + 2 * STREAM_ROW_MAX < REPLY_ROOM, "a row and the end fit behind");

static struct stream *stream_of(struct reply *r)
{
	CHECK(r->state);
	return r->state;
}

static bool more(struct reply *r)
{
	struct stream *s = stream_of(r);
	bool whole = false;
	size_t mark = 0;

	if (!s->reader.shot) {
		page_line(&s->page, 503, "A part of the relay did not answer in time; try again.");
		return true;
	}
	if (!s->begun) {
		page_begin(&s->page, 200);
		s->chunked = page_stream(&s->page, s->ops->type);
	}
	if (s->chunked)
		mark = http_chunk_begin(&r->out);
	if (!s->begun)
		s->ops->begin(s, &r->out);
	s->begun = true;
	while (!whole && r->out.len < REPLY_CHUNK)
		whole = !s->ops->row(s, &r->out);
	if (whole)
		s->ops->end(s, &r->out);
	if (s->chunked) {
		http_chunk_end(&r->out, mark);
		if (whole)
			http_put_last_chunk(&r->out);
	}
	return whole;
}

static void stream_free(struct reply *r)
{
	struct stream *s = stream_of(r);

	gather_leave(s->gather, &s->reader);
	r->state = NULL;
	free(s);
}

static void wake(struct reader *reader)
{
	struct stream *s = container_of(reader, struct stream, reader);

	s->ready(s->page.reply);
}

void stream_start(struct stream *s, const struct page *p, struct gather *g,
    void (*ready)(struct reply *), uint64_t now_ms)
{
	struct reply *r = p->reply;

	if (p->head_only) {
		page_begin(p, 200);
		page_stream(p, s->ops->type);
		free(s);
		return;
	}
	s->page = *p;
	s->gather = g;
	s->ready = ready;
	s->reader.wake = wake;
	r->state = s;
	r->free = stream_free;
	r->waiting = !gather_join(g, &s->reader, now_ms);
	if (r->waiting || !more(r))
		r->more = more;
}
