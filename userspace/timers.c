// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "timers.h"
#include "util.h"

#define SET_TICKS	_IOW('T', 0, uint64_t)	/* TFD_IOC_SET_TICKS: no header for user space has it */

static bool stands_still(pid_t pid, const char *nr, struct itimerspec *its, uint64_t *ticks)
{
	char *info = kup_slurpf("/proc/%d/fdinfo/%s", pid, nr), *p = info ? strstr(info, "\nticks: ") : NULL;
	unsigned long long n = 0, v_sec = 0, v_nsec = 0, i_sec = 0, i_nsec = 0;
	bool still = p && sscanf(p, " ticks: %llu settime flags: %*o it_value: (%llu, %llu) it_interval: (%llu, %llu)", &n, &v_sec,
				 &v_nsec, &i_sec, &i_nsec) == 5 && n && !v_sec && !v_nsec && (i_sec || i_nsec);

	free(info);
	*its = (struct itimerspec){ .it_interval = { .tv_sec = i_sec, .tv_nsec = i_nsec } };
	its->it_value = its->it_interval;
	*ticks = n;
	return still;
}

void kup_timers_rearm(pid_t pid)
{
	int pidfd = syscall(SYS_pidfd_open, pid, 0), fd;
	struct itimerspec its;
	char path[64];
	struct dirent *e;
	uint64_t ticks;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && pidfd >= 0 && (e = readdir(d))) {
		char link[64];
		ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);

		if (n <= 0 || !kup_starts(link, "anon_inode:[timerfd]") || !stands_still(pid, e->d_name, &its, &ticks))
			continue;
		fd = syscall(SYS_pidfd_getfd, pidfd, atoi(e->d_name), 0);
		if (fd < 0)
			continue;
		/* in this order: setting the time forgets the ticks */
		if (!timerfd_settime(fd, 0, &its, NULL))
			ioctl(fd, SET_TICKS, &ticks);
		close(fd);
	}
	if (d)
		closedir(d);
	if (pidfd >= 0)
		close(pidfd);
}
