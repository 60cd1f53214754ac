// SPDX-License-Identifier: GPL-2.0
/*
 * Huge pages of hugetlbfs on the new side. They are of a pool: some of its pages stand in the handover, the others are made by userspace,
 * which sets the pool's size again.
 *
 *   1. ADOPT counts the frames of the handover into the pool, as free ones. So what CRIU maps can be reserved. On no list of free
 *      pages is any of them: nobody but us can take one.
 *   2. CRIU maps each file once to fill it in, and anew where processes have it; one that is there for a private mapping only as well, before
 *      3.18. So what it maps of files is not reserved then, but by ATTACH_SHMEM, as far as files are shared.
 *   3. ATTACH, while the process stands still, has the kernel fault in each page, which is an empty one of the pool's; ATTACH_SHMEM has
 *      it allocate them in the file. So all accounting (reservations, cgroups, rmap, page cache) is the kernel's own.
 *   4. Then the kernel migrates that page to the frame: for that a frame becomes a page of the pool that is in use. The copying is left
 *      out (compat/hugetlb.h). The empty page goes back to the pool, and is the next one to be faulted in: one more than the pool
 *      had is enough. Userspace sees to it that there is one.
 *   5. If it cannot be migrated, since somebody else has a reference, it gets the content, and the frame is the free page of the pool.
 *   6. A frame that nobody attached, or behind a file's end, is a free page of the pool in the end.
 *
 * What others take meanwhile is other free pages: a pool has as many that are not reserved as it had in the old kernel.
 * It cannot be with a fallback: copies of all would be needed at once.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "compat/anon.h"
#include "compat/compat.h"
#include "compat/hugetlb.h"
#include "kup.h"
#include "old.h"
#include "space.h"
#include "symbols.h"
#include "vma.h"

#if KUP_COMPAT_HUGETLB
static struct {
	struct task_struct *task;	/* who migrates, */
	struct folio *to;		/* and where to */
} moving;				/* written under kup.lock */

static struct pid *restorer;		/* an address only, to compare */
static bool hooked;			/* from ADOPT on; kup.lock */

bool kup_hugetlb_is_moving(unsigned long to)
{
	return READ_ONCE(moving.task) == current && moving.to == (struct folio *)to;
}

static spinlock_t *pool_lock;		/* the kernel's hugetlb_lock */
static unsigned long kept;		/* frames that are counted as free pages; under it */
static const char *missing;

const char *kup_hugetlb_missing(void)
{
	return missing;
}

static const char *look_for_missing(void)
{
	static const char *const needed[] = { "hugetlb_lock", "size_to_hstate", "hugetlb_reserve_pages", "migrate_pages", "putback_movable_pages" };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(needed); i++)
		if (!kup_symbol(needed[i]))
			return needed[i];
	if (!kup_symbol("folio_isolate_hugetlb") && !kup_symbol("isolate_hugetlb"))
		return "isolate_hugetlb";
	if (KUP_COMPAT_HOOKS_COPY && !kup_hook_has_copy())
		return "folio_mc_copy";
	if (!size_to_hstate(PMD_SIZE))
		return "huge pages of 2 MiB";
	return NULL;
}

void kup_hugetlb_init(void)
{
	missing = look_for_missing();
	pool_lock = (spinlock_t *)kup_symbol("hugetlb_lock");
}

u64 kup_hugetlb_free(void)
{
	return missing ? 0 : READ_ONCE(size_to_hstate(PMD_SIZE)->free_huge_pages);
}

/* So many more pages of the pool, of a page's node, and free ones. The latter are frames, on no list. */
static void count(struct page *page, long nr_pages, long free_pages)
{
	struct hstate *h = size_to_hstate(PMD_SIZE);
	int nid = page_to_nid(page);

	spin_lock_irq(pool_lock);
	h->nr_huge_pages += nr_pages;
	h->nr_huge_pages_node[nid] += nr_pages;
	h->free_huge_pages += free_pages;
	h->free_huge_pages_node[nid] += free_pages;
	kept += free_pages;
	spin_unlock_irq(pool_lock);
}

