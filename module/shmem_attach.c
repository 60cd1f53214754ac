// SPDX-License-Identifier: GPL-2.0
/*
 * Shared memory on the new side: frames of the handover become pages of a file of tmpfs, which CRIU or somebody else has made as
 * it was, but for what is in it.
 *
 * A chunk at a time, while nobody uses the file, or hardly anybody:
 * 1. Where the file has pages already, they are brought in. For all others it is asked for room, as khugepaged does when it fills holes of
 *    such a file. If there is none, that is an error, and nothing of this chunk has changed.
 * 2. Each frame becomes a page of the file, where there is none, or takes the place of the one that is there, which is freed. Nothing of that
 *    fails: the memory cgroup's limit may be exceeded, since the memory is no more than it was. What cannot be replaced (a part of a huge
 *    page, a page that a device uses) gets the content, and the frame is freed.
 *
 * As long as there may be a fallback, tmpfs makes all the pages, and they get the content; the frames stay as they are.
 */
#include <linux/file.h>
#include <linux/highmem.h>
#include <linux/memcontrol.h>
#include <linux/pagemap.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/swap.h>
#include <linux/xarray.h>

#include "compat/compat.h"
#include "compat/lru.h"
#include "kup.h"
#include "space.h"
#include "symbols.h"

/* What the file has already of a chunk. */
struct there {
	struct page *page[KUP_CHUNK_PAGES];
	unsigned int holes;		/* for which a frame is there, and not behind the file's end */
};

static void put_there(struct there *there)
{
	unsigned int i;

	for (i = 0; i < KUP_CHUNK_PAGES; i++) {
		if (there->page[i])
			put_page(there->page[i]);
		there->page[i] = NULL;
	}
}

static struct page *read_page(struct address_space *mapping, pgoff_t index)
{
	return shmem_read_mapping_page_gfp(mapping, index, mapping_gfp_mask(mapping));
}

/* @all: has tmpfs make those that are not there. */
static int bring_in(struct there *there, struct address_space *mapping, const struct kup_chunk *c, pgoff_t end, bool all)
{
	pgoff_t first = c->addr >> PAGE_SHIFT;
	unsigned long present = first;
	struct kup_walk walk;
	struct kup_run run;
	unsigned int i;

	there->holes = 0;
	/* as nearly always; or up to the first that there is */
	if (!xa_find(&mapping->i_pages, &present, first + KUP_CHUNK_PAGES - 1, XA_PRESENT))
		present = ULONG_MAX;
	kup_walk_begin(&walk, c, kup_new.stream.base);
	while (kup_walk_next(&walk, &run))
		for (i = run.first; i < run.first + run.nr && first + i < end; i++) {
			struct page *page = NULL;

			if (all || (first + i >= present && xa_load(&mapping->i_pages, first + i)))
				page = read_page(mapping, first + i);
			else
				there->holes++;
			if (IS_ERR(page)) {
				put_there(there);
				return PTR_ERR(page);
			}
			there->page[i] = page;
		}
	if (!there->holes || kup_compat_shmem_charge(mapping->host, there->holes))
		return 0;
	put_there(there);
	return -ENOSPC;
}

/* May the frame take the place of this page? It is locked, so nobody maps it from now on. */
static bool can_replace(struct address_space *mapping, struct folio *folio, pgoff_t index)
{
	if (folio_test_large(folio) || folio->mapping != mapping || folio->index != index || folio_maybe_dma_pinned(folio))
		return false;
	if (folio_mapped(folio))
		unmap_mapping_range(mapping, (loff_t)index << PAGE_SHIFT, PAGE_SIZE, 0);
	return !folio_mapped(folio);
}

/* Ordinary memory from now on, charged and locked, part of nothing yet. The caller counts it. */
static struct folio *make_folio(struct page *frame)
{
	struct folio *folio = (struct folio *)frame;	/* part of no other */

	__ClearPageReserved(frame);
	__SetPageLocked(frame);
	__folio_set_swapbacked(folio);
	kup_charge(folio);
	return folio;
}

/* The file has it, and it is on the LRU lists. */
static void let_go(struct folio *folio)
{
	folio_mark_dirty(folio);
	folio_unlock(folio);
	folio_put(folio);
}

/* The same for @nr of one zone, one behind the other, that are on none yet. */
static void let_go_all(struct address_space *mapping, struct page *page, unsigned int nr)
{
	unsigned int i;

	if (!mapping_unevictable(mapping))
		kup_compat_add_lru(page, nr);
	else
		for (i = 0; i < nr; i++)
			folio_add_lru((struct folio *)(page + i));
	for (i = 0; i < nr; i++)
		let_go((struct folio *)(page + i));
}

