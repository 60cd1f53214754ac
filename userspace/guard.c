// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guard.h"

static void __attribute__((noreturn)) guard(int line)
{
	ssize_t n;
	char c;

	setsid();		/* a signal to the command's process group is not for us */
	prctl(PR_SET_NAME, "kup-guard");
	do
		n = read(line, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n)
		_exit(0);
	fprintf(stderr, "kup-ppp: killed in the middle of a switch: everything is put back\n");
	/* The lock goes over to it: ours is the same open file as the command's, and is closed here. */
	execl("/proc/self/exe", "kup-ppp", "abort", (char *)NULL);
	fprintf(stderr, "kup-ppp: %s; run `kup-ppp abort`\n", strerror(errno));
	_exit(1);
}

int kup_guard_start(struct kup_guard *g, struct kup_err *err)
{
	int line[2];

	if (pipe2(line, O_CLOEXEC))
		return kup_err_set(err, -errno, "pipe: %s", strerror(errno));
	g->pid = fork();
	if (g->pid < 0) {
		kup_err_set(err, -errno, "fork: %s", strerror(errno));
		close(line[0]);
		close(line[1]);
		return -errno;
	}
	if (!g->pid) {
		close(line[1]);
		guard(line[0]);
	}
	close(line[0]);
	g->line = line[1];
	return 0;
}

void kup_guard_end(struct kup_guard *g)
{
	if (write(g->line, "", 1) < 0)
		return;
	close(g->line);
	while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
		;
}
