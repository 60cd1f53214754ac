// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "cgroup.h"
#include "kup.h"
#include "util.h"

#define OWN_GROUP "kup-ppp"
#define MOVE_ROUNDS 100

int kup_cgroup_root(const char **root, struct kup_err *err)
{
	static char found[256];
	char *text, *line, *save = NULL;

	text = found[0] ? NULL : kup_slurp("/proc/self/mountinfo", NULL);
	for (line = text ? strtok_r(text, "\n", &save) : NULL; line && !found[0]; line = strtok_r(NULL, "\n", &save))
		if (strstr(line, " - cgroup2 "))
			sscanf(line, "%*s %*s %*s %*s %255s", found);
	free(text);
	if (!found[0]) {
		const char *own = KUP_RUN_DIR "/cgroup";

		if (kup_mkdirs(own, 0700) || mount("cgroup2", own, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) {
			kup_err_set(err, -errno, "cgroup v2 isn't mounted, and mounting it on %s: %s", own, strerror(errno));
			kup_err_next(err, "mount -t cgroup2 none /sys/fs/cgroup");
			return -errno;
		}
		snprintf(found, sizeof(found), "%s", own);
	}
	*root = found;
	return 0;
}

static int put_pid(const char *dir, pid_t pid)
{
	char path[1100], num[16];

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	snprintf(num, sizeof(num), "%d", pid);
	return kup_put(path, num);
}

/* Are the tasks of this cgroup and of those below all in the tree? Adds to @count how many there are. */
static bool only_tree(const char *dir, const struct kup_tree *tree, size_t *count)
{
	char *text = kup_slurpf("%s/cgroup.procs", dir), *word, *save = NULL;
	bool only = text != NULL;
	struct dirent *e;
	DIR *d;

	for (word = text ? strtok_r(text, "\n", &save) : NULL; word && only; word = strtok_r(NULL, "\n", &save)) {
		only = kup_tree_find(tree, atoi(word));
		++*count;
	}
	free(text);
	d = only ? opendir(dir) : NULL;
	while (d && only && (e = readdir(d))) {
		char sub[512];

		if (e->d_type != DT_DIR || e->d_name[0] == '.')
			continue;
		if (snprintf(sub, sizeof(sub), "%s/%s", dir, e->d_name) < (int)sizeof(sub))
			only = only_tree(sub, tree, count);
	}
	if (d)
		closedir(d);
	return only;
}

/* Those of the tree that are elsewhere. Return: how many there were, or a negative errno. */
static int move_in(const struct kup_tree *tree, struct kup_freeze *f, const char *own, struct kup_err *err)
{
	int moved = 0, ret;
	size_t i;

	for (i = 0; i < tree->nr; i++) {
		const struct kup_task *t = &tree->tasks[i];
		char key[16];

		if (t->state == 'Z' || (t->cgroup && !strcmp(t->cgroup, own)))
			continue;
		snprintf(key, sizeof(key), "%d", t->pid);
		json_object_object_add(f->home, key, json_object_new_string(t->cgroup ?: "/"));
		ret = put_pid(f->dir, t->pid);
		if (ret && ret != -ESRCH)
			return kup_err_set(err, ret, "moving pid %d (%s) into cgroup %s: %s", t->pid, t->comm, f->dir, strerror(-ret));
		moved++;
	}
	return moved;
}

/* What is forked by one that was not moved yet is born outside: again, until nobody is. */
static int move_all(const struct kup_tree *tree, struct kup_freeze *f, const char *own, struct kup_err *err)
{
	int moved = move_in(tree, f, own, err), rounds = 0, ret;
	struct kup_tree now;

	while (moved > 0) {
		if (rounds++ == MOVE_ROUNDS)
			return kup_err_set(err, -EAGAIN, "pid %d (%s) forks faster than it can be followed", tree->tasks[0].pid, tree->tasks[0].comm);
		ret = kup_tree_read(tree->tasks[0].pid, &now, err);
		if (ret)
			return ret;
		moved = move_in(&now, f, own, err);
		kup_tree_free(&now);
	}
	return moved;
}

int kup_freeze_place(const struct kup_tree *tree, struct kup_freeze *f, struct kup_err *err)
{
	const char *root, *home = tree->tasks[0].cgroup;
	pid_t pid = tree->tasks[0].pid;
	size_t count = 0;
	char own[64];
	int ret;

	*f = (struct kup_freeze){ 0 };
	ret = kup_cgroup_root(&root, err);
	if (ret)
		return ret;
	if (home && strcmp(home, "/")) {
		snprintf(f->dir, sizeof(f->dir), "%s%s", root, home);
		if (only_tree(f->dir, tree, &count) && count == tree->nr)
			return 0;
	}
	snprintf(own, sizeof(own), "/" OWN_GROUP "/%d", pid);
	snprintf(f->dir, sizeof(f->dir), "%s%s", root, own);
	ret = kup_mkdirs(f->dir, 0755);
	if (ret)
		return kup_err_set(err, ret, "cgroup %s: %s", f->dir, strerror(-ret));
	f->own = true;
	f->home = json_object_new_object();
	ret = move_all(tree, f, own, err);
	if (ret)
		kup_freeze_release(f, NULL);
	return ret;
}

int kup_freeze_check(const struct kup_freeze *f, const struct kup_tree *tree, struct kup_err *err)
{
	size_t count = 0;

	if (only_tree(f->dir, tree, &count))
		return 0;
	kup_err_set(err, -ENOTSUP, "a process of cgroup %s doesn't descend from pid %d (%s) any more: its parent ended", f->dir, tree->tasks[0].pid,
		    tree->tasks[0].comm);
	kup_err_next(err, "name that process as well, or try again when it has ended");
	return -ENOTSUP;
}

static bool is_frozen(const char *events)
{
	char *text = kup_slurp(events, NULL);
	bool frozen = text && strstr(text, "frozen 1");

	free(text);
	return frozen;
}

static int set_frozen(const struct kup_freeze *f, bool on)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/cgroup.freeze", f->dir);
	return kup_put(path, on ? "1" : "0");
}

