// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <json-c/json.h>

#include "files.h"
#include "json.h"
#include "pack.h"
#include "util.h"

bool kup_file_is_volatile(const char *via)
{
	struct statfs fs;

	return !statfs(via, &fs) && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

bool kup_file_stays(const char *via, const struct stat *st)
{
	struct statfs fs;

	return S_ISREG(st->st_mode) && (uint64_t)st->st_size > KUP_FILE_SMALL && !statfs(via, &fs) && fs.f_type == TMPFS_MAGIC;
}

void kup_file_note(struct json_object *files, const char *path, const struct stat *st)
{
	struct json_object *o;
	char name[32];

	if (json_object_object_get_ex(files, path, &o))
		return;
	o = json_object_new_object();
	json_object_object_add(o, "type", json_object_new_string(S_ISREG(st->st_mode) ? "file" : S_ISDIR(st->st_mode) ? "dir" : "fifo"));
	json_object_object_add(o, "mode", json_object_new_int(st->st_mode & 07777));
	json_object_object_add(o, "uid", json_object_new_int64(st->st_uid));
	json_object_object_add(o, "gid", json_object_new_int64(st->st_gid));
	if (S_ISREG(st->st_mode)) {
		snprintf(name, sizeof(name), "files/%d", json_object_object_length(files));
		json_object_object_add(o, "store", json_object_new_string(name));
	}
	json_object_object_add(files, path, o);
}

int kup_files_store(struct json_object *files, int out, uint64_t *bytes, struct kup_err *err)
{
	json_object_object_foreach(files, path, o) {
		const char *name = kup_json_text(o, "store");
		size_t len;
		char *data;
		int ret;

		if (!*name || json_object_object_get_ex(o, "size", NULL))
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

/* Of the file system of @dir: -EMEDIUMTYPE if it is no tmpfs, -ENOSPC if @bytes more do not fit. */
static int promise(struct putting *p, const char *dir, uint64_t bytes)
{
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
	there->bytes += bytes;
	/* no blocks at all: no limit */
	return fs.f_blocks && fs.f_bavail * fs.f_bsize < there->bytes ? -ENOSPC : 0;
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

static int put_one(const char *path, struct json_object *o, struct putting *p)
{
	const char *type = kup_json_text(o, "type");
	mode_t mode = kup_json_int(o, "mode");
	char dir[512], source[512];
	struct stat st;
	int ret = 0;

	if (path[0] != '/' || snprintf(dir, sizeof(dir), "%s", path) >= (int)sizeof(dir))
		return -EINVAL;
	if (strcmp(type, "file") && !lstat(path, &st))
		return 0;
	*strrchr(dir, '/') = '\0';
	if (dir[0])
		ret = kup_mkdirs(dir, 0755);
	if (!ret && !strcmp(type, "dir")) {
		ret = mkdir(path, mode) ? -errno : 0;
	} else if (!ret && !strcmp(type, "fifo")) {
		ret = mkfifo(path, mode) ? -errno : 0;
	} else if (!ret && json_object_object_get_ex(o, "size", NULL)) {
		ret = promise(p, dir[0] ? dir : "/", kup_json_int(o, "bytes"));
		if (!ret)
			ret = make_empty(path, kup_json_int(o, "size"), mode);
	} else if (!ret) {
		snprintf(source, sizeof(source), "%s/%s", p->from, kup_json_text(o, "store"));
		ret = put_file(path, source, mode);
	}
	if (!ret && (lchown(path, kup_json_int(o, "uid"), kup_json_int(o, "gid")) || chmod(path, mode)))
		ret = -errno;
	return ret;
}

int kup_files_put(struct json_object *files, const char *from, struct kup_err *err)
{
	struct putting p = { .from = from };
	int ret = 0;

	if (!json_object_is_type(files, json_type_object))
		return 0;
	json_object_object_foreach(files, path, o) {
		ret = put_one(path, o, &p);
		if (!ret)
			continue;
		if (ret == -EMEDIUMTYPE) {
			ret = kup_err_set(err, -ENOTSUP, "%s was on tmpfs, and its memory was kept; here it is on another file system", path);
			kup_err_next(err, "mount a tmpfs there, then `kup-ppp restore` again");
		} else if (ret == -ENOSPC) {
			kup_err_set(err, ret, "putting %s back: its file system is too small", path);
			kup_err_next(err, "mount -o remount,size=..., then `kup-ppp restore` again");
		} else {
			kup_err_set(err, ret, "putting %s back: %s", path, strerror(-ret));
		}
		break;
	}
	free(p.promise);
	return ret;
}
