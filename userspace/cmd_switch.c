// SPDX-License-Identifier: GPL-2.0
/*
 * kup-ppp switch
 *
 *   1. survey: refuse what can't be kept whole
 *   2. prepare, unless that was done
 *   3. a cgroup for each tree, in which it can be frozen; the applications run until here
 *   4. one CRIU for each tree is started; when all have started up and before they touch a task (`pre-dump`):
 *      keep new connections out, let the applications accept those that there are, freeze all trees, let the kernel send what is left
 *      of those that were closed, close the network, PRESERVE all processes, look at them again, list what is in directories to be kept,
 *      PRESERVE what is shared
 *   5. the CRIUs dump what they still see, and leave the tasks frozen
 *   6. plan and images go to the module's store
 *   7. SEAL, and the jump
 *
 * Unhappy paths: up to 3 nothing is undone but what was made. From 3 on put_back(): ABORT puts every page back into its place
 * and opens the network, the trees are thawed and go back to their cgroups. What is needed for that is in switch.json before
 * anything is frozen, so that `kup-ppp abort` can do it: the guard calls it if this process is killed. Signals are taken at 4
 * (between two steps) and before 7. A CRIU that dumps is never killed: it has its own code in the tasks.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <json-c/json.h>

#include "carry.h"
#include "cgroup.h"
#include "connections.h"
#include "files.h"
#include "guard.h"
#include "health.h"
#include "hugetlb.h"
#include "keep.h"
#include "kexec.h"
#include "kup.h"
#include "pack.h"
#include "plan.h"
#include "prepared.h"
#include "putback.h"
#include "shmem.h"
#include "survey.h"
#include "sysctl.h"
#include "util.h"

#define FREEZE_TIMEOUT_MS 10000
#define SETTLE_MS 1000

enum stage { STAGE_PRESERVE, STAGE_DUMP, STAGE_SEAL, STAGE_JUMP };

static const char *const stage_names[] = { "preserve", "dump", "seal" };

struct switching {
	const struct kup_opts *opts;
	const struct kup_conf *conf;
	int dev;
	int cancel;			/* signalfd */
	enum stage stop_after;
	bool stopped;			/* stop_after was reached: all is well, put everything back */
	struct kup_forest *forest;
	struct kup_freeze *freeze;	/* one for each tree */
	struct kup_criu *criu;
	struct kup_criu_job *jobs;
	struct json_object *plan;
	struct json_object *files;
	struct json_object *left;	/* see survey.h */
	struct kup_steps steps;
	const char *to;
	uint64_t image_bytes;
};

static int preserve_tree(struct switching *s, const struct kup_tree *tree, struct kup_err *err)
{
	struct kup_preserve p;
	size_t i;
	int ret;

	for (i = 0; i < tree->nr; i++) {
		if (tree->tasks[i].state == 'Z')
			continue;
		ret = kup_device_preserve(s->dev, tree->tasks[i].pid, &p, err);
		if (ret)
			return ret;
		kup_plan_preserved(s->plan, tree->tasks[i].pid, &p);
	}
	return 0;
}

/* Nobody runs, but one that was about to end when they were stopped does so now: until it is a zombie, or gone. */
static int read_settled(pid_t root, struct kup_tree *tree, struct kup_err *err)
{
	bool settled = false;
	int ret = 0, i;

	for (i = 0; i < SETTLE_MS && !ret && !settled; i++) {
		if (i) {
			kup_tree_free(tree);
			usleep(1000);
		}
		ret = kup_tree_read(root, tree, err);
		settled = true;
		for (size_t j = 0; !ret && j < tree->nr; j++)
			settled &= !tree->tasks[j].exiting;
	}
	return ret;
}

