// SPDX-License-Identifier: GPL-2.0
/*
 * The old kernel, kept for the way back. What happens with it in the new one: fallback.c.
 *
 * kexec loads the running kernel itself into the window, as it loads a new one; then its pages, which lie anywhere until a jump
 * copies them, are copied into blocks of our own, and kexec's image makes room for the new kernel's. A block is never in the window,
 * since that is the module's already. Pieces say what goes where; SEAL writes them to the handover and has the blocks reserved.
 *
 * It holds memory from KEEP on, twice the image for a moment. What cannot be had is refused here, before anything is frozen.
 */
#include <linux/cc_platform.h>
#include <linux/kexec.h>
#include <linux/sched/signal.h>

#include "old.h"
#include "symbols.h"

#define BLOCK_ORDER 9

struct kup_kept kup_kept;

static LIST_HEAD(blocks);	/* by page->lru; page_private is the order */

static struct page *new_block(u64 pages_left, unsigned int *order)
{
	struct page *page;

	*order = min_t(unsigned int, BLOCK_ORDER, ilog2(pages_left));
	do
		page = alloc_pages(GFP_KERNEL | __GFP_NOWARN | __GFP_NORETRY, *order);
	while (!page && (*order)--);
	if (page) {
		set_page_private(page, *order);
		list_add(&page->lru, &blocks);
	}
	return page;
}

static int add_piece(u64 to, u64 from)
{
	struct kup_piece *last = kup_kept.nr ? &kup_kept.piece[kup_kept.nr - 1] : NULL;

	if (last && last->to + last->size == to && last->from + last->size == from) {
		last->size += PAGE_SIZE;
		return 0;
	}
	if (kup_kept.nr == KUP_MAX_PIECES)
		return -ENOSPC;
	kup_kept.piece[kup_kept.nr++] = (struct kup_piece) { .to = to, .from = from, .size = PAGE_SIZE };
	return 0;
}

/* A page that stays where it is: a piece that goes nowhere. */
static u64 *new_page(int *err)
{
	unsigned int order;
	struct page *page = new_block(1, &order);

	if (!page) {
		*err = -ENOMEM;
		return NULL;
	}
	clear_page(page_to_virt(page));
	*err = add_piece(page_to_phys(page), page_to_phys(page));
	return *err ? NULL : page_to_virt(page);
}

#define ENTRY_TABLE	(_PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED)
#define ENTRY_LEAF	(_PAGE_PRESENT | _PAGE_RW | _PAGE_ACCESSED | _PAGE_DIRTY | _PAGE_PSE)

static u64 *lower_table(u64 *entry, int *err)
{
	u64 *table = *entry ? __va(*entry & PAGE_MASK) : new_page(err);

	if (table && !*entry)
		*entry = __pa(table) | ENTRY_TABLE;
	return table;
}

/*
 * For a jump before the new kernel's module is there (bootstub/fall.c): a page for its code, and page tables of both kinds, in which all
 * memory stands at its physical address, and the local APICs' registers, too. Smaller pages where memory and devices alternate.
 */
static int make_jump(void)
{
	u64 end = max_t(u64, PFN_PHYS(kup_max_pfn()), SZ_4G), addr, step;
	u64 *code, *p5, *p4, *p3, *p2;
	int err;

	if (cc_platform_has(CC_ATTR_MEM_ENCRYPT))	/* as kup_fallback_arm() */
		return 0;
	code = new_page(&err);
	p5 = code ? new_page(&err) : NULL;
	p4 = p5 ? new_page(&err) : NULL;
	if (!p4)
		return err;
	if (end > 1ULL << 48)	/* one table of the lower four levels */
		return -E2BIG;
	p5[0] = __pa(p4) | ENTRY_TABLE;
	for (addr = 0; addr < end; addr += step) {
		step = addr >= SZ_4G && boot_cpu_has(X86_FEATURE_GBPAGES) ? SZ_1G : SZ_2M;
		p3 = lower_table(&p4[addr >> 39], &err);
		if (!p3)
			return err;
		if (step == SZ_1G) {
			p3[addr >> 30 & 511] = addr | ENTRY_LEAF;
			continue;
		}
		p2 = lower_table(&p3[addr >> 30 & 511], &err);
		if (!p2)
			return err;
		p2[addr >> 21 & 511] = addr | ENTRY_LEAF;
	}
	kup_kept.jump_code = __pa(code);
	kup_kept.jump_table[0] = __pa(p4);
	kup_kept.jump_table[1] = __pa(p5);
	return 0;
}

