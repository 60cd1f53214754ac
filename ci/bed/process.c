// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "bed.h"

static void place(int fd, int at)
{
	if (fd < 0)
		fd = open("/dev/null", O_RDWR);
	dup2(fd, at);
}

pid_t spawn(char *const argv[], int in, int out, int err)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		bed_fail("fork: %s", strerror(errno));
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	/* Out of the way of 0, 1 and 2 first: the three may be any descriptors. */
	if (in >= 0)
		in = fcntl(in, F_DUPFD_CLOEXEC, 10);
	if (out >= 0)
		out = fcntl(out, F_DUPFD_CLOEXEC, 10);
	if (err >= 0)
		err = fcntl(err, F_DUPFD_CLOEXEC, 10);
	place(in, 0);
	place(out, 1);
	place(err, 2);
	execv(argv[0], argv);
	_exit(127);
}

void http_start(void)
{
	char *argv[] = { (char *)bed.o.busybox, "httpd", "-f", "-p", HOST_IP ":" HTTP_PORT, "-h", (char *)bed.o.images, NULL };

	spawn(argv, -1, -1, -1);
}
