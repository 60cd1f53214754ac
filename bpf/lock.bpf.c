// SPDX-License-Identifier: GPL-2.0
/*
 * lock: a kernel lock that is never let go, by what it does to others.
 *
 *  1. Sleeping locks (mutex, rwsem, semaphore, rt_mutex, percpu_rwsem). Whoever has to wait is entered at contention_begin, with the time, and
 *     taken out at contention_end. Each CPU looks through the entries in its timer interrupt.
 *  2. Spinning locks. A CPU whose timer always finds the same task in the kernel with preemption or softirqs off, and no task switch in
 *     between, is turning in one place, whether on a lock or not.
 *  3. A CPU whose timer does not come at all has its interrupts off. Its neighbour sees that its count stands still, over several
 *     ticks of its own, so that a machine that was paused as a whole is none.
 *
 * All of it works without user space. Not seen: waits that began before the policy was loaded (1); interrupts off on the only CPU, or
 * on all (3); a user's lock (futex).
 */
#include <kup/core.h>

KUP_POLICY("a kernel lock that is never let go, or a CPU that hangs in the kernel", 20 * KUP_SECOND);

const volatile __u64 tasks = 1;		/* so many wait for one */

#define MAX_WAITS	8192
#define MAX_CPUS	1024

struct wait_key {
	__u64 task;
	__u64 lock;
};

struct wait {
	__u64 since;
	__u32 pid;
	__u32 flags;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_WAITS);
	__type(key, struct wait_key);
	__type(value, struct wait);
} waits SEC(".maps");

/*
 * Of one look at 1. In a map, since before 6.7 the verifier takes a callback to be called at most once: it knows then that a count on
 * the stack is 0 or 1, and removes what comes of more.
 */
struct longest {
	__u64 now;
	__u64 lasted;
	__u64 lock;
	__u64 task;
	__u64 waiters;
	__u32 pid;
	__u32 flags;
};

struct cpu {
	__u64 ticks;
	/* 1 */
	struct longest longest;
	/* 2 */
	__u64 task;
	__u64 switches;
	__u64 since;
	__u64 seen;
	/* 3: of the neighbour */
	__u64 neighbour;
	__u64 ticks_there;
	__u64 silent_since;
	__u64 silent;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_CPUS);
	__type(key, __u32);
	__type(value, struct cpu);
} cpus SEC(".maps");

extern int __preempt_count __ksym __weak;		/* up to 6.1, and again from 6.15 */
extern struct pcpu_hot pcpu_hot __ksym __weak;		/* between */
extern const void __cpu_online_mask __ksym;

/* --- 1 --- */

SEC("tp_btf/contention_begin")
int BPF_PROG(begin, void *lock, unsigned int flags)
{
	struct wait_key key = { .task = bpf_get_current_task(), .lock = (__u64)lock };
	struct wait w;

	/* Nobody sleeps yet: a spinlock, or a mutex or rwsem that is tried by spinning first. */
	if (flags & LCB_F_SPIN)
		return 0;
	w.since = bpf_ktime_get_ns();
	w.pid = bpf_get_current_pid_tgid();
	w.flags = flags;
	bpf_map_update_elem(&waits, &key, &w, BPF_ANY);
	return 0;
}

SEC("tp_btf/contention_end")
int BPF_PROG(end, void *lock)
{
	struct wait_key key = { .task = bpf_get_current_task(), .lock = (__u64)lock };

	/* Most ends are of spinning: looking costs less than deleting. */
	if (bpf_map_lookup_elem(&waits, &key))
		bpf_map_delete_elem(&waits, &key);
	return 0;
}

/* A callback is given nothing but what is on the stack. */
struct callback {
	struct longest *longest;
};

static long find_longest(struct bpf_map *map, const struct wait_key *key, struct wait *w, struct callback *c)
{
	struct longest *l = c->longest;

	if (l->now > w->since && l->now - w->since > l->lasted) {
		l->lasted = l->now - w->since;
		l->lock = key->lock;
		l->task = key->task;
		l->pid = w->pid;
		l->flags = w->flags;
	}
	return 0;
}

static long count_waiters(struct bpf_map *map, const struct wait_key *key, struct wait *w, struct callback *c)
{
	struct longest *l = c->longest;

	l->waiters += key->lock == l->lock;
	return 0;
}

static inline void name_holder(struct kup_alarm *a, __u64 owner)
{
	struct task_struct *task = (void *)(owner & ~7ull);

	if (!task)
		return;
	a->holder = READ(task, pid);
	BPF_CORE_READ_STR_INTO(&a->holder_comm, task, comm);
}

