/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The plan: what the old side tells the new one, as plan.json in the store. A JSON object:
 *
 *   version		KUP_PLAN_VERSION
 *   from, to		releases of the two kernels
 *   tsc_khz		rate of the clock of all steps
 *   criu		version that dumped
 *   image_bytes	what CRIU carries
 *   image_pages	of them, pages of memory
 *   trees		[{ root, comm, shell_job, file_locks, ext_unix, timerfds, tasks: [{ pid, comm, cgroup, threads: [{ tid, (settings.h) }],
 *			   pages, huge, left }] }]
 *   sockets		of each tree an array, see sockopts.h
 *   files		see files.h
 *   shmem		see shmem.h
 *   keep		see keep.h
 *   left_out		processes that were refused, and left behind: as of kup_carry_forest()
 *   verify		the handover has sums of the memory, to be compared before anything is restored
 *   health		[command, ...], and health_seconds: see health.h
 *   steps		see steps.h
 *   counters		of the old side's module
 */
#ifndef KUP_PLAN_H
#define KUP_PLAN_H

#include "criu.h"
#include "device.h"
#include "json.h"
#include "steps.h"
#include "tree.h"

#define KUP_PLAN_VERSION	2
#define KUP_PLAN_FILE		"plan.json"

/**
 * kup_plan_new - a plan for these trees
 * @from, @to: releases
 *
 * Return: for json_object_put().
 */
struct json_object *kup_plan_new(const struct kup_forest *forest, const struct kup_criu *criu, const char *from, const char *to);

/**
 * kup_plan_preserved - enter what the module took of a process
 */
void kup_plan_preserved(struct json_object *plan, pid_t pid, const struct kup_preserve *p);

/**
 * kup_plan_read - read and check a plan
 *
 * Return: for json_object_put(), with every field there and of its type; or NULL and @err.
 */
struct json_object *kup_plan_read(const char *path, struct kup_err *err);

/**
 * kup_plan_each_task - call @one for every task of every tree, until it returns something else than 0
 */
int kup_plan_each_task(struct json_object *plan, int (*one)(struct json_object *task, void *ctx), void *ctx);

#endif
