/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gate_bed.h: a gate without its thread, visitors on socket pairs, a site that answers with the
 * request's path, and mailboxes of workers that the test reads itself.
 */
#ifndef SLUICE_TESTS_GATE_BED_H
#define SLUICE_TESTS_GATE_BED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "fake_clock.h"
#include "gate/visitor.h"
#include "io/addr.h"
#include "relay/letters.h"
#include "relay/worker.h"

#define BED_WORKERS 2

struct gate_bed {
	struct gate_config config;
	struct login_keys keys;
	struct mail *mail;
	struct gate *g;
	uint64_t came; /* visitors that were brought */
	uint64_t admitted;
	struct admit *admit; /* the last that was mailed, not freed yet */
	int admit_to;
	/* of the site */
	struct reply *waiting; /* an answer to /wait that goes on when the test says so */
	uint32_t answers, frees, ticks;
	uint32_t chunks; /* of /long: so many are left */
	struct flow_part *flows;
};

/* ---- The site -------------------------------------------------------------------------------- */

static void bed_body(struct reply *r, const char *text, size_t len)
{
	http_put_status(&r->out, 200);
	http_put_length(&r->out, len);
	http_put_end(&r->out);
	http_put(&r->out, text, len);
}

static void bed_reply_free(struct reply *r)
{
	struct gate_bed *b = r->state;

	b->frees++;
	if (b->waiting == r)
		b->waiting = NULL;
}

static bool bed_more_waited(struct reply *r)
{
	http_put(&r->out, "at last", 7);
	return true;
}

static bool bed_more_long(struct reply *r)
{
	struct gate_bed *b = r->state;
	static char zeros[REPLY_CHUNK];

	http_put(&r->out, zeros, sizeof(zeros));
	return --b->chunks == 0;
}

static void bed_answer(
    void *site, struct reply *r, const struct http_request *req, const struct asker *who)
{
	struct gate_bed *b = site;

	b->answers++;
	assert_int_equal(r->out.len, 0);
	r->state = b;
	r->free = bed_reply_free;
	if (http_is(req->path, "/wait")) {
		http_put_status(&r->out, 200);
		http_put_length(&r->out, 7);
		http_put_end(&r->out);
		r->more = bed_more_waited;
		r->waiting = true;
		b->waiting = r;
	} else if (http_is(req->path, "/long")) {
		http_put_status(&r->out, 200);
		http_put_length(&r->out, (uint64_t)b->chunks * REPLY_CHUNK);
		http_put_end(&r->out);
		r->more = bed_more_long;
	} else {
		bed_body(r, req->path.p, req->path.len);
	}
}

static void bed_flows(void *site, struct flow_part *part)
{
	struct gate_bed *b = site;

	free(b->flows);
	b->flows = part;
}

static void bed_clients(void *site, struct client_part *part)
{
	free(part);
}

static void bed_tick(void *site, uint64_t now_ms)
{
	((struct gate_bed *)site)->ticks++;
}

/* ---- The bed --------------------------------------------------------------------------------- */

static inline void bed_init_mesh(
    struct gate_bed *b, uint32_t max_visitors, struct mesh *mesh, SSL_CTX *mesh_ctx)
{
	*b = (struct gate_bed){.config = {
				   .max_visitors = max_visitors,
				   .derp = true,
				   .mesh = mesh,
				   .mesh_ctx = mesh_ctx,
			       }};
	log_set_level(LOG_ERROR);
	key_hash_init();
	fake_clock_ms = 1000000;
	login_keys_new(&b->keys);
	b->config.keys = &b->keys;
	b->mail = mail_new(BED_WORKERS);
	b->g = gate_new(&b->config, b->mail, tls_server_ctx_new());
	gate_set_site(b->g, (struct site_ops){
				.site = b,
				.answer = bed_answer,
				.flows = bed_flows,
				.clients = bed_clients,
				.tick = bed_tick,
			    });
}

static inline void bed_init(struct gate_bed *b, uint32_t max_visitors)
{
	bed_init_mesh(b, max_visitors, NULL, NULL);
}

static inline void bed_turns(struct gate_bed *b, int n)
{
	while (n-- > 0)
		gate_turn(b->g, false);
}

/* Time passes, in steps that no timer misses. */
static inline void bed_pass(struct gate_bed *b, uint64_t ms)
{
	for (uint64_t step; ms > 0; ms -= step) {
		step = MIN(ms, WHEEL_TICK_MS);
		fake_clock_ms += step;
		gate_turn(b->g, false);
	}
}

static inline uint64_t bed_closed(const struct gate_bed *b)
{
	uint64_t sum = 0;

	for (int why = 0; why < CLOSE_REASON_COUNT; why++)
		sum += b->g->counters.closed[why];
	return sum;
}

