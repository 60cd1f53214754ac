// SPDX-License-Identifier: GPL-2.0
/*
 * The outside of the postgres scenario, in PostgreSQL's own protocol (version 3, simple queries). Three connections, none of which is ever made
 * anew:
 *
 *   reader    has a prepared statement and a setting of its own; reads every row, which follows from its number
 *   writer    is asked for an insert just before each switch, whose answer comes after it
 *   open      has a transaction open across each switch, in which a row was changed
 *
 * The table and its index take up nearly all of the shared buffers, and all of their blocks are there before they are read behind the switch:
 * what is read comes out of memory that was kept, not from a file.
 *
 * Speaks the bed's phases (see ci/scenarios/README).
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include "client.h"

#define PORT	5432
#define WORDS	100		/* of a row */
#define BATCH	1024		/* rows an INSERT */
#define FILL	95		/* so many of a hundred buffers */
#define BLOCK	8192

struct conn {
	const char *name;
	int fd;
};

static struct sockaddr_in guest = { .sin_family = AF_INET };
static struct conn reader = { .name = "reader" }, writer = { .name = "writer" }, open_one = { .name = "open" };
static int megabytes, rows, inserted, changed;
static int blocks, buffers, dirty;	/* of the table and its index: all, in shared buffers, and not in a file yet */
static char backend[64];	/* the reader's process */
static double asked_ms;

static bool send_all(struct conn *c, const void *data, size_t len)
{
	if (send(c->fd, data, len, MSG_NOSIGNAL) == (ssize_t)len)
		return true;
	return fail("%s: sending: %s", c->name, strerror(errno));
}

static bool receive(struct conn *c, void *data, size_t len)
{
	ssize_t n = len ? recv(c->fd, data, len, MSG_WAITALL) : 0;

	return n == (ssize_t)len || fail("%s: receiving: %s", c->name, n < 0 ? strerror(errno) : "the connection was closed");
}

/* A message: its type, and its content, for free(), with a NUL behind it. */
static char *message(struct conn *c, char *type, uint32_t *len)
{
	char *content;

	if (!receive(c, type, 1) || !receive(c, len, sizeof(*len)))
		return NULL;
	*len = ntohl(*len) - sizeof(*len);
	content = calloc(1, *len + 1);
	if (receive(c, content, *len))
		return content;
	free(content);
	return NULL;
}

/* Fields of an error: each a letter and a text. That of the message for people: */
static const char *error_text(const char *content)
{
	while (*content && *content != 'M')
		content += strlen(content) + 1;
	return *content ? content + 1 : "?";
}

/*
 * All that is answered, up to being ready for the next query. @one gets each row: its first two values, "" if there is none.
 */
static bool answer(struct conn *c, bool (*one)(const char *a, const char *b))
{
	bool ok = true;
	uint32_t len;
	char type = 0, *m;

	while (type != 'Z') {
		m = message(c, &type, &len);
		if (!m)
			return false;
		if (type == 'E')
			ok = fail("%s: %s", c->name, error_text(m));
		if (type == 'D' && ok && one) {
			char *value[2] = { "", "" }, *p = m + 2;
			uint32_t size[2] = { 0, 0 };

			for (int i = 0; i < m[1] && i < 2; i++) {
				memcpy(&size[i], p, 4);
				size[i] = ntohl(size[i]);
				value[i] = strndup(p + 4, size[i]);
				p += 4 + size[i];
			}
			ok = one(value[0], value[1]);
			for (int i = 0; i < m[1] && i < 2; i++)
				free(value[i]);
		}
		free(m);
	}
	return ok;
}

static bool ask(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool ask(struct conn *c, const char *fmt, ...)
{
	char text[2048];
	uint32_t len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text + 5, sizeof(text) - 5, fmt, ap);
	va_end(ap);
	text[0] = 'Q';
	len = htonl(strlen(text + 5) + 5);
	memcpy(text + 1, &len, 4);
	return send_all(c, text, strlen(text + 5) + 6);
}

static bool done(struct conn *c, const char *query)
{
	return ask(c, "%s", query) && answer(c, NULL);
}

static char only[2][64];

static bool keep_only(const char *a, const char *b)
{
	snprintf(only[0], sizeof(only[0]), "%s", a);
	snprintf(only[1], sizeof(only[1]), "%s", b);
	return true;
}

static bool is(struct conn *c, const char *query, const char *expected)
{
	if (!ask(c, "%s", query) || !answer(c, keep_only))
		return false;
	return !strcmp(only[0], expected) || fail("%s: %s: %s instead of %s", c->name, query, only[0], expected);
}

static bool dial(struct conn *c)
{
	static const char startup[] = "\0\0\0\0\0\3\0\0user\0nobody\0database\0postgres\0";
	uint32_t len = htonl(sizeof(startup));
	char data[sizeof(startup)];

	c->fd = dial_port(&guest, PORT);
	if (c->fd < 0)
		return false;
	memcpy(data, startup, sizeof(data));
	memcpy(data, &len, 4);
	return send_all(c, data, sizeof(data)) && answer(c, NULL);
}

static bool number(const char *query, int *nr)
{
	if (!ask(&reader, "%s", query) || !answer(&reader, keep_only))
		return false;
	*nr = atoi(only[0]);
	return true;
}

