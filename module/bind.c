// SPDX-License-Identifier: GPL-2.0
/*
 * Binding: reserved frames become anonymous memory of a process, a chunk at a time.
 *
 * 1. What may allocate comes first: anon_vma of the VMAs in the chunk, upper tables, one page table. The caller holds
 *    mmap_lock, so VMAs stand still.
 * 2. With the chunk's busy bit, and if it is not done: each frame loses PageReserved, counts as managed memory again, is
 *    charged (a limit may be exceeded: data is never lost for one) and gets its entry, rmap, LRU and rss as a page would
 *    that was faulted in. Nothing from here on fails.
 *    A huge chunk becomes a huge page if one VMA has all of it and no table is there; else 512 pages.
 *    A frame that other processes have, too, goes to all of them, one after the other, as they come (share.c).
 *    A frame whose address no longer has a fitting VMA is zeroed and freed.
 *    As long as there may be a fallback all of this is done with copies, and the frames stay as they are.
 * 3. The chunk is done. Everybody who looks at its page tables got here first:
 *    - faults, by the hook; so no entry appears in an unbound chunk at a preserved address;
 *    - madvise, core dump, userfaultfd, by the hook;
 *    - munmap and mremap (UNMAP) and fork (PROTECTION_PAGE), by the notifier, from system calls that hold mmap_lock;
 *    - khugepaged not at all: THP is disabled for the mm as long as something is unbound.
 *    Other notifier events need no answer. CLEAR does not mean discard (VMA splits send it), and all others are about present pages.
 *    PROTECTION_PAGE also comes from rmap walks of file pages, without mmap_lock: but not in private mappings, so never for a
 *    preserved address, and it is looked at page by page.
 *
 * Private mappings of files are no special case: what the kernel maps around a page of the file that is faulted in lies in the same
 * table, so all that is preserved there was bound before.
 */
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>
#include <linux/timekeeping.h>
#include <linux/wait_bit.h>
#include <asm/pgalloc.h>

#include "compat/anon.h"
#include "compat/compat.h"
#include "compat/lru.h"
#include "kup.h"
#include "space.h"
#include "symbols.h"
#include "vma.h"

/* Frames of one zone, or copies, that have become pages of the process, and are not counted as such yet. */
struct uncounted {
	struct page *page;	/* one of them */
	long nr;
	bool copies;		/* ordinary memory before */
};

/* The caller holds the lock of the table that maps them: they are charged to one memcg as long as that. */
static void count(struct uncounted *u)
{
	if (!u->nr)
		return;
	if (!u->copies)
		adjust_managed_page_count(u->page, u->nr);
	lruvec_stat_mod_folio(page_folio(u->page), NR_ANON_MAPPED, u->nr);
	u->nr = 0;
}

static void count_later(struct uncounted *u, struct page *page, long nr)
{
	if (!nr)
		return;
	if (u->nr && page_zone_id(u->page) != page_zone_id(page))
		count(u);
	u->page = page;
	u->nr += nr;
}

void kup_free_frame(struct page *page)
{
	clear_highpage(page);
	free_reserved_page(page);
}

/* The VMA of @addr, starting to look at the one that was found last. NULL if there is none that fits. */
static struct vm_area_struct *vma_of(struct mm_struct *mm, struct vm_area_struct *last, unsigned long addr)
{
	struct vm_area_struct *vma;

	if (last && addr >= last->vm_start && addr < last->vm_end)
		return last;
	vma = vma_lookup(mm, addr);
	return vma && kup_vma_is_private(vma) && vma->anon_vma ? vma : NULL;
}

void kup_drop_frame(struct page *page)
{
	kup_free_frame(page);
	atomic64_inc(&kup_new.dropped);
}

/* One of several owners does without it. */
static void drop_shared(struct page *page)
{
	kup_share_drop(page);
	atomic64_inc(&kup_new.dropped);
}

