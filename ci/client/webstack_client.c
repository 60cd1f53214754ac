// SPDX-License-Identifier: GPL-2.0
/*
 * The outside of the webstack scenario: a client of a web server, with a connection for each request, as the server behind the switch is a
 * new one. Behind that server is a database that is kept.
 *
 * Four movers have amounts moved between accounts, a numbered transaction after the other, and ask again for one until it is answered.
 * Two are as quick as they can be, and go on through the switch. Two have one transaction each that the switch strikes:
 *
 *   open      still open when the server is stopped: it has to be rolled back, and be done when it is asked for again
 *   silent    committed, but not answered yet: it must not be done again
 *
 * In the end each number that was answered is in the database, and no other; each account has what was moved to it and not away from it,
 * each time once; each row is what it was; and database and server are the same and another, respectively, as far as they themselves tell.
 *
 * Speaks the bed's phases (see ci/scenarios/README).
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "client.h"

#define PORT		80
#define WORDS		100	/* of a row */
#define BATCH		1024	/* rows a request */
#define ACCOUNTS	100	/* of the quick movers; each of the others has two */
#define AMOUNT		1000000
#define MOVER		1000000000LL	/* numbers of a mover are above this, times its own */
#define REST_S		60	/* longer than a stop of the server takes to strike */
#define PATIENCE_S	600
#define HELD_S		12

static struct sockaddr_in guest = { .sin_family = AF_INET, .sin_port = 0 };
static int rows;
static char token[33];

/* Who answers, as it tells itself. */
static struct who {
	char nginx[80], fpm[80], token[64];
	long long connection, uptime;
	int rows;
} before;

static struct mover {
	const char *slow;	/* the parameter that makes its first request a long one */
	int nr;
	pthread_t thread;
	volatile int moved;
	volatile bool idle;
	bool again;		/* the last one had been done when it was asked for again */
	int retried, agains;
} movers[] = {
	{ .nr = 0 },
	{ .nr = 1 },
	{ .nr = 2, .slow = "rest" },
	{ .nr = 3, .slow = "linger" },
};
#define MOVERS	((int)(sizeof(movers) / sizeof(*movers)))
#define OPEN	(&movers[2])
#define SILENT	(&movers[3])

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int amounts[ACCOUNTS + 2 * 2];	/* under lock, as is what follows */
static double last_ms, longest_ms;
static volatile bool moving;

static __thread char trouble[200];	/* with the last request */

static char *no(const char *what)
{
	snprintf(trouble, sizeof(trouble), "%s", what);
	return NULL;
}

/* A SYN gets no answer while the network is closed: that is no reason to wait as long as TCP does. */
static int dial(void)
{
	const struct timeval connecting = { .tv_usec = 500000 }, answering = { .tv_sec = 2 * REST_S };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &connecting, sizeof(connecting));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &answering, sizeof(answering));
	if (!connect(fd, (struct sockaddr *)&guest, sizeof(guest)))
		return fd;
	no(errno == EINPROGRESS ? "no connection" : strerror(errno));
	close(fd);
	return -1;
}

/* Until the server closes the connection, for free(). */
static char *receive_all(int fd)
{
	size_t len = 0, size = 1 << 16;
	char *text = malloc(size);
	ssize_t n;

	while ((n = recv(fd, text + len, size - len - 1, 0)) > 0) {
		len += n;
		if (len + 1 == size)
			text = realloc(text, size *= 2);
	}
	text[len] = '\0';
	if (!n)
		return text;
	no(strerror(errno));
	free(text);
	return NULL;
}

/* What is behind the head of an answer and before its last line, which says that it is whole. In place. */
static char *body(char *text)
{
	char *p = strstr(text, "\r\n\r\n"), *end;

	if (strncmp(text, "HTTP/1.1 200 ", 13) || !p) {
		text[strcspn(text, "\r")] = '\0';
		return no(*text ? text : "an answer without a word");
	}
	p += 4;
	end = strlen(p) >= 4 ? p + strlen(p) - 4 : p;
	if (strcmp(end, "end\n") || (end > p && end[-1] != '\n'))
		return no("an answer that is cut short");
	*end = '\0';
	return memmove(text, p, end - p + 1);
}

