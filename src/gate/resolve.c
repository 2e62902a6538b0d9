/* SPDX-License-Identifier: BSD-3-Clause */
#include "gate/resolve.h"

#include <string.h>
#include <ares.h>

/* One try of a name server; the next one waits longer. RESOLVE_MS bounds them all. */
#define TRY_MS 1000
#define TRIES 3

static const char *servers; /* NULL: the system's */

void resolve_use_servers(const char *list)
{
	servers = list;
}

void resolve_init(void)
{
	CHECK(ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS);
}

static void end_channel(struct resolve *r)
{
	ares_channel c = r->channel;

	/* It closes its sockets through watch_socket, and calls back what is still open. */
	r->channel = NULL;
	r->busy = false;
	if (c)
		ares_destroy(c);
}

/* Behind every call of c-ares, never within one: who is called may begin the next question. */
static void settle(struct resolve *r)
{
	if (!r->busy || !r->answered)
		return;
	end_channel(r);
	r->done(r);
}

static void socket_ready(struct watch *watch, uint32_t events)
{
	struct resolve_socket *s = container_of(watch, struct resolve_socket, watch);
	struct resolve *r = s->resolve;
	bool in = events & (EPOLLIN | EPOLLERR | EPOLLHUP);

	/* It may have been closed in this turn. */
	if (watch->events == 0 || !r->busy)
		return;
	ares_process_fd(r->channel, in ? watch->fd : ARES_SOCKET_BAD,
	    events & (EPOLLOUT | EPOLLERR | EPOLLHUP) ? watch->fd : ARES_SOCKET_BAD);
	settle(r);
}

static struct resolve_socket *find_socket(struct resolve *r, int fd)
{
	struct resolve_socket *spare = NULL;

	for (int i = 0; i < RESOLVE_SOCKETS_MAX; i++) {
		struct resolve_socket *s = &r->socket[i];

		if (s->watch.events != 0 && s->watch.fd == fd)
			return s;
		if (s->watch.events == 0 && !spare)
			spare = s;
	}
	return spare;
}

/* c-ares wants a socket watched, otherwise than before, or no more as it is about to close it. One
 * that can't be watched goes unheard and times out. */
static void watch_socket(void *arg, ares_socket_t fd, int in, int out)
{
	struct resolve *r = arg;
	struct resolve_socket *s = find_socket(r, fd);
	uint32_t events = (in ? EPOLLIN : 0) | (out ? EPOLLOUT : 0);

	if (!s)
		return;
	if (s->watch.events != 0) {
		if (events)
			loop_set(r->loop, &s->watch, events);
		else
			loop_del(r->loop, &s->watch);
	} else if (events) {
		*s = (struct resolve_socket){
		    .watch = {.ready = socket_ready, .fd = fd},
		    .resolve = r,
		};
		if (loop_add(r->loop, &s->watch, events) < 0)
			s->watch.events = 0;
	}
}

static void take_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct resolve *r = arg;

	/* While its channel is destroyed it has been settled, or is of no interest any more. */
	if (r->busy) {
		r->answered = true;
		if (status != ARES_SUCCESS)
			r->error = ares_strerror(status);
		for (struct ares_addrinfo_node *a = info ? info->nodes : NULL; a; a = a->ai_next) {
			if (r->n == RESOLVE_ADDRS_MAX || a->ai_addrlen > sizeof(r->addr[0].ss))
				break;
			memset(&r->addr[r->n], 0, sizeof(r->addr[0]));
			memcpy(&r->addr[r->n].ss, a->ai_addr, a->ai_addrlen);
			r->addr[r->n++].len = a->ai_addrlen;
		}
		if (r->n == 0 && !r->error)
			r->error = "it has no address";
	}
	ares_freeaddrinfo(info);
}

void resolve_begin(struct resolve *r, struct loop *l, const char *name, uint64_t now_ms)
{
	struct ares_options o = {
	    .timeout = TRY_MS,
	    .tries = TRIES,
	    .sock_state_cb = watch_socket,
	    .sock_state_cb_data = r,
	};
	int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	ares_channel channel;
	int status;

	CHECK(!r->busy);
	r->loop = l;
	r->n = 0;
	r->error = NULL;
	r->answered = false;
	r->busy = true;
	r->deadline_ms = now_ms + RESOLVE_MS;
	if (addr_parse_ip(name, &r->addr[0])) {
		r->n = 1;
		r->answered = true;
		settle(r);
		return;
	}
	status = ares_init_options(&channel, &o, mask);
	if (status == ARES_SUCCESS) {
		r->channel = channel;
		CHECK(!servers || ares_set_servers_ports_csv(channel, servers) == ARES_SUCCESS);
		ares_getaddrinfo(channel, name, NULL, &hints, take_answer, r);
	} else {
		r->error = ares_strerror(status);
		r->answered = true;
	}
	settle(r);
}

void resolve_tick(struct resolve *r, uint64_t now_ms)
{
	if (!r->busy)
		return;
	if (now_ms >= r->deadline_ms) {
		r->answered = true;
		r->n = 0;
		r->error = "no name server answered in time";
	} else {
		ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	}
	settle(r);
}

void resolve_end(struct resolve *r)
{
	end_channel(r);
}
