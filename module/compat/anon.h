/* SPDX-License-Identifier: GPL-2.0 */
/* Making a frame that has no past anonymous memory: rmap, entries, huge pages, faults under the VMA's lock, rseq. */
#ifndef KUP_COMPAT_ANON_H
#define KUP_COMPAT_ANON_H

#include <linux/huge_mm.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <linux/version.h>

#include "compat.h"
#include "../symbols.h"

/* Reverse mapping of a new huge page that only this VMA maps. */
static inline void kup_compat_add_new_anon_rmap(struct page *page, struct vm_area_struct *vma, unsigned long addr)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
	/* 6.11, "mm: extend rmap flags arguments for folio_add_new_anon_rmap" */
	folio_add_new_anon_rmap(page_folio(page), vma, addr, RMAP_EXCLUSIVE);
#elif defined(HAVE_FOLIO_ADD_NEW_ANON_RMAP)
	/* 6.3, "mm: Convert page_add_new_anon_rmap() to folio_add_new_anon_rmap()" */
	folio_add_new_anon_rmap(page_folio(page), vma, addr);
#else
	page_add_new_anon_rmap(page, vma, addr);
#endif
}

/* Memory that the kernel may drop came in 6.11. */
#ifndef VM_DROPPABLE
#define VM_DROPPABLE 0UL
#endif

#ifndef HAVE_FOLIO_MAPPING_ANON	/* 6.17 renamed it */
#define FOLIO_MAPPING_ANON PAGE_MAPPING_ANON
#endif

static inline void kup_compat_set_swapbacked(struct folio *folio, const struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_DROPPABLE))
		__folio_set_swapbacked(folio);
}

/* One more entry of a page that is anonymous already, exclusive for nobody. */
static inline void kup_compat_add_anon_rmap(struct page *page, struct vm_area_struct *vma, unsigned long addr)
{
#ifdef HAVE_FOLIO_ADD_ANON_RMAP	/* 6.8, "mm/rmap: introduce folio_add_anon_rmap_[pte|ptes|pmd]()" */
	folio_add_anon_rmap_ptes(page_folio(page), page, 1, vma, addr, RMAP_NONE);
#else
	page_add_anon_rmap(page, vma, addr, RMAP_NONE);
#endif
}

/**
 * kup_compat_map_new_anon - what folio_add_new_anon_rmap() does for a page that is not huge, but NR_ANON_MAPPED
 *
 * That is left to the caller, for many pages at once: by itself it costs more than all else that makes a page anonymous.
 * Nobody but the caller sees the page yet.
 */
static inline void kup_compat_map_new_anon(struct folio *folio, struct vm_area_struct *vma, unsigned long addr)
{
	kup_compat_set_swapbacked(folio, vma);
	/* Pointer and flag at once: page_idle and others look at them without a lock. */
	WRITE_ONCE(folio->mapping, (void *)vma->anon_vma + FOLIO_MAPPING_ANON);
	folio->index = linear_page_index(vma, addr);
	atomic_set(&folio->_mapcount, 0);
	SetPageAnonExclusive(&folio->page);
}

/* Attributes of a dirty entry: of a page that the process does not have for itself, */
static inline pgprot_t kup_compat_shared_prot(struct page *page, struct vm_area_struct *vma)
{
	return pte_pgprot(pte_mkdirty(mk_pte(page, vma->vm_page_prot)));
}