/* For the message only: a task of the group that is in uninterruptible sleep. */
static void name_culprit(const struct kup_freeze *f, char *buf, size_t size)
{
	char *text = kup_slurpf("%s/cgroup.threads", f->dir), *word, *save = NULL;

	snprintf(buf, size, "a task");
	for (word = text ? strtok_r(text, "\n", &save) : NULL; word; word = strtok_r(NULL, "\n", &save)) {
		char *stat = kup_slurpf("/proc/%s/stat", word), *close = stat ? strrchr(stat, ')') : NULL;

		if (close && close[1] && close[2] == 'D')
			snprintf(buf, size, "thread %s (uninterruptible, state D)", word);
		free(stat);
	}
	free(text);
}

int kup_freeze_stop(struct kup_freeze *f, int timeout_ms, struct kup_err *err)
{
	char events[600], culprit[64];
	struct timespec t0, t;
	struct pollfd pfd;
	long waited = 0;
	int ret;

	snprintf(events, sizeof(events), "%s/cgroup.events", f->dir);
	pfd = (struct pollfd){ .fd = open(events, O_RDONLY | O_CLOEXEC), .events = POLLPRI };
	if (pfd.fd < 0)
		return kup_err_set(err, -errno, "%s: %s", events, strerror(errno));
	ret = set_frozen(f, true);
	if (ret) {
		kup_err_set(err, ret, "freezing cgroup %s: %s", f->dir, strerror(-ret));
		goto out;
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	while (!is_frozen(events)) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		waited = (t.tv_sec - t0.tv_sec) * 1000 + (t.tv_nsec - t0.tv_nsec) / 1000000;
		if (waited >= timeout_ms) {
			name_culprit(f, culprit, sizeof(culprit));
			ret = kup_err_set(err, -ETIMEDOUT, "cgroup %s isn't frozen after %d ms: %s doesn't stop", f->dir,
					  timeout_ms, culprit);
			kup_err_next(err, "see what it waits for in /proc/TID/stack, then try again");
			set_frozen(f, false);
			goto out;
		}
		poll(&pfd, 1, timeout_ms - waited < 100 ? timeout_ms - waited : 100);
	}
out:
	close(pfd.fd);
	return ret;
}

int kup_freeze_thaw(const struct kup_freeze *f, struct kup_err *err)
{
	int ret = set_frozen(f, false);

	return ret ? kup_err_set(err, ret, "thawing cgroup %s: %s", f->dir, strerror(-ret)) : 0;
}