/* Everyone who came is here, was mailed on, or was closed for one reason. */
static inline void bed_check(const struct gate_bed *b)
{
	uint64_t n = 0;

	for (const struct visitor *v = b->g->visitors.newest; v; v = v->next)
		n++;
	assert_int_equal(b->g->visitors.n, n);
	assert_int_equal(b->g->counters.v[C_VISITORS], n);
	assert_int_equal(b->g->logins, b->admitted);
	assert_int_equal(n + bed_closed(b) + b->admitted, b->came);
	assert_true(b->g->buffered <= GATE_BUFFERED_MAX);
	assert_true(n > 0 || b->g->buffered == 0);
}

static inline void bed_admit_free(struct gate_bed *b)
{
	if (!b->admit)
		return;
	tls_free(b->admit->tls);
	ws_free(b->admit->ws);
	close(b->admit->fd);
	free(b->admit);
	b->admit = NULL;
}

static void bed_take_letter(void *arg, int from, const struct letter *l)
{
	struct gate_bed *b = arg;

	if (l->kind != LETTER_ADMIT)
		return;
	bed_admit_free(b);
	b->admit = *(struct admit *const *)(const void *)l->body;
	b->admitted++;
}

/* The workers' mailboxes are emptied; true when somebody was admitted. */
static inline bool bed_read_mail(struct gate_bed *b)
{
	uint64_t before = b->admitted;

	for (int w = 0; w < BED_WORKERS; w++) {
		uint64_t n = b->admitted;

		while (mail_drain(b->mail, w, 1000, bed_take_letter, b))
			;
		mail_release(b->mail, w);
		if (b->admitted > n)
			b->admit_to = w;
	}
	return b->admitted > before;
}

/* Closes what is left, uncounted by the test, and everything is given back. */
static inline void bed_fini(struct gate_bed *b)
{
	while (b->g->visitors.newest)
		visitor_close(b->g->visitors.newest, CLOSE_SHUTDOWN);
	bed_turns(b, 1);
	bed_read_mail(b);
	bed_check(b);
	assert_int_equal(b->g->buffered, 0);
	assert_int_equal(b->frees, b->answers);
	bed_admit_free(b);
	free(b->flows);
	gate_free(b->g);
	mail_free(b->mail);
	fake_clock_ms = 0;
}

/* A visitor of that address at such a listener; returns the client's end. */
static inline int bed_visit_as(
    struct gate_bed *b, const struct listener *l, const struct sockaddr_storage *addr)
{
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
	b->came++;
	visitor_new(b->g, fd[0], l, addr);
	return fd[1];
}

static inline int bed_visit(struct gate_bed *b, enum listener_kind kind, bool tls)
{
	struct listener l = {.gate = b->g, .kind = kind, .tls = tls};
	struct sockaddr_storage addr = {.ss_family = AF_UNIX};

	return bed_visit_as(b, &l, &addr);
}

static inline int bed_visit_from(struct gate_bed *b, const char *ip)
{
	struct listener l = {.gate = b->g, .kind = LISTEN_PUBLIC};
	struct addr addr;

	assert_true(addr_parse_ip(ip, &addr));
	return bed_visit_as(b, &l, &addr.ss);
}

static inline int bed_public(struct gate_bed *b)
{
	return bed_visit(b, LISTEN_PUBLIC, false);
}

/* ---- The client ------------------------------------------------------------------------------ */

static inline void say(int fd, const void *p, size_t len)
{
	assert_int_equal(send(fd, p, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline void say_text(int fd, const char *text)
{
	say(fd, text, strlen(text));
}

static inline void expect_bytes(int fd, const void *want, size_t len)
{
	uint8_t *got = malloc(len + 1);

	assert_int_equal(recv(fd, got, len, 0), (ssize_t)len);
	assert_memory_equal(got, want, len);
	free(got);
}

static inline void expect_text(int fd, const char *text)
{
	expect_bytes(fd, text, strlen(text));
}

/* The answer of the site to a request for such a path. */
static inline void expect_page(int fd, const char *path)
{
	char want[512];

	snprintf(want, sizeof(want), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
	    strlen(path), path);
	expect_text(fd, want);
}

static inline void expect_nothing(int fd)
{
	uint8_t b;

	assert_int_equal(recv(fd, &b, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

static inline void expect_end(int fd)
{
	uint8_t b;

	assert_int_equal(recv(fd, &b, 1, 0), 0);
}

/* So many visitors were closed for that reason until now, and the sums are right. */
static inline void expect_closed(const struct gate_bed *b, enum close_reason why, uint64_t n)
{
	assert_int_equal(b->g->counters.closed[why], n);
	bed_check(b);
}

#endif
