// SPDX-License-Identifier: GPL-2.0
/* One policy more, as a user would add it: so many forks in all. By a tracepoint, and with a parameter of its own. */
#include <kup/core.h>

KUP_POLICY("so many forks", 10 * KUP_SECOND);

const volatile __u64 forks = 1000000;

static __u64 nr;

SEC("tp_btf/sched_process_fork")
int BPF_PROG(forked, struct task_struct *parent, struct task_struct *child)
{
	struct kup_alarm *a;

	if (__sync_fetch_and_add(&nr, 1) + 1 < forks)
		return 0;
	a = kup_alarm_new();
	if (!a)
		return 0;
	kup_alarm_what(a, "forks");
	a->count = nr;
	a->limit = forks;
	a->pid = parent->pid;
	bpf_probe_read_kernel(a->comm, sizeof(a->comm), parent->comm);
	kup_alarm_raise(a);
	return 0;
}
