// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bed.h"

int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* How long QEMU could have run and had no processor: of its thread that waited longest, the guest's. */
static int64_t starved_ns(void)
{
	static int64_t most;
	char path[64 + NAME_MAX];
	struct dirent *d;
	int64_t waited;
	DIR *dir;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task", bed.qemu);
	dir = bed.qemu > 0 ? opendir(path) : NULL;
	while (dir && (d = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", bed.qemu, d->d_name);
		f = *d->d_name != '.' ? fopen(path, "re") : NULL;
		if (f && fscanf(f, "%*u %" SCNd64, &waited) == 1 && waited > most)
			most = waited;
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return most;
}

bool lines_read(struct lines *l)
{
	ssize_t n = read(l->fd, l->buf + l->len, sizeof(l->buf) - 1 - l->len);
	char *start = l->buf, *end;

	if (n <= 0)
		return n < 0 && (errno == EINTR || errno == EAGAIN);
	/* A console may send NULs while a UART is reset. */
	for (char *p = l->buf + l->len; p < l->buf + l->len + n; p++)
		if (!*p)
			*p = ' ';
	l->len += n;
	l->buf[l->len] = 0;
	while ((end = strchr(start, '\n'))) {
		*end = 0;
		if (end > start && end[-1] == '\r')
			end[-1] = 0;
		l->line(start);
		start = end + 1;
	}
	l->len -= start - l->buf;
	memmove(l->buf, start, l->len + 1);
	if (l->len == sizeof(l->buf) - 1)
		l->len = 0;
	return true;
}

/* Limits are for a guest that hangs, not for one that a busy host lets wait. */
bool bed_wait(bool (*done)(void), unsigned int seconds)
{
	int64_t until = now_ns() - starved_ns() + seconds * 1000000000LL;
	struct lines *all[] = { &bed.console, &bed.control, &bed.client };

	while (!done()) {
		struct pollfd pf[3];
		int64_t now = now_ns() - starved_ns(), end = until < bed.deadline ? until : bed.deadline;

		if (now > bed.deadline)
			bed_fail("the whole run took longer than %u s", bed.o.limit);
		if (now > until)
			return false;
		for (int i = 0; i < 3; i++)
			pf[i] = (struct pollfd){ .fd = all[i]->line ? all[i]->fd : -1, .events = POLLIN };
		if (poll(pf, 3, (end - now) / 1000000 + 1) < 0 && errno != EINTR)
			bed_fail("poll: %s", strerror(errno));
		for (int i = 0; i < 3; i++) {
			if (!pf[i].revents || lines_read(all[i]))
				continue;
			if (all[i] == &bed.client)
				bed_fail("the client ended before its time: %s", bed.answer ? json_object_to_json_string(bed.answer) : "no word");
			qemu_check();
			bed_fail("QEMU closed the guest's serial line");
		}
	}
	return true;
}
