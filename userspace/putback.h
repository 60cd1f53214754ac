/* SPDX-License-Identifier: GPL-2.0 */
/* The way back: the same for a switch that fails and for `kup-ppp abort` after one that was killed. */
#ifndef KUP_PUTBACK_H
#define KUP_PUTBACK_H

#include <stddef.h>

#include "cgroup.h"
#include "err.h"
#include "kup.h"

#define KUP_IMAGES_DIR	KUP_RUN_DIR "/images"

/**
 * kup_putback_note - remember what is about to be frozen, for kup_putback_read() in another process
 *
 * Return: 0 or a negative errno.
 */
int kup_putback_note(const struct kup_freeze *freeze, size_t nr, struct kup_err *err);

/**
 * kup_putback_read - what an interrupted switch has frozen
 * @freeze: out, array to free(); NULL if there is nothing
 */
size_t kup_putback_read(struct kup_freeze **freeze);

/**
 * kup_put_back - memory back in place, network open, tasks running where they were, kernel unloaded, images removed
 * @dev: the module's device, or -1 if it is gone
 * @freeze: released here
 *
 * Goes on after an error. Waits for a CRIU that still holds a task.
 *
 * Return: 0, or the first negative errno: then something is not as it was.
 */
int kup_put_back(int dev, struct kup_freeze *freeze, size_t nr, struct kup_err *err);

#endif
