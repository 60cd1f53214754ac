/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KUP_SYM(name): one for each function that symbols.c resolves. KUP_SYM_MAYBE(name): one that may be missing; who calls it has
 * asked kup_symbol() first. Included more than once.
 */

KUP_SYM(kallsyms_lookup_name)

/* tables of a process */
KUP_SYM(__p4d_alloc)
KUP_SYM(__pud_alloc)
KUP_SYM(__pmd_alloc)
KUP_SYM(__pte_alloc)
KUP_SYM(pte_alloc_one)
KUP_SYM(pmd_install)
#ifdef HAVE_PTE_OFFSET_MAP_LOCK_FN
KUP_SYM(__pte_offset_map_lock)
#endif
#ifdef HAVE_PTE_OFFSET_MAP_LOCK_PLAIN	/* no inline function around it any more, between 6.18 and 7.1 */
KUP_SYM(pte_offset_map_lock)
#endif
#if defined(HAVE_PAGETABLE_FREE_KERNEL) && defined(CONFIG_ASYNC_KERNEL_PGTABLE_FREE)	/* in pagetable_free(), between 6.18 and 7.1 */
KUP_SYM(pagetable_free_kernel)
#endif
#ifdef HAVE_PTE_MKWRITE_VMA
KUP_SYM(pte_mkwrite)
KUP_SYM(pmd_mkwrite)
#endif
#if ALLOC_SPLIT_PTLOCKS	/* lockdep: a spinlock does not fit into struct page */
KUP_SYM(ptlock_free)
#endif
#ifdef CONFIG_TRANSPARENT_HUGEPAGE	/* not with PREEMPT_RT */
KUP_SYM(pgtable_trans_huge_deposit)
KUP_SYM(pgtable_trans_huge_withdraw)
KUP_SYM(__split_huge_pmd)
#endif
KUP_SYM(flush_tlb_mm_range)
#ifdef CONFIG_DEBUG_VM	/* what mmap_assert_write_locked() calls when it is wrong */
KUP_SYM(dump_mm)
#endif
#ifdef HAVE_ZAP_VMA_RANGE
KUP_SYM(zap_vma_range)
#else
KUP_SYM(zap_page_range_single)
#endif
KUP_SYM(__mmu_notifier_invalidate_range_start)
KUP_SYM(__mmu_notifier_invalidate_range_end)

/* anonymous memory */
KUP_SYM(__anon_vma_prepare)
KUP_SYM(anon_vma_fork)
#ifdef HAVE_FOLIO_ADD_ANON_RMAP
KUP_SYM(folio_add_anon_rmap_ptes)
#else
KUP_SYM(page_add_anon_rmap)
#endif
#ifdef HAVE_FOLIO_ADD_NEW_ANON_RMAP
KUP_SYM(folio_add_new_anon_rmap)
#else
KUP_SYM(page_add_new_anon_rmap)
#endif
#ifdef HAVE_FOLIO_REMOVE_RMAP
KUP_SYM(folio_remove_rmap_ptes)
KUP_SYM(folio_remove_rmap_pmd)
#else
KUP_SYM(page_remove_rmap)
#endif
KUP_SYM(folio_add_lru_vma)
KUP_SYM(lru_add_drain_all)
#ifdef CONFIG_MEMCG
KUP_SYM(__mem_cgroup_charge)
KUP_SYM(folio_lruvec_lock_irqsave)
KUP_SYM(mem_cgroup_update_lru_size)
#ifdef HAVE_LRUVEC_STATE_IRQ_OFF
KUP_SYM(__mod_lruvec_state)
#else
KUP_SYM(mod_lruvec_state)
#endif
#endif
KUP_SYM(mm_trace_rss_stat)
KUP_SYM(prep_compound_page)
#if defined(HAVE_PREP_TRANSHUGE_PAGE) && defined(CONFIG_TRANSPARENT_HUGEPAGE)
KUP_SYM(prep_transhuge_page)
#endif
#if defined(HAVE_DEFERRED_SPLIT_PARTIAL) && defined(CONFIG_TRANSPARENT_HUGEPAGE)
KUP_SYM(deferred_split_folio)
#endif
#if defined(HAVE_MEMCG_ALLOC_DEFERRED) && defined(CONFIG_MEMCG) && defined(CONFIG_TRANSPARENT_HUGEPAGE)
KUP_SYM(folio_memcg_alloc_deferred)
#endif

/* shared memory */
KUP_SYM(shmem_charge)
KUP_SYM(shmem_uncharge)

/* hugetlb.c; without them no process with huge pages of hugetlbfs is taken */
#ifdef CONFIG_HUGETLB_PAGE
KUP_SYM_MAYBE(size_to_hstate)
KUP_SYM_MAYBE(hugetlb_reserve_pages)
#endif
#if defined(HAVE_FOLIO_ISOLATE_HUGETLB) || defined(HAVE_PAGE_ISOLATE_HUGETLB_RENAMED)
KUP_SYM_MAYBE(folio_isolate_hugetlb)
#else
KUP_SYM_MAYBE(isolate_hugetlb)
#endif
KUP_SYM_MAYBE(migrate_pages)
KUP_SYM_MAYBE(putback_movable_pages)

/* hooks */
KUP_SYM(ftrace_location)

/* fallback.c; without them there is none */
KUP_SYM_MAYBE(kimage_alloc_control_pages)
KUP_SYM_MAYBE(machine_kexec_prepare)
KUP_SYM_MAYBE(machine_kexec_cleanup)
KUP_SYM_MAYBE(machine_crash_shutdown)
KUP_SYM_MAYBE(nmi_shootdown_cpus)
KUP_SYM_MAYBE(machine_kexec)
