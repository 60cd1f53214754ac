// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sem.h>

#include "sysvipc.h"
#include "util.h"

static int add(struct kup_ipcs *s, char kind, int id, pid_t pid)
{
	struct kup_ipc *more;

	if (pid <= 0)
		return 0;
	more = realloc(s->list, (s->nr + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	s->list = more;
	s->list[s->nr++] = (struct kup_ipc){ .kind = kind, .id = id, .pid = pid };
	return 0;
}

/* key semid perms nsems ... */
static int add_sem(struct kup_ipcs *s, const char *line)
{
	int id, nsems, i, ret = 0;

	if (sscanf(line, "%*d %d %*o %d", &id, &nsems) != 2)
		return 0;
	for (i = 0; i < nsems && !ret; i++)
		ret = add(s, 's', id, semctl(id, i, GETPID));
	return ret;
}

/* key msqid perms cbytes qnum lspid lrpid ... */
static int add_msg(struct kup_ipcs *s, const char *line)
{
	int id, sender, receiver, ret;

	if (sscanf(line, "%*d %d %*o %*u %*u %d %d", &id, &sender, &receiver) != 3)
		return 0;
	ret = add(s, 'q', id, sender);
	return ret ? ret : add(s, 'q', id, receiver);
}

int kup_ipcs_read(struct kup_ipcs *s)
{
	static const struct {
		const char *path;
		int (*one)(struct kup_ipcs *s, const char *line);
	} lists[] = { { "/proc/sysvipc/sem", add_sem }, { "/proc/sysvipc/msg", add_msg } };
	size_t i;
	int ret = 0;

	*s = (struct kup_ipcs){ 0 };
	for (i = 0; i < KUP_ARRAY_SIZE(lists) && !ret; i++) {
		char *text = kup_slurp(lists[i].path, NULL), *rest = text, *line;

		/* a kernel without has none; the first line is a heading, which no scan fits */
		while (!ret && rest && (line = strsep(&rest, "\n")))
			ret = lists[i].one(s, line);
		free(text);
	}
	if (ret)
		kup_ipcs_free(s);
	return ret;
}

void kup_ipcs_free(struct kup_ipcs *s)
{
	free(s->list);
	*s = (struct kup_ipcs){ 0 };
}
