// SPDX-License-Identifier: GPL-2.0
/*
 * The outside of the redis scenario: keys whose values follow from their number, read back from the master and from its replica
 * over the very connections that were open before the switch; and a counter that is incremented all the time. Speaks the bed's
 * phases (see ci/scenarios/README).
 *
 * No connection is ever made anew: one that breaks fails the run. Each increment that was answered must be counted, once.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "client.h"

#define VALUE_MAX	20000
#define BATCH		64
#define MASTER_PORT	6379
#define REPLICA_PORT	6380

struct conn {
	int fd;
	size_t used, at;
	char buf[1 << 16];
};

static struct sockaddr_in guest = { .sin_family = AF_INET };
static struct conn master, replica, counter;
static size_t nr_keys, bytes;

static volatile bool counting;
static pthread_t counter_thread;
static uint64_t counted;
static double gap_ms;

static bool dial(struct conn *c, int port)
{
	c->fd = dial_port(&guest, port);
	return c->fd >= 0;
}

static bool put(struct conn *c, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);

		if (n <= 0)
			return fail("sending: %s", strerror(errno));
		data += n;
		len -= n;
	}
	return true;
}

static bool say(struct conn *c, const char *command)
{
	return put(c, command, strlen(command));
}

static bool more(struct conn *c)
{
	ssize_t n;

	memmove(c->buf, c->buf + c->at, c->used - c->at);
	c->used -= c->at;
	c->at = 0;
	n = read(c->fd, c->buf + c->used, sizeof(c->buf) - c->used);
	if (n <= 0)
		return fail("receiving: %s", n ? strerror(errno) : "the connection was closed");
	c->used += n;
	return true;
}

/* A line of an answer, without its end. */
static char *line(struct conn *c)
{
	char *end;

	while (!(end = memmem(c->buf + c->at, c->used - c->at, "\r\n", 2)))
		if (!more(c))
			return NULL;
	*end = 0;
	char *l = c->buf + c->at;

	c->at = end + 2 - c->buf;
	return l;
}

/* The answer to a GET; @len is -1 if there is no such key. */
static bool bulk(struct conn *c, char *data, long *len)
{
	char *l = line(c);

	if (!l || *l != '$')
		return fail("not a value: %s", l ?: "");
	*len = atol(l + 1);
	if (*len < 0)
		return true;
	if (*len > VALUE_MAX)
		return fail("a value of %ld bytes", *len);
	while (c->used - c->at < (size_t)*len + 2)
		if (!more(c))
			return false;
	memcpy(data, c->buf + c->at, *len);
	c->at += *len + 2;
	return true;
}

static size_t value(size_t key, char *data)
{
	uint64_t x = (key + 1) * 0x9e3779b97f4a7c15ULL;
	size_t len = 100 + (x >> 20) % (VALUE_MAX - 100);

	for (size_t i = 0; i < len; i += 8) {
		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		memcpy(data + i, &x, len - i < 8 ? len - i : 8);
	}
	return len;
}

static size_t set_command(size_t key, char *to)
{
	static char data[VALUE_MAX + 8];
	size_t len = value(key, data);
	int n = sprintf(to, "*3\r\n$3\r\nSET\r\n$10\r\nk%09zu\r\n$%zu\r\n", key, len);

	memcpy(to + n, data, len);
	memcpy(to + n + len, "\r\n", 2);
	return n + len + 2;
}

static bool load(size_t megabytes)
{
	static char out[BATCH * (VALUE_MAX + 100)];
	size_t len, i;

	if (!dial(&master, MASTER_PORT) || !dial(&replica, REPLICA_PORT) || !dial(&counter, MASTER_PORT))
		return false;
	while (bytes < megabytes << 20) {
		for (i = 0, len = 0; i < BATCH; i++)
			len += set_command(nr_keys + i, out + len);
		if (!put(&master, out, len))
			return false;
		for (i = 0; i < BATCH; i++) {
			char *l = line(&master);

			if (!l || strcmp(l, "+OK"))
				return fail("SET: %s", l ?: "");
		}
		nr_keys += BATCH;
		bytes += len;
		printf("{\"progress\": %.2f}\n", bytes / (megabytes * 1048576.0));
		fflush(stdout);
	}
	return true;
}

