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

#include <linux/hrtimer.h>

/* hrtimer_setup() came with 6.13, and hrtimer_init() went with 6.15. Monotonic, in hard interrupt context. */
static inline void kup_compat_hrtimer_setup(struct hrtimer *timer, enum hrtimer_restart (*function)(struct hrtimer *))
{
#ifdef HAVE_HRTIMER_SETUP
	hrtimer_setup(timer, function, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
#else
	hrtimer_init(timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_HARD);
	timer->function = function;
#endif
}

/* -- old side -- */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/pagemap.h>
#include <linux/sched/coredump.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>
#include <linux/swapops.h>
#include <linux/uio.h>
#ifdef HAVE_SOFTLEAF
#include <linux/leafops.h>
#endif

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

#ifndef HAVE_ANON_VMA_PREPARE	/* went to mm/internal.h between 6.18 and 7.1; __anon_vma_prepare() is in symbols-list.h */
#include <linux/rmap.h>
int __anon_vma_prepare(struct vm_area_struct *vma);

static inline int anon_vma_prepare(struct vm_area_struct *vma)
{
	return likely(vma->anon_vma) ? 0 : __anon_vma_prepare(vma);
}

static inline void anon_vma_lock_write(struct anon_vma *anon_vma)
{
	down_write(&anon_vma->root->rwsem);
}

static inline void anon_vma_unlock_write(struct anon_vma *anon_vma)
{
	up_write(&anon_vma->root->rwsem);
}
#endif

#ifndef HAVE_ANON_VMA_FORK	/* the same */
int anon_vma_fork(struct vm_area_struct *vma, struct vm_area_struct *pvma);
#endif

#ifndef HAVE_FOLIO_ADD_LRU_VMA	/* the same, in 7.3 */
void folio_add_lru_vma(struct folio *folio, struct vm_area_struct *vma);
#endif

/* Unmap and free what is there in [@addr, @addr + @size), which @vma has. */
static inline void kup_compat_zap(struct vm_area_struct *vma, unsigned long addr, unsigned long size)
{
#ifdef HAVE_ZAP_VMA_RANGE	/* renamed between 6.18 and 7.1, and without the details that nobody outside mm/ gave */
	zap_vma_range(vma, addr, size);
#else
	zap_page_range_single(vma, addr, size, NULL);
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

/*
 * process_madvise() has a loop of its own since 6.13 ("mm/madvise: allow process_madvise() operations on entire own address space"),
 * and from 6.15 on that does not go through do_madvise() any more. No header shows it.
 */
#define KUP_COMPAT_VECTOR_MADVISE (LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0))

/* The next segment of user memory, and on behind it. False at the end. iter_iov_addr() came with 6.4. */
static inline bool kup_compat_next_segment(struct iov_iter *iter, unsigned long *start, size_t *len)
{
#ifdef iter_iov_addr
	if (!iov_iter_count(iter))
		return false;
	*start = (unsigned long)iter_iov_addr(iter);
	*len = iter_iov_len(iter);
	iov_iter_advance(iter, *len);
	return true;
#else
	return false;	/* nobody calls it there: KUP_COMPAT_VECTOR_MADVISE */
#endif
}

static inline unsigned long kup_compat_page_flags(const struct page *page)
{
#ifdef HAVE_MEMDESC_FLAGS	/* a type of its own, 6.18 */
	return READ_ONCE(page->flags.f);
#else
	return READ_ONCE(page->flags);
#endif
}

static inline bool kup_compat_tail_bit(const struct page *page)
{
#ifdef HAVE_COMPOUND_INFO	/* renamed after 6.18; the bit is the same */
	return READ_ONCE(page->compound_info) & 1;
#else
	return READ_ONCE(page->compound_head) & 1;
#endif
}

/* Is this entry, not none and not present, a page in the swap? Else it is a marker, or a page on its way. */
static inline bool kup_compat_is_swap_pte(pte_t pte)
{
#ifdef HAVE_SOFTLEAF	/* 6.19, "mm: introduce leaf entry type and use to simplify leaf entry logic" */
	return softleaf_is_swap(softleaf_from_pte(pte));
#else
	return !non_swap_entry(pte_to_swp_entry(pte));
#endif
}

/*
 * Room for @pages in a file of tmpfs, which count as there from now on. May sleep, and takes the lock itself, since 6.6 ("shmem: make
 * shmem_inode_acct_block() return error", and quotas after it). No header shows it.
 */
static inline bool kup_compat_shmem_charge(struct inode *inode, long pages)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return shmem_charge(inode, pages);
#else
	bool done;

	xa_lock_irq(&inode->i_mapping->i_pages);
	done = shmem_charge(inode, pages);
	xa_unlock_irq(&inode->i_mapping->i_pages);
	return done;
#endif
}

/* For one of them that is not needed. */
static inline void kup_compat_shmem_uncharge(struct inode *inode)
{
	xa_lock_irq(&inode->i_mapping->i_pages);
	inode->i_mapping->nrpages--;
	xa_unlock_irq(&inode->i_mapping->i_pages);
	shmem_uncharge(inode, 1);
}

/* Both locked. */
static inline void kup_compat_replace_cached(struct folio *old, struct folio *new)
{
#ifdef HAVE_REPLACE_PAGE_CACHE_FOLIO	/* 6.2, "filemap: convert replace_page_cache_page() to replace_page_cache_folio()" */
	replace_page_cache_folio(old, new);
#else
	replace_page_cache_page(&old->page, &new->page);
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
