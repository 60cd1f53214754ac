// SPDX-License-Identifier: GPL-2.0
/*
 * From a record of the handover to a process that waits for its memory, and the two ways on: COMMIT and ABORT.
 *
 * ATTACH, with mmap_lock of the stopped process held for writing and all faults under VMA locks waited for:
 * 1. each preserved address must lie in a private VMA, and these VMAs get an anon_vma now: fork looks at it to decide whether there
 *    is anything to copy. Those that share frames with a process that is attached already become relatives
 *    of its VMAs (share.c);
 * 2. notifier, THP off, registration with the fault hook: from here on whoever touches a chunk binds it;
 * 3. pages that are there already (the kernel wrote rseq, the restorer its own things) are zapped: the preserved frame
 *    wins. They are not bound now: until COMMIT a failed restore can be tried again with everything still in the handover;
 * 4. each thread is told to write its rseq area anew, since what the old kernel wrote there comes back.
 * Huge pages of hugetlbfs come last, and at once: hugetlb.c.
 */
#include <linux/mm.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/timekeeping.h>

#include "compat/anon.h"
#include "compat/compat.h"
#include "kup.h"
#include "space.h"
#include "symbols.h"
#include "vma.h"

static void free_attached(struct kup_space *space)
{
	kfree(container_of(space, struct kup_attached, space));
}

/* Out of reach of the hook and of the notifier. */
static void unregister(struct kup_attached *att)
{
	struct mm_struct *mm = att->space.mm;

	refcount_inc(&att->space.users);	/* the notifier is part of it */
	kup_space_unregister(&att->space);	/* first: the notifier's reference keeps the mm's address from being reused */
	mmu_notifier_unregister(&att->notifier, mm);
	kup_hook_disarm();
	kup_space_put(&att->space);
}

void kup_detach(struct kup_attached *att)
{
	lockdep_assert_held(&kup.lock);
	att->rec->att = NULL;
	unregister(att);
}

bool kup_is_dead(const struct kup_attached *att)
{
	return smp_load_acquire(&att->dead);
}

struct kup_record *kup_find_record(u32 nr, u32 kind)
{
	u32 i;

	for (i = 0; i < kup_new.h->nr_mms; i++)
		if (kup_new.rec[i].mm->pid == nr && kup_record_of(kup_new.rec[i].mm) == kind)
			return &kup_new.rec[i];
	return NULL;
}

/* What a process has of hugetlbfs is in records of their own. */
static const u32 of_hugetlb[] = { KUP_MM_HUGETLB, KUP_MM_HUGETLB | KUP_MM_GIGANTIC };

/* The record, if it is free and all there. */
static int claim(struct kup_attach *a, struct kup_record **out)
{
	struct kup_record *rec = kup_find_record(a->old_pid, 0), *huge;
	unsigned int i;
	int lost;

	if (!rec) {
		kup_say(a->why, "the handover has no process %u", a->old_pid);
		return -ENOENT;
	}
	if (rec->att && kup_is_dead(rec->att))
		kup_detach(rec->att);
	if (rec->att) {
		kup_say(a->why, "process %u of the handover is attached to pid %d", a->old_pid, rec->att->pid);
		return -EBUSY;
	}
	lost = atomic_read(&rec->nr_done);
	for (i = 0; i < ARRAY_SIZE(of_hugetlb); i++) {
		huge = kup_find_record(a->old_pid, of_hugetlb[i]);
		lost += huge ? atomic_read(&huge->nr_done) : 0;
	}
	if (lost) {
		kup_say(a->why, "%d chunks of process %u went to a process that ended: they are lost", lost, a->old_pid);
		return -EBUSY;
	}
	*out = rec;
	return 0;
}

