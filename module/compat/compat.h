/* SPDX-License-Identifier: GPL-2.0 */
/*
 * All that this module knows about kernel versions. The rest of it sees HAVE_x or a kup_compat_*() call.
 *
 * compat/Kbuild.include looks at the kernel's headers first and passes HAVE_x for each shape it finds there; what has no
 * shape in a header is decided by version here. Each shim names the upstream change and the release that made it needed.
 */
#ifndef KUP_COMPAT_H
#define KUP_COMPAT_H

#include <linux/version.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 1, 0)
#error "kup_ppp supports kernels 6.1 to 7.3; this one is older"
#elif LINUX_VERSION_CODE >= KERNEL_VERSION(7, 4, 0)
#error "kup_ppp supports kernels 6.1 to 7.3; this one is newer: check every shim in module/compat first"
#endif
#ifndef CONFIG_X86_64
#error "kup_ppp supports x86-64 only"
#endif

/* -- old side -- */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/coredump.h>

/* Shadow stacks of user space came in 6.6. */
#ifndef VM_SHADOW_STACK
#define VM_SHADOW_STACK 0UL
#endif

/* From 6.4 on faults may take the VMA's own lock only. The caller holds mmap_lock for writing. */
static inline void kup_compat_vma_start_write(struct vm_area_struct *vma)
{
#ifdef HAVE_VMA_LOCK
	vma_start_write(vma);
#endif
}

/* Whole range or nothing; order-0 pages, for free_contig_range(). */
static inline int kup_compat_alloc_contig(unsigned long start_pfn, unsigned long end_pfn)
{
#ifdef HAVE_ACR_FLAGS	/* flags in place of a migrate type, 6.17 */
	return alloc_contig_range(start_pfn, end_pfn, ACR_FLAGS_NONE, GFP_KERNEL);
#else
	return alloc_contig_range(start_pfn, end_pfn, MIGRATE_MOVABLE, GFP_KERNEL);
#endif
}

/* PR_SET_THP_DISABLE of an address space; under mmap_lock for writing. */
static inline bool kup_compat_thp_disabled(struct mm_struct *mm)
{
#ifdef HAVE_MM_FLAGS_TEST	/* mm_struct.flags became a bitmap with accessors, 6.18 */
	return mm_flags_test(MMF_DISABLE_THP_COMPLETELY, mm);
#else
	return test_bit(MMF_DISABLE_THP, &mm->flags);
#endif
}

static inline void kup_compat_set_thp_disabled(struct mm_struct *mm, bool on)
{
#ifdef HAVE_MM_FLAGS_TEST
	if (on)
		mm_flags_set(MMF_DISABLE_THP_COMPLETELY, mm);
	else
		mm_flags_clear(MMF_DISABLE_THP_COMPLETELY, mm);
#else
	if (on)
		set_bit(MMF_DISABLE_THP, &mm->flags);
	else
		clear_bit(MMF_DISABLE_THP, &mm->flags);
#endif
}

/*
 * Does anybody (KVM, a device driver) mirror this address space? Once the kernel has made the list of subscriptions it stays,
 * empty, for the life of the mm, so that mm_has_notifiers() does not tell. The structure is private to mm/mmu_notifier.c;
 * its first two members are these since 5.5. Under mmap_lock: who subscribes takes it for writing.
 */
static inline bool kup_compat_is_mirrored(struct mm_struct *mm)
{
	const struct {
		struct hlist_head list;
		bool has_itree;
	} *s = (const void *)mm->notifier_subscriptions;

	return s && (!hlist_empty(&s->list) || s->has_itree);
}

#endif
