/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Options of IP sockets that CRIU does not carry (all versions: TCP_USER_TIMEOUT, TCP_DEFER_ACCEPT, ...; some: TCP_NODELAY of one that is not
 * connected, IP_TOS). They are read from outside when all is frozen, and set before anything runs again. Connections of TCP get their segment
 * size back as well.
 */
#ifndef KUP_SOCKOPTS_H
#define KUP_SOCKOPTS_H

#include "tree.h"

struct json_object;

/**
 * kup_sockopts_read - what the sockets of a tree have set
 *
 * Return: array of { pid, fd, opts: [[level, name, "hex"], ...] } for json_object_put(), a socket once, however many hold it; only what
 * differs from a new socket's is in it, and connections of TCP.
 */
struct json_object *kup_sockopts_read(const struct kup_tree *tree);

/* What this kernel does not take stays as it is. */
void kup_sockopts_apply(struct json_object *sockets);

#endif
