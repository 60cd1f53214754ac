// SPDX-License-Identifier: GPL-2.0
/*
 * Takes a frozen process's anonymous pages out of its page tables, where they stand: of private mappings, of files as well.
 *
 *   1. Swapped pages are brought in. The address space is registered with the fault hook, which PREPARE armed (that is slow):
 *      from here on a fault in what will be hidden comes to us before the kernel, which would see a hole and fill it with zeros.
 *   2. Under mmap_lock for writing, every VMA's own lock and, chunk by chunk, the anon_vma's lock for writing (so that no reverse
 *      map walker is inside), the entries go to a list of struct kup_hidden: a whole page table where every entry can go,
 *      single entries where some must stay, a huge entry as it is. Entries are moved, never made anew: rss, mapcount,
 *      refcount, charge and LRU stay right all the time, and each way back is to put the entry back.
 *      So go pages that fork has left to several processes, too, whether the others are preserved or not: nobody writes to
 *      a page that he does not have for himself, and with an owner who does not run, nobody gets it for himself.
 *   3. TLB flush. Transparent huge pages are off for this mm: khugepaged takes a hole for zeros.
 *
 * What happens while they are hidden, and how they come back: hidden.c.
 *
 * We hold mm_users: a process that was killed meanwhile gives its memory back only after ABORT.
 *
 * Locks, outermost first: kup.lock, mmap_lock, anon_vma, page table locks.
 */
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/workqueue.h>

#include <asm/pgalloc.h>

#include "old.h"
#include "stream.h"
#include "symbols.h"

LIST_HEAD(kup_old_mms);

static const long *swap_total;	/* the kernel's; NULL if it cannot be found. 0: no page is swapped out, nor will be brought in */

void kup_old_init(void)
{
	swap_total = (const long *)kup_symbol("total_swap_pages");
}

/* Room for one more chunk. Not to be called under an anon_vma's lock: reclaim takes those. */
static int reserve_chunk(struct kup_old_mm *om)
{
	if (om->nr_chunks == om->room) {
		u32 room = max(2 * om->room, 64u);
		struct kup_hidden *chunk = kvmalloc_array(room, sizeof(*chunk), GFP_KERNEL);

		if (!chunk)
			return -ENOMEM;
		if (om->nr_chunks)
			memcpy(chunk, om->chunk, om->nr_chunks * sizeof(*chunk));
		kvfree(om->chunk);
		om->chunk = chunk;
		om->room = room;
	}
	if (!om->spare)
		om->spare = (void *)get_zeroed_page(GFP_KERNEL);
	return om->spare ? 0 : -ENOMEM;
}

static struct kup_hidden *add_chunk(struct kup_old_mm *om, unsigned long addr, enum kup_hidden_kind kind, pgprot_t prot)
{
	struct kup_hidden *h = om->chunk + om->nr_chunks++;

	*h = (struct kup_hidden) { .addr = addr, .kind = kind, .prot = prot };
	return h;
}

/* The chunk for single entries of @addr: several VMAs may have some in one chunk. */
static struct kup_hidden *pte_chunk(struct kup_old_mm *om, unsigned long addr, pgprot_t prot)
{
	struct kup_hidden *h = om->nr_chunks ? om->chunk + om->nr_chunks - 1 : NULL;

	if (!h || h->addr != (addr & PMD_MASK)) {
		h = add_chunk(om, addr & PMD_MASK, HIDDEN_PTES, prot);
		h->ptes = om->spare;
		om->spare = NULL;
	} else if (pgprot_val(h->prot) != pgprot_val(prot)) {
		h->prot = __pgprot(0);	/* like no VMA's: each entry is fitted when it goes back */
	}
	return h;
}

static int pinned(struct kup_old_mm *om, unsigned long addr, char *why)
{
	kup_say(why, "%s (%d): the page at %lx is pinned for DMA", om->comm, om->tgid, addr);
	return -EBUSY;
}

