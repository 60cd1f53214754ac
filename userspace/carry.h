/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What would become of a process: kept in place, carried by CRIU, or refused.
 *
 * Conservative: what is not known to arrive whole is refused, by name. Looks only; nothing of the process is changed (a
 * descriptor is duplicated to ask a socket what it is).
 */
#ifndef KUP_CARRY_H
#define KUP_CARRY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "criu.h"
#include "holders.h"
#include "hugetlb.h"
#include "sockdiag.h"
#include "sysvipc.h"
#include "tree.h"

struct json_object;

struct kup_shared {
	dev_t dev;
	ino_t ino;
	const struct kup_tree *tree;
	pid_t pid;
};

/* What one look at a tree collects. */
struct kup_carry {
	const struct kup_forest *forest;
	struct kup_tree *tree;			/* the one looked at; its flags for CRIU are set */
	const struct kup_criu *criu;
	const struct kup_unix_sock *unix_socks;
	size_t nr_unix;
	struct kup_holders holders;		/* by kup_carry_holders() */
	int holders_read;			/* 0: not yet; 1; or a negative errno */
	struct kup_ipcs ipcs;
	bool own_ipc;				/* the process at hand is in an IPC namespace of its tree's own */
	pid_t low_pids;				/* up to here the new kernel may take them itself */
	struct json_object *files;		/* see files.h */
	struct kup_shared *shared;		/* memory without a name that was seen so far */
	size_t nr_shared;
	bool fallback;
	uint64_t huge_pages[KUP_HUGE_SIZES];	/* of hugetlbfs, that CRIU will reserve, as far as was looked */
	struct json_object *refused;		/* array of { pid, comm, object, why, next } */
	struct json_object *carried;		/* of the process at hand: kind -> count */
};

void kup_refuse(struct kup_carry *c, const struct kup_task *t, const char *object, const char *next, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
void kup_carried(struct kup_carry *c, const char *kind);

/**
 * kup_carry_holders - who holds which pipe and socket: read when first asked for, since it takes a look at every process there is
 */
const struct kup_holders *kup_carry_holders(struct kup_carry *c);

/**
 * kup_carry_named - CRIU finds files by name: refused if the name leads elsewhere now
 * @path: as /proc shows it, without " (deleted)"
 *
 * Return: whether it leads to @st.
 */
bool kup_carry_named(struct kup_carry *c, const struct kup_task *t, const char *object, const char *path, const struct stat *st);

/**
 * kup_carry_file - a file that the process refers to by name: noted if it exists in memory only, refused if it is too large
 * @object: for messages
 * @via: a path that leads to it now
 */
void kup_carry_file(struct kup_carry *c, const struct kup_task *t, const char *object, const char *path, const struct stat *st,
		    const char *via);

/**
 * kup_carry_shared - memory of a memfd or without any file: refused if a process of another tree has it, too
 * @kind: as for kup_carried()
 *
 * Return: whether it was not seen before.
 */
bool kup_carry_shared(struct kup_carry *c, const struct kup_task *t, const char *object, const struct stat *st, const char *kind);

/**
 * kup_carry_huge - @bytes of hugetlbfs, which the pool has to have when CRIU maps them, used or not; refused if it has not
 */
void kup_carry_huge(struct kup_carry *c, const struct kup_task *t, const char *object, enum kup_huge size, uint64_t bytes);

void kup_carry_vmas(struct kup_carry *c, const struct kup_task *t);	/* carry_vma.c */
void kup_carry_fds(struct kup_carry *c, const struct kup_task *t);	/* carry_fd.c */
void kup_carry_ipc(struct kup_carry *c, const struct kup_task *t);	/* carry_ipc.c: before kup_carry_vmas() */
/* carry_watch.c: of the inotify or fanotify descriptor @nr */
void kup_carry_watches(struct kup_carry *c, const struct kup_task *t, const char *object, int nr);

/**
 * kup_carry_forest - look at every process
 * @dev: the module's device, or -1: then what would stay in place isn't told
 * @criu: the CRIU that would be used
 * @fallback: whether the old kernel stays at hand
 * @files: object to which files that must be carried are added, see files.h
 *
 * Return: array of { pid, comm, threads, cgroup, memory: {...}, carried: {...}, refused: [...] } for json_object_put(); NULL and
 * @err if that is impossible.
 */
struct json_object *kup_carry_forest(struct kup_forest *forest, int dev, const struct kup_criu *criu, bool fallback, struct json_object *files,
				     struct kup_err *err);

/* So long a process may have its parent's memory, in milliseconds, before that counts. */
#define KUP_VFORK_MS 1000

/**
 * kup_carry_vforked - a process that has its parent's memory, maybe in the midst of vfork(); NULL: none
 */
const struct kup_task *kup_carry_vforked(const struct kup_forest *forest);

/**
 * kup_carry_refused - how many things are refused in a result of kup_carry_forest()
 * @err: set to the first one, if any
 */
size_t kup_carry_refused(struct json_object *processes, struct kup_err *err);

#endif
