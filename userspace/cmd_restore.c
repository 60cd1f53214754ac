// SPDX-License-Identifier: GPL-2.0
/*
 * kup-ppp restore, in the new kernel
 *
 *   1. ADOPT the handover that the command line names, with the network closed. `--adopt` ends here: early in the boot,
 *      before anything opens the network and before there is a service manager, which is kept from starting anew what comes back
 *   2. plan and images come out of the module's store; with `verify`, the memory is compared with its sums
 *   3. one CRIU for each tree is started; when all have started up (`pre-restore`), loopback closes as well. They restore; when all have
 *      (`post-restore`): each process is put into its cgroup and ATTACHed to its memory, and files of shared memory get their pages.
 *      When all threads stand at their last instruction before user space (`pre-resume`): the network opens
 *   4. COMMIT: the applications run for good
 *   5. the report; the images are removed
 *
 * With a fallback armed, each step tells the module that there is progress; END comes when all threads stand at their last instruction;
 * and what fails before is a reason to go back to the old kernel, which restores them once more. With health commands and a fallback
 * the threads go on first, on copies of their memory, with the network closed; END, and the network, come when all commands say yes.
 *
 * Memory that is not as it was sealed is nothing to go back for: the old kernel would find it so, too. Nothing is restored then, until
 * somebody says `--no-verify`.
 *
 * Unhappy paths: before an ATTACH nothing of the handover is used up, and restore may be tried again. A tree that fails
 * after it is lost; the others go on. From 4 on it may be tried again as well: it goes on there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "cgroup.h"
#include "conf.h"
#include "criu.h"
#include "device.h"
#include "files.h"
#include "health.h"
#include "hugetlb.h"
#include "json.h"
#include "keep.h"
#include "kup.h"
#include "pack.h"
#include "plan.h"
#include "putback.h"
#include "report.h"
#include "settings.h"
#include "shmem.h"
#include "sockopts.h"
#include "sysctl.h"
#include "timers.h"
#include "units.h"
#include "util.h"

#define ADOPTED_FILE	KUP_RUN_DIR "/adopted"
#define LAST_PID	"/proc/sys/kernel/ns_last_pid"

struct restoring {
	const struct kup_opts *opts;
	int dev;
	struct json_object *plan;
	struct kup_adopt adopted;
	struct kup_steps steps;
	enum { VERIFY_AS_PLANNED, VERIFY_NEVER, VERIFY_ALWAYS } verify;
	bool attached;			/* from now on some of the handover is used up */
	bool health;			/* is asked for before END */
	uint64_t resume_tsc;
};

/* What has begun is progress. */
static int step(struct restoring *r, const char *name, struct kup_err *err)
{
	kup_device_fallback(r->dev, KUP_FALLBACK_ALIVE, NULL, NULL);
	return kup_step_begin(&r->steps, name, err);
}

static uint64_t area_of_cmdline(void)
{
	char *text = kup_slurp("/proc/cmdline", NULL), *p = text ? strstr(text, "kup_ppp.area=") : NULL;
	uint64_t area = p ? strtoull(p + strlen("kup_ppp.area="), NULL, 0) : 0;

	free(text);
	return area;
}

/* What a later `restore` needs, which goes on where this one ended: kept as it is in memory, for this kernel and this program only. */
static void remember(const struct restoring *r)
{
	FILE *f = fopen(ADOPTED_FILE, "we");

	if (f) {
		fwrite(&r->adopted, sizeof(r->adopted), 1, f);
		fwrite(&r->steps, sizeof(r->steps), 1, f);
		fwrite(&r->resume_tsc, sizeof(r->resume_tsc), 1, f);
		fclose(f);
	}
}

static void recall(struct restoring *r)
{
	FILE *f = fopen(ADOPTED_FILE, "re");

	if (f) {
		if (fread(&r->adopted, sizeof(r->adopted), 1, f) != 1 || fread(&r->steps, sizeof(r->steps), 1, f) != 1 ||
		    fread(&r->resume_tsc, sizeof(r->resume_tsc), 1, f) != 1 || r->steps.nr > KUP_ARRAY_SIZE(r->steps.step)) {
			r->adopted = (struct kup_adopt){ 0 };
			r->steps = (struct kup_steps){ 0 };
			r->resume_tsc = 0;
		}
		fclose(f);
	}
}

