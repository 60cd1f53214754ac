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
 *      it allocate them in the file. So all accounting (reservations, cgroups, rmap, page cache) is the kernel's own. That it clears the page
 *      is left out.
 *   4. Then the kernel migrates that page to the frame: for that a frame becomes a page of the pool that is in use. The copying is left
 *      out (compat/hugetlb.h). The empty page goes back to the pool, and is the next one to be faulted in: one more than the pool
 *      had is enough. Userspace sees to it that there is one.
 *   5. If it cannot be migrated, since somebody else has a reference, it gets the content, and the frame is the free page of the pool.
 *   6. A frame that nobody attached, or behind a file's end, is a free page of the pool in the end.
 *
 * Pages of 1 GiB go the same way, with their own pool. An empty one, in one piece, could hardly be found in a kernel that has booted among
 * frames that are kept: so all of the old pool that no process has comes along, with one that userspace has added there, and ADOPT makes free
 * pages of these.
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

static struct task_struct *filling;	/* who has an empty page faulted in or allocated; written under kup.lock */

static struct pid *restorer;		/* an address only, to compare */
static bool hooked;			/* from ADOPT on; kup.lock */

bool kup_hugetlb_is_moving(unsigned long to)
{
	return READ_ONCE(moving.task) == current && moving.to == (struct folio *)to;
}

/*
 * Any page, then: between the two the kernel clears only the one that is to be replaced, which before that nobody sees but who is at it: the
 * processes stand still, and where it comes to be mapped there is no file's page.
 */