/*
 * CRIU may have had the kernel fault in all empty pages, where memory is locked, before any of them has come back. Then there is one more, until
 * userspace sets the size of the pool again. If there is no memory for it, who asks for a page will see.
 */
static void need_empty(void)
{
	struct hstate *h = size_to_hstate(PMD_SIZE);
	struct page *page;
	bool any;

	spin_lock_irq(pool_lock);
	any = h->free_huge_pages > kept;
	spin_unlock_irq(pool_lock);
	page = any ? NULL : alloc_pages(GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOWARN, PMD_SHIFT - PAGE_SHIFT);
	if (!page)
		return;
	set_page_private(page, 0);
	kup_compat_mark_hugetlb(page_folio(page));
	count(page, 1, 0);
	folio_put(page_folio(page));
}

void kup_hugetlb_adopt(void)
{
	bool any = false;
	u32 i, n;

	for (n = 0; n < kup_new.h->nr_mms && !missing; n++) {
		struct kup_record *rec = &kup_new.rec[n];

		if (!(rec->mm->flags & KUP_MM_HUGETLB))
			continue;
		for (i = 0; i < rec->mm->nr_chunks; i++)
			count(pfn_to_page(rec->chunks[i].value), 1, 1);
		rec->in_pool = any = true;
	}
	hooked = any && !kup_hook_arm();
}

void kup_hugetlb_restorer(void)
{
	lockdep_assert_held(&kup.lock);
	if (hooked && kup.state == KUP_STATE_ADOPTED)
		WRITE_ONCE(restorer, task_tgid(current));
}

void kup_hugetlb_end(void)
{
	lockdep_assert_held(&kup.lock);
	WRITE_ONCE(restorer, NULL);
	if (hooked)
		kup_hook_disarm();
	hooked = false;
}

bool kup_hugetlb_is_restoring(void)
{
	struct pid *tgid = READ_ONCE(restorer);
	bool is;

	rcu_read_lock();
	is = tgid && kup_descends_from(tgid);
	rcu_read_unlock();
	return is;
}

/* To fill a file in CRIU maps it shared, whoever had it, and how. ATTACH_SHMEM reserves it, if it is not only there for private mappings. */
bool kup_hugetlb_reserves_none(const struct inode *inode, const struct vm_area_struct *vma)
{
	return kup_shmem_is_hidden(inode) || (vma && vma->vm_flags & VM_MAYSHARE && kup_hugetlb_is_restoring());
}

/* One page of the pool, in use, with one reference. It was counted as a free one. */
static struct folio *make_folio(u32 pfn)
{
	struct page *page = pfn_to_page(pfn);
	struct folio *folio = (struct folio *)page;
	unsigned int i;

	__ClearPageReserved(page);
	set_page_private(page, 0);
	for (i = 1; i < KUP_CHUNK_PAGES; i++) {
		__ClearPageReserved(page + i);
		set_page_count(page + i, 0);
	}
	prep_compound_page(page, PMD_SHIFT - PAGE_SHIFT);
	kup_compat_mark_hugetlb(folio);
	adjust_managed_page_count(page, KUP_CHUNK_PAGES);
	count(page, 0, -1);
	return folio;
}

void kup_hugetlb_drop(u32 pfn)
{
	folio_put(make_folio(pfn));
	atomic64_add(KUP_CHUNK_PAGES, &kup_new.dropped);
}

static void copy_content(struct folio *to, struct folio *from)
{
	unsigned int i;

	for (i = 0; i < KUP_CHUNK_PAGES; i++) {
		copy_highpage(folio_page(to, i), folio_page(from, i));
		cond_resched();
	}
}

