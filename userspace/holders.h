/* SPDX-License-Identifier: GPL-2.0 */
/* Who holds which pipe and socket: one walk over /proc for any number of questions. */
#ifndef KUP_HOLDERS_H
#define KUP_HOLDERS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct kup_holder {
	uint64_t ino;		/* pipes and sockets count their inodes alike: one pipe, one socket may share a number */
	pid_t pid;
	char kind;		/* 'p' pipe, 's' socket */
};

struct kup_holders {
	struct kup_holder *list;	/* sorted by kind, inode, pid */
	size_t nr;
};

/**
 * kup_holders_read - every pipe and socket that a process of this pid namespace has open
 * @h: out, for kup_holders_free()
 *
 * The caller's own descriptors are left out; so are those of processes that end meanwhile.
 *
 * Return: 0 or a negative errno.
 */
int kup_holders_read(struct kup_holders *h);
void kup_holders_free(struct kup_holders *h);

/**
 * kup_holders_find - all who hold one object
 * @first: out
 *
 * Return: how many entries from @first on.
 */
size_t kup_holders_find(const struct kup_holders *h, char kind, uint64_t ino, const struct kup_holder **first);

#endif
