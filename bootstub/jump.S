/* SPDX-License-Identifier: GPL-2.0 */
/*
 * kup_jump: runs in the jump's page, at its physical address, first with the page tables of the kernel that fell.
 *
 *   rdi  struct kup_piece[]	rsi  how many		rdx  page table, of as many levels as are in use, in which all memory stands at its
 *   rcx  where to go		r8   0; 1; or the physical address of the local APIC's registers	physical address
 *
 * 1. control registers as kexec's own code has them, and the other page table
 * 2. INIT to all other CPUs (r8: 0 none, 1 x2APIC)
 * 3. what is kept goes where it belongs; a piece that is there already stays
 * 4. to the entry, registers zero
 */
	.section .text.kup_jump, "ax"
	.code64
	.globl kup_jump, kup_jump_end
kup_jump:
	.byte	0xf3, 0x0f, 0x1e, 0xfa		/* endbr64 */
	cli
	cld
	movl	$0x400, %eax
	movq	%rax, %dr7
	movq	%cr4, %rax
	andl	$0x1060, %eax			/* LA57, MCE, PAE */
	movq	%rax, %cr4
	movq	%rdx, %cr3
	movq	%cr0, %rax
	andq	$~0x5000c, %rax			/* AM, WP, TS, EM */
	orl	$0x80000001, %eax		/* PG, PE */
	movq	%rax, %cr0
	leaq	kup_jump(%rip), %rsp
	addq	$4096, %rsp
	pushq	$0
	pushq	$0
	lidt	(%rsp)
	movq	%rdi, %rbx
	movq	%rsi, %rbp
	movq	%rcx, %r9
	movq	%rdx, %r10

	testq	%r8, %r8
	jz	2f
	movl	$0xc4500, %edi			/* all but self, assert, INIT */
	cmpq	$1, %r8
	jne	1f
	movl	$0x830, %ecx
	movl	%edi, %eax
	xorl	%edx, %edx
	wrmsr
	jmp	3f
1:	movl	%edi, 0x300(%r8)
3:	rdtsc					/* some milliseconds */
	shlq	$32, %rdx
	orq	%rdx, %rax
	leaq	20000000(%rax), %rsi
4:	pause
	rdtsc
	shlq	$32, %rdx
	orq	%rdx, %rax
	cmpq	%rsi, %rax
	jb	4b

2:	testq	%rbp, %rbp
	jz	5f
	movq	(%rbx), %rdi
	movq	8(%rbx), %rsi
	movq	16(%rbx), %rcx
	addq	$24, %rbx
	decq	%rbp
	cmpq	%rdi, %rsi
	je	2b
	shrq	$3, %rcx
	rep movsq
	jmp	2b

5:	movq	%r10, %cr3
	pushq	%r9
	xorl	%eax, %eax
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	xorl	%edx, %edx
	xorl	%esi, %esi
	xorl	%edi, %edi
	xorl	%ebp, %ebp
	xorl	%r8d, %r8d
	xorl	%r9d, %r9d
	xorl	%r10d, %r10d
	xorl	%r11d, %r11d
	xorl	%r12d, %r12d
	xorl	%r13d, %r13d
	xorl	%r14d, %r14d
	xorl	%r15d, %r15d
	ret
kup_jump_end:

/* What the kernel calls by pointer. */
	.section .text.kup_entries, "ax"
	.globl kup_fall_stop, kup_fall_stopped
kup_fall_stop:
	.byte	0xf3, 0x0f, 0x1e, 0xfa
	jmp	kup_stop
kup_fall_stopped:
	.byte	0xf3, 0x0f, 0x1e, 0xfa
	jmp	kup_stopped
	.section .note.GNU-stack, "", @progbits
