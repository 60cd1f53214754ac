/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Does the application serve in the new kernel? Commands that the operator names, run when all its threads go on and before anybody else
 * hears of it: the network is closed but for loopback, and what was sealed is still as it was. So a no leads back to the old kernel
 * with nothing lost, and the fallback's end, the commit point, comes after the last yes.
 */
#ifndef KUP_HEALTH_H
#define KUP_HEALTH_H

#include <stdbool.h>

#include "conf.h"
#include "err.h"

struct json_object;

#define KUP_HEALTH_SECONDS 10	/* for all commands, unless configured otherwise */

/**
 * kup_health_check - can what is configured be done?
 *
 * Return: 0, or -EINVAL with @err: commands without a fallback, or with more time than a hang is told in.
 */
int kup_health_check(const struct kup_conf *conf, struct kup_err *err);

/**
 * kup_health_to_plan - the new kernel's kup-ppp shall run the same commands, whatever is configured there
 */
void kup_health_to_plan(const struct kup_conf *conf, struct json_object *plan);

bool kup_health_wanted(struct json_object *plan);

/**
 * kup_health_run - run the plan's commands, one after the other, by /bin/sh
 *
 * Return: 0: all ended with status 0 in time; else a negative errno, with @err saying what the first other one did. A command that is
 * out of time is killed, with its process group.
 */
int kup_health_run(struct json_object *plan, struct kup_err *err);

#endif
