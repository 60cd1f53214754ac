// SPDX-License-Identifier: GPL-2.0
/*
 * The root of the process tree that lives through the switch: starts one process for each test of `dirty`, lets them go on
 * one at a time when the switch is over, and collects one KTAP stream of all.
 *
 *   DIR/ready   made when every test has filled its memory
 *   DIR/go      whoever waits for `ready` makes it in the new kernel: the drainer is held, the tests may begin
 *   DIR/result.ktap, then DIR/done (text: the exit status)
 *
 * While it waits it holds no file open but pipes, so that any CRIU can carry it. The go file counts only under another
 * boot id: one that is left over from before the switch starts nothing.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dirty.h"

#define MAX_TESTS	256
#define READY_SECONDS	300
#define TEST_SECONDS	300
#define HELD_PERCENT	90	/* of the filled pages must be unbound when their test begins */

struct test {
	char name[64];
	pid_t pid;
	int ready, go, out;
	bool passed, skipped, zeros;	/* zeros: it checks that something reads as zero */
	size_t held, pages;
};

static struct test tests[MAX_TESTS];
static unsigned int nr_tests;
static const char *dir = "/run/dirty";
static const char *program, *sabotage, *only, *without;
static unsigned int part, parts = 1;
static bool no_switch, drained, same_boot;
static FILE *result;

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(result, fmt, ap);
	va_end(ap);
	fflush(result);
}

static const char *in_dir(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void boot_id(char id[64])
{
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (!f || !fgets(id, 64, f))
		err(1, "/proc/sys/kernel/random/boot_id");
	fclose(f);
}

static bool among(const char *list, const char *name)
{
	size_t len = strlen(name);

	while (list && (strncmp(list, name, len) || (list[len] && list[len] != ','))) {
		list = strchr(list, ',');
		list = list ? list + 1 : NULL;
	}
	return list;
}

static void list_tests(void)
{
	char command[PATH_MAX + 16], line[64];
	unsigned int n = 0;
	FILE *f;

	snprintf(command, sizeof(command), "'%s' --list", program);
	f = popen(command, "re");
	if (!f)
		err(1, "%s", command);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if ((only && !among(only, line)) || among(without, line) || n++ % parts != part)
			continue;
		if (nr_tests == MAX_TESTS)
			errx(1, "more than %d tests", MAX_TESTS);
		strcpy(tests[nr_tests++].name, line);
	}
	if (pclose(f) || !nr_tests)
		errx(1, "%s: no tests", command);
}

