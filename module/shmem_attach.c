// SPDX-License-Identifier: GPL-2.0
/*
 * Shared memory on the new side: frames of the handover become pages of a file of tmpfs, which CRIU or somebody else has made as
 * it was, but for what is in it.
 *
 * A chunk at a time, while nobody uses the file:
 * 1. tmpfs itself makes the pages that are to be there, accounted and charged as all of its pages are. If it has no room or no memory,
 *    that is an error, and nothing of this chunk has changed.
 * 2. Each of them is replaced by the frame, in its place in the page cache, and freed. Nothing of that fails. What cannot be replaced
 *    (a part of a huge page, one that a device uses) gets the content, and the frame is freed. So does each page as long as there
 *    may be a fallback; then the frames stay as they are.
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

#include "compat/compat.h"
#include "kup.h"
#include "space.h"

/* What a chunk will have in its file; NULL: no frame there, or behind the file's end. */
struct there {
	struct page *page[KUP_CHUNK_PAGES];
};

static struct kup_record *find_record(u32 id)
{
	u32 i;

	for (i = 0; i < kup_new.h->nr_mms; i++)
		if (kup_new.rec[i].mm->pid == id && kup_is_shmem(kup_new.rec[i].mm))
			return &kup_new.rec[i];
	return NULL;
}

static void put_there(struct there *there)
{
	unsigned int i;

	for (i = 0; i < KUP_CHUNK_PAGES; i++) {
		if (there->page[i])
			put_page(there->page[i]);
		there->page[i] = NULL;
	}
}

static int make_there(struct there *there, struct address_space *mapping, const struct kup_chunk *c)
{
	pgoff_t first = c->addr >> PAGE_SHIFT, end = DIV_ROUND_UP_ULL(i_size_read(mapping->host), PAGE_SIZE);
	struct kup_walk walk;
	struct kup_run run;
	unsigned int i;

	kup_walk_begin(&walk, c, kup_new.stream.base);
	while (kup_walk_next(&walk, &run))
		for (i = run.first; i < run.first + run.nr && first + i < end; i++) {
			struct page *page = shmem_read_mapping_page_gfp(mapping, first + i, mapping_gfp_mask(mapping));

			if (IS_ERR(page)) {
				put_there(there);
				return PTR_ERR(page);
			}
			there->page[i] = page;
		}
	return 0;
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

static void replace(struct folio *old, struct page *frame)
{
	struct folio *new = (struct folio *)frame;	/* part of no other */

	__ClearPageReserved(frame);
	adjust_managed_page_count(frame, 1);
	__SetPageLocked(frame);
	__folio_set_swapbacked(new);
	__folio_mark_uptodate(new);
	kup_compat_replace_cached(old, new);
	folio_mark_dirty(new);
	folio_add_lru(new);
	folio_unlock(new);
	folio_put(new);
}

/* Return: true if the page has only got the content. */
static bool give(struct address_space *mapping, pgoff_t index, struct page *page, struct page *frame, bool keep)
{
	struct folio *folio = page_folio(page);
	bool copy;

	folio_lock(folio);
	copy = keep || !can_replace(mapping, folio, index);
	if (copy) {
		copy_highpage(page, frame);
		folio_mark_dirty(folio);
	} else {
		replace(folio, frame);
	}
	folio_unlock(folio);
	if (copy && !keep)
		kup_free_frame(frame);
	return copy;
}

static int attach_chunk(struct kup_shmem *s, struct kup_record *rec, u32 nr, struct there *there)
{
	struct address_space *mapping = rec->file->f_mapping;
	const struct kup_chunk *c = &rec->chunks[nr];
	bool keep = kup_fallback_armed();
	struct kup_walk walk;
	struct kup_run run;
	unsigned int i;
	int err;

	if (kup_chunk_done(rec, nr))
		return 0;
	err = make_there(there, mapping, c);
	if (err || !kup_chunk_begin(rec, nr))
		return err;
	kup_walk_begin(&walk, c, kup_new.stream.base);
	while (kup_walk_next(&walk, &run))
		for (i = run.first; i < run.first + run.nr; i++) {
			struct page *frame = pfn_to_page(run.pfn + i - run.first);

			if (there->page[i]) {
				s->copied += give(mapping, (c->addr >> PAGE_SHIFT) + i, there->page[i], frame, keep);
				atomic64_inc(&kup_new.bound);
			} else if (!keep) {
				kup_drop_frame(frame);
			}
		}
	if (keep)
		set_bit(nr, rec->copied);
	kup_chunk_end(rec, nr);
	put_there(there);
	return 0;
}

static int attach_all(struct kup_shmem *s, struct kup_record *rec)
{
	struct there *there = kvzalloc(sizeof(*there), GFP_KERNEL);
	int err = there ? 0 : -ENOMEM;
	u32 i;

	s->pages = rec->mm->nr_pages;
	s->copied = 0;
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

/* Whose memory it is, for the memory cgroup; NULL: the caller's. */
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
	struct kup_record *rec = find_record(s->id);

	if (!rec) {
		kup_say(s->why, "the handover has no shared memory %u", s->id);
		return -ENOENT;
	}
	if (!kup_is_tmpfs(file)) {
		kup_say(s->why, "%pD2 is no file of tmpfs", file);
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
