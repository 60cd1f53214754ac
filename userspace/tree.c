// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cgroup.h"
#include "tree.h"
#include "util.h"

char *kup_task_comm(pid_t pid, char buf[16])
{
	char *text = kup_slurpf("/proc/%d/comm", pid);

	snprintf(buf, 16, "%s", text ? kup_trim(text) : "?");
	free(text);
	return buf;
}

#define EXITING	0x4u	/* PF_EXITING, among the flags in /proc/PID/stat */

static int read_stat(pid_t pid, struct kup_task *t)
{
	char *text = kup_slurpf("/proc/%d/stat", pid), *open, *close;
	unsigned int flags;
	int ret = -ESRCH;
	size_t len;

	if (!text)
		return -ESRCH;
	/* comm may hold anything, parentheses too: it ends at the last one */
	open = strchr(text, '(');
	close = strrchr(text, ')');
	if (open && close && sscanf(close + 1, " %c %d %d %d %*d %*d %u", &t->state, &t->ppid, &t->pgid, &t->sid, &flags) == 5) {
		t->exiting = flags & EXITING && t->state != 'Z';
		len = close - open - 1;
		if (len > sizeof(t->comm) - 1)
			len = sizeof(t->comm) - 1;
		memcpy(t->comm, open + 1, len);
		t->pid = pid;
		ret = 0;
	}
	free(text);
	return ret;
}

static int read_tids(struct kup_task *t)
{
	char path[64];
	struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", t->pid);
	dir = opendir(path);
	if (!dir)
		return -ESRCH;
	while ((d = readdir(dir))) {
		pid_t *more;

		if (!isdigit((unsigned char)d->d_name[0]))
			continue;
		more = realloc(t->tids, (t->nr_tids + 1) * sizeof(*t->tids));
		if (!more)
			break;
		t->tids = more;
		t->tids[t->nr_tids++] = atoi(d->d_name);
	}
	closedir(dir);
	return 0;
}

static void task_free(struct kup_task *t)
{
	free(t->cgroup);
	free(t->tids);
}

static int add_task(struct kup_tree *tree, pid_t pid)
{
	struct kup_task t = { 0 }, *more;

	if (read_stat(pid, &t) || read_tids(&t)) {
		task_free(&t);
		return -ESRCH;
	}
	more = realloc(tree->tasks, (tree->nr + 1) * sizeof(*tree->tasks));
	if (!more) {
		task_free(&t);
		return -ENOMEM;
	}
	t.cgroup = kup_cgroup_of(pid);
	tree->tasks = more;
	tree->tasks[tree->nr++] = t;
	return 0;
}

/* Children belong to the thread that forked them. */
static int add_children(struct kup_tree *tree, size_t of)
{
	size_t i;
	int ret;

	for (i = 0; i < tree->tasks[of].nr_tids; i++) {
		char *text = kup_slurpf("/proc/%d/task/%d/children", tree->tasks[of].pid, tree->tasks[of].tids[i]);
		char *word, *save = NULL;

		for (word = text ? strtok_r(text, " \n", &save) : NULL; word; word = strtok_r(NULL, " \n", &save)) {
			ret = add_task(tree, atoi(word));
			if (ret == -ENOMEM) {
				free(text);
				return ret;
			}
		}
		free(text);
	}
	return 0;
}

int kup_tree_read(pid_t root, struct kup_tree *tree, struct kup_err *err)
{
	size_t i;
	int ret;

	*tree = (struct kup_tree){ 0 };
	ret = add_task(tree, root);
	if (ret) {
		kup_err_set(err, ret, "pid %d: %s", root, ret == -ESRCH ? "no such process" : strerror(-ret));
		return ret;
	}
	for (i = 0; i < tree->nr; i++) {
		ret = add_children(tree, i);
		if (ret) {
			kup_tree_free(tree);
			return kup_err_set(err, ret, "pid %d: %s", root, strerror(-ret));
		}
	}
	for (i = 0; i < tree->nr; i++)
		if (!kup_tree_find(tree, tree->tasks[i].sid) || !kup_tree_find(tree, tree->tasks[i].pgid))
			tree->shell_job = true;
	return 0;
}

void kup_tree_free(struct kup_tree *tree)
{
	while (tree->nr)
		task_free(&tree->tasks[--tree->nr]);
	free(tree->tasks);
	tree->tasks = NULL;
}

const struct kup_task *kup_tree_find(const struct kup_tree *tree, pid_t pid)
{
	size_t i;

	for (i = 0; i < tree->nr; i++)
		if (tree->tasks[i].pid == pid)
			return &tree->tasks[i];
	return NULL;
}

const struct kup_task *kup_forest_find(const struct kup_forest *forest, pid_t pid)
{
	const struct kup_task *t = NULL;
	size_t i;

	for (i = 0; i < forest->nr && !t; i++)
		t = kup_tree_find(&forest->trees[i], pid);
	return t;
}

void kup_forest_free(struct kup_forest *forest)
{
	while (forest->nr)
		kup_tree_free(&forest->trees[--forest->nr]);
	free(forest->trees);
	forest->trees = NULL;
}

int kup_forest_read(const pid_t *roots, size_t nr, struct kup_forest *forest, struct kup_err *err)
{
	size_t i, j;
	int ret;

	*forest = (struct kup_forest){ .trees = calloc(nr, sizeof(struct kup_tree)) };
	if (!forest->trees)
		return kup_err_set(err, -ENOMEM, "no memory");
	for (i = 0; i < nr; i++) {
		struct kup_tree t;

		if (kup_forest_find(forest, roots[i]))
			continue;
		ret = kup_tree_read(roots[i], &t, err);
		if (ret) {
			kup_forest_free(forest);
			return ret;
		}
		for (j = 0; j < forest->nr; j++) {	/* this tree may hold an earlier one */
			if (!kup_tree_find(&t, forest->trees[j].tasks[0].pid))
				continue;
			kup_tree_free(&forest->trees[j]);
			forest->trees[j--] = forest->trees[--forest->nr];
		}
		forest->trees[forest->nr++] = t;
	}
	return 0;
}

bool kup_task_has_ended(pid_t pid)
{
	struct kup_task t = { 0 };

	return read_stat(pid, &t) || t.exiting || t.state == 'Z' || t.state == 'X';
}

bool kup_tree_has_now(const struct kup_tree *tree, pid_t pid)
{
	struct kup_task t = { .ppid = pid };
	bool found;

	if (kup_task_has_ended(pid))
		return false;
	do
		found = kup_tree_find(tree, t.ppid);
	while (!found && t.ppid > 1 && !read_stat(t.ppid, &t));
	return found;
}

bool kup_forest_has_now(const struct kup_forest *forest, pid_t pid)
{
	for (size_t i = 0; i < forest->nr; i++)
		if (kup_tree_has_now(&forest->trees[i], pid))
			return true;
	return false;
}
