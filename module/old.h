/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the old side share. */
#ifndef KUP_OLD_H
#define KUP_OLD_H

#include <linux/hugetlb.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>

#include <kup/handover.h>
#include <kup/map.h>

#include "compat/compat.h"
#include "kup.h"
#include "vma.h"

/* window.c; all zero without a window. Under kup.lock. */
extern struct kup_window {
	u64 base, size;
	u64 area;		/* == base + size; KUP_AREA_SIZE bytes */
	u64 nonce;
	/* Bitmap of the frames that nobody had reserved when the window was taken: ordinary memory, whoever has reserved it since. */
	unsigned long *ram;
	u64 ram_end;
} kup_window;

void kup_window_free(void);

/* keep.c; all zero if nothing is kept. Under kup.lock. */
extern struct kup_kept {
	struct kup_piece *piece;
	u32 nr;
	u32 seconds, boot_seconds;
	u64 pages;
	u64 entry;
	u64 sum;		/* of what the pieces hold */
	u64 jump_code, jump_table[2];	/* as in the handover */
} kup_kept;

void kup_keep_forget(void);

static inline void *kup_area(void)
{
	return __va(kup_window.area);
}

/* What a page table entry of an anonymous mapping stands for. */
enum kup_page_kind {
	KUP_PAGE_NONE,
	KUP_PAGE_ZERO,		/* the shared page of zeros */
	KUP_PAGE_KEEP,		/* an anonymous page that only this entry maps: can be preserved */
	KUP_PAGE_SHARED,	/* one that others may map as well, since a fork; so nobody writes to it. Can be preserved, too */
	KUP_PAGE_MERGED,	/* by KSM: stays for CRIU */
	KUP_PAGE_PINNED,	/* a device may write to it */
	KUP_PAGE_SWAP,
	KUP_PAGE_OTHER,		/* a page of a file, a marker, a broken page: not ours */
};

static inline enum kup_page_kind kup_page_kind(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (!folio_test_anon(folio) || PageHWPoison(page) || is_zone_device_page(page))
		return KUP_PAGE_OTHER;
	if (folio_test_ksm(folio))
		return KUP_PAGE_MERGED;
	/* What is pinned is exclusive: fork copies it, and who pins a page for reading gets one of his own first. */
	if (!PageAnonExclusive(page))
		return KUP_PAGE_SHARED;
	return folio_maybe_dma_pinned(folio) ? KUP_PAGE_PINNED : KUP_PAGE_KEEP;
}

static inline bool kup_is_kept(enum kup_page_kind kind)
{
	return kind == KUP_PAGE_KEEP || kind == KUP_PAGE_SHARED;
}

/* Under the page table's lock. */
static inline enum kup_page_kind kup_pte_kind(pte_t pte)
{
	if (pte_none(pte))
		return KUP_PAGE_NONE;
	if (!pte_present(pte))
		return kup_compat_is_swap_pte(pte) ? KUP_PAGE_SWAP : KUP_PAGE_OTHER;
	if (is_zero_pfn(pte_pfn(pte)))
		return KUP_PAGE_ZERO;
	if (pte_special(pte) || !pfn_valid(pte_pfn(pte)))
		return KUP_PAGE_OTHER;
	return kup_page_kind(pfn_to_page(pte_pfn(pte)));
}

/*
 * An anonymous page by itself, that one entry maps and nobody has pinned: what nearly all are. False tells nothing. Not to be asked
 * about memory of a device.
 */
static inline bool kup_page_is_plain(struct page *page)
{
	unsigned long care = BIT(PG_head) | BIT(PG_anon_exclusive);

#ifdef CONFIG_MEMORY_FAILURE
	care |= BIT(PG_hwpoison);
#endif
	/* What only looks like a head (hugetlb's) has PG_head as well: so the bit of a tail is enough. */
	return (kup_compat_page_flags(page) & care) == BIT(PG_anon_exclusive) && !kup_compat_tail_bit(page) &&
	       folio_test_anon((struct folio *)page) && page_ref_count(page) < GUP_PIN_COUNTING_BIAS;
}

