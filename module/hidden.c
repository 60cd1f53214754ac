// SPDX-License-Identifier: GPL-2.0
/*
 * While pages are hidden: faults, changes of mappings, and the way back. See preserve.c for how they were hidden.
 *
 *   - A fault (CRIU peeks, the kernel writes rseq's cpu id, somebody reads /proc/PID/cmdline) puts back the one page that it is
 *     about, or where a file is mapped all of that mapping and chunk, and goes on to the kernel's handler. The chunk's table is in
 *     place from then on (HIDDEN_TABLE and HIDDEN_HUGE become HIDDEN_PTES), so no table is ever made or freed here.
 *   - Who reads in /proc/PID/pagemap which pages there are (CRIU, to copy them) finds such pages hidden again.
 *   - SEAL takes such pages out once more. From then on (om->sealed) a page that is put back is also still named by its hidden
 *     entry, for the handover, and held by a reference, so that the kernel does not move what the handover names.
 *   - No thread should run. If one does (thawed behind our back) and unmaps, remaps, protects, forks or advises, the pages
 *     concerned are put back first: nothing is lost, but SEAL refuses, since the dump is no longer true.
 *   - Putting back needs no memory and cannot fail: what was moved is moved back.
 *
 * Nothing is hidden but with all faults out (mmap_lock for writing, every VMA's lock): one that had passed our handler already would
 * find a hole and fill it. split_huge() tells why it may.
 *
 * Locks, outermost first: mmap_lock or a VMA's own lock, kup_old_mm.fault_lock, kup_old_mm.lock, page table locks. No memory is
 * allocated and no mmu notifier called under kup_old_mm.lock: our own notifier takes it, and reclaim calls notifiers.
 */
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include <asm/pgalloc.h>

#include "old.h"
#include "symbols.h"

static atomic64_t faulted_back, shown;

void kup_flush_all(struct mm_struct *mm)
{
	flush_tlb_mm_range(mm, 0, TLB_FLUSH_ALL, 0, true);
}

/* The entry for @addr, above the middle ones. The tables above it are there as long as the VMA is, but ABORT must not depend on it. */
static pud_t *need_pud(struct mm_struct *mm, unsigned long addr)
{
	for (;;) {
		p4d_t *p4d = p4d_alloc(mm, pgd_offset(mm, addr), addr);
		pud_t *pud = p4d ? pud_alloc(mm, p4d, addr) : NULL;

		if (pud)
			return pud;
		cond_resched();
	}
}

/* The middle one. */
static pmd_t *need_pmd(struct mm_struct *mm, unsigned long addr)
{
	for (;;) {
		pmd_t *pmd = pmd_alloc(mm, need_pud(mm, addr), addr);

		if (pmd)
			return pmd;
		cond_resched();
	}
}

static pte_t *need_pte_locked(struct mm_struct *mm, pmd_t *pmd, unsigned long addr, spinlock_t **ptl)
{
	for (;;) {
		pte_t *pte = pte_alloc(mm, pmd) ? NULL : pte_offset_map_lock(mm, pmd, addr, ptl);

		if (pte)
			return pte;
		cond_resched();
	}
}

static void set_moved(struct kup_hidden *h, unsigned int i)
{
	if (!__test_and_set_bit(i, h->moved))
		h->nr_moved++;
}

/* Moves hidden entries of [start, end), which lies in @h's chunk, into the table that is in place. Returns how many. */
static unsigned int put_back_ptes(struct kup_old_mm *om, struct kup_hidden *h, unsigned long start, unsigned long end)
{
	pte_t *from = kup_hidden_ptes(h), *pte;
	unsigned int nr = 0;
	unsigned long addr;
	spinlock_t *ptl;
	pmd_t *pmd;

	for (addr = start; addr < end && pte_none(from[pte_index(addr)]); addr += PAGE_SIZE)
		;
	if (addr == end)
		return 0;
	pmd = need_pmd(om->mm, h->addr);
	pte = need_pte_locked(om->mm, pmd, start, &ptl);
	for (addr = start; addr < end; addr += PAGE_SIZE) {
		pte_t *hidden = &from[pte_index(addr)], *live = pte + (addr - start) / PAGE_SIZE;

		/* after the seal an entry stays here when its page is back */
		if (pte_none(*hidden) || (om->sealed && test_bit(pte_index(addr), h->moved)))
			continue;
		/* Every fault of this page comes to us first: the place is free. If not, what we have is what the process had. */
		if (WARN_ON_ONCE(!pte_none(*live)))
			continue;
		set_pte_at(om->mm, addr, live, *hidden);
		if (om->sealed)
			set_moved(h, pte_index(addr));
		else
			*hidden = __pte(0);
		nr++;
	}
	pte_unmap_unlock(pte, ptl);
	return nr;
}

