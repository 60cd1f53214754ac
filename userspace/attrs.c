// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include <json-c/json.h>

#include "attrs.h"
#include "json.h"
#include "util.h"

/* All names, each ended by a NUL. Return: how many bytes, for free(*names); or a negative errno. A file system without has none. */
static ssize_t list_names(const char *path, char **names)
{
	ssize_t len = llistxattr(path, NULL, 0);

	*names = NULL;
	if (len <= 0)
		return len && errno != EOPNOTSUPP ? -errno : 0;
	*names = malloc(len);
	if (!*names)
		return -ENOMEM;
	len = llistxattr(path, *names, len);
	return len < 0 ? -errno : len;
}

static char *to_hex(const unsigned char *data, size_t len)
{
	char *hex = malloc(2 * len + 1), *p = hex;

	for (size_t i = 0; hex && i < len; i++)
		p += sprintf(p, "%02x", data[i]);
	if (hex)
		*p = '\0';
	return hex;
}

/* In place. Return: how many bytes, or -1. */
static ssize_t from_hex(char *hex)
{
	size_t len = strlen(hex);
	unsigned int byte;

	for (size_t i = 0; i < len / 2; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return -1;
		hex[i] = byte;
	}
	return len % 2 ? -1 : (ssize_t)len / 2;
}

static int read_value(const char *path, const char *name, struct json_object *xattrs)
{
	unsigned char value[XATTR_SIZE_MAX];
	ssize_t len = lgetxattr(path, name, value, sizeof(value));
	char *hex;

	if (len < 0)
		return -errno;
	hex = to_hex(value, len);
	if (!hex)
		return -ENOMEM;
	json_object_object_add(xattrs, name, json_object_new_string(hex));
	free(hex);
	return 0;
}

int kup_attrs_read(const char *path, const struct stat *st, struct json_object *o)
{
	const int64_t times[] = { st->st_atim.tv_sec, st->st_atim.tv_nsec, st->st_mtim.tv_sec, st->st_mtim.tv_nsec };
	struct json_object *array = json_object_new_array(), *xattrs = json_object_new_object();
	char *names, *name;
	ssize_t len;
	int ret = 0;

	for (size_t i = 0; i < KUP_ARRAY_SIZE(times); i++)
		json_object_array_add(array, json_object_new_int64(times[i]));
	json_object_object_add(o, "times", array);
	json_object_object_add(o, "xattrs", xattrs);
	len = list_names(path, &names);
	for (name = names; len > 0 && name < names + len && !ret; name += strlen(name) + 1)
		ret = read_value(path, name, xattrs);
	free(names);
	return len < 0 ? (int)len : ret;
}

int kup_attrs_apply(const char *path, struct json_object *o)
{
	struct json_object *times = json_object_object_get(o, "times"), *xattrs = json_object_object_get(o, "xattrs");
	struct timespec ts[2];

	if (!json_object_is_type(times, json_type_array) || json_object_array_length(times) != 4 || !json_object_is_type(xattrs, json_type_object))
		return -EINVAL;
	json_object_object_foreach(xattrs, name, value) {
		char *data = strdup(json_object_get_string(value));
		ssize_t len = data ? from_hex(data) : -1;
		int ret = len < 0 ? -EINVAL : lsetxattr(path, name, data, len, 0) ? -errno : 0;

		free(data);
		if (ret)
			return ret;
	}
	for (int i = 0; i < 2; i++) {
		ts[i].tv_sec = json_object_get_int64(json_object_array_get_idx(times, 2 * i));
		ts[i].tv_nsec = json_object_get_int64(json_object_array_get_idx(times, 2 * i + 1));
	}
	return utimensat(AT_FDCWD, path, ts, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

bool kup_attrs_has_user(const char *path)
{
	char *names, *name;
	ssize_t len = list_names(path, &names);
	bool has = false;

	for (name = names; len > 0 && name < names + len && !has; name += strlen(name) + 1)
		has = kup_starts(name, "user.");
	free(names);
	return has;
}
