// SPDX-License-Identifier: GPL-2.0
/*
 * A CRIU that fails when the processes have their memory already, and ends them: this program stands between kup-ppp and CRIU, and where the
 * answer to post-restore is yes it says no. Then memory is filled, so that what the processes have left behind them is gone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASKED 3			/* where kup-ppp is */

static char packet[8192];

/* False: that end is closed. */
static bool pass(int from, int to, bool *late)
{
	ssize_t len = recv(from, packet, sizeof(packet), 0);

	if (len <= 0)
		return false;
	/* an answer is two fields of two bytes; the second is notify_success */
	if (*late && from == ASKED && len == 4)
		packet[3] = 0;
	*late = memmem(packet, len, "post-restore", 12);
	return send(to, packet, len, MSG_NOSIGNAL) == len;
}

static void relay(int criu)
{
	struct pollfd fds[2] = { { .fd = ASKED, .events = POLLIN }, { .fd = criu, .events = POLLIN } };
	bool late = false;

	while (poll(fds, 2, -1) > 0) {
		if (fds[1].revents && !pass(criu, ASKED, &late))
			return;
		if (fds[0].revents && !pass(ASKED, criu, &late))
			return;
	}
}

/* CRIU opens directories by their numbers in the process at the other end of its socket: have them here as kup-ppp has. */
static void take_descriptors(void)
{
	int kup = syscall(SYS_pidfd_open, getppid(), 0), fd;

	/* out of their way */
	kup = fcntl(kup, F_DUPFD_CLOEXEC, 256);
	for (int n = ASKED + 1; n < 256; n++) {
		fd = syscall(SYS_pidfd_getfd, kup, n, 0);
		if (fd >= 0 && fd != n) {
			dup3(fd, n, O_CLOEXEC);
			close(fd);
		}
	}
}

static void fill(void)
{
	static char mb[1 << 20];
	int fd = open("/dev/shm/fill", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	for (int i = 0; i < 250 && write(fd, mb, sizeof(mb)) == sizeof(mb); i++)
		;
	close(fd);
}

int main(int argc, char **argv)
{
	int sock[2], status;
	pid_t pid;

	if (argc < 3 || strcmp(argv[2], "swrk")) {
		execvp("criu", argv);
		return 127;
	}
	take_descriptors();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock))
		return 1;
	pid = fork();
	if (!pid) {
		dup2(sock[1], ASKED);
		execvp("criu", argv);
		_exit(127);
	}
	close(sock[1]);
	relay(sock[0]);
	close(sock[0]);
	waitpid(pid, &status, 0);
	if (!status)
		return 0;
	fill();
	return 1;
}
