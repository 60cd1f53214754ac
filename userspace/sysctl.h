/* SPDX-License-Identifier: GPL-2.0 */
/* A kernel setting that is changed for a while, and comes back even if who changed it was killed. */
#ifndef KUP_SYSCTL_H
#define KUP_SYSCTL_H

/**
 * kup_sysctl_lend - change a setting until kup_sysctl_return()
 * @file: of the setting, under /proc/sys or /sys
 * @saved: where its value is kept meanwhile; if there is one already, that stays
 *
 * Return: 0 or a negative errno; then it is not changed.
 */
int kup_sysctl_lend(const char *file, const char *saved, const char *value);

/**
 * kup_sysctl_return - the value it had, if it was lent and not returned; by whoever holds kup_lock()
 */
void kup_sysctl_return(const char *file, const char *saved);

/*
 * While processes stand still, nobody waits for a grace period of RCU longer than the CPUs need to answer: writes to cgroup.procs, nftables and
 * the loading of a module do so again and again.
 */
#define KUP_RCU_EXPEDITED "/sys/kernel/rcu_expedited", KUP_RUN_DIR "/rcu_expedited"

/* Memory that waits to be bound isn't in the new kernel's total yet: for that no mapping that holds it may be refused. */
#define KUP_OVERCOMMIT	"/proc/sys/vm/overcommit_memory", KUP_RUN_DIR "/overcommit_memory"

#endif
