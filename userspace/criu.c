// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <kup/handover.h>

#include "criu.h"
#include "criu_rpc.h"
#include "kernel.h"
#include "kup.h"
#include "util.h"

#define LOG_DIR		KUP_RUN_DIR "/log"

extern char **environ;

static const char *const barriers[][4] = {
	[KUP_CRIU_DUMP] = { "pre-dump", NULL },
	[KUP_CRIU_RESTORE] = { "pre-restore", "post-restore", "pre-resume", NULL },
};

int kup_criu_find(const char *program, struct kup_criu *criu, struct kup_err *err)
{
	char out[256], *p;
	int v[3] = { 0 };
	int ret;

	*criu = (struct kup_criu){ 0 };
	snprintf(criu->program, sizeof(criu->program), "%s", program ?: "criu");
	ret = kup_run((char *[]){ criu->program, "--version", NULL }, out, sizeof(out));
	p = strstr(out, "Version: ");
	if (ret < 0 || !p || sscanf(p, "Version: %d.%d.%d", &v[0], &v[1], &v[2]) < 2) {
		kup_err_set(err, -ENOENT, "%s --version: %s", criu->program, ret < 0 ? strerror(-ret) : kup_last_line(out));
		kup_err_next(err, "install criu (3.17 or later; 4.2 or later from Linux 6.16 on), or name one by `criu =` in %s",
			     "/etc/kup-ppp.conf");
		return -ENOENT;
	}
	criu->version = v[0] * 10000 + v[1] * 100 + v[2];
	snprintf(criu->text, sizeof(criu->text), "%d.%d.%d", v[0], v[1], v[2]);
	return 0;
}

/*
 * What a CRIU must be, to dump on a kernel or to restore on it. The last line that a kernel is not older than counts. Each is
 * something that fails for every process, or for every one with a socket; what only some processes have is carry_fd.c's and
 * carry_vma.c's.
 */
static const struct {
	int since;	/* of the kernel: major * 1000 + minor */
	int version;
	const char *text, *why, *debian;
} needed[] = {
	/* rseq areas are registered by libc since 2.35; without its cgroup v2 freezer no tree can be held still */
	{ 0, 31700, "3.17", "rseq and the freezer of cgroup v2", "bookworm" },
	/* 6.13 splits [vvar_vclock] off [vvar]: "Unexpected rt vDSO area bounds", checkpoint-restore/criu issue 2532 */
	{ 6013, 40100, "4.1", "the vDSO's area is laid out anew", "trixie" },
	/* 6.16 has SO_PASSCRED and SO_PASSSEC on AF_UNIX and AF_NETLINK only: "Can't get 1:16 opt", issue 2705 */
	{ 6016, 40200, "4.2", "TCP sockets have no SO_PASSCRED any more", "sid" },
};

int kup_criu_fits(const struct kup_criu *criu, const char *release, struct kup_err *err)
{
	int kernel = kup_release_major_minor(release);
	size_t i, n = 0;

	for (i = 0; i < KUP_ARRAY_SIZE(needed); i++)
		if (kernel >= needed[i].since)
			n = i;
	if (criu->version >= needed[n].version)
		return 0;
	kup_err_set(err, -ENOTSUP, "%s is version %s, but Linux %s needs %s or later: %s", criu->program, criu->text, release,
		    needed[n].text, needed[n].why);
	kup_err_next(err, "install criu %s (Debian %s has it) here and in the new kernel's initrd, or name it by `criu =` in "
			  "/etc/kup-ppp.conf", needed[n].text, needed[n].debian);
	return -ENOTSUP;
}

int kup_criu_reads(const struct kup_criu *criu, const char *dumped_by, struct kup_err *err)
{
	int v[3] = { 0 };

	sscanf(dumped_by, "%d.%d.%d", &v[0], &v[1], &v[2]);
	if (criu->version >= v[0] * 10000 + v[1] * 100 + v[2])
		return 0;
	kup_err_set(err, -ENOTSUP, "%s is version %s here, the images are of version %s", criu->program, criu->text, dumped_by);
	kup_err_next(err, "name a criu %s by `kup-ppp restore --criu`; the memory is still kept", dumped_by);
	return -ENOTSUP;
}

