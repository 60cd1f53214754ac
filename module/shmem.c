// SPDX-License-Identifier: GPL-2.0
/*
 * Shared memory on the old side: MAP_SHARED memory, memfd, POSIX shared memory and any other file of tmpfs are one thing, pages in the
 * page cache of a file.
 *
 * Nothing is taken away from anybody. The pages stay in the file, and whoever reads, writes or maps it goes on as ever:
 *
 *   1. PRESERVE_SHMEM unmaps the file, so that pagemap shows no page of it; processes that touch it have it mapped again.
 *   2. Swapped pages are brought in, and each page gets a reference of ours: neither reclaim, migration, compaction nor a split takes a
 *      page with one more than they know of.
 *   3. CRIU looks for what to copy by SEEK_DATA. It, and all else that descends from who asked for PRESERVE_SHMEM, is told that there
 *      is no data (hook.c). No other process is told anything else than before.
 *   4. SEAL takes references again, as the file is then; that is what the handover names.
 *
 * So there is nothing to put back: ABORT gives up the references.
 */
#include <linux/file.h>
#include <linux/magic.h>
#include <linux/pagemap.h>
#include <linux/rculist.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/xarray.h>

#include "compat/hugetlb.h"
#include "old.h"

LIST_HEAD(kup_old_shmems);

bool kup_is_hugetlbfs(const struct file *file)
{
	const struct inode *inode = file_inode(file);

	return S_ISREG(inode->i_mode) && inode->i_sb->s_magic == HUGETLBFS_MAGIC;
}

bool kup_is_tmpfs(const struct file *file)
{
	const struct inode *inode = file_inode(file);

	return S_ISREG(inode->i_mode) && inode->i_sb->s_magic == TMPFS_MAGIC;
}

static const struct kup_old_shmem *find(const struct inode *inode)
{
	const struct kup_old_shmem *os;

	list_for_each_entry_rcu(os, &kup_old_shmems, node, lockdep_is_held(&kup.lock))
		if (os->inode == inode)
			return os;
	return NULL;
}

bool kup_shmem_is_kept(const struct file *file)
{
	return find(file_inode(file));
}

bool kup_descends_from(struct pid *tgid)
{
	const struct task_struct *t;
	bool found = false;

	for (t = current; t->pid && !found; t = rcu_dereference(t->real_parent))
		found = task_tgid((struct task_struct *)t) == tgid;
	return found;
}

bool kup_shmem_is_hidden(const struct inode *inode)
{
	const struct kup_old_shmem *os;
	bool hidden;

	rcu_read_lock();
	os = find(inode);
	hidden = os && kup_descends_from(os->owner);
	rcu_read_unlock();
	return hidden;
}

static void let_go_of(struct list_head *list)
{
	struct kup_cached *c, *next;
	unsigned int i;

	list_for_each_entry_safe(c, next, list, node) {
		for (i = 0; i < KUP_CHUNK_PAGES; i++)
			if (c->pfn[i] != KUP_PFN_NONE)
				put_page(pfn_to_page(c->pfn[i]));
		list_del(&c->node);
		kfree(c);
		cond_resched();
	}
}

/* Not in memory, or allocated and never written to, so that there is no telling what is in it. */
static int read_in(struct address_space *mapping, pgoff_t index)
{
	struct page *page = shmem_read_mapping_page_gfp(mapping, index, mapping_gfp_mask(mapping));

	if (!IS_ERR(page))
		put_page(page);
	if (fatal_signal_pending(current))
		return -EINTR;
	return PTR_ERR_OR_ZERO(page);
}

/* The pages of @folio from @index on, up to @last, with a reference each; there is one already. */
static pgoff_t hold_folio(struct kup_cached *c, struct folio *folio, pgoff_t index, pgoff_t last)
{
	pgoff_t first = c->off >> PAGE_SHIFT, end = min(folio_next_index(folio), last + 1);

	folio_ref_add(folio, end - index - 1);
	c->nr += end - index;
	for (; index < end; index++)
		c->pfn[index - first] = folio_pfn(folio) + index - folio->index;
	return end;
}

/*
 * The pages from *@index on, up to @last. It moves on to what has to be read in before it can be gone on with.
 * Return: 0 when all are held, -EAGAIN, or -EBUSY for a page that cannot be kept.
 */
