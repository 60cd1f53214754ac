/* SPDX-License-Identifier: GPL-2.0 */
/* The command line of the new kernel. */
#ifndef KUP_CMDLINE_H
#define KUP_CMDLINE_H

#include <stdint.h>

#include "err.h"
#include "profile.h"

/**
 * kup_cmdline_new - as the user wants it
 * @running: that of the running kernel, as /proc/cmdline shows it: what its boot loader and an earlier switch put there is left out
 * @append: added if it isn't there yet, word by word; may be NULL
 * @pools: of kup_hugetlb_pools(): the new kernel is not to look for as many more of these pages when it boots, of memory that it does not have
 *
 * Return: a string to free(), with room for kup_cmdline_add(); or NULL, and @err says that it is too long.
 */
char *kup_cmdline_new(const char *running, const char *append, unsigned int pools, struct kup_err *err);

/**
 * kup_cmdline_add - what is for this one switch: kup_ppp.area=, then the words of the profile
 * @cmdline: of kup_cmdline_new()
 *
 * Return: 0 or -E2BIG and @err.
 */
int kup_cmdline_add(char *cmdline, uint64_t area, const struct kup_profile *profile, struct kup_err *err);

#endif