/* What was forked until the freeze belongs to it as well, and what ended does not. */
static int read_again(struct switching *s, struct kup_err *err)
{
	size_t i;
	int ret;

	for (i = 0; i < s->forest->nr; i++) {
		struct kup_tree *old = &s->forest->trees[i], now;

		ret = read_settled(old->tasks[0].pid, &now, err);
		if (ret)
			return ret;
		now.shell_job |= old->shell_job;
		now.file_locks = old->file_locks;
		now.ext_unix = old->ext_unix;
		now.timerfds = old->timerfds;
		now.hugetlb = old->hugetlb;
		now.gigantic = old->gigantic;
		/* the cgroup that counts is the one it came from */
		for (size_t j = 0; j < now.nr; j++) {
			const struct kup_task *was = kup_tree_find(old, now.tasks[j].pid);

			free(now.tasks[j].cgroup);
			now.tasks[j].cgroup = strdup(was ? was->cgroup ?: "/" : old->tasks[0].cgroup ?: "/");
		}
		kup_tree_free(old);
		*old = now;
		ret = kup_freeze_check(&s->freeze[i], old, err);
		if (ret)
			return ret;
	}
	return 0;
}

/*
 * All of them, as they are then. A child that has its parent's memory, after vfork(), gives it back when it goes on to another program: so they
 * go on for a moment, until there is none.
 */
static int freeze(struct switching *s, struct kup_err *err)
{
	const struct kup_task *vforked;
	int ret = 0, tries;
	size_t i;

	for (tries = 0;; tries++) {
		for (i = 0; i < s->forest->nr && !ret; i++)
			ret = kup_freeze_stop(&s->freeze[i], FREEZE_TIMEOUT_MS, err);
		if (!ret)
			ret = read_again(s, err);
		vforked = ret ? NULL : kup_carry_vforked(s->forest);
		if (!vforked)
			return ret;
		if (tries == KUP_VFORK_MS / 2) {
			ret = kup_err_set(err, -EBUSY, "pid %d (%s) shares its memory with pid %d: in the midst of vfork(), or by clone()", vforked->pid,
					  vforked->comm, vforked->ppid);
			kup_err_next(err, "try again when that has passed");
			return ret;
		}
		for (i = 0; i < s->forest->nr && !ret; i++)
			ret = kup_freeze_thaw(&s->freeze[i], err);
		usleep(2000);
	}
}

/* What they have got hold of since the survey is carried as well, or refused; what they have let go of is not. */
static int look_again(struct switching *s, struct kup_err *err)
{
	struct json_object *files = json_object_new_object(), *processes = kup_carry_forest(s->forest, -1, s->criu, s->conf->fallback, files, err);
	int ret;

	json_object_put(s->files);
	s->files = files;
	if (!processes)
		return -EIO;
	ret = kup_carry_refused(processes, err) ? -ENOTSUP : 0;
	json_object_put(processes);
	return ret ? ret : kup_hugetlb_check(s->forest, err);
}

static int at_pre_dump(void *ctx, const char *action, struct kup_err *err)
{
	struct switching *s = ctx;
	struct utsname uts;
	size_t i;
	int ret;

	(void)action;
	s->steps.show = false;	/* a console is slow */
	kup_sysctl_lend(KUP_RCU_EXPEDITED, "1");
	ret = kup_step_begin(&s->steps, "freeze", err);
	if (!ret)
		ret = kup_device_netlock(s->dev, KUP_NETLOCK_NEW, err);
	if (!ret)
		ret = kup_connections_accepted(s->forest, err);
	if (!ret)
		ret = freeze(s, err);
	if (!ret)
		kup_connections_flushed();
	if (!ret)
		ret = kup_device_netlock(s->dev, KUP_NETLOCK_LOOPBACK, err);
	if (ret)
		return ret;
	uname(&uts);
	s->plan = kup_plan_new(s->forest, s->criu, uts.release, s->to);
	json_object_object_add(s->plan, "left_out", json_object_get(s->left));
	kup_health_to_plan(s->conf, s->plan);
	json_object_object_add(s->plan, "verify", json_object_new_boolean(s->conf->verify));
	kup_hugetlb_note(s->forest, s->plan);
	ret = kup_step_begin(&s->steps, "preserve", err);
	for (i = 0; i < s->forest->nr && !ret; i++)
		ret = preserve_tree(s, &s->forest->trees[i], err);
	if (!ret)	/* now that page tables are empty, which smaps would walk through */
		ret = look_again(s, err);
	if (!ret)
		ret = kup_keep_note(s->conf, s->files, s->plan, err);
	if (!ret)
		ret = kup_shmem_preserve(s->dev, s->forest, s->files, s->plan, err);
	if (!ret && s->stop_after == STAGE_PRESERVE) {
		s->stopped = true;
		ret = -ECANCELED;
	}
	return ret ? ret : kup_step_begin(&s->steps, "dump", err);
}