/* For free(); NULL if there was no whole answer, with the reason in trouble. */
static char *get(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static char *get(const char *fmt, ...)
{
	char what[300], request[400], *text;
	int fd, len;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	len = snprintf(request, sizeof(request), "GET /?do=%s HTTP/1.0\r\nHost: webstack\r\n\r\n", what);
	fd = dial();
	if (fd < 0)
		return NULL;
	text = send(fd, request, len, MSG_NOSIGNAL) == len ? receive_all(fd) : no(strerror(errno));
	close(fd);
	if (text && !body(text)) {
		free(text);
		return NULL;
	}
	return text;
}

/* A request of which the answer is not looked at. Frees it. */
static bool done(const char *what, char *answer)
{
	free(answer);
	return answer || fail("%s: %s", what, trouble);
}

static void answered(void)
{
	double now = now_ms();

	if (now - last_ms > longest_ms)
		longest_ms = now - last_ms;
	last_ms = now;
}

static void tally(struct mover *m, int from, int to, int amount, bool again)
{
	pthread_mutex_lock(&lock);
	amounts[from - 1] -= amount;
	amounts[to - 1] += amount;
	m->moved++;
	m->again = again;
	m->agains += again;
	if (!m->slow)
		answered();
	pthread_mutex_unlock(&lock);
}

/* Asks until it is answered: one that had been done is the same success. */
static bool move(struct mover *m)
{
	const long long n = m->nr * MOVER + m->moved + 1;
	const int from = m->slow ? ACCOUNTS + 2 * m->nr - 3 : n % ACCOUNTS + 1, to = m->slow ? from + 1 : (n * 31 + 1) % ACCOUNTS + 1, amount = n % 7 + 1;
	const double began = now_ms();

	for (int try = 0;; try++) {
		char *text = get("move&n=%lld&from=%d&to=%d&amount=%d&%s=%d", n, from, to, amount, m->slow ?: "rest",
				 m->slow && !try ? REST_S : 0);
		const bool again = text && !strcmp(text, "again\n"), ok = again || (text && !strcmp(text, "done\n"));

		if (text && !ok)
			fail("transaction %lld: %.100s", n, text);
		free(text);
		if (ok) {
			tally(m, from, to, amount, again);
			return true;
		}
		m->retried++;
		if (now_ms() - began > PATIENCE_S * 1e3)
			return fail("transaction %lld: no answer: %s", n, trouble);
		usleep(50000);
	}
}

static void *move_on(void *arg)
{
	struct mover *m = arg;

	while (move(m) && moving && !m->slow)
		;
	m->idle = true;
	return NULL;
}

static bool ask_who(struct who *w)
{
	char *text = get("who");
	int n;

	memset(w, 0, sizeof(*w));
	n = text ? sscanf(text, "%79s %79s %lld %lld %d %63s", w->nginx, w->fpm, &w->connection, &w->uptime, &w->rows, w->token) : 0;
	if (text && n < 6)
		fail("who answers: only %d values, of MariaDB's memory: '%s'", n, w->token);
	return done("who answers", text) && n == 6;
}

static bool load(void)
{
	snprintf(token, sizeof(token), "%016llx%08x", (unsigned long long)time(NULL) << 20 ^ getpid(), (unsigned int)now_ms());
	if (!done("accounts", get("open&accounts=%d&amount=%d&token=%s", ACCOUNTS + 4, AMOUNT, token)))
		return false;
	for (int i = 0; i < ACCOUNTS + 4; i++)
		amounts[i] = AMOUNT;
	for (int i = 1; i <= rows; i += BATCH)
		if (!done("rows", get("fill&first=%d&last=%d&words=%d", i, i + BATCH - 1 < rows ? i + BATCH - 1 : rows, WORDS)))
			return false;
	return true;
}

/* Open or committed, as it is meant to be struck; answered it is not. */
static bool begun(const struct mover *m)
{
	for (int i = 0; i < HELD_S * 10 && !m->idle; i++) {
		char *text = get("begun&n=%lld&open=%d", m->nr * MOVER + m->moved + 1, m == OPEN);
		const bool yes = text && !strcmp(text, "1\n");

		if (!done("begun", text))
			return false;
		if (yes)
			return true;
		usleep(100000);
	}
	return fail("the long transaction of mover %d is not under way", m->nr);
}

static bool hold(void)
{
	if (!ask_who(&before))
		return false;
	moving = true;
	last_ms = now_ms();
	longest_ms = 0;
	for (int i = 0; i < MOVERS; i++) {
		movers[i].idle = false;
		if (pthread_create(&movers[i].thread, NULL, move_on, &movers[i]))
			return fail("no thread");
	}
	return begun(OPEN) && begun(SILENT);
}

/* Those that were struck have their answer, the others go on for some more. */
static bool arrive(void)
{
	int was[MOVERS];
	bool enough = false;

	for (int i = 0; i < MOVERS; i++)
		was[i] = movers[i].moved;
	for (int i = 0; i < PATIENCE_S * 10 && !enough && !why[0]; i++) {
		usleep(100000);
		enough = OPEN->idle && SILENT->idle && movers[0].moved >= was[0] + 3 && movers[1].moved >= was[1] + 3;
	}
	moving = false;
	for (int i = 0; i < MOVERS; i++)
		pthread_join(movers[i].thread, NULL);
	if (why[0])
		return false;
	if (!OPEN->retried || OPEN->again)
		return fail("the transaction that was open at the stop was %s", OPEN->retried ? "done all the same" : "not struck by it");
	return (SILENT->retried && SILENT->again) || fail("the transaction that was not answered at the stop was %s",
							  SILENT->retried ? "lost, or done again" : "answered all the same");
}

static bool rows_are_right(int first, int last)
{
	char *text = get("rows&first=%d&last=%d", first, last), *rest = text, *line;
	int nr = first;

	while (rest && (line = strsep(&rest, "\n")) && *line) {
		char number[16];
		const int len = snprintf(number, sizeof(number), "%d ", nr);

		if (strncmp(line, number, len)) {
			fail("row '%.20s' where %d was to come", line, nr);
			break;
		}
		if (!row_follows(line + len, nr, WORDS))
			break;
		nr++;
	}
	return done("rows", text) && !why[0] && (nr == last + 1 || fail("the rows end before %d", nr));
}

static bool accounts_are_right(void)
{
	char *text = get("accounts"), *rest = text, *line;
	int nr = 0, id, amount;

	while (rest && (line = strsep(&rest, "\n")) && *line) {
		if (sscanf(line, "%d %d", &id, &amount) != 2 || id != nr + 1 || nr == ACCOUNTS + 4)
			fail("account '%.20s' where %d was to come", line, nr + 1);
		else if (amount != amounts[nr])
			fail("account %d has %d, and what was answered makes %d", id, amount, amounts[nr]);
		else
			nr++;
		if (why[0])
			break;
	}
	return done("accounts", text) && !why[0] && (nr == ACCOUNTS + 4 || fail("%d accounts", nr));
}

/* They are listed by their numbers, so a mover's come after the other's. */
static bool transactions_are_right(void)
{
	char *text = get("done"), *p = text, *end;

	for (int i = 0; i < MOVERS && text && !why[0]; i++)
		for (long long n = i * MOVER + 1, is; n <= i * MOVER + movers[i].moved && !why[0]; n++, p = end + 1) {
			is = strtoll(p, &end, 10);
			if (is && is < n)
				fail("transaction %lld is there, and was never answered", is);
			else if (is != n || *end != '\n')
				fail("transaction %lld was answered, and is not there", n);
		}
	if (text && !why[0] && *p)
		fail("transaction %.*s is there, and was never answered", (int)strcspn(p, "\n"), p);
	return done("transactions", text) && !why[0];
}

/* A switch lies between. */
static bool who_is_right(const struct who *now)
{
	if (!strcmp(now->nginx, before.nginx) || !strcmp(now->fpm, before.fpm))
		return fail("nginx %s and php-fpm %s are as before the switch", now->nginx, now->fpm);
	if (strcmp(now->token, token) || strcmp(before.token, token))
		return fail("a table in MariaDB's memory has '%s' instead of '%s'", now->token, token);
	if (now->connection <= before.connection || now->uptime < before.uptime)
		return fail("MariaDB's connection %lld after %lld, and up for %lld s after %lld s", now->connection, before.connection, now->uptime,
			    before.uptime);
	return now->rows == rows || fail("%d rows instead of %d", now->rows, rows);
}

static bool verify(struct who *now)
{
	if (!ask_who(now) || (before.uptime && !who_is_right(now)))
		return false;
	for (int i = 1; i <= rows; i += BATCH)
		if (!rows_are_right(i, i + BATCH - 1 < rows ? i + BATCH - 1 : rows))
			return false;
	return transactions_are_right() && accounts_are_right();
}

int main(int argc, char **argv)
{
	struct who now;
	char phase[32];

	if (argc != 3)
		return 2;
	inet_pton(AF_INET, argv[1], &guest.sin_addr);
	guest.sin_port = htons(PORT);
	rows = atoi(argv[2]) * 1024;
	while (scanf("%31s", phase) == 1) {
		bool ok = !strcmp(phase, "load") ? load() : !strcmp(phase, "hold") ? hold() : !strcmp(phase, "arrive") ? arrive() :
			  !strcmp(phase, "verify") ? verify(&now) : true;

		printf("{\"phase\": \"%s\", \"ok\": %s", phase, ok ? "true" : "false");
		if (!strcmp(phase, "arrive"))
			printf(", \"gap_ms\": %.1f", longest_ms);
		if (!strcmp(phase, "verify"))
			printf(", \"rows\": %d, \"transactions\": %d, \"asked_again\": %d, \"were_done\": %d, \"uptime_s\": %lld, \"connection\": %lld, "
			       "\"nginx\": \"%s\", \"php\": \"%s\"", rows,
			       movers[0].moved + movers[1].moved + OPEN->moved + SILENT->moved,
			       movers[0].retried + movers[1].retried + OPEN->retried + SILENT->retried,
			       movers[0].agains + movers[1].agains + OPEN->agains + SILENT->agains, now.uptime, now.connection,
			       now.nginx, now.fpm);
		if (!ok)
			printf(", \"why\": \"%s\"", why);
		printf("}\n");
		fflush(stdout);
	}
	return 0;
}
