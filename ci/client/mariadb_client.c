// SPDX-License-Identifier: GPL-2.0
/*
 * The outside of the mariadb scenario, in MySQL's protocol. Two connections, neither of which is ever made anew:
 *
 *   reader    has a session variable; reads every row, which follows from its number
 *   writer    moves amounts between accounts, a transaction after the other, while the switch goes on: each that was answered is there, once,
 *             and the sum of all accounts is what it was
 *
 * Beside them sysbench runs its transactions from before each switch until behind it. A connection that it loses ends it with an error; it
 * must have made none anew, and the ledger (ledger.lua) must have exactly those transactions that were confirmed.
 *
 * Speaks the bed's phases (see ci/scenarios/README).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

#define PORT		3306
#define WORDS		100	/* of a row */
#define BATCH		512	/* rows an INSERT */
#define ACCOUNTS	100
#define AMOUNT		1000
#define THREADS		4	/* of sysbench */
#define TABLES		4
#define TABLE_ROWS	2500
#define AFTER		3	/* transactions of each of its threads behind the switch, at least */
#define PATIENCE_S	900

#define CLIENT_CONNECT_WITH_DB	0x8u
#define CLIENT_PROTOCOL_41	0x200u
#define CLIENT_TRANSACTIONS	0x2000u
#define CLIENT_SECURE		0x8000u
#define CLIENT_PLUGIN_AUTH	0x80000u

struct conn {
	const char *name;
	int fd;
	uint8_t seq;		/* of the last packet */
};

static struct sockaddr_in guest = { .sin_family = AF_INET };
static struct conn reader = { .name = "reader" }, writer = { .name = "writer" };
static int rows;
static char thread_id[32];
static pthread_t thread;
static volatile bool writing;
static volatile int transactions;
static double longest_ms;

static struct {
	const char *script;
	pid_t pid;
	int said;		/* what it says comes here */
	int go_on;		/* it begins transactions as long as this is open */
	int run;
	int confirmed[THREADS];		/* of this run */
	int transactions, deadlocks;	/* of all runs */
} bench;

/* @data has four bytes to spare in front. */
static bool send_packet(struct conn *c, char *data, uint32_t len)
{
	data[0] = len;
	data[1] = len >> 8;
	data[2] = len >> 16;
	data[3] = ++c->seq;
	return send(c->fd, data, len + 4, MSG_NOSIGNAL) == (ssize_t)len + 4 || fail("%s: sending: %s", c->name, strerror(errno));
}

static bool receive(struct conn *c, void *data, size_t len)
{
	ssize_t n = len ? recv(c->fd, data, len, MSG_WAITALL) : 0;

	return n == (ssize_t)len || fail("%s: receiving: %s", c->name, n < 0 ? strerror(errno) : "the connection was closed");
}

/* For free(), with a NUL behind it. */
static unsigned char *receive_packet(struct conn *c, uint32_t *len)
{
	unsigned char head[4], *data;

	if (!receive(c, head, sizeof(head)))
		return NULL;
	*len = head[0] | head[1] << 8 | head[2] << 16;
	c->seq = head[3];
	data = calloc(1, *len + 1);
	if (receive(c, data, *len)) {
		if (!*len || data[0] != 0xff)
			return data;
		fail("%s: %s", c->name, data + 3);	/* behind its number */
	}
	free(data);
	return NULL;
}

/* A text with its length in front, for free(). */
static char *text(unsigned char **p)
{
	uint32_t len = *(*p)++;
	char *s;

	if (len == 0xfc) {
		len = (*p)[0] | (*p)[1] << 8;
		*p += 2;
	}
	s = strndup((char *)*p, len == 0xfb ? 0 : len);	/* NULL is empty */
	*p += len == 0xfb ? 0 : len;
	return s;
}

static bool skip_columns(struct conn *c)
{
	unsigned char *data;
	uint32_t len;
	bool last;

	do {
		data = receive_packet(c, &len);
		if (!data)
			return false;
		last = data[0] == 0xfe && len < 9;
		free(data);
	} while (!last);
	return true;
}

/* All that is answered. @one gets each row's first two values; without it the answer may be one without rows. */
static bool answer(struct conn *c, bool (*one)(const char *a, const char *b))
{
	unsigned char *data, *p;
	int columns, i;
	bool ok, last;
	uint32_t len;

	data = receive_packet(c, &len);
	if (!data)
		return false;
	columns = data[0];
	free(data);
	if (!columns)
		return true;
	ok = skip_columns(c);
	for (last = !ok; !last; ) {
		char *value[2] = { NULL, NULL };

		data = receive_packet(c, &len);
		if (!data)
			return false;
		last = data[0] == 0xfe && len < 9;
		for (i = 0, p = data; !last && ok && i < columns && i < 2; i++)
			value[i] = text(&p);
		if (!last && ok && one)
			ok = one(value[0], value[1] ?: "");
		free(value[0]);
		free(value[1]);
		free(data);
	}
	return ok;
}

