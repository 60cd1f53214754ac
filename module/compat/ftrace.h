/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KUP_COMPAT_FTRACE_H
#define KUP_COMPAT_FTRACE_H

#include <linux/ftrace.h>

/**
 * kup_compat_ftrace_arg - the @n-th argument (0 or 1) of the traced function
 *
 * ftrace_regs_get_argument() came with 6.2 ("ftrace: abstract DYNAMIC_FTRACE_WITH_ARGS accesses").
 */
static __always_inline unsigned long kup_compat_ftrace_arg(struct ftrace_regs *fregs, unsigned int n)
{
#ifdef ftrace_regs_get_argument
	return ftrace_regs_get_argument(fregs, n);
#else
	return n ? fregs->regs.si : fregs->regs.di;
#endif
}

/**
 * kup_compat_ftrace_go_to - let the traced function go on at @ip
 *
 * ftrace_instruction_pointer_set() was renamed in 6.2 ("ftrace: rename ftrace_instruction_pointer_set() ->
 * ftrace_regs_set_instruction_pointer()").
 */
static __always_inline void kup_compat_ftrace_go_to(struct ftrace_regs *fregs, unsigned long ip)
{
#ifdef ftrace_regs_set_instruction_pointer
	ftrace_regs_set_instruction_pointer(fregs, ip);
#else
	ftrace_instruction_pointer_set(fregs, ip);
#endif
}

#endif