int kup_freeze_release(struct kup_freeze *f, struct kup_err *err)
{
	const char *root;
	int ret;

	if (!f->dir[0])
		return 0;
	ret = set_frozen(f, false);
	if (ret == -ENOENT && f->own)
		ret = 0;
	if (ret) {
		kup_err_set(err, ret, "thawing cgroup %s: %s", f->dir, strerror(-ret));
		kup_err_next(err, "echo 0 > %s/cgroup.freeze", f->dir);
	}
	if (f->own && !kup_cgroup_root(&root, NULL)) {
		/* children that were born meanwhile go with the tree's root */
		char *text = kup_slurpf("%s/cgroup.procs", f->dir), *word, *save = NULL;
		const char *first = "/";
		struct json_object_iter it;

		json_object_object_foreachC(f->home, it) {
			first = json_object_get_string(it.val);
			break;
		}
		for (word = text ? strtok_r(text, "\n", &save) : NULL; word; word = strtok_r(NULL, "\n", &save)) {
			struct json_object *home;
			char dir[1024];
			int moved;

			snprintf(dir, sizeof(dir), "%s%s", root,
				 json_object_object_get_ex(f->home, word, &home) ? json_object_get_string(home) : first);
			moved = put_pid(dir, atoi(word));
			if (moved && moved != -ESRCH && !ret)
				ret = kup_err_set(err, moved, "moving pid %s back to cgroup %s: %s", word, dir, strerror(-moved));
		}
		free(text);
		rmdir(f->dir);
		*strrchr(f->dir, '/') = '\0';
		rmdir(f->dir);		/* fails while another tree is in there */
	}
	json_object_put(f->home);
	*f = (struct kup_freeze){ 0 };
	return ret;
}

struct json_object *kup_freeze_to_json(const struct kup_freeze *f)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "dir", json_object_new_string(f->dir));
	if (f->own)
		json_object_object_add(o, "home", json_object_get(f->home));
	return o;
}

int kup_freeze_from_json(struct json_object *o, struct kup_freeze *f)
{
	struct json_object *v;

	*f = (struct kup_freeze){ 0 };
	if (!json_object_object_get_ex(o, "dir", &v))
		return -EINVAL;
	snprintf(f->dir, sizeof(f->dir), "%s", json_object_get_string(v));
	if (json_object_object_get_ex(o, "home", &v)) {
		f->home = json_object_get(v);
		f->own = true;
	}
	return 0;
}

char *kup_cgroup_of(pid_t pid)
{
	char *text = kup_slurpf("/proc/%d/cgroup", pid), *line, *save = NULL, *found = NULL;

	for (line = text ? strtok_r(text, "\n", &save) : NULL; line && !found; line = strtok_r(NULL, "\n", &save))
		if (!strncmp(line, "0::", 3))
			found = strdup(line + 3);
	free(text);
	return found;
}

int kup_cgroup_join(const char *path, pid_t pid, struct kup_err *err)
{
	char *now = kup_cgroup_of(pid), dir[512];
	const bool there = now && !strcmp(now, path);
	const char *root;
	int ret;

	free(now);
	if (there)	/* to be put there once more would wait for a grace period of RCU */
		return 0;
	ret = kup_cgroup_root(&root, err);
	if (ret)
		return ret;
	snprintf(dir, sizeof(dir), "%s%s", root, path);
	ret = kup_mkdirs(dir, 0755);
	if (!ret)
		ret = put_pid(dir, pid);
	return ret ? kup_err_set(err, ret, "putting pid %d into cgroup %s: %s", pid, dir, strerror(-ret)) : 0;
}

struct answer {
	int ret;
	struct kup_err err;
	char result[];
};

int kup_cgroup_as(const char *path, int (*one)(void *ctx, void *result, struct kup_err *err), void *ctx, void *result, size_t size,
		  struct kup_err *err)
{
	const size_t len = sizeof(struct answer) + size;
	struct answer *a = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child;
	int ret;

	if (a == MAP_FAILED)
		return kup_err_set(err, -ENOMEM, "no memory");
	a->ret = kup_err_set(&a->err, -ECHILD, "a child of kup-ppp in cgroup %s ended early", path);
	child = fork();
	if (!child) {
		ret = kup_cgroup_join(path, getpid(), &a->err);
		a->ret = ret ? ret : one(ctx, a->result, &a->err);
		_exit(0);
	}
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	if (child < 0)
		ret = kup_err_set(err, -errno, "fork: %s", strerror(errno));
	else
		ret = a->ret;
	if (child > 0 && ret && err)
		*err = a->err;
	memcpy(result, a->result, size);
	munmap(a, len);
	return ret;
}
