/* SPDX-License-Identifier: BSD-3-Clause */
#include "gate/stun_server.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/counter.h"
#include "io/addr.h"
#include "wire/stun.h"

/* Datagrams taken and answered at once. */
#define BATCH 64
/* A client's request has 40 bytes; what is longer than this was never one. */
#define DATAGRAM_MAX 512
/* Holds some thousand requests while the thread has no CPU; the kernel may grant less. */
#define RECEIVE_BUFFER (1 << 20)
/* How long to leave alone a socket that can't be read. */
#define READ_ERROR_PAUSE_MS 100

/* The local address that a datagram was sent to, and from which the answer must come. */
union local_addr {
	struct cmsghdr align;
	uint8_t room[MAX(
	    CMSG_SPACE(sizeof(struct in_pktinfo)), CMSG_SPACE(sizeof(struct in6_pktinfo)))];
};

struct stun_server {
	int fd;
	int stop_fd; /* an eventfd: readable from stun_server_stop on, never emptied */
	uint16_t port;
	struct stun_stats stats;

	/* one batch; an answer shares its request's peer and local address */
	struct mmsghdr in[BATCH];
	struct mmsghdr out[BATCH];
	struct iovec in_iov[BATCH];
	struct iovec out_iov[BATCH];
	struct sockaddr_storage peer[BATCH];
	union local_addr local[BATCH];
	uint8_t request[BATCH][DATAGRAM_MAX];
	uint8_t response[BATCH][STUN_RESPONSE_MAX];
};

static bool is_unspecified(const struct sockaddr *addr)
{
	if (addr->sa_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(
		    &((const struct sockaddr_in6 *)(const void *)addr)->sin6_addr);
	return ((const struct sockaddr_in *)(const void *)addr)->sin_addr.s_addr == INADDR_ANY;
}

/* Returns the socket, or -1 with errno set and *step naming the call that failed. */
static int bind_udp(const struct sockaddr *addr, const char **step)
{
	bool v6 = addr->sa_family == AF_INET6;
	socklen_t len = v6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	int on = 1, off = 0, size = RECEIVE_BUFFER, saved;
	int fd;

	*step = "socket";
	fd = socket(addr->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	*step = "setsockopt";
	if (v6) {
		if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0 ||
		    setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) < 0)
			goto err;
	} else if (setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0) {
		goto err;
	}
	/* A smaller buffer does as well, most of the time. */
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	*step = "bind";
	if (bind(fd, addr, len) < 0)
		goto err;
	return fd;
err:
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int bind_all(uint16_t port, const char **step)
{
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = bind_udp((struct sockaddr *)&v6, step);

	/* The kernel has no IPv6, or it is switched off. */
	if (fd < 0 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL))
		fd = bind_udp((struct sockaddr *)&v4, step);
	return fd;
}

struct stun_server *stun_server_open(const struct sockaddr *addr, char *err, size_t errlen)
{
	struct sockaddr_storage bound = {0};
	socklen_t len = sizeof(bound);
	struct stun_server *s;
	const char *step;
	int fd;

	CHECK(addr->sa_family == AF_INET || addr->sa_family == AF_INET6);
	fd = is_unspecified(addr) ? bind_all(addr_port(addr), &step) : bind_udp(addr, &step);
	if (fd < 0) {
		snprintf(err, errlen, "cannot %s UDP port %u for STUN: %s%s", step, addr_port(addr),
		    strerror(errno),
		    errno == EADDRINUSE
			? ": another program has it, choose another -stun-port or -stun=false"
			: "");
		return NULL;
	}
	s = must_calloc(1, sizeof(*s));
	s->fd = fd;
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(s->stop_fd >= 0);
	CHECK(getsockname(fd, (struct sockaddr *)&bound, &len) == 0);
	s->port = addr_port((const struct sockaddr *)&bound);
	return s;
}

void stun_server_free(struct stun_server *s)
{
	if (!s)
		return;
	close(s->fd);
	close(s->stop_fd);
	free(s);
}

uint16_t stun_server_port(const struct stun_server *s)
{
	return s->port;
}

const struct stun_stats *stun_server_stats(const struct stun_server *s)
{
	return &s->stats;
}