/* The frame takes the place of @empty, of which the caller has a reference, which is given up. Return: false if it got the content only. */
static bool replace(struct folio *empty, u32 pfn)
{
	struct folio *to = make_folio(pfn);
	LIST_HEAD(list);
	bool moved = false;

	if (kup_compat_isolate_hugetlb(empty, &list)) {
		folio_put(empty);	/* else it has one more than the kernel knows of */
		moving.to = to;
		WRITE_ONCE(moving.task, current);
		moved = !kup_compat_migrate(&list, to);
		WRITE_ONCE(moving.task, NULL);
		if (!moved) {
			folio_get(empty);	/* isolated: it has that of the list */
			putback_movable_pages(&list);
		}
	}
	if (!moved) {
		copy_content(empty, to);
		folio_put(empty);
		folio_put(to);
	}
	atomic64_add(KUP_CHUNK_PAGES, &kup_new.bound);
	atomic64_inc(&kup_new.bound_huge);
	return moved;
}

/* What is mapped there, with a reference, or NULL. mmap_lock. */
static struct folio *mapped(struct mm_struct *mm, unsigned long addr)
{
	unsigned long next;
	pmd_t *pmd = kup_find_pmd(mm, addr, &next);
	struct folio *folio = NULL;
	spinlock_t *ptl;

	if (!pmd)
		return NULL;
	ptl = pmd_lock(mm, pmd);
	if (pmd_present(*pmd) && pmd_leaf(*pmd)) {
		folio = page_folio(pmd_page(*pmd));
		folio_get(folio);
	}
	spin_unlock(ptl);
	return folio;
}

static bool is_private(const struct vm_area_struct *vma)
{
	return vma && kup_vma_is_hugetlb(vma) && huge_page_size(hstate_vma((struct vm_area_struct *)vma)) == PMD_SIZE;
}

static int attach_chunk(struct mm_struct *mm, struct kup_record *rec, u32 i, bool fault, char *why)
{
	const struct kup_chunk *c = &rec->chunks[i];
	struct vm_area_struct *vma;
	struct folio *folio = NULL;
	vm_fault_t ret = 0;
	int err = 0;

	if (kup_chunk_done(rec, i))
		return 0;
	mmap_read_lock(mm);
	vma = vma_lookup(mm, c->addr);
	if (!is_private(vma)) {
		kup_say(why, "no private mapping of huge pages at %#llx", c->addr);
		err = -EADDRNOTAVAIL;
		goto unlock;
	}
	folio = mapped(mm, c->addr);
	if (folio || !fault)
		goto unlock;
	need_empty();
	/* For reading: what comes is private all the same, as there is nothing in the file, and any mapping will do. */
	ret = handle_mm_fault(vma, c->addr, FAULT_FLAG_REMOTE, NULL);
	if (ret & VM_FAULT_ERROR)
		err = -ENOMEM;
	else
		folio = mapped(mm, c->addr);
	if (!err && !folio)
		err = -EAGAIN;
	if (err)
		kup_say(why, "no huge page is to be had for %#llx: %#x", c->addr, ret);
unlock:
	mmap_read_unlock(mm);
	if (!folio)
		return err;
	if (!folio_test_hugetlb(folio) || !folio_test_anon(folio)) {
		kup_say(why, "the page at %#llx is none of this process alone", c->addr);
		folio_put(folio);
		return -EBUSY;
	}
	kup_chunk_begin(rec, i);	/* nobody else does: kup.lock */
	if (!replace(folio, c->value))
		atomic64_add(KUP_CHUNK_PAGES, &kup_new.parted);
	kup_chunk_end(rec, i);
	return 0;
}

static int check_attach(const struct kup_record *rec, char *why)
{
	if (!missing && rec->in_pool && !kup_fallback_armed())
		return 0;
	if (missing)
		kup_say(why, "this kernel has no %s: huge pages of hugetlbfs cannot be given back", missing);
	else
		kup_say(why, "huge pages of hugetlbfs cannot be given back while there may be a fallback");
	return -ENODEV;
}