static void start(struct test *t)
{
	char dir_arg[PATH_MAX], sabotage_arg[64];
	int ready[2], go[2], out[2], null;
	char *argv[] = { (char *)program, "--run", t->name, dir_arg, sabotage ? sabotage_arg : NULL, NULL };

	snprintf(dir_arg, sizeof(dir_arg), "--dir=%s", dir);
	if (sabotage)
		snprintf(sabotage_arg, sizeof(sabotage_arg), "--sabotage=%s", sabotage);
	if (pipe2(ready, O_CLOEXEC) || pipe2(go, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		err(1, "pipe");
	t->pid = fork();
	if (t->pid < 0)
		err(1, "fork");
	if (!t->pid) {
		/* out of the way of the low numbers first */
		int r = fcntl(ready[1], F_DUPFD_CLOEXEC, 64), g = fcntl(go[0], F_DUPFD_CLOEXEC, 64);
		int o = fcntl(out[1], F_DUPFD_CLOEXEC, 64);

		null = open("/dev/null", O_RDONLY);
		if (r < 0 || g < 0 || o < 0 || null < 0 || dup2(null, 0) < 0 || dup2(o, 1) < 0 || dup2(o, 2) < 0 ||
		    dup2(r, DIRTY_FD_READY) < 0 || dup2(g, DIRTY_FD_GO) < 0)
			err(1, "descriptors");
		if (null > DIRTY_FD_GO)
			close(null);
		setsid();
		execv(program, argv);
		err(1, "%s", program);
	}
	close(ready[1]);
	close(go[0]);
	close(out[1]);
	t->ready = ready[0];
	t->go = go[1];
	t->out = out[0];
}

static void await_ready(struct test *t)
{
	struct pollfd pfd = { .fd = t->ready, .events = POLLIN };
	char c;

	if (poll(&pfd, 1, READY_SECONDS * 1000) == 1 && read(t->ready, &c, 1) == 1)
		return;
	/* What it had to say is in its pipe; finish() reports it. */
	fprintf(stderr, "%s: not ready\n", t->name);
	kill(-t->pid, SIGKILL);
	kill(t->pid, SIGKILL);
	close(t->go);
	t->go = -1;
}

static void await_switch(void)
{
	const struct timespec pause = { .tv_nsec = 100000000 };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char before[64], now[64];

	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		err(1, "/dev/null");
	close(null);
	boot_id(before);
	if (!mkdir(dir, 0755) || errno == EEXIST) {
		int fd = open(in_dir("ready"), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

		if (fd < 0)
			err(1, "%s", in_dir("ready"));
		close(fd);
	}
	do {
		nanosleep(&pause, NULL);
		boot_id(now);
	} while ((!same_boot && !strcmp(before, now)) || access(in_dir("go"), F_OK));
}

/* One line of a test's own KTAP stream: its result is kept, its plan and version dropped, all else is shown. */
static void digest(struct test *t, const char *line)
{
	static const char *const chatter[] = {
		"TAP version", "1..", "ok 1 ", "not ok 1 ", "# Totals:", "#  RUN ", "# Starting ", "#            OK ",
		"#          FAIL ", "# PASSED:", "# FAILED:",
	};
	size_t held, pages;
	unsigned int i;

	if (sscanf(line, "# held %zu of %zu pages", &held, &pages) == 2) {
		t->held += held;
		t->pages += pages;
	}
	if (!strcmp(line, "# expects zeros")) {
		t->zeros = true;
		return;
	}
	if (!strncmp(line, "ok 1 ", 5)) {
		t->passed = true;
		t->skipped = strstr(line, "# SKIP") != NULL;
	}
	for (i = 0; i < sizeof(chatter) / sizeof(chatter[0]); i++)
		if (!strncmp(line, chatter[i], strlen(chatter[i])))
			return;
	say("# %s: %s\n", t->name, line + strspn(line, "# "));
}

static void finish(struct test *t, unsigned int number)
{
	struct pollfd pfd = { .fd = t->out, .events = POLLIN };
	char buf[4096];
	size_t used = 0;
	ssize_t n;

	if (t->go >= 0 && write(t->go, "", 1) != 1)
		say("# %s: is gone\n", t->name);
	for (;;) {
		char *line = buf, *end;

		if (poll(&pfd, 1, TEST_SECONDS * 1000) == 0) {
			say("# %s: took more than %d s\n", t->name, TEST_SECONDS);
			kill(-t->pid, SIGKILL);
		}
		n = read(t->out, buf + used, sizeof(buf) - 1 - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += n;
		buf[used] = 0;
		while ((end = strchr(line, '\n'))) {
			*end = 0;
			digest(t, line);
			line = end + 1;
		}
		used -= line - buf;
		memmove(buf, line, used);
		if (used == sizeof(buf) - 1)
			used = 0;
	}
	waitpid(t->pid, NULL, 0);
	close(t->out);
	say("%s %u %s%s\n", t->passed ? "ok" : "not ok", number, t->name, t->skipped ? " # SKIP" : "");
}

/* Every test must notice the damage that it is asked to notice. */
static int judge_sabotage(void)
{
	unsigned int i, missed = 0, due = 0;

	for (i = 0; i < nr_tests; i++) {
		bool must_fail = !strcmp(sabotage, "lose") || tests[i].zeros;

		due += must_fail;
		if (must_fail && tests[i].passed) {
			say("# %s: did not notice\n", tests[i].name);
			missed++;
		}
	}
	say("# sabotage=%s: %u of %u tests noticed\n", sabotage, due - missed, due);
	return missed || !due;
}

static int judge(unsigned int number)
{
	size_t held = 0, pages = 0;
	unsigned int i, failed = 0;
	bool ok;

	for (i = 0; i < nr_tests; i++) {
		failed += !tests[i].passed;
		held += tests[i].held;
		pages += tests[i].pages;
	}
	ok = no_switch || drained || held * 100 >= pages * HELD_PERCENT;
	say("%s %u memory_was_unbound # %zu of %zu pages\n", ok ? "ok" : "not ok", number, held, pages);
	say("# Totals: pass:%u fail:%u\n", nr_tests - failed + ok, failed + !ok);
	return failed || !ok;
}

static void usage(FILE *f)
{
	fputs("usage: dirty_launch [OPTION]... [PROGRAM]\n"
	      "  --dir=DIR            where ready, go, result.ktap and done are (default /run/dirty)\n"
	      "  --only=TEST,...      these tests only\n"
	      "  --without=TEST,...   all but these\n"
	      "  --part=K/N           every N-th test, from the K-th on\n"
	      "  --no-switch          do not wait for a switch; the result goes to stdout too\n"
	      "  --same-boot          the go file counts in this kernel as well\n"
	      "  --drained            memory need not be unbound when the tests begin\n"
	      "  --sabotage=lose      self-test: damage every filled page; each test must fail\n"
	      "  --sabotage=resurrect self-test: a byte where zeros are due; each test that checks zeros must fail\n"
	      "PROGRAM is the file `dirty`; default: beside this one.\n", f);
}

int main(int argc, char **argv)
{
	static char beside[PATH_MAX];
	unsigned int i;
	int a, ret;

	for (a = 1; a < argc; a++) {
		if (!strncmp(argv[a], "--dir=", 6)) {
			dir = argv[a] + 6;
		} else if (!strncmp(argv[a], "--only=", 7)) {
			only = argv[a] + 7;
		} else if (!strncmp(argv[a], "--without=", 10)) {
			without = argv[a] + 10;
		} else if (sscanf(argv[a], "--part=%u/%u", &part, &parts) == 2 && part >= 1 && part <= parts) {
			part--;
		} else if (!strcmp(argv[a], "--no-switch")) {
			no_switch = true;
		} else if (!strcmp(argv[a], "--same-boot")) {
			same_boot = true;
		} else if (!strcmp(argv[a], "--drained")) {
			drained = true;
		} else if (!strcmp(argv[a], "--sabotage=lose") || !strcmp(argv[a], "--sabotage=resurrect")) {
			sabotage = argv[a] + 11;
		} else if (!strcmp(argv[a], "--help")) {
			usage(stdout);
			return 0;
		} else if (argv[a][0] != '-' && !program) {
			program = argv[a];
		} else {
			usage(stderr);
			return 2;
		}
	}
	if (!program) {
		char *slash;

		if (readlink("/proc/self/exe", beside, sizeof(beside) - 1) < 0)
			err(1, "/proc/self/exe");
		slash = strrchr(beside, '/');
		strcpy(slash + 1, "dirty");
		program = beside;
	}
	signal(SIGPIPE, SIG_IGN);
	mkdir(dir, 0755);
	list_tests();
	for (i = 0; i < nr_tests; i++)
		start(&tests[i]);
	for (i = 0; i < nr_tests; i++)
		await_ready(&tests[i]);
	if (!no_switch)
		await_switch();

	mkdir(dir, 0755);
	result = no_switch ? stdout : fopen(in_dir("result.ktap"), "we");
	if (!result)
		err(1, "%s", in_dir("result.ktap"));
	say("TAP version 13\n1..%u\n", nr_tests + 1);
	for (i = 0; i < nr_tests; i++)
		finish(&tests[i], i + 1);
	ret = sabotage ? judge_sabotage() : judge(nr_tests + 1);
	if (!no_switch) {
		FILE *f;

		fclose(result);
		f = fopen(in_dir("done"), "we");
		if (!f)
			err(1, "%s", in_dir("done"));
		fprintf(f, "%d\n", ret);
		fclose(f);
	}
	return ret;
}
