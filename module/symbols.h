/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Functions of the kernel that it does not export.
 *
 * symbols.c gives the module a trampoline under the function's own name and points it at the kernel's function when the
 * module is loaded. So callers, and inline functions of the kernel's headers, call them as if they were exported, by a
 * direct jump: no indirect call, so nothing to trip over on a kernel with IBT whose unused ENDBRs are sealed.
 * Their addresses must not be taken: &func is the trampoline.
 *
 * To add one: a KUP_SYM() line in symbols-list.h, and here its prototype if only a private header of the kernel has it.
 */
#ifndef KUP_SYMBOLS_H
#define KUP_SYMBOLS_H

#include <linux/mm.h>

/* From mm/internal.h. */
void prep_compound_page(struct page *page, unsigned int order);
void pmd_install(struct mm_struct *mm, pmd_t *pmd, pgtable_t *pte);

/* From asm/tlbflush.h, which hides it from modules. */
#ifndef TLB_FLUSH_ALL
#define TLB_FLUSH_ALL	-1UL
#endif
void flush_tlb_mm_range(struct mm_struct *mm, unsigned long start, unsigned long end, unsigned int stride_shift,
			bool freed_tables);

/**
 * kup_symbol - address of a symbol of the running kernel
 *
 * For data, and for places to hook. Valid after kup_symbols_init().
 *
 * Return: 0 if there is none, or only one of this module.
 */
unsigned long kup_symbol(const char *name);

#endif
