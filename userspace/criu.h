/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Running CRIU, as packaged: one process of it for each tree, all in step.
 *
 * Each is `criu swrk`, which is told by a message over a socket what to do, says over the same socket where it is, and waits for the
 * answer each time (criu_rpc.h). At a barrier every CRIU waits until the last one has come; then the step is done once, for all, and all
 * get the same answer. Between two barriers as many work at a time as there are CPUs.
 */
#ifndef KUP_CRIU_H
#define KUP_CRIU_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <sys/types.h>

#include "err.h"

#define KUP_CRIU_SKIPS_LOCK	31900	/* the first version with `--network-lock skip` */

struct kup_criu {
	char program[256];
	char text[32];		/* of the version, for people */
	int version;		/* 3.17.1 is 31701 */
};

/**
 * kup_criu_find - which CRIU is there
 * @program: NULL: `criu` in PATH
 *
 * Return: 0 or a negative errno.
 */
int kup_criu_find(const char *program, struct kup_criu *criu, struct kup_err *err);

/**
 * kup_criu_fits - can this CRIU dump and restore on that kernel?
 * @release: as of uname -r
 *
 * Return: 0, or -ENOTSUP, why, and what to install.
 */
int kup_criu_fits(const struct kup_criu *criu, const char *release, struct kup_err *err);

/**
 * kup_criu_reads - may this CRIU restore what that one dumped?
 * @dumped_by: version as in struct kup_criu's text
 *
 * Images of an earlier CRIU are read by a later one, not the other way round.
 *
 * Return: 0, or -ENOTSUP.
 */
int kup_criu_reads(const struct kup_criu *criu, const char *dumped_by, struct kup_err *err);

/**
 * kup_criu_warm - let CRIU probe this kernel and remember what it found
 * @program: as in kup_criu_find()
 *
 * Return: 0 or a negative errno.
 */
int kup_criu_warm(const char *program, struct kup_err *err);

enum kup_criu_mode { KUP_CRIU_DUMP, KUP_CRIU_RESTORE };

struct kup_criu_job {
	pid_t root;			/* of the tree */
	char comm[16];			/* for messages */
	char images[256];		/* directory, made by the caller */
	const char *freeze_dir;		/* dump: the tree's cgroup */
	bool shell_job, file_locks, ext_unix;
	bool new_session;		/* not in ours */

	/* for criu.c only */
	pid_t child;
	int pidfd, status;
	int conn, images_fd;		/* -1: there is none, or none any more */
	bool asks;			/* it waits for an answer */
	int barrier;			/* how many it was let through */
	char log[300], out[300];
	size_t started;			/* how long the log was when its start was over */
};

struct kup_criu_run {
	enum kup_criu_mode mode;
	const struct kup_criu *criu;
	bool verbose;
	struct kup_criu_job *jobs;
	size_t nr;
	int cancel;			/* readable: stop at the next barrier; or -1 */
	/*
	 * Called when all have come to a barrier: `pre-dump` (CRIU's own start is over, no task is touched yet); `pre-restore` (the
	 * same, nothing is made yet), `post-restore` (all VMAs are in place, all tasks stopped) and `pre-resume` (all done; the answer is
	 * not heeded, while one that is not 0 before it ends the restore).
	 */
	int (*at)(void *ctx, const char *action, struct kup_err *err);
	void *ctx;

	/* for criu.c only */
	int logs;			/* directory */
	int passed;			/* barriers that all have come to */
	size_t started;
};

/**
 * kup_criu_run_all - run all jobs to their end
 *
 * A CRIU that has begun to dump is never killed: it holds the tasks by ptrace, with its own code in them.
 *
 * Return: 0 if all succeeded; else the first failure, -EINTR if cancelled, -EOWNERDEAD if one was killed while it held tasks.
 */
int kup_criu_run_all(struct kup_criu_run *run, struct kup_err *err);

/* Pages of memory in the images of a dump. */
uint64_t kup_criu_image_pages(const char *images);

#endif