/* Under the entry's lock. */
static int hide_huge(struct kup_old_mm *om, struct vm_area_struct *vma, pmd_t *pmd, unsigned long addr, char *why)
{
	enum kup_page_kind kind = kup_pmd_kind(*pmd);
	struct kup_hidden *h;

	if (kind == KUP_PAGE_PINNED)
		return pinned(om, addr, why);
	if (!kup_is_kept(kind) && kind != KUP_PAGE_ZERO)
		return 0;
	h = add_chunk(om, addr, HIDDEN_HUGE, vma->vm_page_prot);
	h->pmd = pmdp_huge_get_and_clear(om->mm, addr, pmd);
	h->shared = kind == KUP_PAGE_SHARED;
	if (kind != KUP_PAGE_ZERO) {
		om->pages += KUP_CHUNK_PAGES;
		om->huge++;
	}
	return 0;
}

/*
 * How many entries from @i on map plain pages one behind the other: each is KUP_PAGE_KEEP, found in a fraction of the time that
 * kup_pte_kind() takes. The memory map is there or not, and memory is a device's or not, for whole chunks of frames: @known is the last one
 * whose is there and is none.
 */
static unsigned int plain_run(const pte_t *pte, unsigned int i, unsigned int nr, unsigned long *known)
{
	unsigned long val = native_pte_val(pte[i]), pfn = (val & PTE_PFN_MASK) >> PAGE_SHIFT;
	const pte_t *first = pte + i, *end;
	struct page *page;

	if ((val & (_PAGE_PRESENT | _PAGE_SPECIAL)) != _PAGE_PRESENT)
		return 0;
	if (pfn / KUP_CHUNK_PAGES != *known && (!pfn_valid(pfn) || is_zone_device_page(pfn_to_page(pfn))))
		return 0;
	*known = pfn / KUP_CHUNK_PAGES;
	page = pfn_to_page(pfn);
	end = first + min_t(unsigned int, nr - i, KUP_CHUNK_PAGES - pfn % KUP_CHUNK_PAGES);
	for (pte = first; pte < end && native_pte_val(*pte) == val && kup_page_is_plain(page); pte++, page++)
		val += PAGE_SIZE;
	return pte - first;
}

/* Under the locks of the middle entry and of the table. */
static int hide_ptes(struct kup_old_mm *om, struct vm_area_struct *vma, pmd_t *pmd, unsigned long start, unsigned long end,
		     char *why)
{
	pte_t *pte = pte_offset_kernel(pmd, start);
	unsigned int i, nr = (end - start) / PAGE_SIZE, run, keep = 0, stay = 0;
	unsigned long known = ULONG_MAX;
	bool shared = false;
	struct kup_hidden *h;

	for (i = 0; i < nr; i++) {
		run = plain_run(pte, i, nr, &known);
		if (run) {
			keep += run;
			i += run - 1;
			continue;
		}
		switch (kup_pte_kind(pte[i])) {
		case KUP_PAGE_NONE:
		case KUP_PAGE_ZERO:
			break;
		case KUP_PAGE_SHARED:
			shared = true;
			fallthrough;
		case KUP_PAGE_KEEP:
			keep++;
			break;
		case KUP_PAGE_PINNED:
			return pinned(om, start + i * PAGE_SIZE, why);
		default:
			stay++;
		}
	}
	if (!keep)
		return 0;
	om->pages += keep;
	/* Where a file is mapped, others take pages of it out of the table: it stays where they look for it. */
	if (nr == PTRS_PER_PTE && !stay && !vma->vm_file) {
		h = add_chunk(om, start, HIDDEN_TABLE, vma->vm_page_prot);
		h->table = pmd_pgtable(*pmd);
		h->shared = shared;
		pmd_clear(pmd);
		return 0;
	}
	h = pte_chunk(om, start, vma->vm_page_prot);
	h->shared |= shared;
	for (i = 0; i < nr; i++)
		if (kup_is_kept(kup_pte_kind(pte[i])))
			h->ptes[pte_index(start) + i] = ptep_get_and_clear(om->mm, start + i * PAGE_SIZE, &pte[i]);
	return 0;
}

