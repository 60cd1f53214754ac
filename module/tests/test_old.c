// SPDX-License-Identifier: GPL-2.0
/*
 * KTAP test of the old side, for a guest: prepare, preserve, look, seal, abort, and every byte where it was.
 *
 *   test_old [ROUNDS [MIB]]
 *
 * With MIB, a process with that much memory in small pages is taken, too, and the time told.
 *
 * Needs root, a network device dummy0, cgroup v2 on /sys/fs/cgroup, /proc, and kup_ppp.ko loaded; with swap, swapped pages are
 * tried as well. Linked with handover.c and map.c, it reads the handover and every frame that it names through /proc/kcore, as
 * the next kernel will.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kup/handover.h>
#include <kup/map.h>
#include <uapi/kup_ppp.h>

#include "guest_ktap.h"
#include "meminfo.h"

#define PAGE		4096UL
#define HUGE		(2UL << 20)
#define WINDOW		(48UL << 20)
#define GROUP		"/sys/fs/cgroup/test_old"

static void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

/* -- the process whose memory is preserved -- */

enum kind { HUGE_PAGES, SMALL, READONLY, NO_ACCESS, SHARED_HALF, FILE_COW, EXEC, NR_REGIONS };

static const struct region {
	uint64_t base, size;
	bool kept;		/* shall be preserved */
} regions[NR_REGIONS] = {
	[HUGE_PAGES] = { 0x100000000000, 32UL << 20, true },
	[SMALL] = { 0x100100005000, 9UL << 20, true },
	[READONLY] = { 0x100200000000, 3UL << 20, true },
	[NO_ACCESS] = { 0x100200300000, 64UL << 10, true },
	[SHARED_HALF] = { 0x100300000000, 4UL << 20, true },
	[FILE_COW] = { 0x100400000000, 3UL << 20, true },
	[EXEC] = { 0x100500000000, 64UL << 10, false },
};

/* Some pages of SMALL are holes, some were only read. Of FILE_COW one in three was written to, and one is not there. */
static bool is_written(enum kind k, uint64_t addr)
{
	uint64_t page = (addr - regions[k].base) / PAGE;

	return k == FILE_COW ? page % 3 == 0 : k != SMALL || (page % 7 != 3 && page % 11 != 5);
}

static bool is_absent(uint64_t addr)
{
	return (addr - regions[FILE_COW].base) / PAGE % 3 == 2;
}

static uint64_t pattern(uint64_t addr, uint64_t seed)
{
	/* what is shared is never written again */
	if (addr - regions[SHARED_HALF].base < regions[SHARED_HALF].size && addr / PAGE % 2)
		seed = 1;
	return (addr ^ seed << 48) * 0x9e3779b97f4a7c15ULL;
}

/* What the file has. */
static uint64_t file_word(uint64_t addr)
{
	return addr * 0xd6e8feb86659fd93ULL ^ 5;
}

static void fill(enum kind k, uint64_t seed)
{
	uint64_t a, page;

	for (page = regions[k].base; page < regions[k].base + regions[k].size; page += PAGE) {
		if (!is_written(k, page)) {
			if ((page - regions[k].base) / PAGE % 7 != 3)
				*(volatile uint64_t *)page;
			continue;
		}
		for (a = page; a < page + PAGE; a += 64)
			*(volatile uint64_t *)a = pattern(a, seed);
	}
	for (page = regions[k].base; k == FILE_COW && page < regions[k].base + regions[k].size; page += PAGE)
		if (is_absent(page) && madvise((void *)page, PAGE, MADV_DONTNEED))
			die("MADV_DONTNEED");
}

static bool page_right(const void *data, enum kind k, uint64_t page, uint64_t seed)
{
	unsigned int i;

	for (i = 0; i < PAGE; i += 64)
		if (*(const uint64_t *)((const char *)data + i) !=
		    (is_written(k, page) ? pattern(page + i, seed) : k == FILE_COW ? file_word(page + i) : 0))
			return false;
	return true;
}

static bool verify(enum kind k, uint64_t seed)
{
	uint64_t page;

	for (page = regions[k].base; page < regions[k].base + regions[k].size; page += PAGE)
		if (!page_right((void *)page, k, page, seed))
			return false;
	return true;
}