/* Return: 0 adopted (now or before); 1 nothing is left to do; or a negative errno. */
static int adopt(struct restoring *r, uint64_t area, struct kup_err *err)
{
	struct kup_status st;
	int ret;

	ret = kup_device_status(r->dev, &st, err);
	if (ret)
		return ret;
	if (!access(KUP_REPORT_FILE, F_OK))
		return 1;
	recall(r);
	if (st.state == KUP_STATE_ADOPTED || r->resume_tsc)
		return 0;
	ret = kup_step_begin(&r->steps, "adopt", err);
	if (!ret)
		ret = kup_device_adopt(r->dev, area, &r->adopted, err);
	if (ret)
		return ret;
	ret = kup_step_end(&r->steps, err);
	remember(r);
	return ret;
}

static int read_store(struct restoring *r, struct kup_err *err)
{
	int ret;

	ret = step(r, "unpack", err);
	if (ret)
		return ret;
	kup_remove_tree(KUP_IMAGES_DIR);
	ret = kup_mkdirs(KUP_IMAGES_DIR, 0700);
	if (ret)
		return kup_err_set(err, ret, "%s: %s", KUP_IMAGES_DIR, strerror(-ret));
	if (lseek(r->dev, 0, SEEK_SET) < 0 && errno != ESPIPE)
		return kup_err_set(err, -errno, "reading the store: %s", strerror(errno));
	ret = kup_unpack(r->dev, KUP_IMAGES_DIR, err);
	if (ret)
		return ret;
	r->plan = kup_plan_read(KUP_IMAGES_DIR "/" KUP_PLAN_FILE, err);
	return r->plan ? kup_step_end(&r->steps, err) : -EBADMSG;
}

static int verify(struct restoring *r, struct kup_err *err)
{
	struct kup_verify v;
	int ret;

	if (r->verify == VERIFY_NEVER || (r->verify == VERIFY_AS_PLANNED && !kup_json_int(r->plan, "verify")))
		return 0;
	ret = step(r, "verify", err);
	if (ret)
		return ret;
	ret = kup_device_verify(r->dev, &v, err);
	if (ret == -EBADMSG) {
		kup_device_fallback(r->dev, KUP_FALLBACK_DROP, NULL, NULL);
		kup_err_next(err, "`kup-ppp restore --no-verify` takes the memory as it is; `kup-ppp abort --yes` gives it up");
	}
	if (ret == -ENODATA)
		kup_err_next(err, "`kup-ppp restore` goes on without; next time say `kup-ppp switch --verify`");
	if (ret)
		return ret;
	json_object_object_add(r->plan, "verified_pages", json_object_new_uint64(v.pages));
	return kup_step_end(&r->steps, err);
}

/* Numbers that belong to a task: of it, its threads, its group, its session. */
static int each_number(struct json_object *task, void (*one)(void *ctx, pid_t nr), void *ctx)
{
	struct json_object *threads = json_object_object_get(task, "threads");
	size_t i;

	for (i = 0; i < json_object_array_length(threads); i++)
		one(ctx, kup_json_int(json_object_array_get_idx(threads, i), "tid"));
	one(ctx, kup_json_int(task, "pgid"));
	one(ctx, kup_json_int(task, "sid"));
	return 0;
}

static void keep_higher(void *ctx, pid_t nr)
{
	pid_t *high = ctx;

	*high = nr > *high ? nr : *high;
}

static int highest_number(struct json_object *task, void *ctx)
{
	return each_number(task, keep_higher, ctx);
}

/* Whatever starts from now on shall not take a number that is needed. */
static void keep_pids_free(struct json_object *plan)
{
	char *text = kup_slurp(LAST_PID, NULL), number[24];
	pid_t high = 0;

	kup_plan_each_task(plan, highest_number, &high);
	if (text && atoi(text) < high) {
		snprintf(number, sizeof(number), "%d", high);
		kup_put(LAST_PID, number);
	}
	free(text);
}

struct search {
	pid_t nr;
	bool found;
};

static void compare(void *ctx, pid_t nr)
{
	struct search *s = ctx;

	s->found |= nr == s->nr;
}

static int search_task(struct json_object *task, void *ctx)
{
	return each_number(task, compare, ctx);
}

/* A tree whose session is led from outside goes on in CRIU's, whose number may not be one of the images' then. */
static bool session_is_needed(struct json_object *plan)
{
	struct search s = { .nr = getsid(0) };

	kup_plan_each_task(plan, search_task, &s);
	return s.found;
}

static int pid_is_free(struct json_object *task, void *ctx)
{
	struct json_object *threads = json_object_object_get(task, "threads");
	struct kup_err *err = ctx;
	char comm[16];
	size_t i;

	for (i = 0; i < json_object_array_length(threads); i++) {
		pid_t tid = kup_json_int(json_object_array_get_idx(threads, i), "tid");

		if (kill(tid, 0) && errno == ESRCH)
			continue;
		kup_err_set(err, -EEXIST, "pid %d of %s is taken by %s in this kernel", tid, kup_json_text(task, "comm"),
			    kup_task_comm(tid, comm));
		kup_err_next(err, "end that process, then `kup-ppp restore` again; next time start the application with a higher pid");
		return -EEXIST;
	}
	return 0;
}