static bool ask(struct conn *c, const char *query)
{
	size_t len = strlen(query);
	char *data = malloc(len + 5);
	bool ok;

	data[4] = 3;		/* a query */
	memcpy(data + 5, query, len);
	c->seq = 255;
	ok = send_packet(c, data, len + 1);
	free(data);
	return ok;
}

static bool done(struct conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool done(struct conn *c, const char *fmt, ...)
{
	char query[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(query, sizeof(query), fmt, ap);
	va_end(ap);
	return ask(c, query) && answer(c, NULL);
}

static char only[64];

static bool keep_only(const char *a, const char *b)
{
	(void)b;
	snprintf(only, sizeof(only), "%s", a);
	return true;
}

static bool is(struct conn *c, const char *query, const char *expected)
{
	if (!ask(c, query) || !answer(c, keep_only))
		return false;
	return !strcmp(only, expected) || fail("%s: %s: %s instead of %s", c->name, query, only, expected);
}

static bool dial(struct conn *c)
{
	static const char rest[] = "nobody\0\0mysql_native_password";	/* user, no password */
	const uint32_t can = CLIENT_PROTOCOL_41 | CLIENT_TRANSACTIONS | CLIENT_SECURE | CLIENT_PLUGIN_AUTH;
	char reply[4 + 32 + sizeof(rest)] = { 0 };
	unsigned char *data;
	uint32_t len;
	bool more;

	c->fd = dial_port(&guest, PORT);
	if (c->fd < 0)
		return false;
	data = receive_packet(c, &len);
	if (!data)
		return false;
	free(data);
	memcpy(reply + 4, &can, 4);
	reply[4 + 7] = 1;	/* packets up to 16 MiB */
	reply[4 + 8] = 8;	/* latin1 */
	memcpy(reply + 4 + 32, rest, sizeof(rest));
	if (!send_packet(c, reply, 32 + sizeof(rest)))
		return false;
	do {
		data = receive_packet(c, &len);
		if (!data)
			return false;
		more = data[0];
		free(data);
		if (more && !send_packet(c, reply, 0))	/* another way to say that there is no password */
			return false;
	} while (more);
	return true;
}

static bool fill(void)
{
	char *query = malloc(BATCH * (WORDS * 12 + 32) + 64), *p;
	bool ok = true;

	for (int i = 1; i <= rows && ok; i += BATCH) {
		p = query + sprintf(query, "INSERT INTO kept.kept VALUES ");
		for (int j = i; j < i + BATCH && j <= rows; j++)
			p += sprintf(p, "%s(%d,repeat('%d-',%d))", j > i ? "," : "", j, j, WORDS);
		ok = ask(&reader, query) && answer(&reader, NULL);
	}
	free(query);
	return ok;
}

static bool transact(int n)
{
	return done(&writer, "BEGIN") && done(&writer, "UPDATE kept.account SET amount = amount - %d WHERE id = %d", n % 7, n % ACCOUNTS + 1) &&
	       done(&writer, "UPDATE kept.account SET amount = amount + %d WHERE id = %d", n % 7, n * 31 % ACCOUNTS + 1) &&
	       done(&writer, "INSERT INTO kept.log VALUES (%d)", n) && done(&writer, "COMMIT");
}

static void *write_on(void *arg)
{
	double began, took;

	(void)arg;
	while (writing) {
		began = now_ms();
		if (!transact(transactions + 1))
			break;
		transactions++;
		took = now_ms() - began;
		if (took > longest_ms)
			longest_ms = took;
	}
	return NULL;
}

/* sysbench, with @last behind all other arguments. It ends with this process. */
static bool bench_start(char *const last[])
{
	char host[INET_ADDRSTRLEN + 16], threads[16], tables[16], size[24], *argv[20] = {
		"sysbench", (char *)bench.script, "--db-driver=mysql", host, "--mysql-user=nobody", "--mysql-db=bench",
		/* A deadlock is an answer, and nothing is lost by it. Any other error is the end. */
		"--mysql-ignore-errors=1213", "--rand-type=uniform", threads, tables, size,
	};
	int said[2], n = 11;

	sprintf(host, "--mysql-host=");
	inet_ntop(AF_INET, &guest.sin_addr, host + strlen(host), INET_ADDRSTRLEN);
	sprintf(threads, "--threads=%d", THREADS);
	sprintf(tables, "--tables=%d", TABLES);
	sprintf(size, "--table-size=%d", TABLE_ROWS);
	while (*last)
		argv[n++] = *last++;
	if (pipe2(said, O_CLOEXEC) || (bench.pid = fork()) < 0)
		return fail("sysbench: %s", strerror(errno));
	if (!bench.pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(said[1], 1);
		dup2(said[1], 2);
		execvp(argv[0], argv);
		perror("FATAL: sysbench");
		_exit(127);
	}
	close(said[1]);
	bench.said = said[0];
	return true;
}

/* All that it said, when it has ended without an error. */
static const char *bench_end(void)
{
	static char text[1 << 14];
	size_t len = 0;
	char *error;
	int status;
	ssize_t n;

	while ((n = read(bench.said, text + len, sizeof(text) - 1 - len)) > 0)
		len += n;
	text[len] = '\0';
	close(bench.said);
	waitpid(bench.pid, &status, 0);
	error = strstr(text, "FATAL: ");
	if (!status && !error)
		return text;
	error = error ?: text;
	error[strcspn(error, "\n")] = '\0';
	fail("sysbench ended with status %#x: %s", status, error);
	return NULL;
}

/* Waits until each of its threads has confirmed @nr transactions in this run, as far as the database tells. */
static bool bench_has(int nr)
{
	const double until = now_ms() + PATIENCE_S * 1e3;
	char query[256];

	snprintf(query, sizeof(query), "SELECT COUNT(*) FROM (SELECT thread FROM bench.ledger WHERE run = %d GROUP BY thread HAVING MAX(n) >= %d) t",
		 bench.run, nr);
	do {
		siginfo_t ended = { 0 };

		waitid(P_PID, bench.pid, &ended, WEXITED | WNOHANG | WNOWAIT);
		if (ended.si_pid)
			return bench_end() && fail("sysbench ended before its time");
		if (!ask(&reader, query) || !answer(&reader, keep_only))
			return false;
		if (atoi(only) == THREADS)
			return true;
		usleep(100000);
	} while (!why[0] && now_ms() < until);
	return fail("sysbench: only %s threads of %d have done %d transactions", only, THREADS, nr);
}

static bool bench_begin(void)
{
	char run[24], while_file[64], *args[] = { "--time=0", "--events=0", run, while_file, "run", NULL };

	bench.go_on = open("/dev/null", O_RDONLY | O_CLOEXEC);
	sprintf(run, "--run=%d", ++bench.run);
	sprintf(while_file, "--while-file=/proc/%d/fd/%d", getpid(), bench.go_on);
	return bench_start(args) && bench_has(1);
}

static int figure(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p ? atoi(p + strlen(name)) : -1;
}

/* It went on for some time before this. */
static bool bench_finish(void)
{
	int transactions, deadlocks, sum = 0;
	const char *text;
	char name[32];
	bool went_on;

	went_on = ask(&reader, "SELECT MAX(n) FROM bench.ledger WHERE run = (SELECT MAX(run) FROM bench.ledger)") && answer(&reader, keep_only) &&
		  bench_has(atoi(only) + AFTER);
	close(bench.go_on);
	if (!went_on)
		return false;
	text = bench_end();
	if (!text)
		return false;
	for (int i = 0; i < THREADS; i++) {
		sprintf(name, "thread %d confirmed ", i);
		bench.confirmed[i] = figure(text, name);
		sum += bench.confirmed[i];
	}
	transactions = figure(text, "    transactions:");
	deadlocks = figure(text, "    ignored errors:");
	if (transactions != sum || deadlocks < 0 || figure(text, "    reconnects:"))
		return fail("sysbench: %d transactions, %d of them confirmed, %d deadlocks, %d reconnects", transactions, sum, deadlocks,
			    figure(text, "    reconnects:"));
	bench.transactions += transactions;
	bench.deadlocks += deadlocks;
	return true;
}

static bool bench_load(void)
{
	char *args[] = { "prepare", NULL };

	return done(&reader, "CREATE DATABASE bench") &&
	       done(&reader, "CREATE TABLE bench.ledger (run INT, thread INT, n INT, PRIMARY KEY (run, thread, n)) ENGINE=InnoDB") &&
	       bench_start(args) && bench_end();
}

/* Those that were confirmed, and no other; and of each transaction all or nothing: it takes a row away and puts one there. */
static bool bench_verify(void)
{
	char query[400], expected[32];

	for (int i = 0; i < THREADS; i++) {
		snprintf(query, sizeof(query), "SELECT CONCAT(COUNT(*), ' ', IFNULL(MAX(n), 0)) FROM bench.ledger WHERE run = %d AND thread = %d",
			 bench.run, i);
		snprintf(expected, sizeof(expected), "%d %d", bench.confirmed[i], bench.confirmed[i]);
		if (!is(&reader, query, expected))
			return false;
	}
	snprintf(expected, sizeof(expected), "%d", bench.transactions);
	if (!is(&reader, "SELECT COUNT(*) FROM bench.ledger", expected))
		return false;
	snprintf(expected, sizeof(expected), "%d 1", TABLE_ROWS);
	for (int i = 1; i <= TABLES; i++) {
		snprintf(query, sizeof(query), "SELECT CONCAT(p.n, ' ', p.n = s.n AND p.total = s.total) FROM "
			 "(SELECT COUNT(*) AS n, SUM(k * id) AS total FROM bench.sbtest%d FORCE INDEX (PRIMARY)) p, "
			 "(SELECT COUNT(*) AS n, SUM(k * id) AS total FROM bench.sbtest%d FORCE INDEX (k_%d) WHERE k >= 0) s", i, i, i);
		if (!is(&reader, query, expected))
			return false;
	}
	return true;
}

static bool load(void)
{
	if (!dial(&reader) || !dial(&writer) || !done(&reader, "CREATE DATABASE kept"))
		return false;
	if (!done(&reader, "CREATE TABLE kept.kept (id INT PRIMARY KEY, v VARCHAR(2000)) ENGINE=InnoDB") ||
	    !done(&reader, "CREATE TABLE kept.log (n INT PRIMARY KEY) ENGINE=InnoDB") ||
	    !done(&reader, "CREATE TABLE kept.account (id INT PRIMARY KEY, amount INT) ENGINE=InnoDB"))
		return false;
	for (int i = 1; i <= ACCOUNTS; i++)
		if (!done(&reader, "INSERT INTO kept.account VALUES (%d, %d)", i, AMOUNT))
			return false;
	if (!fill() || !done(&reader, "SET @mine = 'it was kept'") || !ask(&reader, "SELECT CONNECTION_ID()") || !answer(&reader, keep_only))
		return false;
	snprintf(thread_id, sizeof(thread_id), "%s", only);
	return bench_load();
}

static bool hold(void)
{
	writing = true;
	longest_ms = 0;
	return !pthread_create(&thread, NULL, write_on, NULL) && bench_begin();
}

static bool arrive(void)
{
	int was = transactions;
	bool finished = bench_finish();

	for (int i = 0; i < 600 && transactions < was + 3 && !why[0]; i++)
		usleep(100000);
	writing = false;
	pthread_join(thread, NULL);
	return finished && !why[0];
}

static int next_row;

static bool row_is_right(const char *a, const char *b)
{
	char number[16];

	next_row++;
	snprintf(number, sizeof(number), "%d", next_row);
	if (strcmp(a, number))
		return fail("row %s where %d was to come", a, next_row);
	return row_follows(b, next_row, WORDS);
}

static bool verify(void)
{
	char expected[32];

	next_row = 0;
	if (!ask(&reader, "SELECT id, v FROM kept.kept ORDER BY id") || !answer(&reader, row_is_right))
		return false;
	if (next_row != rows)
		return fail("%d rows instead of %d", next_row, rows);
	snprintf(expected, sizeof(expected), "%d", transactions);
	if (!is(&reader, "SELECT COUNT(*) FROM kept.log", expected) || !is(&reader, "SELECT IFNULL(MAX(n), 0) FROM kept.log", expected))
		return false;
	snprintf(expected, sizeof(expected), "%d", ACCOUNTS * AMOUNT);
	return is(&reader, "SELECT SUM(amount) FROM kept.account", expected) && is(&reader, "SELECT @mine", "it was kept") &&
	       is(&reader, "SELECT CONNECTION_ID()", thread_id) && bench_verify();
}

int main(int argc, char **argv)
{
	char phase[32];

	if (argc != 4)
		return 2;
	inet_pton(AF_INET, argv[1], &guest.sin_addr);
	bench.script = argv[3];
	rows = atoi(argv[2]) * 1024;
	while (scanf("%31s", phase) == 1) {
		bool ok = !strcmp(phase, "load") ? load() : !strcmp(phase, "hold") ? hold() : !strcmp(phase, "arrive") ? arrive() :
			  !strcmp(phase, "verify") ? verify() : true;

		printf("{\"phase\": \"%s\", \"ok\": %s", phase, ok ? "true" : "false");
		if (!strcmp(phase, "arrive"))
			printf(", \"gap_ms\": %.1f", longest_ms);
		if (!strcmp(phase, "verify"))
			printf(", \"rows\": %d, \"transactions\": %d, \"sysbench\": { \"runs\": %d, \"transactions\": %d, \"deadlocks\": %d }", rows,
			       transactions, bench.run, bench.transactions, bench.deadlocks);
		if (!ok)
			printf(", \"why\": \"%s\"", why);
		printf("}\n");
		fflush(stdout);
	}
	return 0;
}