/* scan.c */
enum kup_page_kind kup_hugetlb_kind(pte_t entry);	/* of one of hugetlbfs: NONE, ZERO (the file's), KEEP, PINNED, SHARED by several or OTHER */
enum kup_page_kind kup_pmd_kind(pmd_t pmd);	/* of a huge entry, under its lock: of all 512 pages */

/* The mappings whose pages are preserved. All others stay for CRIU. */
static inline bool kup_vma_eligible(const struct vm_area_struct *vma)
{
	return vma->anon_vma && kup_vma_is_private(vma) && !(vma->vm_flags & (VM_EXEC | VM_SHADOW_STACK));
}

/**
 * kup_find_pmd - the middle entry for @addr
 * @next: out, where to go on: the end of what this entry or, if there is none, the missing upper one maps
 *
 * Return: NULL if there is none. Under mmap_lock.
 */
pmd_t *kup_find_pmd(struct mm_struct *mm, unsigned long addr, unsigned long *next);

/* The same for an entry of hugetlbfs whose pages are of @size: a middle one, or one above it. */
pte_t *kup_find_hugetlb(struct mm_struct *mm, unsigned long addr, unsigned long size, unsigned long *next);

/* Its lock, which is the one that the kernel takes for it. */
static inline spinlock_t *kup_lock_hugetlb(struct mm_struct *mm, pte_t *entry, unsigned long size)
{
	return size == PMD_SIZE ? pmd_lock(mm, (pmd_t *)entry) : pud_lock(mm, (pud_t *)entry);
}

/**
 * kup_refuse - can this address space not be preserved at all?
 *
 * Under mmap_lock. Return: 0, or -EBUSY with @why saying what is in the way.
 */
int kup_refuse(struct mm_struct *mm, char *why);

void kup_describe_vma(const struct vm_area_struct *vma, char *buf, size_t len);

/* Adds up what is mapped in @vma. Under mmap_lock. */
void kup_count_vma(struct vm_area_struct *vma, struct kup_scan *s, unsigned long *pinned_addr);

/* The leader and address space of a thread group; -ESRCH. The caller does mmput() and put_task_struct(). */
int kup_find_process(pid_t pid, struct task_struct **leader, struct mm_struct **mm);

/*
 * One chunk of a preserved process: what is not in its page tables.
 *
 *   HIDDEN_TABLE  a whole page table, taken off its middle entry, which is none until the table is back
 *   HIDDEN_PTES   some entries of a table that is in place; @ptes is a page of ours
 *   HIDDEN_HUGE   a huge entry; its deposited table stays with the page of middle entries
 *   HIDDEN_SPLIT  a huge entry that is back in place while a fault splits it
 *   HIDDEN_HUGETLB  one of hugetlbfs, which may be of many chunks (kup_hidden_size()). It goes back as a whole for who looks at it
 *                 (nr_moved is 1 then), and is hidden again
 *   HIDDEN_BACK   nothing: all is back in place
 */
enum kup_hidden_kind {
	HIDDEN_BACK,
	HIDDEN_TABLE,
	HIDDEN_PTES,
	HIDDEN_HUGE,
	HIDDEN_SPLIT,
	HIDDEN_HUGETLB,
};

struct kup_hidden {
	unsigned long addr;		/* chunk aligned */
	enum kup_hidden_kind kind;
	bool shared;			/* some are KUP_PAGE_SHARED, or were */
	bool gigantic;			/* HIDDEN_HUGETLB of 1 GiB */
	u32 nr_moved;			/* bits set in moved */
	pgprot_t prot;			/* of the VMA when hidden */
	union {
		pgtable_t table;
		pte_t *ptes;
		pmd_t pmd;
		pte_t huge;		/* HIDDEN_HUGETLB */
	};
	DECLARE_BITMAP(moved, PTRS_PER_PTE);	/* pages that a fault brought back */
};

static inline unsigned long kup_hidden_size(const struct kup_hidden *h)
{
	return h->gigantic ? PUD_SIZE : PMD_SIZE;
}

/* Pages that were brought back at once after the seal, each with a reference. */
struct kup_held {
	struct kup_held *next;
	unsigned int nr;
	struct page *page[];
};

