// SPDX-License-Identifier: GPL-2.0
/*
 * accept_client HOST: the outside of ci/tests/accept. From `hold` to `arrive` it opens connections by sixes, four times a second, whether
 * the last ones are answered yet or not; each sends its number and has to get it back.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PORT		7200
#define AT_ONCE		6
#define PERIOD_MS	250
#define MAX		4096
#define PATIENCE_MS	60000

static struct {
	int fd;			/* -1: over */
	bool sent;
} conn[MAX];
static unsigned int nr, answered;
static struct sockaddr_in server = { .sin_family = AF_INET };
static const char *why;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void open_some(void)
{
	for (unsigned int i = 0; i < AT_ONCE && nr < MAX; i++, nr++) {
		conn[nr].fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(conn[nr].fd, (void *)&server, sizeof(server)) && errno != EINPROGRESS)
			why = strerror(errno);
	}
}

static void serve(unsigned int i, short events)
{
	uint64_t number = i * 0x9e3779b97f4a7c15ULL, got;
	ssize_t n;

	if (!conn[i].sent && events & POLLOUT) {
		conn[i].sent = send(conn[i].fd, &number, sizeof(number), MSG_NOSIGNAL) == sizeof(number);
		if (!conn[i].sent)
			why = strerror(errno);
	}
	if (!(events & (POLLIN | POLLERR | POLLHUP)))
		return;
	n = recv(conn[i].fd, &got, sizeof(got), MSG_DONTWAIT);
	if (n == sizeof(got) && got == number)
		answered++;
	else
		why = n < 0 ? strerror(errno) : n ? "a wrong answer" : "closed without an answer";
	close(conn[i].fd);
	conn[i].fd = -1;
}

/* Whether there is a phase to read, after @ms at most. */
static bool turn(int ms)
{
	static struct pollfd p[MAX + 1];
	unsigned int i;

	for (i = 0; i < nr; i++)
		p[i] = (struct pollfd){ .fd = conn[i].fd, .events = conn[i].sent ? POLLIN : POLLOUT };
	p[nr] = (struct pollfd){ .fd = 0, .events = POLLIN };
	if (poll(p, nr + 1, ms) <= 0)
		return false;
	for (i = 0; i < nr && !why; i++)
		if (p[i].fd >= 0 && p[i].revents)
			serve(i, p[i].revents);
	return p[nr].revents;
}

int main(int argc, char **argv)
{
	bool opening = false;
	char phase[32];
	int64_t next = 0;

	server.sin_port = htons(PORT);
	if (argc != 2 || !inet_aton(argv[1], &server.sin_addr))
		return 2;
	setvbuf(stdin, NULL, _IONBF, 0);
	while (!why) {
		if (opening && now_ms() >= next) {
			open_some();
			next = now_ms() + PERIOD_MS;
		}
		if (!turn(opening ? 20 : -1))
			continue;
		if (!fgets(phase, sizeof(phase), stdin))
			return 0;
		phase[strcspn(phase, "\n")] = '\0';
		if (!strcmp(phase, "hold"))
			opening = true;
		if (!strcmp(phase, "arrive")) {
			int64_t until = now_ms() + PATIENCE_MS;

			opening = false;
			while (!why && answered < nr && now_ms() < until)
				turn(100);
			if (!why && answered < nr)
				why = "not all are answered";
		}
		if (!why)
			printf("{\"phase\": \"%s\", \"ok\": true, \"connections\": %u, \"answered\": %u}\n", phase, nr, answered);
		fflush(stdout);
	}
	printf("{\"ok\": false, \"why\": \"%s\", \"connections\": %u, \"answered\": %u}\n", why, nr, answered);
	return 1;
}
