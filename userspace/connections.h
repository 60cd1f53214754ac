/* SPDX-License-Identifier: GPL-2.0 */
/*
 * TCP connections that no task has: CRIU cannot carry them, and the peer of one would wait for an answer for good. So none is left
 * when the network closes.
 */
#ifndef KUP_CONNECTIONS_H
#define KUP_CONNECTIONS_H

#include "err.h"
#include "tree.h"

/**
 * kup_connections_accepted - wait until no connection waits to be accepted by a task of these trees, which are still running
 *
 * For who keeps new ones out meanwhile. One that is being opened is waited for, too, but not for long: its peer may never go on.
 *
 * Return: 0; -EBUSY with port and pid named, after a second; or another negative errno.
 */
int kup_connections_accepted(const struct kup_forest *forest, struct kup_err *err);

/**
 * kup_connections_flushed - wait until the peers have what was sent last to them, and that it was
 *
 * Of connections that were closed since. For who has stopped the tasks and has not closed the network. Gives up if a peer does not answer.
 */
void kup_connections_flushed(void);

#endif
