/* SPDX-License-Identifier: BSD-3-Clause */
#include "gate/gate.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/congestion.h"
#include "gate/dial.h"
#include "gate/visitor.h"
#include "relay/letters.h"

#define ACCEPTS_A_TURN 64
#define TICK_MS 100
#define MAIL_BUDGET 256
/* How long accepting pauses when there are no file descriptors, and how often that is logged. */
#define ACCEPT_PAUSE_MS 200
#define FD_WARN_EVERY_MS 60000
#define GATE_NICE 10

static void accept_pause(struct gate *g, int err)
{
	for (int i = 0; i < g->nlisteners; i++)
		loop_set(&g->loop, &g->listener[i].watch, 0);
	g->accept_again_ms = g->now_ms + ACCEPT_PAUSE_MS;
	count(&g->counters, C_FD_EXHAUSTED, 1);
	if (g->fd_warned_ms && g->now_ms - g->fd_warned_ms < FD_WARN_EVERY_MS)
		return;
	g->fd_warned_ms = g->now_ms;
	log_warn("cannot accept connections: %s; accepting pauses until others close "
		 "(raise the limit of open files, e.g. LimitNOFILE= in systemd)",
	    strerror(err));
}

static void accept_resume(struct gate *g)
{
	g->accept_again_ms = 0;
	for (int i = 0; i < g->nlisteners; i++)
		loop_set(&g->loop, &g->listener[i].watch, EPOLLIN);
}

void gate_set_options(const struct gate_config *config, int fd)
{
	int64_t alive = config->tcp_keepalive_time_ms ? config->tcp_keepalive_time_ms : 15000;
	int64_t user_timeout = config->tcp_user_timeout_ms;
	int on = 1, seconds = (int)MAX(alive / 1000, 1), ms = (int)user_timeout;
	/* Little unsent in the kernel: what waits should wait where it can still be dropped. */
	int lowat = 32 << 10;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
	if (config->congestion && *config->congestion)
		(void)congestion_set(fd, config->congestion);
	if (ms)
		setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
	if (alive > 0) {
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
		setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
	}
}

void gate_keep_alive(int fd)
{
	int on = 1, idle_s = 10, interval_s = 5, probes = 3;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
}

static void listener_ready(struct watch *watch, uint32_t events)
{
	struct listener *l = container_of(watch, struct listener, watch);
	struct gate *g = l->gate;

	for (int i = 0; i < ACCEPTS_A_TURN && !g->accept_again_ms; i++) {
		struct sockaddr_storage addr = {0};
		socklen_t len = sizeof(addr);
		int fd = accept4(
		    watch->fd, (struct sockaddr *)&addr, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			visitor_new(g, fd, l, &addr);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			accept_pause(g, errno);
		/* Anything else is that one connection's trouble, or there is none left. */
		if (errno != EINTR && errno != ECONNABORTED && errno != EPROTO)
			return;
	}
}

void reply_ready(struct reply *r)
{
	struct visitor *v = container_of(r, struct visitor, reply);

	r->waiting = false;
	if (v->is_ready)
		return;
	v->is_ready = true;
	v->next_ready = v->gate->ready;
	v->gate->ready = v;
}

bool gate_ask(struct gate *g, enum letter_kind what)
{
	for (int w = 0; w < mail_workers(g->mail); w++) {
		/* A worker with a full mailbox is asked with the others, next time. */
		if (!mail_has_room(g->mail, g->self, w, 0))
			return false;
	}
	for (int w = 0; w < mail_workers(g->mail); w++) {
		CHECK(mail_reserve(g->mail, g->self, w, what, 0, true));
		mail_commit(g->mail, g->self, w);
	}
	return true;
}

static void read_letter(void *arg, int from, const struct letter *l)
{
	struct gate *g = arg;
	void *p = *(void *const *)(const void *)l->body;

	switch ((enum letter_kind)l->kind) {
	case LETTER_FLOWS:
		g->site.flows(g->site.site, p);
		break;
	case LETTER_CLIENTS:
		g->site.clients(g->site.site, p);
		break;
	case LETTER_CTX:
		SSL_CTX_free(g->ctx);
		g->ctx = p;
		break;
	case LETTER_LINK_ENDED:
		dials_link_ended(g, (const void *)l->body);
		break;
	case LETTER_ADMIT:
	case LETTER_RUN:
	case LETTER_FORWARD:
	case LETTER_WATCH_GONE:
	case LETTER_GONE:
	case LETTER_NOT_HERE:
	case LETTER_REPORTS:
	case LETTER_LINK:
	case LETTER_PRESENT:
	case LETTER_WATCH:
	case LETTER_UNWATCH:
	case LETTER_PRESENCE:
	case LETTER_WATCH_ACK:
	case LETTER_CLOSE_PEER:
	case LETTER_ASK_FLOWS:
	case LETTER_ASK_CLIENTS:
	case LETTER_LOG:
		CHECK(!"a letter for somebody else");
	}
}

static void timer_due(void *arg, struct timer *t)
{
	struct gate *g = arg;

	if (t != &g->tick) {
		visitor_timeout(container_of(t, struct visitor, timer));
		return;
	}
	g->site.tick(g->site.site, g->now_ms);
	dials_tick(g);
	if (g->accept_again_ms && g->accept_again_ms <= g->now_ms)
		accept_resume(g);
	wheel_set(&g->wheel, &g->tick, g->now_ms + TICK_MS);
}

/* A reply that went on may end its visitor, or make another one ready. */
static void go_on(struct gate *g)
{
	struct visitor *v = g->ready;

	/* Those that have more to send than a turn allows line up again for the next one. */
	g->ready = NULL;
	while (v) {
		struct visitor *next = v->next_ready;

		v->is_ready = false;
		if (!v->dead)
			visitor_go_on(v);
		v = next;
	}
}

static void reap(struct gate *g)
{
	while (g->dead) {
		struct visitor *v = g->dead;

		g->dead = v->next_dead;
		visitor_free(v);
	}
}

static int sleep_ms(struct gate *g)
{
	if (g->busy || g->ready || !mail_may_sleep(g->mail, g->self))
		return 0;
	return wheel_sleep_ms(&g->wheel, g->now_ms);
}

void gate_turn(struct gate *g, bool may_sleep)
{
	loop_wait(&g->loop, may_sleep ? sleep_ms(g) : 0);
	mail_awake(g->mail, g->self);
	g->now_ms = clock_ms();
	loop_dispatch(&g->loop);
	g->busy = mail_drain(g->mail, g->self, MAIL_BUDGET, read_letter, g);
	wheel_run(&g->wheel, g->now_ms, timer_due, g);
	go_on(g);
	mail_publish(g->mail, g->self);
	mail_release(g->mail, g->self);
	reap(g);
}

void *gate_run(void *gate)
{
	struct gate *g = gate;

	log_set_sink(letters_log, &g->post);
	/* A crowd of handshakes gives way to packets; without the right to it, it just does not. */
	if (setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), GATE_NICE) < 0)
		log_debug("the gate could not be niced: %s", strerror(errno));
	while (!atomic_load_explicit(&g->stop, memory_order_relaxed))
		gate_turn(g, true);
	while (g->visitors.newest)
		visitor_close(g->visitors.newest, CLOSE_SHUTDOWN);
	g->ready = NULL;
	dials_free(g, g->dial);
	g->dial = NULL;
	reap(g);
	mail_publish(g->mail, g->self);
	log_set_sink(NULL, NULL);
	return NULL;
}

