// SPDX-License-Identifier: GPL-2.0
/*
 * nest READY COMMAND...: a process that several tests descend from, so that one CRIU carries them all. Runs the command, makes the file READY
 * when that has ended, and takes in whoever loses its parent.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	pid_t pid, ended;

	if (argc < 3)
		errx(2, "usage: nest READY COMMAND...");
	if (setsid() < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1))
		err(1, "subreaper");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		execvp(argv[2], argv + 2);
		err(127, "%s", argv[2]);
	}
	for (;;) {
		ended = waitpid(-1, NULL, 0);
		if (ended == pid)
			close(open(argv[1], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		else if (ended < 0 && errno == ECHILD)
			pause();	/* nobody is left, and nobody comes */
	}
}
