// SPDX-License-Identifier: GPL-2.0
/*
 * The outside client of the memcached scenario.
 *
 * Three connections, opened before anything else and never again:
 *   0  loads and verifies half of the items; idle across the switch
 *   1  the other half; has half of a `set` on its way across the switch, and finishes it afterwards
 *   2  asks something small every 20 ms, so that the gap in service shows
 * An item is known by its number: key, size and every byte follow from it.
 *
 * Phases, a line each on stdin, a line of JSON each on stdout: load, hold (before a switch), arrive (after it), verify, end.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
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

#define NR_DATA		2
#define PING_NS		20000000LL
#define MAX_VALUE	(900u << 10)
#define HELD_ITEM	(1ULL << 40)	/* the item whose `set` is in flight across the switch; one more each time */
#define HELD_SIZE	(300u << 10)
#define WINDOW		16		/* requests in flight while verifying */

struct conn {
	int fd;
	size_t len, at;			/* what was read, what of it was used */
	char buf[256 << 10];
};

static struct conn conn[NR_DATA + 1];
static struct conn *const ping = &conn[NR_DATA];
static uint64_t nr_items, nr_bytes;
static uint64_t held;			/* how many `set`s were in flight so far */
static char *value;			/* MAX_VALUE and room for the command */

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void answer(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

static void fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void fail(const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++)
		if (*p == '"' || *p == '\\' || *p < ' ')
			*p = '\'';
	answer("{\"ok\": false, \"why\": \"%s\"}", text);
	exit(1);
}

/* --- items --- */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/* 64 bytes to 900 KB: many small ones, most bytes in large ones. */
static size_t item_size(uint64_t n)
{
	uint64_t r = mix(n), which = r % 100, x = r >> 32;

	if (n >= HELD_ITEM)
		return HELD_SIZE;
	if (which < 60)
		return 64 + x % (4096 - 64);
	if (which < 85)
		return 4096 + x % (61440 - 4096);
	return 61440 + x % (MAX_VALUE - 61440);
}

static void item_fill(uint64_t n, char *to, size_t size)
{
	uint64_t seed = mix(n ^ 0x6b7570), i;

	for (i = 0; i + 8 <= size; i += 8) {
		uint64_t w = (seed + i) * 0xd6e8feb86659fd93ULL;

		w ^= w >> 32;
		memcpy(to + i, &w, 8);
	}
	for (; i < size; i++)
		to[i] = (char)(seed + i);
}

/* The whole `set` command of an item in @value; returns its length. */
static size_t item_set(uint64_t n, const char *option)
{
	size_t size = item_size(n);
	int head = sprintf(value, "set k%llu 0 0 %zu%s\r\n", (unsigned long long)n, size, option);

	item_fill(n, value + head, size);
	memcpy(value + head + size, "\r\n", 2);
	return head + size + 2;
}

/* --- connections --- */

static void conn_open(struct conn *c, const char *host, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int one = 1;

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
		fail("bad address %s", host);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&a, sizeof(a)))
		fail("connect %s:%d: %s", host, port, strerror(errno));
}

static void conn_send(struct conn *c, const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(c->fd, p, n);

		if (w < 0 && errno != EINTR)
			fail("connection %d broke: %s", (int)(c - conn), strerror(errno));
		if (w > 0) {
			p += w;
			n -= w;
		}
	}
}

