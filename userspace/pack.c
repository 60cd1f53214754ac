// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pack.h"
#include "util.h"

#define NAME_LEN_MAX 255u

int kup_pack_data(int out, const char *name, const void *data, uint64_t size, struct kup_err *err)
{
	struct kup_pack_entry e = { .magic = KUP_PACK_MAGIC, .name_len = strlen(name), .size = size };
	int ret;

	ret = kup_write_all(out, &e, sizeof(e));
	if (!ret)
		ret = kup_write_all(out, name, e.name_len);
	if (!ret)
		ret = kup_write_all(out, data, size);
	return ret ? kup_err_set(err, ret, "storing %s: %s", *name ? name : "the end mark", strerror(-ret)) : 0;
}

int kup_pack_text(int out, const char *name, const char *text, struct kup_err *err)
{
	return kup_pack_data(out, name, text, strlen(text), err);
}

int kup_pack_end(int out, struct kup_err *err)
{
	return kup_pack_data(out, "", "", 0, err);
}

int kup_pack_dir(int out, const char *path, const char *prefix, uint64_t *bytes, struct kup_err *err)
{
	struct dirent *d;
	int ret = 0;
	DIR *dir;

	dir = opendir(path);
	if (!dir)
		return kup_err_set(err, -errno, "%s: %s", path, strerror(errno));
	while (!ret && (d = readdir(dir))) {
		char file[512], name[NAME_LEN_MAX + 1];
		struct stat st;
		size_t len;
		char *data;

		snprintf(file, sizeof(file), "%s/%s", path, d->d_name);
		if (lstat(file, &st) || !S_ISREG(st.st_mode))
			continue;
		if (snprintf(name, sizeof(name), "%s%s%s", prefix ?: "", prefix ? "/" : "", d->d_name) >= (int)sizeof(name)) {
			ret = kup_err_set(err, -ENAMETOOLONG, "storing %s: name too long", file);
			break;
		}
		data = kup_slurp(file, &len);
		if (!data) {
			ret = kup_err_set(err, -errno, "%s: %s", file, strerror(errno));
			break;
		}
		ret = kup_pack_data(out, name, data, len, err);
		free(data);
		*bytes += len;
	}
	closedir(dir);
	return ret;
}

static int bad_name(const char *name)
{
	const char *slash = strchr(name, '/');

	return name[0] == '/' || name[0] == '.' || (slash && (strchr(slash + 1, '/') || slash[1] == '.' || !slash[1]));
}

static int get_file(int in, const char *path, const char *name, uint64_t size, struct kup_err *err)
{
	char file[512], dir[512], buf[65536];
	int fd, ret = 0;

	snprintf(file, sizeof(file), "%s/%s", path, name);
	if (strchr(name, '/')) {
		snprintf(dir, sizeof(dir), "%s", file);
		*strrchr(dir, '/') = '\0';
		if (mkdir(dir, 0700) && errno != EEXIST)
			return kup_err_set(err, -errno, "%s: %s", dir, strerror(errno));
	}
	fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return kup_err_set(err, -errno, "%s: %s", file, strerror(errno));
	while (size && !ret) {
		size_t n = size < sizeof(buf) ? size : sizeof(buf);

		ret = kup_read_all(in, buf, n);
		if (ret) {
			kup_err_set(err, ret, "the store ends within %s: %s", name, strerror(-ret));
			break;
		}
		ret = kup_write_all(fd, buf, n);
		if (ret)
			kup_err_set(err, ret, "%s: %s", file, strerror(-ret));
		size -= n;
	}
	close(fd);
	return ret;
}

int kup_unpack(int in, const char *path, struct kup_err *err)
{
	struct kup_pack_entry e;
	char name[NAME_LEN_MAX + 1];
	int ret;

	for (;;) {
		ret = kup_read_all(in, &e, sizeof(e));
		if (ret)
			return kup_err_set(err, ret == -ENODATA ? -EBADMSG : ret, "the store has no end mark: %s", strerror(-ret));
		if (e.magic != KUP_PACK_MAGIC || e.name_len > NAME_LEN_MAX)
			return kup_err_set(err, -EBADMSG, "the store holds no entry where one was expected");
		if (!e.name_len)
			return 0;
		ret = kup_read_all(in, name, e.name_len);
		if (ret)
			return kup_err_set(err, -EBADMSG, "the store ends within a name");
		name[e.name_len] = '\0';
		if (strlen(name) != e.name_len || bad_name(name))
			return kup_err_set(err, -EBADMSG, "the store holds a file with a bad name");
		ret = get_file(in, path, name, e.size, err);
		if (ret)
			return ret;
	}
}
