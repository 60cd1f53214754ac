/* SPDX-License-Identifier: GPL-2.0 */
/* kexec-tools and the jump. */
#ifndef KUP_KEXEC_H
#define KUP_KEXEC_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "profile.h"

/*
 * kexec-tools puts an initrd for a kernel without a bzImage header below this, whatever --mem-max says; and its own
 * purgatory and boot parameters at the lowest free place of the window, which must lie below the kernel.
 */
#define KUP_KEXEC_LIMIT		0x38000000ull
#define KUP_KEXEC_LOW_ROOM	(2ull << 20)

/**
 * kup_kexec_cmdline - the command line of the new kernel, as the user wants it
 * @append: added if it isn't there yet, word by word; may be NULL
 * @pool: huge pages of 1 GiB come along: the new kernel is not to look for as many more when it boots, of memory that it does not have
 *
 * It is that of the running kernel, without what its boot loader and an earlier switch put there.
 *
 * Return: a string to free(), or NULL; @err says whether it is too long.
 */
char *kup_kexec_cmdline(const char *append, bool pool, struct kup_err *err);

/**
 * kup_kexec_cmdline_add - what is for this one switch: kup_ppp.area=, then the words of the profile
 * @cmdline: of kup_kexec_cmdline()
 *
 * Return: 0 or -E2BIG and @err.
 */
int kup_kexec_cmdline_add(char *cmdline, uint64_t area, const struct kup_profile *profile, struct kup_err *err);

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