/* To the memcg that kup_bind_chunk() has made the active one: the process may move to another meanwhile. */
void kup_charge(struct folio *folio)
{
	/* Without __GFP_DIRECT_RECLAIM it never sleeps, with __GFP_NOFAIL it goes over the limit. */
	WARN_ON_ONCE(mem_cgroup_charge(folio, NULL, __GFP_NOFAIL));
	__folio_mark_uptodate(folio);
}

#ifdef CONFIG_TRANSPARENT_HUGEPAGE
static bool bind_huge(struct mm_struct *mm, unsigned long addr, pmd_t *pmd, pgtable_t *table, u32 pfn)
{
	struct vm_area_struct *vma = vma_of(mm, NULL, addr);
	struct page *page = pfn_to_page(pfn);
	spinlock_t *ptl;
	int i;

	if (!vma || vma->vm_file || addr + KUP_CHUNK_SIZE > vma->vm_end || !has_transparent_hugepage() || kup_compat_thp_prepare())
		return false;
	ptl = pmd_lock(mm, pmd);
	if (!pmd_none(*pmd)) {
		spin_unlock(ptl);
		return false;
	}
	__ClearPageReserved(page);
#pragma GCC unroll 16	/* the loop itself would be most of it */
	for (i = 1; i < HPAGE_PMD_NR; i++) {
		__ClearPageReserved(page + i);
		set_page_count(page + i, 0);
	}
	kup_compat_make_thp(page);
	adjust_managed_page_count(page, HPAGE_PMD_NR);
	kup_charge(page_folio(page));
	kup_compat_add_new_anon_rmap(page, vma, addr);
	folio_add_lru_vma(page_folio(page), vma);
	pgtable_trans_huge_deposit(mm, pmd, *table);
	*table = NULL;
	set_pmd_at(mm, addr, pmd, kup_compat_anon_pmd(page, vma));
	update_mmu_cache_pmd(vma, addr, pmd);
	add_mm_counter(mm, MM_ANONPAGES, HPAGE_PMD_NR);
	mm_inc_nr_ptes(mm);
	kup_compat_thp_mapped(page);
	spin_unlock(ptl);

	atomic64_inc(&kup_new.bound_huge);
	atomic64_add(HPAGE_PMD_NR, &kup_new.bound);
	return true;
}
#else
static bool bind_huge(struct mm_struct *mm, unsigned long addr, pmd_t *pmd, pgtable_t *table, u32 pfn)
{
	return false;
}
#endif

/* From 6.13 on an empty table may be freed under mmap_lock for reading, so the one we have put there may be gone again. */
static pgtable_t spare_table(struct mm_struct *mm)
{
	pgtable_t table;

	while (!(table = pte_alloc_one(mm)))
		schedule_timeout_uninterruptible(1);
	return table;
}

/* The chunk's table, mapped and locked; it is put there if there is none. */
static pte_t *lock_table(struct mm_struct *mm, unsigned long addr, pmd_t *pmd, pgtable_t *table, spinlock_t **ptl)
{
	pte_t *pte;

	do {
		if (pmd_none(*pmd)) {
			if (!*table)
				*table = spare_table(mm);
			pmd_install(mm, pmd, table);
		}
		if (pmd_trans_huge(*pmd))
			kup_compat_split_pmd(find_vma(mm, addr), pmd, addr);
		pte = pte_offset_map_lock(mm, pmd, addr, ptl);
	} while (!pte);	/* from 6.5 on NULL if the table went away under us */
	return pte;
}

/* @nr pages of one zone, one behind the other, that are bound. */
static void add_lru(struct vm_area_struct *vma, struct page *page, unsigned int nr)
{
	if (!(vma->vm_flags & VM_LOCKED)) {
		kup_compat_add_lru(page, nr);
		return;
	}
	while (nr--)
		folio_add_lru_vma((struct folio *)page++, vma);
}

