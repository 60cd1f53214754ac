// SPDX-License-Identifier: GPL-2.0
/*
 * Several CRIUs in step, with this program in CRIU's place: it writes down when it begins and ends each part of its work, and asks at the
 * barriers as CRIU does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "criu.h"
#include "criu_rpc.pb-c.h"
#include "ktap.h"
#include "util.h"

#define JOBS 5

static char dir[64], log_file[96];
static struct kup_err err;
static const char *refuse_at;	/* the step that fails */

static void write_down(const char *how, const char *what)
{
	char line[64];
	int fd = open(log_file, O_WRONLY | O_APPEND | O_CREAT, 0600), len = snprintf(line, sizeof(line), "%s%s\n", how, what);

	CHECK(fd >= 0 && write(fd, line, len) == len);
	close(fd);
}

/* Of the stand-in, a packet and its answer. */
static CriuReq *told(int sock)
{
	unsigned char packet[8192];
	ssize_t len = recv(sock, packet, sizeof(packet), 0);
	CriuReq *req = len > 0 ? criu_req__unpack(NULL, len, packet) : NULL;

	if (!req)
		exit(4);
	return req;
}

static void tell(int sock, CriuReqType type, bool success, char *script)
{
	CriuNotify notify = CRIU_NOTIFY__INIT;
	CriuResp resp = CRIU_RESP__INIT;
	unsigned char packet[8192];

	notify.script = script;
	resp.type = type;
	resp.success = success;
	resp.notify = script ? &notify : NULL;
	send(sock, packet, criu_resp__pack(&resp, packet), 0);
}

static void barrier(int sock, char *name)
{
	CriuReq *answer;

	tell(sock, CRIU_REQ_TYPE__NOTIFY, true, name);
	answer = told(sock);
	if (answer->type != CRIU_REQ_TYPE__NOTIFY || !answer->notify_success)
		exit(3);
	criu_req__free_unpacked(answer, NULL);
}

static bool marked(const char *how, const char *what)
{
	char mark[32];

	snprintf(mark, sizeof(mark), "%s-%s", how, what);
	return !access(mark, F_OK);
}

static FILE *errors;	/* of the stand-in: CRIU's log */

static void work(const char *what)
{
	write_down("+", what);
	fprintf(errors, "(00.000001) Error (criu/%s.c:1): trouble at %s\n", what, what);
	fflush(errors);
	usleep(30000);
	write_down("-", what);
	if (marked("fail", what))
		exit(1);
	if (marked("end", what))
		exit(0);
	if (marked("die", what))
		kill(getpid(), SIGKILL);
}

/* In CRIU's place: works in its directory of images, where a file says what fails. */
static int stand_in(int sock)
{
	CriuReq *req = told(sock);
	CriuOpts *o = req->opts;
	char path[64];

	snprintf(log_file, sizeof(log_file), "%s", getenv("LOG"));
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", getppid(), o->images_dir_fd);
	if (chdir(path) || !o->notify_scripts || !o->tcp_established || !o->has_work_dir_fd || strchr(o->log_file, '/'))
		return 5;
	snprintf(path, sizeof(path), "/proc/%d/fd/%d/%s", getppid(), o->work_dir_fd, o->log_file);
	errors = fopen(path, "w");
	if (!errors)
		return 5;
	work("start");
	if (req->type == CRIU_REQ_TYPE__DUMP) {
		if (!o->leave_running || !o->pid || !o->freeze_cgroup)
			return 5;
		barrier(sock, "pre-dump");
		barrier(sock, "network-lock");
		work("dump");
	} else {
		barrier(sock, "setup-namespaces");
		barrier(sock, "pre-restore");
		work("make");
		barrier(sock, "post-restore");
		work("put");
		barrier(sock, "pre-resume");
		work("let");
	}
	tell(sock, req->type, true, NULL);
	criu_req__free_unpacked(req, NULL);
	return 0;
}

static int at(void *ctx, const char *action, struct kup_err *e)
{
	(void)ctx;
	write_down("at ", action);
	return refuse_at && !strcmp(refuse_at, action) ? kup_err_set(e, -ENOSPC, "no") : 0;
}

