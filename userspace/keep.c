// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <json-c/json.h>

#include <kup/handover.h>

#include "attrs.h"
#include "files.h"
#include "json.h"
#include "keep.h"
#include "kernel.h"
#include "kup.h"
#include "util.h"

#define LARGE_MAX		(KUP_MAX_MMS - 1024)	/* besides processes and what they share */
#define STORED_PART		8u
#define USER_ATTRS_SINCE	6006	/* user.* on tmpfs: major * 1000 + minor */

/*
 * Every name of the directory's own file system, directories before what is in them; what is gone by the time that it is looked at is left
 * out. @one says 0, or something else that ends the walk.
 */
static int walk(const char *dir, int (*one)(void *ctx, const char *path, const struct stat *st), void *ctx, struct kup_err *err)
{
	char *paths[] = { (char *)dir, NULL };
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	FTSENT *e;
	int ret = 0;

	if (!fts)
		return kup_err_set(err, -errno, "%s: %s", dir, strerror(errno));
	while (!ret && (e = fts_read(fts))) {
		const bool failed = e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS;

		if (failed && e->fts_errno == ENOENT)
			continue;
		if (failed)
			ret = kup_err_set(err, -e->fts_errno, "%s: %s", e->fts_path, strerror(e->fts_errno));
		else if (e->fts_info != FTS_DP && !S_ISSOCK(e->fts_statp->st_mode))
			ret = one(ctx, e->fts_path, e->fts_statp);
	}
	fts_close(fts);
	return ret;
}

/* "seclabel" says what the file system can do (SELinux), and nobody may ask for it. In place. */
static void drop_seclabel(char *options)
{
	char *word = strstr(options, ",seclabel");
	size_t len = strlen(",seclabel");

	if (word && (word[len] == ',' || !word[len]))
		memmove(word, word + len, strlen(word + len) + 1);
}

/* Return: whether it is a mount point; @options as of mount(8), at least an empty text. */
static bool is_mounted(const char *dir, char **options)
{
	FILE *f = setmntent("/proc/self/mounts", "r");
	struct mntent *m;

	*options = NULL;
	while (f && (m = getmntent(f)))
		if (!strcmp(m->mnt_dir, dir)) {	/* the last one is on top */
			free(*options);
			*options = strdup(m->mnt_opts);
		}
	if (f)
		endmntent(f);
	if (*options) {
		drop_seclabel(*options);
		return true;
	}
	*options = strdup("");
	return false;
}

/*
 * How large it may become stands in the options only if somebody has said so. Else it is half of memory, of which the new kernel has less as long
 * as what was kept is not back.
 */
static void add_limits(const char *dir, char **options)
{
	const bool has_size = strstr(*options, ",size="), has_inodes = strstr(*options, ",nr_inodes=");
	char size[40] = "", inodes[40] = "", *all;
	struct statfs fs;

	if (statfs(dir, &fs))
		return;
	if (!has_size)
		snprintf(size, sizeof(size), ",size=%lluk", (unsigned long long)fs.f_blocks * fs.f_bsize >> 10);
	if (!has_inodes)
		snprintf(inodes, sizeof(inodes), ",nr_inodes=%llu", (unsigned long long)fs.f_files);
	if (asprintf(&all, "%s%s%s", *options, size, inodes) < 0)
		return;
	free(*options);
	*options = all;
}

/* What one look collects. */
struct look {
	const char *dir;
	const char *release;
	struct json_object *files, *refused;
	uint64_t names, in_place, stored;
	uint64_t more;		/* of both, what is not to be carried anyway */
	uint64_t large;		/* files that stay in place */
	bool tmpfs, user_attrs;
};

static void refuse(struct look *l, const char *object, const char *why, const char *next)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "object", json_object_new_string(object));
	json_object_object_add(o, "why", json_object_new_string(why));
	json_object_object_add(o, "next", json_object_new_string(next));
	json_object_array_add(l->refused, o);
}