static int hide_chunk(struct kup_old_mm *om, struct vm_area_struct *vma, pmd_t *pmd, unsigned long start, unsigned long end,
		      char *why)
{
	spinlock_t *pml, *ptl;
	int err;

	err = reserve_chunk(om);
	if (err)
		return err;
	anon_vma_lock_write(vma->anon_vma);
	pml = pmd_lock(om->mm, pmd);
	if (pmd_trans_huge(*pmd)) {
		if (!vma->vm_file)	/* else it is the file's */
			err = hide_huge(om, vma, pmd, start & PMD_MASK, why);
	} else if (pmd_present(*pmd) && !pmd_bad(*pmd)) {
		ptl = pte_lockptr(om->mm, pmd);
		if (ptl != pml)
			spin_lock_nested(ptl, SINGLE_DEPTH_NESTING);
		err = hide_ptes(om, vma, pmd, start, end, why);
		if (ptl != pml)
			spin_unlock(ptl);
	}
	spin_unlock(pml);
	anon_vma_unlock_write(vma->anon_vma);
	cond_resched();
	return err;
}

static int hide_vma(struct kup_old_mm *om, struct vm_area_struct *vma, char *why)
{
	unsigned long addr, next;
	int err = 0;

	for (addr = vma->vm_start; addr < vma->vm_end && !err; addr = next) {
		pmd_t *pmd = kup_find_pmd(om->mm, addr, &next);

		next = min(next, vma->vm_end);
		if (pmd && !pmd_none(*pmd))
			err = hide_chunk(om, vma, pmd, addr, next, why);
		else
			cond_resched();
	}
	return err;
}

/* All pages of it that are this process's alone. */
static int hide_hugetlb_vma(struct kup_old_mm *om, struct vm_area_struct *vma, char *why)
{
	const unsigned long size = huge_page_size(hstate_vma(vma));
	unsigned long addr, next;
	int err = 0;

	for (addr = vma->vm_start; addr < vma->vm_end && !err; addr = next) {
		pte_t *entry = kup_find_hugetlb(om->mm, addr, size, &next);
		struct kup_hidden *h;
		spinlock_t *ptl;

		cond_resched();
		if (!entry || pte_none(*entry))
			continue;
		err = reserve_chunk(om);
		if (err)
			break;
		anon_vma_lock_write(vma->anon_vma);
		ptl = kup_lock_hugetlb(om->mm, entry, size);
		switch (kup_hugetlb_kind(*entry)) {
		case KUP_PAGE_ZERO:
			break;
		case KUP_PAGE_KEEP:
			h = add_chunk(om, addr, HIDDEN_HUGETLB, vma->vm_page_prot);
			h->gigantic = size != PMD_SIZE;
			h->huge = ptep_get_and_clear(om->mm, addr, entry);
			om->nr_hugetlb += !h->gigantic;
			om->nr_gigantic += h->gigantic;
			om->pages += size >> PAGE_SHIFT;
			om->huge += size / PMD_SIZE;
			break;
		case KUP_PAGE_PINNED:
			err = pinned(om, addr, why);
			break;
		default:	/* kup_refuse() has looked; but it goes on */
			kup_say(why, "%s (%d): the huge page at %lx cannot be taken", om->comm, om->tgid, addr);
			err = -EBUSY;
		}
		spin_unlock(ptl);
		anon_vma_unlock_write(vma->anon_vma);
	}
	return err;
}

static bool stands_still(struct task_struct *t)
{
	/* cgroup v2 freezer, ptrace, the old freezer, or on its way out of this address space */
	return t->frozen || task_is_traced(t) || READ_ONCE(t->__state) & TASK_FROZEN || READ_ONCE(t->exit_state);
}

int kup_check_frozen(struct mm_struct *mm, char *why)
{
	struct task_struct *p, *t;
	int err = 0;

	rcu_read_lock();
	for_each_process_thread(p, t) {
		if (READ_ONCE(t->mm) != mm || t->flags & PF_KTHREAD || stands_still(t))
			continue;
		kup_say(why, "thread %d (%s) of process %d is not frozen", t->pid, t->comm, t->tgid);
		err = -EBUSY;
		goto out;
	}
out:
	rcu_read_unlock();
	return err;
}

