/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Shared memory of the trees, kept in place: MAP_SHARED memory without a file, memfd, and large files of tmpfs. CRIU carries all of
 * them but for what is in them.
 *
 * In the plan: shmem: [{ id, pid, at, pages }]. @at tells where one of the processes has it, in the old kernel as in the new one:
 * "map ADDRESS" in hexadecimal, "fd NUMBER", or, for a file that has a name, its path.
 */
#ifndef KUP_SHMEM_H
#define KUP_SHMEM_H

#include <stdint.h>

#include "err.h"
#include "tree.h"

struct json_object;

/**
 * kup_shmem_bytes - how much there is of it
 * @files: those to be carried, see files.h
 */
uint64_t kup_shmem_bytes(const struct kup_forest *forest, struct json_object *files);

/**
 * kup_shmem_preserve - have the module keep what the trees share
 * @files: those to be carried, see files.h; what is kept in place gets its size there, and is not stored
 * @plan: gets the list
 *
 * To be called while the trees are frozen, and CRIU, a child of ours, has not dumped them.
 *
 * Return: 0 or a negative errno.
 */
int kup_shmem_preserve(int dev, const struct kup_forest *forest, struct json_object *files, struct json_object *plan, struct kup_err *err);

/**
 * kup_shmem_attach - give it back, when all processes are there and none of them runs
 * @plan: of which the list gets what was copied
 *
 * Return: 0 or a negative errno.
 */
int kup_shmem_attach(int dev, struct json_object *plan, struct kup_err *err);

#endif