static int count(void *ctx, const char *path, const struct stat *st)
{
	struct look *l = ctx;
	const bool stays = l->tmpfs && (uint64_t)st->st_size > KUP_FILE_SMALL;
	uint64_t bytes;
	char why[128];

	l->names++;
	l->user_attrs |= kup_attrs_has_user(path);
	if (!S_ISREG(st->st_mode))
		return 0;
	bytes = stays ? (uint64_t)st->st_blocks * 512 : (uint64_t)st->st_size;
	*(stays ? &l->in_place : &l->stored) += bytes;
	l->large += stays;
	if (!json_object_object_get_ex(l->files, path, NULL))
		l->more += bytes;
	if (!stays && (uint64_t)st->st_size > KUP_FILE_MAX) {
		snprintf(why, sizeof(why), "it has %lld MiB, and up to %llu MiB are carried unless they are on tmpfs",
			 (long long)st->st_size >> 20, KUP_FILE_MAX >> 20);
		refuse(l, path, why, "have the directory on a tmpfs");
	}
	return 0;
}

static bool writes(pid_t pid, const char *fd)
{
	char *text = kup_slurpf("/proc/%d/fdinfo/%s", pid, fd), *p = text ? strstr(text, "flags:") : NULL;
	bool yes = p && (strtoul(p + strlen("flags:"), NULL, 8) & O_ACCMODE) != O_RDONLY;

	free(text);
	return yes;
}

/* Does the process write to a file of that directory? @name: out, which */
static bool writes_below(pid_t pid, const char *dir, char name[PATH_MAX])
{
	const size_t len = strlen(dir);
	char path[300];
	struct dirent *e;
	bool found = false;
	ssize_t n;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	while (d && !found && (e = readdir(d))) {
		n = readlinkat(dirfd(d), e->d_name, name, PATH_MAX - 1);
		if (n < 0)
			continue;
		name[n] = '\0';
		found = kup_starts(name, dir) && name[len] == '/' && writes(pid, e->d_name);
	}
	if (d)
		closedir(d);
	return found;
}

/* Or has it one mapped, so that it can without asking anybody? */
static bool maps_below(pid_t pid, const char *dir, char name[PATH_MAX])
{
	char *text = kup_slurpf("/proc/%d/maps", pid), *rest = text, *line;
	const size_t len = strlen(dir);
	bool found = false;

	while (!found && (line = strsep(&rest, "\n"))) {
		char *path = strchr(line, '/'), *perms = strchr(line, ' ');

		found = path && perms && perms[2] == 'w' && perms[4] == 's' && kup_starts(path, dir) && path[len] == '/';
		if (found)
			snprintf(name, PATH_MAX, "%s", path);
	}
	free(text);
	return found;
}

/* What a process that goes down with this kernel has half written would be kept like that. */
static void look_writers(struct look *l, const struct kup_forest *forest)
{
	char name[PATH_MAX], why[128], comm[16];
	DIR *proc = opendir("/proc");
	struct dirent *e;

	while (proc && (e = readdir(proc))) {
		pid_t pid = atoi(e->d_name);

		if (!isdigit((unsigned char)e->d_name[0]) || pid == getpid() || kup_forest_find(forest, pid))
			continue;
		if (!writes_below(pid, l->dir, name) && !maps_below(pid, l->dir, name))
			continue;
		if (kup_forest_has_now(forest, pid) || kup_task_has_ended(pid))
			continue;
		snprintf(why, sizeof(why), "pid %d (%s), which is not kept, has it open to write: it would be kept half written", pid,
			 kup_task_comm(pid, comm));
		refuse(l, name, why, "keep that process as well, or end it");
	}
	if (proc)
		closedir(proc);
}

/* Is it that directory, or below? */
static bool is_in(const char *path, const char *dir)
{
	const size_t len = strlen(dir);

	return !strcmp(dir, "/") || (kup_starts(path, dir) && (path[len] == '/' || !path[len]));
}

