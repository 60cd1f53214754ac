/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The new side's own structures: the handover that was adopted, what belongs to which process, and what is unbound.
 *
 * Lives of a chunk: UNBOUND until somebody has its `busy` bit and finds its `done` bit clear, binds or drops it, and sets
 * `done`. It never goes back. The busy bit is held by tasks that hold mmap_lock of that mm (for reading or writing), or after
 * its last user has gone; its holder takes page table locks, but never enters reclaim, so who waits for it may hold anything.
 * While there may be a fallback, a chunk is bound with copies: its frames are freed when the record is dropped, after COMMIT.
 * A frame that has several owners has a life of its own, until the last of them has bound or dropped it: share.c.
 *
 * Lives of a record: free; attached (space); free again if its process ended before COMMIT, but then not one chunk may be
 * done, or it cannot be attached again.
 *
 * Locks, outer first: kup.lock, mmap_lock (for ATTACH, that of another owner inside), busy bit, page table locks.
 */
#ifndef KUP_SPACE_H
#define KUP_SPACE_H

#include <linux/atomic.h>
#include <linux/mmu_notifier.h>
#include <linux/types.h>

#include "kup.h"
#include "stream.h"

struct kup_attached;

/* One process of the handover, or a file in memory: then nobody attaches it, and its chunks are done one after the other. */
struct kup_record {
	const struct kup_mm_record *mm;
	const struct kup_chunk *chunks;
	unsigned long *busy;		/* bit locks, one a chunk */
	unsigned long *done;		/* bound or dropped */
	unsigned long *copied;		/* done with copies: the frames are still the handover's */
	bool in_pool;			/* of hugetlbfs: its frames are counted as free pages of the pool, until they are done */
	atomic_t nr_done;
	struct kup_attached *att;	/* kup.lock; NULL: no process has it */
	struct mm_struct *held;		/* kup.lock; by share.c, while ATTACH has another record */
	struct file *file;		/* kup.lock; of shared memory: to which it was given, until COMMIT or ABORT are done with it */
};

/* A process that has a record. */
struct kup_attached {
	struct kup_space space;
	struct mmu_notifier notifier;
	struct kup_record *rec;
	pid_t pid;			/* in the initial namespace, for messages */
	bool dead;			/* the mm has no user any more */
};

/* What was adopted. Fields are written under kup.lock; from ADOPT until all is given back they stand still. */
struct kup_adopted {
	struct kup_handover *h;		/* in the direct map */
	struct kup_stream stream;
	struct kup_record *rec;		/* [h->nr_mms] */
	u64 commit_ns, done_ns;		/* of COMMIT, and of the last chunk */
	atomic64_t unbound, bound, bound_huge, fault_binds, dropped, shared, parted;
};
extern struct kup_adopted kup_new;

/* bind.c */
int kup_bind_chunk(struct kup_attached *att, u32 i);
int kup_bind_range(struct kup_attached *att, unsigned long start, unsigned long end);
void kup_drop_record(struct kup_record *rec);
void kup_free_frame(struct page *page);
void kup_drop_frame(struct page *page);			/* zeroes, frees and counts it */
bool kup_chunk_begin(struct kup_record *rec, u32 i);	/* takes the busy bit; false if the chunk is done. Sleeps */
void kup_chunk_end(struct kup_record *rec, u32 i);	/* it is done; gives the busy bit back */
void kup_charge(struct folio *folio);	/* to the active memcg */
int kup_prepare_vmas(struct mm_struct *mm, const struct kup_chunk *c);	/* an anon_vma where it has pages; mmap_lock. 0 or -ENOMEM */
extern const struct mmu_notifier_ops kup_notifier_ops;
extern const struct kup_space_ops kup_attached_ops;

static inline bool kup_chunk_done(const struct kup_record *rec, u32 i)
{
	return test_bit(i, rec->done);
}

/* For messages. */
static inline const char *kup_record_kind(const struct kup_record *rec)
{
	return kup_is_shmem(rec->mm) ? "shared memory" : rec->mm->flags & KUP_MM_POOL ? "pool" :
	       rec->mm->flags & KUP_MM_HUGETLB ? "huge pages of process" : "process";
}

static inline bool kup_record_done(const struct kup_record *rec)
{
	return atomic_read(&rec->nr_done) == rec->mm->nr_chunks;
}

/* share.c */

/**
 * kup_share_claim - may this VMA have the frame itself, at @addr?
 *
 * The caller holds mmap_lock, and a reference of an owner: the answer stays the same until that is bound or dropped. The first who asks
 * may.
 */
bool kup_share_claim(struct page *page, struct vm_area_struct *vma, unsigned long addr);

/**
 * kup_share_map - the rest of binding a frame that was claimed, but the entry: charge, rmap, LRU
 *
 * Under the lock of the table. An owner's reference goes to the entry.
 *
 * Return: true if it was the first one; then the caller counts it as managed, and as NR_ANON_MAPPED.
 */
bool kup_share_map(struct page *page, struct vm_area_struct *vma, unsigned long addr);
void kup_share_drop(struct page *page);	/* an owner's reference. Atomic context */

/* The address spaces of all other records that are attached stay; around mmap_lock of the one that is. kup.lock */
void kup_share_hold(struct kup_record *rec);
void kup_share_let_go(void);

/**
 * kup_share_relate - make the VMAs of this record relatives of those with which they share frames
 *
 * mmap_lock for writing, between kup_share_hold() and kup_share_let_go(). VMAs that have an anon_vma stay as they are.
 *
 * Return: 0 or -ENOMEM.
 */
int kup_share_relate(struct mm_struct *mm, const struct kup_record *rec);

/* attach.c */
struct kup_record *kup_find_record(u32 nr, u32 kind);	/* kup_record_of() it; NULL: there is none. kup.lock */
bool kup_is_dead(const struct kup_attached *att);	/* its process is gone, and touches no memory any more */
void kup_detach(struct kup_attached *att);	/* all done, or nobody left to use it; kup.lock, sleeps */

/* hugetlb.c; kup.lock */
void kup_hugetlb_adopt(void);				/* all records that are of it; sleeps */
void kup_hugetlb_drop(struct kup_record *rec, u32 i);	/* the @i-th chunk of one in the pool; any process context. The first of a page has all of it */
int kup_hugetlb_attach(struct mm_struct *mm, struct kup_record *rec, char *why);	/* eager: all of it */
int kup_hugetlb_attach_file(struct kup_shmem *s, struct kup_record *rec);

/* adopt.c */
void kup_release_handover(void);		/* every record done: what is left goes to the kernel, state IDLE */

/* drain.c */
int kup_drain_start(void);			/* makes the thread */
void kup_drain_go(void);			/* lets it run */
void kup_drain_kick(void);			/* a process ended, or has all its memory. Any context */
bool kup_drain_held(void);

#endif