void gate_stop(struct gate *g)
{
	atomic_store(&g->stop, true);
	mail_ring_bell(g->mail, g->self);
}

struct gate *gate_new(const struct gate_config *config, struct mail *mail, SSL_CTX *ctx)
{
	size_t opened = GATE_READ_MAX + TLS_RECORD_MAX + 1024;
	struct gate *g;
	void *p;

	CHECK(posix_memalign(&p, 64, sizeof(*g)) == 0);
	g = memset(p, 0, sizeof(*g));
	g->config = config;
	g->mail = mail;
	g->self = mail_gate(mail);
	g->post = (struct letters_post){.mail = mail, .self = g->self};
	g->ctx = ctx;
	g->now_ms = clock_ms();
	loop_init(&g->loop);
	g->bell = (struct watch){.ready = letters_bell, .fd = mail_bell_fd(mail, g->self)};
	CHECK(loop_add(&g->loop, &g->bell, EPOLLIN | EPOLLET) == 0);
	wheel_init(&g->wheel, g->now_ms);
	wheel_set(&g->wheel, &g->tick, g->now_ms + TICK_MS);
	g->cache = login_cache_new();
	g->cipher = must_alloc(GATE_READ_MAX);
	g->plain = must_alloc(opened);
	g->stream = must_alloc(opened);
	g->wire = must_alloc(MAX(TLS_REPLY_MAX, tls_seal_bound(REPLY_ROOM)));
	g->framed = must_alloc(ws_seal_bound(LOGIN_FRAME_MAX));
	g->page = must_alloc(REPLY_ROOM);
	g->dial = dials_new(g);
	return g;
}

void gate_set_site(struct gate *g, struct site_ops site)
{
	g->site = site;
}

void gate_listen(struct gate *g, int fd, enum listener_kind kind, bool tls, bool inet)
{
	struct listener *l;

	CHECK(g->nlisteners < GATE_LISTENERS_MAX);
	l = &g->listener[g->nlisteners++];
	*l = (struct listener){
	    .watch = {.ready = listener_ready, .fd = fd},
	    .gate = g,
	    .kind = kind,
	    .tls = tls,
	};
	/* Inherited by what it accepts. */
	if (inet)
		gate_set_options(g->config, fd);
	CHECK(loop_add(&g->loop, &l->watch, EPOLLIN) == 0);
}

void gate_free(struct gate *g)
{
	for (int i = 0; i < g->nlisteners; i++)
		close(g->listener[i].watch.fd);
	dials_free(g, g->dial);
	SSL_CTX_free(g->ctx);
	login_cache_free(g->cache);
	free(g->cipher);
	free(g->plain);
	free(g->stream);
	free(g->wire);
	free(g->framed);
	free(g->page);
	loop_fini(&g->loop);
	free(g);
}
