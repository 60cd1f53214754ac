// SPDX-License-Identifier: GPL-2.0
/*
 * The outside of the resources scenario: the other ends of its sockets. Speaks the bed's phases (see ci/scenarios/README).
 *
 * Before the switch three connections are filled in both directions and nothing is read; then the guest's and this one's halves
 * of each are compared to the last byte, in a thread for each, as the guest's tests run one after another.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../scenarios/resources/client.h"

static struct peer {
	int port;
	bool shut;		/* this half ended before the switch */
	bool guest_shut;	/* the guest's did */
	int fd;
	pthread_t thread;
	char why[160];
} peers[] = {
	{ .port = PORT_ESTABLISHED }, { .port = PORT_CLOSE_WAIT, .shut = true }, { .port = PORT_FIN_WAIT, .guest_shut = true },
	{ .port = PORT_LISTENING }, { .port = PORT_UDP },
};
#define NR		(sizeof(peers) / sizeof(*peers))
#define NR_CONNECTED	3

static struct sockaddr_in guest = { .sin_family = AF_INET };

static unsigned char pattern(size_t at)
{
	uint64_t x = (at + 1) * 0x9e3779b97f4a7c15ULL;

	return x >> 37;
}

static bool send_pattern(int fd, size_t len, size_t at)
{
	unsigned char buf[4096];

	while (len) {
		size_t part = len < sizeof(buf) ? len : sizeof(buf);
		ssize_t n;

		for (size_t i = 0; i < part; i++)
			buf[i] = pattern(at + i);
		n = send(fd, buf, part, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		len -= n;
		at += n;
	}
	return true;
}

static int to(const struct peer *p, int type)
{
	struct sockaddr_in a = guest;
	struct timeval t = { .tv_sec = 300 };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	a.sin_port = htons(p->port);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	return fd;
}

/* Reads to the end of the guest's half. */
static void *finish_stream(void *arg)
{
	struct peer *p = arg;
	unsigned char buf[8192];
	size_t at = 0, wrong = 0;
	ssize_t n;

	if (!p->shut && (!send_pattern(p->fd, MORE_BYTES, 77 + CLIENT_BYTES) || shutdown(p->fd, SHUT_WR))) {
		snprintf(p->why, sizeof(p->why), "port %d: sending: %s", p->port, strerror(errno));
		return NULL;
	}
	while ((n = read(p->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			wrong += buf[i] != pattern(at + i);
		at += n;
	}
	if (n < 0 || wrong || at < 40000)
		snprintf(p->why, sizeof(p->why), "port %d: %zu bytes, %zu of them wrong, then %s", p->port, at, wrong,
			 n < 0 ? strerror(errno) : "the end");
	return NULL;
}

static void *try_listening(void *arg)
{
	struct peer *p = arg;
	char buf[4];
	int fd = to(p, SOCK_STREAM);

	if (fd < 0 || send(fd, "ping", 4, MSG_NOSIGNAL) != 4 || recv(fd, buf, 4, MSG_WAITALL) != 4 || memcmp(buf, "ping", 4))
		snprintf(p->why, sizeof(p->why), "port %d: %s", p->port, strerror(errno));
	return NULL;
}

static void *try_udp(void *arg)
{
	struct peer *p = arg;
	struct pollfd pfd = { .fd = to(p, SOCK_DGRAM), .events = POLLIN };
	char buf[8];

	for (int i = 0; i < 600; i++) {
		if (send(pfd.fd, "datagram", 8, 0) == 8 && poll(&pfd, 1, 500) == 1 && recv(pfd.fd, buf, 8, 0) == 8)
			return NULL;
	}
	snprintf(p->why, sizeof(p->why), "port %d: no answer", p->port);
	return NULL;
}

static bool load(char *why, size_t size)
{
	for (size_t i = 0; i < NR_CONNECTED; i++) {
		struct peer *p = &peers[i];

		p->fd = to(p, SOCK_STREAM);
		if (p->fd < 0 || !send_pattern(p->fd, CLIENT_BYTES, 77) || (p->shut && shutdown(p->fd, SHUT_WR))) {
			snprintf(why, size, "port %d: %s", p->port, strerror(errno));
			return false;
		}
	}
	sleep(1);	/* until the queues stand */
	return true;
}

static void arrive(void)
{
	for (size_t i = 0; i < NR; i++)
		pthread_create(&peers[i].thread, NULL, i < NR_CONNECTED ? finish_stream :
			       peers[i].port == PORT_UDP ? try_udp : try_listening, &peers[i]);
}

static bool verify(char *why, size_t size)
{
	bool ok = true;

	for (size_t i = 0; i < NR; i++) {
		pthread_join(peers[i].thread, NULL);
		if (*peers[i].why && ok) {
			snprintf(why, size, "%s", peers[i].why);
			ok = false;
		}
	}
	return ok;
}

int main(int argc, char **argv)
{
	char phase[32], why[200];
	bool begun = false, ok;

	if (argc != 2 || inet_pton(AF_INET, argv[1], &guest.sin_addr) != 1) {
		fprintf(stderr, "usage: %s ADDRESS\n", argv[0]);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	while (fgets(phase, sizeof(phase), stdin)) {
		phase[strcspn(phase, "\n")] = 0;
		ok = true;
		why[0] = 0;
		if (!strcmp(phase, "load")) {
			ok = load(why, sizeof(why));
		} else if (!strcmp(phase, "arrive")) {
			arrive();
			begun = true;
		} else if (!strcmp(phase, "verify") && begun) {
			ok = verify(why, sizeof(why));
			begun = false;
		}
		printf("{\"phase\": \"%s\", \"ok\": %s, \"why\": \"%s\"}\n", phase, ok ? "true" : "false", why);
		fflush(stdout);
	}
	return 0;
}
