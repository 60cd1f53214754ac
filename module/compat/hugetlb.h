/* SPDX-License-Identifier: GPL-2.0 */
/* Pages of hugetlbfs: making one of single frames, finding one in a file, moving one. */
#ifndef KUP_COMPAT_HUGETLB_H
#define KUP_COMPAT_HUGETLB_H

#include <linux/hugetlb.h>
#include <linux/hugetlb_cgroup.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/pagemap.h>

#include "compat.h"

/* The variants below: 6.1, and from 6.10 on. */
#if defined(CONFIG_HUGETLB_PAGE) && defined(CONFIG_MIGRATION) && (defined(HAVE_FOLIO_TYPE_HUGETLB) || defined(HAVE_SET_COMPOUND_PAGE_DTOR))
#define KUP_COMPAT_HUGETLB 1

/* A compound page of reference 1 becomes one of hugetlbfs, as init_new_hugetlb_folio() has it. */
static inline void kup_compat_mark_hugetlb(struct folio *folio)
{
#ifdef HAVE_FOLIO_TYPE_HUGETLB	/* 6.10, "mm: turn folio_test_hugetlb into a PageType" */
	__folio_set_hugetlb(folio);
#else
	set_compound_page_dtor(&folio->page, HUGETLB_PAGE_DTOR);
#endif
	INIT_LIST_HEAD(&folio->lru);
	hugetlb_set_folio_subpool(folio, NULL);
#ifdef HAVE_HUGETLB_CGROUP_FOLIO	/* 6.2, "mm/hugetlb_cgroup: convert set_hugetlb_cgroup*() to folios" */
	set_hugetlb_cgroup(folio, NULL);
	set_hugetlb_cgroup_rsvd(folio, NULL);
#else
	set_hugetlb_cgroup(&folio->page, NULL);
	set_hugetlb_cgroup_rsvd(&folio->page, NULL);
#endif
}

/* Reserves @nr pages of a file, by whomever they are mapped. Some may be reserved or there already. */
static inline bool kup_compat_reserve_hugetlb(struct inode *inode, long nr)
{
#ifdef HAVE_HUGETLB_VMA_FLAGS	/* a type of its own, between 6.18 and 7.2 */
	const vma_flags_t flags = {};
#else
	const vm_flags_t flags = 0;
#endif

#ifdef HAVE_HUGETLB_RESERVE_LONG	/* the number, or an error, between 6.12 and 6.18 */
	return hugetlb_reserve_pages(inode, 0, nr, NULL, flags) >= 0;
#else
	return hugetlb_reserve_pages(inode, 0, nr, NULL, flags);
#endif
}

/* What a file, with pages of 2^@shift bytes, has at @off, with a reference, or NULL. */
static inline struct folio *kup_compat_hugetlb_get(struct address_space *mapping, loff_t off, unsigned int shift)
{
#ifdef HAVE_FILEMAP_LOCK_HUGETLB	/* 6.7, "mm/filemap: remove hugetlb special casing in filemap.c": an index is of 4 KiB there, too */
	struct page *page = find_get_page(mapping, off >> PAGE_SHIFT);
#else
	struct page *page = find_get_page(mapping, off >> shift);
#endif

	return page ? page_folio(page) : NULL;
}

/* On @list, with a reference more. */
static inline bool kup_compat_isolate_hugetlb(struct folio *folio, struct list_head *list)
{
#if defined(HAVE_FOLIO_ISOLATE_HUGETLB)	/* 6.14 renamed it */
	return folio_isolate_hugetlb(folio, list);
#elif defined(HAVE_PAGE_ISOLATE_HUGETLB_RENAMED)	/* and so did 6.1.y, that of before 6.3 */
	return !folio_isolate_hugetlb(&folio->page, list);
#elif defined(HAVE_PAGE_ISOLATE_HUGETLB)
	return !isolate_hugetlb(&folio->page, list);
#else
	return isolate_hugetlb(folio, list);
#endif
}

/*
 * Moves the one page on @list to the one at hand, and leaves the copying out. The reference of that goes to whoever has it then, or stays
 * the caller's, if it could not be done.
 *
 * Up to 6.10 there is a mode for that; from then on the copying is folio_mc_copy(), which the hook leaves out (hook.c).
 */
#ifdef HAVE_MIGRATE_NO_COPY
#define KUP_COMPAT_HOOKS_COPY false
#define KUP_COMPAT_MIGRATE_MODE MIGRATE_SYNC_NO_COPY
#else
#define KUP_COMPAT_HOOKS_COPY true
#define KUP_COMPAT_MIGRATE_MODE MIGRATE_SYNC
#endif

struct kup_compat_target {
	struct folio *to;
	bool asked;
};

#ifdef HAVE_NEW_FOLIO_T	/* 6.5, "mm: convert migrate_pages() to work on folios" */
static inline struct folio *kup_compat_get_target(struct folio *from, unsigned long arg)
{
	struct kup_compat_target *t = (void *)arg;

	t->asked = true;
	return t->to;
}

static inline void kup_compat_put_target(struct folio *folio, unsigned long arg)
{
}
#else
static inline struct page *kup_compat_get_target(struct page *from, unsigned long arg)
{
	struct kup_compat_target *t = (void *)arg;

	t->asked = true;
	return &t->to->page;
}

static inline void kup_compat_put_target(struct page *page, unsigned long arg)
{
}
#endif

/* Return: 0 if @to has its place, or was freed since nobody had the page any more. */
static inline int kup_compat_migrate(struct list_head *list, struct folio *to)
{
	struct kup_compat_target t = { .to = to };
	int err = migrate_pages(list, kup_compat_get_target, kup_compat_put_target, (unsigned long)&t, KUP_COMPAT_MIGRATE_MODE, MR_SYSCALL, NULL);

	if (!err && !t.asked)
		folio_put(to);
	return err;
}
#else
#define KUP_COMPAT_HUGETLB 0
#define KUP_COMPAT_HOOKS_COPY false
#endif

#endif