static void *sleeper(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

static void map(enum kind k, int prot, int fd)
{
	int flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE | (fd < 0 ? MAP_ANONYMOUS : 0);

	if (mmap((void *)regions[k].base, regions[k].size, prot, flags, fd, 0) == MAP_FAILED)
		die("mmap");
	madvise((void *)regions[k].base, regions[k].size, k == HUGE_PAGES ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (k != SHARED_HALF)
		madvise((void *)regions[k].base, regions[k].size, MADV_DONTFORK);
}

static void protect(enum kind k, int prot)
{
	if (mprotect((void *)regions[k].base, regions[k].size, prot))
		die("mprotect");
}

static int make_file(void)
{
	const struct region *r = &regions[FILE_COW];
	char name[] = "/tmp/test_old.XXXXXX";
	int fd = mkstemp(name);
	uint64_t a, word;

	for (a = r->base; fd >= 0 && a < r->base + r->size; a += 64) {
		word = file_word(a);
		if (pwrite(fd, &word, sizeof(word), a - r->base) != sizeof(word))
			break;
	}
	if (fd < 0 || a < r->base + r->size || ftruncate(fd, r->size))
		die("temporary file");
	unlink(name);
	return fd;
}

static void set_up(uint64_t seed)
{
	int fd = make_file();
	uint64_t a;
	enum kind k;
	pthread_t t;

	for (k = 0; k < NR_REGIONS; k++) {
		map(k, PROT_READ | PROT_WRITE | (k == EXEC ? PROT_EXEC : 0), k == FILE_COW ? fd : -1);
		fill(k, seed);
	}
	protect(READONLY, PROT_READ);
	protect(NO_ACCESS, PROT_NONE);
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sleeper(NULL);
	}
	/* Every second page is ours alone after this. */
	for (a = regions[SHARED_HALF].base; a < regions[SHARED_HALF].base + regions[SHARED_HALF].size; a += 2 * PAGE)
		*(volatile uint64_t *)a = pattern(a, seed);
	pthread_create(&t, NULL, sleeper, NULL);
	pthread_create(&t, NULL, sleeper, NULL);
}

static bool verify_all(uint64_t seed)
{
	enum kind k;
	bool good = true;

	protect(NO_ACCESS, PROT_READ);
	for (k = 0; k < NR_REGIONS; k++)
		if (!verify(k, seed)) {
			printf("# region %d differs\n", k);
			good = false;
		}
	protect(NO_ACCESS, PROT_NONE);
	return good;
}

static void refill(uint64_t seed)
{
	uint64_t a, i;
	enum kind k;

	protect(READONLY, PROT_READ | PROT_WRITE);
	protect(NO_ACCESS, PROT_READ | PROT_WRITE);
	for (k = 0; k < NR_REGIONS; k++)
		if (k != SHARED_HALF)
			fill(k, seed);
	for (a = regions[SHARED_HALF].base; a < regions[SHARED_HALF].base + regions[SHARED_HALF].size; a += 2 * PAGE)
		for (i = 0; i < PAGE; i += 64)
			*(volatile uint64_t *)(a + i) = pattern(a + i, seed);
	protect(READONLY, PROT_READ);
	protect(NO_ACCESS, PROT_NONE);
}

/* What a process does that is thawed while preserved. All of it must see its data. */
static bool run_wild(uint64_t seed)
{
	const struct region *h = &regions[HUGE_PAGES], *s = &regions[SMALL];
	char *moved = (char *)h->base + 0x40000000;
	int status = 1;
	pid_t pid;
	uint64_t a;

	/* fork: the child sees what we had */
	madvise((void *)h->base, h->size, MADV_DOFORK);
	pid = fork();
	if (!pid)
		_exit(!verify(HUGE_PAGES, seed));
	if (waitpid(pid, &status, 0) != pid || status)
		return false;
	/* protect and touch: a write must fault, so only read */
	if (mprotect((char *)s->base + HUGE, HUGE, PROT_READ) || !verify(SMALL, seed) ||
	    mprotect((char *)s->base + HUGE, HUGE, PROT_READ | PROT_WRITE))
		return false;
	/* discard: zeros, not old data */
	if (madvise((char *)s->base + 4 * HUGE, 16 * PAGE, MADV_DONTNEED))
		return false;
	for (a = s->base + 4 * HUGE; a < s->base + 4 * HUGE + 16 * PAGE; a += 64)
		if (*(volatile uint64_t *)a)
			return false;
	/* move: data goes along */
	if (mremap((char *)h->base + 5 * PAGE, 4 * HUGE, 4 * HUGE, MREMAP_MAYMOVE | MREMAP_FIXED, moved) == MAP_FAILED)
		return false;
	for (a = 0; a < 4 * HUGE; a += PAGE)
		if (!page_right(moved + a, HUGE_PAGES, h->base + 5 * PAGE + a, seed))
			return false;
	/* unmap with part of a huge page */
	return !munmap((char *)h->base + 8 * HUGE + 3 * PAGE, 4 * HUGE);
}

static struct {
	pid_t pid;
	int to, from;
} child;

static void child_main(int in, int out)
{
	uint64_t seed = 1;
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	set_up(seed);
	c = 'y';
	do {
		if (write(out, &c, 1) != 1 || read(in, &c, 1) != 1)
			_exit(1);
		if (c == 'v')
			c = verify_all(seed) ? 'y' : 'n';
		else if (c == 'w')
			refill(++seed), c = 'y';
		else if (c == 'p')	/* without swap this does nothing */
			c = madvise((char *)regions[SMALL].base + 3 * HUGE, 64 * PAGE, MADV_PAGEOUT) ? 'n' : 'y';
		else if (c == 'r')
			c = run_wild(seed) ? 'y' : 'n';
	} while (1);
}

static bool put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static unsigned long number(const char *file)
{
	FILE *f = fopen(file, "r");
	unsigned long n = 0;

	if (f && fscanf(f, "%lu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

static bool ask(char c)
{
	if (write(child.to, &c, 1) != 1 || read(child.from, &c, 1) != 1)
		return false;
	return c == 'y';
}

static void start_child(void)
{
	int to[2], from[2];
	char c, text[16];

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		die("pipe");
	child.pid = fork();
	if (!child.pid) {
		snprintf(text, sizeof(text), "%d", getpid());
		if (!put(GROUP "/cgroup.procs", text))
			_exit(1);
		child_main(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	child.to = to[1];
	child.from = from[0];
	if (read(child.from, &c, 1) != 1)
		die("the child did not start");
}

static void end_child(void)
{
	put(GROUP "/cgroup.kill", "1");
	put(GROUP "/cgroup.freeze", "0");
	close(child.to);
	close(child.from);
	waitpid(child.pid, NULL, 0);
}

static bool freeze(bool on)
{
	char text[256];
	int i, fd;
	ssize_t n;

	if (!put(GROUP "/cgroup.freeze", on ? "1" : "0"))
		return false;
	for (i = 0; i < 5000; i++) {
		fd = open(GROUP "/cgroup.events", O_RDONLY);
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = '\0';
		if (strstr(text, on ? "frozen 1" : "frozen 0"))
			return true;
		usleep(1000);
	}
	return false;
}

/* -- what can be seen from outside -- */

/* Sum over all mappings. Not smaps_rollup: it leaves mappings out when somebody else wants mmap_lock meanwhile. */
static uint64_t smaps(const char *name)
{
	char file[64], line[256], format[64];
	uint64_t kb, sum = 0;
	FILE *f;

	snprintf(file, sizeof(file), "/proc/%d/smaps", child.pid);
	snprintf(format, sizeof(format), "%s: %%lu", name);
	f = fopen(file, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, format, &kb) == 1)
			sum += kb;
	if (f)
		fclose(f);
	return sum;
}

/* Pages of [base, base + size) that pagemap calls present or swapped, and not a file's. */
static uint64_t mapped(uint64_t base, uint64_t size)
{
	char file[64];
	uint64_t entry, addr, nr = 0;
	int fd;

	snprintf(file, sizeof(file), "/proc/%d/pagemap", child.pid);
	fd = open(file, O_RDONLY);
	for (addr = base; addr < base + size; addr += PAGE) {
		if (pread(fd, &entry, 8, addr / PAGE * 8) != 8)
			die("pagemap");
		nr += !!(entry >> 62) && !(entry >> 61 & 1) && (entry & ((1ULL << 55) - 1)) != 0;
	}
	close(fd);
	return nr;
}

/* Of what is kept, but for the pages of the small region that are shared. */
static bool pagemap_shows_none(void)
{
	bool none = true;

	for (int k = 0; k < NR_REGIONS; k++)
		if (regions[k].kept && mapped(regions[k].base, regions[k].size) > (k == SMALL ? regions[k].size / PAGE / 11 + 1 : 0)) {
			printf("# region %d: %lu pages are mapped\n", k, mapped(regions[k].base, regions[k].size));
			none = false;
		}
	return none;
}

static bool peek(uint64_t addr, void *page)
{
	char file[64];
	bool good;
	int fd;

	snprintf(file, sizeof(file), "/proc/%d/mem", child.pid);
	fd = open(file, O_RDONLY);
	good = pread(fd, page, PAGE, addr) == PAGE;
	close(fd);
	return good;
}

static struct {
	int fd;
	unsigned int nr;
	Elf64_Phdr ph[64];
} core;

static void open_core(void)
{
	Elf64_Ehdr eh;

	core.fd = open("/proc/kcore", O_RDONLY);
	if (core.fd < 0 || pread(core.fd, &eh, sizeof(eh), 0) != sizeof(eh))
		die("/proc/kcore");
	core.nr = eh.e_phnum < 64 ? eh.e_phnum : 64;
	if (pread(core.fd, core.ph, core.nr * sizeof(*core.ph), eh.e_phoff) < 0)
		die("/proc/kcore");
}

static void read_phys(uint64_t phys, void *buf, size_t len)
{
	unsigned int i;

	for (i = 0; i < core.nr; i++) {
		const Elf64_Phdr *p = &core.ph[i];

		if (p->p_type == PT_LOAD && p->p_paddr != ~0UL && phys >= p->p_paddr && phys + len <= p->p_paddr + p->p_memsz &&
		    pread(core.fd, buf, len, p->p_offset + (phys - p->p_paddr)) == (ssize_t)len)
			return;
	}
	die("no such memory in /proc/kcore");
}

/* -- the device -- */

static int dev;
static char why[KUP_WHY_LEN];

#define CALL(cmd, type, arg) call(cmd, arg, sizeof(type), offsetof(type, why))

static int call(unsigned long cmd, void *arg, __u32 size, size_t why_at)
{
	int err;

	*(__u32 *)arg = size;
	err = ioctl(dev, cmd, arg) ? errno : 0;
	memcpy(why, (char *)arg + why_at, sizeof(why));
	return err;
}

static int simple(unsigned long cmd, uint64_t arg)
{
	struct kup_simple s = { .arg = arg };

	return CALL(cmd, struct kup_simple, &s);
}

static int prepare(struct kup_prepare *p)
{
	*p = (struct kup_prepare) { .window_size = WINDOW };
	return CALL(KUP_IOC_PREPARE, struct kup_prepare, p);
}

/* In kB, with a window taken: that empties the lists of free pages of each CPU, which MemFree leaves out. */
static uint64_t free_memory(void)
{
	struct kup_prepare p;
	uint64_t kb;

	put("/proc/sys/vm/drop_caches", "3");
	if (prepare(&p))
		die("PREPARE");
	kb = meminfo("MemFree:");
	if (simple(KUP_IOC_ABORT, 0))
		die("ABORT");
	return kb;
}

static int preserve(struct kup_preserve *p)
{
	*p = (struct kup_preserve) { .pid = child.pid };
	return CALL(KUP_IOC_PRESERVE, struct kup_preserve, p);
}

static int seal(struct kup_seal *s, uint32_t flags)
{
	*s = (struct kup_seal) { .flags = flags };
	return CALL(KUP_IOC_SEAL, struct kup_seal, s);
}

static int scan(struct kup_scan *s)
{
	*s = (struct kup_scan) { .pid = child.pid };
	return CALL(KUP_IOC_SCAN, struct kup_scan, s);
}

static struct kup_status status(void)
{
	struct kup_status st = { .size = sizeof(st) };

	if (ioctl(dev, KUP_IOC_STATUS, &st))
		die("KUP_IOC_STATUS");
	return st;
}

static long microseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* -- checking a handover -- */

static enum kind region_of(uint64_t addr)
{
	enum kind k;

	for (k = 0; k < NR_REGIONS; k++)
		if (addr >= regions[k].base && addr < regions[k].base + regions[k].size)
			return k;
	return NR_REGIONS;
}

static bool within_extents(const struct kup_extent *e, unsigned int nr, uint64_t phys)
{
	unsigned int low = 0, high = nr;

	while (low < high) {
		unsigned int mid = (low + high) / 2;

		if (phys < e[mid].base)
			high = mid;
		else if (phys >= e[mid].base + e[mid].size)
			low = mid + 1;
		else
			return true;
	}
	return false;
}

struct tally {
	uint64_t frames, right, wrong, outside, kept[NR_REGIONS];
};

static void check_frame(struct tally *t, const struct kup_extent *e, unsigned int nr_e, uint64_t addr, __u32 pfn, uint64_t seed)
{
	uint64_t page[PAGE / 8];
	enum kind k = region_of(addr);

	t->frames++;
	t->outside += !within_extents(e, nr_e, pfn * PAGE);
	if (k == NR_REGIONS)
		return;
	t->kept[k]++;
	read_phys(pfn * PAGE, page, sizeof(page));
	if (page_right(page, k, addr, seed))
		t->right++;
	else
		t->wrong++;
}

static void check_handover(const struct kup_prepare *p, const struct kup_seal *s, uint64_t seed, const char *store, size_t len)
{
	char *area = malloc(KUP_AREA_SIZE), *stream;
	const struct kup_handover *h = (void *)area;
	const struct kup_extent *e;
	const struct kup_mm_record *r;
	const struct kup_chunk *c;
	struct tally t = {};
	__u64 page[PAGE / 8];
	__u32 *dir, pfn[KUP_CHUNK_PAGES], i, j, bad = 0;
	const __u64 *sums;
	__u64 sum;
	int err;

	read_phys(p->area, area, KUP_AREA_SIZE);
	err = kup_handover_check(h, p->area, p->nonce);
	if (!ok(!err, "header is valid (%s)", kup_stub_state_name(err)))
		return;
	e = (void *)(area + h->extents_off);
	dir = (void *)(area + h->directory_off);
	ok(!kup_extents_check(e, h->nr_extents) && kup_sum(e, h->nr_extents * sizeof(*e), 0) == h->extents_sum,
	   "%u extents are in order", h->nr_extents);
	for (i = 0; i < h->nr_extents; i++)
		bad += e[i].base < p->window_base + p->window_size && p->window_base < e[i].base + e[i].size;
	ok(!bad, "no extent in the window");
	stream = malloc(h->stream_pages * PAGE);
	for (i = 0; i < h->stream_pages; i++) {
		read_phys(dir[i] * PAGE, stream + i * PAGE, PAGE);
		t.outside += !within_extents(e, h->nr_extents, dir[i] * PAGE);
	}
	ok(kup_sum(stream, (h->maps_size + 7) & ~7ULL, 0) == h->maps_sum &&
	   !kup_maps_check(stream, h->maps_size, h->nr_mms, h->nr_frames), "maps are well formed, %llu bytes", h->maps_size);
	ok(h->store_size == len && !memcmp(stream + h->store_off, store, len) &&
	   kup_sum(stream + h->store_off, (len + 7) & ~7ULL, 0) == h->store_sum, "the store holds what was written");
	r = (void *)stream;
	c = (void *)(stream + r->chunks_off);
	sums = h->flags & KUP_HANDOVER_SUMS ? kup_maps_sums(stream, h->maps_size, h->nr_mms) : NULL;
	for (i = 0; i < r->nr_chunks; i++) {
		kup_chunk_decode(&c[i], stream, h->maps_size, pfn);
		sum = 0;
		for (j = 0; j < KUP_CHUNK_PAGES; j++)
			if (pfn[j] != KUP_PFN_NONE) {
				check_frame(&t, e, h->nr_extents, c[i].addr + j * PAGE, pfn[j], seed);
				read_phys(pfn[j] * PAGE, page, sizeof(page));
				sum = kup_frame_sum(page, sum);
			}
		bad += !sums || sums[i] != sum;
	}
	ok(!bad, "the sum of each chunk is that of its %lu frames", t.frames);
	ok(h->nr_mms == 1 && r->pid == (__u32)child.pid && !t.outside && t.frames == h->nr_frames && t.frames == s->frames,
	   "%llu frames of process %u, all within extents", h->nr_frames, r->pid);
	ok(!t.wrong && t.right, "%lu frames hold the right bytes, %lu the wrong ones", t.right, t.wrong);
	ok(t.kept[HUGE_PAGES] == regions[HUGE_PAGES].size / PAGE && t.kept[READONLY] == regions[READONLY].size / PAGE &&
	   t.kept[NO_ACCESS] == regions[NO_ACCESS].size / PAGE && !t.kept[EXEC] && t.kept[FILE_COW] == regions[FILE_COW].size / PAGE / 3 &&
	   t.kept[SHARED_HALF] == regions[SHARED_HALF].size / PAGE, "the frames that should be kept are");
	ok(r->nr_huge >= regions[HUGE_PAGES].size / HUGE || access("/sys/kernel/mm/transparent_hugepage", F_OK), "%u huge pages stay huge", r->nr_huge);
	free(stream);
	free(area);
}

/* -- the tests -- */

static bool dummy_up(void)
{
	struct ifreq r = { .ifr_name = "dummy0" };
	struct sockaddr_in *a = (void *)&r.ifr_addr;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	bool good;

	a->sin_family = AF_INET;
	a->sin_addr.s_addr = inet_addr("192.0.2.1");
	good = !ioctl(fd, SIOCSIFADDR, &r);
	r.ifr_flags = IFF_UP;
	good &= !ioctl(fd, SIOCSIFFLAGS, &r);
	strcpy(r.ifr_name, "lo");
	good &= !ioctl(fd, SIOCSIFFLAGS, &r);
	close(fd);
	return good;
}

/* The error of sending a datagram; a dropped one is EPERM. */
static int send_udp(const char *to, int from_port, int to_port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(from_port) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), err = 0;

	if (bind(fd, (void *)&a, sizeof(a)))
		err = errno;
	a.sin_port = htons(to_port);
	a.sin_addr.s_addr = inet_addr(to);
	if (!err && sendto(fd, "x", 1, 0, (void *)&a, sizeof(a)) != 1)
		err = errno;
	close(fd);
	return err;
}

/* Over loopback, within a fifth of a second. */
static bool tcp_connects(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
	struct timeval wait = { .tv_usec = 200000 };
	socklen_t len = sizeof(a);
	bool good = !listen(l, 1) && !getsockname(l, (void *)&a, &len) && !setsockopt(c, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait));

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	good = good && !connect(c, (void *)&a, sizeof(a));
	close(c);
	close(l);
	return good;
}

static void test_netlock(void)
{
	struct kup_prepare p;

	if (!dummy_up() || prepare(&p))
		die("dummy0");
	ok(!send_udp("192.0.2.2", 0, 11211), "without the network lock a datagram leaves");
	ok(!simple(KUP_IOC_NETLOCK, KUP_NETLOCK_ALL) && status().flags & KUP_STATUS_NETLOCK, "the network lock is on");
	ok(send_udp("192.0.2.2", 0, 11211) == EPERM, "a datagram is dropped");
	ok(!send_udp("192.0.2.2", 68, 67), "DHCP is not");
	ok(!send_udp("127.0.0.1", 0, 11211) && tcp_connects(), "nor is loopback");
	ok(!simple(KUP_IOC_NETLOCK, KUP_NETLOCK_LOOPBACK) && status().flags & KUP_STATUS_NETLOCK && !tcp_connects() &&
	   !send_udp("127.0.0.1", 0, 11211) && send_udp("192.0.2.2", 0, 11211) == EPERM, "or TCP there, and nothing else, with it");
	ok(!simple(KUP_IOC_NETLOCK, KUP_NETLOCK_NEW) && !(status().flags & KUP_STATUS_NETLOCK) && !send_udp("192.0.2.2", 0, 11211),
	   "for new connections only, datagrams leave");
	ok(!simple(KUP_IOC_NETLOCK, KUP_NETLOCK_OFF) && !send_udp("192.0.2.2", 0, 11211), "and off");
	simple(KUP_IOC_NETLOCK, KUP_NETLOCK_ALL);
	ok(!simple(KUP_IOC_ABORT, 0) && !(status().flags & KUP_STATUS_NETLOCK) && !send_udp("192.0.2.2", 0, 11211), "ABORT ends it");
}

static void test_refusals(void)
{
	struct kup_preserve p;
	struct kup_prepare pr = { .window_size = 12345 };
	struct kup_status st = { .size = 1 };
	struct kup_seal s;

	ok(ioctl(dev, KUP_IOC_STATUS, &st) && errno == EINVAL, "a wrong size is EINVAL");
	st = (struct kup_status) { .size = sizeof(st), .flags = 1u << 31 };
	ok(ioctl(dev, KUP_IOC_STATUS, &st) && errno == EINVAL, "an unknown flag is EINVAL");
	ok(ioctl(dev, _IO(KUP_IOC_MAGIC, 1), 0) && errno == ENOTTY, "an unknown command is ENOTTY");
	ok(preserve(&p) == EBUSY && strstr(why, "idle"), "PRESERVE when idle is EBUSY: %s", why);
	ok(seal(&s, 0) == EBUSY, "SEAL when idle is EBUSY");
	ok(CALL(KUP_IOC_PREPARE, struct kup_prepare, &pr) == EINVAL, "an odd window is EINVAL");
	pr = (struct kup_prepare) { .window_size = (1ULL << 32) - HUGE };
	ok(CALL(KUP_IOC_PREPARE, struct kup_prepare, &pr) == ENOSPC, "a huge window is ENOSPC: %s", why);
	ok(status().state == KUP_STATE_IDLE, "and the state is idle");
	if (prepare(&pr))
		die("PREPARE");
	ok(preserve(&p) == EBUSY && strstr(why, "not frozen"), "a running process is EBUSY: %s", why);
	p = (struct kup_preserve) { .pid = 1 << 21 };
	ok(CALL(KUP_IOC_PRESERVE, struct kup_preserve, &p) == ESRCH, "no process is ESRCH");
	ok(syscall(SYS_delete_module, "kup_ppp", O_NONBLOCK) && (errno == EBUSY || errno == EAGAIN), "the module stays");
	ok(!simple(KUP_IOC_ABORT, 0), "ABORT");
}

static void test_round(unsigned int round, uint64_t seed, bool loud)
{
	static const char store[] = "some bytes of userspace";
	uint64_t rss, huge, swap, page[PAGE / 8], a;
	struct kup_prepare p;
	struct kup_preserve v;
	struct kup_seal s;
	struct kup_scan sc;
	long t0, t1;
	bool good = true;
	int err;

	if (prepare(&p) || !ask('p') || !freeze(true))
		die("preparing");
	rss = smaps("Anonymous");
	huge = smaps("AnonHugePages");
	swap = smaps("Swap");
	good &= !scan(&sc) && sc.swapped_pages == swap / 4;
	if (loud) {
		ok(good, "SCAN: %llu anonymous, %llu to keep, %llu huge, %llu shared, %llu executable, %llu of files, %llu swapped",
		   sc.anon_pages, sc.preserve_pages, sc.huge_pages, sc.shared_pages, sc.exec_pages, sc.filecow_pages,
		   sc.swapped_pages);
		ok(p.window_base % HUGE == 0 && p.area == p.window_base + WINDOW && p.nonce && p.area < 1ULL << 32,
		   "window at %#llx, %llu pages were moved out", p.window_base, status().evacuated_pages);
	}
	t0 = microseconds();
	err = preserve(&v);
	t1 = microseconds();
	good &= !err && v.pages == sc.preserve_pages + sc.swapped_pages && v.huge == sc.huge_pages &&
		v.left == sc.anon_pages - sc.preserve_pages;
	if (loud)
		ok(good, "PRESERVE took %llu pages, %llu huge, and left %llu, in %ld us%s%s", v.pages, v.huge, v.left,
		   t1 - t0, err ? ": " : "", err ? why : "");
	good &= pagemap_shows_none();
	if (loud)
		ok(good, "pagemap shows none of them");
	if (write(dev, store, 5) != 5 || write(dev, store + 5, sizeof(store) - 5) != (ssize_t)sizeof(store) - 5)
		good = false;
	/* Somebody looks: at 3 pages of a huge one, at one in 97 of the small, and at what is not there of a file, first of all. */
	for (a = regions[FILE_COW].base; a < regions[FILE_COW].base + HUGE; a += PAGE)
		if (is_absent(a) && a / PAGE % 7 == 0)
			good &= peek(a, page) && page_right(page, FILE_COW, a, seed);
	for (a = regions[HUGE_PAGES].base + 3 * PAGE; a < regions[HUGE_PAGES].base + 3 * 200 * PAGE; a += 200 * PAGE)
		good &= peek(a, page) && page_right(page, HUGE_PAGES, a, seed);
	for (a = regions[SMALL].base; a < regions[SMALL].base + regions[SMALL].size; a += 97 * PAGE)
		good &= peek(a, page) && page_right(page, SMALL, a, seed);
	if (loud) {
		ok(good && status().faulted_back, "what is looked at is right, %llu pages faulted back", status().faulted_back);
		ok(pagemap_shows_none(), "and pagemap shows none of that either");
		for (a = regions[SMALL].base; a < regions[SMALL].base + regions[SMALL].size; a += 97 * PAGE)
			good &= peek(a, page) && page_right(page, SMALL, a, seed);
	}
	if (loud) {
		s = (struct kup_seal) { .min_free = 1ULL << 50 };
		ok(CALL(KUP_IOC_SEAL, struct kup_seal, &s) == ENOSPC, "SEAL with too little left is ENOSPC: %s", why);
	}
	if (round % 2 || loud) {
		t0 = microseconds();
		err = seal(&s, KUP_SEAL_SUMS);
		t1 = microseconds();
		good &= !err;
		if (loud) {
			ok(!err, "SEAL: %llu frames, %llu reserved, %u extents, order %u, %ld us%s%s", s.frames, s.reserved_pages, s.extents,
			   s.block_order, t1 - t0, err ? ": " : "", err ? why : "");
			check_handover(&p, &s, seed, store, sizeof(store));
		}
		/* touched after the seal */
		for (a = regions[FILE_COW].base; a < regions[FILE_COW].base + regions[FILE_COW].size; a += 50 * PAGE)
			good &= peek(a, page) && page_right(page, FILE_COW, a, seed);
		for (a = regions[READONLY].base; a < regions[READONLY].base + 5 * PAGE; a += PAGE)
			good &= peek(a, page) && page_right(page, READONLY, a, seed);
		for (a = regions[HUGE_PAGES].base + 9 * HUGE; a < regions[HUGE_PAGES].base + 11 * HUGE; a += 300 * PAGE)
			good &= peek(a, page) && page_right(page, HUGE_PAGES, a, seed);
	}
	if (simple(KUP_IOC_ABORT, 0))
		good = false;
	if (loud)
		ok(good, "ABORT");
	if (smaps("Anonymous") + smaps("Swap") != rss + swap || smaps("AnonHugePages") + 4 * HUGE / 1024 < huge) {
		printf("# Anonymous was %lu kB, is %lu, swap %lu and %lu\n", rss, smaps("Anonymous"), swap, smaps("Swap"));
		good = false;
	}
	if (!freeze(false) || !ask('v'))
		good = false;
	ok(good, "round %u: all bytes are where they were, %lu kB in huge pages", round, smaps("AnonHugePages"));
}

/* -- shared memory -- */

enum { OUTSIDER_DATA, OUTSIDER_WRITE };

static struct {
	int fd, to, from;
} outsider;

#define SHMEM_PAGES 1500u
static bool shmem_is_hole(unsigned int page) { return page % 5 == 2 || (page >= 600 && page < 1100); }
static uint64_t shmem_word(unsigned int page) { return page * 0x9e3779b97f4a7c15ULL ^ 77; }

static void shmem_fill(unsigned int page)
{
	uint64_t words[PAGE / 8];

	for (unsigned int i = 0; i < PAGE / 8; i++)
		words[i] = shmem_word(page) + i;
	if (pwrite(outsider.fd, words, PAGE, page * PAGE) != (ssize_t)PAGE)
		die("pwrite");
}

/* Has the file, too, and does not descend from us. Ends with the pipe to it. */
static void outsider_main(int in, int out)
{
	char c, done = 'y';

	while (read(in, &c, 1) == 1) {
		if (c == OUTSIDER_DATA)
			done = lseek(outsider.fd, 3 * PAGE, SEEK_DATA) == 3 * PAGE ? 'y' : 'n';
		else
			shmem_fill(700), done = 'y';
		if (write(out, &done, 1) != 1)
			break;
	}
	_exit(0);
}

static void start_outsider(void)
{
	int to[2], from[2], between, status;

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		die("pipe");
	between = fork();
	if (!between) {
		close(to[1]);
		if (!fork())
			outsider_main(to[0], from[1]);
		_exit(0);
	}
	waitpid(between, &status, 0);
	close(to[0]);
	close(from[1]);
	outsider.to = to[1];
	outsider.from = from[0];
}

static bool ask_outsider(char c)
{
	return write(outsider.to, &c, 1) == 1 && read(outsider.from, &c, 1) == 1 && c == 'y';
}

/* As the sealed handover names them: what is in the file at these offsets. */
static void check_shmem(const struct kup_prepare *p, uint64_t pages)
{
	char *area = malloc(KUP_AREA_SIZE), *stream;
	const struct kup_handover *h = (void *)area;
	const struct kup_mm_record *r;
	const struct kup_chunk *c;
	__u32 pfn[KUP_CHUNK_PAGES], i, j, right = 0, wrong = 0;
	uint64_t words[PAGE / 8];
	__u32 *dir;

	read_phys(p->area, area, KUP_AREA_SIZE);
	dir = (void *)(area + h->directory_off);
	stream = malloc(h->stream_pages * PAGE);
	for (i = 0; i < h->stream_pages; i++)
		read_phys(dir[i] * PAGE, stream + i * PAGE, PAGE);
	ok(!kup_handover_check(h, p->area, p->nonce) && !kup_maps_check(stream, h->maps_size, h->nr_mms, h->nr_frames) && h->nr_mms == 1,
	   "a handover of one file");
	r = (void *)stream;
	c = (void *)(stream + r->chunks_off);
	for (i = 0; i < r->nr_chunks; i++) {
		kup_chunk_decode(&c[i], stream, h->maps_size, pfn);
		for (j = 0; j < KUP_CHUNK_PAGES; j++) {
			unsigned int page = c[i].addr / PAGE + j;
			bool there = page == 700 || !shmem_is_hole(page);

			if (pfn[j] == KUP_PFN_NONE)
				continue;
			read_phys(pfn[j] * PAGE, words, sizeof(words));
			if (page < SHMEM_PAGES && words[5] == (there ? shmem_word(page) + 5 : 0))
				right++;
			else
				wrong++;
		}
	}
	ok(r->flags == KUP_MM_SHMEM && r->pid == 9 && r->nr_pages == pages && right == pages && !wrong, "%u pages with what is in the file, %u others", right, wrong);
	free(stream);
	free(area);
}

static void test_shmem(void)
{
	struct kup_shmem s = { .id = 9 }, again;
	struct kup_prepare p;
	struct kup_seal sealed;
	unsigned int i, pages = 0, data = 0;
	uint64_t before, after, words[PAGE / 8];
	char *map;
	bool good = true;
	int err;

	outsider.fd = memfd_create("test_old", 0);
	if (outsider.fd < 0 || ftruncate(outsider.fd, SHMEM_PAGES * PAGE))
		die("memfd");
	for (i = 0; i < SHMEM_PAGES; i++)
		if (!shmem_is_hole(i))
			shmem_fill(i), pages++;
	/* Allocated, and never written to; and some behind the end. */
	if (fallocate(outsider.fd, 0, 602 * PAGE, 3 * PAGE) || fallocate(outsider.fd, FALLOC_FL_KEEP_SIZE, SHMEM_PAGES * PAGE, 3 * PAGE))
		die("fallocate");
	map = mmap(NULL, SHMEM_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, outsider.fd, 0);
	if (map == MAP_FAILED)
		die("mmap");
	for (i = 0; i < SHMEM_PAGES; i += 5)	/* no hole */
		data += map[i * PAGE];
	madvise(map, 400 * PAGE, MADV_PAGEOUT);	/* without swap this does nothing */
	start_outsider();
	if (prepare(&p))
		die("preparing");
	again = (struct kup_shmem) { .fd = outsider.fd };
	ok(CALL(KUP_IOC_PRESERVE_SHMEM, struct kup_shmem, &again) == EINVAL, "an id of 0 is EINVAL");
	again = (struct kup_shmem) { .fd = core.fd, .id = 1 };
	ok(CALL(KUP_IOC_PRESERVE_SHMEM, struct kup_shmem, &again) == EOPNOTSUPP, "another file is EOPNOTSUPP: %s", why);
	s.fd = outsider.fd;
	err = CALL(KUP_IOC_PRESERVE_SHMEM, struct kup_shmem, &s);
	ok(!err && s.pages == pages + 3, "PRESERVE_SHMEM: %llu pages of %u%s%s", s.pages, pages + 3,
	   *why ? ": " : "", why);
	again = (struct kup_shmem) { .fd = outsider.fd, .id = 3 };
	ok(CALL(KUP_IOC_PRESERVE_SHMEM, struct kup_shmem, &again) == EBUSY, "twice is EBUSY: %s", why);
	ok(lseek(outsider.fd, 0, SEEK_DATA) < 0 && errno == ENXIO && lseek(outsider.fd, 0, SEEK_END) == SHMEM_PAGES * PAGE, "we find no data in it");
	ok(ask_outsider(OUTSIDER_DATA), "who does not descend from us finds it");
	for (i = 0; i < SHMEM_PAGES; i++)
		good &= pread(outsider.fd, words, PAGE, i * PAGE) == (ssize_t)PAGE && words[5] == (shmem_is_hole(i) ? 0 : shmem_word(i) + 5);
	ok(good && status().preserved_shmem == pages + 3, "it reads as before");
	ok(ask_outsider(OUTSIDER_WRITE), "somebody writes to it");
	put("/proc/sys/vm/compact_memory", "1");
	madvise(map, SHMEM_PAGES * PAGE, MADV_PAGEOUT);
	ok(!seal(&sealed, 0), "SEAL %s", why);
	check_shmem(&p, pages + 3 + 1);
	ok(!simple(KUP_IOC_ABORT, 0), "ABORT");
	ok(lseek(outsider.fd, 0, SEEK_DATA) == 0, "and there is data again");
	for (i = 0; i < SHMEM_PAGES; i++)
		good &= *(uint64_t *)(map + i * PAGE) == (i == 700 || !shmem_is_hole(i) ? shmem_word(i) : 0);
	ok(good, "every page is as it was");
	munmap(map, SHMEM_PAGES * PAGE);
	close(outsider.to);
	while (read(outsider.from, words, 1) == 1)
		;	/* until it has ended */
	close(outsider.from);
	before = free_kb();
	close(outsider.fd);
	after = free_kb();
	ok(after > before + pages * 3, "the file's memory comes back: %lu kB were free, and now %lu kB", before, after);
}

/* Looks at pages all the time, as fast as it can, and says so when one is wrong. */
static void spy(uint64_t seed)
{
	uint64_t page[PAGE / 8], addr, n = seed;
	enum kind k;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		n = n * 6364136223846793005ULL + 1442695040888963407ULL;
		k = (const enum kind[]){ HUGE_PAGES, SMALL, FILE_COW, SMALL }[n >> 62];
		addr = regions[k].base + (n >> 33) % (regions[k].size / PAGE) * PAGE;
		if (!peek(addr, page) || !page_right(page, k, addr, seed)) {
			printf("# at %lx in region %d: %lx\n", addr, k, page[0]);
			_exit(1);
		}
		/* A task that never sleeps holds up the RCU that the hook waits for. */
		if (n >> 60 == 0)
			usleep(100);
	}
}

static void test_spied_on(uint64_t seed)
{
	struct kup_prepare p;
	struct kup_preserve v;
	struct kup_seal s;
	uint64_t faults = 0;
	bool good = true;
	pid_t pid[2];
	int i;

	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i])
			spy(seed);
	}
	for (i = 0; i < 6 && good; i++) {
		if (prepare(&p) || !freeze(true))
			die("preparing");
		good = !preserve(&v);
		usleep(20000);
		good &= !seal(&s, 0) || (printf("# SEAL: %s\n", why), false);
		usleep(i % 2 * 10000);
		faults += status().faulted_back;
		good &= !simple(KUP_IOC_ABORT, 0) && freeze(false) && ask('v');
	}
	for (i = 0; i < 2; i++) {
		int st;

		good &= !waitpid(pid[i], &st, WNOHANG);
		kill(pid[i], SIGKILL);
		waitpid(pid[i], &st, 0);
	}
	ok(good, "spied on all the time, nothing is seen or left wrong; %lu pages faulted back", faults);
}