/* Those that are there already come first (of memory that is locked): each leaves an empty page for those that are not. */
int kup_hugetlb_attach(struct mm_struct *mm, struct kup_record *rec, char *why)
{
	unsigned int pass;
	int err;
	u32 i;

	lockdep_assert_held(&kup.lock);
	err = check_attach(rec, why);
	for (pass = 0; pass < 2; pass++)
		for (i = 0; i < rec->mm->nr_chunks && !err; i++) {
			err = attach_chunk(mm, rec, i, pass, why);
			if (!err && fatal_signal_pending(current))
				err = -EINTR;
			cond_resched();
		}
	return err;
}

static int attach_file_chunk(struct kup_shmem *s, struct kup_record *rec, u32 i)
{
	const struct kup_chunk *c = &rec->chunks[i];
	struct file *file = rec->file;
	struct folio *folio;
	int err;

	if (kup_chunk_done(rec, i))
		return 0;
	if (c->addr >= i_size_read(file_inode(file))) {
		kup_chunk_begin(rec, i);
		kup_hugetlb_drop(c->value);
		kup_chunk_end(rec, i);
		return 0;
	}
	need_empty();
	/* Not vfs_fallocate(): the descriptor need not be one to write by. */
	err = file->f_op->fallocate(file, 0, c->addr, PMD_SIZE);
	if (err)
		return err;
	folio = kup_compat_hugetlb_get(file->f_mapping, c->addr);
	if (!folio)
		return -EAGAIN;
	kup_chunk_begin(rec, i);
	if (!replace(folio, c->value))
		s->copied += KUP_CHUNK_PAGES;
	kup_chunk_end(rec, i);
	return 0;
}

int kup_hugetlb_attach_file(struct kup_shmem *s, struct kup_record *rec)
{
	struct address_space *mapping = rec->file->f_mapping;
	int err = check_attach(rec, s->why);
	u32 i;

	if (err)
		return err;
	if (huge_page_size(hstate_file(rec->file)) != PMD_SIZE) {
		kup_say(s->why, "shared memory %u (%s): the file has huge pages of another size", s->id, rec->mm->comm);
		return -EOPNOTSUPP;
	}
	if ((rec->mm->nr_chunks || mapping_writably_mapped(mapping)) &&
	    !kup_compat_reserve_hugetlb(mapping->host, i_size_read(mapping->host) >> PMD_SHIFT)) {
		kup_say(s->why, "shared memory %u (%s): the pool has too few huge pages to reserve it", s->id, rec->mm->comm);
		return -ENOMEM;
	}
	err = kup_hook_arm();
	if (err)
		return err;
	for (i = 0; i < rec->mm->nr_chunks && !err; i++) {
		err = attach_file_chunk(s, rec, i);
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	kup_hook_disarm();
	if (err && err != -EINTR)
		kup_say(s->why, "shared memory %u (%s): no huge page for it: error %d", s->id, rec->mm->comm, err);
	return err;
}
#else
bool kup_hugetlb_is_moving(unsigned long to)
{
	return false;
}

void kup_hugetlb_init(void)
{
}

const char *kup_hugetlb_missing(void)
{
	return "hugetlbfs that this module knows";
}

u64 kup_hugetlb_free(void)
{
	return 0;
}

void kup_hugetlb_adopt(void)
{
}

void kup_hugetlb_restorer(void)
{
}

void kup_hugetlb_end(void)
{
}

bool kup_hugetlb_is_restoring(void)
{
	return false;
}

bool kup_hugetlb_reserves_none(const struct inode *inode, const struct vm_area_struct *vma)
{
	return false;
}

void kup_hugetlb_drop(u32 pfn)
{
}

int kup_hugetlb_attach(struct mm_struct *mm, struct kup_record *rec, char *why)
{
	kup_say(why, "this kernel has no %s", kup_hugetlb_missing());
	return -ENODEV;
}

int kup_hugetlb_attach_file(struct kup_shmem *s, struct kup_record *rec)
{
	return kup_hugetlb_attach(NULL, rec, s->why);
}
#endif
