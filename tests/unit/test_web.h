/* SPDX-License-Identifier: BSD-3-Clause */
/* test_web.h: a gate for the tests of web/: asks requests, pumps replies as the gate does. */
#ifndef SLUICE_TEST_WEB_H
#define SLUICE_TEST_WEB_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "web/inside.h"

#define WORKERS 2

/* One request and what came back. */
struct fetch {
	struct reply reply;
	char page[REPLY_ROOM];
	bool done;
	int calls;      /* of answer and more that wrote something */
	size_t largest; /* of what one call wrote */
	char *raw;      /* all bytes, with a NUL behind */
	size_t len;
	/* of fetch_split */
	int status;
	char *head;
	char *body; /* chunks put together */
	size_t body_len;
};

static struct site *site;
static struct site_config config;
static uint64_t fake_now;
static int asked[LETTER_LOG + 1];
static bool ask_refuses;
static struct fetch *ready_list[64];
static int nready;
static void (*ready_hook)(struct reply *r);

static uint64_t fake_clock(void)
{
	return fake_now;
}

static bool fake_ask(struct gate *g, enum letter_kind what)
{
	if (ask_refuses)
		return false;
	asked[what]++;
	return true;
}

static void fake_ready(struct reply *r)
{
	assert_true(r->waiting);
	r->waiting = false;
	assert_true(nready < (int)ARRAY_LEN(ready_list));
	ready_list[nready++] = container_of(r, struct fetch, reply);
	if (ready_hook)
		ready_hook(r);
}

static void setup_config(void)
{
	fake_now = 1000000;
	memset(asked, 0, sizeof(asked));
	ask_refuses = false;
	ready_hook = NULL;
	nready = 0;
	config = (struct site_config){
	    .ask = fake_ask,
	    .ready = fake_ready,
	    .clock_ms = fake_clock,
	    .start_ms = 400000,
	    .workers = WORKERS,
	    .version = "1.2.3\"<",
	    .derp = true,
	};
	memset(config.server_key.b, 0x77, KEY_LEN);
}

static inline void make_site(void)
{
	site = site_new(&config);
	site_set_gate(site, NULL);
}

static inline int setup(void **state)
{
	setup_config();
	make_site();
	return 0;
}

static inline int teardown(void **state)
{
	site_free(site);
	site = NULL;
	return 0;
}

static void took(struct fetch *f)
{
	struct http_out *o = &f->reply.out;

	assert_false(o->overflow);
	if (o->len) {
		f->calls++;
		f->largest = MAX(f->largest, o->len);
	}
	f->raw = realloc(f->raw, f->len + o->len + 1);
	assert_non_null(f->raw);
	memcpy(f->raw + f->len, o->p, o->len);
	f->len += o->len;
	f->raw[f->len] = '\0';
}

static void fetch_end(struct fetch *f)
{
	if (f->reply.free)
		f->reply.free(&f->reply);
	f->reply.free = NULL;
}

/* One call of more; true when there is nothing to be done before ready. */
static bool fetch_step(struct fetch *f)
{
	bool whole;

	if (f->done || f->reply.waiting)
		return true;
	if (!f->reply.more) {
		f->done = true;
		fetch_end(f);
		return true;
	}
	http_out_init(&f->reply.out, f->page, sizeof(f->page));
	whole = f->reply.more(&f->reply);
	took(f);
	if (whole)
		f->reply.more = NULL;
	return false;
}

static inline void fetch_pump(struct fetch *f)
{
	while (!fetch_step(f))
		;
}

/* Goes on with all that are ready. */
static inline void pump_ready(void)
{
	while (nready > 0)
		fetch_pump(ready_list[--nready]);
}

/* text: a request's head without the blank line, or a path to GET. */
static inline struct fetch *fetch_from(
    const char *ip, enum listener_kind listener, const char *text)
{
	struct fetch *f = calloc(1, sizeof(*f));
	struct http_request req;
	struct addr addr = {.len = 0};
	struct asker who = {.addr = (const struct sockaddr *)&addr.ss, .listener = listener};
	static char head[HTTP_HEAD_MAX];

	assert_non_null(f);
	if (text[0] == '/')
		snprintf(
		    head, sizeof(head), "GET %s HTTP/1.1\r\nHost: relay.example\r\n\r\n", text);
	else
		snprintf(head, sizeof(head), "%s\r\n\r\n", text);
	if (strcmp(ip, "unix") == 0)
		assert_true(addr_set_unix(&addr, "/run/x"));
	else
		assert_true(addr_parse_ip(ip, &addr));
	http_request_init(&req);
	assert_int_equal(http_parse(head, strlen(head), &req), HTTP_DONE);
	http_out_init(&f->reply.out, f->page, sizeof(f->page));
	site_ops(site).answer(site, &f->reply, &req, &who);
	/* Nothing of the request may be used any more. */
	memset(head, 0x5a, sizeof(head));
	memset(&req, 0x5a, sizeof(req));
	took(f);
	return f;
}

static inline void fetch_free(struct fetch *f)
{
	fetch_end(f);
	for (int i = 0; i < nready; i++)
		if (ready_list[i] == f)
			ready_list[i--] = ready_list[--nready];
	free(f->raw);
	free(f->head);
	free(f->body);
	free(f);
}

static inline bool has_field(const struct fetch *f, const char *line)
{
	size_t len = strlen(line);

	for (const char *at = f->head; (at = strstr(at, line)); at++)
		if (at > f->head && at[-1] == '\n' && strncmp(at + len, "\r\n", 2) == 0)
			return true;
	return false;
}

static inline void unchunk(struct fetch *f, const char *p)
{
	for (;;) {
		char *end;
		size_t n = strtoul(p, &end, 16);

		assert_memory_equal(end, "\r\n", 2);
		p = end + 2;
		if (n == 0)
			break;
		assert_true(n <= 64u << 10);
		memcpy(f->body + f->body_len, p, n);
		f->body_len += n;
		p += n;
		assert_memory_equal(p, "\r\n", 2);
		p += 2;
	}
	assert_memory_equal(p, "\r\n", 2);
	assert_ptr_equal(p + 2, f->raw + f->len);
}

/* Takes a whole answer apart. */
static inline void fetch_split(struct fetch *f)
{
	char *blank;

	fetch_pump(f);
	assert_true(f->done);
	assert_int_equal(sscanf(f->raw, "HTTP/1.1 %d ", &f->status), 1);
	blank = strstr(f->raw, "\r\n\r\n");
	assert_non_null(blank);
	f->head = strndup(f->raw, (size_t)(blank - f->raw) + 2);
	f->body = calloc(1, f->len + 1);
	assert_non_null(strstr(f->head, "\r\nDate: "));
	if (has_field(f, "Transfer-Encoding: chunked") && blank[4]) {
		unchunk(f, blank + 4);
	} else {
		f->body_len = strlen(blank + 4);
		memcpy(f->body, blank + 4, f->body_len);
	}
}

static inline struct fetch *get_from(const char *ip, enum listener_kind listener, const char *text)
{
	struct fetch *f = fetch_from(ip, listener, text);

	fetch_split(f);
	return f;
}

static inline json_t *json_of(const struct fetch *f)
{
	json_error_t err;
	json_t *j = json_loadb(f->body, f->body_len, JSON_REJECT_DUPLICATES, &err);

	if (!j)
		fail_msg("%s at %d:%d in %s", err.text, err.line, err.column, f->body);
	return j;
}

#endif
