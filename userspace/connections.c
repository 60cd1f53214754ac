// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "connections.h"
#include "holders.h"
#include "sockdiag.h"

#define POLL_MS		2
#define ACCEPT_MS	1000
#define PEER_MS		300	/* a peer that has not answered by now is not there */

static void pause_ms(unsigned int ms)
{
	const struct timespec t = { .tv_nsec = ms * 1000000L };

	nanosleep(&t, NULL);
}

/* The first of these that a task of a tree has, and the task; NULL: none is. */
static const struct kup_listener *ours(const struct kup_forest *forest, const struct kup_connections *c, const struct kup_task **task)
{
	const struct kup_listener *found = NULL;
	struct kup_holders holders;
	size_t i;

	if (!c->nr || kup_holders_read(&holders))
		return NULL;
	for (i = 0; i < c->nr && !found; i++) {
		const struct kup_holder *h;
		size_t n = kup_holders_find(&holders, 's', c->listeners[i].ino, &h);

		for (*task = NULL; n-- && !*task; h++)
			*task = kup_forest_find(forest, h->pid);
		if (*task)
			found = &c->listeners[i];
	}
	kup_holders_free(&holders);
	return found;
}

int kup_connections_accepted(const struct kup_forest *forest, struct kup_err *err)
{
	unsigned int waited;

	for (waited = 0;; waited += POLL_MS) {
		const struct kup_listener *l;
		const struct kup_task *task;
		struct kup_connections c;
		bool done;
		int ret = kup_sockdiag_connections(&c);

		if (ret)
			return kup_err_set(err, ret, "the kernel doesn't list its TCP sockets: %s", strerror(-ret));
		l = ours(forest, &c, &task);
		done = !l && (!c.opening || waited >= PEER_MS);
		if (l && waited >= ACCEPT_MS) {
			ret = kup_err_set(err, -EBUSY, "%s (%d) does not accept connections: %u wait on TCP port %u", task->comm, task->pid,
					  l->waiting, l->port);
			kup_err_next(err, "try again when it does");
		}
		free(c.listeners);
		if (done || ret)
			return ret;
		pause_ms(POLL_MS);
	}
}

void kup_connections_flushed(void)
{
	struct kup_connections c;
	unsigned int waited;

	for (waited = 0; waited < PEER_MS && !kup_sockdiag_connections(&c); waited += POLL_MS) {
		free(c.listeners);
		if (!c.closing)
			return;
		pause_ms(POLL_MS);
	}
}
