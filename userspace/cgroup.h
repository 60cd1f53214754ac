/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Freezing by cgroup v2.
 *
 * A tree that has a cgroup to itself is frozen there. Any other is moved into a cgroup of its own under kup-ppp/ first, and
 * back to where it came from when it is let go. The freezer holds tasks outside of user mode whatever they wait for, and
 * CRIU dumps a cgroup that it found frozen without letting it run: it leaves it frozen again.
 */
#ifndef KUP_CGROUP_H
#define KUP_CGROUP_H

#include <stdbool.h>

#include "tree.h"

struct json_object;

struct kup_freeze {
	char dir[512];			/* absolute path of the cgroup that is frozen */
	bool own;			/* made by us, removed by us */
	struct json_object *home;	/* pid -> path of the cgroup it came from; only if @own */
};

/**
 * kup_cgroup_root - where cgroup v2 is mounted; mounted in the run directory if nowhere
 *
 * Return: 0 or a negative errno.
 */
int kup_cgroup_root(const char **root, struct kup_err *err);

/**
 * kup_freeze_place - choose or make the cgroup in which a tree is frozen; nothing stops yet
 * @f: out; to be undone by kup_freeze_release()
 *
 * Return: 0 or a negative errno, everything in place as before.
 */
int kup_freeze_place(const struct kup_tree *tree, struct kup_freeze *f, struct kup_err *err);

/**
 * kup_freeze_stop - freeze, and wait until every task stands still
 * @timeout_ms: give up after so long
 *
 * Return: 0 or a negative errno; -ETIMEDOUT names the task that does not stop. Thawed again on failure.
 */
int kup_freeze_stop(struct kup_freeze *f, int timeout_ms, struct kup_err *err);
int kup_freeze_thaw(const struct kup_freeze *f, struct kup_err *err);	/* on, where it is */

/**
 * kup_freeze_check - is all that is frozen of the tree?
 * @tree: as it is now
 *
 * Return: 0 or -ENOTSUP.
 */
int kup_freeze_check(const struct kup_freeze *f, const struct kup_tree *tree, struct kup_err *err);

/**
 * kup_freeze_release - thaw and put every task back where it came from
 *
 * Return: 0, or the first negative errno; goes on after an error.
 */
int kup_freeze_release(struct kup_freeze *f, struct kup_err *err);

struct json_object *kup_freeze_to_json(const struct kup_freeze *f);
int kup_freeze_from_json(struct json_object *o, struct kup_freeze *f);	/* 0 or -EINVAL */

char *kup_cgroup_of(pid_t pid);	/* its place in the hierarchy, as in /proc/PID/cgroup; to be freed. NULL if it is gone */

/**
 * kup_cgroup_join - put a task into a cgroup of the hierarchy, made if it isn't there, unless it is in it
 * @path: as in /proc/PID/cgroup
 *
 * Return: 0 or a negative errno.
 */
int kup_cgroup_join(const char *path, pid_t pid, struct kup_err *err);

/**
 * kup_cgroup_as - have something done by a process of a cgroup: what the kernel charges the caller for is charged to that
 * @path: as for kup_cgroup_join()
 * @one: in a child of ours, which ends then
 * @result: @size bytes that @one writes, in the child
 *
 * Return: what @one does, or another negative errno.
 */
int kup_cgroup_as(const char *path, int (*one)(void *ctx, void *result, struct kup_err *err), void *ctx, void *result, size_t size,
		  struct kup_err *err);

#endif