struct attaching {
	struct restoring *r;
	struct kup_err *err;
};

struct attach_as {
	int dev;
	pid_t pid;
};

static int attach_as(void *ctx, void *result, struct kup_err *err)
{
	const struct attach_as *a = ctx;

	return kup_device_attach(a->dev, a->pid, a->pid, result, err);
}

static int attach(struct json_object *task, void *ctx)
{
	struct attaching *a = ctx;
	struct json_object *threads = json_object_object_get(task, "threads");
	const char *cgroup = kup_json_text(task, "cgroup");
	pid_t pid = kup_json_int(task, "pid");
	struct kup_attach done;
	size_t i;
	int ret;

	if (kup_json_int(task, "zombie"))
		return 0;
	/* the root as well: it is not to stay in the cgroup of whoever runs us */
	ret = kup_cgroup_join(cgroup, pid, a->err);
	if (ret)
		return ret;
	for (i = 0; i < json_object_array_length(threads); i++) {
		struct json_object *thread = json_object_array_get_idx(threads, i);

		kup_settings_apply(kup_json_int(thread, "tid"), thread);
	}
	/* The kernel charges huge pages to the cgroup of whoever has them faulted in. */
	if (json_object_object_get(a->r->plan, "hugetlb"))
		ret = kup_cgroup_as(cgroup, attach_as, &(struct attach_as){ a->r->dev, pid }, &done, sizeof(done), a->err);
	else
		ret = kup_device_attach(a->r->dev, pid, pid, &done, a->err);
	if (ret)
		return ret;
	a->r->attached = true;
	json_object_object_add(task, "attached", json_object_new_uint64(done.pages));
	json_object_object_add(task, "replaced", json_object_new_uint64(done.replaced));
	return 0;
}

static void set_sockopts(struct json_object *plan)
{
	struct json_object *sockets = json_object_object_get(plan, "sockets");
	size_t i;

	for (i = 0; json_object_is_type(sockets, json_type_array) && i < json_object_array_length(sockets); i++)
		kup_sockopts_apply(json_object_array_get_idx(sockets, i));
}

static void rearm_timers(struct json_object *plan)
{
	struct json_object *trees = json_object_object_get(plan, "trees");
	size_t i, j;

	for (i = 0; i < json_object_array_length(trees); i++) {
		struct json_object *tree = json_object_array_get_idx(trees, i), *tasks = json_object_object_get(tree, "tasks");

		for (j = 0; kup_json_int(tree, "timerfds") && j < json_object_array_length(tasks); j++)
			kup_timers_rearm(kup_json_int(json_object_array_get_idx(tasks, j), "pid"));
	}
}

/* The commit point: peers hear of them again. */
static int let_go(struct restoring *r, struct kup_err *err)
{
	int ret = kup_device_fallback(r->dev, KUP_FALLBACK_END, NULL, err);

	if (!ret)
		ret = kup_device_netlock(r->dev, KUP_NETLOCK_OFF, err);
	r->resume_tsc = kup_tsc();
	remember(r);
	return ret;
}

/* There is nothing to be done about a no if there is no way back. */
static bool ask_health(const struct restoring *r)
{
	struct kup_status st;

	return kup_health_wanted(r->plan) && !kup_device_status(r->dev, &st, NULL) && st.fallback == KUP_FALLBACK_ARMED;
}

static int health(struct restoring *r, struct kup_err *err)
{
	int ret = step(r, "health", err);

	if (!ret)
		ret = kup_health_run(r->plan, err);
	if (!ret)
		ret = kup_step_end(&r->steps, err);
	return ret ? ret : let_go(r, err);
}

static int at_barrier(void *ctx, const char *action, struct kup_err *err)
{
	struct restoring *r = ctx;
	struct attaching a = { .r = r, .err = err };
	int ret;

	/* All have tried what this kernel can, and none has made a socket yet. */
	if (!strcmp(action, "pre-restore"))
		return kup_device_netlock(r->dev, KUP_NETLOCK_LOOPBACK, err);
	if (!strcmp(action, "post-restore")) {
		ret = step(r, "attach", err);
		if (!ret)
			ret = kup_plan_each_task(r->plan, attach, &a);
		if (!ret)
			ret = kup_shmem_attach(r->dev, r->plan, err);
		if (!ret)
			kup_hugetlb_settle(r->plan);
		return ret ? ret : step(r, "resume", err);
	}
	rearm_timers(r->plan);
	set_sockopts(r->plan);
	return r->health ? kup_device_netlock(r->dev, KUP_NETLOCK_ALL, err) : let_go(r, err);
}

