// SPDX-License-Identifier: GPL-2.0
/*
 * stuck: tasks that sleep uninterruptibly and are not woken, as the readers of a driver that forgot them.
 *
 * In each look over all tasks, one that sleeps uninterruptibly and has not run since the look before goes on counting; any other begins
 * anew. A task that a signal could end (TASK_KILLABLE) or that is idle by its own account (TASK_IDLE) is none of them.
 *
 * Not seen: readers that sleep interruptibly, which is what an idle service does as well; anything while the loader does not run.
 */
#include <kup/core.h>

KUP_POLICY("tasks that sleep uninterruptibly and are never woken", 30 * KUP_SECOND);

/* so many tasks */
const volatile __u64 tasks = 3;

struct seen {
	__u64 since;
	__u64 switches;
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct seen);
} sleepers SEC(".maps");

/* Of this look. */
static struct {
	__u64 found;
	__u64 lasted;
	__u64 nr_stack;
	__u32 pid;
	char comm[16];
	__u64 stack[KUP_POLICY_STACK];
} worst;

static inline void tell(void)
{
	struct kup_alarm *a = kup_alarm_new();

	if (!a)
		return;
	kup_alarm_what(a, "tasks sleep uninterruptibly");
	a->lasted_ns = worst.lasted;
	a->count = worst.found;
	a->limit = tasks;
	a->pid = worst.pid;
	a->nr_stack = worst.nr_stack;
	__builtin_memcpy(a->comm, worst.comm, sizeof(a->comm));
	__builtin_memcpy(a->stack, worst.stack, sizeof(a->stack));
	kup_alarm_raise(a);
}

SEC("iter/task")
int look(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	__u64 now = bpf_ktime_get_ns(), switches;
	unsigned int state;
	struct seen *s;
	long len;

	if (!task) {
		if (worst.found >= tasks)
			tell();
		worst.found = 0;
		worst.lasted = 0;
		return 0;
	}
	state = task->__state;
	if (!(state & TASK_UNINTERRUPTIBLE) || (state & (TASK_WAKEKILL | TASK_NOLOAD))) {
		bpf_task_storage_delete(&sleepers, task);
		return 0;
	}
	s = bpf_task_storage_get(&sleepers, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!s)
		return 0;
	switches = task->nvcsw + task->nivcsw;
	if (!s->since || s->switches != switches) {
		s->since = now;
		s->switches = switches;
		return 0;
	}
	if (now - s->since < kup_policy_lasting(bound_ns))
		return 0;
	worst.found++;
	if (now - s->since <= worst.lasted)
		return 0;
	worst.lasted = now - s->since;
	worst.pid = task->pid;
	bpf_probe_read_kernel(worst.comm, sizeof(worst.comm), task->comm);
	len = bpf_get_task_stack(task, worst.stack, sizeof(worst.stack), 0);
	worst.nr_stack = len > 0 ? len / sizeof(worst.stack[0]) : 0;
	return 0;
}
