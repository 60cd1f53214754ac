/* SPDX-License-Identifier: GPL-2.0 */
/* The boot stub's object file, as it is. */
	.section .rodata
	.balign 16
	.globl kup_stub_blob, kup_stub_blob_end
kup_stub_blob:
	.incbin KUP_BOOTSTUB
kup_stub_blob_end:
	.section .note.GNU-stack, "", @progbits
