// SPDX-License-Identifier: GPL-2.0
#include "holders.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int compare(const void *va, const void *vb)
{
	const struct kup_holder *a = va, *b = vb;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	return (a->pid > b->pid) - (a->pid < b->pid);
}

static int add(struct kup_holders *h, size_t *room, struct kup_holder one)
{
	if (h->nr == *room) {
		struct kup_holder *more = realloc(h->list, (*room ? *room * 2 : 256) * sizeof(*more));

		if (!more)
			return -ENOMEM;
		h->list = more;
		*room = *room ? *room * 2 : 256;
	}
	h->list[h->nr++] = one;
	return 0;
}

static int add_process(struct kup_holders *h, size_t *room, pid_t pid)
{
	struct dirent *f;
	char text[64];
	int ret = 0;
	DIR *fds;

	snprintf(text, sizeof(text), "/proc/%d/fd", pid);
	fds = opendir(text);
	while (!ret && fds && (f = readdir(fds))) {
		ssize_t n = readlinkat(dirfd(fds), f->d_name, text, sizeof(text) - 1);
		struct kup_holder one = { .pid = pid };

		if (n <= 0)
			continue;
		text[n] = '\0';
		if (sscanf(text, "pipe:[%" SCNu64 "]", &one.ino) == 1)
			one.kind = 'p';
		else if (sscanf(text, "socket:[%" SCNu64 "]", &one.ino) == 1)
			one.kind = 's';
		if (one.kind)
			ret = add(h, room, one);
	}
	if (fds)
		closedir(fds);
	return ret;
}

int kup_holders_read(struct kup_holders *h)
{
	DIR *proc = opendir("/proc");
	struct dirent *p;
	size_t room = 0;
	int ret = 0;

	*h = (struct kup_holders){ 0 };
	if (!proc)
		return -errno;
	while (!ret && (p = readdir(proc)))
		if (isdigit((unsigned char)p->d_name[0]) && atoi(p->d_name) != getpid())
			ret = add_process(h, &room, atoi(p->d_name));
	closedir(proc);
	if (ret)
		kup_holders_free(h);
	else if (h->nr)
		qsort(h->list, h->nr, sizeof(*h->list), compare);
	return ret;
}

void kup_holders_free(struct kup_holders *h)
{
	free(h->list);
	*h = (struct kup_holders){ 0 };
}

size_t kup_holders_find(const struct kup_holders *h, char kind, uint64_t ino, const struct kup_holder **first)
{
	size_t low = 0, high = h->nr, nr = 0;
	const struct kup_holder key = { .kind = kind, .ino = ino, .pid = 0 };

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (compare(&h->list[mid], &key) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	*first = h->list + low;
	while (low + nr < h->nr && h->list[low + nr].kind == kind && h->list[low + nr].ino == ino)
		nr++;
	return nr;
}
