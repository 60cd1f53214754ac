// SPDX-License-Identifier: GPL-2.0
/*
 *   scatter hold MB	takes MB of memory, gives back each page in an even frame, says "pid N" and stays: free memory is then
 *			single pages, and whoever asks for one page at a time gets those first
 *   scatter count PID...	of the processes' anonymous pages: how many, in how many runs of neighbouring frames, how many
 *			runs of a single page. One line of JSON
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE		4096UL
#define BATCH		512
#define PRESENT		(1ULL << 63)
#define FILE_OR_SHARED	(1ULL << 61)
#define FRAME(entry)	((entry) & ((1ULL << 55) - 1))

static void die(const char *what)
{
	fprintf(stderr, "scatter: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Entries of @nr pages from @addr on; how many there are. */
static size_t entries(int pagemap, uintptr_t addr, size_t nr, uint64_t *out)
{
	ssize_t n = pread(pagemap, out, nr * sizeof(*out), addr / PAGE * sizeof(*out));

	if (n < 0)
		die("pagemap");
	return n / sizeof(*out);
}

static void hold(size_t size)
{
	char *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t e[BATCH];

	if (area == MAP_FAILED || pagemap < 0)
		die("memory to hold");
	madvise(area, size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < size; i += PAGE)
		*(volatile char *)(area + i) = 1;
	for (size_t i = 0; i < size; i += BATCH * PAGE) {
		size_t n = entries(pagemap, (uintptr_t)area + i, BATCH, e);

		for (size_t j = 0; j < n && i + j * PAGE < size; j++)
			if (!(FRAME(e[j]) & 1) && madvise(area + i + j * PAGE, PAGE, MADV_DONTNEED))
				die("madvise");
	}
	printf("pid %d\n", getpid());
	fflush(stdout);
	pause();
}

struct frames {
	uint64_t *pfn;
	size_t nr, room;
};

static void add(struct frames *f, uint64_t pfn)
{
	if (f->nr == f->room) {
		f->room = f->room ? f->room * 2 : 4096;
		f->pfn = realloc(f->pfn, f->room * sizeof(*f->pfn));
		if (!f->pfn)
			die("memory to count in");
	}
	f->pfn[f->nr++] = pfn;
}

static void frames_of(const char *pid, struct frames *f)
{
	char path[64], line[512];
	uint64_t e[BATCH];
	FILE *maps;
	int pagemap;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	maps = fopen(path, "re");
	snprintf(path, sizeof(path), "/proc/%s/pagemap", pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (!maps || pagemap < 0)
		die(path);
	while (fgets(line, sizeof(line), maps)) {
		uintptr_t at, end;

		if (sscanf(line, "%lx-%lx", &at, &end) != 2 || strstr(line, "[vsyscall]"))
			continue;
		while (at < end) {
			size_t want = (end - at) / PAGE, n = entries(pagemap, at, want < BATCH ? want : BATCH, e);

			for (size_t j = 0; j < n; j++)
				if (e[j] & PRESENT && !(e[j] & FILE_OR_SHARED))
					add(f, FRAME(e[j]));
			if (!n)
				break;
			at += n * PAGE;
		}
	}
	fclose(maps);
	close(pagemap);
}

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void count(char **pids)
{
	size_t runs = 0, singles = 0, length = 0;
	struct frames f = {};

	while (*pids)
		frames_of(*pids++, &f);
	qsort(f.pfn, f.nr, sizeof(*f.pfn), ascending);
	for (size_t i = 0; i < f.nr; i++) {
		length++;
		if (i + 1 < f.nr && f.pfn[i + 1] == f.pfn[i] + 1)
			continue;
		runs++;
		singles += length == 1;
		length = 0;
	}
	printf("{\"pages\": %zu, \"runs\": %zu, \"singles\": %zu}\n", f.nr, runs, singles);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "hold"))
		hold(strtoul(argv[2], NULL, 10) << 20);
	else if (argc > 2 && !strcmp(argv[1], "count"))
		count(argv + 2);
	else
		return 2;
	return 0;
}
