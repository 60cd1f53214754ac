// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <json-c/json.h>

#include "attrs.h"
#include "files.h"
#include "json.h"
#include "pack.h"
#include "tmpfs.h"
#include "util.h"

bool kup_file_is_volatile(const char *via)
{
	struct statfs fs;

	return !statfs(via, &fs) && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

bool kup_file_is_cgroup1(const char *via)
{
	struct statfs fs;

	return !statfs(via, &fs) && fs.f_type == CGROUP_SUPER_MAGIC;
}

bool kup_file_stays(const char *via, const struct stat *st)
{
	struct statfs fs;

	return S_ISREG(st->st_mode) && (uint64_t)st->st_size > KUP_FILE_SMALL && !statfs(via, &fs) && fs.f_type == TMPFS_MAGIC;
}

static const char *type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return "file";
	case S_IFDIR:
		return "dir";
	case S_IFLNK:
		return "symlink";
	case S_IFCHR:
		return "char";
	case S_IFBLK:
		return "block";
	default:
		return "fifo";
	}
}

static struct json_object *note(struct json_object *files, const char *path, const struct stat *st)
{
	struct json_object *o;
	char name[32];

	if (!json_object_object_get_ex(files, path, &o)) {
		o = json_object_new_object();
		snprintf(name, sizeof(name), "files/%d", json_object_object_length(files));
		json_object_object_add(o, "store", json_object_new_string(name));
		json_object_object_add(files, path, o);
	}
	json_object_object_add(o, "type", json_object_new_string(type_of(st->st_mode)));
	json_object_object_add(o, "mode", json_object_new_int(st->st_mode & 07777));
	json_object_object_add(o, "uid", json_object_new_int64(st->st_uid));
	json_object_object_add(o, "gid", json_object_new_int64(st->st_gid));
	return o;
}

void kup_file_note(struct json_object *files, const char *path, const struct stat *st)
{
	if (!json_object_object_get_ex(files, path, NULL))
		note(files, path, st);
}

int kup_file_note_whole(struct json_object *files, const char *path, const struct stat *st, const char *first)
{
	struct json_object *o = note(files, path, st);
	char text[PATH_MAX + 1];
	ssize_t len;

	json_object_object_add(o, "whole", json_object_new_boolean(true));
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode)) {
		json_object_object_add(o, "major", json_object_new_int64(major(st->st_rdev)));
		json_object_object_add(o, "minor", json_object_new_int64(minor(st->st_rdev)));
	}
	if (S_ISLNK(st->st_mode)) {
		len = readlink(path, text, sizeof(text) - 1);
		if (len < 0)
			return -errno;
		text[len] = '\0';
		json_object_object_add(o, "to", json_object_new_string(text));
	} else if (first) {
		json_object_object_add(o, "type", json_object_new_string("link"));
		json_object_object_add(o, "to", json_object_new_string(first));
	}
	return kup_attrs_read(path, st, o);
}

int kup_files_store(struct json_object *files, int out, uint64_t *bytes, struct kup_err *err)
{
	json_object_object_foreach(files, path, o) {
		const char *name = kup_json_text(o, "store");
		size_t len;
		char *data;
		int ret;

		if (strcmp(kup_json_text(o, "type"), "file") || json_object_object_get_ex(o, "size", NULL))
			continue;
		data = kup_slurp(path, &len);
		if (!data)
			return kup_err_set(err, -errno, "%s: %s", path, strerror(errno));
		ret = kup_pack_data(out, name, data, len, err);
		free(data);
		if (ret)
			return ret;
		*bytes += len;
	}
	return 0;
}

static int put_file(const char *path, const char *from, mode_t mode)
{
	struct stat there;
	size_t len;
	char *data = kup_slurp(from, &len);
	int fd, ret;

	if (!data)
		return -errno;
	if (!lstat(path, &there) && S_ISREG(there.st_mode) && (size_t)there.st_size == len) {
		free(data);
		return 0;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
	ret = fd < 0 ? -errno : kup_write_all(fd, data, len);
	if (fd >= 0)
		close(fd);
	free(data);
	return ret;
}

/* What will come into files that are empty as yet, of one file system. */
struct promise {
	dev_t fs;
	uint64_t bytes;
};

struct putting {
	const char *from;
	struct promise *promise;
	size_t nr;
};

static struct promise *promise_for(struct putting *p, dev_t fs)
{
	struct promise *more;
	size_t i;

	for (i = 0; i < p->nr; i++)
		if (p->promise[i].fs == fs)
			return &p->promise[i];
	more = realloc(p->promise, (p->nr + 1) * sizeof(*more));
	if (!more)
		return NULL;
	p->promise = more;
	p->promise[p->nr] = (struct promise){ .fs = fs };
	return &p->promise[p->nr++];
}

/* Room for the content of @o in the file system of @dir: -EMEDIUMTYPE if it is no tmpfs, -ENOSPC if it does not fit and cannot be made to. */
static int promise(struct putting *p, const char *dir, struct json_object *o)
{
	uint64_t room, limit = kup_json_int(o, "limit"), least;
	struct promise *there;
	struct statfs fs;
	struct stat st;

	if (statfs(dir, &fs) || stat(dir, &st))
		return -errno;
	if (fs.f_type != TMPFS_MAGIC)
		return -EMEDIUMTYPE;
	there = promise_for(p, st.st_dev);
	if (!there)
		return -ENOMEM;
	there->bytes += kup_json_int(o, "bytes");
	room = fs.f_bavail * fs.f_bsize;
	/* no blocks at all: no limit */
	if (!fs.f_blocks || room >= there->bytes)
		return 0;
	least = fs.f_blocks * fs.f_bsize - room + there->bytes;
	return kup_tmpfs_grow(dir, limit > least ? limit : least) ? -ENOSPC : 0;
}

static int make_empty(const char *path, off_t size, mode_t mode)
{
	int fd, ret;

	/* Where it has no page another file of that name would show its own. */
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	ret = fd < 0 || ftruncate(fd, size) ? -errno : 0;
	if (fd >= 0)
		close(fd);
	return ret;
}

/* For what is put there whole: whatever has that name goes, unless it is a directory as well. */
static int clear_name(const char *path, const char *type)
{
	struct stat st;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode))
		return unlink(path) ? -errno : 0;
	return strcmp(type, "dir") && rmdir(path) ? -errno : 0;
}