static int hold_some(struct address_space *mapping, struct kup_cached *c, pgoff_t *index, pgoff_t last)
{
	XA_STATE(xas, &mapping->i_pages, *index);
	struct folio *folio;
	int err = 0;

	rcu_read_lock();
	xas_for_each(&xas, folio, last) {
		if (xas_retry(&xas, folio))
			continue;
		*index = max(*index, xas.xa_index);
		if (xa_is_value(folio)) {
			err = -EAGAIN;
			break;
		}
		if (!folio_try_get(folio)) {
			xas_reset(&xas);
			continue;
		}
		if (folio != xas_reload(&xas)) {
			folio_put(folio);
			xas_reset(&xas);
			continue;
		}
		if (folio_test_hwpoison(folio) || folio_maybe_dma_pinned(folio))
			err = -EBUSY;
		else if (!folio_test_uptodate(folio))
			err = -EAGAIN;
		if (err) {
			folio_put(folio);
			break;
		}
		*index = hold_folio(c, folio, *index, last);
	}
	rcu_read_unlock();
	return err;
}

static int hold_chunk(struct kup_old_shmem *os, struct kup_cached *c, pgoff_t end, char *why)
{
	struct address_space *mapping = os->file->f_mapping;
	pgoff_t index = c->off >> PAGE_SHIFT, last = min(index + KUP_CHUNK_PAGES, end) - 1;
	int err;

	while ((err = hold_some(mapping, c, &index, last)) == -EAGAIN) {
		err = read_in(mapping, index);
		if (err)
			break;
	}
	if (err == -EBUSY)
		kup_say(why, "shared memory %u (%s): the page at %#lx is in use by a device", os->id, os->name, index << PAGE_SHIFT);
	else if (err && err != -EINTR)
		kup_say(why, "shared memory %u (%s): the page at %#lx cannot be read: error %d", os->id, os->name, index << PAGE_SHIFT, err);
	return err;
}

#if KUP_COMPAT_HUGETLB
/* A page of hugetlbfs; as any other, it has as many references of ours as there are small ones in it. @folio: with the first one, which goes. */
static int hold_huge_folio(struct list_head *list, struct folio *folio, loff_t off, u32 *nr)
{
	u32 pfn = folio_pfn(folio), end = pfn + folio_nr_pages(folio);
	unsigned int i;
	int err = 0;

	for (; pfn < end; off += PMD_SIZE, *nr += 1) {
		struct kup_cached *c = kzalloc(sizeof(*c), GFP_KERNEL);

		if (!c) {
			err = -ENOMEM;
			break;
		}
		folio_ref_add(folio, KUP_CHUNK_PAGES);
		c->off = off;
		c->nr = KUP_CHUNK_PAGES;
		for (i = 0; i < KUP_CHUNK_PAGES; i++)
			c->pfn[i] = pfn++;
		list_add_tail(&c->node, list);
	}
	folio_put(folio);
	return err;
}

static int hold_huge(struct kup_old_shmem *os, struct list_head *list, u32 *nr, u64 *pages, char *why)
{
	struct address_space *mapping = os->file->f_mapping;
	struct hstate *h = hstate_file(os->file);
	loff_t off, end = i_size_read(mapping->host);
	struct folio *folio;
	int err = 0;

	*nr = 0;
	for (off = 0; off < end && !err; off += huge_page_size(h)) {
		cond_resched();
		folio = kup_compat_hugetlb_get(mapping, off, huge_page_shift(h));
		if (!folio)
			continue;
		if (folio_test_hwpoison(folio) || folio_maybe_dma_pinned(folio)) {
			kup_say(why, "shared memory %u (%s): the huge page at %#llx is broken or in use by a device", os->id, os->name, off);
			folio_put(folio);
			err = -EBUSY;
			break;
		}
		err = hold_huge_folio(list, folio, off, nr);
		if (!err && fatal_signal_pending(current))
			err = -EINTR;
	}
	*pages = (u64)*nr * KUP_CHUNK_PAGES;
	if (err)
		let_go_of(list);
	return err;
}
#else
static int hold_huge(struct kup_old_shmem *os, struct list_head *list, u32 *nr, u64 *pages, char *why)
{
	return -EOPNOTSUPP;
}
#endif