/*
 * Memory full but for half a window, then every fourth 64 kB of it given back: wherever the window comes to lie, a good part of its
 * pages are in use.
 */
static bool punched(size_t a) { return a / (64UL << 10) % 4 == 0; }

static void test_evacuated(void)
{
	/* THP raises the minimum to about a window, and each CPU keeps as much to itself from 6.7 on: a free window, for anybody who asks. */
	bool low = put("/proc/sys/vm/min_free_kbytes", "5000") && put("/proc/sys/vm/percpu_pagelist_high_fraction", "5000");
	size_t size = meminfo("MemTotal:") << 10, a;
	char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct kup_prepare p;
	bool good = true;
	int err;

	if (!low || m == MAP_FAILED)
		die("filling memory");
	madvise(m, size, MADV_NOHUGEPAGE);
	for (a = 0; a < size && (a % HUGE || (size_t)meminfo("MemFree:") << 10 > WINDOW / 2); a += PAGE)
		*(uint64_t *)(m + a) = pattern(a, 9);
	size = a;
	for (a = 0; a < size; a += PAGE)
		if (punched(a))
			madvise(m + a, PAGE, MADV_DONTNEED);
	err = prepare(&p);
	for (a = 0; a < size && good; a += PAGE) {
		good = *(uint64_t *)(m + a) == (punched(a) ? 0 : pattern(a, 9));
		if (!good)
			printf("# %lx at %zx of %zx is wrong\n", *(uint64_t *)(m + a), a, size);
	}
	ok(!err && good && status().evacuated_pages > WINDOW / 4 / PAGE, "a window in full memory: %llu pages were moved out, all right%s%s",
	   status().evacuated_pages, err ? ": " : "", err ? why : "");
	munmap(m, meminfo("MemTotal:") << 10);
	simple(KUP_IOC_ABORT, 0);
}