static void put_back_table(struct kup_old_mm *om, struct kup_hidden *h)
{
	pmd_t *pmd = need_pmd(om->mm, h->addr);
	spinlock_t *ptl = pmd_lock(om->mm, pmd);
	bool free = pmd_none(*pmd);

	if (free) {
		smp_wmb();	/* entries before the table, as for a new one: walkers may be without locks */
		pmd_populate(om->mm, pmd, h->table);
	}
	spin_unlock(ptl);
	if (WARN_ON_ONCE(!free)) {
		put_back_ptes(om, h, h->addr, h->addr + PMD_SIZE);
		pte_free(om->mm, h->table);
		mm_dec_nr_ptes(om->mm);
	}
	h->kind = HIDDEN_BACK;
}

static void put_back_huge(struct kup_old_mm *om, struct kup_hidden *h)
{
	pmd_t *pmd = need_pmd(om->mm, h->addr);
	spinlock_t *ptl = pmd_lock(om->mm, pmd);

	if (!WARN_ON_ONCE(!pmd_none(*pmd))) {
		set_pmd_at(om->mm, h->addr, pmd, h->pmd);
		h->kind = HIDDEN_BACK;
	}
	spin_unlock(ptl);
}

/* Returns whether it was hidden. */
static bool put_back_hugetlb(struct kup_old_mm *om, struct kup_hidden *h)
{
	pte_t *entry;
	spinlock_t *ptl;

	if (h->nr_moved)
		return false;
	entry = h->gigantic ? (pte_t *)need_pud(om->mm, h->addr) : (pte_t *)need_pmd(om->mm, h->addr);
	ptl = kup_lock_hugetlb(om->mm, entry, kup_hidden_size(h));
	if (!WARN_ON_ONCE(!pte_none(*entry)))
		set_pte_at(om->mm, h->addr, entry, h->huge);
	spin_unlock(ptl);
	h->nr_moved = 1;
	return true;
}

/* Puts back what of @h lies in [start, end), and maybe more. Returns whether there was anything. */
static bool put_back(struct kup_old_mm *om, struct kup_hidden *h, unsigned long start, unsigned long end)
{
	lockdep_assert_held(&om->lock);
	start = max(start, h->addr);
	end = min(end, h->addr + PMD_SIZE);
	switch (h->kind) {
	case HIDDEN_TABLE:
		put_back_table(om, h);
		return true;
	case HIDDEN_HUGE:
		put_back_huge(om, h);
		return true;
	case HIDDEN_SPLIT:	/* split_huge() will see that it is not to hide anything again */
		h->kind = HIDDEN_BACK;
		return true;
	case HIDDEN_PTES:
		return put_back_ptes(om, h, start, end);
	case HIDDEN_HUGETLB:
		return put_back_hugetlb(om, h);
	default:
		return false;
	}
}

/* The first chunk that ends behind @addr. */
static struct kup_hidden *first_chunk(struct kup_old_mm *om, unsigned long addr)
{
	u32 low = 0, high = om->nr_chunks;