void stun_server_stop(struct stun_server *s)
{
	uint64_t one = 1;
	ssize_t n = write(s->stop_fd, &one, sizeof(one));

	(void)n; /* full means that it is stopped already */
}

/* Turns the local address that came with a request into the source of its answer. The interface is
 * left to routing, which need not send where it received; a link-local peer names its own. */
static bool local_to_source(struct msghdr *m)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (!c || (m->msg_flags & MSG_CTRUNC))
		return false;
	if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
		((struct in6_pktinfo *)(void *)CMSG_DATA(c))->ipi6_ifindex = 0;
		return true;
	}
	if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
		((struct in_pktinfo *)(void *)CMSG_DATA(c))->ipi_ifindex = 0;
		return true;
	}
	return false;
}

static int receive_batch(struct stun_server *s)
{
	for (int i = 0; i < BATCH; i++) {
		s->in_iov[i] = (struct iovec){s->request[i], DATAGRAM_MAX};
		s->in[i].msg_hdr = (struct msghdr){
		    .msg_name = &s->peer[i],
		    .msg_namelen = sizeof(s->peer[i]),
		    .msg_iov = &s->in_iov[i],
		    .msg_iovlen = 1,
		    .msg_control = &s->local[i],
		    .msg_controllen = sizeof(s->local[i]),
		};
	}
	return recvmmsg(s->fd, s->in, BATCH, MSG_DONTWAIT, NULL);
}

/* Writes the answer to request i as answer number `n`; false when it deserves none. */
static bool answer(struct stun_server *s, int i, int n)
{
	struct msghdr *m = &s->in[i].msg_hdr;
	const struct sockaddr *peer = (const struct sockaddr *)&s->peer[i];
	uint8_t txid[STUN_TXID_LEN], ip[STUN_IP_LEN];

	if ((m->msg_flags & MSG_TRUNC) ||
	    stun_parse_request(s->request[i], s->in[i].msg_len, txid) != STUN_OK) {
		tally(&s->stats.not_stun, 1);
		return false;
	}
	addr_ip16(peer, ip);
	tally(stun_ip_is_v4(ip) ? &s->stats.ipv4 : &s->stats.ipv6, 1);
	if (!local_to_source(m)) {
		tally(&s->stats.no_local_addr, 1);
		m->msg_control = NULL;
		m->msg_controllen = 0;
	}
	s->out_iov[n].iov_base = s->response[n];
	s->out_iov[n].iov_len = stun_write_response(s->response[n], txid, ip, addr_port(peer));
	s->out[n].msg_hdr = (struct msghdr){
	    .msg_name = m->msg_name,
	    .msg_namelen = m->msg_namelen,
	    .msg_iov = &s->out_iov[n],
	    .msg_iovlen = 1,
	    .msg_control = m->msg_control,
	    .msg_controllen = m->msg_controllen,
	};
	return true;
}

/* Sends n answers. One that can't be sent (no route, port 0) is stepped over, once each; when the
 * socket takes no more, the rest is given up. */
static void send_batch(struct stun_server *s, int n)
{
	int sent = 0;

	for (int i = 0; i < n;) {
		int r = sendmmsg(s->fd, s->out + i, (unsigned)(n - i), MSG_DONTWAIT);

		if (r > 0) {
			i += r;
			sent += r;
		} else if (r < 0 && errno == EINTR) {
			continue;
		} else if (r < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
			break;
		} else {
			i++;
		}
	}
	tally(&s->stats.success, (uint64_t)sent);
	tally(&s->stats.write_error, (uint64_t)(n - sent));
}

void stun_server_run(struct stun_server *s)
{
	struct pollfd fds[2] = {
	    {.fd = s->stop_fd, .events = POLLIN},
	    {.fd = s->fd, .events = POLLIN},
	};

	for (;;) {
		int got, answers = 0;

		if (poll(fds, 2, -1) < 0) {
			CHECK(errno == EINTR || errno == ENOMEM);
			continue;
		}
		if (fds[0].revents)
			return;
		got = receive_batch(s);
		if (got < 0 && errno != EAGAIN && errno != EINTR) {
			tally(&s->stats.read_error, 1);
			(void)poll(fds, 1, READ_ERROR_PAUSE_MS);
			continue;
		}
		for (int i = 0; i < got; i++)
			answers += answer(s, i, answers);
		send_batch(s, answers);
	}
}