static void test_killed(void)
{
	struct kup_prepare p;
	struct kup_preserve v;
	bool good;

	if (prepare(&p) || !freeze(true))
		die("preparing");
	good = !preserve(&v);
	end_child();
	ok(good && !simple(KUP_IOC_ABORT, 0), "killed while preserved: ABORT");
}

static void test_wild(void)
{
	struct kup_prepare p;
	struct kup_preserve v;
	struct kup_seal s;
	bool good;

	start_child();
	if (prepare(&p) || !freeze(true))
		die("preparing");
	good = !preserve(&v);
	ok(good && freeze(false) && ask('r'), "thawed while preserved, a process loses nothing");
	ok(freeze(true) && seal(&s, 0) == EBUSY, "and SEAL refuses: %s", why);
	ok(!simple(KUP_IOC_ABORT, 0) && freeze(false), "ABORT after that");
	end_child();
}

/* Its VMAs are cut in the middle of a huge page that is hidden: on a debug kernel a huge page under half a VMA is a BUG. */
static void test_cut(void)
{
	struct kup_preserve v = {};
	struct kup_prepare p;
	char go = 0, text[16];
	int pipes[2], back[2], status;
	bool good;

	if (pipe(pipes) || pipe(back))
		die("pipe");
	v.pid = fork();
	if (!v.pid) {
		char *m = mmap(NULL, 2 * HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		m = (char *)(((uintptr_t)m + HUGE - 1) & ~(HUGE - 1));
		snprintf(text, sizeof(text), "%d", getpid());
		put(GROUP "/cgroup.procs", text);
		madvise(m, HUGE, MADV_HUGEPAGE);
		for (size_t i = 0; i < HUGE; i++)
			m[i] = i >> 12 ^ i;
		if (write(pipes[1], &go, 1) != 1 || read(back[0], &go, 1) != 1)
			_exit(1);
		/* Pages 100 to 199 are read-only, then 150 is gone, then 199 and 200. */
		if (mprotect(m + 100 * PAGE, 100 * PAGE, PROT_READ) || munmap(m + 150 * PAGE, PAGE) || munmap(m + 199 * PAGE, 2 * PAGE))
			_exit(2);
		for (size_t i = 0; i < HUGE; i++)
			if (i / PAGE != 150 && i / PAGE != 199 && i / PAGE != 200 && m[i] != (char)(i >> 12 ^ i))
				_exit(3);
		m[0] = m[99 * PAGE] = m[HUGE - 1] = 1;
		if (write(pipes[1], &go, 1) != 1 || read(back[0], &go, 1) != 1)
			_exit(4);
		for (size_t i = PAGE; i < 99 * PAGE; i++)
			if (m[i] != (char)(i >> 12 ^ i))
				_exit(5);
		_exit(0);
	}
	if (read(pipes[0], &go, 1) != 1 || prepare(&p) || !freeze(true))
		die("preparing");
	good = !CALL(KUP_IOC_PRESERVE, struct kup_preserve, &v) && freeze(false) && write(back[1], &go, 1) == 1 && read(pipes[0], &go, 1) == 1;
	ok(good && (v.huge || access("/sys/kernel/mm/transparent_hugepage", F_OK)),
	   "thawed, it cuts its mapping in the middle of a huge page (%llu were hidden)", v.huge);
	ok(!simple(KUP_IOC_ABORT, 0) && write(back[1], &go, 1) == 1 && waitpid(v.pid, &status, 0) == v.pid && !status,
	   "and loses nothing but what it unmapped: status %#x", status);
}

/* A process with a page of hugetlbfs. It tells where, and when it is asked whether all is there that was written. */
static void hugetlb_main(size_t size, int flag, int out, int in)
{
	char *m = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | flag, -1, 0), text[16], go;

	if (m == MAP_FAILED)
		_exit(1);
	snprintf(text, sizeof(text), "%d", getpid());
	put(GROUP "/cgroup.procs", text);
	for (size_t i = 0; i < size; i += PAGE)
		*(uint64_t *)(m + i) = i + 7;
	if (write(out, &m, sizeof(m)) != sizeof(m) || read(in, &go, 1) != 1)
		_exit(2);
	for (size_t i = 0; i < size; i += PAGE)
		if (*(uint64_t *)(m + i) != i + 7)
			_exit(3);
	_exit(0);
}

