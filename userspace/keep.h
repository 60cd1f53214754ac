/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Directories that are kept, `keep = DIR`: of tmpfs or ramfs, with every name in them, whoever uses them, or nobody. In the new kernel DIR is
 * mounted as it was, and as large, if it was a mount point and is none there.
 *
 * What is in them comes into the list of files (files.h) when all processes are frozen. Sockets are left out: they are nothing without the
 * process that made them, with which they come. So is what is mounted below DIR.
 *
 * In the plan: keep: [{ dir, mount: options to mount it with, "" if it is no mount point, names }]
 */
#ifndef KUP_KEEP_H
#define KUP_KEEP_H

#include <stddef.h>
#include <stdint.h>

#include "conf.h"
#include "tree.h"

struct json_object;

/**
 * kup_keep_look - can they be kept? Nothing is changed
 * @release: of the new kernel; "" if it isn't known
 * @files: those to be carried already
 * @bytes: added to: what stays in memory besides those
 * @err: the first one that cannot
 *
 * Return: array of { dir, names, in_place_bytes, stored_bytes, refused: [{ object, why, next }] }.
 */
struct json_object *kup_keep_look(const struct kup_conf *conf, const struct kup_forest *forest, const char *release,
				  struct json_object *files, uint64_t *bytes, struct kup_err *err);

/**
 * kup_keep_refused - how many of them cannot
 */
size_t kup_keep_refused(struct json_object *kept);

/**
 * kup_keep_note - have all that is in them carried, as it is now
 * @files: see files.h
 * @plan: gets `keep`
 *
 * To be called while the trees are frozen. Return: 0 or a negative errno.
 */
int kup_keep_note(const struct kup_conf *conf, struct json_object *files, struct json_object *plan, struct kup_err *err);

/**
 * kup_keep_mount - in the new kernel: see that each is there, on a file system that lives in memory
 *
 * To be called before kup_files_put(). Return: 0 or a negative errno.
 */
int kup_keep_mount(struct json_object *plan, struct kup_err *err);

#endif
