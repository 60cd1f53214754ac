// SPDX-License-Identifier: GPL-2.0
/*
 * A load generator for memcached, outside the guest: CONNS connections, each with DEPTH requests always on their way, so that the
 * guest is never idle and what is measured is the guest, not this host. 9 gets for each set, 1 KiB values.
 *
 * Time is the guest's: requests are counted between two ticks of memcached's own clock (`stats`: time), so that under --icount
 * neither a busy host nor this program is in the figure. Besides, memcached's own CPU time for each request.
 *
 * Phases as in memcached_client.c. `load` fills and measures once; `verify` measures again, and answers with all figures so far:
 * rates[0] is before the first switch. Connections are opened once. Every get's answer is held against what was set.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNS		32
#define DEPTH		1	/* more would be answered in batches, of a size that depends on how fast this host is */
#define VALUE		1024
#define MAX_RATES	16
#define ASK_NS		50000000LL

struct conn {
	int fd;
	size_t len, out_len, out_at;
	unsigned int pending;		/* answers that are due */
	char in[64 << 10], out[DEPTH * (VALUE + 64)];
};

static struct conn conn[CONNS];
static struct conn clock_conn;
static uint64_t items, done, seed = 1;
static double rates[MAX_RATES], cpu[MAX_RATES];
static unsigned int nr_rates;

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void fail(const char *fmt, ...)
{
	va_list ap;

	printf("{\"ok\": false, \"why\": \"");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	puts("\"}");
	fflush(stdout);
	exit(1);
}

static uint64_t random_item(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % items;
}

static void value_of(uint64_t n, char *to)
{
	uint64_t x = n * 0x9e3779b97f4a7c15ULL;

	memset(to, 'a' + n % 26, VALUE);
	for (int i = 0; i < 16; i++, x >>= 4)
		to[i] = "0123456789abcdef"[x & 15];
}

static void open_conn(struct conn *c, const char *host, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1;

	inet_pton(AF_INET, host, &a.sin_addr);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a)))
		fail("connect: %s", strerror(errno));
}

static void put_set(struct conn *c, uint64_t n)
{
	c->out_len += sprintf(c->out + c->out_len, "set k%llu 0 0 %d\r\n", (unsigned long long)n, VALUE);
	value_of(n, c->out + c->out_len);
	c->out_len += VALUE;
	memcpy(c->out + c->out_len, "\r\n", 2);
	c->out_len += 2;
	c->pending++;
}

static void put_request(struct conn *c)
{
	uint64_t n = random_item();

	if (seed >> 32 & 7) {
		c->out_len += sprintf(c->out + c->out_len, "get k%llu\r\n", (unsigned long long)n);
		c->pending++;
	} else {
		put_set(c, n);
	}
}

/* One whole answer at the start of what was read: its length, 0 if it is not whole yet. */
static size_t answer(const char *p, size_t len)
{
	char want[VALUE];
	const char *end = memmem(p, len, "\r\n", 2);
	unsigned long long n;
	size_t head;

	if (!end)
		return 0;
	head = end + 2 - p;
	if (!memcmp(p, "STORED\r\n", 8))
		return head;
	if (sscanf(p, "VALUE k%llu 0 1024\r\n", &n) != 1)
		fail("an answer is neither STORED nor a value: a key is lost");
	if (len < head + VALUE + 7)
		return 0;
	value_of(n, want);
	if (memcmp(p + head, want, VALUE) || memcmp(p + head + VALUE, "\r\nEND\r\n", 7))
		fail("k%llu is not what it was set to", n);
	return head + VALUE + 7;
}

static void serve(struct conn *c, short events)
{
	size_t at = 0, n;
	ssize_t r;

	if (events & (POLLIN | POLLHUP | POLLERR)) {
		r = recv(c->fd, c->in + c->len, sizeof(c->in) - c->len, MSG_DONTWAIT);
		if (!r || (r < 0 && errno != EAGAIN && errno != EINTR))
			fail("a connection broke: %s", r ? strerror(errno) : "closed");
		c->len += r > 0 ? r : 0;
		while ((n = answer(c->in + at, c->len - at))) {
			at += n;
			done++;
			c->pending--;
		}
		memmove(c->in, c->in + at, c->len - at);
		c->len -= at;
	}
	if (c->out_at < c->out_len) {
		r = send(c->fd, c->out + c->out_at, c->out_len - c->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r > 0)
			c->out_at += r;
		else if (errno != EAGAIN && errno != EINTR)
			fail("a connection broke: %s", strerror(errno));
	}
}

