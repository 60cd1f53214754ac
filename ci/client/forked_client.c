// SPDX-License-Identifier: GPL-2.0
/*
 * forked_client HOST MEGABYTES [shared]: the outside of the scenarios forked and shared. It has a connection to each process, knows what
 * each page of each was last written, and compares every byte.
 *
 *   load    each process writes to some of its pages
 *   verify  all memory of all is compared; then one process after the other writes to others, and all memory of all is compared again,
 *           after the first and after the last of them
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../scenarios/forked/forked.h"

static struct process {
	int fd;
	uint64_t *stamp;	/* of each page */
} process[FORKED_NR];
static uint64_t pages, last_stamp = 1, compared;
static bool shared;	/* what one writes all have */

static void fail(const char *why, unsigned int nr, uint64_t page)
{
	printf("{\"ok\": false, \"why\": \"process %u, page %llu: %s\"}\n", nr, (unsigned long long)page, why);
	fflush(stdout);
	exit(1);
}

static void receive(unsigned int nr, void *buf, size_t len)
{
	if (recv(process[nr].fd, buf, len, MSG_WAITALL) != (ssize_t)len)
		fail("connection lost", nr, 0);
}

static void request(unsigned int nr, uint32_t op, uint32_t every, uint64_t stamp)
{
	struct forked_request r = { .op = op, .every = every, .stamp = stamp };

	if (send(process[nr].fd, &r, sizeof(r), MSG_NOSIGNAL) != sizeof(r))
		fail("cannot be asked", nr, 0);
}

static void compare(unsigned int nr)
{
	uint64_t buf[FORKED_PAGE / 8];

	request(nr, FORKED_DUMP, 0, 0);
	for (uint64_t page = 0; page < pages; page++) {
		receive(nr, buf, sizeof(buf));
		for (unsigned int i = 0; i < FORKED_PAGE / 8; i++)
			if (buf[i] != forked_word(process[nr].stamp[page], page, i))
				fail("not what was written", nr, page);
		compared += sizeof(buf);
	}
}

static void compare_all(void)
{
	for (unsigned int nr = 0; nr < FORKED_NR; nr++)
		compare(nr);
}

static void scribble(unsigned int nr, uint32_t every)
{
	uint64_t stamp = ++last_stamp;
	char done;

	request(nr, FORKED_WRITE, every, stamp);
	for (uint64_t page = 0; page < pages; page++)
		if (forked_chosen(stamp, every, page))
			process[nr].stamp[page] = stamp;
	receive(nr, &done, 1);
}

static void open_all(const char *host)
{
	for (unsigned int nr = 0; nr < FORKED_NR; nr++) {
		struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(FORKED_PORT + nr) };

		process[nr].fd = socket(AF_INET, SOCK_STREAM, 0);
		process[nr].stamp = shared && nr ? process[0].stamp : malloc(pages * sizeof(uint64_t));
		for (uint64_t page = 0; page < pages; page++)
			process[nr].stamp[page] = 1;
		if (!inet_aton(host, &a.sin_addr) || connect(process[nr].fd, (void *)&a, sizeof(a)))
			fail(strerror(errno), nr, 0);
	}
}

int main(int argc, char **argv)
{
	char phase[32];

	if (argc != 3 && argc != 4)
		return 2;
	shared = argc == 4;
	pages = (strtoull(argv[2], NULL, 10) << 20) / FORKED_PAGE;
	while (fgets(phase, sizeof(phase), stdin)) {
		phase[strcspn(phase, "\n")] = '\0';
		compared = 0;
		if (!strcmp(phase, "load")) {
			open_all(argv[1]);
			for (unsigned int nr = 0; nr < FORKED_NR; nr++)
				scribble(nr, 8);
			compare_all();
		} else if (!strcmp(phase, "verify")) {
			compare_all();
			scribble(0, 4);
			compare_all();
			for (unsigned int nr = 1; nr < FORKED_NR; nr++)
				scribble(nr, 4);
			compare_all();
		}
		printf("{\"phase\": \"%s\", \"ok\": true, \"bytes\": %llu}\n", phase, (unsigned long long)compared);
		fflush(stdout);
	}
	return 0;
}