static int run_criu(struct restoring *r, const struct kup_criu *criu, struct kup_err *err)
{
	struct json_object *trees = json_object_object_get(r->plan, "trees");
	const bool new_session = session_is_needed(r->plan);
	struct kup_criu_run run = {
		.mode = KUP_CRIU_RESTORE,
		.criu = criu,
		.verbose = r->opts->verbose,
		.nr = json_object_array_length(trees),
		.cancel = -1,
		.at = at_barrier,
		.ctx = r,
	};
	size_t i;
	int ret;

	run.jobs = calloc(run.nr, sizeof(*run.jobs));
	if (!run.jobs)
		return kup_err_set(err, -ENOMEM, "no memory");
	for (i = 0; i < run.nr; i++) {
		struct json_object *tree = json_object_array_get_idx(trees, i);
		struct kup_criu_job *j = &run.jobs[i];

		j->root = kup_json_int(tree, "root");
		j->shell_job = kup_json_int(tree, "shell_job");
		j->new_session = new_session;
		j->file_locks = kup_json_int(tree, "file_locks");
		j->ext_unix = kup_json_int(tree, "ext_unix");
		snprintf(j->comm, sizeof(j->comm), "%s", kup_json_text(tree, "comm"));
		snprintf(j->images, sizeof(j->images), KUP_IMAGES_DIR "/%d", j->root);
	}
	kup_sysctl_lend(KUP_OVERCOMMIT, "1");
	ret = step(r, "restore", err);
	if (!ret)
		ret = kup_hugetlb_grow(r->plan, err);
	/* A restore that was killed may have left loopback closed, on which CRIU tries now what this kernel can. */
	if (!ret)
		ret = kup_device_netlock(r->dev, KUP_NETLOCK_ALL, err);
	if (!ret) {
		ret = kup_criu_run_all(&run, err);
		if (ret && !r->resume_tsc)
			kup_device_netlock(r->dev, KUP_NETLOCK_ALL, NULL);
	}
	if (!ret)
		ret = kup_step_end(&r->steps, err);
	kup_sysctl_return(KUP_OVERCOMMIT);
	free(run.jobs);
	return ret;
}

