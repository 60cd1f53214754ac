/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's own list of sockets, where /proc does not say enough. */
#ifndef KUP_SOCKDIAG_H
#define KUP_SOCKDIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kup_unix_sock {
	uint32_t ino;
	uint32_t peer;		/* inode, 0: none */
	uint32_t waiting;	/* of one that listens: connections that nobody has accepted yet */
	uint32_t caller;	/* of one that listens, if exactly one waits: who connected, an inode. 0: it has closed it again */
	uint32_t unread;	/* of one that does not: bytes on their way to its peer */
};

/**
 * kup_sockdiag_unix - all unix sockets of this net namespace, with their peers
 * @socks: out, to free(), sorted by inode
 *
 * Return: 0 or a negative errno; -ENOENT if the kernel has no unix_diag.
 */
int kup_sockdiag_unix(struct kup_unix_sock **socks, size_t *nr);

const struct kup_unix_sock *kup_unix_find(const struct kup_unix_sock *socks, size_t nr, uint32_t ino);

/* A TCP socket for which connections wait that nobody has accepted yet. */
struct kup_listener {
	uint32_t ino;
	uint32_t waiting;
	uint16_t port;
};

struct kup_connections {
	struct kup_listener *listeners;	/* to free() */
	size_t nr;
	unsigned int opening;	/* connections whose peer has not confirmed yet */
	unsigned int closing;	/* that nobody has open any more, but whose peer has not confirmed all data and the end, and did not miss any so far */
};

/**
 * kup_sockdiag_connections - the TCP connections of this net namespace that no task has
 *
 * Return: 0 or a negative errno.
 */
int kup_sockdiag_connections(struct kup_connections *c);

/**
 * kup_sockdiag_has - does the kernel answer for this family? CRIU needs each of them
 * @family, @protocol: as in struct inet_diag_req_v2
 */
bool kup_sockdiag_has(int family, int protocol);

#endif
