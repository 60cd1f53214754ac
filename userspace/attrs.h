/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a name in a file system has besides owner, mode and content: times and extended attributes (ACLs and capabilities are some).
 *
 * As JSON: times: [of access, its nanoseconds, of modification, its nanoseconds], xattrs: { NAME: value in hexadecimal }
 */
#ifndef KUP_ATTRS_H
#define KUP_ATTRS_H

#include <stdbool.h>
#include <sys/stat.h>

struct json_object;

/**
 * kup_attrs_read - add times and extended attributes
 * @path: itself if it is a symbolic link
 *
 * Return: 0 or a negative errno.
 */
int kup_attrs_read(const char *path, const struct stat *st, struct json_object *o);

/**
 * kup_attrs_apply - set what kup_attrs_read() found
 *
 * Return: 0 or a negative errno; -EOPNOTSUPP: this kernel's file system doesn't know one of the attributes.
 */
int kup_attrs_apply(const char *path, struct json_object *o);

/**
 * kup_attrs_has_user - is there an attribute of the class user. ? Before 6.6 tmpfs has none of them.
 */
bool kup_attrs_has_user(const char *path);

#endif
