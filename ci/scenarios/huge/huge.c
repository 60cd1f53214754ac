// SPDX-License-Identifier: GPL-2.0
/*
 * huge MEGABYTES: a process and a child of it with huge pages of hugetlbfs of each kind, so many megabytes together. Of each area the
 * last page is never written to.
 *
 * huge MEGABYTES gigantic: of 1 GiB are two shared ones of both, a private one of the first and one without access of the other, with one page each and
 * none behind it; each has a read-only one besides, as above.
 *
 * SIGUSR2: notes the frames of all pages, and what the pool is like; and compares all but the frames with what it has noted before. SIGUSR1: compares that and each byte. SIGHUP, when all have done
 * so, since it takes from the pool for a moment: looks at the last pages. What was wrong is in /run/huge.
 *
 * huge refused STATE: a process that kup-ppp has to refuse.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE		(2ul << 20)
#define GIGANTIC	(1ul << 30)
#define MAX_PAGES	512
#define HUGE_2MB	(21 << 26)
#define HUGE_1GB	(30 << 26)

enum kind { SHARED, MAPPED_FILE, FILE_ONLY, PRIVATE, READ_ONLY, NO_ACCESS, KINDS };
static const char *const names[] = { "shared", "memfd", "unmapped memfd", "private", "read-only", "no access" };

static struct area {
	enum kind kind;
	char *at;
	int fd;
	size_t huge;			/* bytes of a page */
	unsigned int pages, holes;	/* written to, and behind them not */
	uint64_t frame[MAX_PAGES];
	uint64_t generation;
} areas[KINDS];
static unsigned int nr_areas;

static char pool[512];
static bool is_child;
static char wrong[300];
static unsigned int nr_wrong;
static volatile sig_atomic_t asked;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (!nr_wrong++)
		vsnprintf(wrong, sizeof(wrong), fmt, ap);
	va_end(ap);
}

static size_t size_of(const struct area *a)
{
	return (a->pages + a->holes) * a->huge;
}

static int flag_of(const struct area *a)
{
	return a->huge == HUGE ? HUGE_2MB : HUGE_1GB;
}

