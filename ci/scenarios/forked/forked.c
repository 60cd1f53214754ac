// SPDX-License-Identifier: GPL-2.0
/*
 * forked MEGABYTES [shared]: a process with so much memory, two children of it and one of a child, forked while all of it was theirs
 * together, as a database does for a snapshot; a piece of it is a private mapping of a file. Each serves requests of forked.h on a port of its own.
 *
 * With `shared` what one writes the others have, too: a fifth of the memory is MAP_SHARED without a file, one a memfd whose descriptor
 * was closed, one a file in /dev/shm, one a segment of System V in an IPC namespace of their own, and one a memfd that is not mapped, but
 * read and written.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <unistd.h>

#include "forked.h"

static char *memory;
static uint64_t size, unmapped;		/* from there on memory is in unmapped_fd instead */
static int unmapped_fd = -1;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void stamp_page(uint64_t page, uint64_t stamp)
{
	uint64_t at = page * FORKED_PAGE, words[FORKED_PAGE / 8], *p = at < unmapped ? (uint64_t *)(memory + at) : words;

	for (unsigned int i = 0; i < FORKED_PAGE / 8; i++)
		p[i] = forked_word(stamp, page, i);
	if (p == words && pwrite(unmapped_fd, words, FORKED_PAGE, at - unmapped) != FORKED_PAGE)
		die("pwrite");
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

static void send_memory(int fd)
{
	char buf[FORKED_PAGE];

	send_all(fd, memory, unmapped);
	for (uint64_t at = 0; at < size - unmapped; at += sizeof(buf)) {
		if (pread(unmapped_fd, buf, sizeof(buf), at) != sizeof(buf))
			die("pread");
		send_all(fd, buf, sizeof(buf));
	}
}

static void serve(int fd)
{
	struct forked_request r;
	char done = 'k';

	while (recv(fd, &r, sizeof(r), MSG_WAITALL) == sizeof(r)) {
		if (r.op == FORKED_DUMP) {
			send_memory(fd);
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

static void share(uint64_t at, uint64_t len, int fd)
{
	if ((fd >= 0 && ftruncate(fd, len)) ||
	    mmap(memory + at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0) == MAP_FAILED)
		die("mmap");
	if (fd >= 0)
		close(fd);
}

static void attach_segment(uint64_t at, uint64_t len)
{
	int id = unshare(CLONE_NEWIPC) ? -1 : shmget(0x6b7570, len, IPC_CREAT | IPC_EXCL | 0600);

	if (id < 0 || shmat(id, memory + at, SHM_REMAP) != memory + at)
		die("System V shared memory");
}

static void make_shared(void)
{
	uint64_t part = size / 5 / FORKED_PAGE * FORKED_PAGE;
	int file = open("/dev/shm/forked", O_RDWR | O_CREAT | O_EXCL, 0600);

	if (file < 0)
		die("/dev/shm/forked");
	memory = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	share(0, part, -1);
	share(part, part, memfd_create("closed", 0));
	share(2 * part, part, file);
	attach_segment(3 * part, part);
	unmapped = 4 * part;
	unmapped_fd = memfd_create("unmapped", 0);
	if (unmapped_fd < 0 || ftruncate(unmapped_fd, size - unmapped))
		die("memfd");
}

static void make_private(void)
{
	int fd = open("/proc/self/exe", O_RDONLY);
	uint64_t align = 2u << 20;

	unmapped = size;
	memory = mmap(NULL, size + align, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("mmap");
	memory = (char *)(((uintptr_t)memory + align - 1) / align * align);
	madvise(memory, size - FORKED_HUGE, MADV_NOHUGEPAGE);
	madvise(memory + size - FORKED_HUGE, FORKED_HUGE, MADV_HUGEPAGE);
	if (mmap(memory, FORKED_FILE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0) == MAP_FAILED)
		die("mmap of this program");
	close(fd);
}

int main(int argc, char **argv)
{
	int fd[FORKED_NR];
	unsigned int i;

	size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 64) << 20;
	if (argc > 2)
		make_shared();
	else
		make_private();
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