/* @nr frames, one behind the other, into holes. Return: how many, up to the first place where somebody was faster. */
static unsigned int insert(struct address_space *mapping, pgoff_t index, struct page *frame, unsigned int nr)
{
	XA_STATE(xas, &mapping->i_pages, index);
	unsigned int done = 0;
	bool again;

	do {
		xas_set(&xas, index + done);
		xas_lock_irq(&xas);
		for (; done < nr && !xas_load(&xas); done++) {
			struct folio *folio = (struct folio *)(frame + done);

			folio->mapping = mapping;
			folio->index = index + done;
			folio_get(folio);
			xas_store(&xas, folio);
			if (xas_error(&xas)) {
				folio->mapping = NULL;
				folio_put(folio);
				break;
			}
			xas_next(&xas);
		}
		again = xas_error(&xas);
		xas_unlock_irq(&xas);
	} while (xas_nomem(&xas, GFP_KERNEL | __GFP_NOFAIL) || again);
	return done;
}

/* Into the place of @page. Return: false if that has only got the content. */
static bool replace(struct address_space *mapping, pgoff_t index, struct page *page, struct folio *folio)
{
	struct folio *old = page_folio(page);
	bool can;

	folio_lock(old);
	can = can_replace(mapping, old, index);
	if (can) {
		kup_compat_replace_cached(old, folio);
		folio_add_lru(folio);
		let_go(folio);
	} else {
		copy_highpage(page, &folio->page);
		folio_mark_dirty(old);
		clear_highpage(&folio->page);
		folio_unlock(folio);
		folio_put(folio);
	}
	folio_unlock(old);
	return can;
}

/*
 * Where somebody was faster: his page was there just now. What a memory cgroup does not grant is asked for again: nobody gives up memory for
 * that. Return: true if the page has only got the content.
 */
static bool give_late(struct address_space *mapping, pgoff_t index, struct folio *folio)
{
	struct page *page;
	bool copied;

	kup_compat_shmem_uncharge(mapping->host);
	while (IS_ERR(page = read_page(mapping, index))) {
		if (PTR_ERR(page) == -EINVAL) {		/* cut off meanwhile: nobody will see it */
			clear_highpage(&folio->page);
			folio_unlock(folio);
			folio_put(folio);
			return false;
		}
		cond_resched();
	}
	copied = !replace(mapping, index, page, folio);
	put_page(page);
	return copied;
}

/* @nr frames of one zone, one behind the other, where there was nothing. Return: how many pages have only got the content. */
static unsigned int give_holes(struct address_space *mapping, pgoff_t index, struct page *frame, unsigned int nr)
{
	unsigned int i, done = 0, n, copied = 0;

	for (i = 0; i < nr; i++)
		make_folio(frame + i);
	adjust_managed_page_count(frame, nr);
	while (done < nr) {
		n = insert(mapping, index + done, frame + done, nr - done);
		if (n) {	/* all of them are charged to one memory cgroup, and of one node */
			lruvec_stat_mod_folio((struct folio *)(frame + done), NR_FILE_PAGES, n);
			lruvec_stat_mod_folio((struct folio *)(frame + done), NR_SHMEM, n);
			let_go_all(mapping, frame + done, n);
			done += n;
		}
		if (done < nr) {
			copied += give_late(mapping, index + done, (struct folio *)(frame + done));
			done++;
		}
	}
	return copied;
}

/* One frame, into the place of a page. Return: as replace(), but the other way round. */
static bool give(struct address_space *mapping, pgoff_t index, struct page *page, struct page *frame)
{
	struct folio *folio = make_folio(frame);

	adjust_managed_page_count(frame, 1);
	return !replace(mapping, index, page, folio);
}

/* How many of @nr from @i on are holes for frames of one zone. */
static unsigned int alike(const struct there *there, unsigned int i, unsigned int nr, struct page *frame)
{
	unsigned int n = 0;

	while (n < nr && !there->page[i + n])
		n++;
	return n && page_zone_id(frame) != page_zone_id(frame + n - 1) ? 1 : n;
}

static void copy_to(struct page *page, struct page *frame)
{
	struct folio *folio = page_folio(page);

	folio_lock(folio);
	copy_highpage(page, frame);
	folio_mark_dirty(folio);
	folio_unlock(folio);
}

