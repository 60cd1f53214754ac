/* SPDX-License-Identifier: GPL-2.0 */
/* What is done about an alarm of a policy. */
#ifndef KUP_ALARM_H
#define KUP_ALARM_H

#include "err.h"

struct json_object;
struct kup_alarm;
struct kup_policy;

/**
 * kup_alarm_report - all that is known of an alarm, with names for addresses
 * @watched_ns: since the policies were started
 *
 * Return: { policy, what, count, limit, uptime_ms, lasted_ms, bound_ms, watched_ms, at, task: { pid, comm }, holder, cpu, object, stack: [] };
 * what is not known is not in it. `uptime_ms` is when it was told. `at` is where the task waits or turns.
 */
struct json_object *kup_alarm_report(const struct kup_policy *p, const struct kup_alarm *a, unsigned long long watched_ns);

void kup_alarm_print(struct json_object *report);

/**
 * kup_alarm_act - do what the configuration says: `on-alarm`
 * @action: NULL or "report": nothing else than to report; anything else is a command for sh, with $KUP_POLICY and $KUP_ALARM (JSON)
 *
 * Here is where an automatic fallback is another action. It must do without closing anything of the policies: a kernel with a CPU
 * that hangs may never come back from that.
 *
 * Return: 0, or a negative errno if the action failed.
 */
int kup_alarm_act(const char *action, struct json_object *report, struct kup_err *err);

#endif
