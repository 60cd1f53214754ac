// SPDX-License-Identifier: GPL-2.0
/*
 * System V IPC, and message queues of POSIX. They belong to an IPC namespace, not to a process. The host's stays behind with what is in it.
 * One that a tree has to itself goes along: CRIU makes it anew. Of what may be in it only shared memory that somebody has attached is known
 * to arrive whole; it stays in place (shmem.h). The rest is refused.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "carry.h"
#include "util.h"

/* What a table of /proc/sysvipc has: of each line but the first, which is a heading, @what and the line itself. */
static int copy_table(int out, const char *path, const char *what)
{
	char *text = kup_slurp(path, NULL), *rest = text, *line;

	strsep(&rest, "\n");
	while (rest && (line = strsep(&rest, "\n")))
		if (*line && dprintf(out, "%s %s\n", what, line) < 0)
			break;
	free(text);
	return 0;
}

/* A file system shows the queues of POSIX. A kernel that doesn't have it has none. */
static int copy_queues(int out, const char *mounted_on)
{
	struct dirent *e;
	DIR *d;

	if (mount("mqueue", mounted_on, "mqueue", 0, NULL))
		return errno == ENODEV ? 0 : -errno;
	d = opendir(mounted_on);
	if (!d)
		return -errno;
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			dprintf(out, "mqueue %s\n", e->d_name);
	closedir(d);
	return 0;
}

/* In a process of its own, which is never seen outside. */
static int look_inside(int out, pid_t pid)
{
	char path[48];
	int ns;

	snprintf(path, sizeof(path), "/proc/%d/ns/ipc", pid);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWIPC) || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return -errno;
	copy_table(out, "/proc/sysvipc/sem", "sem");
	copy_table(out, "/proc/sysvipc/msg", "msg");
	copy_table(out, "/proc/sysvipc/shm", "shm");
	return copy_queues(out, "/sys");
}

/* A line for each thing that is in the namespace, for free(); NULL: that can't be told. */
static char *read_inside(pid_t pid)
{
	int fds[2], status = -1;
	char *text = NULL, path[32];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC))
		return NULL;
	child = fork();
	if (!child)
		_exit(look_inside(fds[1], pid) ? 1 : 0);
	close(fds[1]);
	if (child > 0) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
		text = kup_slurp(path, NULL);
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(fds[0]);
	if (status) {
		free(text);
		text = NULL;
	}
	return text;
}

static void refuse_inside(struct kup_carry *c, const struct kup_task *t, const char *line)
{
	unsigned long long bytes;
	char object[300];
	int id, attached;

	if (sscanf(line, "sem %*d %d", &id) == 1) {
		snprintf(object, sizeof(object), "System V semaphores %d", id);
		kup_refuse(c, t, object, "let it use futexes or POSIX semaphores", "what is to be undone of them at a process's end isn't carried by CRIU");
	} else if (sscanf(line, "msg %*d %d", &id) == 1) {
		snprintf(object, sizeof(object), "System V message queue %d", id);
		kup_refuse(c, t, object, "let it use a socket or a pipe", "who sent to it last, and when, isn't carried by CRIU");
	} else if (kup_starts(line, "mqueue ")) {
		snprintf(object, sizeof(object), "message queue /%s", line + strlen("mqueue "));
		kup_refuse(c, t, object, "let it use a socket or a pipe", "message queues of POSIX aren't carried by CRIU");
	} else if (sscanf(line, "shm %*d %d %*o %llu %*d %*d %d", &id, &bytes, &attached) == 3 && !attached) {
		snprintf(object, sizeof(object), "System V shared memory %d", id);
		kup_refuse(c, t, object, "ipcrm, or have a process attach it", "%llu KiB that nobody has attached", bytes >> 10);
	} else {
		kup_carried(c, "System V segment");
	}
}

/* Who else is in it; 0: nobody. */
static pid_t stranger_inside(const struct kup_tree *tree, const struct stat *ns)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	pid_t found = 0;

	while (proc && !found && (e = readdir(proc))) {
		char path[300];
		struct stat st;

		snprintf(path, sizeof(path), "/proc/%s/ns/ipc", e->d_name);
		if (isdigit((unsigned char)e->d_name[0]) && !stat(path, &st) && st.st_ino == ns->st_ino && !kup_tree_find(tree, atoi(e->d_name)))
			found = atoi(e->d_name);
	}
	if (proc)
		closedir(proc);
	return found;
}

static void look_own(struct kup_carry *c, const struct kup_task *t, const struct stat *its)
{
	const pid_t root = c->tree->tasks[0].pid;
	char path[48], comm[16], *text, *rest, *line;
	struct stat of_root;
	pid_t other;

	snprintf(path, sizeof(path), "/proc/%d/ns/ipc", root);
	if (stat(path, &of_root) || of_root.st_ino != its->st_ino) {
		kup_refuse(c, t, "ipc namespace", "name the process that made it", "it is another one than that of pid %d, which it descends from", root);
		return;
	}
	if (t->pid != root)
		return;
	other = stranger_inside(c->tree, its);
	if (other)
		kup_refuse(c, t, "ipc namespace", "name a process that all in it descend from", "pid %d (%s), of no or another tree, is in it as well",
			   other, kup_task_comm(other, comm));
	text = read_inside(t->pid);
	if (!text)
		kup_refuse(c, t, "ipc namespace", "run kup-ppp as root, outside of containers", "there is no looking into it");
	rest = text;
	while (rest && (line = strsep(&rest, "\n")))
		if (*line)
			refuse_inside(c, t, line);
	free(text);
	kup_carried(c, "IPC namespace");
}

static void look_hosts(struct kup_carry *c, const struct kup_task *t)
{
	char object[64];
	size_t i;

	for (i = 0; i < c->ipcs.nr; i++) {
		const struct kup_ipc *ipc = &c->ipcs.list[i];
		const bool sem = ipc->kind == 's';

		if (ipc->pid != t->pid)
			continue;
		snprintf(object, sizeof(object), "System V %s %d", sem ? "semaphores" : "message queue", ipc->id);
		kup_refuse(c, t, object, sem ? "let it use futexes or POSIX semaphores" : "let it use a socket or a pipe",
			   "outside an IPC namespace of its own it isn't carried by CRIU");
	}
}

void kup_carry_ipc(struct kup_carry *c, const struct kup_task *t)
{
	struct stat hosts, its;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/ns/ipc", t->pid);
	c->own_ipc = !stat("/proc/1/ns/ipc", &hosts) && !stat(path, &its) && its.st_ino != hosts.st_ino;
	if (c->own_ipc)
		look_own(c, t, &its);
	else
		look_hosts(c, t);
}