/* The next entry of kexec's list, over the ends of its pages. NULL at the end. */
static const kimage_entry_t *next_entry(const kimage_entry_t *e)
{
	while (*e & IND_INDIRECTION)
		e = __va(*e & PAGE_MASK);
	return *e && !(*e & IND_DONE) ? e : NULL;
}

static u64 count_pages(const struct kimage *image)
{
	const kimage_entry_t *e = &image->head;
	u64 nr = 0;

	for (; (e = next_entry(e)); e++)
		nr += !!(*e & IND_SOURCE);
	return nr;
}

static int copy_pages(const struct kimage *image, char *why)
{
	const kimage_entry_t *e = &image->head;
	u64 left = count_pages(image), to = 0;
	struct page *block = NULL;
	unsigned int order, i = 0;
	int err;

	for (; (e = next_entry(e)); e++) {
		if (*e & IND_DESTINATION) {
			to = *e & PAGE_MASK;
			continue;
		}
		if (to < kup_window.base || to >= kup_window.base + kup_window.size) {
			kup_say(why, "what kexec has loaded is not in the window");
			return -EINVAL;
		}
		if (!block || i == 1u << order) {
			block = new_block(left, &order);
			i = 0;
			if (!block || fatal_signal_pending(current))
				return block ? -EINTR : -ENOMEM;
			cond_resched();
		}
		copy_page(page_to_virt(block + i), __va(*e & PAGE_MASK));
		err = add_piece(to, page_to_phys(block + i));
		if (err) {
			kup_say(why, "memory is too scattered to keep the running kernel in it");
			return err;
		}
		to += PAGE_SIZE;
		i++;
		left--;
		kup_kept.pages++;
	}
	return 0;
}

static int keep(const struct kimage *image, char *why)
{
	u32 i;
	int err;

	kup_kept.piece = kvmalloc_array(KUP_MAX_PIECES, sizeof(*kup_kept.piece), GFP_KERNEL);
	if (!kup_kept.piece)
		return -ENOMEM;
	err = copy_pages(image, why) ?: make_jump();
	for (i = 0; i < kup_kept.nr && !err; i++) {
		kup_kept.sum = kup_sum(__va(kup_kept.piece[i].from), kup_kept.piece[i].size, kup_kept.sum);
		cond_resched();
	}
	kup_kept.entry = image->start;
	return err;
}

/**
 * kup_keep - copy what kexec has loaded, for the way back
 */
int kup_keep(struct kup_fallback *f)
{
	struct kimage **image = (void *)kup_symbol("kexec_image");
	atomic_t *lock = (void *)kup_symbol("__kexec_lock");
	int err;

	lockdep_assert_held(&kup.lock);
	if (!f->seconds || !f->boot_seconds || f->zero)
		return -EINVAL;
	if (!image || !lock) {
		kup_say(f->why, "this kernel lacks %s", image ? "__kexec_lock" : "kexec_image");
		return -ENODEV;
	}
	kup_keep_forget();
	/* Nobody loads or unloads meanwhile. */
	if (atomic_cmpxchg_acquire(lock, 0, 1)) {
		kup_say(f->why, "kexec is busy");
		return -EBUSY;
	}
	if (*image) {
		err = keep(*image, f->why);
	} else {
		kup_say(f->why, "kexec has nothing loaded");
		err = -ENOENT;
	}
	atomic_set_release(lock, 0);
	if (err) {
		kup_keep_forget();
		return err;
	}
	kup_kept.seconds = f->seconds;
	kup_kept.boot_seconds = f->boot_seconds;
	f->pages = kup_kept.pages;
	return 0;
}

void kup_keep_forget(void)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &blocks, lru) {
		unsigned int order = page_private(page);

		list_del(&page->lru);
		set_page_private(page, 0);
		__free_pages(page, order);
	}
	kvfree(kup_kept.piece);
	kup_kept = (struct kup_kept) {};
}
