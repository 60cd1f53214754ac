/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the policies read of the kernel, by CO-RE: only names count here, offsets are the running kernel's. So policies are built without any
 * kernel's headers or BTF.
 */
#ifndef KUP_CORE_H
#define KUP_CORE_H

#include <linux/bpf.h>
#include <linux/bpf_perf_event.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include <kup/policy.h>

struct bpf_map;
struct seq_file;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	long counter;
} atomic_long_t;

struct task_struct {
	unsigned int __state;
	unsigned int flags;
	int pid;
	char comm[16];
	unsigned long nvcsw;
	unsigned long nivcsw;
};

struct mutex {
	atomic_long_t owner;
};

struct rw_semaphore {
	atomic_long_t owner;
};

struct bpf_iter_meta {
	struct seq_file *seq;
	__u64 session_id;
	__u64 seq_num;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct pcpu_hot {
	int preempt_count;
};

#pragma clang attribute pop

#define PF_IDLE			0x00000002
#define TASK_UNINTERRUPTIBLE	0x00000002
#define TASK_WAKEKILL		0x00000100
#define TASK_NOLOAD		0x00000400

/* include/trace/events/lock.h */
#define LCB_F_SPIN	(1u << 0)
#define LCB_F_READ	(1u << 1)
#define LCB_F_WRITE	(1u << 2)
#define LCB_F_RT	(1u << 3)
#define LCB_F_PERCPU	(1u << 4)
#define LCB_F_MUTEX	(1u << 5)

#define PREEMPT_BITS	0x000000ff
#define SOFTIRQ_BITS	0x0000ff00

#define READ(p, field)	BPF_CORE_READ(p, field)

/* Variables that BTF does not describe: by their names in kallsyms. */
static inline unsigned long read_long(const void *at)
{
	unsigned long v = 0;

	bpf_probe_read_kernel(&v, sizeof(v), at);
	return v;
}

#endif