/* memcached's clock in seconds, and its CPU time. True when an answer is there; asks again by itself. */
static bool tick(uint64_t *seconds, double *used)
{
	static int64_t asked;
	static bool waiting;
	struct conn *c = &clock_conn;
	const char *p;
	double user, sys;
	ssize_t r;

	if (!waiting) {
		if (now_ns() - asked < ASK_NS)
			return false;
		asked = now_ns();
		waiting = true;
		c->len = 0;
		if (send(c->fd, "stats\r\n", 7, MSG_NOSIGNAL) != 7)
			fail("stats: %s", strerror(errno));
		return false;
	}
	r = recv(c->fd, c->in + c->len, sizeof(c->in) - 1 - c->len, MSG_DONTWAIT);
	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (r <= 0)
		fail("a connection broke: %s", r ? strerror(errno) : "closed");
	c->len += r;
	c->in[c->len] = 0;
	if (c->len < 5 || strcmp(c->in + c->len - 5, "END\r\n"))
		return false;
	waiting = false;
	p = strstr(c->in, "STAT time ");
	*seconds = p ? strtoull(p + 10, NULL, 10) : 0;
	p = strstr(c->in, "STAT rusage_user ");
	user = p ? atof(p + 17) : 0;
	p = strstr(c->in, "STAT rusage_system ");
	sys = p ? atof(p + 19) : 0;
	*used = user + sys;
	return true;
}

static void turn(bool more)
{
	struct pollfd pf[CONNS];

	for (int i = 0; i < CONNS; i++) {
		struct conn *c = &conn[i];

		if (c->out_at == c->out_len) {
			c->out_at = c->out_len = 0;
			while (more && c->pending < DEPTH)
				put_request(c);
		}
		pf[i] = (struct pollfd){ .fd = c->fd, .events = POLLIN | (c->out_at < c->out_len ? POLLOUT : 0) };
	}
	poll(pf, CONNS, 20);
	for (int i = 0; i < CONNS; i++)
		serve(&conn[i], pf[i].revents);
}

static bool quiet(void)
{
	for (int i = 0; i < CONNS; i++)
		if (conn[i].pending || conn[i].out_at < conn[i].out_len)
			return false;
	return true;
}

static void fill(void)
{
	for (uint64_t n = 0; n < items || !quiet();) {
		struct conn *c = &conn[n % CONNS];

		if (n < items && c->out_at == c->out_len && c->pending < DEPTH) {
			c->out_at = c->out_len = 0;
			put_set(c, n++);
			serve(c, 0);
			continue;
		}
		turn(false);
	}
}

/* For @seconds of the wall, between two ticks of the guest. */
static void measure(double seconds)
{
	uint64_t first = 0, t = 0, begin_at = 0, from = 0;
	int64_t end = now_ns() + seconds * 1e9;
	double used, used_first = 0;

	if (nr_rates == MAX_RATES)
		fail("more than %d measurements", MAX_RATES);
	for (;;) {
		turn(true);
		if (!tick(&t, &used))
			continue;
		if (!from) {
			from = t;
		} else if (!first && t != from) {
			first = t;
			begin_at = done;
			used_first = used;
			from = t;
		} else if (first && t != from) {
			from = t;
			if (now_ns() > end)
				break;
		}
	}
	rates[nr_rates] = (double)(done - begin_at) / (t - first);
	cpu[nr_rates++] = (used - used_first) * 1e9 / (done - begin_at);
	while (!quiet())
		turn(false);
}

static void told(const char *phase)
{
	printf("{\"phase\": \"%s\", \"ok\": true, \"requests\": %llu, \"rates\": [", phase, (unsigned long long)done);
	for (unsigned int i = 0; i < nr_rates; i++)
		printf("%s%.2f", i ? ", " : "", rates[i]);
	printf("], \"cpu_ns\": [");
	for (unsigned int i = 0; i < nr_rates; i++)
		printf("%s%.1f", i ? ", " : "", cpu[i]);
	puts("]}");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	double seconds = argc > 3 ? atof(argv[3]) : 0;
	char line[64];

	if (argc != 4 || seconds <= 0 || atoi(argv[2]) <= 0) {
		fprintf(stderr, "usage: %s ADDRESS MB SECONDS\n", argv[0]);
		return 2;
	}
	items = (uint64_t)atoi(argv[2]) << 10;
	for (int i = 0; i < CONNS; i++)
		open_conn(&conn[i], argv[1], 11211);
	open_conn(&clock_conn, argv[1], 11211);
	setvbuf(stdin, NULL, _IONBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (!strcmp(line, "load")) {
			fill();
			measure(seconds);
		} else if (!strcmp(line, "verify")) {
			measure(seconds);
		}
		told(line);
	}
	return 0;
}
