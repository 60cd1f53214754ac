// SPDX-License-Identifier: GPL-2.0
/* Answers each connection by what it has sent, one after the other, and lets the next one wait. "stuck" as a first argument: it accepts none. */
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define PORT	7200
#define LAZY_US	30000

int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char buf[64];

	(void)argv;
	if (fd < 0 || bind(fd, (void *)&a, sizeof(a)) || listen(fd, 256)) {
		perror("listen");
		return 1;
	}
	if (argc > 1)
		pause();
	for (;;) {
		int to = accept(fd, NULL, NULL);
		ssize_t n = to < 0 ? 0 : recv(to, buf, sizeof(buf), 0);

		if (n > 0 && send(to, buf, n, MSG_NOSIGNAL) != n)
			perror("send");
		close(to);
		usleep(LAZY_US);
	}
}
