/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The contract between a failure policy (bpf/NAME.bpf.c, a file NAME.bpf.o) and what loads it (userspace/policy.c). In prose, with an
 * example: Documentation/policies.rst.
 *
 *  1. A policy is one object file. Its name is the file's, without `.bpf.o`. It defines, by KUP_POLICY():
 *     - `kup_policy_version`, which has to be KUP_POLICY_VERSION;
 *     - `about`, a line for people;
 *     - `bound_ns`, the time in which a fault has to be told, counted from its begin. The value in the file is the default;
 *     - `alarms`, a ring buffer of struct kup_alarm.
 *  2. Any other `const volatile __u64` that is no static is a parameter: NAME=NUMBER in the configuration sets it, by its name. One whose
 *     name ends in `_ns` is a time, and is set without that ending: `bound=10s`.
 *  3. The loader sets the parameters, loads, attaches all programs, and runs what has to be run KUP_POLICY_LOOKS times in a bound:
 *     - SEC("perf_event"): on each CPU, in its timer interrupt, by the kernel alone. It works on when no user space does;
 *     - SEC("iter/..."): walked to its end by the loader. It is as alive as the loader;
 *     - any other section that libbpf attaches by its name: whenever that happens.
 *  4. A fault is what lasted for kup_policy_lasting(bound_ns): less than the bound by what looking now and then can miss.
 *  5. kup_alarm_new() and kup_alarm_raise() tell it. They may do so again and again: the loader takes the first and ends the watch.
 *
 * Rules for changing this: a field is added at the end, with a new version; a loader refuses any other version than its own.
 */
#ifndef KUP_POLICY_H
#define KUP_POLICY_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define KUP_POLICY_VERSION	1
#define KUP_POLICY_LOOKS	8
#define KUP_POLICY_STACK	32

/* What a policy has seen. What it does not know is 0. */
struct kup_alarm {
	char what[64];			/* in words, without numbers: "tasks wait for a mutex" */
	__u64 time_ns;			/* CLOCK_MONOTONIC, by kup_alarm_new() */
	__u64 lasted_ns;		/* for how long by now */
	__u64 count;			/* of what `what` says */
	__u64 limit;			/* that count had to reach */
	__u64 object;			/* kernel address of what it is about: a lock */
	__u32 pid;			/* the task that shows it best */
	__u32 holder;			/* the pid of what it waits for */
	__s32 cpu;			/* -1: none in particular */
	__u32 nr_stack;			/* 0: the loader shows the stack of @pid */
	char comm[16];			/* of @pid */
	char holder_comm[16];
	__u64 stack[KUP_POLICY_STACK];	/* kernel addresses, innermost first */
};

_Static_assert(sizeof(struct kup_alarm) == 152 + 8 * KUP_POLICY_STACK, "struct kup_alarm is a contract");

static inline __u64 kup_policy_lasting(__u64 bound_ns)
{
	return bound_ns / KUP_POLICY_LOOKS * 5;
}

#ifdef __bpf__
#define KUP_POLICY(text, default_bound_ns)						\
	const volatile __u32 kup_policy_version = KUP_POLICY_VERSION;			\
	const volatile char about[] = text;						\
	const volatile __u64 bound_ns = default_bound_ns;				\
	struct {									\
		__uint(type, BPF_MAP_TYPE_RINGBUF);					\
		__uint(max_entries, 16 << 10);						\
	} alarms SEC(".maps");								\
	char LICENSE[] SEC("license") = "GPL"

/*
 * kup_alarm_new() gives an alarm of zeros to fill in, or NULL if there is no room (then others are told already); each one goes out by
 * kup_alarm_raise(). All alarms go this way: a fallback that does not wait for user space would have its place there.
 */
#define kup_alarm_new()									\
	({										\
		struct kup_alarm *_a = bpf_ringbuf_reserve(&alarms, sizeof(*_a), 0);	\
		if (_a) {								\
			__builtin_memset(_a, 0, sizeof(*_a));				\
			_a->time_ns = bpf_ktime_get_ns();				\
			_a->cpu = -1;							\
		}									\
		_a;									\
	})
#define kup_alarm_raise(a) bpf_ringbuf_submit((a), 0)
#define kup_alarm_what(a, text) __builtin_memcpy((a)->what, text, sizeof(text))

#define KUP_SECOND	1000000000ull
#endif

#endif
