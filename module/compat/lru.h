/* SPDX-License-Identifier: GPL-2.0 */
/* Many folios onto the LRU lists at once. */
#ifndef KUP_COMPAT_LRU_H
#define KUP_COMPAT_LRU_H

#include <linux/memcontrol.h>
#include <linux/mm_inline.h>
#include <linux/swap.h>

#include "../symbols.h"

static inline unsigned long *kup_compat_flags_of(struct folio *folio)
{
#ifdef HAVE_MEMDESC_FLAGS	/* a type of its own, 6.18 */
	return &folio->flags.f;
#else
	return &folio->flags;
#endif
}

/* Are both on the lists of one memory cgroup, as far as a look without locks tells? */
static inline bool kup_compat_same_memcg(const struct folio *a, const struct folio *b)
{
#ifdef CONFIG_MEMCG
	return a->memcg_data == b->memcg_data;
#else
	return true;
#endif
}

/* @nr more, like @folio, which is there already. */
static inline void kup_compat_lru_size(struct lruvec *lruvec, struct folio *folio, long nr)
{
#ifdef CONFIG_LRU_GEN
	int gen = folio_lru_gen(folio), type = folio_is_file_lru(folio), zone = folio_zonenum(folio);

	if (gen >= 0) {
		long *pages = &lruvec->lrugen.nr_pages[gen][type][zone];

		WRITE_ONCE(*pages, *pages + nr);
		__update_lru_size(lruvec, type * LRU_INACTIVE_FILE + (lru_gen_is_active(lruvec, gen) ? LRU_ACTIVE : 0), zone, nr);
		return;
	}
#endif
	update_lru_size(lruvec, folio_lru_list(folio), folio_zonenum(folio), nr);
}

/* As kup_compat_add_lru(), for the first ones, that are of one memory cgroup. Return: how many. */
static inline unsigned int kup_compat_add_lru_alike(struct page *page, unsigned int nr)
{
	struct folio *lead = (struct folio *)page;
	struct list_head *head;
	struct lruvec *lruvec;
	unsigned int done = 1;
	unsigned long flags;
#ifdef CONFIG_LRU_GEN
	unsigned long gen;
#endif

	lruvec = folio_lruvec_lock_irqsave(lead, &flags);
	lruvec_add_folio(lruvec, lead);
	folio_set_lru(lead);
	head = lead->lru.prev;
#ifdef CONFIG_LRU_GEN
	gen = READ_ONCE(*kup_compat_flags_of(lead)) & LRU_GEN_MASK;
#endif
	for (; done < nr; done++) {
		struct folio *folio = (struct folio *)(page + done);

		if (!kup_compat_same_memcg(folio, lead))
			break;
#ifdef CONFIG_LRU_GEN
		if (gen)
			set_mask_bits(kup_compat_flags_of(folio), LRU_GEN_MASK, gen);
#endif
		list_add(&folio->lru, head);
		folio_set_lru(folio);
	}
	kup_compat_lru_size(lruvec, lead, done - 1);
#ifdef HAVE_LRUVEC_UNLOCK	/* renamed between 6.18 and 7.2, where it also ends a section of RCU */
	lruvec_unlock_irqrestore(lruvec, flags);
#else
	unlock_page_lruvec_irqrestore(lruvec, flags);
#endif
	return done;
}

/**
 * kup_compat_add_lru - what folio_add_lru() does, for @nr frames, one behind the other, that are new folios of one page
 * @page: the first. All are of one zone, evictable, not active, and nobody can free them: the caller holds the lock of what they are in.
 *
 * The kernel's own code puts the first one on its list, and its flags say which that is; the others follow it there under the same
 * lock and are counted at once.
 */
static inline void kup_compat_add_lru(struct page *page, unsigned int nr)
{
	unsigned int n;

	for (; nr > 1; page += n, nr -= n)
		n = kup_compat_add_lru_alike(page, nr);
	if (nr)
		folio_add_lru((struct folio *)page);
}

#endif
