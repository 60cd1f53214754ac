// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "steps.h"
#include "util.h"

#define CRIU_AT_WORK_MS 60	/* until it holds its tasks, and has not let go of them */

static const struct {
	const char *name, *what;
	bool criu_only;
} kinds[] = {
	{ "error", "the step ends with EIO", false },
	{ "oom", "the step ends with ENOMEM", false },
	{ "kill", "kup-ppp is killed by signal 9", false },
	{ "criu", "each CRIU is killed by signal 9, a moment later", true },
	{ "power", "the machine is reset at once, nothing is synced or undone; its RAM keeps what it has, which is harder than without power", false },
};

/* Children of @pid that run another program than it does are CRIUs, each with a process group of its own. */
static void kill_criu(pid_t pid)
{
	char *text = kup_slurpf("/proc/%d/task/%d/children", pid, pid), *word, *save = NULL, ours[256] = "", exe[256], name[40];

	if (readlink("/proc/self/exe", ours, sizeof(ours) - 1) < 0)
		return;
	for (word = text ? strtok_r(text, " \n", &save) : NULL; word; word = strtok_r(NULL, " \n", &save)) {
		ssize_t len;

		snprintf(name, sizeof(name), "/proc/%.16s/exe", word);
		len = readlink(name, exe, sizeof(exe) - 1);
		exe[len < 0 ? 0 : len] = '\0';
		if (strcmp(ours, exe))
			kill(-atoi(word), SIGKILL);
	}
	free(text);
}

static void kill_criu_later(void)
{
	const struct timespec moment = { .tv_nsec = CRIU_AT_WORK_MS * 1000 * 1000 };
	const pid_t parent = getpid();

	if (fork())
		return;
	nanosleep(&moment, NULL);
	kill_criu(parent);
	_exit(0);
}

static const char *const whens[] = { "before", "after" };

/* By sysrq: reboot(2) would call its notifiers first, on which the new kernel falls back, and shut down devices. Comes back only if it failed. */
static int lose_power(struct kup_err *err)
{
	int ret = kup_put("/proc/sysrq-trigger", "b");

	return kup_err_set(err, ret ?: -EIO, "/proc/sysrq-trigger does not reset the machine");
}

static int strike(const char *kind, enum kup_fault_when when, const char *step, struct kup_err *err)
{
	if (!strcmp(kind, "kill"))
		kill(getpid(), SIGKILL);
	if (!strcmp(kind, "power"))
		return lose_power(err);
	if (!strcmp(kind, "criu")) {
		kill_criu_later();
		return 0;
	}
	if (!strcmp(kind, "oom"))
		return kup_err_set(err, -ENOMEM, "no memory (a fault %s %s, as asked for)", whens[when], step);
	return kup_err_set(err, -EIO, "a fault %s %s, as asked for", whens[when], step);
}

int kup_fault(enum kup_fault_when when, const char *step, struct kup_err *err)
{
	static bool struck;
	const char *asked = getenv("KUP_FAULT");
	char point[64];
	size_t len;

	if (!asked || !*asked || struck || !err)
		return 0;
	len = snprintf(point, sizeof(point), "%s:%s:", whens[when], step);
	if (strncmp(asked, point, len))
		return 0;
	struck = true;
	return strike(asked + len, when, step, err);
}

void kup_fault_each(void (*fn)(void *ctx, const char *fault, const struct kup_step_info *step, const char *what), void *ctx)
{
	char fault[64];
	size_t i, k, w;

	for (i = 0; i < kup_nr_steps; i++)
		for (w = 0; w < KUP_ARRAY_SIZE(whens); w++)
			for (k = 0; k < KUP_ARRAY_SIZE(kinds); k++) {
				if (kinds[k].criu_only && !(kup_step_list[i].has_criu && w == KUP_FAULT_BEFORE))
					continue;
				snprintf(fault, sizeof(fault), "%s:%s:%s", whens[w], kup_step_list[i].name, kinds[k].name);
				fn(ctx, fault, &kup_step_list[i], kinds[k].what);
			}
}

struct looking {
	const char *asked;
	bool found;
};

static void look(void *ctx, const char *fault, const struct kup_step_info *step, const char *what)
{
	struct looking *l = ctx;

	(void)step;
	(void)what;
	l->found |= !strcmp(fault, l->asked);
}

int kup_fault_check(struct kup_err *err)
{
	struct looking l = { .asked = getenv("KUP_FAULT") };

	if (!l.asked || !*l.asked)
		return 0;
	kup_fault_each(look, &l);
	if (l.found)
		return 0;
	kup_err_set(err, -EINVAL, "KUP_FAULT: there is no fault `%s`", l.asked);
	kup_err_next(err, "kup-ppp faults lists them");
	return -EINVAL;
}
