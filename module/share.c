// SPDX-License-Identifier: GPL-2.0
/*
 * Frames with several owners: pages that a fork left to more than one process, each with a record of its own.
 *
 * 1. From ADOPT on such a frame has a reference for each owner that has neither bound nor dropped it.
 * 2. ATTACH makes the VMAs of owners relatives, as fork would have: each with an anon_vma of its own below one root. It does not
 *    matter who is whose child, and owners whose parent is long gone are no special case.
 * 3. The first owner that binds a frame claims it for the root of its VMA and the offset there, and makes it anonymous memory, not
 *    exclusive, with a read-only entry. Its reference is that entry's from now on. The others' references are what keeps the kernel
 *    from letting the first one write to it (a page that it does not have alone is copied), and from swapping it out, moving
 *    or merging it. If the first one goes, the page stays for them, mapped nowhere.
 * 4. Other owners that are relatives get an entry each, and there is one more for the reverse map to find.
 * 5. Owners that are not (CRIU had put something into their VMA before, so that it has an anon_vma of another root; or they
 *    have it at another offset) get a copy: a page belongs to one root and one offset. Nobody else's write can get into it.
 *
 * Locks: share_lock, inside page table locks. It guards the step from reserved to anonymous memory, and the claim.
 */
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>

#include "compat/anon.h"
#include "kup.h"
#include "space.h"
#include "symbols.h"
#include "vma.h"

static DEFINE_SPINLOCK(share_lock);

bool kup_share_claim(struct page *page, struct vm_area_struct *vma, unsigned long addr)
{
	void *mapping = (void *)vma->anon_vma->root + FOLIO_MAPPING_ANON;
	struct folio *folio = (struct folio *)page;	/* part of no other */
	bool ours;

	spin_lock(&share_lock);
	if (!folio->mapping) {
		folio->index = linear_page_index(vma, addr);
		/* Pointer and flag at once: page_idle and others look at them without a lock. */
		WRITE_ONCE(folio->mapping, mapping);
	}
	ours = folio->mapping == mapping && folio->index == linear_page_index(vma, addr);
	spin_unlock(&share_lock);
	return ours;
}

bool kup_share_map(struct page *page, struct vm_area_struct *vma, unsigned long addr)
{
	struct folio *folio = (struct folio *)page;
	bool first;

	spin_lock(&share_lock);
	first = PageReserved(page);
	if (first) {
		__ClearPageReserved(page);
		kup_charge(folio);
		kup_compat_set_swapbacked(folio, vma);
		atomic_set(&folio->_mapcount, 0);
	}
	spin_unlock(&share_lock);
	if (first)
		folio_add_lru_vma(folio, vma);
	else
		kup_compat_add_anon_rmap(page, vma, addr);
	atomic64_inc(&kup_new.shared);
	return first;
}

void kup_share_drop(struct page *page)
{
	bool reserved, last;

	spin_lock(&share_lock);
	reserved = PageReserved(page);
	last = reserved && page_ref_count(page) == 1;
	if (reserved && !last)
		page_ref_dec(page);
	spin_unlock(&share_lock);
	if (last) {
		/* of who claimed it and was killed before he had the memory to go on */
		((struct folio *)page)->mapping = NULL;
		kup_free_frame(page);
	} else if (!reserved) {
		put_page(page);
	}
}

void kup_share_hold(struct kup_record *rec)
{
	u32 i;

	lockdep_assert_held(&kup.lock);
	for (i = 0; i < kup_new.h->nr_mms; i++) {
		struct kup_record *other = &kup_new.rec[i];

		other->held = other != rec && other->att && mmget_not_zero(other->att->space.mm) ? other->att->space.mm : NULL;
	}
}

void kup_share_let_go(void)
{
	u32 i;

	lockdep_assert_held(&kup.lock);
	for (i = 0; i < kup_new.h->nr_mms; i++)
		if (kup_new.rec[i].held)
			mmput(kup_new.rec[i].held);
}

/* The first address in [start, end) at which @c and the chunk of @other have the same frame; 0 if there is none. */
static unsigned long common_page(const struct kup_chunk *c, const struct kup_record *other, unsigned long start, unsigned long end)
{
	long n = kup_chunk_find(other->chunks, other->mm->nr_chunks, c->addr);
	struct kup_walk walk, their_walk;
	struct kup_run run, theirs;
	bool more;

	if (n < 0 || !kup_chunk_is_shared(&other->chunks[n]))
		return 0;
	kup_walk_begin(&walk, c, kup_new.stream.base);
	kup_walk_begin(&their_walk, &other->chunks[n], kup_new.stream.base);
	more = kup_walk_next(&walk, &run) && kup_walk_next(&their_walk, &theirs);
	while (more) {
		unsigned int first = max(run.first, theirs.first), run_end = run.first + run.nr, their_end = theirs.first + theirs.nr;
		unsigned long from = max(c->addr + first * PAGE_SIZE, start);
		unsigned long to = min(c->addr + min(run_end, their_end) * PAGE_SIZE, end);

		if (walk.shared && their_walk.shared && from < to && run.pfn - run.first == theirs.pfn - theirs.first)
			return from;
		more = run_end <= their_end ? kup_walk_next(&walk, &run) : kup_walk_next(&their_walk, &theirs);
	}
	return 0;
}

/* Return: 0 if @vma is a relative of the VMA there now, 1 if it cannot be, or -ENOMEM. */
static int relate(struct vm_area_struct *vma, struct mm_struct *mm, unsigned long addr)
{
	struct vm_area_struct *other;
	int err = 1;

	mmap_write_lock_nested(mm, SINGLE_DEPTH_NESTING);
	other = vma_lookup(mm, addr);
	if (other && kup_vma_is_private(other) && other->anon_vma && linear_page_index(other, addr) == linear_page_index(vma, addr))
		err = anon_vma_fork(vma, other);
	mmap_write_unlock(mm);
	return err;
}

static int relate_in_chunk(struct vm_area_struct *vma, const struct kup_chunk *c)
{
	unsigned long start = max(vma->vm_start, (unsigned long)c->addr);
	unsigned long end = min(vma->vm_end, (unsigned long)(c->addr + KUP_CHUNK_SIZE));
	int err = 1;
	u32 i;

	for (i = 0; i < kup_new.h->nr_mms && err > 0; i++) {
		const struct kup_record *other = &kup_new.rec[i];
		unsigned long addr = other->held ? common_page(c, other, start, end) : 0;

		if (addr)
			err = relate(vma, other->held, addr);
	}
	return min(err, 0);
}

int kup_share_relate(struct mm_struct *mm, const struct kup_record *rec)
{
	int err = 0;
	u32 i;

	for (i = 0; i < rec->mm->nr_chunks && !err; i++) {
		const struct kup_chunk *c = &rec->chunks[i];
		VMA_ITERATOR(vmi, mm, c->addr);
		struct vm_area_struct *vma;

		if (!kup_chunk_is_shared(c))
			continue;
		for_each_vma_range(vmi, vma, c->addr + KUP_CHUNK_SIZE)
			if (kup_vma_is_private(vma) && !vma->anon_vma && !err)
				err = relate_in_chunk(vma, c);
	}
	return err;
}
