/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of the module share. One switch at a time: one struct kup_ctx, under one mutex.
 *
 * Who owns a preserved frame:
 *   old kernel   the process's mm, as before. PRESERVE moves the entries (or a whole page table) out of the page tables into
 *                a hidden table; mapcount, refcount, memcg charge, LRU and rss stay as they are. With no entry to be found,
 *                neither reclaim, migration nor KSM can take the frame. The module holds mm_users, so that exit waits.
 *                That of a file of tmpfs (shared memory): the file, as before, and a reference of the module's keeps it where it is.
 *   the jump     the handover: the stub reserves it before the new kernel's allocator exists.
 *   new kernel   PageReserved, refcount 1, owned by the handover; from ATTACH on by the struct kup_space of a process;
 *                from its binding on by the process's page tables, as any anonymous page; that of a file by the file, from
 *                ATTACH_SHMEM on. That of hugetlbfs is counted into the pool from ADOPT on, and the process's from ATTACH on.
 *                A page of 1 GiB that nobody had, or somebody who is not kept, is a free page of the pool from ADOPT on.
 */
#ifndef KUP_H
#define KUP_H

#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/types.h>

#include <kup/handover.h>
#include <kup/map.h>
#include <uapi/kup_ppp.h>

struct inode;
struct pid;
struct kup_space;

/**
 * struct kup_space_ops - how faults in a tracked address space are answered
 * @fault: sleepable, called before the kernel's own handler with the locks that handle_mm_fault() is entered with (mmap_lock for
 *	reading or, with FAULT_FLAG_VMA_LOCK, the VMA's lock). Returns 0 to go on to the kernel's handler with locks still held,
 *	or what handle_mm_fault() shall return (VM_FAULT_RETRY: the lock has been released, as that contract says).
 */
struct kup_space_ops {
	vm_fault_t (*fault)(struct kup_space *space, struct vm_area_struct *vma, unsigned long addr, unsigned int flags);
	/* before madvise() looks at [start, end); mmap_lock not held; NULL: nothing to do */
	int (*touch)(struct kup_space *space, unsigned long start, unsigned long end);
	/* before somebody reads in /proc/PID/pagemap which pages there are; mmap_lock not held; NULL: nothing to do */
	void (*look)(struct kup_space *space);
};

/* A process address space that the fault hook watches. Embedded in the old side's and the new side's own structures. */
struct kup_space {
	struct hlist_node node;
	struct mm_struct *mm;
	const struct kup_space_ops *ops;
	refcount_t users;		/* 1 for being registered, 1 for each handler inside */
	unsigned int seen;		/* hook.c */
	void (*free)(struct kup_space *space);	/* after the last user, may sleep */
};

/* hook.c: the one place that knows how faults are caught. */
int kup_hook_init(void);		/* resolve and choose; touches nothing */
int kup_hook_arm(void);			/* nests; sleeps. After it returns 0, every fault of a registered space is seen */
void kup_hook_disarm(void);		/* the last one removes the hooks and waits until nobody is inside them */
bool kup_hook_has_copy(void);		/* folio_mc_copy() can be left out, see hugetlb.c */
const char *kup_hook_name(void);	/* for struct kup_status */
int kup_space_register(struct kup_space *space);	/* -EEXIST if the mm is registered */
void kup_space_unregister(struct kup_space *space);	/* no new handler enters; drops the registration's reference */
struct kup_space *kup_space_get(struct mm_struct *mm);	/* NULL or a reference */
void kup_space_put(struct kup_space *space);

/* symbols.c: what the kernel does not export. See kup_syms in symbols.h. */
int kup_symbols_init(char *why, size_t len);	/* all or -ENODEV with the missing ones named */

/* shmem.c */
bool kup_is_hugetlbfs(const struct file *file);
bool kup_is_tmpfs(const struct file *file);		/* a regular file of it; shared memory is one, whatever it came from */
bool kup_shmem_is_kept(const struct file *file);	/* by PRESERVE_SHMEM. Any context, under RCU */
bool kup_descends_from(struct pid *tgid);		/* current, or is it. Any context, under RCU
						   @tgid: an address only, to compare */
bool kup_shmem_is_hidden(const struct inode *inode);	/* it is, and current is not to see its data */

