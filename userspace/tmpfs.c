// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tmpfs.h"

uint64_t kup_tmpfs_limit(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) ? 0 : (uint64_t)fs.f_blocks * fs.f_bsize;
}

/* The directory that its mount begins with. */
static int open_root(const char *dir)
{
	struct stat here, above;
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), up;

	while (fd >= 0) {
		up = openat(fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (up < 0 || fstat(fd, &here) || fstat(up, &above) || here.st_dev != above.st_dev || here.st_ino == above.st_ino) {
			if (up >= 0)
				close(up);
			break;
		}
		close(fd);
		fd = up;
	}
	return fd;
}

int kup_tmpfs_grow(const char *dir, uint64_t bytes)
{
	int root = open_root(dir), fs, ret = 0;
	char text[24];

	if (root < 0)
		return -errno;
	/* Not mount(2): that would set all flags of the mount anew. */
	fs = fspick(root, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", text, 0) || fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0))
		ret = -errno;
	if (fs >= 0)
		close(fs);
	close(root);
	return ret;
}