/* @nr frames of one zone, from @page on, at addresses of one VMA. Returns how many of them are bound. */
static unsigned int bind_run(struct vm_area_struct *vma, pgprot_t prot, unsigned long addr, pte_t *pte, struct page *page,
			     unsigned int nr, struct uncounted *uncounted)
{
	unsigned long pfn = page_to_pfn(page);
	unsigned int bound = 0, run = 0;
	struct page *last = NULL;

	for (; nr--; addr += PAGE_SIZE, pte++, page++, pfn++) {
		struct folio *folio = (struct folio *)page;	/* part of no other */

		if (WARN_ON_ONCE(!pte_none(*pte))) {
			add_lru(vma, page - run, run);
			run = 0;
			if (uncounted->copies)
				__free_page(page);
			else
				kup_drop_frame(page);
			continue;
		}
		__ClearPageReserved(page);
		kup_charge(folio);
		kup_compat_map_new_anon(folio, vma, addr);
		set_pte_at(vma->vm_mm, addr, pte, pfn_pte(pfn, prot));
		update_mmu_cache(vma, addr, pte);
		last = page;
		bound++;
		run++;
	}
	add_lru(vma, page - run, run);
	count_later(uncounted, last, bound);
	return bound;
}

/* One frame of several owners. The caller has claimed it. */
static unsigned int bind_shared(struct vm_area_struct *vma, unsigned long addr, pte_t *pte, struct page *page, struct uncounted *uncounted)
{
	if (WARN_ON_ONCE(!pte_none(*pte))) {
		drop_shared(page);
		return 0;
	}
	if (kup_share_map(page, vma, addr))
		count_later(uncounted, page, 1);
	set_pte_at(vma->vm_mm, addr, pte, pfn_pte(page_to_pfn(page), kup_compat_shared_prot(page, vma)));
	update_mmu_cache(vma, addr, pte);
	return 1;
}

static void free_copies(struct page **copy)
{
	unsigned int i;

	for (i = 0; copy && i < KUP_CHUNK_PAGES; i++)
		if (copy[i])
			__free_page(copy[i]);
	kfree(copy);
}

static struct page *copy_frame(struct page *frame)
{
	struct page *page = alloc_page(GFP_KERNEL | __GFP_NOMEMALLOC | __GFP_NOWARN);

	if (page)
		copy_highpage(page, frame);
	return page;
}

/*
 * What was sealed may have to be restored once more, by another kernel (fallback.c): then nobody gets the frames themselves, but pages
 * with the same in them. NULL if there is no memory.
 */
static struct page **copy_frames(const struct kup_chunk *c)
{
	struct page **copy = kcalloc(KUP_CHUNK_PAGES, sizeof(*copy), GFP_KERNEL);
	struct kup_walk walk;
	struct kup_run run;
	unsigned int i;

	kup_walk_begin(&walk, c, kup_new.stream.base);
	while (copy && kup_walk_next(&walk, &run))
		for (i = 0; i < run.nr; i++) {
			copy[run.first + i] = copy_frame(pfn_to_page(run.pfn + i));
			if (!copy[run.first + i]) {
				free_copies(copy);
				return NULL;
			}
		}
	return copy;
}

/*
 * Claims the shared frames of a chunk. Those that are not to be had at their addresses are copied into @out, which stays NULL if there
 * are none. Return: 0 or -ENOMEM.
 */