static void conn_fill(struct conn *c)
{
	ssize_t n;

	memmove(c->buf, c->buf + c->at, c->len - c->at);
	c->len -= c->at;
	c->at = 0;
	do {
		n = read(c->fd, c->buf + c->len, sizeof(c->buf) - 1 - c->len);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		fail("connection %d broke: %s", (int)(c - conn), n ? strerror(errno) : "closed by the server");
	c->len += n;
}

/* A line without its end; valid until the next read of this connection. */
static char *conn_line(struct conn *c)
{
	for (;;) {
		char *end = memmem(c->buf + c->at, c->len - c->at, "\r\n", 2), *line = c->buf + c->at;

		if (end) {
			*end = 0;
			c->at = end + 2 - c->buf;
			return line;
		}
		if (c->len - c->at > 4096)
			fail("connection %d: no end of line", (int)(c - conn));
		conn_fill(c);
	}
}

static void conn_expect(struct conn *c, const char *want)
{
	const char *line = conn_line(c);

	if (strcmp(line, want))
		fail("connection %d said '%.100s' instead of '%s'", (int)(c - conn), line, want);
}

static void conn_printf(struct conn *c, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	conn_send(c, text, vsnprintf(text, sizeof(text), fmt, ap));
	va_end(ap);
}

/* Reads the answer to `get` of item @n and compares it. 0: identical, 1: missing, 2: different. */
static int check_item(struct conn *c, uint64_t n)
{
	size_t size = item_size(n), got = 0, said;
	unsigned long long number;
	bool same = true;
	const char *line = conn_line(c);

	if (!strcmp(line, "END"))
		return 1;
	if (sscanf(line, "VALUE k%llu 0 %zu", &number, &said) != 2 || number != n)
		fail("connection %d: unexpected '%.100s' for item %llu", (int)(c - conn), line, (unsigned long long)n);
	item_fill(n, value, size);
	while (got < said) {
		size_t part;

		if (c->at == c->len)
			conn_fill(c);
		part = c->len - c->at;
		if (part > said - got)
			part = said - got;
		if (got + part > size || memcmp(c->buf + c->at, value + got, part))
			same = false;
		c->at += part;
		got += part;
	}
	conn_expect(c, "");
	conn_expect(c, "END");
	return same && said == size ? 0 : 2;
}

static uint64_t stat_of(const char *name)
{
	uint64_t v = 0;

	conn_printf(ping, "stats\r\n");
	for (;;) {
		const char *line = conn_line(ping);
		unsigned long long x;
		char key[64];

		if (!strcmp(line, "END"))
			return v;
		if (sscanf(line, "STAT %63s %llu", key, &x) == 2 && !strcmp(key, name))
			v = x;
	}
}

/* --- phases --- */

static void progress(uint64_t done, uint64_t all)
{
	static int64_t last;
	int64_t now = now_ns();

	if (now - last > 200000000LL) {
		last = now;
		answer("{\"progress\": %.3f}", (double)done / all);
	}
}

static void load(uint64_t want)
{
	int64_t begin = now_ns();

	while (nr_bytes < want) {
		struct conn *c = &conn[nr_items % NR_DATA];

		conn_send(c, value, item_set(nr_items, " noreply"));
		nr_bytes += item_size(nr_items++);
		progress(nr_bytes, want);
	}
	/* An error of a noreply command would be the line before this answer. */
	for (int i = 0; i < NR_DATA; i++) {
		conn_printf(&conn[i], "mn\r\n");
		conn_expect(&conn[i], "MN");
	}
	answer("{\"phase\": \"load\", \"ok\": true, \"items\": %llu, \"bytes\": %llu, \"seconds\": %.1f}",
	       (unsigned long long)nr_items, (unsigned long long)nr_bytes, (now_ns() - begin) / 1e9);
}

/* Asks every PING_NS until stdin has the next phase. Returns the longest time between two answers, in ms. */
static double ping_until_told(uint64_t *nr)
{
	struct pollfd pf[2] = { { .fd = 0, .events = POLLIN }, { .fd = ping->fd, .events = POLLIN } };
	int64_t last = now_ns(), asked = 0, longest = 0;
	bool waiting = false, told = false;

	/* A question on its way when the switch is over is waited for: it belongs to the gap. */
	while (!told || waiting) {
		int64_t now = now_ns();

		if (!waiting && now - asked >= PING_NS) {
			conn_printf(ping, "mn\r\n");
			asked = now;
			waiting = true;
		}
		pf[0].fd = told ? -1 : 0;
		poll(pf, 2, waiting ? 1000 : 5);
		if (pf[1].revents) {
			conn_expect(ping, "MN");
			now = now_ns();
			if (now - last > longest)
				longest = now - last;
			last = now;
			waiting = false;
			(*nr)++;
		}
		told = told || (pf[0].revents & (POLLIN | POLLHUP));
	}
	return longest / 1e6;
}

static double gap;
static uint64_t pings;

static void hold(void)
{
	size_t n = item_set(HELD_ITEM + held, "");

	conn_send(&conn[1], value, n / 2);
	answer("{\"phase\": \"hold\", \"ok\": true}");
	pings = 0;
	gap = ping_until_told(&pings);
}

static void arrive(void)
{
	size_t n = item_set(HELD_ITEM + held, "");

	conn_send(&conn[1], value + n / 2, n - n / 2);
	conn_expect(&conn[1], "STORED");
	held++;
	answer("{\"phase\": \"arrive\", \"ok\": true, \"gap_ms\": %.1f, \"pings\": %llu}", gap, (unsigned long long)pings);
}

static void verify(void)
{
	uint64_t all = nr_items + held, sent = 0, done = 0, missing = 0, different = 0, bytes = 0, evicted, reconnects;
	int64_t begin = now_ns();

	while (done < all) {
		uint64_t n;
		int r;

		for (; sent < all && sent < done + WINDOW; sent++) {
			n = sent < nr_items ? sent : HELD_ITEM + sent - nr_items;
			conn_printf(&conn[sent % NR_DATA], "get k%llu\r\n", (unsigned long long)n);
		}
		n = done < nr_items ? done : HELD_ITEM + done - nr_items;
		r = check_item(&conn[done % NR_DATA], n);
		missing += r == 1;
		different += r == 2;
		bytes += r ? 0 : item_size(n);
		done++;
		progress(done, all);
	}
	evicted = stat_of("evictions");
	reconnects = stat_of("total_connections");
	answer("{\"phase\": \"verify\", \"ok\": %s, \"items\": %llu, \"bytes\": %llu, \"missing\": %llu, \"different\": %llu, "
	       "\"evictions\": %llu, \"connections_ever\": %llu, \"seconds\": %.1f}",
	       missing || different || evicted ? "false" : "true", (unsigned long long)all, (unsigned long long)bytes,
	       (unsigned long long)missing, (unsigned long long)different, (unsigned long long)evicted,
	       (unsigned long long)reconnects, (now_ns() - begin) / 1e9);
}

int main(int argc, char **argv)
{
	const char *host = NULL;
	uint64_t size = 64;
	int port = 11211;
	char line[64];
	bool loaded = false;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--host"))
			host = argv[i + 1];
		else if (!strcmp(argv[i], "--size"))
			size = strtoull(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--port"))
			port = atoi(argv[i + 1]);
		else
			host = NULL, i = argc;
	}
	if (!host || argc % 2 == 0) {
		fprintf(stderr, "usage: %s --host ADDRESS [--port N] [--size MB]\n", argv[0]);
		return 2;
	}
	value = malloc(MAX_VALUE + 256);
	for (int i = 0; i <= NR_DATA; i++)
		conn_open(&conn[i], host, port);
	/* Unbuffered: poll() and stdio must agree on what is there to read. */
	setvbuf(stdin, NULL, _IONBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = 0;
		if (!strcmp(line, "load") && !loaded) {
			load(size << 20);
			loaded = true;
		} else if (!strcmp(line, "hold")) {
			hold();
		} else if (!strcmp(line, "arrive")) {
			arrive();
		} else if (!strcmp(line, "verify")) {
			verify();
		} else if (!strcmp(line, "end")) {
			answer("{\"phase\": \"end\", \"ok\": true}");
			pause();
		} else {
			fail("unknown phase '%s'", line);
		}
	}
	return 0;
}
