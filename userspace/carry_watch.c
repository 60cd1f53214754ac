// SPDX-License-Identifier: GPL-2.0
/*
 * What inotify and fanotify watch. The kernel tells a file handle and the device, no name: it is opened by these, and named by /proc. What is
 * in memory only is noted, so that it is there again when CRIU restores the watch.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "carry.h"
#include "util.h"

/* Somewhere on the file system of a device; or -1. Devices are as the kernel has them: 12 bits of major, 20 of minor. */
static int open_mount(unsigned int sdev)
{
	char *text = kup_slurp("/proc/self/mountinfo", NULL), *rest = text, *line, dir[PATH_MAX];
	unsigned int maj, min;
	int fd = -1;

	while (fd < 0 && rest && (line = strsep(&rest, "\n")))
		if (sscanf(line, "%*d %*d %u:%u %*s %4095s", &maj, &min, dir) == 3 && maj == sdev >> 20 && min == (sdev & 0xfffff))
			fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(text);
	return fd;
}

/* Of a line of fdinfo; an O_PATH descriptor, or -1. */
static int open_watched(const char *line)
{
	struct {
		struct file_handle h;
		unsigned char byte[MAX_HANDLE_SZ];
	} handle = { .h.handle_bytes = 0 };
	const char *p = strstr(line, "sdev:"), *q = strstr(line, "fhandle-bytes:");
	unsigned int sdev, bytes, type, i;
	int mount, fd;

	if (!p || !q || sscanf(p, "sdev:%x", &sdev) != 1 || sscanf(q, "fhandle-bytes:%x fhandle-type:%x f_handle:", &bytes, &type) != 2 ||
	    bytes > MAX_HANDLE_SZ || !(q = strstr(q, "f_handle:")))
		return -1;
	handle.h.handle_bytes = bytes;
	handle.h.handle_type = type;
	for (i = 0, q += strlen("f_handle:"); i < bytes; i++, q += 2) {
		unsigned int byte;

		if (sscanf(q, "%2x", &byte) != 1)
			return -1;
		handle.byte[i] = byte;
	}
	mount = open_mount(sdev);
	fd = mount < 0 ? -1 : open_by_handle_at(mount, &handle.h, O_PATH | O_CLOEXEC);
	if (mount >= 0)
		close(mount);
	return fd;
}

void kup_carry_watches(struct kup_carry *c, const struct kup_task *t, const char *object, int nr)
{
	char *info = kup_slurpf("/proc/%d/fdinfo/%d", t->pid, nr), *rest = info, *line, via[64], path[PATH_MAX];
	struct stat st;
	ssize_t n;
	int fd;

	while (rest && (line = strsep(&rest, "\n"))) {
		/* fanotify's first line is of the descriptor itself, those of whole mounts and file systems have no handle */
		if (!(kup_starts(line, "inotify ") || kup_starts(line, "fanotify ")) || !strstr(line, "f_handle:"))
			continue;
		fd = open_watched(line);
		snprintf(via, sizeof(via), "/proc/self/fd/%d", fd);
		n = fd < 0 ? -1 : readlink(via, path, sizeof(path) - 1);
		if (n <= 0 || fstat(fd, &st)) {
			kup_refuse(c, t, object, "let it end that watch", "it watches something whose name can't be told: %.100s", line);
		} else {
			path[n] = '\0';
			if (kup_carry_named(c, t, object, path, &st))
				kup_carry_file(c, t, object, path, &st, via);
		}
		if (fd >= 0)
			close(fd);
	}
	free(info);
}