static int part_frames(struct mm_struct *mm, const struct kup_chunk *c, struct page ***out)
{
	struct vm_area_struct *vma = NULL;
	struct page **copy = NULL;
	struct kup_walk walk;
	struct kup_run run;
	unsigned int i;

	kup_walk_begin(&walk, c, kup_new.stream.base);
	while (kup_walk_next(&walk, &run))
		for (i = 0; walk.shared && i < run.nr; i++) {
			unsigned long addr = c->addr + (run.first + i) * PAGE_SIZE;
			struct page *page = pfn_to_page(run.pfn + i);

			vma = vma_of(mm, vma, addr);
			if (!vma || kup_share_claim(page, vma, addr))
				continue;
			if (!copy)
				copy = kcalloc(KUP_CHUNK_PAGES, sizeof(*copy), GFP_KERNEL);
			if (!copy)
				return -ENOMEM;
			copy[run.first + i] = copy_frame(page);
			if (!copy[run.first + i]) {
				free_copies(copy);
				return -ENOMEM;
			}
		}
	*out = copy;
	return 0;
}

/* So many of @nr frames have an address below @end and are of one zone with the first; or fewer. */
static unsigned int alike(struct page *page, unsigned int nr, unsigned long addr, unsigned long end)
{
	nr = min_t(unsigned long, nr, (end - addr) >> PAGE_SHIFT);
	return page_zone_id(page) == page_zone_id(page + nr - 1) ? nr : 1;
}

/*
 * Binds the frames whose address has a VMA, or the pages that are in @copy in their place, which are gone from it then. @keep: a frame
 * that is not bound is left as it is. Returns how many addresses have none.
 */
static unsigned int bind_small(struct mm_struct *mm, const struct kup_chunk *c, pmd_t *pmd, pgtable_t *table, struct page **copy,
			       bool keep)
{
	unsigned int i, n, bound = 0, strays = 0;
	struct vm_area_struct *vma = NULL, *last = NULL;
	struct uncounted frames = {}, copies = { .copies = true };
	struct kup_walk walk;
	struct kup_run run;
	pgprot_t prot = {};
	spinlock_t *ptl;
	pte_t *pte;

	pte = lock_table(mm, c->addr, pmd, table, &ptl);
	kup_walk_begin(&walk, c, kup_new.stream.base);
	while (kup_walk_next(&walk, &run))
		for (i = 0; i < run.nr; i += n) {
			unsigned long addr = c->addr + (run.first + i) * PAGE_SIZE;
			struct page *frame = pfn_to_page(run.pfn + i), *copied = copy ? copy[run.first + i] : NULL;
			pte_t *at = pte + run.first + i;

			n = 1;
			vma = vma_of(mm, vma, addr);
			if (!vma) {
				strays++;
				continue;
			}
			if (vma != last)
				prot = kup_compat_anon_prot(frame, vma);
			last = vma;
			if (copied) {
				copy[run.first + i] = NULL;
				bound += bind_run(vma, prot, addr, at, copied, 1, &copies);
				if (!keep) {
					kup_share_drop(frame);
					atomic64_inc(&kup_new.parted);
				}
			} else if (walk.shared) {
				bound += bind_shared(vma, addr, at, frame, &frames);
			} else {
				n = alike(frame, run.nr - i, addr, vma->vm_end);
				bound += bind_run(vma, prot, addr, at, frame, n, &frames);
			}
		}
	count(&frames);
	count(&copies);
	add_mm_counter(mm, MM_ANONPAGES, bound);
	pte_unmap_unlock(pte, ptl);
	atomic64_add(bound, &kup_new.bound);
	return strays;
}

/* Drops the frames whose address has no VMA; without @mm all of them. */
static void drop_strays(struct mm_struct *mm, const struct kup_chunk *c)
{
	struct vm_area_struct *vma = NULL;
	struct kup_walk walk;
	struct kup_run run;
	unsigned int i;

	kup_walk_begin(&walk, c, kup_new.stream.base);
	while (kup_walk_next(&walk, &run))
		for (i = 0; i < run.nr; i++) {
			if (mm)
				vma = vma_of(mm, vma, c->addr + (run.first + i) * PAGE_SIZE);
			if (!vma && walk.shared)
				drop_shared(pfn_to_page(run.pfn + i));
			else if (!vma)
				kup_drop_frame(pfn_to_page(run.pfn + i));
		}
}

