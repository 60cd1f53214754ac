/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Semaphores and message queues of System V. They belong to no process, so CRIU leaves them behind with the IPC namespace, and a
 * process that comes back would find none: who used one last is asked instead.
 */
#ifndef KUP_SYSVIPC_H
#define KUP_SYSVIPC_H

#include <stddef.h>
#include <sys/types.h>

struct kup_ipc {
	char kind;		/* 's' a set of semaphores, 'q' a message queue */
	int id;
	pid_t pid;		/* that changed it last; one entry for each */
};

struct kup_ipcs {
	struct kup_ipc *list;
	size_t nr;
};

int kup_ipcs_read(struct kup_ipcs *s);	/* 0, or a negative errno */
void kup_ipcs_free(struct kup_ipcs *s);

#endif