bool kup_hugetlb_is_filling(void)
{
	return READ_ONCE(filling) == current;
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

/* In this list too, while there is room for them. */
static u32 list_pages(const struct list_head *list, u32 *pfn, u32 nr, u32 room)
{
	struct page *page;

	list_for_each_entry(page, list, lru) {
		if (nr == room)
			break;
		if (!PageHWPoison(page))
			pfn[nr++] = page_to_pfn(page);
	}
	return nr;
}

int kup_hugetlb_list(u32 **pfn, u32 *nr)
{
	struct hstate *h = missing ? NULL : size_to_hstate(PUD_SIZE);
	u32 room = h ? READ_ONCE(h->nr_huge_pages) : 0;
	int nid;

	*nr = 0;
	*pfn = kvmalloc_array(room ?: 1, sizeof(**pfn), GFP_KERNEL);
	if (!*pfn)
		return -ENOMEM;
	if (!h)
		return 0;
	spin_lock_irq(pool_lock);
	for_each_node_state(nid, N_MEMORY)
		*nr = list_pages(&h->hugepage_freelists[nid], *pfn, *nr, room);
	*nr = list_pages(&h->hugepage_activelist, *pfn, *nr, room);
	spin_unlock_irq(pool_lock);
	return 0;
}

static unsigned long size_of(const struct kup_record *rec)
{
	return kup_record_step(rec->mm) * PMD_SIZE;
}

/* So many more pages of the pool, of a page's node, and free ones. The latter are frames, on no list. */
static void count(struct hstate *h, struct page *page, long nr_pages, long free_pages)
{
	int nid = page_to_nid(page);

	spin_lock_irq(pool_lock);
	h->nr_huge_pages += nr_pages;
	h->nr_huge_pages_node[nid] += nr_pages;
	h->free_huge_pages += free_pages;
	h->free_huge_pages_node[nid] += free_pages;
	if (huge_page_size(h) == PMD_SIZE)
		kept += free_pages;
	spin_unlock_irq(pool_lock);
}

/*
 * CRIU may have had the kernel fault in all empty pages, where memory is locked, before any of them has come back. Then there is one more, until
 * userspace sets the size of the pool again. If there is no memory for it, who asks for a page will see. Of 1 GiB none is to be had, but the one
 * that came along.
 */
static void need_empty(const struct kup_record *rec)
{
	struct hstate *h = size_to_hstate(PMD_SIZE);
	struct page *page;
	bool any;

	if (size_of(rec) != PMD_SIZE)
		return;
	spin_lock_irq(pool_lock);
	any = h->free_huge_pages > kept;
	spin_unlock_irq(pool_lock);
	page = any ? NULL : alloc_pages(GFP_HIGHUSER_MOVABLE | __GFP_COMP | __GFP_NOWARN, PMD_SHIFT - PAGE_SHIFT);
	if (!page)
		return;
	set_page_private(page, 0);
	kup_compat_mark_hugetlb(page_folio(page));
	count(h, page, 1, 0);
	folio_put(page_folio(page));
}

/* One page of the pool, in use, with one reference. It was counted as a free one. */
static struct folio *make_folio(const struct kup_record *rec, u32 pfn)
{
	struct hstate *h = size_to_hstate(size_of(rec));
	struct page *page = pfn_to_page(pfn);
	struct folio *folio = (struct folio *)page;
	unsigned long i;

	__ClearPageReserved(page);
	set_page_private(page, 0);
	for (i = 1; i < pages_per_huge_page(h); i++) {
		__ClearPageReserved(page + i);
		set_page_count(page + i, 0);
	}
	prep_compound_page(page, huge_page_order(h));
	kup_compat_mark_hugetlb(folio);
	adjust_managed_page_count(page, pages_per_huge_page(h));
	count(h, page, 0, -1);
	return folio;
}

/* Of the page that begins with the @i-th chunk, as kup_chunk_begin() and kup_chunk_end() do of one; nobody else does that with these. */
static void begin(struct kup_record *rec, u32 i)
{
	u32 end = i + kup_record_step(rec->mm);

	while (i < end)
		kup_chunk_begin(rec, i++);
}

static void end(struct kup_record *rec, u32 i)
{
	u32 end = i + kup_record_step(rec->mm);

	while (i < end)
		kup_chunk_end(rec, i++);
}

void kup_hugetlb_drop(struct kup_record *rec, u32 i)
{
	if (i % kup_record_step(rec->mm))
		return;
	folio_put(make_folio(rec, rec->chunks[i].value));
	atomic64_add(size_of(rec) >> PAGE_SHIFT, &kup_new.dropped);
}

/* Nobody has them: free pages right now. */
static void adopt_pool(struct kup_record *rec)
{
	u32 i;

	for (i = 0; i < rec->mm->nr_chunks; i += kup_record_step(rec->mm)) {
		begin(rec, i);
		folio_put(make_folio(rec, rec->chunks[i].value));
		end(rec, i);
		cond_resched();
	}
}

void kup_hugetlb_adopt(void)
{
	bool any = false;
	u32 i, n;

	for (n = 0; n < kup_new.h->nr_mms && !missing; n++) {
		struct kup_record *rec = &kup_new.rec[n];
		struct hstate *h = size_to_hstate(size_of(rec));

		if (!(rec->mm->flags & KUP_MM_HUGETLB) || !h)
			continue;
		for (i = 0; i < rec->mm->nr_chunks; i += kup_record_step(rec->mm))
			count(h, pfn_to_page(rec->chunks[i].value), 1, 1);
		rec->in_pool = any = true;
		if (rec->mm->flags & KUP_MM_POOL)
			adopt_pool(rec);
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

static void copy_content(struct folio *to, struct folio *from)
{
	unsigned long i;

	for (i = 0; i < folio_nr_pages(from); i++) {
		copy_highpage(folio_page(to, i), folio_page(from, i));
		cond_resched();
	}
}

/*
 * The frame of the page that begins with the @i-th chunk takes the place of @empty, of which the caller has a reference, which is given up.
 * Return: false if that got the content only.
 */
static bool replace(struct folio *empty, struct kup_record *rec, u32 i)
{
	struct folio *to;
	LIST_HEAD(list);
	bool moved = false;

	begin(rec, i);
	to = make_folio(rec, rec->chunks[i].value);
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
	end(rec, i);
	atomic64_add(size_of(rec) >> PAGE_SHIFT, &kup_new.bound);
	atomic64_add(kup_record_step(rec->mm), &kup_new.bound_huge);
	return moved;
}

/* What is mapped there, with a reference, or NULL. mmap_lock. */
static struct folio *mapped(struct mm_struct *mm, unsigned long addr, unsigned long size)
{
	unsigned long next;
	pte_t *entry = kup_find_hugetlb(mm, addr, size, &next);
	struct folio *folio = NULL;
	spinlock_t *ptl;

	if (!entry)
		return NULL;
	ptl = kup_lock_hugetlb(mm, entry, size);
	if (pte_present(*entry) && pte_huge(*entry)) {
		folio = page_folio(pte_page(*entry));
		folio_get(folio);
	}
	spin_unlock(ptl);
	return folio;
}

static bool is_private(const struct vm_area_struct *vma, unsigned long size)
{
	return vma && kup_vma_is_hugetlb(vma) && !(vma->vm_flags & VM_MAYSHARE) && huge_page_size(hstate_vma((struct vm_area_struct *)vma)) == size;
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
	if (!is_private(vma, size_of(rec))) {
		kup_say(why, "no private mapping of huge pages at %#llx", c->addr);
		err = -EADDRNOTAVAIL;
		goto unlock;
	}
	folio = mapped(mm, c->addr, size_of(rec));
	if (folio || !fault)
		goto unlock;
	need_empty(rec);
	/* For reading: what comes is private all the same, as there is nothing in the file, and any mapping will do. */
	WRITE_ONCE(filling, current);
	ret = handle_mm_fault(vma, c->addr, FAULT_FLAG_REMOTE, NULL);
	WRITE_ONCE(filling, NULL);
	if (ret & VM_FAULT_ERROR)
		err = -ENOMEM;
	else
		folio = mapped(mm, c->addr, size_of(rec));
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
	if (!replace(folio, rec, i))
		atomic64_add(size_of(rec) >> PAGE_SHIFT, &kup_new.parted);
	return 0;
}

static int check_attach(const struct kup_record *rec, char *why)
{
	if (!missing && rec->in_pool && !kup_fallback_armed())
		return 0;
	if (missing || !rec->in_pool)
		kup_say(why, "this kernel has no %s: huge pages of hugetlbfs cannot be given back", missing ?: "huge pages of 1 GiB");
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
		for (i = 0; i < rec->mm->nr_chunks && !err; i += kup_record_step(rec->mm)) {
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
		begin(rec, i);
		kup_hugetlb_drop(rec, i);
		end(rec, i);
		return 0;
	}
	need_empty(rec);
	/* Not vfs_fallocate(): the descriptor need not be one to write by. */
	WRITE_ONCE(filling, current);
	err = file->f_op->fallocate(file, 0, c->addr, size_of(rec));
	WRITE_ONCE(filling, NULL);
	if (err)
		return err;
	folio = kup_compat_hugetlb_get(file->f_mapping, c->addr, huge_page_shift(hstate_file(file)));
	if (!folio)
		return -EAGAIN;
	if (!replace(folio, rec, i))
		s->copied += size_of(rec) >> PAGE_SHIFT;
	return 0;
}

int kup_hugetlb_attach_file(struct kup_shmem *s, struct kup_record *rec)
{
	struct address_space *mapping = rec->file->f_mapping;
	int err = check_attach(rec, s->why);
	u32 i;

	if (err)
		return err;
	if (huge_page_size(hstate_file(rec->file)) != size_of(rec)) {
		kup_say(s->why, "shared memory %u (%s): the file has huge pages of another size", s->id, rec->mm->comm);
		return -EOPNOTSUPP;
	}
	if ((rec->mm->nr_chunks || mapping_writably_mapped(mapping)) &&
	    !kup_compat_reserve_hugetlb(mapping->host, i_size_read(mapping->host) >> huge_page_shift(hstate_file(rec->file)))) {
		kup_say(s->why, "shared memory %u (%s): the pool has too few huge pages to reserve it", s->id, rec->mm->comm);
		return -ENOMEM;
	}
	err = kup_hook_arm();
	if (err)
		return err;
	for (i = 0; i < rec->mm->nr_chunks && !err; i += kup_record_step(rec->mm)) {
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

bool kup_hugetlb_is_filling(void)
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

int kup_hugetlb_list(u32 **pfn, u32 *nr)
{
	*pfn = NULL;
	*nr = 0;
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

void kup_hugetlb_drop(struct kup_record *rec, u32 i)
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