/* What all of them together must not exceed. */
static void look_total(struct look *l, uint64_t large, uint64_t stored)
{
	char why[160];

	if (large > LARGE_MAX) {
		snprintf(why, sizeof(why), "with it there are %llu files of more than %llu KiB, and up to %u can stay in place",
			 (unsigned long long)large, KUP_FILE_SMALL >> 10, LARGE_MAX);
		refuse(l, l->dir, why, "keep less, or have it in fewer files");
	}
	if (stored > (uint64_t)sysconf(_SC_PHYS_PAGES) * 4096 / STORED_PART) {
		snprintf(why, sizeof(why), "with it there are %llu MiB in files of up to %llu KiB, which are copied: a %uth of memory may be",
			 (unsigned long long)stored >> 20, KUP_FILE_SMALL >> 10, STORED_PART);
		refuse(l, l->dir, why, "keep less, or have it in larger files");
	}
}

static void look_dir(struct look *l, const struct kup_forest *forest)
{
	struct kup_err e;
	struct statfs fs;
	struct stat st;

	l->tmpfs = !statfs(l->dir, &fs) && fs.f_type == TMPFS_MAGIC;
	if (stat(l->dir, &st))
		refuse(l, l->dir, errno == ENOENT ? "there is no such directory" : strerror(errno), "name one that exists");
	else if (!S_ISDIR(st.st_mode))
		refuse(l, l->dir, "it is no directory", "name the one that it is in");
	else if (is_in(KUP_RUN_DIR, l->dir))
		refuse(l, l->dir, "the new system has one of its own", "name a directory that belongs to the application");
	else if (!kup_file_is_volatile(l->dir))
		refuse(l, l->dir, "it is on a disk, or another file system that doesn't live in memory", "nothing has to be done to keep it");
	else if (walk(l->dir, count, l, &e))
		refuse(l, l->dir, e.what, "see that it can be read");
	else
		look_writers(l, forest);
	if (l->user_attrs && l->release[0] && kup_release_major_minor(l->release) < USER_ATTRS_SINCE)
		refuse(l, l->dir, "files in it have attributes user.*, which tmpfs doesn't have before 6.6", "setfattr -x, or another kernel");
}

/* The name without links, for free(). As given if there is none. */
static char *real(const char *dir)
{
	return realpath(dir, NULL) ?: strdup(dir);
}

struct json_object *kup_keep_look(const struct kup_conf *conf, const struct kup_forest *forest, const char *release,
				  struct json_object *files, uint64_t *bytes, struct kup_err *err)
{
	struct json_object *array = json_object_new_array();
	uint64_t large = 0, stored = 0;
	bool first = true;

	for (size_t i = 0; i < conf->nr_keep; i++) {
		struct look l = { .dir = real(conf->keep[i]), .release = release, .files = files };
		struct json_object *o = json_object_new_object(), *r;

		l.refused = json_object_new_array();
		look_dir(&l, forest);
		large += l.large;
		stored += l.stored;
		look_total(&l, large, stored);
		for (size_t j = 0; j < i; j++)
			if (is_in(l.dir, kup_json_text(json_object_array_get_idx(array, j), "dir")) ||
			    is_in(kup_json_text(json_object_array_get_idx(array, j), "dir"), l.dir))
				refuse(&l, l.dir, "it is in another one to be kept, or has one in it", "name the outer one alone");
		*bytes += l.more;
		json_object_object_add(o, "dir", json_object_new_string(l.dir));
		json_object_object_add(o, "names", json_object_new_uint64(l.names));
		json_object_object_add(o, "in_place_bytes", json_object_new_uint64(l.in_place));
		json_object_object_add(o, "stored_bytes", json_object_new_uint64(l.stored));
		json_object_object_add(o, "refused", l.refused);
		json_object_array_add(array, o);
		if (first && json_object_array_length(l.refused)) {
			r = json_object_array_get_idx(l.refused, 0);
			kup_err_set(err, -ENOTSUP, "keep %s: %s: %s", l.dir, kup_json_text(r, "object"), kup_json_text(r, "why"));
			kup_err_next(err, "%s", kup_json_text(r, "next"));
			first = false;
		}
		free((char *)l.dir);
	}
	return array;
}