static int run_on(int cpus, enum kup_criu_mode mode, const char *mark)
{
	struct kup_criu criu = { .version = 40000 };
	struct kup_criu_job jobs[JOBS] = { 0 };
	struct kup_criu_run run = { .mode = mode, .criu = &criu, .jobs = jobs, .nr = JOBS, .cancel = -1, .at = at };
	cpu_set_t all, few;
	char cmd[1024];
	int i, n, ret;

	snprintf(cmd, sizeof(cmd), "rm -rf %s/images-* %s; mkdir %s/images-0 %s/images-1 %s/images-2 %s/images-3 %s/images-4; %s%s%s%s", dir, log_file,
		 dir, dir, dir, dir, dir, mark ? "touch " : "true", mark ? dir : "", mark ? "/" : "", mark ?: "");
	CHECK(!system(cmd));
	snprintf(criu.program, sizeof(criu.program), "/proc/self/exe");
	for (i = 0; i < JOBS; i++) {
		jobs[i].root = 100 + i;
		jobs[i].freeze_dir = dir;
		snprintf(jobs[i].images, sizeof(jobs[i].images), "%s/images-%d", dir, i);
	}
	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&few);
	for (i = n = 0; i < CPU_SETSIZE && n < cpus; i++)
		if (CPU_ISSET(i, &all)) {
			CPU_SET(i, &few);
			n++;
		}
	sched_setaffinity(0, sizeof(few), &few);
	ret = kup_criu_run_all(&run, &err);
	sched_setaffinity(0, sizeof(all), &all);
	for (i = 0; i < JOBS; i++)
		CHECK(!jobs[i].child && jobs[i].pidfd < 0 && jobs[i].conn < 0);
	return ret;
}

/* How often a line is in the log, of which all lines have to be there before @before is (NULL: there need be none). */
static int times(const char *what, const char *before)
{
	char *log = kup_slurp(log_file, NULL), *line, *save = NULL;
	bool seen = false;
	int n = 0;

	for (line = log ? strtok_r(log, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		seen |= before && !strcmp(line, before);
		n += !seen && !strcmp(line, what);
	}
	free(log);
	return n;
}

/* How many were at work at once. */
static int most_at_once(void)
{
	char *log = kup_slurp(log_file, NULL), *line, *save = NULL;
	int n = 0, most = 0;

	for (line = log ? strtok_r(log, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save)) {
		n += *line == '+' ? 1 : *line == '-' ? -1 : 0;
		most = n > most ? n : most;
	}
	CHECK(!n);
	free(log);
	return most;
}

static void setup(void)
{
	/* What they have in /run/kup-ppp is of this program alone. */
	CHECK(!unshare(CLONE_NEWNS) && !mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) && !mount("none", "/run", "tmpfs", 0, NULL));
	strcpy(dir, "/tmp/kup-criu.XXXXXX");
	CHECK(mkdtemp(dir));
	snprintf(log_file, sizeof(log_file), "%s/log", dir);
	setenv("LOG", log_file, 1);
}

static void test_dump(void)
{
	CHECK(!run_on(1, KUP_CRIU_DUMP, NULL));
	CHECK(times("-start", "at pre-dump") == JOBS && times("at pre-dump", "+dump") == 1 && times("-dump", NULL) == JOBS);
	CHECK(most_at_once() == 1);
}

static void test_restore(void)
{
	CHECK(!run_on(1, KUP_CRIU_RESTORE, NULL));
	CHECK(times("-start", "at pre-restore") == JOBS && times("at pre-restore", "+make") == 1);
	CHECK(times("-make", "at post-restore") == JOBS && times("at post-restore", "+put") == 1);
	CHECK(times("-put", "at pre-resume") == JOBS && times("at pre-resume", "+let") == 1 && times("-let", NULL) == JOBS);
	CHECK(most_at_once() == 1);
}

static void test_parallel(void)
{
	cpu_set_t all;
	int cpus;

	sched_getaffinity(0, sizeof(all), &all);
	cpus = CPU_COUNT(&all) > 1 ? 2 : 1;
	CHECK(!run_on(cpus, KUP_CRIU_RESTORE, NULL));
	CHECK_FOR(most_at_once() == cpus, "%d CPUs", cpus);
	CHECK(times("-put", "at pre-resume") == JOBS && times("-let", NULL) == JOBS);
}