static bool peek_right(uint64_t base, uint64_t off)
{
	uint64_t page[PAGE / 8];

	return peek(base + off, page) && *page == off + 7;
}

static void test_hugetlb(size_t size, int flag)
{
	struct kup_prepare p;
	struct kup_preserve v;
	struct kup_seal s;
	int pipes[2], back[2], status_of;
	char pool[80];
	uint64_t base;
	bool good;

	snprintf(pool, sizeof(pool), "/sys/kernel/mm/hugepages/hugepages-%zukB/nr_hugepages", size >> 10);
	put(pool, "1");
	if (size > HUGE && !number(pool))	/* a small guest has no room for 1 GiB in one piece: --mem 4096 --append "hugepagesz=1G hugepages=1" */
		return;
	if (pipe(pipes) || pipe(back))
		die("pipe");
	child.pid = fork();
	if (!child.pid)
		hugetlb_main(size, flag, pipes[1], back[0]);
	if (read(pipes[0], &base, sizeof(base)) != sizeof(base) || prepare(&p) || !freeze(true))
		die("preparing");
	good = !preserve(&v) && v.pages >= size / PAGE && !mapped(base, size);
	ok(good, "a page of %zu MiB of hugetlbfs is taken%s%s", size >> 20, *why ? ": " : "", why);
	good = peek_right(base, 5 * PAGE) && peek_right(base, size - PAGE) && status().faulted_back == size / PAGE && mapped(base, size) == 0;
	ok(good, "what is looked at is right, and pagemap does not show it");
	good = peek_right(base, 0) && !seal(&s, 0) && s.frames >= size / PAGE && !mapped(base, size) && peek_right(base, size / 2);
	ok(good, "it is sealed, and right when it is looked at again%s%s", *why ? ": " : "", why);
	good = !simple(KUP_IOC_ABORT, 0) && mapped(base, size) == size / PAGE && freeze(false);
	ok(good && write(back[1], "", 1) == 1 && waitpid(child.pid, &status_of, 0) == child.pid && !status_of, "and all is back: status %#x", status_of);
	put(pool, "0");
}