/* The busy bit of a chunk that is not done; false if it is. */
bool kup_chunk_begin(struct kup_record *rec, u32 i)
{
	if (kup_chunk_done(rec, i))
		return false;
	wait_on_bit_lock(&rec->busy[BIT_WORD(i)], i % BITS_PER_LONG, TASK_UNINTERRUPTIBLE);
	if (!kup_chunk_done(rec, i))
		return true;
	clear_and_wake_up_bit(i % BITS_PER_LONG, &rec->busy[BIT_WORD(i)]);
	return false;
}

static unsigned int chunk_pages(const struct kup_chunk *c)
{
	unsigned int pages = 0;
	struct kup_walk walk;
	struct kup_run run;

	if (c->kind != KUP_CHUNK_RUNS)
		return c->nr;
	kup_walk_begin(&walk, c, kup_new.stream.base);
	while (kup_walk_next(&walk, &run))
		pages += run.nr;
	return pages;
}

void kup_chunk_end(struct kup_record *rec, u32 i)
{
	set_bit(i, rec->done);	/* before the busy bit is released, which orders it */
	clear_and_wake_up_bit(i % BITS_PER_LONG, &rec->busy[BIT_WORD(i)]);
	if (!atomic64_sub_return(chunk_pages(&rec->chunks[i]), &kup_new.unbound))
		WRITE_ONCE(kup_new.done_ns, ktime_get_ns());
	if (atomic_inc_return(&rec->nr_done) == rec->mm->nr_chunks)
		kup_drain_kick();
}

static int bind_locked(struct kup_attached *att, u32 i, pmd_t *pmd, pgtable_t *table)
{
	const struct kup_chunk *c = &att->rec->chunks[i];
	struct mm_struct *mm = att->space.mm;
	bool keep = kup_fallback_armed();
	struct page **copy = NULL;
	int err = 0;

	if (!kup_chunk_begin(att->rec, i))
		return 0;
	if (keep) {
		copy = copy_frames(c);
		err = copy ? 0 : -ENOMEM;
	} else if (kup_chunk_is_shared(c)) {
		err = part_frames(mm, c, &copy);
	}
	if (err) {
		clear_and_wake_up_bit(i % BITS_PER_LONG, &att->rec->busy[BIT_WORD(i)]);
		return err;
	}
	if (keep) {
		bind_small(mm, c, pmd, table, copy, true);
		set_bit(i, att->rec->copied);
	} else if (!(c->kind == KUP_CHUNK_HUGE && bind_huge(mm, c->addr, pmd, table, c->value)) &&
		   bind_small(mm, c, pmd, table, copy, false)) {
		drop_strays(mm, c);
	}
	free_copies(copy);
	kup_chunk_end(att->rec, i);
	return 0;
}

/* Does [@start, @end) hold a page of the chunk? ADOPT has checked the payload. */
static bool has_page_in(const struct kup_chunk *c, unsigned long start, unsigned long end)
{
	unsigned int first = start <= c->addr ? 0 : (start - c->addr) >> PAGE_SHIFT;
	unsigned int last = min_t(unsigned long, DIV_ROUND_UP(end - c->addr, PAGE_SIZE), KUP_CHUNK_PAGES) - 1;
	const void *payload = kup_new.stream.base + (u64)c->value * 8;
	unsigned int i;

	if (c->kind == KUP_CHUNK_RUNS) {
		const struct kup_run *run = payload;

		for (i = 0; i < c->nr; i++)
			if (run[i].first <= last && run[i].first + (run[i].nr & ~KUP_RUN_SHARED) > first)
				return true;
		return false;
	}
	if (c->kind == KUP_CHUNK_SCATTER) {
		const struct kup_scatter *s = payload;

		for (i = first; i <= last; i++)
			if (s->present[i / 64] >> (i % 64) & 1)
				return true;
		return false;
	}
	return true;
}