static int dump(struct switching *s, struct kup_err *err)
{
	struct kup_criu_run run = {
		.mode = KUP_CRIU_DUMP,
		.criu = s->criu,
		.verbose = s->opts->verbose,
		.jobs = s->jobs,
		.nr = s->forest->nr,
		.cancel = s->cancel,
		.at = at_pre_dump,
		.ctx = s,
	};
	size_t i;
	int ret;

	for (i = 0; i < run.nr; i++) {
		const struct kup_tree *tree = &s->forest->trees[i];
		struct kup_criu_job *j = &s->jobs[i];

		*j = (struct kup_criu_job){
			.root = tree->tasks[0].pid, .freeze_dir = s->freeze[i].dir,
			.shell_job = tree->shell_job, .file_locks = tree->file_locks, .ext_unix = tree->ext_unix,
		};
		snprintf(j->comm, sizeof(j->comm), "%s", tree->tasks[0].comm);
		snprintf(j->images, sizeof(j->images), KUP_IMAGES_DIR "/%d", j->root);
		ret = kup_mkdirs(j->images, 0700);
		if (ret)
			return kup_err_set(err, ret, "%s: %s", j->images, strerror(-ret));
	}
	ret = kup_step_begin(&s->steps, "start-criu", err);
	if (!ret)
		ret = kup_hugetlb_lend(s->forest, err);
	if (!ret)
		ret = kup_criu_run_all(&run, err);
	kup_hugetlb_return();
	if (!ret)
		ret = kup_step_end(&s->steps, err);
	if (!ret && s->stop_after == STAGE_DUMP) {
		s->stopped = true;
		ret = -ECANCELED;
	}
	return ret;
}

/* The plan comes last, as it tells how much the rest is. */
static int store(struct switching *s, struct kup_err *err)
{
	struct kup_status st;
	uint64_t bytes = 0, pages = 0, file_bytes = 0;
	char prefix[16];
	size_t i;
	int ret;

	ret = kup_step_begin(&s->steps, "store", err);
	for (i = 0; i < s->forest->nr && !ret; i++) {
		snprintf(prefix, sizeof(prefix), "%d", s->jobs[i].root);
		ret = kup_pack_dir(s->dev, s->jobs[i].images, prefix, &bytes, err);
		pages += kup_criu_image_pages(s->jobs[i].images);
	}
	if (!ret)
		ret = kup_files_store(s->files, s->dev, &file_bytes, err);
	if (!ret)
		ret = kup_device_status(s->dev, &st, err);
	if (ret)
		return ret;
	json_object_object_add(s->plan, "files", json_object_get(s->files));
	json_object_object_add(s->plan, "file_bytes", json_object_new_uint64(file_bytes));
	json_object_object_add(s->plan, "image_bytes", json_object_new_uint64(bytes));
	json_object_object_add(s->plan, "image_pages", json_object_new_uint64(pages));
	json_object_object_add(s->plan, "preserved_pages", json_object_new_uint64(st.preserved_pages));
	json_object_object_add(s->plan, "preserved_shmem", json_object_new_uint64(st.preserved_shmem));
	json_object_object_add(s->plan, "preserved_huge", json_object_new_uint64(st.preserved_huge));
	json_object_object_add(s->plan, "faulted_back", json_object_new_uint64(st.faulted_back));
	json_object_object_add(s->plan, "shown_pages", json_object_new_uint64(st.shown_pages));
	json_object_object_add(s->plan, "evacuated_pages", json_object_new_uint64(st.evacuated_pages));
	json_object_object_add(s->plan, "tsc_khz", json_object_new_uint64(kup_tsc_khz()));
	ret = kup_step_begin(&s->steps, "seal", err);	/* ended by the new side, with the time in the handover */
	if (ret)
		return ret;
	json_object_object_add(s->plan, "steps", kup_steps_to_json(&s->steps));
	ret = kup_pack_text(s->dev, KUP_PLAN_FILE, json_object_to_json_string_ext(s->plan, JSON_C_TO_STRING_PLAIN), err);
	return ret ? ret : kup_pack_end(s->dev, err);
}