/* hugetlb.c */
void kup_hugetlb_init(void);				/* at module init, after the hook's */
void kup_hugetlb_restorer(void);			/* current reads the store: it, or who descends from it, restores. kup.lock */
void kup_hugetlb_end(void);				/* it is restored, or given up. kup.lock, sleeps */
const char *kup_hugetlb_missing(void);			/* what this kernel lacks, or NULL */
bool kup_hugetlb_is_moving(unsigned long to);		/* current does, to this folio. Any context */
bool kup_hugetlb_is_filling(void);			/* current does: what it is about to clear is replaced right away. Any context */
bool kup_hugetlb_is_restoring(void);			/* current does, and what it maps of files is reserved later. Any context */
bool kup_hugetlb_reserves_none(const struct inode *inode, const struct vm_area_struct *vma);	/* current, by this mapping */
u64 kup_hugetlb_free(void);				/* free pages of the pool; of 2 MiB */
int kup_hugetlb_list(u32 **pfn, u32 *nr);		/* the first frames of all pages of 1 GiB, for kvfree(); sleeps */

struct kup_ctx {
	struct mutex lock;		/* all fields, all ioctls but STATUS, SCAN and DRAIN with WAIT */
	enum kup_state state;
	u32 stub_state;			/* of the last ADOPT, */
	char refused[KUP_WHY_LEN];	/* and why it was refused */
	struct kup_status counters;	/* what STATUS shows and does not compute; own side writes its fields, under @lock or atomically */
};
extern struct kup_ctx kup;

/* main.c. The one way to change kup.state; under kup.lock. Holds the module while the state is not IDLE. */
void kup_set_state(enum kup_state state);
unsigned long kup_max_pfn(void);	/* one past the last frame of RAM */

#define kup_say(why, fmt, ...) scnprintf(why, KUP_WHY_LEN, fmt, ##__VA_ARGS__)

/* Old side. All under kup.lock; each leaves the state as it was if it fails, else sets the next one itself (kup_set_state()). */
int kup_prepare(struct kup_prepare *p);			/* window.c */
int kup_scan(struct kup_scan *s);			/* scan.c; takes no kup.lock */
int kup_preserve(struct kup_preserve *p);		/* preserve.c */
int kup_preserve_shmem(struct kup_shmem *s);		/* shmem.c */
int kup_seal(struct kup_seal *s);			/* seal.c */
int kup_keep(struct kup_fallback *f);			/* keep.c */
void kup_old_abort(void);				/* PREPARED, PRESERVED, SEALED -> IDLE; cannot fail */
void kup_old_status(struct kup_status *st);
void kup_old_init(void);				/* at module init */
void kup_old_exit(void);				/* at module exit, in IDLE */

/* New side. */
int kup_adopt(struct kup_adopt *a);			/* adopt.c */
int kup_verify(struct kup_verify *v);			/* verify.c */
int kup_attach(struct kup_attach *a);			/* attach.c */
int kup_attach_shmem(struct kup_shmem *s);		/* shmem_attach.c */
int kup_commit(char *why);				/* attach.c */
int kup_drain(u32 flags);				/* drain.c; takes kup.lock itself, WAIT sleeps without it */
int kup_new_abort(char *why);				/* ADOPTED -> IDLE; -EBUSY if a process is attached */
void kup_new_status(struct kup_status *st);

/* fallback.c; under kup.lock, but for armed */
void kup_fallback_arm(struct kup_handover *h);
void kup_fallback_alive(void);
void kup_fallback_end(bool committed);
int kup_fallback_go(char *reason);			/* does not return, or -ENOENT */
bool kup_fallback_armed(void);				/* what was sealed must not be written to */
void kup_fallback_status(struct kup_status *st);

/* store.c: the stream's pages and the store. write() builds it on the old side, read() reads it on the new one. */
ssize_t kup_store_write(const char __user *buf, size_t len);
ssize_t kup_store_read(char __user *buf, size_t len, loff_t *pos);

/* verify.c: sum of the frames of a chunk whose payload is at @payload. Does not sleep, takes no lock */
u64 kup_chunk_sum(const struct kup_chunk *c, const void *payload);

/* netlock.c */
int kup_netlock(enum kup_netlock_mode mode);

#endif
