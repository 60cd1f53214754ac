/* SPDX-License-Identifier: GPL-2.0 */
/* Which mappings may have memory that is kept as a process's own, on either side. */
#ifndef KUP_VMA_H
#define KUP_VMA_H

#include <linux/fs.h>
#include <linux/mm.h>

/*
 * Is what a process writes there anonymous memory? So it is in private mappings, without a file or of one: those of a file have its
 * pages where nothing was written to.
 */
static inline bool kup_vma_is_private(const struct vm_area_struct *vma)
{
	const struct inode *inode = vma->vm_file ? file_inode(vma->vm_file) : NULL;

	if (vma->vm_flags & (VM_SHARED | VM_HUGETLB | VM_PFNMAP | VM_IO | VM_MIXEDMAP))
		return false;
	return inode ? S_ISREG(inode->i_mode) && !IS_DAX(inode) : !vma->vm_ops;
}

/* Has it pages of hugetlbfs that are the process's own? */
static inline bool kup_vma_is_hugetlb(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_HUGETLB && !(vma->vm_flags & VM_MAYSHARE);
}

#endif