static inline void look_at_waits(struct longest *l, __u64 now)
{
	struct callback c = { .longest = l };
	struct rw_semaphore *rwsem;
	struct task_struct *task;
	struct mutex *mutex;
	struct kup_alarm *a;

	l->now = now;
	l->lasted = 0;
	l->waiters = 0;
	bpf_for_each_map_elem(&waits, find_longest, &c, 0);
	if (l->lasted < kup_policy_lasting(bound_ns))
		return;
	bpf_for_each_map_elem(&waits, count_waiters, &c, 0);
	if (l->waiters < tasks)
		return;
	/* An end that was missed would leave an entry of a task that runs, or is gone. */
	task = (void *)l->task;
	if ((__u32)READ(task, pid) != l->pid || !READ(task, __state))
		return;

	a = kup_alarm_new();
	if (!a)
		return;
	kup_alarm_what(a, "tasks wait for a lock");
	if (l->flags & LCB_F_MUTEX) {
		kup_alarm_what(a, "tasks wait for a mutex");
		mutex = (void *)l->lock;
		name_holder(a, READ(mutex, owner.counter));
	} else if (l->flags & LCB_F_PERCPU) {
		kup_alarm_what(a, "tasks wait for a percpu_rwsem");
	} else if (l->flags & LCB_F_RT) {
		kup_alarm_what(a, "tasks wait for an rt_mutex");
	} else if (l->flags & (LCB_F_READ | LCB_F_WRITE)) {
		kup_alarm_what(a, "tasks wait for a rw_semaphore");
		/* A reader's entry may be stale, a writer's is true: the low bits tell them apart. */
		rwsem = (void *)l->lock;
		if (!(READ(rwsem, owner.counter) & 1))
			name_holder(a, READ(rwsem, owner.counter));
	}
	a->lasted_ns = l->lasted;
	a->count = l->waiters;
	a->limit = tasks;
	a->object = l->lock;
	a->pid = l->pid;
	BPF_CORE_READ_STR_INTO(&a->comm, task, comm);
	kup_alarm_raise(a);
}

/* --- 2 --- */

static inline int preempt_count(void)
{
	if (&__preempt_count)
		return *(int *)bpf_this_cpu_ptr(&__preempt_count);
	if (&pcpu_hot)
		return ((struct pcpu_hot *)bpf_this_cpu_ptr(&pcpu_hot))->preempt_count;
	return 0;
}

static inline void look_at_this_cpu(struct bpf_perf_event_data *ctx, struct cpu *this, __u64 now)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	__u64 switches = READ(task, nvcsw) + READ(task, nivcsw);
	struct kup_alarm *a;
	long len;

	if ((ctx->regs.cs & 3) || !(preempt_count() & (PREEMPT_BITS | SOFTIRQ_BITS)) || (READ(task, flags) & PF_IDLE) ||
	    this->task != (__u64)task || this->switches != switches) {
		this->task = (__u64)task;
		this->switches = switches;
		this->since = now;
		this->seen = 0;
		return;
	}
	if (++this->seen < 3 || now - this->since < kup_policy_lasting(bound_ns))
		return;
	a = kup_alarm_new();
	if (!a)
		return;
	kup_alarm_what(a, "a CPU turns in the kernel without ever letting go");
	a->lasted_ns = now - this->since;
	a->count = a->limit = 1;
	a->cpu = bpf_get_smp_processor_id();
	a->pid = READ(task, pid);
	BPF_CORE_READ_STR_INTO(&a->comm, task, comm);
	len = bpf_get_stack(ctx, a->stack, sizeof(a->stack), 0);
	a->nr_stack = len > 0 ? len / sizeof(a->stack[0]) : 0;
	kup_alarm_raise(a);
}

/* --- 3 --- */

static inline int online(__u32 cpu)
{
	return read_long((const char *)&__cpu_online_mask + cpu / 64 * 8) >> (cpu % 64) & 1;
}

static inline void look_at_neighbour(struct cpu *this, __u32 me, __u64 now)
{
	struct cpu *c = NULL;
	struct kup_alarm *a;
	__u32 i, key = me;

	for (i = 1; i < MAX_CPUS; i++) {
		key = (me + i) % MAX_CPUS;
		c = bpf_map_lookup_elem(&cpus, &key);
		if (!c || key == me)
			return;
		if (c->ticks && online(key))
			break;
		c = NULL;
	}
	if (!c)
		return;
	if (this->neighbour != key || this->ticks_there != c->ticks) {
		this->neighbour = key;
		this->ticks_there = c->ticks;
		this->silent_since = now;
		this->silent = 0;
		return;
	}
	if (++this->silent < 4 || now - this->silent_since < kup_policy_lasting(bound_ns))
		return;
	a = kup_alarm_new();
	if (!a)
		return;
	kup_alarm_what(a, "a CPU takes no interrupts");
	a->lasted_ns = now - this->silent_since;
	a->count = a->limit = 1;
	a->cpu = key;
	kup_alarm_raise(a);
}

SEC("perf_event")
int look(struct bpf_perf_event_data *ctx)
{
	__u64 now = bpf_ktime_get_ns();
	__u32 me = bpf_get_smp_processor_id();
	struct cpu *this = bpf_map_lookup_elem(&cpus, &me);

	if (!this)
		return 0;
	this->ticks++;
	look_at_this_cpu(ctx, this, now);
	look_at_neighbour(this, me, now);
	look_at_waits(&this->longest, now);
	return 0;
}
