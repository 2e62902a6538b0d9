/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 4096

/* A socket bound to one address, or a negative errno. */
static int open_one(const struct addr *a)
{
	int family = a->ss.ss_family, on = 1, off = 0, e;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->ss;

		/* All addresses means those of IPv4 too. */
		if (IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr))
			setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	}
	if (bind(fd, (const struct sockaddr *)&a->ss, a->len) == 0)
		return fd;
	e = errno;
	close(fd);
	return -e;
}

static void explain(int e, const char *flag, const char *text, char *err, size_t errlen)
{
	const char *hint = "";

	if (e == EADDRINUSE)
		hint = ": another program has it, stop that or choose another one";
	else if (e == EACCES)
		hint = ": ports below 1024 need root or CAP_NET_BIND_SERVICE";
	else if (e == EADDRNOTAVAIL)
		hint = ": this machine has no such address";
	snprintf(err, errlen, "cannot listen on %s (-%s): %s%s", text, flag, strerror(e), hint);
}

/* The first address of the list that the machine has. */
static int open_list(const struct addr_list *list, const char *flag, const char *text,
    struct addr *bound, char *err, size_t errlen)
{
	int fd = -EADDRNOTAVAIL;

	for (size_t i = 0; i < list->n; i++) {
		fd = open_one(&list->a[i]);
		if (bound)
			*bound = list->a[i];
		if (fd != -EAFNOSUPPORT && fd != -EADDRNOTAVAIL)
			break;
	}
	if (fd < 0)
		explain(-fd, flag, text, err, errlen);
	return fd;
}

/* A socket file left behind by a process that is gone may be taken; one that answers may not. */
static void remove_stale(const struct addr *a, const char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)&a->ss, a->len) < 0 && errno == ECONNREFUSED)
		unlink(path);
	close(fd);
}

static int open_unix(const char *path, char *err, size_t errlen)
{
	struct addr a;
	mode_t mask;
	int fd;

	if (!addr_set_unix(&a, path)) {
		snprintf(err, errlen, "-debug-listen: the path %s is too long for a socket", path);
		return -1;
	}
	remove_stale(&a, path);
	/* For the owner and the group: who may connect may see the debug pages. */
	mask = umask(0117);
	fd = open_one(&a);
	umask(mask);
	if (fd < 0)
		explain(-fd, "debug-listen", path, err, errlen);
	return fd;
}

static int open_debug(const struct options *o, struct listen_plan *plan, char *err, size_t errlen)
{
	const char *path = addr_unix_path(o->debug_listen);
	struct addr_list list;

	if (!*o->debug_listen)
		return 0;
	if (path)
		plan->debug_fd = open_unix(path, err, errlen);
	else if (addr_parse_listen(o->debug_listen, &list, err, errlen) == 0)
		plan->debug_fd =
		    open_list(&list, "debug-listen", o->debug_listen, NULL, err, errlen);
	/* Only what we made ourselves is removed at the end. */
	plan->debug_is_unix = path && plan->debug_fd >= 0;
	return plan->debug_fd < 0 ? -1 : 0;
}

static int open_http(const struct options *o, struct listen_plan *plan, char *err, size_t errlen)
{
	struct addr_list list = {.n = 1, .a = {plan->public}};
	char text[ADDR_TEXT_LEN];

	if (o->http_port < 0)
		return 0;
	addr_set_port(&list.a[0], (uint16_t)o->http_port);
	addr_format((const struct sockaddr *)&list.a[0].ss, text);
	plan->http_fd = open_list(&list, "http-port", text, NULL, err, errlen);
	return plan->http_fd < 0 ? -1 : 0;
}

void listen_close(struct listen_plan *plan)
{
	int *fd[] = {&plan->public_fd, &plan->http_fd, &plan->debug_fd};

	for (size_t i = 0; i < ARRAY_LEN(fd); i++) {
		if (*fd[i] >= 0)
			close(*fd[i]);
		*fd[i] = -1;
	}
}

int listen_start(const struct listen_plan *plan, char *err, size_t errlen)
{
	const int fd[] = {plan->public_fd, plan->http_fd, plan->debug_fd};

	for (size_t i = 0; i < ARRAY_LEN(fd); i++) {
		if (fd[i] >= 0 && listen(fd[i], BACKLOG) < 0) {
			snprintf(err, errlen, "cannot listen: %s", strerror(errno));
			return -1;
		}
	}
	return 0;
}

int listen_open(const struct options *o, struct listen_plan *plan, char *err, size_t errlen)
{
	struct addr_list list;

	*plan = (struct listen_plan)LISTEN_PLAN_NONE;
	if (addr_parse_listen(o->listen, &list, err, errlen) < 0)
		return -1;
	plan->public_fd = open_list(&list, "a", o->listen, &plan->public, err, errlen);
	if (plan->public_fd < 0)
		return -1;
	plan->stun = plan->public;
	addr_set_port(&plan->stun, (uint16_t)o->stun_port);
	if (open_http(o, plan, err, errlen) == 0 && open_debug(o, plan, err, errlen) == 0)
		return 0;
	listen_close(plan);
	return -1;
}