static void test_fails_early(void)
{
	CHECK(run_on(1, KUP_CRIU_DUMP, "images-2/fail-start") == -EIO && strstr(err.what, "of pid 102") &&
	      strstr(err.what, "trouble at start"));
	CHECK(!times("at pre-dump", NULL) && !times("+dump", NULL));
	CHECK(run_on(2, KUP_CRIU_RESTORE, "images-0/fail-start") == -EIO && strstr(err.what, "of pid 100"));
	CHECK(!times("at pre-restore", NULL) && !times("+make", NULL));
}

static void test_fails_late(void)
{
	/* those whose turn has not come do not begin */
	CHECK(run_on(1, KUP_CRIU_DUMP, "images-0/fail-dump") == -EIO && strstr(err.what, "of pid 100") && strstr(err.what, "trouble at dump"));
	CHECK(times("at pre-dump", NULL) == 1 && times("+dump", NULL) == 1);
	CHECK(run_on(1, KUP_CRIU_RESTORE, "images-3/fail-put") == -EIO && strstr(err.what, "of pid 103"));
	CHECK(times("+put", NULL) == 4 && !times("at pre-resume", NULL) && !times("+let", NULL));
}

static void test_step_fails(void)
{
	refuse_at = "post-restore";
	CHECK(run_on(2, KUP_CRIU_RESTORE, NULL) == -ENOSPC);
	CHECK(times("-make", NULL) == JOBS && !times("+put", NULL));
	refuse_at = NULL;
}

static void test_ends_early(void)
{
	CHECK(run_on(1, KUP_CRIU_DUMP, "images-1/end-start") == -EIO && strstr(err.what, "of pid 101"));
	CHECK(!times("at pre-dump", NULL) && !times("+dump", NULL));
}

static void test_killed(void)
{
	/* after the first barrier it may hold tasks */
	CHECK(run_on(1, KUP_CRIU_DUMP, "images-1/die-dump") == -EOWNERDEAD && strstr(err.what, "killed by signal 9"));
	CHECK(run_on(1, KUP_CRIU_DUMP, "images-1/die-start") == -EIO && strstr(err.what, "killed by signal 9"));
}

/* It never asks what it is to do. */
static void test_no_criu(void)
{
	struct kup_criu criu = { .program = "/bin/true", .version = 40000 };
	struct kup_criu_job job = { .root = 100, .freeze_dir = dir };
	struct kup_criu_run run = { .mode = KUP_CRIU_DUMP, .criu = &criu, .jobs = &job, .nr = 1, .cancel = -1, .at = at };

	snprintf(job.images, sizeof(job.images), "%s", dir);
	CHECK(kup_criu_run_all(&run, &err) == -EIO && strstr(err.what, "no error in its log"));
	strcpy(criu.program, "/nowhere");
	CHECK(kup_criu_run_all(&run, &err) == -ENOENT && strstr(err.what, "starting /nowhere"));
	CHECK(job.conn < 0 && job.images_fd < 0 && !job.child);
}

static void teardown(void)
{
	kup_remove_tree(dir);
	CHECK(access(dir, F_OK));
}

static const struct ktap_test tests[] = {
	{ "setup", setup },
	{ "dump: all start, then the step, then all dump, one at a time", test_dump },
	{ "restore: three barriers, one at a time", test_restore },
	{ "with two CPUs two at a time", test_parallel },
	{ "one that fails at its start ends all", test_fails_early },
	{ "one that fails later ends all whose turn has not come", test_fails_late },
	{ "a step that fails ends all", test_step_fails },
	{ "one that ends without a word ends all", test_ends_early },
	{ "one that is killed", test_killed },
	{ "a program that is not CRIU", test_no_criu },
	{ "teardown", teardown },
};

int main(int argc, char **argv)
{
	return argc == 4 && !strcmp(argv[2], "swrk") ? stand_in(atoi(argv[3])) : ktap_run(tests, KUP_ARRAY_SIZE(tests));
}
