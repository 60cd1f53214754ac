/* SPDX-License-Identifier: GPL-2.0 */
/* kexec-tools and the jump. */
#ifndef KUP_KEXEC_H
#define KUP_KEXEC_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

/*
 * kexec-tools puts an initrd for a kernel without a bzImage header below this, whatever --mem-max says; and its own
 * purgatory and boot parameters at the lowest free place of the window, which must lie below the kernel.
 */
#define KUP_KEXEC_LIMIT		0x38000000ull
#define KUP_KEXEC_LOW_ROOM	(2ull << 20)

/**
 * kup_kexec_load - load an ELF kernel into a window of physical memory
 * @elf: an open file
 * @base, @size: the window
 * @checks: have it hashed once more at the jump
 *
 * Return: 0 or a negative errno; the error has what kexec said.
 */
int kup_kexec_load(int elf, const char *initrd, const char *cmdline, uint64_t base, uint64_t size, bool checks,
		   struct kup_err *err);

void kup_kexec_unload(void);
bool kup_kexec_loaded(void);

/**
 * kup_kexec_jump - leave this kernel
 *
 * Return: a negative errno, or not at all.
 */
int kup_kexec_jump(struct kup_err *err);

#endif
