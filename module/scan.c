// SPDX-License-Identifier: GPL-2.0
/* Looks at a process without changing it: what PRESERVE would take, leave and refuse. */
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>

#include "old.h"

static pud_t *find_pud(struct mm_struct *mm, unsigned long addr, unsigned long *next)
{
	pgd_t *pgd = pgd_offset(mm, addr);
	p4d_t *p4d;

	*next = (addr & PGDIR_MASK) + PGDIR_SIZE;
	if (pgd_none(*pgd) || pgd_bad(*pgd))
		return NULL;
	p4d = p4d_offset(pgd, addr);
	*next = (addr & P4D_MASK) + P4D_SIZE;
	if (p4d_none(*p4d) || p4d_bad(*p4d))
		return NULL;
	*next = (addr & PUD_MASK) + PUD_SIZE;
	return pud_offset(p4d, addr);
}

pmd_t *kup_find_pmd(struct mm_struct *mm, unsigned long addr, unsigned long *next)
{
	pud_t *pud = find_pud(mm, addr, next);

	if (!pud || pud_none(*pud) || pud_bad(*pud))	/* or of 1 GiB */
		return NULL;
	*next = (addr & PMD_MASK) + PMD_SIZE;
	return pmd_offset(pud, addr);
}

pte_t *kup_find_hugetlb(struct mm_struct *mm, unsigned long addr, unsigned long size, unsigned long *next)
{
	return size == PMD_SIZE ? (pte_t *)kup_find_pmd(mm, addr, next) : (pte_t *)find_pud(mm, addr, next);
}

enum kup_page_kind kup_pmd_kind(pmd_t pmd)
{
	struct page *page = pmd_page(pmd);
	enum kup_page_kind kind;
	unsigned int i;

	/* Nothing else that is not anonymous is mapped huge in a mapping that is. */
	if (!folio_test_anon(page_folio(page)))
		return KUP_PAGE_ZERO;
	kind = kup_page_kind(page);
	/* Of a page that other processes have in pieces, each piece may be another case: but all are shared here. */
	for (i = 1; i < KUP_CHUNK_PAGES && kind == KUP_PAGE_SHARED; i++)
		if (PageHWPoison(page + i))
			kind = KUP_PAGE_OTHER;
	return kind;
}

enum kup_page_kind kup_hugetlb_kind(pte_t entry)
{
	struct folio *folio;

	if (pte_none(entry))
		return KUP_PAGE_NONE;
	if (!pte_present(entry) || !pte_huge(entry))
		return KUP_PAGE_OTHER;
	folio = page_folio(pte_page(entry));
	if (!folio_test_anon(folio))
		return KUP_PAGE_ZERO;
	if (folio_test_hwpoison(folio))
		return KUP_PAGE_OTHER;
	/* What is left of a fork is its own again, whatever it is marked as. */
	if (folio_entire_mapcount(folio) > 1)
		return KUP_PAGE_SHARED;
	return folio_maybe_dma_pinned(folio) ? KUP_PAGE_PINNED : KUP_PAGE_KEEP;
}

void kup_describe_vma(const struct vm_area_struct *vma, char *buf, size_t len)
{
	if (vma->vm_file)
		snprintf(buf, len, "%lx-%lx %pD2", vma->vm_start, vma->vm_end, vma->vm_file);
	else
		snprintf(buf, len, "%lx-%lx", vma->vm_start, vma->vm_end);
}

