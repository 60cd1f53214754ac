/* SPDX-License-Identifier: GPL-2.0 */
/* A process tree: a root and all its descendants, which is what one CRIU image holds. */
#ifndef KUP_TREE_H
#define KUP_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "err.h"

struct kup_task {
	pid_t pid;
	pid_t ppid;
	pid_t pgid;
	pid_t sid;
	char state;		/* as in /proc/PID/stat */
	bool exiting;		/* on its way out: it has no memory any more, or will have none, and is no zombie yet */
	char comm[16];
	char *cgroup;		/* path in the cgroup2 hierarchy, "/" for its root; NULL if there is none */
	pid_t *tids;
	size_t nr_tids;
};

struct kup_tree {
	struct kup_task *tasks;	/* tasks[0] is the root; parents come before their children */
	size_t nr;
	bool shell_job;		/* session or process group is led from outside the tree */
	/* Set by who looks at the descriptors: what CRIU must be told, and what must be seen to after it. */
	bool file_locks, ext_unix, timerfds;
	bool hugetlb, gigantic;	/* uses huge pages of hugetlbfs, of 2 MiB and of 1 GiB */
};

struct kup_forest {
	struct kup_tree *trees;
	size_t nr;
};

/**
 * kup_tree_read - collect a tree from /proc
 * @root: a thread group id
 * @tree: out, for kup_tree_free()
 *
 * A task that exits meanwhile is left out, unless it is the root.
 *
 * Return: 0 or a negative errno.
 */
int kup_tree_read(pid_t root, struct kup_tree *tree, struct kup_err *err);
void kup_tree_free(struct kup_tree *tree);
const struct kup_task *kup_tree_find(const struct kup_tree *tree, pid_t pid);	/* NULL if not in it */

/**
 * kup_forest_read - the trees with these roots
 * @roots: a root inside another root's tree is no tree of its own
 *
 * Return: 0 or a negative errno.
 */
int kup_forest_read(const pid_t *roots, size_t nr, struct kup_forest *forest, struct kup_err *err);
void kup_forest_free(struct kup_forest *forest);
const struct kup_task *kup_forest_find(const struct kup_forest *forest, pid_t pid);

bool kup_task_has_ended(pid_t pid);	/* gone, a zombie, or on its way out */

/**
 * kup_forest_has_now - is it of one of these trees, maybe born since they were read? false if it has ended
 */
bool kup_forest_has_now(const struct kup_forest *forest, pid_t pid);
bool kup_tree_has_now(const struct kup_tree *tree, pid_t pid);

/**
 * kup_task_comm - a task's name, for messages
 *
 * Return: @buf; "?" if the task is gone.
 */
char *kup_task_comm(pid_t pid, char buf[16]);

#endif
