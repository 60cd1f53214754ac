// SPDX-License-Identifier: GPL-2.0
/*
 * runaway: processes, or memory in use, grow without end.
 *
 * The kernel's own counters are looked at eight times in a bound, by whichever CPU's timer comes first, and held against the smallest
 * and largest of the last bound. Tasks: all threads, the kernel's and those that nobody has waited for included. Memory: what is free
 * or could be (files, slabs); an alarm only if it fell by `fall` percent of all memory and to less than `left` percent, so a
 * service that fills what it was given is none.
 *
 * Not seen: growth that takes longer than the bound for these amounts; swap, which only puts off what is to come.
 */
#include <kup/core.h>

KUP_POLICY("processes, or memory in use, that grow without end", 10 * KUP_SECOND);

const volatile __u64 tasks = 2000;	/* more than there were */
const volatile __u64 fall = 20;		/* percent of memory */
const volatile __u64 left = 10;		/* percent of memory */

extern const void nr_threads __ksym;
extern const void _totalram_pages __ksym;
extern const void vm_zone_stat __ksym;
extern const void vm_node_stat __ksym;

enum zone_stat_item {
	NR_FREE_PAGES = 0,
};

enum node_stat_item {
	NR_SLAB_RECLAIMABLE_B = 1,
	NR_INACTIVE_FILE = 2,
	NR_ACTIVE_FILE = 3,
};

static struct look {
	__u64 at;
	__u64 tasks;
	__u64 free;
} looks[KUP_POLICY_LOOKS];
static __u64 nr, last;

#define OF_NODE(item) read_long((const long *)&vm_node_stat + bpf_core_enum_value(enum node_stat_item, item))

static inline __u64 free_pages(void)
{
	long v = read_long((const long *)&vm_zone_stat + bpf_core_enum_value(enum zone_stat_item, NR_FREE_PAGES));

	v += OF_NODE(NR_INACTIVE_FILE) + OF_NODE(NR_ACTIVE_FILE) + OF_NODE(NR_SLAB_RECLAIMABLE_B);
	return v > 0 ? v : 0;
}

/* The task is whoever runs now on this CPU: one of those that multiply, most likely. */
#define tell(text, nr, least)						\
	do {								\
		struct kup_alarm *a = kup_alarm_new();			\
									\
		if (!a)							\
			return 0;					\
		kup_alarm_what(a, text);				\
		a->count = (nr);					\
		a->limit = (least);					\
		a->lasted_ns = now - begin;				\
		a->pid = bpf_get_current_pid_tgid();			\
		if (a->pid)						\
			bpf_get_current_comm(a->comm, sizeof(a->comm));	\
		kup_alarm_raise(a);					\
	} while (0)

SEC("perf_event")
int look(struct bpf_perf_event_data *ctx)
{
	__u64 now = bpf_ktime_get_ns(), was = last, total, few = ~0ull, most = 0, begin = now;
	struct look l;
	__u64 i;

	/* One CPU a look. */
	if (now - was < bound_ns / KUP_POLICY_LOOKS * 3 / 4 || __sync_val_compare_and_swap(&last, was, now) != was)
		return 0;
	l.at = now;
	l.tasks = (__u32)read_long(&nr_threads);
	l.free = free_pages();
	total = read_long(&_totalram_pages);
	for (i = 0; i < KUP_POLICY_LOOKS; i++) {
		if (i >= nr)
			break;
		if (looks[i].at < begin)
			begin = looks[i].at;
		if (looks[i].tasks < few)
			few = looks[i].tasks;
		if (looks[i].free > most)
			most = looks[i].free;
	}
	looks[nr % KUP_POLICY_LOOKS] = l;
	nr++;
	if (nr == 1)
		return 0;
	if (l.tasks > few && l.tasks - few >= tasks)
		tell("tasks more than at the begin of the bound", l.tasks - few, tasks);
	if (most > l.free && (most - l.free) * 100 >= total * fall && l.free * 100 < total * left)
		tell("pages of memory used up within the bound", most - l.free, total * fall / 100);
	return 0;
}