/* Every page of the chunk in a VMA that fits. */
static int check_chunk(struct mm_struct *mm, const struct kup_chunk *c, u32 *pfns, char *why)
{
	struct vm_area_struct *vma = vma_lookup(mm, c->addr);
	unsigned int i;

	if (vma && kup_vma_is_private(vma) && vma->vm_end >= c->addr + KUP_CHUNK_SIZE)
		return 0;
	kup_chunk_decode(c, kup_new.stream.base, kup_new.stream.maps_size, pfns);
	for (i = 0; i < KUP_CHUNK_PAGES; i++) {
		unsigned long addr = c->addr + i * PAGE_SIZE;

		if (!pfns[i])
			continue;
		if (!vma || addr < vma->vm_start || addr >= vma->vm_end)
			vma = vma_lookup(mm, addr);
		if (!vma || !kup_vma_is_private(vma)) {
			kup_say(why, "no private mapping at %#lx", addr);
			return -EADDRNOTAVAIL;
		}
	}
	return 0;
}

static void wait_for_faults(struct mm_struct *mm)
{
	struct vm_area_struct *vma;
	VMA_ITERATOR(vmi, mm, 0);

	for_each_vma(vmi, vma)
		kup_compat_vma_start_write(vma);
}

static int prepare_vmas(struct mm_struct *mm, const struct kup_record *rec, u32 *pfns, char *why)
{
	int err;
	u32 i;

	for (i = 0; i < rec->mm->nr_chunks; i++) {
		err = check_chunk(mm, &rec->chunks[i], pfns, why);
		if (err)
			return err;
	}
	wait_for_faults(mm);
	err = kup_share_relate(mm, rec);
	for (i = 0; i < rec->mm->nr_chunks && !err; i++)
		err = kup_prepare_vmas(mm, &rec->chunks[i]);
	return err;
}

