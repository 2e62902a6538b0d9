/* SPDX-License-Identifier: BSD-3-Clause */
#include "io/congestion.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int congestion_set(int fd, const char *name)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) < 0
		   ? -errno
		   : 0;
}

int congestion_try(const char *name)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	err = congestion_set(fd, name);
	close(fd);
	return err;
}

void congestion_get(int fd, char out[CONGESTION_NAME_LEN])
{
	socklen_t len = CONGESTION_NAME_LEN - 1;

	memset(out, 0, CONGESTION_NAME_LEN);
	if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, out, &len) < 0)
		out[0] = '\0';
}

void congestion_preset(char out[CONGESTION_NAME_LEN])
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	congestion_get(fd, out);
	if (fd >= 0)
		close(fd);
}
