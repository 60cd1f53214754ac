/* SPDX-License-Identifier: GPL-2.0 */
/* What a person names - a pid, a cgroup, a service, a program - turned into the roots of process trees. */
#ifndef KUP_TARGET_H
#define KUP_TARGET_H

#include <stddef.h>

#include "err.h"
#include "tree.h"

/**
 * kup_targets_resolve - find the trees to keep
 * @names: a pid; a path of a cgroup; NAME.service; the name of a program that runs once, or else of a service
 * @nr: at least 1
 * @forest: out, for kup_forest_free()
 *
 * Return: 0 or a negative errno; the error names the target and what it matched.
 */
int kup_targets_resolve(char *const *names, size_t nr, struct kup_forest *forest, struct kup_err *err);

#endif