static int seal(struct switching *s, struct kup_seal *sealed, struct kup_err *err)
{
	struct signalfd_siginfo si;
	int ret;

	ret = kup_device_seal(s->dev, s->conf->verify, sealed, err);
	if (!ret)
		ret = kup_step_end(&s->steps, err);
	if (!ret && s->stop_after == STAGE_SEAL) {
		s->stopped = true;
		ret = -ECANCELED;
	}
	if (!ret && read(s->cancel, &si, sizeof(si)) == sizeof(si))
		ret = kup_err_set(err, -EINTR, "interrupted by signal %u before the jump", si.ssi_signo);
	return ret;
}

static void print_stopped(const struct switching *s)
{
	struct json_object *o;

	if (!s->opts->json) {
		printf("stopped after %s, as asked; everything is put back\n", stage_names[s->stop_after]);
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "stopped_after", json_object_new_string(stage_names[s->stop_after]));
	json_object_object_add(o, "tsc_khz", json_object_new_uint64(kup_tsc_khz()));
	json_object_object_add(o, "steps", kup_steps_to_json(&s->steps));
	json_object_object_add(o, "plan", json_object_get(s->plan));
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	json_object_put(o);
}

/* Which step, for people: what kup_err has says only what went wrong in it. */
static void name_step(const struct switching *s, struct kup_err *err)
{
	char what[sizeof(err->what)];

	snprintf(what, sizeof(what), "%.24s: %.220s", kup_step_name(&s->steps), err->what);
	memcpy(err->what, what, sizeof(what));
}

static int put_back(struct switching *s, int failed, struct kup_err *err)
{
	struct kup_err back;

	if (!s->stopped)
		name_step(s, err);
	if (kup_put_back(s->dev, s->freeze, s->forest->nr, &back)) {
		snprintf(err->next, sizeof(err->next), "not put back: %.150s; see `kup-ppp status`, then `kup-ppp abort`", back.what);
		return KUP_EXIT_BROKEN;
	}
	if (s->stopped) {
		print_stopped(s);
		return 0;
	}
	if (failed == -EOWNERDEAD) {
		kup_err_next(err, "all else is put back, but it may have left code of its own in the tasks: see whether they serve");
		return KUP_EXIT_BROKEN;
	}
	return failed;
}

static int freeze_and_go(struct switching *s, struct kup_err *err)
{
	struct kup_guard guard;
	struct kup_seal sealed;
	size_t i;
	int ret;

	ret = kup_guard_start(&guard, err);
	if (ret)
		return put_back(s, ret, err);
	for (i = 0; i < s->forest->nr && !ret; i++)
		ret = kup_freeze_place(&s->forest->trees[i], &s->freeze[i], err);
	if (!ret)
		ret = kup_putback_note(s->freeze, s->forest->nr, err);
	if (!ret)
		ret = dump(s, err);
	if (!ret)
		ret = store(s, err);
	if (!ret)
		ret = seal(s, &sealed, err);
	if (!ret)
		ret = kup_kexec_jump(err);	/* comes back only if it failed */
	ret = put_back(s, ret, err);
	kup_guard_end(&guard);
	return ret;
}

