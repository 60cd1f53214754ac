/* SPDX-License-Identifier: GPL-2.0 */
/* What the machine must bring along: rights, module, tools, and a kernel to go to. */
#ifndef KUP_HOST_H
#define KUP_HOST_H

#include <stdint.h>

#include "conf.h"
#include "criu.h"
#include "kernel.h"

struct json_object;
struct kup_image;

struct kup_host {
	int dev;			/* -1: no module */
	struct kup_criu criu;
	struct kup_kernel kernel;
	struct kup_image *img;		/* NULL: refused, or prepared already */
	uint64_t window_size;
	struct json_object *facts;	/* what was found */
	struct json_object *refused;	/* array of { object, why, next } */
};

/**
 * kup_host_look - look at everything, and go on after a refusal
 * @h: out, for kup_host_free(); h->refused is empty if all is well
 */
void kup_host_look(const struct kup_conf *conf, struct kup_host *h);
void kup_host_free(struct kup_host *h);

/**
 * kup_host_memory - is there room for a new kernel besides what stays in place?
 * @preserve_bytes: of all processes
 */
void kup_host_memory(struct kup_host *h, uint64_t preserve_bytes);

/**
 * kup_host_refused - as kup_carry_refused(), for the machine
 */
size_t kup_host_refused(const struct kup_host *h, struct kup_err *err);

#endif