#define BLOCKS	"SELECT (pg_relation_size('kept') + pg_relation_size('kept_pkey')) / current_setting('block_size')::int"

static bool fill(void)
{
	const int enough = megabytes * (1048576 / BLOCK) / 100 * FILL;

	for (rows = 0, blocks = 0; blocks < enough; rows += BATCH) {
		if (!ask(&reader, "INSERT INTO kept SELECT i, repeat(i || '-', %d) FROM generate_series(%d, %d) i", WORDS, rows + 1, rows + BATCH) ||
		    !answer(&reader, NULL) || !number(BLOCKS, &blocks))
			return false;
		printf("{\"progress\": %.2f}\n", (double)blocks / enough);
		fflush(stdout);
	}
	return true;
}

static bool buffers_have_all(void)
{
	static const char *const of_kept = "FROM pg_buffercache WHERE relfilenode IN (pg_relation_filenode('kept'), pg_relation_filenode('kept_pkey')) "
					   "AND relforknumber = 0";
	char query[300];

	snprintf(query, sizeof(query), "SELECT count(*), count(*) FILTER (WHERE isdirty) %s", of_kept);
	if (!number(BLOCKS, &blocks) || !number(query, &buffers))
		return false;
	dirty = atoi(only[1]);
	return buffers == blocks || fail("%d of %d blocks are in shared buffers", buffers, blocks);
}

static bool load(void)
{
	if (!dial(&reader) || !dial(&writer) || !dial(&open_one))
		return false;
	if (!done(&reader, "CREATE TABLE kept (id int PRIMARY KEY, v text)") || !done(&reader, "CREATE TABLE log (n int)"))
		return false;
	if (!done(&reader, "CREATE EXTENSION pg_buffercache") || !fill() || !buffers_have_all())
		return false;
	if (!done(&reader, "PREPARE row AS SELECT v FROM kept WHERE id = $1") || !done(&reader, "SET application_name = 'it was kept'"))
		return false;
	if (!ask(&reader, "SELECT pg_backend_pid() || ' ' || pg_postmaster_start_time()") || !answer(&reader, keep_only))
		return false;
	snprintf(backend, sizeof(backend), "%s", only[0]);
	return true;
}

static bool hold(void)
{
	changed++;
	if (!done(&open_one, "BEGIN") || !ask(&open_one, "UPDATE kept SET v = 'changed %d' WHERE id = 1", changed) || !answer(&open_one, NULL))
		return false;
	asked_ms = now_ms();
	return ask(&writer, "INSERT INTO log SELECT %d FROM (SELECT pg_sleep(0.3)) s", ++inserted);
}

static bool arrive(void)
{
	return answer(&writer, NULL);
}

static int next_row;

static bool row_is_right(const char *a, const char *b)
{
	char number[16];

	next_row++;
	snprintf(number, sizeof(number), "%d", next_row);
	if (strcmp(a, number))
		return fail("row %s where %d was to come", a, next_row);
	if (next_row == 1)	/* this one is changed by transactions */
		return true;
	return row_follows(b, next_row, WORDS);
}

static bool verify(void)
{
	char text[64];

	next_row = 0;
	if (!buffers_have_all() || !done(&reader, "SET enable_seqscan = off") || !ask(&reader, "SELECT id, v FROM kept ORDER BY id") ||
	    !answer(&reader, row_is_right))
		return false;
	if (next_row != rows)
		return fail("%d rows instead of %d", next_row, rows);
	snprintf(text, sizeof(text), "%d", inserted);
	if (!is(&reader, "SELECT count(DISTINCT n) FROM log WHERE n > 0", text) || !is(&reader, "SELECT count(*) FROM log", text))
		return false;
	if (!is(&reader, "SHOW application_name", "it was kept") ||
	    !is(&reader, "SELECT pg_backend_pid() || ' ' || pg_postmaster_start_time()", backend))
		return false;
	/* what is not committed nobody else sees; then all do */
	if (changed > 1)
		snprintf(text, sizeof(text), "changed %d", changed - 1);
	if (changed > 1 && !is(&reader, "EXECUTE row(1)", text))
		return false;
	if (!done(&open_one, "COMMIT"))
		return false;
	snprintf(text, sizeof(text), "changed %d", changed);
	return is(&reader, "EXECUTE row(1)", text);
}

int main(int argc, char **argv)
{
	char phase[32];

	if (argc != 3)
		return 2;
	inet_pton(AF_INET, argv[1], &guest.sin_addr);
	megabytes = atoi(argv[2]);
	while (scanf("%31s", phase) == 1) {
		bool ok = !strcmp(phase, "load") ? load() : !strcmp(phase, "hold") ? hold() : !strcmp(phase, "arrive") ? arrive() :
			  !strcmp(phase, "verify") ? verify() : true;

		printf("{\"phase\": \"%s\", \"ok\": %s", phase, ok ? "true" : "false");
		if (!strcmp(phase, "arrive"))
			printf(", \"gap_ms\": %.1f", now_ms() - asked_ms);
		if (!strcmp(phase, "verify") || !strcmp(phase, "load"))
			printf(", \"rows\": %d, \"blocks\": %d, \"buffers\": %d, \"dirty\": %d, \"inserts\": %d", rows, blocks, buffers, dirty, inserted);
		if (!ok)
			printf(", \"why\": \"%s\"", why);
		printf("}\n");
		fflush(stdout);
	}
	return 0;
}
