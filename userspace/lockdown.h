/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KUP_LOCKDOWN_H
#define KUP_LOCKDOWN_H

#include "err.h"

/**
 * kup_lockdown - is this kernel locked down, so that it loads no patched one?
 * @root: where /sys is: ""
 * @err: if so, its mode by name, and whether Secure Boot is on
 *
 * Secure Boot by itself is no hindrance: what it asks of the kernel is lockdown, and without that kexec works. A kernel without
 * lockdown, or a system without securityfs, is taken for one that is not locked down.
 *
 * Return: 0 or -EPERM.
 */
int kup_lockdown(const char *root, struct kup_err *err);

#endif
