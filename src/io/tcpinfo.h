/* SPDX-License-Identifier: BSD-3-Clause */
/* tcpinfo.h: what the kernel knows of a TCP connection (linux/tcp.h, struct tcp_info). */
#ifndef SLUICE_IO_TCPINFO_H
#define SLUICE_IO_TCPINFO_H

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

/* Asks it: one system call. What an older kernel does not tell is 0. False: no TCP socket. */
static inline bool tcp_info_get(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	*info = (struct tcp_info){0};
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0;
}

#endif