static void *count(void *arg)
{
	double last = now_ms(), t;
	char *l;

	(void)arg;
	while (counting) {
		if (!say(&counter, "*2\r\n$4\r\nINCR\r\n$7\r\ncounter\r\n") || !(l = line(&counter)))
			break;
		t = now_ms();
		if (t - last > gap_ms)
			gap_ms = t - last;
		last = t;
		if (*l != ':' || strtoull(l + 1, NULL, 10) != ++counted) {
			fail("increment %llu was answered by %s", (unsigned long long)counted, l);
			break;
		}
		usleep(2000);
	}
	return NULL;
}

/* WAIT until the replica has all that came before. */
static bool caught_up(void)
{
	char *l;

	if (!say(&master, "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$6\r\n120000\r\n") || !(l = line(&master)))
		return false;
	return !strcmp(l, ":1") || fail("the replica did not catch up: %s", l);
}

static bool compare(struct conn *c, const char *name)
{
	static char want[VALUE_MAX + 8], got[VALUE_MAX + 8];
	char out[BATCH * 40];
	size_t key, i, len = 0, missing = 0, different = 0;
	long n;

	for (key = 0; key < nr_keys; key += BATCH) {
		for (i = 0, len = 0; i < BATCH; i++)
			len += sprintf(out + len, "*2\r\n$3\r\nGET\r\n$10\r\nk%09zu\r\n", key + i);
		if (!put(c, out, len))
			return false;
		for (i = 0; i < BATCH; i++) {
			if (!bulk(c, got, &n))
				return false;
			missing += n < 0;
			different += n >= 0 && ((size_t)n != value(key + i, want) || memcmp(want, got, n));
		}
	}
	if (missing || different)
		return fail("%s: %zu keys missing, %zu different, of %zu", name, missing, different, nr_keys);
	if (!say(c, "*2\r\n$3\r\nGET\r\n$7\r\ncounter\r\n") || !bulk(c, got, &n))
		return false;
	got[n < 0 ? 0 : n] = 0;
	if (strtoull(got, NULL, 10) != counted)
		return fail("%s: the counter is %s after %llu increments", name, got, (unsigned long long)counted);
	return true;
}

static void begin_counting(void)
{
	gap_ms = 0;
	counting = true;
	pthread_create(&counter_thread, NULL, count, NULL);
}

static bool end_counting(void)
{
	if (counting) {
		counting = false;
		pthread_join(counter_thread, NULL);
	}
	return !why[0];
}

int main(int argc, char **argv)
{
	char phase[32];
	bool ok;

	if (argc != 3 || inet_pton(AF_INET, argv[1], &guest.sin_addr) != 1) {
		fprintf(stderr, "usage: %s ADDRESS MEGABYTES\n", argv[0]);
		return 2;
	}
	while (fgets(phase, sizeof(phase), stdin)) {
		phase[strcspn(phase, "\n")] = 0;
		ok = true;
		why[0] = 0;
		if (!strcmp(phase, "load"))
			ok = load(atoi(argv[2]));
		else if (!strcmp(phase, "hold"))
			begin_counting();
		else if (!strcmp(phase, "arrive"))
			ok = end_counting();
		else if (!strcmp(phase, "verify"))
			ok = caught_up() && compare(&master, "master") && compare(&replica, "replica");
		printf("{\"phase\": \"%s\", \"ok\": %s, \"why\": \"%s\", \"keys\": %zu, \"bytes\": %zu, \"increments\": %llu, \"gap_ms\": %.1f}\n",
		       phase, ok ? "true" : "false", why, nr_keys, bytes, (unsigned long long)counted, gap_ms);
		fflush(stdout);
	}
	return 0;
}