int kup_criu_warm(const char *program, struct kup_err *err)
{
	char dir[] = KUP_RUN_DIR "/warm.XXXXXX", name[256], out[1024];
	int ret;

	if (!mkdtemp(dir))
		return kup_err_set(err, -errno, "%s: %s", dir, strerror(errno));
	snprintf(name, sizeof(name), "%s", program ?: "criu");
	ret = kup_run((char *[]){ name, "cpuinfo", "dump", "--images-dir", dir, "--log-file", "log", NULL }, out, sizeof(out));
	if (ret) {
		char *log = kup_slurpf("%s/log", dir);

		kup_err_set(err, ret < 0 ? ret : -EIO, "%s doesn't work on this kernel: %s", name,
			    ret < 0 ? strerror(-ret) : kup_last_line(log && *log ? log : out));
		kup_err_next(err, "`criu check` says more; the modules unix_diag, tcp_diag, udp_diag, netlink_diag, af_packet_diag, "
				  "veth, tun and nf_tables may be missing");
		ret = ret < 0 ? ret : -EIO;
		free(log);
	}
	kup_remove_tree(dir);
	return ret;
}

/* The first error in it, or the first that a task had, its pid before it; nothing if there is none. */
static void first_error(char *log, char *buf, size_t size)
{
	char *line, *save = NULL, *p;
	bool of_task = false;

	for (line = strtok_r(log, "\n", &save); line && !of_task; line = strtok_r(NULL, "\n", &save)) {
		p = strstr(line, "Error (");
		of_task = p && p - line >= 3 && isdigit((unsigned char)p[-3]);
		if (p && (!buf[0] || of_task) && !strstr(p, "exited, status=") && (p = strstr(p, "): ")))
			snprintf(buf, size, "%s", p + 3);
	}
}

/*
 * The cause is the first error of the log. But what CRIU finds missing in the kernel is reported as an error as well, most of it when it starts: what
 * comes later counts more.
 */
static void explain(const struct kup_criu_job *j, char *buf, size_t size)
{
	size_t len = 0;
	char *log = kup_slurp(j->log, &len);

	buf[0] = '\0';
	if (log && j->started < len)
		first_error(log + j->started, buf, size);
	if (log && !buf[0])
		first_error(log, buf, size);
	free(log);
	if (buf[0])
		return;
	log = kup_slurp(j->out, NULL);
	snprintf(buf, size, "%s", log && *kup_trim(log) ? kup_last_line(log) : "no error in its log");
	free(log);
}

/* A CRIU that waits to be told what to do, by its descriptor 3. */
static int spawn(const struct kup_criu_run *run, struct kup_criu_job *j, int sock)
{
	const char *argv[] = { run->criu->program, "--no-default-config", "swrk", "3", NULL };
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, dfl;
	int ret;

	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&fa, 1, j->out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&fa, 1, 2);
	posix_spawn_file_actions_adddup2(&fa, sock, 3);
	/* A process group of its own: ^C is for us to handle. */
	sigemptyset(&none);
	sigfillset(&dfl);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, (j->new_session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP) | POSIX_SPAWN_SETSIGMASK |
				 POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &dfl);
	ret = posix_spawnp(&j->child, argv[0], &fa, &attr, (char **)argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return ret;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void hang_up(struct kup_criu_job *j)
{
	close_one(&j->conn);
	j->asks = false;
}

/* When there is no process of it. */
static void clear(struct kup_criu_job *j)
{
	hang_up(j);
	close_one(&j->pidfd);
	close_one(&j->images_fd);
	j->child = 0;
}

static int start(const struct kup_criu_run *run, struct kup_criu_job *j, struct kup_err *err)
{
	const char *verb = run->mode == KUP_CRIU_DUMP ? "dump" : "restore";
	char name[32];
	int sock[2], ret;

	snprintf(name, sizeof(name), "%s-%d.log", verb, j->root);
	snprintf(j->log, sizeof(j->log), LOG_DIR "/%s", name);
	snprintf(j->out, sizeof(j->out), LOG_DIR "/%s-%d.out", verb, j->root);
	unlink(j->log);
	j->images_fd = open(j->images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (j->images_fd < 0)
		return kup_err_set(err, -errno, "%s: %s", j->images, strerror(errno));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock)) {
		ret = kup_err_set(err, -errno, "a socket for %s: %s", run->criu->program, strerror(errno));
		clear(j);
		return ret;
	}
	j->conn = sock[0];
	ret = spawn(run, j, sock[1]);
	close(sock[1]);
	if (ret) {
		clear(j);
		return kup_err_set(err, -ret, "starting %s: %s", run->criu->program, strerror(ret));
	}
	j->pidfd = syscall(SYS_pidfd_open, j->child, 0);
	/* If it is not told it ends, and that it did is seen then. */
	if (kup_rpc_ask(j->conn, run, j, j->images_fd, run->logs, name))
		hang_up(j);
	return 0;
}