static int attach_chunk(struct kup_shmem *s, struct kup_record *rec, u32 nr, struct there *there)
{
	struct address_space *mapping = rec->file->f_mapping;
	pgoff_t end = DIV_ROUND_UP_ULL(i_size_read(mapping->host), PAGE_SIZE), index;
	const struct kup_chunk *c = &rec->chunks[nr];
	bool keep = kup_fallback_armed();
	struct kup_walk walk;
	struct kup_run run;
	unsigned int i, n;
	int err;

	if (kup_chunk_done(rec, nr))
		return 0;
	err = bring_in(there, mapping, c, end, keep);
	if (err)
		return err;
	kup_chunk_begin(rec, nr);	/* nobody else does: kup.lock */
	kup_walk_begin(&walk, c, kup_new.stream.base);
	while (kup_walk_next(&walk, &run))
		for (i = run.first; i < run.first + run.nr; i += n) {
			struct page *frame = pfn_to_page(run.pfn + i - run.first);

			index = (c->addr >> PAGE_SHIFT) + i;
			n = 1;
			if (index >= end) {
				if (!keep)
					kup_drop_frame(frame);
				continue;
			}
			if (keep) {
				copy_to(there->page[i], frame);
				s->copied++;
			} else if (there->page[i]) {
				s->copied += give(mapping, index, there->page[i], frame);
			} else {
				n = alike(there, i, min_t(pgoff_t, run.first + run.nr - i, end - index), frame);
				s->copied += give_holes(mapping, index, frame, n);
			}
			atomic64_add(n, &kup_new.bound);
		}
	if (keep)
		set_bit(nr, rec->copied);
	kup_chunk_end(rec, nr);
	put_there(there);
	return 0;
}

static int attach_all(struct kup_shmem *s, struct kup_record *rec)
{
	struct there *there;
	int err;
	u32 i;

	s->pages = rec->mm->nr_pages;
	s->copied = 0;
	if (rec->mm->flags & KUP_MM_HUGETLB)
		return kup_hugetlb_attach_file(s, rec);
	there = kvzalloc(sizeof(*there), GFP_KERNEL);
	err = there ? 0 : -ENOMEM;
	for (i = 0; i < rec->mm->nr_chunks && !err; i++) {
		err = attach_chunk(s, rec, i, there);
		kup_fallback_alive();
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	kvfree(there);
	if (err && err != -EINTR)
		kup_say(s->why, "shared memory %u (%s): no memory for it, or no room in its file system: error %d", s->id, rec->mm->comm, err);
	return err;
}

/* Of the process whose memory it is. */
static int memcg_of(pid_t nr, struct mem_cgroup **memcg)
{
	struct pid *pid = find_get_pid(nr);
	struct task_struct *task = get_pid_task(pid, PIDTYPE_TGID);
	struct mm_struct *mm = task ? get_task_mm(task) : NULL;

	put_pid(pid);
	if (task)
		put_task_struct(task);
	if (!mm)
		return -ESRCH;
	*memcg = get_mem_cgroup_from_mm(mm);
	mmput(mm);
	return 0;
}

/* The record has this file from now on, and holds it: with it would go what it has. */
static int claim(struct kup_shmem *s, struct file *file, struct kup_record **out)
{
	struct kup_record *rec = kup_find_record(s->id, KUP_MM_SHMEM);

	if (!rec) {
		kup_say(s->why, "the handover has no shared memory %u", s->id);
		return -ENOENT;
	}
	if (!(rec->mm->flags & KUP_MM_HUGETLB ? kup_is_hugetlbfs(file) : kup_is_tmpfs(file))) {
		kup_say(s->why, "%pD2 is no file of %s", file, rec->mm->flags & KUP_MM_HUGETLB ? "hugetlbfs" : "tmpfs");
		return -EOPNOTSUPP;
	}
	if (rec->file && file_inode(rec->file) != file_inode(file)) {
		kup_say(s->why, "shared memory %u (%s) was given to another file", s->id, rec->mm->comm);
		return -EBUSY;
	}
	if (!rec->file)
		rec->file = get_file(file);
	*out = rec;
	return 0;
}

static void give_up(struct kup_record *rec)
{
	fput(rec->file);
	rec->file = NULL;
}

/**
 * kup_attach_shmem - give a file its pages back
 * @s: see the uapi header
 *
 * Under kup.lock, in ADOPTED, sleeps. Return: 0, -EBADF, -ENOENT, -EOPNOTSUPP, -EBUSY, -ESRCH, -ENOMEM, -ENOSPC, -EINTR.
 */
int kup_attach_shmem(struct kup_shmem *s)
{
	struct mem_cgroup *memcg, *old;
	struct kup_record *rec;
	struct file *file;
	int err;

	lockdep_assert_held(&kup.lock);
	err = memcg_of(s->pid, &memcg);
	if (err)
		return err;
	file = fget(s->fd);
	err = file ? claim(s, file, &rec) : -EBADF;
	if (!err) {
		old = set_active_memcg(memcg);
		err = attach_all(s, rec);
		set_active_memcg(old);
		if (!atomic_read(&rec->nr_done))	/* another file is as good */
			give_up(rec);
	}
	if (file)
		fput(file);
	mem_cgroup_put(memcg);
	return err;
}
