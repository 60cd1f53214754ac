// SPDX-License-Identifier: GPL-2.0
/*
 * forked MEGABYTES: a process with so much memory, two children of it and one of a child, forked while all of it was theirs together,
 * as a database does for a snapshot. Each serves requests of forked.h on a port of its own.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "forked.h"

static char *memory;
static uint64_t size;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void stamp_page(uint64_t page, uint64_t stamp)
{
	uint64_t *p = (uint64_t *)(memory + page * FORKED_PAGE);

	for (unsigned int i = 0; i < FORKED_PAGE / 8; i++)
		p[i] = forked_word(stamp, page, i);
}

static void send_all(int fd, const char *p, uint64_t len)
{
	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			die("send");
		p += n;
		len -= n;
	}
}

static void serve(int fd)
{
	struct forked_request r;
	char done = 'k';

	while (recv(fd, &r, sizeof(r), MSG_WAITALL) == sizeof(r)) {
		if (r.op == FORKED_DUMP) {
			send_all(fd, memory, size);
			continue;
		}
		for (uint64_t page = 0; page < size / FORKED_PAGE; page++)
			if (forked_chosen(r.stamp, r.every, page))
				stamp_page(page, r.stamp);
		send_all(fd, &done, 1);
	}
	exit(0);
}

static int listener(unsigned int nr)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(FORKED_PORT + nr) };
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (void *)&a, sizeof(a)) || listen(fd, 1))
		die("listen");
	return fd;
}

static void run(int fd)
{
	int to = accept(fd, NULL, NULL);

	if (to < 0)
		die("accept");
	serve(to);
}

int main(int argc, char **argv)
{
	uint64_t align = 2u << 20;
	int fd[FORKED_NR];
	unsigned int i;

	size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 64) << 20;
	memory = mmap(NULL, size + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	memory = (char *)(((uintptr_t)memory + align - 1) / align * align);
	madvise(memory, size - FORKED_HUGE, MADV_NOHUGEPAGE);
	madvise(memory + size - FORKED_HUGE, FORKED_HUGE, MADV_HUGEPAGE);
	for (i = 0; i < size / FORKED_PAGE; i++)
		stamp_page(i, 1);
	signal(SIGCHLD, SIG_IGN);
	for (i = 0; i < FORKED_NR; i++)
		fd[i] = listener(i);
	if (!fork()) {
		if (!fork())
			run(fd[3]);
		run(fd[1]);
	}
	if (!fork())
		run(fd[2]);
	run(fd[0]);
}
