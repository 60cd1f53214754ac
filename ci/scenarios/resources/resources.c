// SPDX-License-Identifier: GPL-2.0
/*
 * What a process owns besides private memory, one thing a test: made before the switch, compared after it.
 *
 *   1. Each test makes its state, then calls hold(): the launcher lets the switch happen.
 *   2. In the new kernel hold() returns, and everything is compared.
 *   3. What kup-ppp refuses is a test as well (REFUSED): its state is made, and `kup-ppp check` has to name it.
 *
 * Each test is a process of its own (and its helpers): resources --run NAME, started by dirty_launch, whose protocol this is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../dirty/dirty.h"
#include "resources.h"

int failures;
static struct test *tests, **last = &tests;
static const char *dir = "/run/resources";
static const char *name;
static pid_t helpers[16], main_pid;
static unsigned int nr_helpers;

void test_add(struct test *t)
{
	*last = t;
	last = &t->next;
}

static const char *base(const char *file)
{
	const char *slash = strrchr(file, '/');

	return slash ? slash + 1 : file;
}

void complain(const char *file, int line, const char *what)
{
	failures++;
	dprintf(1, "# %s:%d: not so: %s\n", base(file), line, what);
}

void same(const char *file, int line, const char *what, long long a, long long b)
{
	if (a == b)
		return;
	failures++;
	dprintf(1, "# %s:%d: %s is %lld, not %lld\n", base(file), line, what, a, b);
}

static void end(void)
{
	for (unsigned int i = 0; i < nr_helpers; i++)
		kill(helpers[i], SIGKILL);
	dprintf(1, "%s 1 %s\n", failures ? "not ok" : "ok", name);
	_exit(failures != 0);
}

void give_up(const char *file, int line, const char *what)
{
	dprintf(1, "# %s:%d: could not be prepared: %s: %s\n", base(file), line, what, strerror(errno));
	failures++;
	if (getpid() != main_pid)
		_exit(1);
	end();
	__builtin_unreachable();
}

void hold_serving(int fd, void (*serve)(int fd))
{
	struct pollfd pfd[2] = { { .fd = DIRTY_FD_GO, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
	ssize_t n;
	char c;

	if (failures)
		end();
	if (write(DIRTY_FD_READY, "", 1) != 1)
		_exit(1);
	while (fd >= 0 && (poll(pfd, 2, -1) < 0 || !pfd[0].revents))
		if (pfd[1].revents)
			serve(fd);
	do {
		n = read(DIRTY_FD_GO, &c, 1);
	} while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(1);
}

void hold(void)
{
	hold_serving(-1, NULL);
}

pid_t child(void (*fn)(int sock), int *sock)
{
	int s[2];
	pid_t pid;

	MUST(!socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid = fork();
	MUST(pid >= 0);
	if (!pid) {
		close(s[0]);
		close(DIRTY_FD_READY);
		close(DIRTY_FD_GO);
		fn(s[1]);
		_exit(0);
	}
	close(s[1]);
	MUST(nr_helpers < sizeof(helpers) / sizeof(*helpers));
	helpers[nr_helpers++] = pid;
	*sock = s[0];
	return pid;
}

void tell(int sock)
{
	MUST(write(sock, "", 1) == 1);
}

void await(int sock)
{
	ssize_t n;
	char c;

	do {
		n = read(sock, &c, 1);
	} while (n < 0 && errno == EINTR);
	MUST(n == 1);
}

void send_answer(int sock, int value)
{
	MUST(write(sock, &value, sizeof(value)) == sizeof(value));
}

int answer(int sock)
{
	int value = INT_MIN;

	MUST(read(sock, &value, sizeof(value)) == sizeof(value));
	return value;
}

const char *in_dir(const char *file)
{
	static char path[4][PATH_MAX];
	static unsigned int next;
	char *p = path[next++ % 4];

	snprintf(p, PATH_MAX, "%s/%s.%s", dir, name, file);
	return p;
}

unsigned char pattern(size_t at)
{
	uint64_t x = (at + 1) * 0x9e3779b97f4a7c15ULL;

	return x >> 37;
}

void fill(void *buf, size_t len, size_t at)
{
	unsigned char *p = buf;

	for (size_t i = 0; i < len; i++)
		p[i] = pattern(at + i);
}

size_t differs(const void *buf, size_t len, size_t at)
{
	const unsigned char *p = buf;
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += p[i] != pattern(at + i);
	return n;
}

char *slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	buf[n < 0 ? 0 : n] = 0;
	if (fd >= 0)
		close(fd);
	return buf;
}

long status_of(pid_t pid, const char *field)
{
	char path[64], text[8192], want[64], *p;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	snprintf(want, sizeof(want), "\n%s:", field);
	p = strstr(slurp(path, text, sizeof(text)), want);
	return p ? strtol(p + strlen(want), NULL, 0) : -1;
}

int64_t now_ns(int clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	struct test *t;
	int i;

	if (argc == 2 && !strcmp(argv[1], "--list")) {
		for (t = tests; t; t = t->next)
			puts(t->name);
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "--refusals")) {
		for (t = tests; t; t = t->next)
			if (t->refused)
				printf("%s\t%s\t%s\n", t->name, t->either ? "may" : "must", t->refused);
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "--lost")) {
		list_lost();
		return 0;
	}
	for (i = 3; i < argc; i++)
		if (!strncmp(argv[i], "--dir=", 6))
			dir = argv[i] + 6;
	for (t = argc > 2 && !strcmp(argv[1], "--run") ? tests : NULL; t; t = t->next) {
		if (strcmp(argv[2], t->name))
			continue;
		name = t->name;
		main_pid = getpid();
		prctl(PR_SET_NAME, name);
		signal(SIGPIPE, SIG_IGN);
		t->run();
		end();
	}
	fprintf(stderr, "usage: %s --list | --refusals | --lost | --run TEST [--dir=DIR]   (dirty_launch does this)\n", argv[0]);
	return 2;
}