/* and of one that it has, writable where the VMA is. */
static inline pgprot_t kup_compat_anon_prot(struct page *page, struct vm_area_struct *vma)
{
	pte_t pte = pte_mkdirty(mk_pte(page, vma->vm_page_prot));

	if (!(vma->vm_flags & VM_WRITE))
		return pte_pgprot(pte);
#ifdef HAVE_PTE_MKWRITE_VMA	/* 6.6, "mm: Make pte_mkwrite() take a VMA" */
	return pte_pgprot(pte_mkwrite(pte, vma));
#else
	return pte_pgprot(pte_mkwrite(pte));
#endif
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static inline pmd_t kup_compat_anon_pmd(struct page *page, struct vm_area_struct *vma)
{
	pmd_t pmd = pmd_mkdirty(pmd_mkhuge(pfn_pmd(page_to_pfn(page), vma->vm_page_prot)));

	if (!(vma->vm_flags & VM_WRITE))
		return pmd;
#ifdef HAVE_PTE_MKWRITE_VMA
	return pmd_mkwrite(pmd, vma);
#else
	return pmd_mkwrite(pmd);
#endif
}

/* Of HPAGE_PMD_NR single frames a huge page. References: 1 on the first, 0 on the others. */
static inline void kup_compat_make_thp(struct page *page)
{
	prep_compound_page(page, HPAGE_PMD_ORDER);
#ifdef HAVE_PREP_TRANSHUGE_PAGE
	prep_transhuge_page(page);
#else
	/* 6.6, "mm: remove HUGETLB_PAGE_DTOR/TRANSHUGE_PAGE_DTOR": a page flag; the list's head was left to the caller until 6.9 */
	INIT_LIST_HEAD(&page_folio(page)->_deferred_list);
	folio_set_large_rmappable(page_folio(page));
#endif
}

/**
 * kup_compat_thp_prepare - what must be there before a huge page is charged to the active memcg; sleeps
 *
 * From 7.2 on (deferred_split_lru, a list_lru) each memcg needs a list of its own before one of its huge pages may go on it: without,
 * the page goes on a parent's list, and comes off under the lock of another. The kernel makes it for a page that is charged.
 */
static inline int kup_compat_thp_prepare(void)
{
#if defined(HAVE_MEMCG_ALLOC_DEFERRED) && defined(CONFIG_MEMCG)
	struct page *page = alloc_page(GFP_KERNEL);
	int err;

	if (!page)
		return -ENOMEM;
	err = mem_cgroup_charge(page_folio(page), NULL, __GFP_NOFAIL);
	if (!err)
		err = folio_memcg_alloc_deferred(page_folio(page));
	put_page(page);
	return err;
#else
	return 0;
#endif
}

/* 6.12, "mm: split underused THPs": a huge page is on the list from its first mapping on. The caller holds the PMD's lock. */
static inline void kup_compat_thp_mapped(struct page *page)
{
#ifdef HAVE_DEFERRED_SPLIT_PARTIAL
	deferred_split_folio(page_folio(page), false);
#endif
}
#endif

/* A macro of nothing where there are no huge pages (PREEMPT_RT). */
static inline void kup_compat_split_pmd(struct vm_area_struct *vma, pmd_t *pmd, unsigned long addr)
{
	split_huge_pmd(vma, pmd, max(addr, vma->vm_start));
}

/**
 * kup_compat_leave_vma_lock - ask for a fault to be repeated under mmap_lock
 *
 * Per-VMA locks came with 6.4. From 6.6 on ("mm: drop per-VMA lock when returning VM_FAULT_RETRY or VM_FAULT_COMPLETED")
 * the handler releases the lock if it returns VM_FAULT_RETRY; before, its caller did so always.
 *
 * Return: 0 if the fault holds mmap_lock, else what handle_mm_fault() must return, the VMA being untouchable now.
 */
static inline vm_fault_t kup_compat_leave_vma_lock(struct vm_area_struct *vma, unsigned int flags)
{
#if defined(HAVE_VMA_LOCK) && defined(CONFIG_PER_VMA_LOCK)
	if (flags & FAULT_FLAG_VMA_LOCK) {
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
		vma_end_read(vma);
#endif
		return VM_FAULT_RETRY;
	}
#endif
	return 0;
}

/* Let the kernel write cpu_id and its like into @t's rseq area before @t runs in user space again. */
static inline void kup_compat_rseq_kick(struct task_struct *t)
{
#ifdef CONFIG_RSEQ
#ifdef HAVE_RSEQ_IDS_CHANGED	/* 6.19: the event mask became a structure */
	rseq_sched_set_ids_changed(t);
	rseq_sched_switch_event(t);
#else
	set_bit(RSEQ_EVENT_MIGRATE_BIT, &t->rseq_event_mask);
	rseq_set_notify_resume(t);
#endif
#endif
}

#endif