/* Only those: fork need not copy the tables of a program's text. */
int kup_prepare_vmas(struct mm_struct *mm, const struct kup_chunk *c)
{
	VMA_ITERATOR(vmi, mm, c->addr);
	struct vm_area_struct *vma;
	int err;

	for_each_vma_range(vmi, vma, c->addr + KUP_CHUNK_SIZE)
		if (kup_vma_is_private(vma) && has_page_in(c, vma->vm_start, vma->vm_end)) {
			err = anon_vma_prepare(vma);
			if (err)
				return err;
		}
	return 0;
}

static pmd_t *alloc_pmd(struct mm_struct *mm, unsigned long addr)
{
	p4d_t *p4d = p4d_alloc(mm, pgd_offset(mm, addr), addr);
	pud_t *pud = p4d ? pud_alloc(mm, p4d, addr) : NULL;

	return pud ? pmd_alloc(mm, pud, addr) : NULL;
}

static int bind_chunk(struct kup_attached *att, u32 i)
{
	struct mm_struct *mm = att->space.mm;
	unsigned long addr = att->rec->chunks[i].addr;
	pgtable_t table = NULL;
	pmd_t *pmd;
	int err;

	err = kup_prepare_vmas(mm, &att->rec->chunks[i]);
	if (err)
		return err;
	pmd = alloc_pmd(mm, addr);
	if (pmd)
		table = pte_alloc_one(mm);
	if (!table)
		return -ENOMEM;
	err = bind_locked(att, i, pmd, &table);
	if (table)
		pte_free(mm, table);
	return err;
}

/**
 * kup_bind_chunk - make sure that a chunk is bound or dropped
 * @i: its index in the record
 *
 * The caller holds mmap_lock. No reclaim: in a notifier it could come back here, and a page table over the limit of the
 * process's memcg would have it killed for memory that it had before. So memory comes from the reserves, and is waited for
 * there, as __GFP_NOFAIL would; only a task that is being killed gets -ENOMEM, since it will not see the memory again.
 */
int kup_bind_chunk(struct kup_attached *att, u32 i)
{
	struct mem_cgroup *memcg, *old;
	unsigned int flags;
	int err;

	mmap_assert_locked(att->space.mm);
	if (kup_chunk_done(att->rec, i))
		return 0;
	memcg = get_mem_cgroup_from_mm(att->space.mm);
	old = set_active_memcg(memcg);	/* the tables are the process's, whoever comes for them */
	flags = memalloc_noreclaim_save();
	while ((err = bind_chunk(att, i)) == -ENOMEM && !fatal_signal_pending(current))
		schedule_timeout_uninterruptible(1);
	memalloc_noreclaim_restore(flags);
	set_active_memcg(old);
	mem_cgroup_put(memcg);
	return err;
}

