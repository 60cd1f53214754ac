/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A child that watches over a switch: if the command dies in the middle of it (kill -9, out of memory), the guard becomes a
 * `kup-ppp abort`, so that nobody stays frozen. Nothing is left to do for it if the command puts everything back itself.
 */
#ifndef KUP_GUARD_H
#define KUP_GUARD_H

#include <sys/types.h>

#include "err.h"

struct kup_guard {
	pid_t pid;
	int line;	/* closed without a word: we died */
};

/* Return: 0 or a negative errno. */
int kup_guard_start(struct kup_guard *g, struct kup_err *err);

/* Everything is as it was. */
void kup_guard_end(struct kup_guard *g);

#endif
