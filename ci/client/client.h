/* SPDX-License-Identifier: GPL-2.0 */
/* What the clients of databases share. */
#ifndef CLIENT_H
#define CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static char why[300];		/* the first thing that failed, as it can stand in JSON */

static bool fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!why[0])
		vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	for (char *p = why; *p; p++)
		if (*p == '"' || *p == '\\' || (unsigned char)*p < ' ')
			*p = '\'';
	return false;
}

static inline double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

/* A connection, or -1. It waits long for an answer: on a slow host the peer sends again only after twice the gap. */
static inline int dial_port(const struct sockaddr_in *guest, int port)
{
	struct sockaddr_in a = *guest;
	struct timeval t = { .tv_sec = 900 };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	a.sin_port = htons(port);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(fd, SOL_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!connect(fd, (struct sockaddr *)&a, sizeof(a)))
		return fd;
	fail("port %d: %s", port, strerror(errno));
	return -1;
}

/* Row @nr of a table is its number and a dash, @words times. */
static inline bool row_follows(const char *row, int nr, int words)
{
	char word[16];
	int len = snprintf(word, sizeof(word), "%d-", nr);

	for (int i = 0; i < words; i++, row += len)
		if (strncmp(row, word, len))
			return fail("row %d is not what it was", nr);
	return !*row || fail("row %d is longer than it was", nr);
}

#endif