static void test_uffd(void)
{
	struct kup_prepare p;
	struct kup_preserve v = { .pid = 0 };
	struct uffdio_api api = { .api = UFFD_API };
	char go = 0, text[16];
	int pipes[2], fd;
	pid_t pid;

	if (pipe(pipes))
		die("pipe");
	pid = fork();
	if (!pid) {
		struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
		void *m = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		snprintf(text, sizeof(text), "%d", getpid());
		put(GROUP "/cgroup.procs", text);
		fd = syscall(SYS_userfaultfd, 0);
		reg.range.start = (uintptr_t)m;
		reg.range.len = HUGE;
		if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg))
			_exit(1);
		if (write(pipes[1], &go, 1) != 1)
			_exit(1);
		pause();
	}
	if (read(pipes[0], &go, 1) != 1 || prepare(&p) || !freeze(true))
		die("preparing");
	v.pid = pid;
	ok(CALL(KUP_IOC_PRESERVE, struct kup_preserve, &v) == EBUSY && strstr(why, "userfaultfd"), "userfaultfd is EBUSY: %s", why);
	simple(KUP_IOC_ABORT, 0);
	kill(pid, SIGKILL);
	freeze(false);
	waitpid(pid, NULL, 0);
}

static bool set_few_extents(unsigned int nr)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", nr);
	return put("/sys/module/kup_ppp/parameters/few_extents", text);
}

