/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Faults on demand, to see what a step that fails leaves behind.
 *
 * KUP_FAULT="WHEN:STEP:KIND" in the environment; `kup-ppp faults` lists what there is. It strikes once in the life of a process.
 */
#ifndef KUP_FAULT_H
#define KUP_FAULT_H

#include "err.h"

enum kup_fault_when { KUP_FAULT_BEFORE, KUP_FAULT_AFTER };

/**
 * kup_fault - the fault that was asked for at this point, if any
 * @when: before the step's first action, or after its last
 * @step: one of kup_step_list
 * @err: NULL: what failed before is being put back, nothing strikes
 *
 * Return: 0; the errno of the fault; or not at all, if it is one that ends this process.
 */
int kup_fault(enum kup_fault_when when, const char *step, struct kup_err *err);

struct kup_step_info;

/* Calls @fn for each fault there is: what to write into KUP_FAULT, where it strikes, and what happens. */
void kup_fault_each(void (*fn)(void *ctx, const char *fault, const struct kup_step_info *step, const char *what), void *ctx);

/* Is the fault that was asked for, if any, one of these? Return: 0 or -EINVAL. */
int kup_fault_check(struct kup_err *err);

#endif