/* Has a process got pages there that cannot be kept? Those of a file are looked at with the file. */
static const char *refuse_hugetlb(struct mm_struct *mm, struct vm_area_struct *vma)
{
#ifdef CONFIG_HUGETLB_PAGE
	const unsigned long size = huge_page_size(hstate_vma(vma));
	unsigned long addr, next;

	if (!atomic_long_read(&mm->hugetlb_usage))
		return NULL;
	if (kup_hugetlb_missing())
		return "holds huge pages of hugetlbfs, with which this kernel's version is not known to go on";
	if (kup_kept.nr)
		return "holds huge pages of hugetlbfs, which cannot be had twice, as a fallback needs it";
	if (!kup_vma_is_hugetlb(vma) || !vma->anon_vma)
		return NULL;
	if (vma->vm_file->f_mapping->nrpages)
		return "holds huge pages of hugetlbfs of its own and such of a file";
	for (addr = vma->vm_start; addr < vma->vm_end; addr = next) {
		pte_t *entry = kup_find_hugetlb(mm, addr, size, &next);
		enum kup_page_kind kind = KUP_PAGE_NONE;
		spinlock_t *ptl;

		cond_resched();
		if (!entry)
			continue;
		ptl = kup_lock_hugetlb(mm, entry, size);
		kind = kup_hugetlb_kind(*entry);
		spin_unlock(ptl);
		if (kind == KUP_PAGE_SHARED)
			return "holds huge pages of hugetlbfs that fork has left to several processes";
		if (kind == KUP_PAGE_OTHER)
			return "holds a huge page of hugetlbfs that is broken or about to be moved";
	}
#endif
	return NULL;
}

static const char *refuse_vma(struct mm_struct *mm, struct vm_area_struct *vma)
{
	if (userfaultfd_armed(vma))
		return "is watched by userfaultfd";
	if (is_vm_hugetlb_page(vma))
		return refuse_hugetlb(mm, vma);
	/* Without a file it is vvar or the like, which CRIU knows. */
	if (vma->vm_flags & (VM_PFNMAP | VM_IO) && vma->vm_file)
		return "maps a device";
	return NULL;
}

int kup_refuse(struct mm_struct *mm, char *why)
{
	struct vm_area_struct *vma;
	char name[64];

	mmap_assert_locked(mm);
	if (kup_compat_is_mirrored(mm)) {
		kup_say(why, "a device or a virtual machine (KVM) mirrors its address space");
		return -EBUSY;
	}
	for (vma = find_vma(mm, 0); vma; vma = find_vma(mm, vma->vm_end)) {
		const char *reason = refuse_vma(mm, vma);

		if (reason) {
			kup_describe_vma(vma, name, sizeof(name));
			kup_say(why, "its mapping %s %s", name, reason);
			return -EBUSY;
		}
	}
	return 0;
}

/* How many entries have this page; good enough to tell how much memory all of them need. */
static unsigned int owners(struct page *page)
{
	struct folio *folio = page_folio(page);
	int nr = atomic_read(&page->_mapcount) + 1;

	return max(nr + (folio_test_large(folio) ? folio_entire_mapcount(folio) : 0), 1);
}

/* @page: NULL unless @kind is of one. */
static void count(struct vm_area_struct *vma, struct kup_scan *s, enum kup_page_kind kind, struct page *page, unsigned int nr)
{
	switch (kind) {
	case KUP_PAGE_SWAP:
		s->swapped_pages += nr;
		return;
	case KUP_PAGE_KEEP:
	case KUP_PAGE_SHARED:
	case KUP_PAGE_MERGED:
	case KUP_PAGE_PINNED:
		break;
	default:
		return;
	}
	s->anon_pages += nr;
	if (!kup_vma_eligible(vma) && !kup_vma_is_hugetlb(vma)) {
		if (vma->vm_file)
			s->filecow_pages += nr;
		else if (vma->vm_flags & VM_EXEC)
			s->exec_pages += nr;
	} else if (kind == KUP_PAGE_MERGED) {
		s->merged_pages += nr;
	} else if (kind == KUP_PAGE_PINNED) {
		s->pinned_pages += nr;
	} else {
		s->preserve_pages += nr;
		s->huge_pages += nr / KUP_CHUNK_PAGES;
		s->shared_pages += kind == KUP_PAGE_SHARED ? nr : 0;
		s->preserve_bytes += nr * PAGE_SIZE / (kind == KUP_PAGE_SHARED ? owners(page) : 1);
	}
}

