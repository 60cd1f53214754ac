/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /etc/kup-ppp.conf and /etc/kup-ppp.conf.d/\*.conf, in the order of their names: lines `key = value`, `#` starts a comment.
 * `target`, `append`, `profile-off`, `policy`, `health` and `keep` may be given several times and add up; of any other key the last one counts.
 */
#ifndef KUP_CONF_H
#define KUP_CONF_H

#include <stdbool.h>
#include <stddef.h>

#include "err.h"

#define KUP_CONF "/etc/kup-ppp.conf"

struct kup_conf {
	char **targets;
	size_t nr_targets;
	char *kernel;
	char *initrd;
	char *append;		/* joined by blanks */
	char *criu;		/* program; "criu" if not set */
	char **policies;	/* `NAME [KEY=VALUE...]` or `NAME off`, in their order */
	size_t nr_policies;
	char *on_alarm;		/* "report", or a command; NULL is the first */
	bool fallback;		/* keep the running kernel, to come back to if the new one fails */
	char *fallback_kernel;	/* its image, if it is not where the running kernel's is as a rule */
	char *fallback_initrd;
	unsigned int fallback_seconds, fallback_boot_seconds;	/* without progress, and to the adoption; 0: the default */
	char **health;		/* commands, in their order */
	size_t nr_health;
	char **keep;		/* directories, see keep.h */
	size_t nr_keep;
	unsigned int health_seconds;	/* for all of them; 0: the default */
	bool leave_refused;	/* go without the targets that cannot be kept, as long as something else is */
	bool verify;		/* sum up the memory itself before the jump, and compare behind it */
	char *profile_off;	/* items of the boot profile not to use, joined by blanks */
};

/**
 * kup_conf_read - read the configuration
 * @path: of the main file; drop-ins are in @path.d/. A file that isn't there is an empty one
 *
 * Return: 0 or a negative errno; -EINVAL names file and line.
 */
int kup_conf_read(const char *path, struct kup_conf *conf, struct kup_err *err);
void kup_conf_free(struct kup_conf *conf);

/* Options of verbs that say the same as the configuration, for getopt_long(). */
#define KUP_CONF_OPTIONS						\
	{ "kernel", required_argument, NULL, 'k' },			\
	{ "initrd", required_argument, NULL, 'i' },			\
	{ "append", required_argument, NULL, 'a' },			\
	{ "profile-off", required_argument, NULL, 'p' },		\
	{ "criu", required_argument, NULL, 'c' },			\
	{ "fallback", no_argument, NULL, 'F' },				\
	{ "verify", no_argument, NULL, 'V' },				\
	{ "health", required_argument, NULL, 'H' },			\
	{ "keep", required_argument, NULL, 'K' },			\
	{ "leave-refused", no_argument, NULL, 'L' }

/**
 * kup_conf_option - take one of KUP_CONF_OPTIONS
 * @option: what getopt_long() returned
 *
 * Return: 0, -EINVAL if it is none of these, -ENOMEM.
 */
int kup_conf_option(struct kup_conf *conf, int option, const char *value);

/**
 * kup_conf_targets - targets from the command line take the place of the configured ones
 *
 * Return: 0 or -ENOMEM.
 */
int kup_conf_targets(struct kup_conf *conf, char *const *names, size_t nr);

/**
 * kup_conf_set - what a line or a command line option sets
 *
 * Return: 0, -EINVAL for an unknown key, -ERANGE for a value that it does not take, -ENOMEM.
 */
int kup_conf_set(struct kup_conf *conf, const char *key, const char *value);

#endif