size_t kup_keep_refused(struct json_object *kept)
{
	size_t nr = 0;

	for (size_t i = 0; i < json_object_array_length(kept); i++)
		nr += json_object_array_length(json_object_object_get(json_object_array_get_idx(kept, i), "refused"));
	return nr;
}

struct noting {
	struct json_object *files;
	struct json_object *first;	/* device:inode -> the name that was seen first, of files that have several, in whichever directory */
	uint64_t names;
	struct kup_err *err;
};

static int note(void *ctx, const char *path, const struct stat *st)
{
	struct noting *n = ctx;
	struct json_object *first = NULL;
	char ino[48];
	int ret;

	if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) {
		snprintf(ino, sizeof(ino), "%llx:%llu", (unsigned long long)st->st_dev, (unsigned long long)st->st_ino);
		if (!json_object_object_get_ex(n->first, ino, &first))
			json_object_object_add(n->first, ino, json_object_new_string(path));
	}
	n->names++;
	ret = kup_file_note_whole(n->files, path, st, first ? json_object_get_string(first) : NULL);
	return ret ? kup_err_set(n->err, ret, "%s: %s", path, strerror(-ret)) : 0;
}

int kup_keep_note(const struct kup_conf *conf, struct json_object *files, struct json_object *plan, struct kup_err *err)
{
	struct noting n = { .files = files, .first = json_object_new_object(), .err = err };
	struct json_object *array = json_object_new_array();
	int ret = 0;

	json_object_object_add(plan, "keep", array);
	for (size_t i = 0; i < conf->nr_keep && !ret; i++) {
		struct json_object *o = json_object_new_object();
		char *dir = real(conf->keep[i]), *options;

		n.names = 0;
		ret = walk(dir, note, &n, err);
		if (is_mounted(dir, &options))
			add_limits(dir, &options);
		json_object_object_add(o, "dir", json_object_new_string(dir));
		json_object_object_add(o, "mount", json_object_new_string(options));
		json_object_object_add(o, "names", json_object_new_uint64(n.names));
		json_object_array_add(array, o);
		free(options);
		free(dir);
	}
	json_object_put(n.first);
	return ret;
}

static int mount_again(const char *dir, const char *options, struct kup_err *err)
{
	char *argv[] = { "mount", "-t", "tmpfs", "-o", (char *)options, "tmpfs", (char *)dir, NULL }, out[512], *now;
	int ret;

	if (!*options || is_mounted(dir, &now))
		return 0;
	free(now);
	ret = kup_run(argv, out, sizeof(out));
	if (!ret)
		return 0;
	kup_err_set(err, ret < 0 ? ret : -EIO, "mounting a tmpfs on %s, with the options %.100s: %s", dir, options,
		    ret < 0 ? strerror(-ret) : kup_last_line(out));
	kup_err_next(err, "mount one there, then `kup-ppp restore` again");
	return ret < 0 ? ret : -EIO;
}

int kup_keep_mount(struct json_object *plan, struct kup_err *err)
{
	struct json_object *array = json_object_object_get(plan, "keep");

	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);
		const char *dir = kup_json_text(o, "dir");
		int ret = kup_mkdirs(dir, 0755);

		if (ret)
			return kup_err_set(err, ret, "%s: %s", dir, strerror(-ret));
		ret = mount_again(dir, kup_json_text(o, "mount"), err);
		if (ret)
			return ret;
		if (kup_file_is_volatile(dir))
			continue;
		kup_err_set(err, -ENOTSUP, "%s was kept in memory, and is on another file system here", dir);
		kup_err_next(err, "mount a tmpfs there, then `kup-ppp restore` again");
		return -ENOTSUP;
	}
	return 0;
}
