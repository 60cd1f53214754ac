// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <json-c/json.h>

#include "cgroup.h"
#include "device.h"
#include "files.h"
#include "hugetlb.h"
#include "json.h"
#include "plan.h"
#include "shmem.h"
#include "tmpfs.h"
#include "util.h"

struct seen {
	struct stat st;
	const struct kup_tree *tree;
	pid_t pid;
};

/* A walk through all of them, each file once. */
struct walk {
	dev_t fs, huge_fs[KUP_HUGE_SIZES];	/* where memory is that no file system shows; of huge pages, 0 if there are none */
	const struct kup_tree *tree;
	struct seen *seen;
	size_t nr;
	/* @path leads to the file that was seen last. Return: 0 or a negative errno, which ends the walk */
	int (*one)(struct walk *w, const char *path, pid_t pid, const char *at);
	uint64_t bytes;		/* count() */
	uint64_t pages;		/* keep(): of the last one */
	int dev;
	struct json_object *list;
	struct kup_err *err;
};

/* One tmpfs, mounted nowhere, has all memfds and all MAP_SHARED memory that has no file; one hugetlbfs those of huge pages of each size. */
static int find_fs(struct walk *w)
{
	int fd = memfd_create("kup-ppp", MFD_CLOEXEC), ret = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		ret = kup_err_set(w->err, -errno, "memfd: %s", strerror(errno));
	else
		w->fs = st.st_dev;
	for (int size = 0; size < KUP_HUGE_SIZES; size++)
		w->huge_fs[size] = kup_hugetlb_dev(size);
	if (fd >= 0)
		close(fd);
	return ret;
}

static bool is_nameless(const struct walk *w, dev_t dev)
{
	for (int size = 0; size < KUP_HUGE_SIZES; size++)
		if (w->huge_fs[size] && dev == w->huge_fs[size])
			return true;
	return dev == w->fs;
}

/* One CRIU restores each tree: what has no name would be one thing for each of them. */
static int see_again(const struct walk *w, const struct seen *s, pid_t pid)
{
	if (!is_nameless(w, s->st.st_dev) || s->tree == w->tree)
		return 0;
	kup_err_set(w->err, -ENOTSUP, "pid %d and pid %d share memory, and are of two trees: each would get its own", s->pid, pid);
	kup_err_next(w->err, "name a process that both descend from, or let them share a file in /dev/shm");
	return -ENOTSUP;
}

/* What is gone meanwhile belongs to nobody. Return: 1 if it is new. */
static int see(struct walk *w, const char *path, pid_t pid, const char *at)
{
	struct seen *seen;
	struct stat st;
	size_t i;
	int ret;

	if (stat(path, &st))
		return 0;
	for (i = 0; i < w->nr; i++)
		if (w->seen[i].st.st_dev == st.st_dev && w->seen[i].st.st_ino == st.st_ino)
			return see_again(w, &w->seen[i], pid);
	seen = realloc(w->seen, (w->nr + 1) * sizeof(*seen));
	if (!seen)
		return kup_err_set(w->err, -ENOMEM, "no memory");
	w->seen = seen;
	w->seen[w->nr++] = (struct seen){ .st = st, .tree = w->tree, .pid = pid };
	ret = w->one(w, path, pid, at);
	return ret ? ret : 1;
}

static int walk_mapped(struct walk *w, pid_t pid)
{
	char *text = kup_slurpf("/proc/%d/maps", pid), *rest = text, *line;
	int ret = 0;

	while (ret >= 0 && (line = strsep(&rest, "\n"))) {
		unsigned long start, end;
		unsigned int major, minor;
		char path[80], at[32];

		if (sscanf(line, "%lx-%lx %*s %*x %x:%x", &start, &end, &major, &minor) != 4 || !is_nameless(w, makedev(major, minor)))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid, start, end);
		snprintf(at, sizeof(at), "map %lx", start);
		ret = see(w, path, pid, at);
	}
	free(text);
	return ret;
}

static int walk_open(struct walk *w, pid_t pid)
{
	char path[300], at[32];
	struct dirent *e;
	struct stat st;
	int ret = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && ret >= 0 && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, e->d_name);
		if (e->d_name[0] == '.' || stat(path, &st) || !is_nameless(w, st.st_dev) || !S_ISREG(st.st_mode))
			continue;
		snprintf(at, sizeof(at), "fd %.20s", e->d_name);
		ret = see(w, path, pid, at);
	}
	if (d)
		closedir(d);
	return ret;
}

/* The root of the first tree answers for those that have a name: there is no telling whose they are. 0: there is no tree. */
static int walk_named(struct walk *w, struct json_object *files, pid_t pid)
{
	json_object_object_foreach(files, path, o) {
		struct stat st;
		int ret;

		if (strcmp(kup_json_text(o, "type"), "file") || stat(path, &st) || !kup_file_stays(path, &st))
			continue;
		ret = see(w, path, pid, path);
		if (ret < 0)
			return ret;
		if (ret > 0 && w->list) {
			json_object_object_add(o, "size", json_object_new_int64(w->seen[w->nr - 1].st.st_size));
			json_object_object_add(o, "bytes", json_object_new_int64(w->pages * 4096));
			json_object_object_add(o, "limit", json_object_new_uint64(kup_tmpfs_limit(path)));
		}
	}
	return 0;
}

