/* SPDX-License-Identifier: BSD-3-Clause */
#include "daemon/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_read(const char *path, size_t max, char **data, size_t *len)
{
	struct stat st;
	char *buf = NULL;
	size_t got = 0;
	int rc = 0, fd;

	*data = NULL;
	*len = 0;
	/* Not blocking: a FIFO in its place must not hang the start. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) != 0)
		rc = -errno;
	else if (S_ISDIR(st.st_mode))
		rc = -EISDIR;
	else if (!S_ISREG(st.st_mode))
		rc = -EINVAL;
	else if (st.st_size > (off_t)max)
		rc = -EFBIG;
	if (rc != 0)
		goto out;

	buf = must_alloc(max + 1);
	while (got <= max) {
		ssize_t n = read(fd, buf + got, max + 1 - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			rc = -errno;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	if (rc == 0 && got > max)
		rc = -EFBIG;
	if (rc != 0) {
		file_free(buf, got);
		goto out;
	}
	buf[got] = '\0';
	*data = buf;
	*len = got;
out:
	close(fd);
	return rc;
}

void file_free(char *data, size_t len)
{
	if (!data)
		return;
	explicit_bzero(data, len);
	free(data);
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The rename itself must survive a power cut too; where a directory can't be synced, so be it. */
static void sync_parent(const char *path)
{
	char *dir = must_strdup(path);
	char *slash = strrchr(dir, '/');
	int fd;

	if (slash)
		slash[slash == dir ? 1 : 0] = '\0';
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		(void)fsync(fd);
		close(fd);
	}
	free(dir);
}

static int rename_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* A file system that can't do it in one step. */
	if (access(to, F_OK) == 0)
		return -EEXIST;
	return rename(from, to) == 0 ? 0 : -errno;
}

int file_create(const char *path, const char *data, size_t len, mode_t mode)
{
	size_t size = strlen(path) + sizeof(".tmp-XXXXXX");
	char *temp = must_alloc(size);
	int fd, rc;

	snprintf(temp, size, "%s.tmp-XXXXXX", path);
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0) {
		rc = -errno;
		goto out;
	}
	rc = write_all(fd, data, len);
	if (rc == 0 && fchmod(fd, mode) != 0)
		rc = -errno;
	if (rc == 0 && fsync(fd) != 0)
		rc = -errno;
	if (close(fd) != 0 && rc == 0)
		rc = -errno;
	if (rc == 0)
		rc = rename_new(temp, path);
	if (rc == 0)
		sync_parent(path);
	else
		unlink(temp);
out:
	free(temp);
	return rc;
}

int file_make_parents(const char *path, mode_t mode)
{
	char *dir = must_strdup(path);
	int rc = 0;

	for (char *p = dir + 1; *dir != '\0' && rc == 0; p++) {
		p = strchr(p, '/');
		if (!p)
			break;
		*p = '\0';
		if (mkdir(dir, mode) != 0 && errno != EEXIST)
			rc = -errno;
		*p = '/';
	}
	free(dir);
	return rc;
}