static int take_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* It was prepared before: the report shows what that took. */
static void tell_earlier(struct kup_steps *steps, struct json_object *prepared)
{
	struct kup_steps all = { .show = steps->show };

	kup_steps_from_json(json_object_object_get(prepared, "steps"), &all);
	kup_step_add(&all, steps->step[0].name, steps->step[0].begin, steps->step[0].end);
	*steps = all;
}

/* One line for each thing that was refused. */
static void tell_left(struct json_object *left)
{
	size_t i, j;

	for (i = 0; i < json_object_array_length(left); i++) {
		struct json_object *refused = json_object_object_get(json_object_array_get_idx(left, i), "refused");

		for (j = 0; j < json_object_array_length(refused); j++) {
			struct json_object *r = json_object_array_get_idx(refused, j);

			printf("left out: pid %lld (%s): %s: %s\n", kup_json_int(r, "pid"), kup_json_text(r, "comm"), kup_json_text(r, "object"),
			       kup_json_text(r, "why"));
		}
	}
}

static int do_switch(const struct kup_opts *opts, const struct kup_conf *conf, enum stage stop_after, struct kup_err *err)
{
	struct switching s = { .opts = opts, .conf = conf, .stop_after = stop_after };
	struct json_object *prepared = NULL;
	struct kup_survey survey;
	int ret;

	s.steps.show = !opts->json;
	ret = kup_step_begin(&s.steps, "check", err);
	if (!ret)
		ret = kup_health_check(conf, err);
	if (ret)
		return ret;
	ret = kup_survey(conf, &survey, err);
	if (ret) {
		ret = ret < 0 ? ret : -ENOTSUP;
		goto out_survey;
	}
	s.dev = survey.host.dev;
	s.criu = &survey.host.criu;
	s.forest = &survey.forest;
	s.files = json_object_get(survey.files);
	s.left = survey.left;
	if (!opts->json)
		tell_left(s.left);
	s.cancel = take_signals();
	ret = kup_prepare(s.dev, conf, kup_hugetlb_pools(s.forest), &survey.host.kernel, survey.host.img, &s.steps, &prepared, err);
	if (ret)
		goto out_survey;
	s.to = kup_json_text(prepared, "release");
	if (s.steps.nr == 1)
		tell_earlier(&s.steps, prepared);
	if (!opts->json)
		printf("going to %s with %zu process tree%s\n", s.to, s.forest->nr, s.forest->nr == 1 ? "" : "s");
	s.freeze = calloc(s.forest->nr, sizeof(*s.freeze));
	s.jobs = calloc(s.forest->nr, sizeof(*s.jobs));
	kup_remove_tree(KUP_IMAGES_DIR);
	sync();
	ret = s.freeze && s.jobs ? freeze_and_go(&s, err) : put_back(&s, kup_err_set(err, -ENOMEM, "no memory"), err);
	free(s.freeze);
	free(s.jobs);
	json_object_put(s.plan);
	json_object_put(prepared);
out_survey:
	json_object_put(s.files);
	kup_survey_free(&survey);
	return ret;
}

static int parse_stage(const char *name, enum stage *stage)
{
	size_t i;

	for (i = 0; i < KUP_ARRAY_SIZE(stage_names); i++)
		if (!strcmp(name, stage_names[i])) {
			*stage = i;
			return 0;
		}
	return -EINVAL;
}

int cmd_switch(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	static const struct option options[] = {
		KUP_CONF_OPTIONS,
		{ "stop-after", required_argument, NULL, 's' },
		{ 0 }
	};
	enum stage stop_after = STAGE_JUMP;
	struct kup_conf conf;
	int c, ret;

	ret = kup_conf_read(KUP_CONF, &conf, err);
	if (ret)
		return ret;
	while (!ret && (c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (c == 's' ? parse_stage(optarg, &stop_after) : kup_conf_option(&conf, c, optarg))
			ret = KUP_EXIT_USAGE;
	if (!ret)
		ret = kup_conf_targets(&conf, argv + optind, argc - optind);
	if (!ret)
		ret = kup_lock(err);
	if (!ret)
		ret = do_switch(opts, &conf, stop_after, err);
	kup_conf_free(&conf);
	return ret;
}