static void count_hugetlb_vma(struct vm_area_struct *vma, struct kup_scan *s, unsigned long *pinned_addr)
{
	const unsigned long size = huge_page_size(hstate_vma(vma));
	unsigned long addr, next;

	for (addr = vma->vm_start; addr < vma->vm_end; addr = next) {
		pte_t *entry = kup_find_hugetlb(vma->vm_mm, addr, size, &next);
		enum kup_page_kind kind;
		spinlock_t *ptl;

		cond_resched();
		if (!entry)
			continue;
		ptl = kup_lock_hugetlb(vma->vm_mm, entry, size);
		kind = kup_hugetlb_kind(*entry);
		if (kind == KUP_PAGE_PINNED && !*pinned_addr)
			*pinned_addr = addr;
		count(vma, s, kind, kup_is_kept(kind) ? pte_page(*entry) : NULL, size >> PAGE_SHIFT);
		spin_unlock(ptl);
	}
}

void kup_count_vma(struct vm_area_struct *vma, struct kup_scan *s, unsigned long *pinned_addr)
{
	unsigned long addr, next;

	/* A page of this process alone can only be where it has an anon_vma. */
	if (!vma->anon_vma)
		return;
	if (is_vm_hugetlb_page(vma)) {
		count_hugetlb_vma(vma, s, pinned_addr);
		return;
	}
	for (addr = vma->vm_start; addr < vma->vm_end; addr = next) {
		pmd_t *pmd = kup_find_pmd(vma->vm_mm, addr, &next);
		enum kup_page_kind kind;
		spinlock_t *ptl;
		pte_t *pte;

		cond_resched();
		next = min(next, vma->vm_end);
		if (!pmd)
			continue;
		ptl = pmd_lock(vma->vm_mm, pmd);
		if (pmd_trans_huge(*pmd)) {
			kind = kup_pmd_kind(*pmd);
			if (kind == KUP_PAGE_PINNED && !*pinned_addr)
				*pinned_addr = addr;
			count(vma, s, kind, kup_is_kept(kind) ? pmd_page(*pmd) : NULL, KUP_CHUNK_PAGES);
			spin_unlock(ptl);
			continue;
		}
		spin_unlock(ptl);
		if (!pmd_present(*pmd))
			continue;
		pte = pte_offset_map_lock(vma->vm_mm, pmd, addr, &ptl);
		if (!pte)
			continue;
		for (; addr < next; addr += PAGE_SIZE, pte++) {
			kind = kup_pte_kind(*pte);
			if (kind == KUP_PAGE_PINNED && kup_vma_eligible(vma) && !*pinned_addr)
				*pinned_addr = addr;
			count(vma, s, kind, kup_is_kept(kind) ? pte_page(*pte) : NULL, 1);
		}
		pte_unmap_unlock(pte - 1, ptl);
	}
}

int kup_find_process(pid_t nr, struct task_struct **leader, struct mm_struct **mm)
{
	struct pid *pid = find_get_pid(nr);
	struct task_struct *task = get_pid_task(pid, PIDTYPE_TGID);

	put_pid(pid);
	if (!task)
		return -ESRCH;
	*mm = get_task_mm(task);
	if (!*mm) {
		put_task_struct(task);
		return -ESRCH;
	}
	*leader = task;
	return 0;
}

/**
 * kup_scan - what PRESERVE would do with this process; changes nothing
 */
int kup_scan(struct kup_scan *s)
{
	struct kup_scan found = { .size = s->size, .pid = s->pid };
	unsigned long pinned_addr = 0;
	struct vm_area_struct *vma;
	struct task_struct *leader;
	struct mm_struct *mm;
	int err;

	err = kup_find_process(s->pid, &leader, &mm);
	if (err)
		return err;
	*s = found;
	kup_old_wait(false);	/* our own notifier is none that mirrors */
	err = -EINTR;
	if (mmap_read_lock_killable(mm))
		goto put;
	for (vma = find_vma(mm, 0); vma; vma = find_vma(mm, vma->vm_end))
		kup_count_vma(vma, s, &pinned_addr);
	s->shmem_pages = get_mm_counter(mm, MM_SHMEMPAGES);
	err = kup_refuse(mm, s->why);
	mmap_read_unlock(mm);
	if (!err && s->pinned_pages) {
		kup_say(s->why, "%llu pages are pinned for DMA, the first at %lx", s->pinned_pages, pinned_addr);
		err = -EBUSY;
	}
put:
	mmput(mm);
	put_task_struct(leader);
	return err;
}