static int make_dir(const char *path, mode_t mode)
{
	struct stat st;

	return mkdir(path, mode) && (errno != EEXIST || lstat(path, &st) || !S_ISDIR(st.st_mode)) ? -errno : 0;
}

static int put_node(const char *path, const char *type, struct json_object *o)
{
	const bool c = !strcmp(type, "char");

	if (!c && strcmp(type, "block"))
		return -EINVAL;
	return mknod(path, c ? S_IFCHR : S_IFBLK, makedev(kup_json_int(o, "major"), kup_json_int(o, "minor"))) ? -errno : 0;
}

/* What has that name, without owner and mode. @dir: where it is. */
static int put_name(const char *path, const char *dir, struct json_object *o, struct putting *p)
{
	const char *type = kup_json_text(o, "type");
	mode_t mode = kup_json_int(o, "mode");
	char source[PATH_MAX];
	int ret;

	if (!strcmp(type, "dir"))
		return make_dir(path, mode);
	if (!strcmp(type, "fifo"))
		return mkfifo(path, mode) ? -errno : 0;
	if (!strcmp(type, "symlink"))
		return symlink(kup_json_text(o, "to"), path) ? -errno : 0;
	if (!strcmp(type, "link"))
		return link(kup_json_text(o, "to"), path) ? -errno : 0;
	if (strcmp(type, "file"))
		return put_node(path, type, o);
	if (json_object_object_get_ex(o, "size", NULL)) {
		ret = promise(p, dir, o);
		return ret ? ret : make_empty(path, kup_json_int(o, "size"), mode);
	}
	snprintf(source, sizeof(source), "%s/%s", p->from, kup_json_text(o, "store"));
	return put_file(path, source, mode);
}

static int put_one(const char *path, struct json_object *o, struct putting *p)
{
	const char *type = kup_json_text(o, "type");
	const bool whole = kup_json_int(o, "whole");
	char dir[PATH_MAX];
	struct stat st;
	int ret = 0;

	if (path[0] != '/' || snprintf(dir, sizeof(dir), "%s", path) >= (int)sizeof(dir))
		return -EINVAL;
	if (!whole && strcmp(type, "file") && !lstat(path, &st))
		return 0;
	*strrchr(dir, '/') = '\0';
	if (dir[0])
		ret = kup_mkdirs(dir, 0755);
	if (!ret && whole)
		ret = clear_name(path, type);
	if (!ret)
		ret = put_name(path, dir[0] ? dir : "/", o, p);
	if (!ret && lchown(path, kup_json_int(o, "uid"), kup_json_int(o, "gid")))
		ret = -errno;
	if (!ret && strcmp(type, "symlink") && chmod(path, kup_json_int(o, "mode")))
		ret = -errno;
	return ret;
}

/* When all names are there: each one that is made changes its directory's times. */
static int put_attrs(struct json_object *files, const char **which)
{
	int ret;

	json_object_object_foreach(files, path, o) {
		ret = kup_json_int(o, "whole") ? kup_attrs_apply(path, o) : 0;
		if (ret) {
			*which = path;
			return ret;
		}
	}
	return 0;
}

/* Directories first, then what is in them, then the second names of those: the list has them in the order in which they were found. */
static int round_of(const char *type)
{
	return !strcmp(type, "dir") ? 0 : strcmp(type, "link") ? 1 : 2;
}

static int put_round(struct json_object *files, int nr, struct putting *p, const char **which)
{
	json_object_object_foreach(files, path, o) {
		int ret = round_of(kup_json_text(o, "type")) == nr ? put_one(path, o, p) : 0;

		if (ret) {
			*which = path;
			return ret;
		}
	}
	return 0;
}

int kup_files_put(struct json_object *files, const char *from, struct kup_err *err)
{
	struct putting p = { .from = from };
	const char *which;
	int ret = 0;

	if (!json_object_is_type(files, json_type_object))
		return 0;
	for (int nr = 0; nr < 3 && !ret; nr++)
		ret = put_round(files, nr, &p, &which);
	if (ret == -EMEDIUMTYPE) {
		ret = kup_err_set(err, -ENOTSUP, "%s was on tmpfs, and its memory was kept; here it is on another file system", which);
		kup_err_next(err, "mount a tmpfs there, then `kup-ppp restore` again");
	} else if (ret == -ENOSPC) {
		kup_err_set(err, ret, "putting %s back: its file system is too small", which);
		kup_err_next(err, "mount -o remount,size=..., then `kup-ppp restore` again");
	} else if (ret) {
		kup_err_set(err, ret, "putting %s back: %s", which, strerror(-ret));
	}
	free(p.promise);
	if (ret)
		return ret;
	ret = put_attrs(files, &which);
	return ret ? kup_err_set(err, ret, "setting times and attributes of %s: %s", which, strerror(-ret)) : 0;
}
