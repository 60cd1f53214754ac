/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How large a tmpfs may become. One that nobody has given a size is half of memory, and of that the new kernel has less than the old one as long
 * as what was kept is not back: the tmpfs that its system mounts may be too small for what is to come into it.
 */
#ifndef KUP_TMPFS_H
#define KUP_TMPFS_H

#include <stdint.h>

/**
 * kup_tmpfs_limit - how many bytes fit into it, those that are in it included
 * @path: something on it
 *
 * Return: bytes; 0: no limit, or there is no telling.
 */
uint64_t kup_tmpfs_limit(const char *path);

/**
 * kup_tmpfs_grow - give it another limit, for all who have it mounted; what it was mounted with stays else as it is
 * @dir: a directory on it
 * @bytes: the new limit
 *
 * Return: 0 or a negative errno.
 */
int kup_tmpfs_grow(const char *dir, uint64_t bytes);

#endif