/* The first swapped page at or after @addr; @end if there is none. */
static unsigned long next_swapped(struct mm_struct *mm, pmd_t *pmd, unsigned long addr, unsigned long end)
{
	spinlock_t *ptl;
	pte_t *pte = pte_offset_map_lock(mm, pmd, addr, &ptl);
	unsigned int i, nr = (end - addr) / PAGE_SIZE;

	if (!pte)
		return end;
	for (i = 0; i < nr; i++)
		if (!pte_none(pte[i]) && !pte_present(pte[i]) && kup_pte_kind(pte[i]) == KUP_PAGE_SWAP)
			break;
	pte_unmap_unlock(pte, ptl);
	return addr + i * PAGE_SIZE;
}

/* Brings in what is swapped out at [addr, end) of one table. What does not come stays for CRIU. mmap_lock for reading. */
static void swap_in_table(struct mm_struct *mm, pmd_t *pmd, unsigned long addr, unsigned long end)
{
	for (; addr < end; addr += PAGE_SIZE) {
		addr = next_swapped(mm, pmd, addr, end);
		if (addr < end)
			fixup_user_fault(mm, addr, 0, NULL);
	}
}

/* Looks at all tables: the counter of swapped pages is per CPU on some kernels, and may read 0 when there are dozens. */
static int swap_in(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	unsigned long addr, next;
	int err = 0;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	for (vma = find_vma(mm, 0); vma && !err; vma = find_vma(mm, vma->vm_end)) {
		if (!kup_vma_eligible(vma))
			continue;
		for (addr = vma->vm_start; addr < vma->vm_end && !err; addr = next) {
			pmd_t *pmd = kup_find_pmd(mm, addr, &next);

			next = min(next, vma->vm_end);
			if (pmd && pmd_present(*pmd) && !pmd_trans_huge(*pmd))
				swap_in_table(mm, pmd, addr, next);
			cond_resched();
			if (fatal_signal_pending(current))
				err = -EINTR;
		}
	}
	mmap_read_unlock(mm);
	return err;
}

static int hide_all(struct kup_old_mm *om, struct kup_preserve *p)
{
	struct mm_struct *mm = om->mm;
	struct kup_scan left = {};
	struct vm_area_struct *vma;
	unsigned long pinned_addr = 0;
	int err;

	if (mmap_write_lock_killable(mm))
		return -EINTR;
	err = kup_check_frozen(mm, p->why);
	if (err)
		goto unlock;
	om->thp_was_disabled = kup_compat_thp_disabled(mm);
	kup_compat_set_thp_disabled(mm, true);
	for (vma = find_vma(mm, 0); vma; vma = find_vma(mm, vma->vm_end))
		kup_compat_vma_start_write(vma);
	/* om->lock is not needed: whoever takes it holds mmap_lock or a VMA's lock. */
	for (vma = find_vma(mm, 0); vma && !err; vma = find_vma(mm, vma->vm_end))
		if (kup_vma_eligible(vma))
			err = hide_vma(om, vma, p->why);
		else if (kup_vma_is_hugetlb(vma) && vma->anon_vma)
			err = hide_hugetlb_vma(om, vma, p->why);
	kup_flush_all(mm);
	if (err)
		kup_put_back_all(om);
	for (vma = find_vma(mm, 0); vma && !err; vma = find_vma(mm, vma->vm_end))
		kup_count_vma(vma, &left, &pinned_addr);
	p->pages = om->pages;
	p->huge = om->huge;
	p->left = left.anon_pages;
unlock:
	mmap_write_unlock(mm);
	return err;
}

static void free_om(struct kup_space *space)
{
	struct kup_old_mm *om = container_of(space, struct kup_old_mm, space);
	struct kup_hidden *h;

	for (h = om->chunk; h < om->chunk + om->nr_chunks; h++)
		if (h->kind == HIDDEN_PTES)
			free_page((unsigned long)h->ptes);
	kvfree(om->chunk);
	free_page((unsigned long)om->spare);
	kfree(om);
}

static struct kup_old_mm *new_om(struct task_struct *leader, struct mm_struct *mm)
{
	struct kup_old_mm *om = kzalloc(sizeof(*om), GFP_KERNEL);

	if (!om)
		return NULL;
	om->space.mm = mm;
	om->space.ops = &kup_old_space_ops;
	om->space.free = free_om;
	om->notifier.ops = &kup_old_notifier_ops;
	om->mm = mm;
	om->tgid = leader->tgid;
	get_task_comm(om->comm, leader);
	mutex_init(&om->fault_lock);
	mutex_init(&om->lock);
	return om;
}

