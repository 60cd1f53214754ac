// SPDX-License-Identifier: GPL-2.0
/*
 * A process that forks all the time, and one that does so by vfork() and has its memory for itself one third of the time. Each child makes a file, holds it open for a moment, and looks whether it is still what it was; every third
 * has a child of its own that does so. /run/forking/done has a byte for each that was content, /run/forking/bad says what one was not.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define AT_ONCE 16

static int done;	/* held by all of them */

static void bad(const char *what, int n)
{
	FILE *f = fopen("/run/forking/bad", "a");

	fprintf(f, "%d: %s: %m\n", n, what);
	fclose(f);
	_exit(1);
}

static void work(int n)
{
	char path[64], was[3000], is[sizeof(was)];
	struct stat held, named;
	int fd;

	snprintf(path, sizeof(path), "/run/forking/of-%d", getpid());
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	for (size_t i = 0; i < sizeof(was); i++)
		was[i] = n * 31 + i * i;
	if (fd < 0 || write(fd, was, sizeof(was)) != sizeof(was))
		bad("making it", n);
	usleep(n % 4 ? 100000 : 2000000);	/* some outlive what a switch does before the freeze */
	if (pread(fd, is, sizeof(is), 0) != sizeof(is) || memcmp(was, is, sizeof(is)) || lseek(fd, 0, SEEK_CUR) != sizeof(was))
		bad("content", n);
	if (fstat(fd, &held) || stat(path, &named) || held.st_ino != named.st_ino || held.st_dev != named.st_dev || unlink(path))
		bad("name", n);
	if (write(done, ".", 1) != 1)
		bad("saying so", n);
}

static void child(int n)
{
	int status = 0;
	pid_t pid;

	if (n % 3 == 0) {
		pid = fork();
		if (!pid) {
			work(n);
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid || status)
			bad("its child", n);
	}
	work(n);
	_exit(0);
}

/* A program is started; that takes it some time. */
static void start_programs(void)
{
	int status;

	for (;;) {
		pid_t pid = vfork();

		if (!pid) {
			usleep(10000);
			_exit(7);
		}
		if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 7)
			bad("one that it started", 0);
		usleep(5000);
	}
}

int main(void)
{
	int n, status, alive = 0;

	if (!fork())
		start_programs();
	done = open("/run/forking/done", O_WRONLY | O_APPEND | O_CREAT, 0600);
	for (n = 0;; n++) {
		if (alive == AT_ONCE) {
			if (wait(&status) < 0 || status)
				bad("a child's end", n);
			alive--;
		}
		if (!fork())
			child(n);
		alive++;
	}
}
