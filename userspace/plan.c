// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "plan.h"
#include "settings.h"
#include "sockopts.h"
#include "util.h"

static struct json_object *task_to_json(const struct kup_task *t)
{
	struct json_object *o = json_object_new_object(), *threads = json_object_new_array();
	size_t i;

	json_object_object_add(o, "pid", json_object_new_int(t->pid));
	json_object_object_add(o, "pgid", json_object_new_int(t->pgid));
	json_object_object_add(o, "sid", json_object_new_int(t->sid));
	json_object_object_add(o, "comm", json_object_new_string(t->comm));
	json_object_object_add(o, "cgroup", json_object_new_string(t->cgroup ?: "/"));
	json_object_object_add(o, "zombie", json_object_new_boolean(t->state == 'Z'));
	for (i = 0; i < t->nr_tids; i++) {
		struct json_object *thread = json_object_new_object();

		json_object_object_add(thread, "tid", json_object_new_int(t->tids[i]));
		kup_settings_read(t->tids[i], thread);
		json_object_array_add(threads, thread);
	}
	json_object_object_add(o, "threads", threads);
	return o;
}

struct json_object *kup_plan_new(const struct kup_forest *forest, const struct kup_criu *criu, const char *from, const char *to)
{
	struct json_object *plan = json_object_new_object(), *trees = json_object_new_array();
	struct json_object *sockets = json_object_new_array();
	size_t i, j;

	json_object_object_add(plan, "version", json_object_new_int(KUP_PLAN_VERSION));
	json_object_object_add(plan, "from", json_object_new_string(from));
	json_object_object_add(plan, "to", json_object_new_string(to));
	json_object_object_add(plan, "criu", json_object_new_string(criu->text));
	for (i = 0; i < forest->nr; i++) {
		const struct kup_tree *tree = &forest->trees[i];
		struct json_object *o = json_object_new_object(), *tasks = json_object_new_array();

		json_object_object_add(o, "root", json_object_new_int(tree->tasks[0].pid));
		json_object_object_add(o, "comm", json_object_new_string(tree->tasks[0].comm));
		json_object_object_add(o, "shell_job", json_object_new_boolean(tree->shell_job));
		json_object_object_add(o, "file_locks", json_object_new_boolean(tree->file_locks));
		json_object_object_add(o, "ext_unix", json_object_new_boolean(tree->ext_unix));
		json_object_object_add(o, "timerfds", json_object_new_boolean(tree->timerfds));
		for (j = 0; j < tree->nr; j++)
			json_object_array_add(tasks, task_to_json(&tree->tasks[j]));
		json_object_object_add(o, "tasks", tasks);
		json_object_array_add(sockets, kup_sockopts_read(tree));
		json_object_array_add(trees, o);
	}
	json_object_object_add(plan, "trees", trees);
	json_object_object_add(plan, "shmem", json_object_new_array());
	json_object_object_add(plan, "keep", json_object_new_array());
	json_object_object_add(plan, "left_out", json_object_new_array());
	json_object_object_add(plan, "verify", json_object_new_boolean(false));
	json_object_object_add(plan, "health", json_object_new_array());
	json_object_object_add(plan, "health_seconds", json_object_new_int(0));
	json_object_object_add(plan, "sockets", sockets);
	return plan;
}

int kup_plan_each_task(struct json_object *plan, int (*one)(struct json_object *task, void *ctx), void *ctx)
{
	struct json_object *trees = json_object_object_get(plan, "trees");
	size_t i, j;
	int ret;

	for (i = 0; i < json_object_array_length(trees); i++) {
		struct json_object *tasks = json_object_object_get(json_object_array_get_idx(trees, i), "tasks");

		for (j = 0; j < json_object_array_length(tasks); j++) {
			ret = one(json_object_array_get_idx(tasks, j), ctx);
			if (ret)
				return ret;
		}
	}
	return 0;
}

struct preserved {
	pid_t pid;
	const struct kup_preserve *p;
};

static int enter_preserved(struct json_object *task, void *ctx)
{
	const struct preserved *w = ctx;

	if (kup_json_int(task, "pid") != w->pid)
		return 0;
	json_object_object_add(task, "pages", json_object_new_uint64(w->p->pages));
	json_object_object_add(task, "huge", json_object_new_uint64(w->p->huge));
	json_object_object_add(task, "left", json_object_new_uint64(w->p->left));
	return 1;
}

void kup_plan_preserved(struct json_object *plan, pid_t pid, const struct kup_preserve *p)
{
	struct preserved w = { .pid = pid, .p = p };

	kup_plan_each_task(plan, enter_preserved, &w);
}

static bool has(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v;

	return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) && json_object_is_type(v, type);
}

static bool tree_fits(struct json_object *tree)
{
	struct json_object *tasks;
	size_t i;

	if (!has(tree, "root", json_type_int) || !has(tree, "tasks", json_type_array))
		return false;
	tasks = json_object_object_get(tree, "tasks");
	for (i = 0; i < json_object_array_length(tasks); i++) {
		struct json_object *t = json_object_array_get_idx(tasks, i);

		if (!has(t, "pid", json_type_int) || !has(t, "cgroup", json_type_string) || !has(t, "threads", json_type_array))
			return false;
	}
	return json_object_array_length(tasks) > 0;
}

struct json_object *kup_plan_read(const char *path, struct kup_err *err)
{
	struct json_object *plan = json_object_from_file(path), *trees;
	bool fits = has(plan, "version", json_type_int) && has(plan, "trees", json_type_array) && has(plan, "steps", json_type_array);
	size_t i;

	if (fits && kup_json_int(plan, "version") != KUP_PLAN_VERSION) {
		kup_err_set(err, -EPROTO, "the old kernel's kup-ppp wrote a plan of version %lld, this one reads %d",
			    kup_json_int(plan, "version"), KUP_PLAN_VERSION);
		kup_err_next(err, "install the same kup-ppp in the system and in the new kernel's initrd");
		json_object_put(plan);
		return NULL;
	}
	fits = fits && has(plan, "shmem", json_type_array) && has(plan, "keep", json_type_array) && has(plan, "verify", json_type_boolean) &&
	       has(plan, "health", json_type_array) && has(plan, "health_seconds", json_type_int);
	if (fits) {
		trees = json_object_object_get(plan, "trees");
		for (i = 0; i < json_object_array_length(trees) && fits; i++)
			fits = tree_fits(json_object_array_get_idx(trees, i));
	}
	if (fits)
		return plan;
	json_object_put(plan);
	kup_err_set(err, -EBADMSG, "%s isn't a plan", path);
	return NULL;
}