/* The first chunk that ends behind @addr; nr_chunks if there is none. */
static u32 chunk_from(const struct kup_record *rec, unsigned long addr)
{
	u32 low = 0, high = rec->mm->nr_chunks;

	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (rec->chunks[mid].addr + KUP_CHUNK_SIZE <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/**
 * kup_bind_range - bind all chunks that touch [@start, @end)
 *
 * Takes mmap_lock itself, and gives way to others now and then.
 */
int kup_bind_range(struct kup_attached *att, unsigned long start, unsigned long end)
{
	struct mm_struct *mm = att->space.mm;
	struct kup_record *rec = att->rec;
	int err = 0;
	u32 i;

	if (kup_record_done(rec) || !mmget_not_zero(mm))
		return 0;
	mmap_read_lock(mm);
	for (i = chunk_from(rec, start); !err && i < rec->mm->nr_chunks && rec->chunks[i].addr < end; i++) {
		if (kup_chunk_done(rec, i))
			continue;
		err = kup_bind_chunk(att, i);
		if (need_resched() || mmap_lock_is_contended(mm)) {
			mmap_read_unlock(mm);
			cond_resched();
			mmap_read_lock(mm);
		}
	}
	mmap_read_unlock(mm);
	mmput(mm);
	return err;
}

static int on_invalidate(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct kup_attached *att = container_of(mn, struct kup_attached, notifier);
	struct kup_record *rec = att->rec;
	u32 i;

	if (range->event != MMU_NOTIFY_UNMAP && range->event != MMU_NOTIFY_PROTECTION_PAGE)
		return 0;
	if (!mmu_notifier_range_blockable(range))
		return 0;	/* the OOM reaper: nobody will look at this memory again, and release comes later */
	for (i = chunk_from(rec, range->start); i < rec->mm->nr_chunks && rec->chunks[i].addr < range->end; i++)
		if (!kup_chunk_done(rec, i) && has_page_in(&rec->chunks[i], range->start, range->end))
			kup_bind_chunk(att, i);
	return 0;
}

/* The mm has no user left; or kup_detach() unregisters, then nothing is to be done any more. */
static void on_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct kup_attached *att = container_of(mn, struct kup_attached, notifier);

	smp_store_release(&att->dead, true);
	kup_drain_kick();
}

const struct mmu_notifier_ops kup_notifier_ops = {
	.invalidate_range_start = on_invalidate,
	.release = on_release,
};

static vm_fault_t on_fault(struct kup_space *space, struct vm_area_struct *vma, unsigned long addr, unsigned int flags)
{
	struct kup_attached *att = container_of(space, struct kup_attached, space);
	struct kup_record *rec = att->rec;
	long i = kup_chunk_find(rec->chunks, rec->mm->nr_chunks, addr);
	vm_fault_t ret;

	if (i < 0 || kup_chunk_done(rec, i))
		return 0;
	ret = kup_compat_leave_vma_lock(vma, flags);	/* a chunk may reach into other VMAs */
	if (ret)
		return ret;
	if (kup_bind_chunk(att, i))
		return VM_FAULT_OOM;
	atomic64_inc(&kup_new.fault_binds);
	return 0;
}

static int on_touch(struct kup_space *space, unsigned long start, unsigned long end)
{
	return kup_bind_range(container_of(space, struct kup_attached, space), start, end);
}

const struct kup_space_ops kup_attached_ops = {
	.fault = on_fault,
	.touch = on_touch,
};

static void drop_chunk(struct kup_record *rec, u32 i)
{
	if (!kup_chunk_begin(rec, i))
		return;
	if (rec->in_pool)
		kup_hugetlb_drop(rec, i);
	else
		drop_strays(NULL, &rec->chunks[i]);
	kup_chunk_end(rec, i);
}

/* Its process has copies of them. */
static void free_copied(struct kup_record *rec, u32 i)
{
	struct kup_walk walk;
	struct kup_run run;
	unsigned int n;

	if (!test_and_clear_bit(i, rec->copied))
		return;
	kup_walk_begin(&walk, &rec->chunks[i], kup_new.stream.base);
	while (kup_walk_next(&walk, &run))
		for (n = 0; n < run.nr; n++)
			if (walk.shared)
				kup_share_drop(pfn_to_page(run.pfn + n));
			else
				kup_free_frame(pfn_to_page(run.pfn + n));
}

/**
 * kup_drop_record - zero and free all that is unbound of a record, and the frames of which its process has copies
 *
 * No process has it, or nobody uses that process's addresses any more, or it has all. There is no fallback.
 */
void kup_drop_record(struct kup_record *rec)
{
	u32 i;

	for (i = 0; i < rec->mm->nr_chunks; i++) {
		drop_chunk(rec, i);
		free_copied(rec, i);
		cond_resched();
	}
	if (rec->file && current->flags & PF_KTHREAD)
		__fput_sync(rec->file);	/* fput() would leave it to another thread, and the file system busy when we are done */
	else if (rec->file)
		fput(rec->file);
	rec->file = NULL;
}