static pmd_t *find_pmd(struct mm_struct *mm, unsigned long addr)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;

	if (pgd_none(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return NULL;
	pud = pud_offset(p4d, addr);
	if (pud_none(*pud))
		return NULL;
	pmd = pmd_offset(pud, addr);
	return pmd_none(*pmd) ? NULL : pmd;
}

/* How many of @nr pages from @addr on are there, within one table. */
static unsigned int count_present(struct mm_struct *mm, pmd_t *pmd, unsigned long addr, unsigned int nr)
{
	unsigned int i, present = 0;
	spinlock_t *ptl;
	pte_t *pte;

	if (pmd_none(*pmd))
		return 0;
	if (pmd_trans_huge(*pmd))
		return nr;
	pte = pte_offset_map_lock(mm, pmd, addr, &ptl);
	if (!pte)
		return 0;
	for (i = 0; i < nr; i++)
		present += !pte_none(pte[i]);
	pte_unmap_unlock(pte, ptl);
	return present;
}

static u64 zap_present(struct mm_struct *mm, const struct kup_chunk *c, u32 *pfns)
{
	pmd_t *pmd = find_pmd(mm, c->addr);
	unsigned int i, n;
	u64 zapped = 0;

	if (!pmd)
		return 0;
	kup_chunk_decode(c, kup_new.stream.base, kup_new.stream.maps_size, pfns);
	for (i = 0; i < KUP_CHUNK_PAGES; i += n) {
		unsigned long addr = c->addr + i * PAGE_SIZE;
		struct vm_area_struct *vma;
		unsigned int present;

		n = 1;
		if (!pfns[i])
			continue;
		vma = vma_lookup(mm, addr);
		while (i + n < KUP_CHUNK_PAGES && pfns[i + n] && addr + n * PAGE_SIZE < vma->vm_end)
			n++;
		present = count_present(mm, pmd, addr, n);
		if (present)
			kup_compat_zap(vma, addr, n * PAGE_SIZE);
		zapped += present;
	}
	return zapped;
}

static int attach_mm(struct kup_attach *a, struct kup_attached *att, u32 *pfns)
{
	struct kup_record *rec = att->rec;
	struct mm_struct *mm = att->space.mm;
	int err;
	u32 i;

	kup_share_hold(rec);
	if (mmap_write_lock_killable(mm)) {
		err = -EINTR;
		goto let_go;
	}
	err = prepare_vmas(mm, rec, pfns, a->why);
	if (err)
		goto unlock;
	err = __mmu_notifier_register(&att->notifier, mm);
	if (err)
		goto unlock;
	err = kup_space_register(&att->space);
	if (err) {
		mmap_write_unlock(mm);
		mmu_notifier_unregister(&att->notifier, mm);
		kup_say(a->why, "another process of the handover has the memory of pid %d", a->pid);
		err = -EBUSY;
		goto let_go;
	}
	kup_compat_set_thp_disabled(mm, true);
	for (i = 0, a->replaced = 0; i < rec->mm->nr_chunks; i++)
		a->replaced += zap_present(mm, &rec->chunks[i], pfns);
unlock:
	mmap_write_unlock(mm);
let_go:
	kup_share_let_go();
	return err;
}

static void kick_threads(struct task_struct *task)
{
	struct task_struct *t;

	rcu_read_lock();
	for_each_thread(task, t)
		kup_compat_rseq_kick(t);
	rcu_read_unlock();
}

static int attach_task(struct kup_attach *a, struct task_struct *task, struct kup_record *rec)
{
	struct mm_struct *mm = get_task_mm(task);
	struct kup_attached *att;
	struct kup_record *huge;
	unsigned int i;
	u32 *pfns;
	int err = -ENOMEM;

	if (!mm) {
		kup_say(a->why, "pid %d has no memory", a->pid);
		return -ESRCH;
	}
	att = kzalloc(sizeof(*att), GFP_KERNEL);
	pfns = kmalloc_array(KUP_CHUNK_PAGES, sizeof(*pfns), GFP_KERNEL);
	if (!att || !pfns)
		goto out;
	att->space = (struct kup_space) { .mm = mm, .ops = &kup_attached_ops, .free = free_attached };
	att->notifier.ops = &kup_notifier_ops;
	att->rec = rec;
	att->pid = task_pid_nr(task);
	err = kup_hook_arm();
	if (err) {
		kup_say(a->why, "cannot hook page faults: error %d", err);
		goto out;
	}
	err = attach_mm(a, att, pfns);
	if (err) {
		kup_hook_disarm();
		goto out;
	}
	rec->att = att;
	att = NULL;
	kick_threads(task);
	a->pages = rec->mm->nr_pages;
	for (i = 0; i < ARRAY_SIZE(of_hugetlb) && !err; i++) {
		huge = kup_find_record(a->old_pid, of_hugetlb[i]);
		if (!huge)
			continue;
		a->pages += huge->mm->nr_pages;
		err = kup_hugetlb_attach(mm, huge, a->why);
	}
out:
	kfree(pfns);
	kfree(att);
	mmput(mm);
	return err;
}

int kup_attach(struct kup_attach *a)
{
	struct kup_record *rec;
	struct task_struct *task;
	struct pid *pid;
	int err;

	lockdep_assert_held(&kup.lock);
	err = claim(a, &rec);
	if (err)
		return err;
	pid = find_get_pid(a->pid);
	task = get_pid_task(pid, PIDTYPE_TGID);
	put_pid(pid);
	if (!task) {
		kup_say(a->why, "there is no process %d", a->pid);
		return -ESRCH;
	}
	err = attach_task(a, task, rec);
	put_task_struct(task);
	return err;
}

int kup_commit(char *why)
{
	int err;

	lockdep_assert_held(&kup.lock);
	err = kup_drain_start();
	if (err) {
		kup_say(why, "no thread to bind memory in the background: error %d", err);
		return err;
	}
	kup_hugetlb_end();
	kup_fallback_end(true);
	kup_new.commit_ns = ktime_get_ns();
	kup_set_state(KUP_STATE_DRAINING);
	kup_drain_go();
	return 0;
}

int kup_new_abort(char *why)
{
	u32 i;

	lockdep_assert_held(&kup.lock);
	for (i = 0; i < kup_new.h->nr_mms; i++) {
		struct kup_attached *att = kup_new.rec[i].att;

		if (att && !kup_is_dead(att)) {
			kup_say(why, "process %d is attached: end it first", att->pid);
			return -EBUSY;
		}
	}
	kup_hugetlb_end();
	kup_fallback_end(false);
	for (i = 0; i < kup_new.h->nr_mms; i++) {
		if (kup_new.rec[i].att)
			kup_detach(kup_new.rec[i].att);
		kup_drop_record(&kup_new.rec[i]);
	}
	kup_release_handover();
	return 0;
}
