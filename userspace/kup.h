/* SPDX-License-Identifier: GPL-2.0 */
/* What the verbs of the command share. Each verb is one cmd_*.c with one function of type kup_cmd_fn. */
#ifndef KUP_CMD_H
#define KUP_CMD_H

#include <stdbool.h>

#include "err.h"

struct kup_opts {
	bool json;		/* results and errors as one JSON object on stdout */
	bool verbose;
};

/*
 * @argc, @argv: the verb's own, argv[0] is the verb. Global options are taken out already.
 * Return: 0; KUP_EXIT_USAGE for misuse; KUP_EXIT_BROKEN if something could not be put back; KUP_EXIT_ALARM; else a negative errno. If not 0,
 * @err says why and the caller prints it; left empty, the verb has printed it already.
 */
typedef int (*kup_cmd_fn)(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);

/* Exit status: 0 done; 1 refused or failed, and everything is as it was before; the rest as named. */
#define KUP_EXIT_USAGE	2
#define KUP_EXIT_BROKEN	3
#define KUP_EXIT_ALARM	4	/* watch: a policy raised an alarm */

#define KUP_RUN_DIR	"/run/kup-ppp"

int cmd_abort(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);
int cmd_check(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);
int cmd_drain(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);
int cmd_fallback(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);
int cmd_faults(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);
int cmd_inspect(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);
int cmd_prepare(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);
int cmd_restore(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);
int cmd_status(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);
int cmd_switch(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);
int cmd_watch(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err);

#endif
