// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <json-c/json.h>

#include "device.h"
#include "files.h"
#include "json.h"
#include "shmem.h"
#include "util.h"

struct search {
	int dev;
	dev_t fs;			/* where memory is that no file system shows */
	struct json_object *list;	/* in the plan */
	struct stat *seen;		/* [length of the list] */
	struct kup_err *err;
};

/* One tmpfs, mounted nowhere, has all memfds and all MAP_SHARED memory that has no file. */
static int find_fs(dev_t *fs)
{
	int fd = memfd_create("kup-ppp", MFD_CLOEXEC), ret = 0;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		ret = -errno;
	else
		*fs = st.st_dev;
	if (fd >= 0)
		close(fd);
	return ret;
}

static bool is_seen(const struct search *s, const struct stat *st)
{
	for (size_t i = 0; i < json_object_array_length(s->list); i++)
		if (s->seen[i].st_dev == st->st_dev && s->seen[i].st_ino == st->st_ino)
			return true;
	return false;
}

/* Return: 1 if it is kept now, 0 if it was before, or a negative errno. */
static int keep(struct search *s, int fd, pid_t pid, const char *at)
{
	size_t nr = json_object_array_length(s->list);
	struct kup_shmem kept;
	struct json_object *o;
	struct stat st, *seen;
	int ret;

	if (fstat(fd, &st))
		return kup_err_set(s->err, -errno, "shared memory of pid %d at %s: %s", pid, at, strerror(errno));
	if (is_seen(s, &st))
		return 0;
	seen = realloc(s->seen, (nr + 1) * sizeof(*seen));
	if (!seen)
		return kup_err_set(s->err, -ENOMEM, "no memory");
	s->seen = seen;
	s->seen[nr] = st;
	ret = kup_device_preserve_shmem(s->dev, fd, nr + 1, &kept, s->err);
	if (ret)
		return ret;
	o = json_object_new_object();
	json_object_object_add(o, "id", json_object_new_int(nr + 1));
	json_object_object_add(o, "pid", json_object_new_int(pid));
	json_object_object_add(o, "at", json_object_new_string(at));
	json_object_object_add(o, "pages", json_object_new_uint64(kept.pages));
	json_object_array_add(s->list, o);
	return 1;
}

static int keep_at(struct search *s, pid_t pid, const char *path, const char *at)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return kup_err_set(s->err, -errno, "%s: %s", path, strerror(errno));
	ret = keep(s, fd, pid, at);
	close(fd);
	return ret < 0 ? ret : 0;
}

static int keep_mapped(struct search *s, pid_t pid)
{
	char *text = kup_slurpf("/proc/%d/maps", pid), *rest = text, *line;
	int ret = 0;

	while (!ret && (line = strsep(&rest, "\n"))) {
		unsigned long start, end;
		unsigned int major, minor;
		char path[80], at[32];

		if (sscanf(line, "%lx-%lx %*s %*x %x:%x", &start, &end, &major, &minor) != 4 || makedev(major, minor) != s->fs)
			continue;
		snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", pid, start, end);
		snprintf(at, sizeof(at), "map %lx", start);
		ret = keep_at(s, pid, path, at);
	}
	free(text);
	return ret;
}

static int keep_open(struct search *s, pid_t pid)
{
	char path[300], at[32];
	struct dirent *e;
	struct stat st;
	int ret = 0;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && !ret && (e = readdir(d))) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%s", pid, e->d_name);
		if (e->d_name[0] == '.' || stat(path, &st) || st.st_dev != s->fs || !S_ISREG(st.st_mode))
			continue;
		snprintf(at, sizeof(at), "fd %.20s", e->d_name);
		ret = keep_at(s, pid, path, at);
	}
	if (d)
		closedir(d);
	return ret;
}

/* The root of the first tree answers for those that have a name: there is no telling whose they are. */
static int keep_named(struct search *s, struct json_object *files, pid_t pid)
{
	json_object_object_foreach(files, path, o) {
		struct stat st;
		int fd, ret;

		if (strcmp(kup_json_text(o, "type"), "file"))
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || fstat(fd, &st)) {
			ret = kup_err_set(s->err, -errno, "%s: %s", path, strerror(errno));
		} else {
			ret = kup_file_stays(path, &st) ? keep(s, fd, pid, path) : 0;
			if (ret > 0)
				json_object_object_add(o, "size", json_object_new_int64(st.st_size));
		}
		if (fd >= 0)
			close(fd);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int kup_shmem_preserve(int dev, const struct kup_forest *forest, struct json_object *files, struct json_object *plan, struct kup_err *err)
{
	struct search s = { .dev = dev, .list = json_object_new_array(), .err = err };
	size_t i, j;
	int ret;

	json_object_object_add(plan, "shmem", s.list);
	ret = find_fs(&s.fs);
	if (ret)
		return kup_err_set(err, ret, "memfd: %s", strerror(-ret));
	for (i = 0; i < forest->nr && !ret; i++)
		for (j = 0; j < forest->trees[i].nr && !ret; j++) {
			const struct kup_task *t = &forest->trees[i].tasks[j];

			if (t->state == 'Z')
				continue;
			ret = keep_mapped(&s, t->pid);
			if (!ret)
				ret = keep_open(&s, t->pid);
		}
	if (!ret && forest->nr)
		ret = keep_named(&s, files, forest->trees[0].tasks[0].pid);
	free(s.seen);
	return ret;
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

static int attach_one(int dev, struct json_object *o, struct kup_err *err)
{
	const char *at = kup_json_text(o, "at");
	pid_t pid = kup_json_int(o, "pid");
	int fd = open_at(pid, at), ret;
	struct kup_shmem given;

	if (fd < 0)
		return kup_err_set(err, -errno, "shared memory of pid %d at %s: %s", pid, at, strerror(errno));
	ret = kup_device_attach_shmem(dev, fd, kup_json_int(o, "id"), pid, &given, err);
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
		ret = attach_one(dev, json_object_array_get_idx(list, i), err);
	return ret;
}
