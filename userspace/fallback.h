/* SPDX-License-Identifier: GPL-2.0 */
/* The running kernel as what to come back to, if the new one fails before the applications run there for good. */
#ifndef KUP_FALLBACK_H
#define KUP_FALLBACK_H

#include <stdint.h>

#include "conf.h"
#include "err.h"
#include "kernel.h"

struct kup_image;

#define KUP_FALLBACK_SECONDS 60		/* without progress, unless configured otherwise; */
#define KUP_FALLBACK_BOOT_SECONDS 120	/* and from the jump to the adoption */

/* All zero: no fallback. */
struct kup_fallback_kernel {
	struct kup_kernel kernel;
	struct kup_image *img;
	uint64_t window_size;
};

/**
 * kup_fallback_find - find the running kernel's own image and initrd, without looking into them
 * @k: out, for kup_kernel_free()
 *
 * Return: 0 or a negative errno.
 */
int kup_fallback_find(const struct kup_conf *conf, struct kup_kernel *k, struct kup_err *err);

/**
 * kup_fallback_open - find and read them
 * @fb: out, for kup_fallback_close(); all zero if @conf wants none
 *
 * Return: 0 or a negative errno; -ENOEXEC if the image is of another kernel.
 */
int kup_fallback_open(const struct kup_conf *conf, struct kup_fallback_kernel *fb, struct kup_err *err);
void kup_fallback_close(struct kup_fallback_kernel *fb);

/**
 * kup_fallback_words - what else the command line of a kernel that takes over from a panic needs
 *
 * The next kernels' inherit it: they begin on the same CPU.
 *
 * Return: for free(), or NULL.
 */
char *kup_fallback_words(void);

#endif