static int preserve_mm(struct task_struct *leader, struct mm_struct *mm, struct kup_preserve *p)
{
	struct kup_old_mm *om;
	int err;

	err = kup_check_frozen(mm, p->why);
	if (err)
		return err;
	mmap_read_lock(mm);
	err = kup_refuse(mm, p->why);
	mmap_read_unlock(mm);
	if (err)
		return err;
	if (!swap_total || READ_ONCE(*swap_total))
		err = swap_in(mm);
	if (err)
		return err;
	om = new_om(leader, mm);
	if (!om)
		return -ENOMEM;
	err = kup_space_register(&om->space);
	if (err == -EEXIST) {
		kup_say(p->why, "its memory is preserved already");
		err = -EBUSY;
	}
	if (err)
		goto err_free;
	err = mmu_notifier_register(&om->notifier, mm);
	if (err)
		goto err_unregister;
	err = hide_all(om, p);
	if (err)
		goto err_notifier;
	list_add_tail(&om->node, &kup_old_mms);
	kup.counters.preserved_pages += om->pages;
	kup.counters.preserved_huge += om->huge;
	return 0;

err_notifier:
	mmu_notifier_unregister(&om->notifier, mm);
err_unregister:
	kup_space_unregister(&om->space);
	return err;
err_free:
	free_om(&om->space);
	return err;
}

/**
 * kup_preserve - take a process's anonymous pages out of its page tables
 */
int kup_preserve(struct kup_preserve *p)
{
	struct task_struct *leader;
	struct mm_struct *mm;
	int err;

	lockdep_assert_held(&kup.lock);
	if (list_empty(&kup_old_mms))
		kup_looks_reset();
	err = kup_find_process(p->pid, &leader, &mm);
	if (err)
		return err;
	err = preserve_mm(leader, mm, p);
	put_task_struct(leader);
	if (err)
		mmput(mm);
	else
		kup_set_state(KUP_STATE_PRESERVED);
	return err;
}

/*
 * What is left to do for processes that are back as they were: it waits for RCU, and the processes, still frozen, wait for ABORT. So
 * it is done behind their back, and PREPARE waits for it.
 */
static LIST_HEAD(leaving);	/* filled under kup.lock while release_work is idle */

static void release(struct work_struct *work)
{
	struct kup_old_mm *om, *next;

	list_for_each_entry_safe(om, next, &leaving, node) {
		struct mm_struct *mm = om->mm;

		list_del(&om->node);
		mmu_notifier_unregister(&om->notifier, mm);
		kup_space_unregister(&om->space);	/* om is gone, or goes with the last fault inside */
		mmput(mm);
		cond_resched();
	}
}

static void disarm(struct work_struct *work)
{
	kup_hook_disarm();
}

static DECLARE_WORK(release_work, release);
static DECLARE_WORK(disarm_work, disarm);

void kup_old_wait(bool disarmed)
{
	flush_work(&release_work);
	if (disarmed)
		flush_work(&disarm_work);
}

void kup_old_exit(void)
{
	kup_old_wait(true);
}

/**
 * kup_old_abort - put everything back and give the window back
 */
void kup_old_abort(void)
{
	struct kup_old_mm *om;

	lockdep_assert_held(&kup.lock);
	list_for_each_entry(om, &kup_old_mms, node) {
		mmap_write_lock(om->mm);
		kup_put_back_all(om);
		mmap_write_unlock(om->mm);
	}
	list_splice_init(&kup_old_mms, &leaving);
	schedule_work(&release_work);
	schedule_work(&disarm_work);
	kup_seal_undo();
	kup_shmem_let_go();
	kup_store_reset();
	kup_keep_forget();
	kup_window_free();
	kup_set_state(KUP_STATE_IDLE);
}

void kup_old_status(struct kup_status *st)
{
	struct kup_old_mm *om;

	lockdep_assert_held(&kup.lock);
	list_for_each_entry(om, &kup_old_mms, node)
		st->nr_mms++;
	st->window_base = kup_window.base;
	st->window_size = kup_window.size;
	st->area = kup_window.area;
	kup_looks_status(st);
}
