/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Files that exist in memory only (tmpfs, ramfs, an initramfs) and that a process holds, or that are in a directory to be kept (keep.h):
 * the new kernel's system doesn't have them. Their content goes through the store, or that of a large one stays where it is (shmem.h).
 *
 * In the plan: files: { PATH: { type: "file", "dir", "fifo", "symlink", "link", "char" or "block"; mode, uid, gid; store: name in the
 * store, of a file; size, bytes, limit: of a file that is not in the store, of what there is of it, and of its file system (tmpfs.h);
 * to: of links; major, minor: of devices; whole: it takes the place of what has that name, and has times and xattrs (attrs.h) } }
 */
#ifndef KUP_FILES_H
#define KUP_FILES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "err.h"

struct json_object;

#define KUP_FILE_MAX	(64ull << 20)	/* a larger one is refused, if it cannot stay where it is */
#define KUP_FILE_SMALL	(1ull << 20)	/* up to here the store is as good, and the new system need not have tmpfs there */

/**
 * kup_file_is_volatile - is it on a file system that lives in memory?
 * @via: a path that leads to it, such as /proc/PID/fd/N
 */
bool kup_file_is_volatile(const char *via);
bool kup_file_is_cgroup1(const char *via);	/* in a hierarchy of cgroup v1? */

/**
 * kup_file_stays - can its content stay where it is?
 * @via: as above
 */
bool kup_file_stays(const char *via, const struct stat *st);

/**
 * kup_file_note - have a file carried
 * @files: JSON object to add to
 * @path: as the new system shall have it
 */
void kup_file_note(struct json_object *files, const char *path, const struct stat *st);

/**
 * kup_file_note_whole - have it carried with all that it has, a symbolic link or a device as well
 * @first: of a file that was noted already under another name, that name; else NULL
 *
 * Return: 0 or a negative errno.
 */
int kup_file_note_whole(struct json_object *files, const char *path, const struct stat *st, const char *first);

/**
 * kup_files_store - write the contents to the store
 * @out: see pack.h
 * @bytes: added to
 *
 * To be called while nobody can write to them.
 *
 * Return: 0 or a negative errno.
 */
int kup_files_store(struct json_object *files, int out, uint64_t *bytes, struct kup_err *err);

/**
 * kup_files_put - bring them back, those that are not whole where they are not there or not the same in size
 * @from: directory into which the store was unpacked
 *
 * Those whose content stayed where it was are made empty, and get it later: kup_shmem_attach(). A tmpfs that is too small for it is made
 * as large as the one was that it comes from.
 *
 * Return: 0 or a negative errno.
 */
int kup_files_put(struct json_object *files, const char *from, struct kup_err *err);

#endif
