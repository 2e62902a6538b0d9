/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/loop.h"

#include <errno.h>
#include <unistd.h>

void loop_init(struct loop *l)
{
	l->n = 0;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	CHECK(l->epfd >= 0);
}

void loop_fini(struct loop *l)
{
	close(l->epfd);
	l->epfd = -1;
}

int loop_add(struct loop *l, struct watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	if (epoll_ctl(l->epfd, EPOLL_CTL_ADD, w->fd, &ev) < 0)
		return -errno;
	/* Errors and hang-ups are always watched: a watch in the loop is never 0. */
	w->events = events | EPOLLERR;
	return 0;
}

void loop_set(struct loop *l, struct watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	CHECK(w->events != 0);
	if (w->events == (events | EPOLLERR))
		return;
	CHECK(epoll_ctl(l->epfd, EPOLL_CTL_MOD, w->fd, &ev) == 0);
	w->events = events | EPOLLERR;
}

void loop_del(struct loop *l, struct watch *w)
{
	if (w->events == 0)
		return;
	CHECK(epoll_ctl(l->epfd, EPOLL_CTL_DEL, w->fd, NULL) == 0);
	w->events = 0;
}

void loop_forget(struct watch *w)
{
	w->events = 0;
}

void loop_wait(struct loop *l, int timeout_ms)
{
	l->n = epoll_wait(l->epfd, l->event, LOOP_EVENTS_MAX, timeout_ms);
	CHECK(l->n >= 0 || errno == EINTR);
}

void loop_dispatch(struct loop *l)
{
	for (int i = 0; i < l->n; i++) {
		struct watch *w = l->event[i].data.ptr;

		w->ready(w, l->event[i].events);
	}
	l->n = 0;
}
