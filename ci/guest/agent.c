// SPDX-License-Identifier: GPL-2.0
/* The guest's end of the control line: see guest.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "guest.h"
#include "init.h"

static int tty = -1;
static int children = -1;	/* signalfd of SIGCHLD: init reaps whatever ends */

static void send_all(const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(tty, p, n);

		if (w < 0 && errno != EINTR)
			return;
		if (w > 0) {
			p += w;
			n -= w;
		}
	}
}

static void send_output(unsigned int id, const char *p, size_t n)
{
	char line[32 + 3 * 1024];

	while (n) {
		size_t part = n < 1024 ? n : 1024;
		int len = sprintf(line, "out %u ", id);

		for (size_t i = 0; i < part; i++) {
			unsigned char c = p[i];

			if (c < ' ' || c > '~' || c == '%')
				len += sprintf(line + len, "%%%02x", c);
			else
				line[len++] = c;
		}
		line[len++] = '\n';
		send_all(line, len);
		p += part;
		n -= part;
	}
}

void agent_open(void)
{
	struct termios t;
	sigset_t chld;

	tty = open(CONTROL_TTY, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (tty < 0)
		say(CONTROL_TTY ": %s", strerror(errno));
	tcgetattr(tty, &t);
	cfmakeraw(&t);
	cfsetspeed(&t, B115200);
	tcsetattr(tty, TCSANOW, &t);
	tcflush(tty, TCIOFLUSH);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	children = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
}

static pid_t start(const char *command, int *out)
{
	sigset_t none;
	pid_t pid;
	int p[2];

	if (pipe2(p, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		int null = open("/dev/null", O_RDONLY);

		setsid();
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		dup2(null, 0);
		close(null);
		dup2(p[1], 1);
		dup2(p[1], 2);
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	*out = p[0];
	return pid;
}

/* Everything that ended is reaped; true if @pid was among it. */
static bool reap(pid_t pid, int *status)
{
	struct signalfd_siginfo si;
	bool found = false;
	pid_t p;
	int st;

	while (read(children, &si, sizeof(si)) > 0)
		;
	while ((p = waitpid(-1, &st, WNOHANG)) > 0) {
		if (p == pid) {
			*status = WIFEXITED(st) ? WEXITSTATUS(st) : 128 + WTERMSIG(st);
			found = true;
		}
	}
	return found;
}

/* Returns false at end of file. */
static bool forward(unsigned int id, int fd)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		send_output(id, buf, n);
	return n != 0;
}

int agent_run(unsigned int id, const char *command)
{
	struct pollfd pf[2];
	int out, status = 127;
	bool over = false;
	pid_t pid = start(command, &out);

	if (pid < 0)
		return status;
	pf[0] = (struct pollfd){ .fd = children, .events = POLLIN };
	pf[1] = (struct pollfd){ .fd = out, .events = POLLIN };
	/* A daemon that the command left behind may hold the pipe: the command's own end is what counts. */
	while (!over) {
		if (poll(pf, 2, -1) < 0 && errno != EINTR)
			break;
		over = reap(pid, &status);
		if (!forward(id, out))
			pf[1].fd = -1;
	}
	close(out);
	return status;
}

void agent_ready(uint64_t init_tsc, int restore)
{
	struct utsname u;
	char line[256];

	uname(&u);
	send_all(line, snprintf(line, sizeof(line), "\nready %s %llu %llu %d\n", u.release,
				(unsigned long long)init_tsc, (unsigned long long)tsc(), restore));
}

static void unescape(char *s)
{
	char *d = s;

	while (*s) {
		unsigned int c;

		if (*s == '%' && sscanf(s + 1, "%2x", &c) == 1) {
			*d++ = c;
			s += 3;
		} else {
			*d++ = *s++;
		}
	}
	*d = 0;
}

static void serve_line(char *line)
{
	unsigned int id;
	char reply[64];
	int at, status;

	if (sscanf(line, "run %u %n", &id, &at) != 1)
		return;
	unescape(line + at);
	status = agent_run(id, line + at);
	send_all(reply, sprintf(reply, "exit %u %d %llu\n", id, status, (unsigned long long)tsc()));
}

void agent_serve(void)
{
	struct pollfd pf[2] = { { .fd = children, .events = POLLIN }, { .fd = tty, .events = POLLIN } };
	static char line[LINE_LEN];
	size_t len = 0;

	for (;;) {
		ssize_t n;
		char *end;
		int status;

		poll(pf, 2, -1);
		reap(-1, &status);
		if (!(pf[1].revents & POLLIN))
			continue;
		n = read(tty, line + len, sizeof(line) - 1 - len);
		if (n <= 0)
			continue;
		len += n;
		line[len] = 0;
		while ((end = strchr(line, '\n'))) {
			*end = 0;
			serve_line(line);
			len -= end + 1 - line;
			memmove(line, end + 1, len + 1);
		}
		if (len == sizeof(line) - 1)
			len = 0;
	}
}