static size_t add_number(char *text, size_t size, const char *dir, const char *name)
{
	char path[128], number[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%31s", number) != 1)
		die(path);
	fclose(f);
	return snprintf(text, size, "%s %s ", name, number);
}

/* What is known of the pools, in words. */
static void read_pool(char *text, size_t size)
{
	static const char *const files[] = { "nr_hugepages", "free_hugepages", "resv_hugepages", "surplus_hugepages", "nr_overcommit_hugepages" };
	static const char dir[] = "/sys/kernel/mm/hugepages/", cgroup[] = "/sys/fs/cgroup/huge";
	char path[64];
	size_t used = 0;

	for (size_t huge = HUGE; huge <= GIGANTIC; huge *= GIGANTIC / HUGE) {
		snprintf(path, sizeof(path), "%shugepages-%zukB", dir, huge >> 10);
		for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
			used += add_number(text + used, size - used, path, files[i]);
	}
	used += add_number(text + used, size - used, cgroup, "hugetlb.2MB.current");
	add_number(text + used, size - used, cgroup, "hugetlb.1GB.current");
}

static uint64_t word(const struct area *a, uint64_t i)
{
	/* A child's private memory is another. */
	uint64_t z = i + a->generation * 0x9e3779b97f4a7c15 + (a->kind + 1) * 1000003 + (a->kind >= PRIVATE && is_child) * 77;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	return z ^ z >> 27;
}

static char *map(struct area *a)
{
	const int shared = a->kind < PRIVATE ? MAP_SHARED : MAP_PRIVATE, anonymous = a->fd < 0 ? MAP_ANONYMOUS | MAP_HUGETLB | flag_of(a) : 0;
	char *at = mmap(NULL, size_of(a), PROT_READ | PROT_WRITE, shared | anonymous, a->fd, 0);

	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

static void protect(struct area *a, bool open)
{
	const int prot = a->kind == READ_ONLY ? PROT_READ : PROT_NONE;

	if (a->kind >= READ_ONLY && mprotect(a->at, size_of(a), open ? PROT_READ | PROT_WRITE : prot))
		die("mprotect");
}

static void write_area(struct area *a)
{
	uint64_t *p;

	if (a->kind == FILE_ONLY)
		a->at = map(a);
	protect(a, true);
	p = (uint64_t *)a->at;
	for (uint64_t i = 0; i < a->pages * a->huge / 8; i++)
		p[i] = word(a, i);
	protect(a, false);
	if (a->kind == FILE_ONLY)
		munmap(a->at, size_of(a));
}

static void make(enum kind kind, size_t huge, unsigned int pages)
{
	struct area *a = &areas[nr_areas++];

	*a = (struct area){ .kind = kind, .huge = huge, .pages = pages, .holes = huge == HUGE, .fd = -1 };
	if (kind == MAPPED_FILE || kind == FILE_ONLY) {
		a->fd = memfd_create("huge", MFD_HUGETLB | flag_of(a));
		if (a->fd < 0 || ftruncate(a->fd, size_of(a)))
			die("memfd");
	}
	if (kind != FILE_ONLY)
		a->at = map(a);
	/* Locked but for the last page: CRIU has it faulted in, before it has its frames. */
	if ((kind == SHARED || kind == PRIVATE) && mlock(a->at, pages * huge))
		die("mlock");
	write_area(a);
}

/* Where nothing is mapped it is looked up by way of a mapping that touches each page. */
static void read_frames(struct area *a, uint64_t *frame)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	char *at = a->kind == FILE_ONLY ? map(a) : a->at;

	for (unsigned int i = 0; i < a->pages; i++) {
		uint64_t entry;

		if (a->kind <= FILE_ONLY)
			(void)*(volatile char *)(at + i * a->huge);
		if (pread(fd, &entry, 8, (uintptr_t)(at + i * a->huge) / 4096 * 8) != 8)
			die("pagemap");
		frame[i] = entry >> 63 ? entry & ((1ull << 55) - 1) : 0;
	}
	if (at != a->at)
		munmap(at, size_of(a));
	close(fd);
}

static void check_area(struct area *a, bool frames)
{
	uint64_t frame[MAX_PAGES], *p, differ = 0, i;

	read_frames(a, frame);
	for (i = 0; frames && i < a->pages; i++)
		if (frame[i] != a->frame[i])
			complain("%s: page %lu was frame %#lx, and is %#lx", names[a->kind], i, a->frame[i], frame[i]);
	if (a->kind == FILE_ONLY)
		a->at = map(a);
	protect(a, true);
	p = (uint64_t *)a->at;
	for (i = 0; i < a->pages * a->huge / 8; i++)
		differ += p[i] != word(a, i);
	if (differ)
		complain("%s: %lu of %lu words differ", names[a->kind], differ, i);
	protect(a, false);
	if (a->kind == FILE_ONLY)
		munmap(a->at, size_of(a));
}

/* Takes one page more of the pool, and gives it back. */
static void check_hole(struct area *a)
{
	char *at = a->kind == FILE_ONLY ? map(a) : a->at, *hole = at + a->pages * a->huge;

	if (!a->holes || (is_child && a->kind < PRIVATE))
		return;
	protect(a, true);
	for (unsigned long i = 0; i < a->huge; i++)
		if (hole[i]) {
			complain("%s: what was never written to is not zero", names[a->kind]);
			break;
		}
	if (a->kind >= PRIVATE ? madvise(hole, a->huge, MADV_DONTNEED) : madvise(hole, a->huge, MADV_REMOVE))
		complain("%s: madvise", names[a->kind]);
	protect(a, false);
	if (at != a->at)
		munmap(at, size_of(a));
}

static void tell(const char *prefix, unsigned int pages)
{
	char path[64], result[64];
	FILE *f;

	mkdir("/run/huge", 0700);
	snprintf(path, sizeof(path), "/run/huge/.%d", getpid());
	snprintf(result, sizeof(result), "/run/huge/%s.%d", prefix, getpid());
	f = fopen(path, "w");
	if (!f)
		die(path);
	fprintf(f, "{\"pages\": %u, \"wrong\": %u, \"first\": \"%s\"}\n", pages, nr_wrong, wrong);
	fclose(f);
	rename(path, result);
}

/* @frames: that none has moved, too; to prepare a switch the kernel may move some. */
static void check(const char *tells, bool frames)
{
	unsigned int i, pages = 0;
	char now[sizeof(pool)];

	nr_wrong = 0;
	*wrong = '\0';
	read_pool(now, sizeof(now));
	if (strcmp(pool, now))
		complain("the pool was: %s; it is: %s", pool, now);
	for (i = 0; i < nr_areas; i++) {
		check_area(&areas[i], frames);
		pages += areas[i].pages;
	}
	tell(tells, pages);
}

static void check_holes(void)
{
	nr_wrong = 0;
	*wrong = '\0';
	for (unsigned int i = 0; i < nr_areas; i++)
		check_hole(&areas[i]);
	tell("holes", nr_areas);
}

static void note(void)
{
	if (*pool)
		check("stayed", false);
	else
		tell("stayed", 0);
	for (unsigned int i = 0; i < nr_areas; i++)
		read_frames(&areas[i], areas[i].frame);
	read_pool(pool, sizeof(pool));
	mkdir("/run/huge", 0700);
}

static void on_signal(int nr)
{
	asked = nr;
}

/* A state that is to be refused, until it is killed. */
static void refused(const char *what)
{
	const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB;
	char *p = NULL, *q = NULL;
	int fd = -1;

	if (!strcmp(what, "forked")) {
		p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, anonymous | HUGE_2MB, -1, 0);
	} else if (!strcmp(what, "private")) {
		q = p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, anonymous | HUGE_2MB, -1, 0);
	} else if (!strcmp(what, "gigantic")) {
		fd = memfd_create("gigantic", MFD_HUGETLB | HUGE_1GB);
		if (ftruncate(fd, GIGANTIC))
			q = MAP_FAILED;
	} else if (!strcmp(what, "mounted")) {
		mkdir("/run/hugetlbfs", 0700);
		fd = mount("none", "/run/hugetlbfs", "hugetlbfs", 0, "pagesize=2M") ? -1 : open("/run/hugetlbfs/file", O_RDWR | O_CREAT, 0600);
		q = p = ftruncate(fd, HUGE) ? MAP_FAILED : mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	} else if (!strcmp(what, "sysv")) {
		fd = shmget(IPC_PRIVATE, HUGE, IPC_CREAT | SHM_HUGETLB | 0600);
		q = p = shmat(fd, NULL, 0);
		shmctl(fd, IPC_RMID, NULL);
	} else if (!strcmp(what, "both")) {
		fd = memfd_create("both", MFD_HUGETLB | HUGE_2MB);
		q = ftruncate(fd, 2 * HUGE) ? MAP_FAILED : mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, HUGE);
		if (q != MAP_FAILED)
			*q = 1;
		p = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	} else if (!strcmp(what, "large")) {
		fd = memfd_create("large", MFD_HUGETLB | HUGE_2MB);
		if (ftruncate(fd, 10000 * HUGE))
			q = MAP_FAILED;
	}
	if (p == MAP_FAILED || q == MAP_FAILED)
		die(what);
	if (p)
		*p = 1;
	if (!strcmp(what, "forked") && !fork())
		for (;;)
			pause();
	mkdir("/run/huge", 0700);
	close(creat("/run/huge/refused", 0600));
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const unsigned int each = atoi(argc > 1 ? argv[1] : "") / 2 / 9;
	const bool gigantic = argc > 2 && !strcmp(argv[2], "gigantic");
	struct sigaction sa = { .sa_handler = on_signal };
	sigset_t block, wait;
	char path[64];

	if (argc > 2 && !strcmp(argv[1], "refused"))
		refused(argv[2]);
	if (argc < 2 || !each || each > MAX_PAGES) {
		fprintf(stderr, "usage: huge MEGABYTES [gigantic], or huge refused STATE\n");
		return 2;
	}
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigaddset(&block, SIGUSR2);
	sigaddset(&block, SIGHUP);
	sigprocmask(SIG_BLOCK, &block, &wait);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGUSR2, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	if (gigantic) {
		make(SHARED, GIGANTIC, 1);
		make(MAPPED_FILE, GIGANTIC, 1);
	}
	for (enum kind k = SHARED; k < PRIVATE && !gigantic; k++)
		make(k, HUGE, each);
	is_child = !fork();
	if (gigantic) {
		make(is_child ? NO_ACCESS : PRIVATE, GIGANTIC, 1);
		make(READ_ONLY, HUGE, each);
	}
	for (enum kind k = PRIVATE; k < KINDS && !gigantic; k++)
		make(k, HUGE, each);
	mkdir("/run/huge", 0700);
	snprintf(path, sizeof(path), "/run/huge/ready.%d", getpid());
	close(creat(path, 0600));
	for (;;) {
		sigsuspend(&wait);
		if (asked == SIGUSR2)
			note();
		else if (asked == SIGUSR1)
			check("compared", true);
		else if (asked == SIGHUP)
			check_holes();
	}
}
