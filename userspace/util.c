// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kup.h"
#include "util.h"

extern char **environ;

char *kup_slurp(const char *path, size_t *len)
{
	size_t size = 4096, used = 0;
	char *buf = NULL, *bigger;
	ssize_t n;
	int fd, saved;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	do {
		bigger = realloc(buf, size);
		if (!bigger)
			goto err;
		buf = bigger;
		while ((n = read(fd, buf + used, size - 1 - used)) > 0)
			used += n;
		if (n < 0 && errno != EINTR)
			goto err;
		size *= 2;
	} while (n != 0 || used == size / 2 - 1);
	close(fd);
	buf[used] = '\0';
	if (len)
		*len = used;
	return buf;
err:
	saved = errno;
	free(buf);
	close(fd);
	errno = saved;
	return NULL;
}

char *kup_slurpf(const char *fmt, ...)
{
	char path[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return kup_slurp(path, NULL);
}

int kup_put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int kup_write_all(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		len -= n;
	}
	return 0;
}

int kup_read_all(int fd, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		p += n;
		len -= n;
	}
	return 0;
}

int kup_replace_file(const char *path, const char *text)
{
	char tmp[512];
	int fd, ret;

	snprintf(tmp, sizeof(tmp), "%s.new", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = kup_write_all(fd, text, strlen(text));
	close(fd);
	if (!ret && rename(tmp, path))
		ret = -errno;
	if (ret)
		unlink(tmp);
	return ret;
}

int kup_mkdirs(const char *path, mode_t mode)
{
	char part[PATH_MAX], *p;

	if (snprintf(part, sizeof(part), "%s", path) >= (int)sizeof(part))
		return -ENAMETOOLONG;
	for (p = part + 1; ; p++) {
		char c = *p;

		if (c != '/' && c)
			continue;
		*p = '\0';
		if (mkdir(part, mode) && errno != EEXIST)
			return -errno;
		if (!c)
			return 0;
		*p = c;
	}
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	remove(path);
	return 0;
}

void kup_remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

char *kup_trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return s;
}

char *kup_last_line(char *text)
{
	char *nl;

	text = kup_trim(text);
	nl = strrchr(text, '\n');
	return nl ? nl + 1 : text;
}

long long kup_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* What comes out of a child, to its end. -ETIMEDOUT at @end. */
static int collect(int fd, long long end, char *out, size_t size)
{
	struct pollfd pf = { .fd = fd, .events = POLLIN };
	size_t used = 0;
	char drop[4096];

	for (;;) {
		const long long left = end - kup_now_ms();
		bool keep = out && used < size - 1;
		ssize_t n;

		if (out)
			out[used] = '\0';
		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&pf, 1, left > INT_MAX ? INT_MAX : left) <= 0)
			continue;
		n = read(fd, keep ? out + used : drop, keep ? size - 1 - used : sizeof(drop));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		if (keep)
			used += n;
	}
}

static int run(char *const argv[], long long end, bool group, char *out, size_t size)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	int pipefd[2], status, ret;
	pid_t pid;

	if (out)
		out[0] = '\0';
	if (pipe2(pipefd, O_CLOEXEC))
		return -errno;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, pipefd[1], 1);
	posix_spawn_file_actions_adddup2(&fa, pipefd[1], 2);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, group ? POSIX_SPAWN_SETPGROUP : 0);
	ret = posix_spawnp(&pid, argv[0], &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	close(pipefd[1]);
	if (ret) {
		close(pipefd[0]);
		return -ret;
	}
	ret = collect(pipefd[0], end, out, size);
	close(pipefd[0]);
	if (ret)
		kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return ret ? ret : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int kup_run(char *const argv[], char *out, size_t size)
{
	return run(argv, LLONG_MAX, false, out, size);
}

int kup_run_within(char *const argv[], int ms, char *out, size_t size)
{
	return run(argv, kup_now_ms() + ms, true, out, size);
}

bool kup_in_path(const char *program)
{
	const char *path = getenv("PATH");
	char *copy, *dir, *save = NULL, full[512];
	bool found = false;

	if (strchr(program, '/'))
		return access(program, X_OK) == 0;
	copy = strdup(path ? path : "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
	for (dir = strtok_r(copy, ":", &save); dir && !found; dir = strtok_r(NULL, ":", &save)) {
		snprintf(full, sizeof(full), "%s/%s", dir, program);
		found = access(full, X_OK) == 0;
	}
	free(copy);
	return found;
}

int kup_lock(struct kup_err *err)
{
	int fd, ret;

	if (geteuid()) {
		kup_err_set(err, -EPERM, "root with CAP_SYS_ADMIN is needed");
		kup_err_next(err, "run kup-ppp as root, outside of containers");
		return -EPERM;
	}
	ret = kup_mkdirs(KUP_RUN_DIR, 0700);
	if (ret)
		return kup_err_set(err, ret, "%s: %s", KUP_RUN_DIR, strerror(-ret));
	/* Held by the open file until the process ends; close-on-exec, so that no child keeps it. */
	fd = open(KUP_RUN_DIR "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return kup_err_set(err, -errno, "%s/lock: %s", KUP_RUN_DIR, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		close(fd);
		kup_err_set(err, -EBUSY, "another kup-ppp is at work: it holds %s/lock", KUP_RUN_DIR);
		kup_err_next(err, "wait until it is done; `kup-ppp status` shows where it is");
		return -EBUSY;
	}
	return 0;
}

static struct {
	uint64_t tsc, ns;
} start;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

void kup_tsc_start(void)
{
	start.ns = now_ns();
	start.tsc = kup_tsc();
}

uint64_t kup_tsc_khz(void)
{
	const struct timespec wait = { .tv_nsec = 50 * 1000 * 1000 };
	uint64_t ns;

	if (now_ns() - start.ns < 50 * 1000 * 1000)
		nanosleep(&wait, NULL);
	ns = now_ns() - start.ns;
	return (kup_tsc() - start.tsc) * 1000000 / ns;
}