static int report(struct restoring *r, struct kup_err *err)
{
	struct json_object *o = kup_report_new(r->plan, &r->adopted, &r->steps, r->resume_tsc);
	struct kup_status st;
	int ret;

	if (!kup_device_status(r->dev, &st, NULL)) {
		kup_report_fallback(o, &st);
		kup_report_drain(o, &st);
	}
	ret = kup_replace_file(KUP_REPORT_FILE, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	if (r->opts->json)
		printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	else
		kup_report_print(o);
	json_object_put(o);
	return ret ? kup_err_set(err, ret, "%s: %s", KUP_REPORT_FILE, strerror(-ret)) : 0;
}

/* From `resume` on: the applications run, whatever comes. @ret: some tree runs although another failed with it. */
static int finish(struct restoring *r, int ret, struct kup_err *err)
{
	struct kup_err *of_commit = ret ? NULL : err;
	struct kup_status st;
	int committed;

	committed = kup_step_begin(&r->steps, "commit", of_commit);
	if (!committed)
		committed = kup_device_status(r->dev, &st, of_commit);
	if (!committed && st.state == KUP_STATE_ADOPTED)	/* else by one that was killed then */
		committed = kup_device_commit(r->dev, of_commit);
	if (!committed)
		committed = kup_step_end(&r->steps, of_commit);
	if (!ret)
		ret = committed;
	if (!ret)
		ret = report(r, err);
	if (!ret) {
		kup_remove_tree(KUP_IMAGES_DIR);
		unlink(ADOPTED_FILE);
	}
	return ret;
}

static int restore(struct restoring *r, const struct kup_conf *conf, bool hold, struct kup_err *err)
{
	struct kup_criu criu;
	int ret;

	ret = read_store(r, err);
	if (ret)
		return ret;
	keep_pids_free(r->plan);
	ret = kup_plan_each_task(r->plan, pid_is_free, err);
	if (!ret)
		ret = verify(r, err);
	if (!ret)
		ret = kup_keep_mount(r->plan, err);
	if (!ret)
		ret = kup_files_put(json_object_object_get(r->plan, "files"), KUP_IMAGES_DIR, err);
	if (!ret)
		ret = kup_criu_find(conf->criu, &criu, err);
	if (!ret)
		ret = kup_criu_reads(&criu, kup_json_text(r->plan, "criu"), err);
	if (!ret && hold)
		ret = kup_device_drain(r->dev, KUP_DRAIN_HOLD, err);
	if (ret)
		return ret;
	r->health = ask_health(r);
	ret = run_criu(r, &criu, err);
	if (!ret && r->health)
		ret = health(r, err);
	return ret && !r->resume_tsc ? ret : finish(r, ret, err);
}

/* Goes on behind one that ended after `resume`. */
static int go_on(struct restoring *r, struct kup_err *err)
{
	r->attached = true;
	r->plan = kup_plan_read(KUP_IMAGES_DIR "/" KUP_PLAN_FILE, err);
	return r->plan ? finish(r, 0, err) : -EBADMSG;
}

/* Comes back if there is no fallback armed. */
static void fall_back(const struct restoring *r, const struct kup_err *err)
{
	char why[KUP_WHY_LEN];

	snprintf(why, sizeof(why), "restore: %.140s", err->what);
	sync();
	kup_device_fallback(r->dev, KUP_FALLBACK_GO, why, NULL);
}

static int failed(const struct restoring *r, int ret, struct kup_err *err)
{
	if (!ret)
		return 0;
	if (!err->next[0])
		kup_err_next(err, r->attached ? "see `kup-ppp status` for what is left" :
						"the memory is still kept: fix it and run `kup-ppp restore` again; "
						"`kup-ppp abort --yes` gives it up");
	return KUP_EXIT_BROKEN;
}

int cmd_restore(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	static const struct option options[] = {
		{ "adopt", no_argument, NULL, 'a' },
		{ "hold-drain", no_argument, NULL, 'h' },
		{ "no-fallback", no_argument, NULL, 'n' },
		{ "verify", no_argument, NULL, 'v' },
		{ "no-verify", no_argument, NULL, 'N' },
		{ "criu", required_argument, NULL, 'c' },
		{ 0 }
	};
	struct restoring r = { .opts = opts };
	bool fall = true;
	bool only_adopt = false, hold = false;
	struct kup_conf conf;
	uint64_t area;
	int c, ret;

	ret = kup_conf_read(KUP_CONF, &conf, err);
	if (ret)
		return ret;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'a')
			only_adopt = true;
		else if (c == 'h')
			hold = true;
		else if (c == 'n')
			fall = false;
		else if (c == 'v')
			r.verify = VERIFY_ALWAYS;
		else if (c == 'N')
			r.verify = VERIFY_NEVER;
		else if (kup_conf_option(&conf, c, optarg))
			ret = KUP_EXIT_USAGE;
	}
	if (ret || optind < argc) {
		kup_conf_free(&conf);
		return KUP_EXIT_USAGE;
	}
	area = area_of_cmdline();
	if (!area) {
		printf(opts->json ? "{ \"restored\": false }\n" : "nothing to restore: this boot was no switch\n");
		goto out;
	}
	ret = kup_lock(err);
	if (ret)
		goto out;
	kup_sysctl_return(KUP_OVERCOMMIT);	/* of one that was killed */
	kup_sysctl_lend(KUP_RCU_EXPEDITED, "1");
	r.dev = kup_device_open(err);
	if (r.dev < 0) {
		if (r.dev == -ENODEV)
			kup_err_next(err, "the memory is still kept: load it, before there is a network (`dmesg` says why it refused), then `kup-ppp restore`");
		ret = failed(&r, r.dev, err);
		goto out_return;
	}
	ret = adopt(&r, area, err);
	if (ret == 1) {
		printf(opts->json ? "{ \"restored\": true }\n" : "restored already\n");
		ret = 0;
	} else if (ret) {
		ret = KUP_EXIT_BROKEN;
	} else if (only_adopt) {
		if (!read_store(&r, NULL)) {
			keep_pids_free(r.plan);
			kup_units_hold(r.plan);
		}
	} else {
		if (!fall)
			kup_device_fallback(r.dev, KUP_FALLBACK_DROP, NULL, NULL);
		ret = r.resume_tsc ? go_on(&r, err) : restore(&r, &conf, hold, err);
		if (ret)
			fall_back(&r, err);
		ret = failed(&r, ret, err);
	}
	json_object_put(r.plan);
	close(r.dev);
out_return:
	kup_sysctl_return(KUP_RCU_EXPEDITED);
out:
	kup_conf_free(&conf);
	return ret;
}
