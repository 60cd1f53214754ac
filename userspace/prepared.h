/* SPDX-License-Identifier: GPL-2.0 */
/* Everything that is done before the freeze, and what is remembered of it in the run directory. */
#ifndef KUP_PREPARED_H
#define KUP_PREPARED_H

#include <stdint.h>

#include "conf.h"
#include "err.h"
#include "kernel.h"
#include "steps.h"

struct json_object;
struct kup_image;

/**
 * kup_prepare - have the new kernel loaded into a window, next to a handover area
 * @dev: the module's device, in state IDLE or PREPARED
 * @conf: kernel, initrd, append, criu and profile_off count
 * @pools: of kup_hugetlb_pools()
 * @img: the kernel's image if it is open already, else NULL
 * @steps: what was done is added; nothing if it was prepared before for the same files and options
 * @result: out, what is remembered; to json_object_put(). Its fields: key, kernel, initrd, append, release, words, cmdline, profile, area,
 *	window_base, window_size, steps
 *
 * If it was prepared otherwise, that is undone first. Nothing stays prepared on failure.
 *
 * Return: 0 or a negative errno.
 */
int kup_prepare(int dev, const struct kup_conf *conf, unsigned int pools, const struct kup_kernel *kernel, struct kup_image *img,
		struct kup_steps *steps, struct json_object **result, struct kup_err *err);

/**
 * kup_unprepare - unload the kernel and forget; the module's part is ended by its ABORT
 */
void kup_unprepare(void);

/**
 * kup_prepared_for - what is remembered, if it is for exactly these files and options and still holds
 *
 * Return: for json_object_put(), or NULL.
 */
struct json_object *kup_prepared_for(int dev, const struct kup_conf *conf, const struct kup_kernel *kernel);

struct json_object *kup_prepared_read(void);	/* NULL if nothing is prepared */

/**
 * kup_window_size - how much memory the new kernel's segments need
 */
uint64_t kup_window_size(uint64_t load_start, uint64_t load_end, uint64_t initrd_size);

#endif