/* Preserved, sealed and given back; what SEAL says. */
static struct kup_seal sealed(pid_t pid, unsigned int few, uint64_t min_free)
{
	struct kup_preserve v = { .pid = pid };
	struct kup_seal s = { .min_free = min_free };
	struct kup_prepare p;

	if (!set_few_extents(few) || prepare(&p) || !freeze(true))
		die("preparing");
	if (CALL(KUP_IOC_PRESERVE, struct kup_preserve, &v) || CALL(KUP_IOC_SEAL, struct kup_seal, &s))
		printf("# %s\n", why);
	if (simple(KUP_IOC_ABORT, 0) || !freeze(false))
		die("giving back");
	return s;
}

/* Blocks are filled until the extents are few, but not if memory would be short. */
static void test_few_extents(size_t mib)
{
	struct kup_seal exact, few, poor;
	char go = 0, text[16], *m;
	struct kup_prepare p;
	int pipes[2], back[2];
	pid_t pid;

	if (pipe(pipes) || pipe(back))
		die("pipe");
	pid = fork();
	if (!pid) {
		snprintf(text, sizeof(text), "%d", getpid());
		put(GROUP "/cgroup.procs", text);
		m = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		madvise(m, mib << 20, MADV_NOHUGEPAGE);
		memset(m, 1, mib << 20);
		if (write(pipes[1], &go, 1) != 1 || read(back[0], &go, 1) != 1)
			_exit(1);
		for (size_t i = 0; i < mib << 20; i += 4 * PAGE)
			madvise(m + i, PAGE, MADV_DONTNEED);
		if (write(pipes[1], &go, 1) != 1)
			_exit(1);
		sleeper(NULL);
	}
	/* What stands in the window is moved together: so it is moved before there are gaps, and no window wants these pages again. */
	if (read(pipes[0], &go, 1) != 1 || prepare(&p) || simple(KUP_IOC_ABORT, 0) || write(back[1], &go, 1) != 1 || read(pipes[0], &go, 1) != 1)
		die("a process to seal");
	exact = sealed(pid, 65536, 0);
	few = sealed(pid, 512, 0);
	ok(!exact.block_order && few.extents <= 512 && exact.extents > 1000 && few.reserved_pages > exact.reserved_pages,
	   "few_extents: %u extents of %llu pages, order %u; as few as can be: %u of %llu, order %u", exact.extents, exact.reserved_pages,
	   exact.block_order, few.extents, few.reserved_pages, few.block_order);
	/* All that is left when nothing is filled up, but for a few pages. */
	poor = sealed(pid, 512, (meminfo("MemTotal:") << 10) - (exact.reserved_pages + 64) * PAGE - WINDOW);
	ok(poor.extents && poor.reserved_pages <= exact.reserved_pages + 64, "with no memory to spare nothing is filled up: %u extents of %llu pages",
	   poor.extents, poor.reserved_pages);
	set_few_extents(1024);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void test_speed(size_t mib)
{
	char *m, go = 0, text[16];
	struct kup_prepare p;
	struct kup_preserve v = {};
	struct kup_seal s;
	long t[4];
	int pipes[2];
	pid_t pid;
	bool good;

	if (pipe(pipes))
		die("pipe");
	pid = fork();
	if (!pid) {
		snprintf(text, sizeof(text), "%d", getpid());
		put(GROUP "/cgroup.procs", text);
		m = mmap(NULL, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		madvise(m, mib << 20, MADV_NOHUGEPAGE);
		memset(m, 1, mib << 20);
		if (write(pipes[1], &go, 1) != 1)
			_exit(1);
		sleeper(NULL);
	}
	if (read(pipes[0], &go, 1) != 1 || prepare(&p) || !freeze(true))
		die("preparing");
	v.pid = pid;
	t[0] = microseconds();
	good = !CALL(KUP_IOC_PRESERVE, struct kup_preserve, &v);
	t[1] = microseconds();
	good &= !seal(&s, 0);
	t[2] = microseconds();
	good &= !simple(KUP_IOC_ABORT, 0);
	t[3] = microseconds();
	ok(good, "%llu pages: PRESERVE %ld us, SEAL %ld us (%u extents, order %u, %llu bytes of maps), ABORT %ld us",
	   v.pages, t[1] - t[0], t[2] - t[1], s.extents, s.block_order, s.meta_bytes, t[3] - t[2]);
	kill(pid, SIGKILL);
	freeze(false);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	unsigned int rounds = argc > 1 ? atoi(argv[1]) : 5, i;
	uint64_t before, after, seed = 1;
	long gone = -1;

	setvbuf(stdout, NULL, _IOLBF, 0);
	puts("KTAP version 1");
	dev = open(KUP_DEVICE, O_RDWR);
	if (dev < 0)
		die(KUP_DEVICE);
	if (mkdir(GROUP, 0755) && errno != EEXIST)
		die(GROUP);
	open_core();
	test_hugetlb(1UL << 30, 30 << 26);	/* first: later no memory is in one piece */
	test_hugetlb(HUGE, 21 << 26);
	start_child();
	test_refusals();
	test_netlock();
	test_round(0, seed, true);
	for (i = 1; i <= 2; i++)
		test_round(i, seed, false);
	before = free_memory();
	for (i = 1; i <= rounds; i++) {
		if (i % 10 == 0 && ask('w'))
			seed++;
		test_round(i, seed, false);
	}
	after = free_memory();
	ok(after + 4096 > before, "MemFree was %lu kB, is %lu kB", before, after);
	test_spied_on(seed);
	for (i = 0; i < 3; i++)
		test_evacuated();
	test_killed();
	test_wild();
	test_cut();
	test_uffd();
	test_shmem();
	test_few_extents(64);
	if (argc > 2)
		test_speed(atoi(argv[2]));
	close(dev);
	/* The hook holds the module until RCU lets it go. */
	for (i = 0; i < 3000 && (gone = syscall(SYS_delete_module, "kup_ppp", O_NONBLOCK)); i++)
		usleep(20000);
	ok(!gone, "the module unloads%s%s", gone ? ": " : "", gone ? strerror(errno) : "");
	printf("1..%u\n# %s: %u of %u failed\n", tests, failures ? "FAILED" : "PASSED", failures, tests);
	return failures != 0;
}
