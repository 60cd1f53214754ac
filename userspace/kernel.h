/* SPDX-License-Identifier: GPL-2.0 */
/* Which kernel is next. */
#ifndef KUP_KERNEL_H
#define KUP_KERNEL_H

#include "err.h"

struct kup_kernel {
	char *vmlinuz;
	char *initrd;
};

/**
 * kup_kernel_choose - the kernel and initrd to jump into
 * @vmlinuz: as asked for, or NULL: the newest of /boot/vmlinuz-* and /usr/lib/modules/\*\/vmlinuz
 * @initrd: as asked for, or NULL: /boot/initrd.img-RELEASE of that kernel
 * @k: out, for kup_kernel_free()
 *
 * Return: 0 or a negative errno.
 */
int kup_kernel_choose(const char *vmlinuz, const char *initrd, struct kup_kernel *k, struct kup_err *err);
void kup_kernel_free(struct kup_kernel *k);

/**
 * kup_release_major_minor - 6.12.3-foo -> 6 * 1000 + 12; 0 if it is no release
 */
int kup_release_major_minor(const char *release);

#endif