static int walk(struct walk *w, const struct kup_forest *forest, struct json_object *files)
{
	int ret = find_fs(w);
	size_t i, j;

	for (i = 0; i < forest->nr && ret >= 0; i++)
		for (j = 0; j < forest->trees[i].nr && ret >= 0; j++) {
			const struct kup_task *t = &forest->trees[i].tasks[j];

			if (t->state == 'Z')
				continue;
			w->tree = &forest->trees[i];
			ret = walk_mapped(w, t->pid);
			if (ret >= 0)
				ret = walk_open(w, t->pid);
		}
	if (ret >= 0)
		ret = walk_named(w, files, forest->nr ? forest->trees[0].tasks[0].pid : 0);
	free(w->seen);
	return ret < 0 ? ret : 0;
}

static int count(struct walk *w, const char *path, pid_t pid, const char *at)
{
	(void)path;
	(void)pid;
	(void)at;
	w->bytes += (uint64_t)w->seen[w->nr - 1].st.st_blocks * 512;
	return 0;
}

uint64_t kup_shmem_bytes(const struct kup_forest *forest, struct json_object *files)
{
	struct walk w = { .one = count };

	walk(&w, forest, files);
	return w.bytes;
}

static int keep(struct walk *w, const char *path, pid_t pid, const char *at)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;
	struct kup_shmem kept;
	struct json_object *o;

	if (fd < 0)
		return kup_err_set(w->err, -errno, "%s: %s", path, strerror(errno));
	ret = kup_device_preserve_shmem(w->dev, fd, w->nr, &kept, w->err);
	close(fd);
	if (ret)
		return ret;
	w->pages = kept.pages;
	o = json_object_new_object();
	json_object_object_add(o, "id", json_object_new_int(w->nr));
	json_object_object_add(o, "pid", json_object_new_int(pid));
	json_object_object_add(o, "at", json_object_new_string(at));
	json_object_object_add(o, "pages", json_object_new_uint64(kept.pages));
	json_object_array_add(w->list, o);
	return 0;
}

int kup_shmem_preserve(int dev, const struct kup_forest *forest, struct json_object *files, struct json_object *plan, struct kup_err *err)
{
	struct walk w = { .one = keep, .dev = dev, .list = json_object_new_array(), .err = err };

	json_object_object_add(plan, "shmem", w.list);
	return walk(&w, forest, files);
}

/* The mapping that has @addr: its end may be elsewhere than it was. */
static int open_mapped(pid_t pid, unsigned long addr)
{
	char *text = kup_slurpf("/proc/%d/maps", pid), *rest = text, *line, path[80];
	int fd = -1;

	errno = ENOENT;
	while (fd < 0 && (line = strsep(&rest, "\n"))) {
		unsigned long start, end;

		if (sscanf(line, "%lx-%lx", &start, &end) != 2 || addr < start || addr >= end)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid, start, end);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		break;
	}
	free(text);
	return fd;
}

static int open_at(pid_t pid, const char *at)
{
	char path[64];

	if (at[0] == '/')
		return open(at, O_RDONLY | O_CLOEXEC);
	if (kup_starts(at, "map "))
		return open_mapped(pid, strtoul(at + 4, NULL, 16));
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, atoi(at + 3));
	return open(path, O_RDONLY | O_CLOEXEC);
}

struct attach_as {
	int dev, fd;
	struct json_object *o;
	pid_t pid;
	const char *cgroup;		/* of @pid */
};

static int find_cgroup(struct json_object *task, void *ctx)
{
	struct attach_as *a = ctx;

	if (kup_json_int(task, "pid") == a->pid)
		a->cgroup = kup_json_text(task, "cgroup");
	return 0;
}

static int attach_as(void *ctx, void *result, struct kup_err *err)
{
	const struct attach_as *a = ctx;

	return kup_device_attach_shmem(a->dev, a->fd, kup_json_int(a->o, "id"), a->pid, result, err);
}

static int attach_one(int dev, struct json_object *plan, struct json_object *o, struct kup_err *err)
{
	const char *at = kup_json_text(o, "at");
	pid_t pid = kup_json_int(o, "pid");
	int fd = open_at(pid, at), ret;
	struct attach_as a = { dev, fd, o, pid ?: getpid(), NULL };
	struct kup_shmem given;
	struct statfs fs;

	if (fd < 0)
		return kup_err_set(err, -errno, "shared memory of pid %d at %s: %s", pid, at, strerror(errno));
	if (!fstatfs(fd, &fs) && fs.f_type == HUGETLBFS_MAGIC)
		kup_plan_each_task(plan, find_cgroup, &a);
	/* The kernel charges huge pages to the cgroup of whoever has them allocated. */
	ret = a.cgroup ? kup_cgroup_as(a.cgroup, attach_as, &a, &given, sizeof(given), err) : attach_as(&a, &given, err);
	close(fd);
	if (!ret)
		json_object_object_add(o, "copied", json_object_new_uint64(given.copied));
	return ret;
}

int kup_shmem_attach(int dev, struct json_object *plan, struct kup_err *err)
{
	struct json_object *list = json_object_object_get(plan, "shmem");
	int ret = 0;

	for (size_t i = 0; i < json_object_array_length(list) && !ret; i++)
		ret = attach_one(dev, plan, json_object_array_get_idx(list, i), err);
	return ret;
}
