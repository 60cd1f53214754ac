/* SPDX-License-Identifier: GPL-2.0 */
/* /dev/kup_ppp: each call fills in the structure's size, and turns errno and `why` into an error for people. */
#ifndef KUP_DEVICE_H
#define KUP_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <uapi/kup_ppp.h>

#include "err.h"

/**
 * kup_device_open - open the module's device
 *
 * Return: a descriptor or a negative errno: -ENODEV if the module isn't loaded, -EPERM if we may not.
 */
int kup_device_open(struct kup_err *err);

int kup_device_status(int dev, struct kup_status *st, struct kup_err *err);
int kup_device_scan(int dev, pid_t pid, struct kup_scan *scan, struct kup_err *err);	/* -EBUSY: refused, scan->why says */
int kup_device_prepare(int dev, struct kup_prepare *p, struct kup_err *err);
int kup_device_preserve(int dev, pid_t pid, struct kup_preserve *p, struct kup_err *err);
int kup_device_preserve_shmem(int dev, int fd, uint32_t id, struct kup_shmem *s, struct kup_err *err);
int kup_device_seal(int dev, bool sums, struct kup_seal *s, struct kup_err *err);	/* @sums: of the memory, for kup_device_verify() */
int kup_device_abort(int dev, struct kup_err *err);
int kup_device_adopt(int dev, uint64_t area, struct kup_adopt *a, struct kup_err *err);	/* with the network lock */
int kup_device_verify(int dev, struct kup_verify *v, struct kup_err *err);	/* -EBADMSG: some memory changed; -ENODATA: no sums */
int kup_device_attach(int dev, pid_t pid, pid_t old_pid, struct kup_attach *a, struct kup_err *err);
int kup_device_attach_shmem(int dev, int fd, uint32_t id, pid_t pid, struct kup_shmem *s, struct kup_err *err);
int kup_device_commit(int dev, struct kup_err *err);
int kup_device_drain(int dev, uint32_t flags, struct kup_err *err);
int kup_device_keep(int dev, unsigned int seconds, unsigned int boot_seconds, struct kup_err *err);	/* what kexec has loaded, to fall back to */
int kup_device_fallback(int dev, enum kup_fallback_op op, const char *why, struct kup_err *err);	/* all but KEEP */
int kup_device_netlock(int dev, enum kup_netlock_mode mode, struct kup_err *err);

const char *kup_state_name(uint32_t state);
const char *kup_fallback_name(uint32_t fallback);

#endif