static void answer(struct kup_criu_job *j, bool go_on)
{
	if (!j->asks)
		return;
	j->asks = false;
	kup_rpc_answer(j->conn, go_on);
}

static void reap(struct kup_criu_job *j)
{
	while (waitpid(j->child, &j->status, 0) < 0 && errno == EINTR)
		;
	clear(j);
}

static bool is_barrier(const struct kup_criu_run *run, const char *name)
{
	for (size_t i = 0; barriers[run->mode][i]; i++)
		if (!strcmp(barriers[run->mode][i], name))
			return true;
	return false;
}

static void hear(const struct kup_criu_run *run, struct kup_criu_job *j)
{
	char script[32];
	struct stat log;

	if (!kup_rpc_hear(j->conn, script, sizeof(script))) {
		hang_up(j);
		return;
	}
	j->asks = true;
	if (!is_barrier(run, script))
		answer(j, true);
	else if (!j->barrier && !stat(j->log, &log))
		j->started = log.st_size;
}

static int cancelled(int fd, struct kup_err *err)
{
	struct signalfd_siginfo si = { 0 };

	if (read(fd, &si, sizeof(si)) < 0 && errno == EAGAIN)
		return 0;
	kup_err_set(err, -EINTR, "interrupted by signal %u (%s)", si.ssi_signo, strsignal(si.ssi_signo) ?: "?");
	return -EINTR;
}

/* As many at a time as there are CPUs: more only get in each other's way, at nftables' one lock above all. */
static size_t limit(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof(cpus), &cpus) ? 1 : CPU_COUNT(&cpus);
}

struct count {
	size_t alive;
	size_t at_barrier;	/* of these, wait for the others */
	size_t queued;		/* and these for their turn */
};

static struct count count(const struct kup_criu_run *run)
{
	struct count c = { 0 };
	size_t i;

	for (i = 0; i < run->nr; i++) {
		const struct kup_criu_job *j = &run->jobs[i];

		c.alive += j->child != 0;
		if (j->asks && j->barrier == run->passed)
			c.at_barrier++;
		else if (j->asks)
			c.queued++;
	}
	return c;
}

/* Lets the next one go on: from the barrier behind which it waits for its turn, or from its start. Return: 1 if there was one. */
static int next_turn(struct kup_criu_run *run, struct kup_err *err)
{
	size_t i;
	int ret;

	for (i = 0; i < run->nr; i++) {
		struct kup_criu_job *j = &run->jobs[i];

		if (!j->asks || j->barrier == run->passed)
			continue;
		j->barrier++;
		answer(j, true);
		return 1;
	}
	if (run->started == run->nr)
		return 0;
	ret = start(run, &run->jobs[run->started], err);
	if (ret)
		return ret;
	run->started++;
	return 1;
}

/* Everybody is there. */
static int pass_barrier(struct kup_criu_run *run, struct kup_err *err)
{
	const char *name = barriers[run->mode][run->passed];

	if (!name)
		return kup_err_set(err, -EPROTO, "criu asked once more than it has barriers");
	run->passed++;
	return run->at(run->ctx, name, err);
}

/* After a failure nobody goes on: who comes to a barrier, or waits behind one, gets a no. */
static void refuse_all(struct kup_criu_run *run)
{
	size_t i;

	for (i = 0; i < run->nr; i++)
		answer(&run->jobs[i], false);
}