/* A preserved process. */
struct kup_old_mm {
	struct kup_space space;
	struct mmu_notifier notifier;
	struct list_head node;		/* of kup_old_mms */
	struct mm_struct *mm;		/* holds mm_users from PRESERVE to ABORT */
	pid_t tgid;			/* in the initial pid namespace */
	char comm[TASK_COMM_LEN];
	bool thp_was_disabled;
	bool back;			/* all is as it was, for good */
	bool disturbed;			/* it ran: mapped, unmapped or forked while preserved */
	struct mutex fault_lock;	/* one fault at a time; outside lock */
	struct mutex lock;		/* of all below. Who changes something holds mmap_lock or a VMA's lock as well */
	struct kup_hidden *chunk;	/* sorted by addr */
	u32 nr_chunks, room;
	u32 nr_hugetlb, nr_gigantic;	/* of them, of hugetlbfs, of 2 MiB and of 1 GiB */
	pte_t *spare;			/* a zeroed page, or NULL */
	bool looked_at;			/* faults have brought pages back since pages were hidden last */
	bool sealed;			/* an entry whose page a fault brings back stays hidden too, and the page is held */
	struct kup_held *held;
	u64 pages, huge;		/* taken by PRESERVE */
};

extern struct list_head kup_old_mms;	/* preserve.c, under kup.lock */

/* What a file has in 2 MiB of it; each page with a reference of ours. */
struct kup_cached {
	struct list_head node;		/* of kup_old_shmem.cached, sorted by off */
	u64 off;
	unsigned int nr;
	u32 pfn[KUP_CHUNK_PAGES];	/* or KUP_PFN_NONE */
};

/* Preserved shared memory: a file of tmpfs or hugetlbfs. */
struct kup_old_shmem {
	struct list_head node;		/* of kup_old_shmems; readers: RCU */
	struct rcu_head rcu;
	struct file *file;
	const struct inode *inode;
	struct pid *owner;		/* process that asked for it; an address only, to compare */
	u32 id;
	char name[TASK_COMM_LEN];
	bool hugetlb, gigantic;		/* of hugetlbfs, and its pages are of 1 GiB */
	struct list_head cached;
	u32 nr_cached;
	u64 pages;
};

extern struct list_head kup_old_shmems;	/* shmem.c, under kup.lock */

/**
 * kup_shmem_hold_again - take the pages as the files have them now, which may be others than PRESERVE_SHMEM found
 *
 * kup.lock, sleeps. Return: 0, or a negative errno, maybe with @why; then those that were held are still.
 */
int kup_shmem_hold_again(char *why);
void kup_shmem_let_go(void);		/* of all files. kup.lock */

void kup_old_wait(bool disarmed);	/* preserve.c: until nothing of the last ABORT is left to do, but for the hook if not @disarmed */
int kup_check_frozen(struct mm_struct *mm, char *why);	/* preserve.c: -EBUSY with @why naming a thread that is not */

/* hidden.c */
extern const struct kup_space_ops kup_old_space_ops;
extern const struct mmu_notifier_ops kup_old_notifier_ops;

void kup_flush_all(struct mm_struct *mm);	/* with what the CPUs remember of upper levels: for tables that went away */
void kup_put_back_all(struct kup_old_mm *om);	/* mmap_lock for writing. All as before, sealed or not */
void kup_looks_reset(void);	/* pages that were looked at */
void kup_looks_status(struct kup_status *st);

/**
 * kup_hide_moved - take the pages that faults brought back out of the page tables again, and seal
 *
 * Return: 0 with om->sealed set: from here on every entry can be read in the chunks, whatever is touched; -EBUSY with @why if the
 * process ran meanwhile or a page cannot be taken any more; -EINTR.
 */
int kup_hide_moved(struct kup_old_mm *om, char *why);
void kup_unseal(struct kup_old_mm *om);

static inline pte_t *kup_hidden_ptes(const struct kup_hidden *h)
{
	return h->kind == HIDDEN_TABLE ? page_address(h->table) : h->ptes;
}

void kup_seal_undo(void);	/* seal.c: frees what SEAL made */

#endif