	addr &= PMD_MASK;
	while (low < high) {
		u32 mid = low + (high - low) / 2;

		if (om->chunk[mid].addr + kup_hidden_size(&om->chunk[mid]) <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return om->chunk + low;
}

/* The process changes its mappings: nothing of [start, end) may be hidden any more. */
static void put_back_range(struct kup_old_mm *om, unsigned long start, unsigned long end)
{
	struct kup_hidden *h;

	mutex_lock(&om->lock);
	for (h = first_chunk(om, start); h < om->chunk + om->nr_chunks && h->addr < end; h++)
		if (put_back(om, h, start, end))
			om->disturbed = true;
	mutex_unlock(&om->lock);
}

/* The entry as this VMA's protection has it; a write fault will find out what may be written. */
static pte_t fitted(pte_t pte, const struct vm_area_struct *vma)
{
	pte_t new = pfn_pte(pte_pfn(pte), vma->vm_page_prot);

	if (pte_dirty(pte))
		new = pte_mkdirty(new);
	if (pte_young(pte))
		new = pte_mkyoung(new);
	return pte_special(pte) ? pte_mkspecial(new) : new;
}

/* If a VMA was protected otherwise while its pages were hidden, their entries still say what they said before. */
static void refit(struct kup_old_mm *om, const struct kup_hidden *h)
{
	unsigned long addr, end, next;
	struct vm_area_struct *vma;

	for (vma = find_vma(om->mm, h->addr); vma && vma->vm_start < h->addr + PMD_SIZE; vma = find_vma(om->mm, vma->vm_end)) {
		pmd_t *pmd = kup_find_pmd(om->mm, h->addr, &next);
		spinlock_t *ptl;
		pte_t *pte;

		if (pgprot_val(vma->vm_page_prot) == pgprot_val(h->prot) || !kup_vma_eligible(vma) || !pmd)
			continue;
		if (pmd_trans_huge(*pmd))
			split_huge_pmd(vma, pmd, h->addr);
		addr = max(vma->vm_start, h->addr);
		end = min(vma->vm_end, h->addr + PMD_SIZE);
		if (!pmd_present(*pmd))
			continue;
		pte = pte_offset_map_lock(om->mm, pmd, addr, &ptl);
		if (!pte)
			continue;
		for (; addr < end; addr += PAGE_SIZE, pte++)
			if (pte_present(*pte))
				set_pte_at(om->mm, addr, pte, fitted(ptep_get_and_clear(om->mm, addr, pte), vma));
		pte_unmap_unlock(pte - 1, ptl);
	}
}

/* Hidden entries of pages that are back in place name them no more, and nobody holds those. */
static void unseal(struct kup_old_mm *om)
{
	struct kup_held *held, *next;
	struct kup_hidden *h;
	unsigned int i;

	if (!om->sealed)
		return;
	for (h = om->chunk; h < om->chunk + om->nr_chunks; h++)
		if (h->kind == HIDDEN_PTES && h->nr_moved)
			for_each_set_bit(i, h->moved, PTRS_PER_PTE)
				h->ptes[i] = __pte(0);
	for (held = om->held; held; held = next) {
		next = held->next;
		while (held->nr)
			put_page(held->page[--held->nr]);
		kvfree(held);
	}
	om->held = NULL;
	om->sealed = false;
}

void kup_unseal(struct kup_old_mm *om)
{
	mutex_lock(&om->lock);
	unseal(om);
	mutex_unlock(&om->lock);
}

void kup_put_back_all(struct kup_old_mm *om)
{
	struct kup_hidden *h;

	mmap_assert_write_locked(om->mm);
	mutex_lock(&om->lock);
	unseal(om);
	om->back = true;
	for (h = om->chunk; h < om->chunk + om->nr_chunks; h++) {
		put_back(om, h, h->addr, h->addr + PMD_SIZE);
		if (h->kind == HIDDEN_HUGETLB) {
			h->kind = HIDDEN_BACK;
			h->nr_moved = 0;
		}
		cond_resched();
	}
	mutex_unlock(&om->lock);
	for (h = om->chunk; h < om->chunk + om->nr_chunks; h++)
		refit(om, h);
	kup_compat_set_thp_disabled(om->mm, om->thp_was_disabled);
	kup_flush_all(om->mm);	/* refit() may take rights away */
}

/* What a fault may need, allocated before om->lock is taken. */
struct spare {
	pte_t *ptes;		/* NULL once it was used */
	struct kup_held *held;	/* with room for all pages that the fault may bring back */
};

/* The handover names this page: neither migration nor reclaim takes one with a reference more than they know of. */
static void hold(struct spare *spare, struct page *page)
{
	get_page(page);
	spare->held->page[spare->held->nr++] = page;
}

/* HIDDEN_TABLE to HIDDEN_PTES: the table goes back into place, emptied. */
static void empty_table(struct kup_old_mm *om, struct kup_hidden *h, struct spare *spare)
{
	pte_t *table = page_address(h->table);
	unsigned int i;

	for (i = 0; i < PTRS_PER_PTE; i++)
		if (!pte_none(table[i]))
			spare->ptes[i] = ptep_get_and_clear(om->mm, h->addr + i * PAGE_SIZE, &table[i]);
	put_back_table(om, h);
	h->ptes = spare->ptes;
	spare->ptes = NULL;
	h->kind = HIDDEN_PTES;
}

/*
 * HIDDEN_HUGE to HIDDEN_PTES, all but the page at @addr hidden again. For a moment, without om->lock since a split calls notifiers,
 * all is back. No fault can be on its way in the kernel to what we hide again: it would have met HIDDEN_HUGE before us, and
 * om->fault_lock keeps later ones waiting. A huge page of zeros just goes back.
 */
static void split_huge(struct kup_old_mm *om, struct kup_hidden *h, struct vm_area_struct *vma, unsigned long addr,
		       struct spare *spare)
{
	bool zero = kup_pmd_kind(h->pmd) == KUP_PAGE_ZERO;
	pmd_t *pmd = need_pmd(om->mm, h->addr);
	pte_t *ptes = spare->ptes, *pte;
	spinlock_t *ptl;
	unsigned int i;

	if (om->sealed && !zero)
		hold(spare, pmd_page(h->pmd));
	put_back_huge(om, h);
	if (zero || h->kind != HIDDEN_BACK)
		return;
	h->kind = HIDDEN_SPLIT;
	mutex_unlock(&om->lock);
	split_huge_pmd(vma, pmd, h->addr);
	mutex_lock(&om->lock);
	if (h->kind != HIDDEN_SPLIT)
		return;
	pte = need_pte_locked(om->mm, pmd, h->addr, &ptl);
	for (i = 0; i < PTRS_PER_PTE; i++) {
		if (i != pte_index(addr) && kup_is_kept(kup_pte_kind(pte[i]))) {
			ptes[i] = ptep_get_and_clear(om->mm, h->addr + i * PAGE_SIZE, &pte[i]);
			continue;
		}
		/* The one that is asked for, and what cannot be hidden again since somebody pinned it just now: SEAL will see. */
		if (om->sealed)
			ptes[i] = pte[i];
		set_moved(h, i);
	}
	pte_unmap_unlock(pte, ptl);
	flush_tlb_mm_range(om->mm, h->addr, h->addr + PMD_SIZE, PAGE_SHIFT, false);
	h->ptes = ptes;
	h->kind = HIDDEN_PTES;
	spare->ptes = NULL;
	om->looked_at = true;
	atomic64_inc(&faulted_back);
}

/* Single entries of @h at [start, end), all in @vma. */
static void fault_ptes(struct kup_old_mm *om, struct kup_hidden *h, struct vm_area_struct *vma, unsigned long start, unsigned long end,
		       struct spare *spare)
{
	unsigned int first = pte_index(start), stop = first + (end - start) / PAGE_SIZE, i, nr = 0;
	DECLARE_BITMAP(back, PTRS_PER_PTE) = {};

	for (i = first; i < stop; i++) {
		if (pte_none(h->ptes[i]) || test_bit(i, h->moved))
			continue;
		if (pgprot_val(vma->vm_page_prot) != pgprot_val(h->prot))
			h->ptes[i] = fitted(h->ptes[i], vma);
		if (om->sealed && !is_zero_pfn(pte_pfn(h->ptes[i])))
			hold(spare, pfn_to_page(pte_pfn(h->ptes[i])));
		__set_bit(i, back);
		nr++;
	}
	if (!nr)
		return;
	put_back_ptes(om, h, start, end);
	for_each_set_bit(i, back, PTRS_PER_PTE)
		set_moved(h, i);
	om->looked_at = true;
	atomic64_add(nr, &faulted_back);
}

/*
 * Around a page of a file that is not there the kernel maps more of them, wherever in this VMA and table there is nothing: so nothing of
 * ours may be missing there.
 */
static void fault_locked(struct kup_old_mm *om, struct vm_area_struct *vma, unsigned long addr, struct spare *spare)
{
	struct kup_hidden *h = first_chunk(om, addr);

	if (h == om->chunk + om->nr_chunks || h->addr > addr)
		return;
	if (h->kind == HIDDEN_HUGETLB) {
		if (om->sealed && !h->nr_moved)
			hold(spare, pte_page(h->huge));
		if (put_back_hugetlb(om, h)) {
			om->looked_at = true;
			atomic64_add(kup_hidden_size(h) >> PAGE_SHIFT, &faulted_back);
		}
		return;
	}
	if (h->kind == HIDDEN_TABLE)
		empty_table(om, h, spare);
	else if (h->kind == HIDDEN_HUGE)
		split_huge(om, h, vma, addr, spare);
	if (h->kind != HIDDEN_PTES)
		return;
	if (vma->vm_file)
		fault_ptes(om, h, vma, max(vma->vm_start, h->addr), min(vma->vm_end, h->addr + PMD_SIZE), spare);
	else
		fault_ptes(om, h, vma, addr, addr + PAGE_SIZE, spare);
}

static struct kup_old_mm *om_of(struct kup_space *space)
{
	return container_of(space, struct kup_old_mm, space);
}

static vm_fault_t fault(struct kup_space *space, struct vm_area_struct *vma, unsigned long addr, unsigned int flags)
{
	struct kup_old_mm *om = om_of(space);
	struct spare spare;

	mutex_lock(&om->fault_lock);
	spare = (struct spare) {
		.ptes = (pte_t *)get_zeroed_page(GFP_KERNEL | __GFP_NOFAIL),
		.held = kvzalloc(struct_size(spare.held, page, vma->vm_file ? PTRS_PER_PTE : 1), GFP_KERNEL | __GFP_NOFAIL),
	};
	mutex_lock(&om->lock);
	fault_locked(om, vma, addr & PAGE_MASK, &spare);
	if (spare.held->nr) {
		spare.held->next = om->held;
		om->held = spare.held;
		spare.held = NULL;
	}
	mutex_unlock(&om->lock);
	free_page((unsigned long)spare.ptes);
	kvfree(spare.held);
	mutex_unlock(&om->fault_lock);
	return 0;
}

static int touch(struct kup_space *space, unsigned long start, unsigned long end)
{
	struct kup_old_mm *om = om_of(space);

	/* All of everybody, since some other process called userfaultfd. Ours has none: PRESERVE refuses it. */
	if (end >= TASK_SIZE_MAX && current->mm != om->mm)
		return 0;
	mmap_read_lock(om->mm);
	put_back_range(om, start, end);
	mmap_read_unlock(om->mm);
	return 0;
}

/*
 * A VMA that is about to be split in the middle of a chunk has the kernel split a huge page there, while the VMA still has all of it.
 * It says CLEAR before it looks whether there is one: so the hidden one is put back now, and is split as any other. Later there would
 * be no VMA that has all of it. Only who runs in this mm splits its VMAs; what others clear is one page, which they do not find.
 */
static void put_back_for_split(struct kup_old_mm *om, const struct mmu_notifier_range *range)
{
	struct kup_hidden *h;

	if (current->mm != om->mm || range->end - range->start != PMD_SIZE || !mmu_notifier_range_blockable(range))
		return;
	mutex_lock(&om->lock);
	h = first_chunk(om, range->start);
	if (h < om->chunk + om->nr_chunks && h->addr == range->start && h->kind == HIDDEN_HUGE) {
		put_back_huge(om, h);
		om->disturbed = true;
	}
	mutex_unlock(&om->lock);
}

static int invalidate_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	struct kup_old_mm *om = container_of(notifier, struct kup_old_mm, notifier);

	switch (range->event) {
	case MMU_NOTIFY_UNMAP:
	case MMU_NOTIFY_PROTECTION_PAGE:
	case MMU_NOTIFY_SOFT_DIRTY:
		if (!mmu_notifier_range_blockable(range))
			return -EAGAIN;
		put_back_range(om, range->start, range->end);
		return 0;
	case MMU_NOTIFY_CLEAR:
		put_back_for_split(om, range);
		return 0;
	default:	/* nothing of a hidden page's mapping changes; if its protection does (CRIU reads a PROT_NONE VMA), see refit() */
		return 0;
	}
}

const struct mmu_notifier_ops kup_old_notifier_ops = {
	.invalidate_range_start = invalidate_start,
};

void kup_looks_reset(void)
{
	atomic64_set(&faulted_back, 0);
	atomic64_set(&shown, 0);
}

void kup_looks_status(struct kup_status *st)
{
	st->faulted_back = atomic64_read(&faulted_back);
	st->shown_pages = atomic64_read(&shown);
}

/* The same for one of hugetlbfs. */
static int hide_moved_hugetlb(struct kup_old_mm *om, struct kup_hidden *h, char *why)
{
	const unsigned long size = kup_hidden_size(h);
	unsigned long next;
	pte_t *entry = kup_find_hugetlb(om->mm, h->addr, size, &next);
	enum kup_page_kind kind = KUP_PAGE_NONE;
	spinlock_t *ptl;

	if (entry) {
		ptl = kup_lock_hugetlb(om->mm, entry, size);
		kind = kup_hugetlb_kind(*entry);
		if (kind == KUP_PAGE_KEEP) {
			h->huge = ptep_get_and_clear(om->mm, h->addr, entry);
			h->nr_moved = 0;
		}
		spin_unlock(ptl);
	}
	if (kind == KUP_PAGE_KEEP)
		return 0;
	kup_say(why, "%s (%d): the huge page at %lx was touched and cannot be taken again", om->comm, om->tgid, h->addr);
	return -EBUSY;
}

/* Out of the page tables once more. mmap_lock for writing and om->lock. */
static int hide_moved_chunk(struct kup_old_mm *om, struct kup_hidden *h, char *why)
{
	unsigned long next;
	unsigned int i;
	spinlock_t *ptl;
	pmd_t *pmd;
	pte_t *pte;

	if (h->kind == HIDDEN_HUGETLB)
		return hide_moved_hugetlb(om, h, why);
	pmd = kup_find_pmd(om->mm, h->addr, &next);
	pte = pmd && h->kind == HIDDEN_PTES ? pte_offset_map_lock(om->mm, pmd, h->addr, &ptl) : NULL;
	if (!pte) {
		om->disturbed = true;
		return 0;
	}
	for_each_set_bit(i, h->moved, PTRS_PER_PTE) {
		enum kup_page_kind kind = kup_pte_kind(pte[i]);

		if (kind == KUP_PAGE_NONE)
			om->disturbed = true;
		else if (kup_is_kept(kind))
			h->ptes[i] = ptep_get_and_clear(om->mm, h->addr + i * PAGE_SIZE, &pte[i]);
		else if (kind != KUP_PAGE_ZERO)
			break;
		h->shared |= kind == KUP_PAGE_SHARED;
		__clear_bit(i, h->moved);
		h->nr_moved--;
	}
	pte_unmap_unlock(pte, ptl);
	if (!h->nr_moved)
		return 0;
	kup_say(why, "%s (%d): the page at %lx was touched and cannot be taken again: it is merged or in use by a device",
		om->comm, om->tgid, h->addr + i * PAGE_SIZE);
	return -EBUSY;
}

static void swap_in_moved(struct kup_old_mm *om)
{
	struct kup_hidden *h;
	unsigned int i;

	mmap_read_lock(om->mm);
	for (h = om->chunk; h < om->chunk + om->nr_chunks; h++)
		if (READ_ONCE(h->nr_moved) && h->kind == HIDDEN_PTES)
			for_each_set_bit(i, h->moved, PTRS_PER_PTE)
				fixup_user_fault(om->mm, h->addr + i * PAGE_SIZE, 0, NULL);
	mmap_read_unlock(om->mm);
}

static int hide_moved(struct kup_old_mm *om, bool seal, char *why)
{
	struct vm_area_struct *vma;
	struct kup_hidden *h;
	int err;

	swap_in_moved(om);
	if (mmap_write_lock_killable(om->mm))
		return -EINTR;
	for (vma = find_vma(om->mm, 0); vma; vma = find_vma(om->mm, vma->vm_end))
		kup_compat_vma_start_write(vma);
	mutex_lock(&om->lock);
	/* For SEAL nothing may have changed; anybody else may look while CRIU's code runs in the process, and after ABORT. */
	err = seal ? kup_check_frozen(om->mm, why) : om->sealed || om->back ? -EBUSY : 0;
	for (h = om->chunk; h < om->chunk + om->nr_chunks && !err; h++)
		if (h->nr_moved && hide_moved_chunk(om, h, why) && seal)
			err = -EBUSY;
	om->looked_at = false;	/* what is left cannot be hidden, now or at the next look */
	if (seal)
		om->sealed = !err;
	else
		for (h = om->chunk; h < om->chunk + om->nr_chunks && !om->sealed && !om->back; h++)
			atomic64_add(h->nr_moved, &shown);
	mutex_unlock(&om->lock);
	kup_flush_all(om->mm);
	mmap_write_unlock(om->mm);
	return err;
}

int kup_hide_moved(struct kup_old_mm *om, char *why)
{
	return hide_moved(om, true, why);
}

/* What cannot be hidden any more is seen, and CRIU copies it; its frame is kept all the same. */
static void look(struct kup_space *space)
{
	struct kup_old_mm *om = container_of(space, struct kup_old_mm, space);
	char why[KUP_WHY_LEN];

	/* CRIU reads 2 MiB at a time: most reads find nothing to do. */
	if (READ_ONCE(om->looked_at))
		hide_moved(om, false, why);
}

const struct kup_space_ops kup_old_space_ops = {
	.fault = fault,
	.touch = touch,
	.look = look,
};