/* All pages of the file into @list. Return: 0, or a negative errno and none. */
static int hold_all(struct kup_old_shmem *os, struct list_head *list, u32 *nr, u64 *pages, char *why)
{
	struct address_space *mapping = os->file->f_mapping;
	pgoff_t end = DIV_ROUND_UP_ULL(i_size_read(mapping->host), PAGE_SIZE);
	unsigned long index = 0;
	int err = 0;

	if (os->hugetlb)
		return hold_huge(os, list, nr, pages, why);
	*nr = *pages = 0;
	while (end && !err && xa_find(&mapping->i_pages, &index, end - 1, XA_PRESENT)) {
		struct kup_cached *c = kzalloc(sizeof(*c), GFP_KERNEL);

		err = -ENOMEM;
		if (!c)
			break;
		c->off = (u64)round_down(index, KUP_CHUNK_PAGES) << PAGE_SHIFT;
		list_add_tail(&c->node, list);
		err = hold_chunk(os, c, end, why);
		*nr += 1;
		*pages += c->nr;
		if (!c->nr) {	/* gone since */
			list_del(&c->node);
			kfree(c);
			*nr -= 1;
		}
		index = round_down(index, KUP_CHUNK_PAGES) + KUP_CHUNK_PAGES;
		cond_resched();
	}
	if (err)
		let_go_of(list);
	return err;
}

int kup_shmem_hold_again(char *why)
{
	struct kup_old_shmem *os;
	int err;

	lockdep_assert_held(&kup.lock);
	list_for_each_entry(os, &kup_old_shmems, node) {
		LIST_HEAD(cached);
		u64 pages;
		u32 nr;

		err = hold_all(os, &cached, &nr, &pages, why);
		if (err)
			return err;
		let_go_of(&os->cached);
		list_splice(&cached, &os->cached);
		kup.counters.preserved_shmem += pages - os->pages;
		os->nr_cached = nr;
		os->pages = pages;
	}
	return 0;
}

void kup_shmem_let_go(void)
{
	struct kup_old_shmem *os, *next;

	lockdep_assert_held(&kup.lock);
	list_for_each_entry_safe(os, next, &kup_old_shmems, node) {
		list_del_rcu(&os->node);
		let_go_of(&os->cached);
		fput(os->file);
		kfree_rcu(os, rcu);
	}
}

static int check_new(const struct kup_shmem *s, const struct file *file, char *why)
{
	const struct kup_old_shmem *os;

	if (!s->id)
		return -EINVAL;
	if (!kup_is_tmpfs(file) && !kup_is_hugetlbfs(file)) {
		kup_say(why, "%pD2 is no file of tmpfs", file);
		return -EOPNOTSUPP;
	}
	if (kup_is_hugetlbfs(file) && (kup_hugetlb_missing() || kup_kept.nr)) {
		kup_say(why, "%pD2: its huge pages cannot be kept: %s", file,
			kup_hugetlb_missing() ? "this kernel's version is not known to go on with them" : "a fallback would need them twice");
		return -EOPNOTSUPP;
	}
	list_for_each_entry(os, &kup_old_shmems, node)
		if (os->id == s->id || os->inode == file_inode(file)) {
			kup_say(why, "shared memory %u (%s) is preserved already", os->id, os->name);
			return -EBUSY;
		}
	return 0;
}

/**
 * kup_preserve_shmem - keep the pages of a file of tmpfs where they are
 * @s: see the uapi header
 *
 * Under kup.lock, sleeps. Return: 0, -EBADF, -EINVAL, -EOPNOTSUPP, -EBUSY, -ENOMEM, -EINTR.
 */
int kup_preserve_shmem(struct kup_shmem *s)
{
	struct file *file = fget(s->fd);
	struct kup_old_shmem *os = NULL;
	int err;

	lockdep_assert_held(&kup.lock);
	if (!file)
		return -EBADF;
	err = check_new(s, file, s->why);
	if (err)
		goto out;
	err = -ENOMEM;
	os = kzalloc(sizeof(*os), GFP_KERNEL);
	if (!os)
		goto out;
	os->file = file;
	os->inode = file_inode(file);
	os->owner = task_tgid(current);
	os->id = s->id;
	snprintf(os->name, sizeof(os->name), "%pD", file);
	INIT_LIST_HEAD(&os->cached);
	os->hugetlb = kup_is_hugetlbfs(file);
	os->gigantic = os->hugetlb && huge_page_size(hstate_file(file)) != PMD_SIZE;
	if (!os->hugetlb)	/* of those that are mapped CRIU asks the file only */
		unmap_mapping_range(file->f_mapping, 0, 0, 0);
	err = hold_all(os, &os->cached, &os->nr_cached, &os->pages, s->why);
	if (err)
		goto out;
	list_add_tail_rcu(&os->node, &kup_old_shmems);
	s->pages = os->pages;
	s->copied = 0;
	kup.counters.preserved_shmem += os->pages;
	kup_set_state(KUP_STATE_PRESERVED);
	return 0;
out:
	fput(file);
	kfree(os);
	return err;
}
