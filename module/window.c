// SPDX-License-Identifier: GPL-2.0
/*
 * The window: the memory that kexec's segments will overwrite, and the handover's area right behind it.
 *
 * It is taken while the applications still run, the kernel migrating away what is movable there. So no frame of theirs stands in
 * what the jump overwrites, and nothing has to be copied while they are frozen.
 *
 * Candidates are tried from high addresses to low. A look at the page descriptors skips what cannot work (reserved, kernel
 * memory) without a lock and may err either way; alloc_contig_range() decides.
 */
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/page-flags.h>
#include <linux/random.h>
#include <linux/sched/signal.h>
#include <linux/swap.h>

#include "compat/compat.h"
#include "kup.h"
#include "old.h"

#define LOWEST_PFN	PHYS_PFN(16UL << 20)
#define ALIGN_PFNS	KUP_CHUNK_PAGES
#define AREA_PFNS	PHYS_PFN(KUP_AREA_SIZE)
#define MAX_TRIES	256u

struct kup_window kup_window;

/* Could this frame be emptied by migration? */
static bool may_be_emptied(struct page *page)
{
	struct folio *folio;

	if (PageReserved(page))
		return false;
	if (PageBuddy(page))
		return true;
	folio = page_folio(page);
	if (!folio_ref_count(folio))
		return true;
	return folio_test_lru(folio) && !folio_maybe_dma_pinned(folio);
}

/* The lowest start such that [start, end) looks good; end if there is nothing right below it. */
static unsigned long good_below(unsigned long end, unsigned long nr, struct zone **zone)
{
	unsigned long pfn = end;

	*zone = NULL;
	while (pfn > LOWEST_PFN && end - pfn < nr) {
		struct page *page = pfn_to_online_page(pfn - 1);

		if (!page || (*zone && page_zone(page) != *zone) || !may_be_emptied(page))
			break;
		*zone = page_zone(page);
		pfn--;
	}
	return pfn;
}

static u64 frames_in_use(unsigned long start, unsigned long end)
{
	unsigned long pfn;
	u64 nr = 0;

	for (pfn = start; pfn < end; pfn++) {
		struct page *page = pfn_to_page(pfn);

		if (!PageBuddy(page) && folio_ref_count(page_folio(page)))
			nr++;
	}
	return nr;
}

static int take(unsigned long start, unsigned long nr)
{
	u64 in_use = frames_in_use(start, start + nr);
	int err = kup_compat_alloc_contig(start, start + nr);

	if (!err)
		kup.counters.evacuated_pages = in_use;
	return err;
}

static int find_and_take(unsigned long nr, unsigned long limit, unsigned long *start)
{
	unsigned long end = round_down(min(limit, kup_max_pfn()), ALIGN_PFNS);
	unsigned int tries = 0;
	struct zone *zone;

	while (end >= LOWEST_PFN + nr && tries < MAX_TRIES) {
		unsigned long low = good_below(end, nr, &zone);

		if (low > end - nr) {
			/* The frame below low is what is in the way. */
			end = round_down(low - 1, ALIGN_PFNS);
			continue;
		}
		if (fatal_signal_pending(current))
			return -EINTR;
		tries++;
		*start = end - nr;
		if (!take(*start, nr))
			return 0;
		end -= ALIGN_PFNS;
		cond_resched();
	}
	return -ENOSPC;
}

/* All ordinary memory. What kexec reserves afterwards, to copy it at the jump, is ordinary memory in the next kernel. */
static unsigned long *map_ram(unsigned long end)
{
	unsigned long *map = kvcalloc(BITS_TO_LONGS(end), sizeof(long), GFP_KERNEL), pfn = 0;

	while (map && pfn < end) {
		unsigned long stop = min(end, round_up(pfn + 1, KUP_CHUNK_PAGES));
		struct page *page = pfn_to_online_page(pfn);	/* as one, for so many */

		for (; page && pfn < stop; pfn++, page++)
			if (!PageReserved(page))
				__set_bit(pfn, map);
		pfn = stop;
		cond_resched();
	}
	return map;
}

/**
 * kup_prepare - take the window and the area, and arm the fault hook, while there is time
 */
int kup_prepare(struct kup_prepare *p)
{
	u64 limit = p->window_limit ?: 1ULL << 32, end = kup_max_pfn();
	unsigned long nr, start, *ram;
	int err;

	lockdep_assert_held(&kup.lock);
	if (!p->window_size || p->window_size % KUP_CHUNK_SIZE || p->window_size > limit || limit % KUP_CHUNK_SIZE)
		return -EINVAL;
	if ((kup_max_pfn() - 1) >> 32) {
		kup_say(p->why, "memory above 16 TiB: the handover has 32 bits for a frame");
		return -ENODEV;
	}
	nr = PHYS_PFN(p->window_size) + AREA_PFNS;
	ram = map_ram(end);
	if (!ram)
		return -ENOMEM;
	kup_old_wait(true);
	lru_add_drain_all();
	err = find_and_take(nr, PHYS_PFN(limit), &start);
	if (err) {
		kup_say(p->why, "no %llu MiB of memory that can be emptied below %#llx", (u64)nr >> (20 - PAGE_SHIFT), limit);
		goto free_ram;
	}
	err = kup_hook_arm();
	if (err) {
		free_contig_range(start, nr);
		kup_say(p->why, "no way to hook faults, error %d", err);
		goto free_ram;
	}
	kup_window.base = PFN_PHYS(start);
	kup_window.size = p->window_size;
	kup_window.area = kup_window.base + kup_window.size;
	kup_window.ram = ram;
	kup_window.ram_end = end;
	do
		kup_window.nonce = get_random_u64();
	while (!kup_window.nonce);
	memset(kup_area(), 0, KUP_AREA_SIZE);

	p->window_base = kup_window.base;
	p->area = kup_window.area;
	p->nonce = kup_window.nonce;
	kup.counters = (struct kup_status) {
		.evacuated_pages = kup.counters.evacuated_pages,
		.flags = kup.counters.flags,
	};
	kup_set_state(KUP_STATE_PREPARED);
	return 0;

free_ram:
	kvfree(ram);
	return err;
}

void kup_window_free(void)
{
	if (!kup_window.size)
		return;
	free_contig_range(PHYS_PFN(kup_window.base), PHYS_PFN(kup_window.size + KUP_AREA_SIZE));
	kvfree(kup_window.ram);
	kup_window = (struct kup_window) {};
}