static void ended(struct kup_criu_run *run, struct kup_criu_job *j, int *failed, struct kup_err *err)
{
	bool killed;
	char why[160];

	reap(j);
	if (*failed || (!j->status && !barriers[run->mode][j->barrier]))
		return;
	killed = WIFSIGNALED(j->status);
	if (killed)
		snprintf(why, sizeof(why), "killed by signal %d", WTERMSIG(j->status));
	else
		explain(j, why, sizeof(why));
	*failed = kup_err_set(err, killed && j->barrier ? -EOWNERDEAD : -EIO, "criu %s of pid %d (%s): %s",
			      run->mode == KUP_CRIU_DUMP ? "dump" : "restore", j->root, j->comm, why);
	kup_err_next(err, "the whole log is %s (--verbose makes it longer)", j->log);
}

static int loop(struct kup_criu_run *run, struct kup_err *err)
{
	const size_t most = limit();
	struct pollfd pfd[1 + 2 * run->nr], *ends = pfd + 1, *says = ends + run->nr;
	int failed = 0, ret;
	struct count c;
	size_t i;

	for (;;) {
		c = count(run);
		if (failed) {
			if (!c.alive)
				return failed;
			refuse_all(run);
		} else {
			ret = c.alive - c.at_barrier - c.queued < most ? next_turn(run, err) : 0;
			if (ret > 0)
				continue;
			if (!ret && !c.alive)
				return 0;
			if (!ret && c.at_barrier == run->nr)
				ret = pass_barrier(run, err);
			if (ret) {
				failed = ret;
				continue;
			}
			if (c.at_barrier == run->nr)
				continue;
		}
		pfd[0] = (struct pollfd){ .fd = failed == -EINTR ? -1 : run->cancel, .events = POLLIN };
		for (i = 0; i < run->nr; i++) {
			ends[i] = (struct pollfd){ .fd = run->jobs[i].child ? run->jobs[i].pidfd : -1, .events = POLLIN };
			says[i] = (struct pollfd){ .fd = run->jobs[i].conn, .events = POLLIN };
		}
		if (poll(pfd, KUP_ARRAY_SIZE(pfd), -1) < 0) {
			if (errno == EINTR)
				continue;
			return kup_err_set(err, -errno, "poll: %s", strerror(errno));
		}
		if (pfd[0].revents && !failed)
			failed = cancelled(run->cancel, err);
		for (i = 0; i < run->nr; i++) {
			if (says[i].revents)
				hear(run, &run->jobs[i]);
			if (ends[i].revents)
				ended(run, &run->jobs[i], &failed, err);
		}
	}
}

int kup_criu_run_all(struct kup_criu_run *run, struct kup_err *err)
{
	int ret = 0;
	size_t i;

	for (i = 0; !run->nr && barriers[run->mode][i] && !ret; i++)
		ret = run->at(run->ctx, barriers[run->mode][i], err);
	if (!run->nr)
		return ret;
	kup_mkdirs(LOG_DIR, 0700);
	run->logs = open(LOG_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (run->logs < 0)
		return kup_err_set(err, -errno, LOG_DIR ": %s", strerror(errno));
	for (i = 0; i < run->nr; i++) {
		run->jobs[i].conn = run->jobs[i].pidfd = run->jobs[i].images_fd = -1;
		run->jobs[i].child = run->jobs[i].barrier = 0;
		run->jobs[i].started = 0;
		run->jobs[i].asks = false;
	}
	run->passed = 0;
	run->started = 0;
	ret = loop(run, err);
	close(run->logs);
	return ret;
}

uint64_t kup_criu_image_pages(const char *images)
{
	uint64_t bytes = 0;
	struct dirent *d;
	struct stat st;
	DIR *dir = opendir(images);

	while (dir && (d = readdir(dir)))
		if (!strncmp(d->d_name, "pages-", 6) && !fstatat(dirfd(dir), d->d_name, &st, 0))
			bytes += st.st_size;
	if (dir)
		closedir(dir);
	return bytes / KUP_FRAME_SIZE;
}
