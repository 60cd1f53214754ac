// SPDX-License-Identifier: GPL-2.0
/*
 * The new side of kup_ppp.ko against handovers of kup_fake.ko: adoption, attaching, and everything that may happen to memory
 * that is not bound yet. Runs as root in a test guest; KTAP on stdout.
 *
 *   bind_test [NAME...]	all tests, or these
 *
 * Each test describes chunks, has them made and adopted, then forks a child that maps the same addresses afresh and
 * acts as the restored process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
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
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kup/handover.h>
#include <kup/map.h>
#include <uapi/kup_ppp.h>
#include "kup_fake.h"
#include "meminfo.h"

#define PAGE	4096UL
#define CHUNK	(512 * PAGE)
#define BASE	0x200000000000UL	/* of the first region */
#define PID	77u			/* in the old kernel */

#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

static int dev = -1, fake = -1;
static bool failed;

#define check(cond, fmt, ...) do {							\
	if (!(cond)) {									\
		printf("# line %d: %s: " fmt "\n", __LINE__, #cond, ##__VA_ARGS__);	\
		fflush(stdout);								\
		failed = true;								\
	}										\
} while (0)

/* ---- chunks ---- */

#define MAX_CHUNKS 256
static struct fake_chunk chunks[MAX_CHUNKS];
static unsigned int nr_chunks;
static unsigned long nr_pages;

static void add_chunk(uint32_t pid, unsigned long addr, int huge, int (*there)(int))
{
	struct fake_chunk *c = &chunks[nr_chunks++];

	*c = (struct fake_chunk) { .addr = addr, .pid = pid, .huge = huge };
	for (int i = 0; i < 512; i++)
		if (huge || there(i)) {
			c->present[i / 64] |= 1UL << (i % 64);
			nr_pages++;
		}
}

static int all(int i) { (void)i; return 1; }
static int scattered(int i) { return i * 2654435761u >> 30 & 1; }
static int lower(int i) { return i < 256; }
static int runs(int i) { return i % 16 < 11; }
static int one(int i) { return i == 100; }
static int few(int i) { return i == 0 || i == 3 || i == 8 || i == 9; }

static bool present(unsigned long addr)
{
	for (unsigned int n = 0; n < nr_chunks; n++)
		if (chunks[n].addr == (addr & ~(CHUNK - 1))) {
			unsigned int i = addr % CHUNK / PAGE;

			return chunks[n].present[i / 64] >> (i % 64) & 1;
		}
	return false;
}

static bool has(const __u64 *map, unsigned int i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static void standard_chunks(unsigned int times)
{
	unsigned long addr = BASE;

	nr_chunks = 0;
	nr_pages = 0;
	while (times--) {
		add_chunk(PID, addr, 0, scattered);
		add_chunk(PID, addr + CHUNK, 1, NULL);
		add_chunk(PID, addr + 2 * CHUNK, 0, runs);
		add_chunk(PID, addr + 3 * CHUNK, 0, all);
		add_chunk(PID, addr + 4 * CHUNK, 1, NULL);
		add_chunk(PID, addr + 5 * CHUNK, 0, lower);
		add_chunk(PID, addr + 6 * CHUNK, 0, one);
		addr += 8 * CHUNK;	/* one has no frames */
	}
}

static unsigned long end_of_chunks(void)
{
	return chunks[nr_chunks - 1].addr + CHUNK;
}

static int file = -1;	/* what is mapped, if anything */

static uint64_t file_word(unsigned long addr, unsigned int i)
{
	return (addr + i) * 0xd6e8feb86659fd93ULL ^ 5;
}

/* Is the page what the old kernel left there, or if nothing zero, or the file's? */
static bool page_ok_as(uint32_t pid, unsigned long addr, const void *at)
{
	const uint64_t *p = at;
	bool here = present(addr);

	for (unsigned int i = 0; i < 512; i++) {
		uint64_t right = here ? fake_word(pid, addr, i) : file >= 0 ? file_word(addr, i) : 0;

		if (p[i] != right) {
			printf("# page %#lx word %u: %#lx, not %#lx\n", addr, i, (long)p[i], (long)right);
			return false;
		}
	}
	return true;
}

static bool page_ok(unsigned long addr)
{
	return page_ok_as(PID, addr, (void *)addr);
}

static bool range_ok(unsigned long start, unsigned long end)
{
	for (; start < end; start += PAGE)
		if (!page_ok(start))
			return false;
	return true;
}

static bool range_is_zero(unsigned long start, unsigned long end)
{
	for (uint64_t *p = (void *)start; p < (uint64_t *)end; p++)
		if (*p)
			return false;
	return true;
}

/* ---- the device ---- */

static struct kup_status status(void)
{
	struct kup_status st = { .size = sizeof(st) };

	check(!ioctl(dev, KUP_IOC_STATUS, &st), "%m");
	return st;
}

static char why[KUP_WHY_LEN];

static int simple(unsigned long cmd, uint32_t flags)
{
	struct kup_simple s = { .size = sizeof(s), .flags = flags };
	int err = ioctl(dev, cmd, &s) ? -errno : 0;

	strcpy(why, s.why);
	return err;
}

static struct kup_adopt adopted;
static bool with_sums;	/* the next handovers have */

static int adopt(enum fake_defect defect, uint32_t flags)
{
	struct fake_handover f = { .chunks = (uintptr_t)chunks, .nr_chunks = nr_chunks, .defect = defect, .store_size = 100000,
				   .extra_pages = 33, .flags = flags, .sums = with_sums };
	struct kup_adopt a = { .size = sizeof(a) };
	int err;

	if (ioctl(fake, FAKE_IOC_MAKE, &f)) {
		printf("# cannot make a handover: %m\n");
		failed = true;
		return -1;
	}
	a.area = f.area;
	err = ioctl(dev, KUP_IOC_ADOPT, &a) ? -errno : 0;
	strcpy(why, a.why);
	if (err)
		ioctl(fake, FAKE_IOC_UNMAKE);
	adopted = a;
	return err;
}

static uint64_t replaced;

static long now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static long attach_us;

static int attach(pid_t pid, uint32_t old)
{
	struct kup_attach a = { .size = sizeof(a), .pid = pid, .old_pid = old };
	long start = now_us();
	int err = ioctl(dev, KUP_IOC_ATTACH, &a) ? -errno : 0;

	attach_us = now_us() - start;
	strcpy(why, a.why);
	replaced = a.replaced;
	return err;
}

/* @nr, or 0 in a kernel that has none (PREEMPT_RT). */
static unsigned int huge_pages(unsigned int nr)
{
	return access("/sys/kernel/mm/transparent_hugepage", F_OK) ? 0 : nr;
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok;
}

/* ---- the restored process ---- */

static int to_child[2], to_parent[2];

static void say(int fd)
{
	if (write(fd, "x", 1) != 1)
		abort();
}

static bool hear(int fd)
{
	char c;

	return read(fd, &c, 1) == 1;
}

static void *map_at(unsigned long addr, unsigned long len, int prot)
{
	void *p = mmap((void *)addr, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);

	check(p == (void *)addr, "%m");
	return p;
}

static void map_all(void)
{
	map_at(BASE, end_of_chunks() - BASE, PROT_READ | PROT_WRITE);
}

/* Runs @prepare in a child, then waits for say(to_child), then runs @body. */
static pid_t start_child(void (*prepare)(void), void (*body)(void))
{
	pid_t pid;

	check(!pipe(to_child) && !pipe(to_parent), "%m");
	fflush(stdout);
	pid = fork();
	if (pid)  {
		close(to_child[0]);
		close(to_parent[1]);
		check(hear(to_parent[0]), "child died early");
		return pid;
	}
	close(to_child[1]);
	close(to_parent[0]);
	prepare();
	say(to_parent[1]);
	if (!hear(to_child[0]))
		_exit(9);
	body();
	fflush(stdout);
	_exit(failed);
}

static void end_child(pid_t pid)
{
	int st;

	check(waitpid(pid, &st, 0) == pid, "%m");
	check(WIFEXITED(st) && !WEXITSTATUS(st), "status %#x", st);
	close(to_child[1]);
	close(to_parent[0]);
}

static void wait_idle(void)
{
	check(!simple(KUP_IOC_DRAIN, KUP_DRAIN_RUN | KUP_DRAIN_WAIT), "%m");
	check(status().state == KUP_STATE_IDLE, "%u", status().state);
	check(!strcmp(status().hook, "none"), "%s", status().hook);
	check(status().unbound_pages == 0, "");
}

/* The usual course: adopt, child, attach, COMMIT (held or not), let it run @body, all drained and in order at the end. */
static void run(void (*prepare)(void), void (*body)(void), bool hold)
{
	long total = meminfo("MemTotal:");
	struct kup_status st;
	pid_t pid;

	check(!adopt(FAKE_FINE, 0), "%s", why);
	pid = start_child(prepare, body);
	check(!attach(pid, PID), "%s", why);
	check(strcmp(status().hook, "none"), "");
	if (hold)
		check(!simple(KUP_IOC_DRAIN, KUP_DRAIN_HOLD), "%m");
	check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
	say(to_child[1]);
	end_child(pid);
	wait_idle();
	st = status();
	check(st.bound_pages + st.dropped_pages == nr_pages, "%lu + %lu != %lu", (long)st.bound_pages, (long)st.dropped_pages, nr_pages);
	check(meminfo("MemTotal:") == total, "%ld != %ld", meminfo("MemTotal:"), total);
}

/* ---- tests ---- */

static void test_adopt(void)
{
	static const int expect[FAKE_NR] = {
		[FAKE_HEADER] = -EBADMSG, [FAKE_MAPS] = -EBADMSG, [FAKE_STORE] = -EBADMSG, [FAKE_EXTENTS] = -EBADMSG,
		[FAKE_NOT_RESERVED] = -EBADMSG, [FAKE_IN_USE] = -EBADMSG, [FAKE_TWICE] = -EBADMSG, [FAKE_OUTSIDE] = -EBADMSG,
		[FAKE_NO_STUB] = -EBADMSG, [FAKE_ADOPTED] = -ESTALE, [FAKE_AGAIN] = -EBADMSG,
	};
	struct kup_adopt a = { .size = sizeof(a), .area = 64UL << 20 };
	long total = meminfo("MemTotal:");
	char buf[1000];
	int err;

	standard_chunks(1);
	check(ioctl(dev, KUP_IOC_ADOPT, &a) && errno == ENOENT, "%m %s", a.why);
	a.area = 1UL << 50;
	check(ioctl(dev, KUP_IOC_ADOPT, &a) && errno == ENOENT, "%m %s", a.why);
	a.area = 4096;
	check(ioctl(dev, KUP_IOC_ADOPT, &a) && errno == EINVAL, "%m %s", a.why);
	for (int i = 1; i < FAKE_FRAME; i++) {
		err = adopt(i, 0);
		check(err == expect[i], "defect %d: %s (%s)", i, strerror(-err), why);
		check(*why, "defect %d", i);
		check(status().state == KUP_STATE_IDLE, "");
	}
	/* So few pages are runs, which are taken as such: what was taken goes back, or the first page would be the culprit. */
	nr_chunks = nr_pages = 0;
	add_chunk(PID, BASE, 0, few);
	snprintf(buf, sizeof(buf), "at %#lx is not reserved, or named twice", BASE + 9 * PAGE);
	check(adopt(FAKE_TWICE, 0) == -EBADMSG && strstr(why, buf), "%s", why);
	standard_chunks(1);
	check(meminfo("MemTotal:") == total, "%ld != %ld", meminfo("MemTotal:"), total);
	check(!adopt(FAKE_FINE, 0), "%s", why);
	check(adopted.frames == nr_pages && adopted.huge == 2 && adopted.nr_mms == 1 && adopted.store_size == 100000, "");
	check(adopted.returned_pages == 33, "%lu", (long)adopted.returned_pages);
	check(!strcmp(adopted.release, "fake"), "%s", adopted.release);
	check(status().unbound_pages == nr_pages, "");
	lseek(dev, 0, SEEK_SET);
	for (long at = 0, n; (n = read(dev, buf, sizeof(buf))) > 0; at += n)
		for (int i = 0; i < n; i++)
			if (buf[i] != (char)((at + i) * 7)) {
				check(0, "store at %ld", at + i);
				n = i;
			}
	check(attach(getpid(), 12345) == -ENOENT && *why, "");
	check(attach(999999, PID) == -ESRCH && *why, "");
	check(!simple(KUP_IOC_ABORT, 0), "%s", why);
	check(status().state == KUP_STATE_IDLE && status().dropped_pages == nr_pages, "");
	check(meminfo("MemTotal:") == total, "%ld != %ld", meminfo("MemTotal:"), total);
}

static void body_read_all(void)
{
	check(range_ok(BASE, end_of_chunks()), "");
}

static uint64_t verified;

static int verify(void)
{
	struct kup_verify v = { .size = sizeof(v) };
	int err = ioctl(dev, KUP_IOC_VERIFY, &v) ? -errno : 0;

	strcpy(why, v.why);
	verified = v.pages;
	return err;
}

static void test_verify(void)
{
	char buf[100];
	pid_t pid;

	standard_chunks(2);
	check(!adopt(FAKE_FINE, 0), "%s", why);
	check(verify() == -ENODATA && *why, "%s", why);
	check(!simple(KUP_IOC_ABORT, 0), "%s", why);
	check(verify() == -EBUSY, "%s", why);
	with_sums = true;
	/* Of one byte that changed, in a chunk of each form. */
	for (unsigned int i = 7; i; i--) {
		nr_chunks = 6 + i;
		snprintf(buf, sizeof(buf), "process %u (fake) from %#llx", PID, (unsigned long long)chunks[nr_chunks - 1].addr);
		check(!adopt(FAKE_FRAME, 0), "%s", why);
		check(verify() == -EBADMSG && strstr(why, buf), "%s, not %s", why, buf);
		check(!simple(KUP_IOC_ABORT, 0), "%s", why);
	}
	standard_chunks(2);
	check(!adopt(FAKE_FINE, 0), "%s", why);
	check(!verify() && verified == nr_pages, "%s, %lu of %lu", why, (long)verified, nr_pages);
	/* A process that ended before it touched any: a restore is tried again. */
	pid = start_child(map_all, body_read_all);
	check(!attach(pid, PID), "%s", why);
	check(verify() == -EBUSY && *why, "%s", why);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(to_child[1]);
	close(to_parent[0]);
	check(!verify() && verified == nr_pages, "%s", why);
	pid = start_child(map_all, body_read_all);
	check(!attach(pid, PID), "%s", why);
	check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
	say(to_child[1]);
	end_child(pid);
	wait_idle();
	with_sums = false;
}

static long smaps(const char *key)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[256];
	unsigned long start, end;
	bool in = false;
	long kb = 0;

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			in = start >= BASE && end <= end_of_chunks();
		else if (in && !strncmp(line, key, strlen(key)))
			kb += atol(line + strlen(key));
	}
	fclose(f);
	return kb;
}

static void body_accounting(void)
{
	unsigned long touched = 0;

	for (unsigned long a = BASE; a < end_of_chunks(); a += PAGE)
		if (present(a))
			touched += page_ok(a);
	check(touched == nr_pages, "%lu", touched);
	check(smaps("Rss:") == (long)(nr_pages * 4), "%ld", smaps("Rss:"));
	check(smaps("Anonymous:") == (long)(nr_pages * 4), "%ld", smaps("Anonymous:"));
	check(smaps("Private_Dirty:") == (long)(nr_pages * 4), "%ld", smaps("Private_Dirty:"));
	check(smaps("AnonHugePages:") == (long)huge_pages(2) * 2048, "%ld", smaps("AnonHugePages:"));
}

static void test_faults(void)
{
	standard_chunks(1);
	run(map_all, body_accounting, true);
	check(status().fault_binds == nr_chunks && status().bound_huge == huge_pages(2), "%lu", (long)status().fault_binds);
	run(map_all, body_read_all, false);
}

static void body_sleep(void)
{
	while (status().state != KUP_STATE_IDLE)
		usleep(10000);
	body_accounting();
}

static void test_drain(void)
{
	standard_chunks(1);
	run(map_all, body_sleep, false);
	check(status().drain_ns > 0, "");
	printf("# %lu pages, %lu huge ones in them, drained in %lu us, attached in %ld us\n", nr_pages,
	       (long)status().bound_huge, (long)status().drain_ns / 1000, attach_us);
}

static void body_write(void)
{
	for (unsigned long a = BASE; a < end_of_chunks(); a += PAGE)
		((uint64_t *)a)[7] = a;
	for (unsigned long a = BASE; a < end_of_chunks(); a += PAGE) {
		check(((uint64_t *)a)[7] == a, "");
		((uint64_t *)a)[7] = present(a) ? fake_word(PID, a, 7) : file >= 0 ? file_word(a, 7) : 0;
	}
	body_read_all();
}

static void test_write(void)
{
	standard_chunks(1);
	run(map_all, body_write, true);
}

static void prepare_dirty(void)
{
	map_all();
	for (unsigned long a = BASE; a < end_of_chunks(); a += 3 * PAGE)
		if (present(a))
			memset((void *)a, 0x55, PAGE);
}

static void test_present(void)
{
	standard_chunks(1);
	run(prepare_dirty, body_read_all, true);
	check(replaced > 100, "%lu", (long)replaced);
}

static void body_fork(void)
{
	int st;
	pid_t pid = fork();

	if (!pid) {
		body_write();
		_exit(failed);
	}
	body_write();
	check(waitpid(pid, &st, 0) == pid && st == 0, "%#x", st);
}

static void test_fork(void)
{
	standard_chunks(1);
	run(map_all, body_fork, true);
	check(status().fault_binds == 0, "%lu", (long)status().fault_binds);
}

static void map_file(void)
{
	unsigned long end = end_of_chunks();

	check(mmap((void *)BASE, end - BASE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED_NOREPLACE, file, 0) != MAP_FAILED, "%m");
	/* with what is around them */
	for (unsigned long a = BASE + PAGE; a < end; a += 40 * PAGE)
		*(volatile char *)a;
}

static bool file_pages_ok(unsigned long start, unsigned long end)
{
	for (; start < end; start += PAGE)
		if (!present(start) && !page_ok(start))
			return false;
	return true;
}

/* What is the file's first, so that the kernel maps more around it. */
static void body_file(void)
{
	check(file_pages_ok(BASE, end_of_chunks()), "");
	check(range_ok(BASE, end_of_chunks()), "");
	memset((void *)(BASE + CHUNK), 0x55, CHUNK);
	/* what was written to is lost, and the file's again */
	check(!madvise((void *)(BASE + CHUNK), CHUNK, MADV_DONTNEED), "%m");
	for (unsigned long a = BASE + CHUNK; a < BASE + 2 * CHUNK; a += PAGE)
		check(*(uint64_t *)a == file_word(a, 0), "%#lx", a);
}

/* One of a page of the file reaches into it, to a chunk's end; the rest is anonymous. */
static void map_part_of_file(void)
{
	map_all();
	check(mmap((void *)(BASE + PAGE), CHUNK - PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, PAGE) != MAP_FAILED, "%m");
}

static void body_part_of_file(void)
{
	check(file_pages_ok(BASE + PAGE, BASE + CHUNK), "");
	check(range_ok(BASE + PAGE, BASE + CHUNK), "");
}

static void test_file(void)
{
	uint64_t words[512];

	standard_chunks(1);
	file = memfd_create("file", MFD_CLOEXEC);
	for (unsigned long a = BASE; a < end_of_chunks(); a += PAGE) {
		for (unsigned int i = 0; i < 512; i++)
			words[i] = file_word(a, i);
		check(pwrite(file, words, PAGE, a - BASE) == PAGE, "%m");
	}
	run(map_file, body_file, true);
	check(replaced > 100, "%lu", (long)replaced);
	run(map_file, body_fork, true);
	run(map_file, body_file, false);
	run(map_part_of_file, body_part_of_file, true);
	close(file);
	file = -1;
}

static void body_munmap(void)
{
	/* half of a huge chunk, a part of a scattered one, a whole one; the rest of the first two stays */
	munmap((void *)(BASE + CHUNK + CHUNK / 2), CHUNK / 2);
	munmap((void *)(BASE + 10 * PAGE), 20 * PAGE);
	munmap((void *)(BASE + 3 * CHUNK), CHUNK);
	check(range_ok(BASE, BASE + 10 * PAGE), "");
	check(range_ok(BASE + 30 * PAGE, BASE + CHUNK + CHUNK / 2), "");
	check(range_ok(BASE + 2 * CHUNK, BASE + 3 * CHUNK), "");
	/* and a new mapping is empty */
	map_at(BASE + 3 * CHUNK, CHUNK, PROT_READ | PROT_WRITE);
	check(range_is_zero(BASE + 3 * CHUNK, BASE + 4 * CHUNK), "");
	mmap((void *)(BASE + 4 * CHUNK + 5 * PAGE), 7 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	check(range_is_zero(BASE + 4 * CHUNK + 5 * PAGE, BASE + 4 * CHUNK + 12 * PAGE), "");
	check(range_ok(BASE + 4 * CHUNK + 12 * PAGE, BASE + 5 * CHUNK), "");
}

static void test_munmap(void)
{
	standard_chunks(1);
	run(map_all, body_munmap, true);
	check(status().dropped_pages >= 512, "%lu", (long)status().dropped_pages);
}

static void body_mremap(void)
{
	unsigned long to = BASE + (1UL << 40);

	/* a huge chunk to an unaligned place, a scattered one to an aligned one */
	check(mremap((void *)(BASE + CHUNK), CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED, to + PAGE) != MAP_FAILED, "%m");
	check(mremap((void *)BASE, CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED, to + 4 * CHUNK) != MAP_FAILED, "%m");
	for (unsigned long i = 0; i < CHUNK; i += PAGE) {
		check(page_ok_as(PID, BASE + CHUNK + i, (void *)(to + PAGE + i)), "");
		check(page_ok_as(PID, BASE + i, (void *)(to + 4 * CHUNK + i)), "");
	}
	/* onto unbound memory */
	check(mremap((void *)(to + PAGE), CHUNK, CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED, BASE + 3 * CHUNK) != MAP_FAILED, "%m");
	for (unsigned long i = 0; i < CHUNK; i += PAGE)
		check(page_ok_as(PID, BASE + CHUNK + i, (void *)(BASE + 3 * CHUNK + i)), "");
	/* shrinking */
	check(mremap((void *)(BASE + 4 * CHUNK), CHUNK, PAGE, 0) != MAP_FAILED, "%m");
	check(page_ok(BASE + 4 * CHUNK), "");
}

static void test_mremap(void)
{
	standard_chunks(1);
	run(map_all, body_mremap, true);
}

static void body_madvise(void)
{
	madvise((void *)(BASE + 4 * CHUNK), CHUNK, MADV_HUGEPAGE);
	madvise((void *)(BASE + 4 * CHUNK), CHUNK, MADV_NOHUGEPAGE);
	check(status().unbound_pages == nr_pages, "");
	check(!madvise((void *)(BASE + CHUNK), CHUNK, MADV_DONTNEED), "%m");
	check(range_is_zero(BASE + CHUNK, BASE + 2 * CHUNK), "");
	check(!madvise((void *)(BASE + 100 * PAGE), PAGE, MADV_DONTNEED), "%m");
	check(range_ok(BASE, BASE + 100 * PAGE) && range_is_zero(BASE + 100 * PAGE, BASE + 101 * PAGE), "");
	check(!madvise((void *)(BASE + 2 * CHUNK), CHUNK, MADV_COLD), "%m");
	check(range_ok(BASE + 2 * CHUNK, BASE + 3 * CHUNK), "");
	madvise((void *)(BASE + 3 * CHUNK), CHUNK, MADV_COLLAPSE);
	check(range_ok(BASE + 3 * CHUNK, BASE + 4 * CHUNK), "");
	check(!madvise((void *)(BASE + 5 * CHUNK), CHUNK, MADV_POPULATE_READ), "%m");
	check(range_ok(BASE + 5 * CHUNK, BASE + 6 * CHUNK), "");
	madvise((void *)(BASE + 6 * CHUNK), CHUNK, MADV_FREE);
}

static void test_madvise(void)
{
	standard_chunks(1);
	run(map_all, body_madvise, true);
}

/* Of one's own memory since 6.13; before, discarding is EINVAL and nothing may be lost. */
static void body_vector_madvise(void)
{
	struct iovec vec[] = {
		{ (void *)(BASE + CHUNK), CHUNK }, { (void *)(BASE + 100 * PAGE), PAGE }, { (void *)(BASE + 4 * CHUNK), 3 * PAGE },
	};
	int fd = syscall(SYS_pidfd_open, getpid(), 0);
	long n;

	check(fd >= 0, "%m");
	n = syscall(SYS_process_madvise, fd, vec, 3, MADV_DONTNEED, 0);
	if (n < 0 && errno == EINVAL) {
		check(syscall(SYS_process_madvise, fd, vec, 3, MADV_PAGEOUT, 0) == (long)(CHUNK + 4 * PAGE), "%m");
		body_read_all();
		return;
	}
	check(n == (long)(CHUNK + 4 * PAGE), "%ld, %m", n);
	check(range_is_zero(BASE + CHUNK, BASE + 2 * CHUNK), "");
	check(range_ok(BASE, BASE + 100 * PAGE) && range_is_zero(BASE + 100 * PAGE, BASE + 101 * PAGE), "");
	check(range_is_zero(BASE + 4 * CHUNK, BASE + 4 * CHUNK + 3 * PAGE), "");
	check(range_ok(BASE + 4 * CHUNK + 3 * PAGE, BASE + 5 * CHUNK), "");
	/* a vector of one, which the kernel keeps in another form */
	vec[0].iov_base = (void *)(BASE + 3 * CHUNK + PAGE);
	vec[0].iov_len = 8 * PAGE;
	check(syscall(SYS_process_madvise, fd, vec, 1, MADV_DONTNEED, 0) == 8 * (long)PAGE, "%m");
	check(range_is_zero(BASE + 3 * CHUNK + PAGE, BASE + 3 * CHUNK + 9 * PAGE), "");
	check(range_ok(BASE + 3 * CHUNK + 9 * PAGE, BASE + 4 * CHUNK), "");
	check(range_ok(BASE + 2 * CHUNK, BASE + 3 * CHUNK), "");
}

static void test_vector_madvise(void)
{
	standard_chunks(1);
	run(map_all, body_vector_madvise, true);
}

static void prepare_cut(void)
{
	map_all();
	/* VMAs that begin and end inside chunks, of all kinds */
	mprotect((void *)(BASE + 50 * PAGE), 100 * PAGE, PROT_READ);
	mprotect((void *)(BASE + CHUNK + 200 * PAGE), PAGE, PROT_NONE);
	mlock((void *)(BASE + 2 * CHUNK), 0);
	madvise((void *)(BASE + 3 * CHUNK + 8 * PAGE), 9 * PAGE, MADV_DONTFORK);
	mprotect((void *)(BASE + 4 * CHUNK), CHUNK, PROT_READ);
}

static void body_cut(void)
{
	check(range_ok(BASE, BASE + CHUNK + 200 * PAGE), "");
	check(range_ok(BASE + CHUNK + 201 * PAGE, end_of_chunks()), "");
	mprotect((void *)(BASE + CHUNK + 200 * PAGE), PAGE, PROT_READ | PROT_WRITE);
	check(page_ok(BASE + CHUNK + 200 * PAGE), "");
	mprotect((void *)BASE, end_of_chunks() - BASE, PROT_READ | PROT_WRITE);
	body_write();
	check(status().bound_huge == huge_pages(1), "%lu", (long)status().bound_huge);
}

static void body_mprotect(void)
{
	mprotect((void *)(BASE + CHUNK), 3 * PAGE, PROT_READ);
	mprotect((void *)(BASE + 100 * PAGE), 3 * PAGE, PROT_NONE);
	check(status().unbound_pages == nr_pages, "");
	check(range_ok(BASE + CHUNK, end_of_chunks()), "");
	mprotect((void *)BASE, end_of_chunks() - BASE, PROT_READ | PROT_WRITE);
	body_write();
}

static void test_mprotect(void)
{
	standard_chunks(1);
	run(prepare_cut, body_cut, true);
	run(map_all, body_mprotect, true);
}

static void body_mlock(void)
{
	check(!mlock((void *)BASE, end_of_chunks() - BASE), "%m");
	check(smaps("Locked:") >= (long)(nr_pages * 4), "%ld", smaps("Locked:"));
	body_read_all();
	munlock((void *)BASE, CHUNK + 5 * PAGE);
	body_read_all();
}

static void body_mlock_onfault(void)
{
	check(!syscall(SYS_mlock2, BASE, end_of_chunks() - BASE, 1), "%m");
	body_read_all();
	write_file("/proc/sys/vm/stat_refresh", "1");
	check(meminfo("Mlocked:") >= (long)(nr_pages * 4), "%ld", meminfo("Mlocked:"));
}

static void test_mlock(void)
{
	standard_chunks(1);
	run(map_all, body_mlock, true);
	run(map_all, body_mlock_onfault, true);
	write_file("/proc/sys/vm/drop_caches", "1");	/* drains the CPUs' lists of pages to munlock first; exit does not on 7.2 */
	write_file("/proc/sys/vm/stat_refresh", "1");
	check(meminfo("Mlocked:") == 0, "%ld", meminfo("Mlocked:"));
}

static void body_uffd(void)
{
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | 1);
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .range = { BASE, 8 * CHUNK }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffdio_zeropage zero;
	unsigned long hole;

	check(fd >= 0 && !ioctl(fd, UFFDIO_API, &api), "%m");
	check(status().unbound_pages == nr_pages, "");
	reg.range.len = end_of_chunks() - BASE;
	check(!ioctl(fd, UFFDIO_REGISTER, &reg), "%m");
	check(status().unbound_pages == 0, "%lu", (long)status().unbound_pages);
	for (hole = BASE; present(hole); hole += PAGE)
		;
	zero = (struct uffdio_zeropage) { .range = { hole, PAGE } };
	check(!ioctl(fd, UFFDIO_ZEROPAGE, &zero), "%m");
	close(fd);
	body_read_all();
}

static void test_uffd(void)
{
	standard_chunks(1);
	run(map_all, body_uffd, true);
}

static void body_remote(void)
{
	char buf[PAGE];
	struct iovec here = { buf, PAGE }, there = { (void *)(BASE + CHUNK + PAGE), PAGE };
	int fd;

	check(process_vm_readv(getpid(), &here, 1, &there, 1, 0) == PAGE, "%m");
	check(page_ok_as(PID, BASE + CHUNK + PAGE, buf), "");
	fd = open("/proc/self/mem", O_RDWR);
	check(pread(fd, buf, PAGE, BASE + 3 * CHUNK) == PAGE && page_ok_as(PID, BASE + 3 * CHUNK, buf), "%m");
	check(pwrite(fd, buf, PAGE, BASE + 3 * CHUNK) == PAGE, "%m");
	close(fd);
	/* the kernel's own accesses */
	fd = open("/dev/zero", O_RDONLY);
	check(read(fd, (void *)(BASE + 2 * CHUNK), 8) == 8, "%m");
	close(fd);
	check(*(uint64_t *)(BASE + 2 * CHUNK) == 0, "");
	*(uint64_t *)(BASE + 2 * CHUNK) = fake_word(PID, BASE + 2 * CHUNK, 0);
	body_read_all();
}

static void test_remote(void)
{
	standard_chunks(1);
	run(map_all, body_remote, true);
}

static void test_core(void)
{
	struct rlimit lim = { RLIM_INFINITY, RLIM_INFINITY };
	static char page[PAGE];
	unsigned long found = 0;
	struct stat sb;
	pid_t pid;
	int fd, st;

	standard_chunks(1);
	check(write_file("/proc/sys/kernel/core_pattern", "/tmp/core"), "%m");
	setrlimit(RLIMIT_CORE, &lim);
	check(!adopt(FAKE_FINE, 0), "%s", why);
	pid = start_child(map_all, abort);
	check(!attach(pid, PID), "%s", why);
	simple(KUP_IOC_DRAIN, KUP_DRAIN_HOLD);
	check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
	say(to_child[1]);
	waitpid(pid, &st, 0);
	check(WIFSIGNALED(st) && WCOREDUMP(st), "%#x", st);
	wait_idle();
	fd = open("/tmp/core", O_RDONLY);
	check(fd >= 0 && !fstat(fd, &sb), "%m");
	while (fd >= 0 && read(fd, page, PAGE) == PAGE)
		for (unsigned int n = 0; n < nr_chunks; n++) {
			uint64_t addr = (((uint64_t *)page)[0] - 0x9e3779b97f4a7c15ULL) ^ (uint64_t)PID << 48;

			if ((addr & ~(CHUNK - 1)) == chunks[n].addr && page_ok_as(PID, addr, page))
				found++;
		}
	check(found == nr_pages, "%lu of %lu pages in the core file", found, nr_pages);
	close(fd);
	unlink("/tmp/core");
	lim.rlim_cur = 0;
	setrlimit(RLIMIT_CORE, &lim);
}

static void body_none(void)
{
}

static void test_retry(void)
{
	long total = meminfo("MemTotal:");
	pid_t pid;

	standard_chunks(1);
	check(!adopt(FAKE_FINE, 0), "%s", why);
	pid = start_child(prepare_dirty, body_none);
	check(!attach(pid, PID), "%s", why);
	check(attach(pid, PID) == -EBUSY && *why, "");
	check(simple(KUP_IOC_ABORT, 0) == -EBUSY && *why, "");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	/* all is still in the handover */
	check(status().unbound_pages == nr_pages, "%lu", (long)status().unbound_pages);
	pid = start_child(map_all, body_read_all);
	check(!attach(pid, PID), "%s", why);
	check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
	say(to_child[1]);
	end_child(pid);
	wait_idle();
	check(status().dropped_pages == 0, "");

	/* this time something was used before COMMIT */
	check(!adopt(FAKE_FINE, 0), "%s", why);
	pid = start_child(map_all, body_read_all);
	check(!attach(pid, PID), "%s", why);
	say(to_child[1]);
	end_child(pid);
	pid = start_child(map_all, body_none);
	check(attach(pid, PID) == -EBUSY && strstr(why, "lost"), "%s", why);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	check(!simple(KUP_IOC_ABORT, 0), "%s", why);
	check(!strcmp(status().hook, "none"), "");
	check(meminfo("MemTotal:") == total, "");
}

static void prepare_hole(void)
{
	map_all();
	munmap((void *)(BASE + 3 * CHUNK + 7 * PAGE), PAGE);
}

static void prepare_shared(void)
{
	map_all();
	mmap((void *)(BASE + 3 * CHUNK), PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void test_misfit(void)
{
	pid_t pid;

	standard_chunks(1);
	check(!adopt(FAKE_FINE, 0), "%s", why);
	pid = start_child(prepare_hole, body_none);
	check(attach(pid, PID) == -EADDRNOTAVAIL && *why, "%s", why);
	check(!strcmp(status().hook, "none"), "");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	pid = start_child(prepare_shared, body_none);
	check(attach(pid, PID) == -EADDRNOTAVAIL && *why, "%s", why);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	check(!simple(KUP_IOC_ABORT, 0), "%s", why);
}

static void body_exit(void)
{
	check(page_ok(BASE + CHUNK), "");
	_exit(failed);
}

static void body_exec(void)
{
	check(page_ok(BASE + CHUNK), "");
	execl("/bin/true", "true", NULL);
	execl("/bin/busybox", "true", NULL);
	_exit(1);
}

static void test_exit(void)
{
	standard_chunks(1);
	run(map_all, body_exit, true);
	check(status().dropped_pages == nr_pages - 512, "%lu", (long)status().dropped_pages);
	run(map_all, body_exec, true);
	check(status().dropped_pages == nr_pages - 512, "%lu", (long)status().dropped_pages);
}

static void test_guards(void)
{
	pid_t pid;

	standard_chunks(1);
	check(!adopt(FAKE_FINE, 0), "%s", why);
	pid = start_child(map_all, body_read_all);
	check(!attach(pid, PID), "%s", why);
	check(!write_file("/proc/sys/kernel/ftrace_enabled", "0"), "ftrace could be turned off");
	if (!strcmp(status().hook, "kprobe") && !access("/sys/kernel/debug/kprobes/enabled", F_OK))
		check(!write_file("/sys/kernel/debug/kprobes/enabled", "0"), "kprobes could be turned off");
	check(syscall(SYS_delete_module, "kup_ppp", O_NONBLOCK), "unloaded");
	simple(KUP_IOC_DRAIN, KUP_DRAIN_HOLD);
	check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
	check(status().flags & KUP_STATUS_HELD, "");
	say(to_child[1]);
	end_child(pid);
	wait_idle();
	/* 7.3 does not let anybody turn it off, ever */
	check(write_file("/proc/sys/kernel/ftrace_enabled", "0") || errno == EOPNOTSUPP, "%m");
	check(write_file("/proc/sys/kernel/ftrace_enabled", "1"), "%m");
}

static void body_prctl(void)
{
	check(!prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), "%m");
	check(status().unbound_pages == 0, "%lu", (long)status().unbound_pages);
	check(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 0, "");
	body_read_all();
}

static void test_thp_flag(void)
{
	standard_chunks(1);
	run(map_all, body_prctl, true);
	for (uint32_t flag = 0; flag < 2; flag++) {
		pid_t pid;
		char path[64], line[128];
		FILE *f;
		int enabled = -1;

		standard_chunks(1);
		check(!adopt(FAKE_FINE, flag), "%s", why);
		pid = start_child(map_all, body_read_all);
		check(!attach(pid, PID), "%s", why);
		check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
		wait_idle();
		snprintf(path, sizeof(path), "/proc/%d/status", pid);
		f = fopen(path, "r");
		while (f && fgets(line, sizeof(line), f))
			sscanf(line, "THP_enabled: %d", &enabled);
		fclose(f);
		check(enabled == (huge_pages(1) && !flag), "%d", enabled);
		say(to_child[1]);
		end_child(pid);
	}
}

static void prepare_limited(void)
{
	char text[32];

	mkdir("/sys/fs/cgroup/kuptest", 0755);
	snprintf(text, sizeof(text), "%d", getpid());
	check(write_file("/sys/fs/cgroup/kuptest/memory.max", "4M"), "%m");
	check(write_file("/sys/fs/cgroup/kuptest/cgroup.procs", text), "%m");
	map_all();
}

/* Much more than the limit allows, without swap: all gets bound, and nobody is killed for it. */
static void enter_cgroup2(void)
{
	mkdir("/sys/fs/cgroup", 0755);
	if (access("/sys/fs/cgroup/cgroup.procs", F_OK))
		check(!system("mount -t cgroup2 c /sys/fs/cgroup"), "");
	check(write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory"), "%m");
}

/* What the kernel's lists of anonymous pages have of the cgroup kuptest, and what is mapped: the same, but for pages on their way there. */
static void look_at_lists(unsigned long least)
{
	unsigned long anon = 0, lists = 0, bytes;
	FILE *f = fopen("/sys/fs/cgroup/kuptest/memory.stat", "r");
	char name[64];

	check(f, "%m");
	while (fscanf(f, "%63s %lu", name, &bytes) == 2) {
		if (!strcmp(name, "anon"))
			anon = bytes;
		else if (!strcmp(name, "active_anon") || !strcmp(name, "inactive_anon"))
			lists += bytes;
	}
	fclose(f);
	check(anon >= least, "%lu bytes are mapped, of %lu", anon, least);
	check(anon - lists + 256 * PAGE <= 512 * PAGE, "%lu bytes are mapped, %lu on the lists", anon, lists);
}

static void test_memcg(void)
{
	char text[32] = "";
	pid_t pid;
	int fd;

	enter_cgroup2();
	standard_chunks(1);
	check(!adopt(FAKE_FINE, 0), "%s", why);
	pid = start_child(prepare_limited, body_accounting);
	check(!attach(pid, PID), "%s", why);
	check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
	wait_idle();
	fd = open("/sys/fs/cgroup/kuptest/memory.current", O_RDONLY);
	check(fd >= 0 && read(fd, text, 31) > 0, "%m");
	check(atol(text) >= (long)(nr_pages * PAGE), "charged %s", text);
	look_at_lists(nr_pages * PAGE);
	/* now its own allocations must have room again */
	check(write_file("/sys/fs/cgroup/kuptest/memory.max", "max"), "%m");
	say(to_child[1]);
	end_child(pid);
	memset(text, 0, sizeof(text));
	check(pread(fd, text, 31, 0) > 0, "%m");
	close(fd);
	check(atol(text) < 1 << 20, "still charged %s", text);
	look_at_lists(0);
	rmdir("/sys/fs/cgroup/kuptest");
}

/* ---- the hammer: threads that read, write, and change the address space while it is bound ---- */

static volatile bool stop;
static unsigned long arena_end;

static unsigned int random_of(unsigned int *seed, unsigned int n)
{
	*seed = *seed * 1103515245 + 12345;
	return (*seed >> 8) % n;
}

static void *reader(void *arg)
{
	unsigned int seed = (uintptr_t)arg;
	unsigned long pages = (arena_end - BASE) / PAGE;

	while (!stop) {
		unsigned long a = BASE + random_of(&seed, pages) * PAGE;
		unsigned int w = random_of(&seed, 512);
		volatile uint64_t *p = (void *)a;
		uint64_t expect = present(a) ? fake_word(PID, a, w) : 0, v;

		v = p[w];
		if (v != expect) {
			printf("# thread %lu: %#lx[%u] is %#lx, not %#lx\n", (long)arg, a, w, (long)v, (long)expect);
			failed = true;
			break;
		}
		if (random_of(&seed, 4) == 0)
			__atomic_fetch_add(&p[w], 0, __ATOMIC_RELAXED);	/* a write that changes nothing */
	}
	return NULL;
}

/* Forks, drops and remakes memory beyond what the readers look at, splits and merges VMAs under them. */
static void *changer(void *arg)
{
	unsigned int seed = (uintptr_t)arg;
	unsigned long nr = (arena_end - BASE) / PAGE, mine = arena_end, mine_pages = (end_of_chunks() - arena_end) / PAGE;

	while (!stop) {
		unsigned long a = BASE + random_of(&seed, nr) * PAGE, len = (1 + random_of(&seed, 600)) * PAGE;
		unsigned long m = mine + random_of(&seed, mine_pages - 64) * PAGE;
		pid_t pid;

		if (a + len > arena_end)
			len = arena_end - a;
		switch (random_of(&seed, 10)) {
		case 0:
			madvise((void *)a, len, MADV_NOHUGEPAGE);
			break;
		case 1:
			madvise((void *)a, len, MADV_HUGEPAGE);
			break;
		case 2:
			madvise((void *)a, len, MADV_COLD);
			break;
		case 3:
			pid = fork();
			if (!pid) {
				for (int i = 0; i < 20; i++) {
					unsigned long c = BASE + random_of(&seed, nr) * PAGE;

					if (!page_ok(c))
						_exit(1);
				}
				_exit(0);
			}
			if (pid > 0) {
				int st;

				waitpid(pid, &st, 0);
				check(!st, "%#x", st);
			}
			break;
		case 4:
			munmap((void *)m, 64 * PAGE);
			break;
		case 5:
			mmap((void *)m, 64 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			if (!range_is_zero(m, m + 64 * PAGE)) {
				check(0, "new mapping at %#lx is not empty", m);
				stop = true;
			}
			break;
		case 6:
			mlock((void *)a, len);
			break;
		case 7:
			munlock((void *)a, len);
			break;
		case 8:
			write_file("/proc/sys/vm/compact_memory", "1");
			break;
		case 9:
			madvise((void *)a, len, MADV_MERGEABLE);
			break;
		}
	}
	return NULL;
}

static void body_hammer(void)
{
	pthread_t t[6];
	time_t end = time(NULL) + 5;

	for (long i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, i < 5 ? reader : changer, (void *)(i + 1));
	while (!stop && !failed && (time(NULL) < end || status().state != KUP_STATE_IDLE) && time(NULL) < end + 60)
		usleep(50000);
	stop = true;
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	for (unsigned long a = BASE; a < arena_end && !failed; a += PAGE)
		check(page_ok(a), "");
}

static void test_hammer(void)
{
	/* everybody who moves anonymous memory behind its owner's back */
	write_file("/sys/kernel/mm/transparent_hugepage/enabled", "always");
	write_file("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs", "1");
	write_file("/sys/kernel/mm/transparent_hugepage/khugepaged/pages_to_scan", "65536");
	write_file("/sys/kernel/mm/ksm/sleep_millisecs", "1");
	write_file("/sys/kernel/mm/ksm/run", "1");
	for (int i = 0; i < 3; i++) {
		standard_chunks(8);
		arena_end = BASE + 48 * CHUNK;
		run(map_all, body_hammer, i == 1);
	}
	write_file("/sys/kernel/mm/ksm/run", "0");
}

/* Killed at a random time while threads fault and the drainer runs. */
static void test_kill(void)
{
	for (int i = 0; i < 10; i++) {
		long total = meminfo("MemTotal:");
		struct kup_status st;
		pid_t pid;

		standard_chunks(8);
		arena_end = BASE + 48 * CHUNK;
		check(!adopt(FAKE_FINE, 0), "%s", why);
		pid = start_child(map_all, body_hammer);
		check(!attach(pid, PID), "%s", why);
		check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
		say(to_child[1]);
		usleep(3000 * i);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		wait_idle();
		st = status();
		check(st.bound_pages + st.dropped_pages == nr_pages, "%lu + %lu != %lu", (long)st.bound_pages, (long)st.dropped_pages,
		      nr_pages);
		check(meminfo("MemTotal:") == total, "");
	}
}

/* Two processes of one handover. */
static void test_two(void)
{
	int c2[2], p2[2];
	pid_t a, b;

	standard_chunks(1);
	for (unsigned int i = 0, n = nr_chunks; i < n; i++) {
		chunks[nr_chunks] = chunks[i];
		chunks[nr_chunks++].pid = PID + 1;
	}
	check(!adopt(FAKE_FINE, 0), "%s", why);
	check(adopted.nr_mms == 2, "");
	a = start_child(map_all, body_read_all);
	memcpy(c2, to_child, sizeof(c2));
	memcpy(p2, to_parent, sizeof(p2));
	b = start_child(map_all, body_none);
	check(attach(a, PID + 1) == 0, "%s", why);
	check(attach(a, PID) == -EBUSY && *why, "%s", why);
	kill(a, SIGKILL);
	waitpid(a, NULL, 0);
	check(attach(b, PID) == 0, "%s", why);
	simple(KUP_IOC_DRAIN, KUP_DRAIN_HOLD);
	check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
	say(to_child[1]);
	end_child(b);
	wait_idle();
	check(status().dropped_pages == 2 * nr_pages, "%lu", (long)status().dropped_pages);
}

/* Two attached, COMMIT with one dead, ADOPT again later: the whole thing a few times over. */
static void test_again(void)
{
	for (int i = 0; i < 5; i++) {
		standard_chunks(2);
		run(map_all, body_read_all, i & 1);
	}
}

/* ---- frames of several owners ---- */

#define OWNERS		3	/* PID, PID + 1, ... */
#define FAMILY_CHUNKS	4u
#define MARK		0x1111000000000000UL

static int mostly(int i) { return i % 5 != 2; }

/*
 * The same places for all. Of the first chunk every third page is of all of them, of the second all are, of the third none; of the fourth
 * some are of the first two.
 */
static bool is_shared(unsigned int p, unsigned int n, int i)
{
	switch (n) {
	case 0:
		return i % 3 == 0;
	case 1:
		return true;
	case 3:
		return i % 8 < 3 && p < 2;
	default:
		return false;
	}
}

static void family_chunks(void)
{
	nr_chunks = nr_pages = 0;
	for (unsigned int p = 0; p < OWNERS; p++)
		for (unsigned int n = 0; n < FAMILY_CHUNKS; n++) {
			struct fake_chunk *c = &chunks[nr_chunks];

			add_chunk(PID + p, BASE + n * CHUNK, 0, n == 1 ? all : n == 2 ? runs : mostly);
			for (int i = 0; i < 512; i++)
				c->shared[i / 64] |= (uint64_t)(is_shared(p, n, i) && has(c->present, i)) << i % 64;
			c->twin = p ? 1 + (p - 1) * FAMILY_CHUNKS + n : 0;
		}
}

/* Whose words stand in a page of @pid. */
static uint32_t author(uint32_t pid, unsigned long addr)
{
	const struct fake_chunk *c = &chunks[(pid - PID) * FAMILY_CHUNKS + (addr - BASE) / CHUNK];

	while (c->twin && has(c->shared, addr % CHUNK / PAGE))
		c = &chunks[c->twin - 1];
	return c->pid;
}

static bool family_shares(uint32_t pid, unsigned long addr)
{
	return has(chunks[(pid - PID) * FAMILY_CHUNKS + (addr - BASE) / CHUNK].shared, addr % CHUNK / PAGE);
}

static bool family_present(uint32_t pid, unsigned long addr)
{
	return has(chunks[(pid - PID) * FAMILY_CHUNKS + (addr - BASE) / CHUNK].present, addr % CHUNK / PAGE);
}

#define FAMILY_END (BASE + FAMILY_CHUNKS * CHUNK)

/* Every byte of every page that there should be: what was sealed, but for the mark of @pid if it has written its. */
static bool member_right(uint32_t pid, bool marked)
{
	for (unsigned long a = BASE; a < FAMILY_END; a += PAGE) {
		const uint64_t *p = (void *)a;

		if (!family_present(pid, a))
			continue;
		for (unsigned int i = 0; i < 512; i++) {
			uint64_t expect = marked && i == 7 ? MARK + pid : fake_word(author(pid, a), a, i);

			if (p[i] != expect) {
				printf("# process %u, page %#lx word %u: %#lx, not %#lx\n", pid, a, i, (long)p[i], (long)expect);
				return false;
			}
		}
	}
	return true;
}

static void member_mark(uint32_t pid)
{
	for (unsigned long a = BASE; a < FAMILY_END; a += PAGE)
		if (family_present(pid, a))
			((uint64_t *)a)[7] = MARK + pid;
}

static struct member {
	pid_t pid;
	int to, from;
} members[OWNERS];

/* How a member maps its memory before it is attached. */
enum birth { FRESH, TOUCHED, MOVED };

static void be_born(enum birth birth)
{
	void *p;

	if (birth == MOVED) {	/* to where it belongs, when it has been used: its pages' offsets are those of another place */
		p = map_at(BASE + (1UL << 41), FAMILY_END - BASE, PROT_READ | PROT_WRITE);
		*(volatile char *)p = 1;
		check(mremap(p, FAMILY_END - BASE, FAMILY_END - BASE, MREMAP_MAYMOVE | MREMAP_FIXED, BASE) != MAP_FAILED, "%m");
	} else {
		map_at(BASE, FAMILY_END - BASE, PROT_READ | PROT_WRITE);
		if (birth == TOUCHED)
			*(volatile char *)(BASE + CHUNK) = 1;
	}
}

static void member_main(uint32_t pid, enum birth birth, int in, int out)
{
	bool marked = false;
	int st;
	char c = 'y';

	be_born(birth);
	do {
		if (write(out, &c, 1) != 1 || read(in, &c, 1) != 1)
			_exit(1);
		switch (c) {
		case 'v':
			c = member_right(pid, marked) ? 'y' : 'n';
			break;
		case 'w':
			member_mark(pid);
			marked = true;
			c = 'y';
			break;
		case 'f':	/* fork, and both write */
			fflush(stdout);
			if (!fork()) {
				bool good = member_right(pid, marked);

				for (unsigned long a = BASE; a < FAMILY_END; a += PAGE)
					*(uint64_t *)a = 1;
				fflush(stdout);
				_exit(!good);
			}
			c = wait(&st) > 0 && !st ? 'y' : 'n';
			break;
		case 'u':	/* does without the first half of the second chunk */
			c = !munmap((void *)(BASE + CHUNK), CHUNK / 2) && mmap((void *)(BASE + CHUNK), CHUNK / 2, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED &&
				range_is_zero(BASE + CHUNK, BASE + CHUNK + CHUNK / 2) ? 'y' : 'n';
			break;
		case 'd':
			c = !madvise((void *)BASE, FAMILY_END - BASE, MADV_DONTNEED) && range_is_zero(BASE, FAMILY_END) ? 'y' : 'n';
			break;
		case 'm':
			madvise((void *)BASE, FAMILY_END - BASE, MADV_MERGEABLE);
			c = 'y';
			break;
		default:
			fflush(stdout);
			_exit(failed);
		}
		fflush(stdout);
	} while (1);
}

static bool tell(unsigned int n, char c)
{
	return write(members[n].to, &c, 1) == 1 && read(members[n].from, &c, 1) == 1 && c == 'y';
}

static void bear(unsigned int n, enum birth birth)
{
	int to[2], from[2];
	char c;

	check(!pipe2(to, O_CLOEXEC) && !pipe2(from, O_CLOEXEC), "%m");
	fflush(stdout);
	members[n].pid = fork();
	if (!members[n].pid) {
		close(to[1]);
		close(from[0]);
		member_main(PID + n, birth, to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	members[n].to = to[1];
	members[n].from = from[0];
	check(read(members[n].from, &c, 1) == 1, "%m");
}

static void bury(unsigned int n)
{
	int st;

	check(write(members[n].to, "x", 1) == 1, "%m");	/* no end of file: younger members have the pipe, too */
	check(waitpid(members[n].pid, &st, 0) == members[n].pid && WIFEXITED(st) && !WEXITSTATUS(st), "%#x", st);
	close(members[n].to);
	close(members[n].from);
	members[n].pid = 0;
}

static long family_total;

/* Adopted, born, attached, committed; the drainer waits. */
static void gather(const enum birth *birth)
{
	family_chunks();
	family_total = meminfo("MemTotal:");
	check(!adopt(FAKE_FINE, 0), "%s", why);
	simple(KUP_IOC_DRAIN, KUP_DRAIN_HOLD);
	for (unsigned int n = 0; n < OWNERS; n++)
		bear(n, birth[n]);
	for (unsigned int n = 0; n < OWNERS; n++)
		check(!attach(members[n].pid, PID + n), "%s", why);
	check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
}

static void disperse(void)
{
	struct kup_status st;

	wait_idle();
	for (unsigned int n = 0; n < OWNERS; n++)
		if (members[n].pid)
			bury(n);
	st = status();
	check(st.bound_pages + st.dropped_pages == nr_pages, "%lu + %lu != %lu", (long)st.bound_pages, (long)st.dropped_pages, nr_pages);
	check(meminfo("MemTotal:") == family_total, "%ld != %ld", meminfo("MemTotal:"), family_total);
}

static const enum birth all_fresh[OWNERS];

static unsigned long frame_of(pid_t pid, unsigned long addr)
{
	uint64_t entry = 0;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	fd = open(path, O_RDONLY);
	if (pread(fd, &entry, 8, addr / PAGE * 8) != 8)
		entry = 0;
	close(fd);
	return entry >> 63 ? entry & ((1UL << 55) - 1) : 0;
}

static unsigned long count_of(const char *file, unsigned long pfn)
{
	uint64_t n = 0;
	int fd = open(file, O_RDONLY);

	check(pread(fd, &n, 8, pfn * 8) == 8, "%m");
	close(fd);
	return n;
}

/* How many pages of two members have the same frame. */
static unsigned int same_frames(unsigned int a, unsigned int b)
{
	unsigned int same = 0;

	for (unsigned long at = BASE; at < FAMILY_END; at += PAGE) {
		unsigned long pfn = frame_of(members[a].pid, at);

		same += pfn && pfn == frame_of(members[b].pid, at);
	}
	return same;
}

/* How many they should have. */
static unsigned int same_wanted(unsigned int a, unsigned int b)
{
	unsigned int same = 0;

	for (unsigned long at = BASE; at < FAMILY_END; at += PAGE)
		same += family_shares(PID + a, at) && family_shares(PID + b, at) && author(PID + a, at) == author(PID + b, at);
	return same;
}

/* A frame that is named as shared by one only, or by one who says so and one who does not, or more often than the header says. */
static void test_share_adopt(void)
{
	family_chunks();
	check(adopt(FAKE_AGAIN, 0) == -EBADMSG && strstr(why, "another's frame"), "%s", why);
	check(adopt(FAKE_TWICE, 0) == -EBADMSG && strstr(why, "named twice"), "%s", why);
	chunks[2].shared[0] = 1;
	check(adopt(FAKE_FINE, 0) == -EBADMSG && strstr(why, "one owner"), "%s", why);
	nr_chunks = FAMILY_CHUNKS;
	check(adopt(FAKE_FINE, 0) == -EBADMSG && strstr(why, "named twice"), "%s", why);
	family_chunks();
	memset(chunks[0].shared, 0, sizeof(chunks[0].shared));
	check(adopt(FAKE_FINE, 0) == -EBADMSG && strstr(why, "named twice"), "%s", why);
	family_chunks();
	memset(chunks[2 * FAMILY_CHUNKS].shared, 0, sizeof(chunks[0].shared));
	chunks[2 * FAMILY_CHUNKS].twin = 0;
	check(!adopt(FAKE_FINE, 0), "%s", why);
	check(!simple(KUP_IOC_ABORT, 0), "%s", why);
}

static void test_share(void)
{
	gather(all_fresh);
	for (unsigned int n = 0; n < OWNERS; n++)
		check(tell(n, 'v'), "%u", n);
	check(same_wanted(0, 1) > 600 && same_wanted(1, 2) > 600, "");
	for (unsigned int a = 0; a < OWNERS; a++)
		for (unsigned int b = 0; b < a; b++)
			check(same_frames(a, b) == same_wanted(a, b), "%u and %u share %u, not %u", a, b, same_frames(a, b), same_wanted(a, b));
	check(status().parted_pages == 0, "%lu", (long)status().parted_pages);
	check(count_of("/proc/kpagecount", frame_of(members[0].pid, BASE + CHUNK)) == OWNERS, "");
	/* each writes, and nobody sees another's */
	for (unsigned int n = 0; n < OWNERS; n++) {
		check(tell(n, 'w'), "%u", n);
		for (unsigned int k = 0; k < OWNERS; k++)
			check(tell(k, 'v'), "%u after %u wrote", k, n);
	}
	check(same_frames(0, 1) == 0 && same_frames(1, 2) == 0, "");
	disperse();
}

/* One writes while others have not come yet, which is when it has the only entry. */
static void test_share_early(void)
{
	unsigned long pfn;

	for (unsigned int first = 0; first < OWNERS; first++) {
		gather(all_fresh);
		for (unsigned int n = first; n < first + OWNERS; n++)
			check(tell(n % OWNERS, 'v') && tell(n % OWNERS, 'w') && tell(n % OWNERS, 'v'), "%u of %u", n % OWNERS, first);
		for (unsigned int n = 0; n < OWNERS; n++)
			check(tell(n, 'v'), "%u of %u", n, first);
		disperse();
	}
	/* the last one alone has it for itself, without a copy */
	gather(all_fresh);
	check(tell(0, 'v') && tell(1, 'v'), "");
	bury(0);
	bury(1);
	check(tell(2, 'v'), "");
	wait_idle();
	write_file("/proc/sys/vm/drop_caches", "1");	/* the CPUs' lists of new pages have references, too */
	pfn = frame_of(members[2].pid, BASE + CHUNK);
	check(tell(2, 'w') && frame_of(members[2].pid, BASE + CHUNK) == pfn && tell(2, 'v'), "");
	disperse();
}

static void test_share_drain(void)
{
	gather(all_fresh);
	wait_idle();
	for (unsigned int n = 1; n < OWNERS; n++)
		check(same_frames(0, n) == same_wanted(0, n), "");
	for (unsigned int n = 0; n < OWNERS; n++)
		check(tell(n, 'v') && tell(n, 'w'), "%u", n);
	for (unsigned int n = 0; n < OWNERS; n++)
		check(tell(n, 'v'), "%u", n);
	disperse();
}

/* Who cannot be a relative gets copies; the others share all the same. */
static void test_share_parted(void)
{
	static const enum birth births[][OWNERS] = {
		{ TOUCHED, FRESH, FRESH }, { FRESH, TOUCHED, FRESH }, { FRESH, MOVED, FRESH }, { MOVED, FRESH, MOVED }, { TOUCHED, TOUCHED, TOUCHED },
	};

	for (unsigned int i = 0; i < sizeof(births) / sizeof(*births); i++) {
		gather(births[i]);
		for (unsigned int n = 0; n < OWNERS; n++)
			check(tell(n, 'v'), "%u of %u", n, i);
		check(!status().parted_pages == !i, "%lu of %u", (long)status().parted_pages, i);
		if (i == 1 || i == 2)
			check(same_frames(0, 2) == same_wanted(0, 2) && same_frames(0, 1) == 0, "%u", i);
		for (unsigned int n = 0; n < OWNERS; n++)
			check(tell(n, 'w'), "%u of %u", n, i);
		for (unsigned int n = 0; n < OWNERS; n++)
			check(tell(n, 'v'), "%u of %u", n, i);
		disperse();
	}
}

/* Some do without: unmap, discard, exit, before or after the others came. */
static void test_share_drop(void)
{
	for (unsigned int i = 0; i < 2 * OWNERS; i++) {
		unsigned int n = i % OWNERS;

		gather(all_fresh);
		if (i >= OWNERS)
			check(tell((n + 1) % OWNERS, 'v'), "");
		check(tell(n, 'u') && tell(n, 'd'), "%u", i);
		if (i % 2)
			bury(n);
		for (unsigned int k = 1; k < OWNERS; k++)
			check(tell((n + k) % OWNERS, 'v') && tell((n + k) % OWNERS, 'f'), "%u", i);
		disperse();
	}
	/* nobody comes */
	gather(all_fresh);
	for (unsigned int n = 0; n < OWNERS; n++)
		bury(n);
	disperse();
	check(status().bound_pages == 0, "%lu", (long)status().bound_pages);
	family_chunks();
	check(!adopt(FAKE_FINE, 0), "%s", why);
	check(!simple(KUP_IOC_ABORT, 0) && status().dropped_pages == nr_pages, "%s", why);
	check(meminfo("MemTotal:") == family_total, "%ld != %ld", meminfo("MemTotal:"), family_total);
}

/* How many pages of the second chunk have moved since @before; each is to be in all owners at its new place. */
static unsigned int count_moved(unsigned long *before)
{
	unsigned int moved = 0;

	for (unsigned int i = 0; i < 512; i++) {
		unsigned long now = frame_of(members[0].pid, BASE + CHUNK + i * PAGE);

		if (now == before[i])
			continue;
		moved++;
		before[i] = now;
		check(now && count_of("/proc/kpagecount", now) == OWNERS, "page %u", i);
	}
	for (unsigned int n = 1; n < OWNERS; n++)
		check(same_frames(0, n) == same_wanted(0, n), "%u", n);
	return moved;
}

/* Memory in single pages, so much of it, with a gap behind each. */
static void *make_gaps(size_t size)
{
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(p != MAP_FAILED && !madvise(p, size, MADV_NOHUGEPAGE), "%m");
	memset(p, 1, size);
	for (size_t i = 0; i < size; i += 2 * PAGE)
		madvise(p + i, PAGE, MADV_DONTNEED);
	return p;
}

/*
 * The reverse map: a page that the kernel moves is moved in all of its owners. Compaction moves what stands below gaps; where pages and gaps come
 * to stand is the allocator's, so it is tried with more and more gaps.
 */
static void test_share_rmap(void)
{
	unsigned long before[512];
	unsigned int moved = 0;

	for (unsigned int try = 0; try < 10 && !moved; try++) {
		size_t size = (try + 1) * 64UL << 20;
		void *gaps = try % 2 ? make_gaps(size) : NULL;

		gather(all_fresh);
		for (unsigned int n = 0; n < OWNERS; n++)
			check(tell(n, 'v'), "%u", n);
		wait_idle();
		for (unsigned int i = 0; i < 512; i++)
			before[i] = frame_of(members[0].pid, BASE + CHUNK + i * PAGE);
		if (!gaps)
			gaps = make_gaps(size);
		check(write_file("/proc/sys/vm/compact_memory", "1"), "%m");
		moved = count_moved(before);
		printf("# %u pages were moved\n", moved);
		munmap(gaps, size);
		for (unsigned int n = 0; n < OWNERS; n++)
			check(tell(n, 'v') && tell(n, 'w'), "%u", n);
		for (unsigned int n = 0; n < OWNERS; n++)
			check(tell(n, 'v'), "%u", n);
		for (unsigned int n = 0; n < OWNERS; n++)
			bury(n);
		check(meminfo("MemTotal:") == family_total, "%ld != %ld", meminfo("MemTotal:"), family_total);
	}
	check(moved, "none was moved");
}

/* All at once, with the drainer, and somebody who moves and merges pages meanwhile. */
static void test_share_race(void)
{
	write_file("/sys/kernel/mm/ksm/sleep_millisecs", "1");
	write_file("/sys/kernel/mm/ksm/run", "1");
	for (unsigned int i = 0; i < 10; i++) {
		char c = i % 2 ? 'w' : 'v';

		gather(all_fresh);
		if (i % 4 == 3)
			for (unsigned int n = 0; n < OWNERS; n++)
				tell(n, 'm');
		if (i % 3)
			simple(KUP_IOC_DRAIN, KUP_DRAIN_RUN);
		for (unsigned int n = 0; n < OWNERS; n++)
			check(write(members[n].to, &c, 1) == 1, "%m");
		write_file("/proc/sys/vm/compact_memory", "1");
		if (i % 5 == 4) {
			kill(members[i % OWNERS].pid, SIGKILL);
			close(members[i % OWNERS].to);
			close(members[i % OWNERS].from);
			waitpid(members[i % OWNERS].pid, NULL, 0);
			members[i % OWNERS].pid = 0;
		}
		for (unsigned int n = 0; n < OWNERS; n++)
			check(!members[n].pid || (read(members[n].from, &c, 1) == 1 && c == 'y'), "%u of round %u", n, i);
		for (unsigned int n = 0; n < OWNERS; n++)
			check(!members[n].pid || tell(n, 'v'), "%u of round %u", n, i);
		disperse();
	}
	write_file("/sys/kernel/mm/ksm/run", "0");
}

/* ---- shared memory: the same chunks, at offsets of a file ---- */

#define SHMEM_END (8 * CHUNK)

static uint64_t given, given_by_copy;
static pid_t whose;	/* memory it is, for its memory cgroup; 0: ours */

static void charge_to_group(void)
{
	char text[32];

	enter_cgroup2();
	mkdir("/sys/fs/cgroup/kuptest", 0755);
	whose = fork();
	if (!whose)
		for (;;)
			pause();
	snprintf(text, sizeof(text), "%d", whose);
	check(write_file("/sys/fs/cgroup/kuptest/cgroup.procs", text), "%m");
}

static long charged_to_group(void)
{
	char text[32] = "";
	int fd = open("/sys/fs/cgroup/kuptest/memory.current", O_RDONLY);

	check(fd >= 0 && read(fd, text, 31) > 0, "%m");
	close(fd);
	return atol(text);
}

static void end_group(void)
{
	kill(whose, SIGKILL);
	waitpid(whose, NULL, 0);
	whose = 0;
	rmdir("/sys/fs/cgroup/kuptest");
}

static int attach_shmem(int fd, uint32_t id)
{
	struct kup_shmem s = { .size = sizeof(s), .fd = fd, .id = id, .pid = whose ?: getpid() };
	int err = ioctl(dev, KUP_IOC_ATTACH_SHMEM, &s) ? -errno : 0;

	strcpy(why, s.why);
	given = s.pages;
	given_by_copy = s.copied;
	return err;
}

static void adopt_shmem(void)
{
	nr_chunks = 0;
	nr_pages = 0;
	add_chunk(PID, 0, 0, scattered);
	add_chunk(PID, 2 * CHUNK, 0, runs);
	add_chunk(PID, 3 * CHUNK, 0, all);
	add_chunk(PID, 5 * CHUNK, 0, lower);
	add_chunk(PID, 6 * CHUNK, 0, one);
	add_chunk(PID, 7 * CHUNK, 0, few);
	with_sums = true;
	check(!adopt(FAKE_FINE, KUP_MM_SHMEM), "%s", why);
	with_sums = false;
	check(adopted.nr_mms == 0 && adopted.frames == nr_pages, "%u processes", adopted.nr_mms);
	check(!verify() && verified == nr_pages, "%s", why);
}

static int new_memfd(off_t size)
{
	int fd = memfd_create("bind_test", MFD_CLOEXEC);

	check(fd >= 0 && !ftruncate(fd, size), "%m");
	return fd;
}

/* Up to @end, read and mapped, after the kernel has dropped all that it thinks it need not keep. */
static bool file_ok(int fd, unsigned long end)
{
	char *p = mmap(NULL, end, PROT_READ, MAP_SHARED, fd, 0), page[PAGE];
	bool good = true;

	check(p != MAP_FAILED, "%m");
	write_file("/proc/sys/vm/drop_caches", "3");
	for (unsigned long at = 0; at < end && good; at += PAGE)
		good = pread(fd, page, PAGE, at) == (ssize_t)PAGE && page_ok_as(PID, at, page) && page_ok_as(PID, at, p + at);
	munmap(p, end);
	return good;
}

static long blocks(int fd)
{
	struct stat st;

	check(!fstat(fd, &st), "%m");
	return st.st_blocks / 8;
}

static void commit_shmem(void)
{
	struct kup_status st;

	check(!simple(KUP_IOC_COMMIT, 0), "%s", why);
	wait_idle();
	st = status();
	check(st.bound_pages + st.dropped_pages == nr_pages, "%lu + %lu != %lu", (long)st.bound_pages, (long)st.dropped_pages, nr_pages);
}

static void test_shmem(void)
{
	long total = meminfo("MemTotal:"), free;
	int fd, other, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	adopt_shmem();
	charge_to_group();	/* before there is a file that it would have, too */
	fd = new_memfd(SHMEM_END);
	other = new_memfd(SHMEM_END);
	check(attach_shmem(fd, PID + 1) == -ENOENT && *why, "%s", why);
	check(attach(getpid(), PID) == -ENOENT && *why, "%s", why);
	check(attach_shmem(-1, PID) == -EBADF, "");
	check(attach_shmem(null, PID) == -EOPNOTSUPP && *why, "%s", why);
	check(!attach_shmem(fd, PID) && given == nr_pages && !given_by_copy, "%s, %lu by copy", why, (long)given_by_copy);
	check(charged_to_group() >= (long)(nr_pages * PAGE), "%ld", charged_to_group());
	check(attach_shmem(other, PID) == -EBUSY && *why, "%s", why);
	check(!attach_shmem(fd, PID), "%s", why);
	check(verify() == -EBUSY && *why, "%s", why);
	check(blocks(fd) == (long)nr_pages, "%ld, not %lu", blocks(fd), nr_pages);
	commit_shmem();
	check(file_ok(fd, SHMEM_END), "");
	check(meminfo("MemTotal:") == total, "%ld != %ld", meminfo("MemTotal:"), total);
	free = free_kb();
	close(fd);
	check(free_kb() - free > (long)nr_pages * 3, "%ld kB came back", free_kb() - free);
	check(charged_to_group() < 1 << 20, "%ld", charged_to_group());
	end_group();
	close(other);
	close(null);
}

/* What the file has before gives way, mapped or locked or not. */
static void test_shmem_there(void)
{
	int fd = new_memfd(SHMEM_END);
	uint64_t *p = mmap(NULL, SHMEM_END, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	check(p != MAP_FAILED, "%m");
	adopt_shmem();
	for (unsigned long at = 0; at < SHMEM_END; at += PAGE)
		if (present(at) && at / PAGE % 3)
			p[at / 8 + 5] = 12345;
	check(!mlock(p, 3 * CHUNK / 2), "%m");
	check(!attach_shmem(fd, PID) && !given_by_copy, "%s, %lu by copy", why, (long)given_by_copy);
	for (unsigned long at = 0; at < SHMEM_END; at += PAGE)
		if (present(at))
			check(p[at / 8 + 5] == fake_word(PID, at, 5), "at %#lx", at);
	commit_shmem();
	check(file_ok(fd, SHMEM_END), "");
	/* One page for all who have it. */
	p[3 * CHUNK / 8] = 7;
	check(pread(fd, &given, 8, 3 * CHUNK) == 8 && given == 7, "");
	munmap(p, SHMEM_END);
	close(fd);
}

/* A file that ends before; one that has no room; nobody comes for it. */
static void test_shmem_short(void)
{
	long total = meminfo("MemTotal:");
	int fd = new_memfd(4 * CHUNK + 5), small;

	adopt_shmem();
	mkdir("/tmp/small", 0700);
	check(!mount("none", "/tmp/small", "tmpfs", 0, "size=64k"), "%m");
	small = open("/tmp/small/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	check(small >= 0 && !ftruncate(small, SHMEM_END), "%m");
	check(attach_shmem(small, PID) == -ENOSPC && *why, "%s", why);
	close(small);
	check(!umount("/tmp/small"), "%m");
	check(!attach_shmem(fd, PID), "%s", why);
	commit_shmem();
	check(file_ok(fd, 4 * CHUNK), "");
	check(status().dropped_pages == 256 + 1 + 4, "%lu", (long)status().dropped_pages);
	close(fd);
	adopt_shmem();
	commit_shmem();
	check(status().dropped_pages == nr_pages, "%lu", (long)status().dropped_pages);
	adopt_shmem();
	fd = new_memfd(SHMEM_END);
	check(!attach_shmem(fd, PID), "%s", why);
	check(!simple(KUP_IOC_ABORT, 0), "%s", why);
	check(file_ok(fd, SHMEM_END), "");
	close(fd);
	check(meminfo("MemTotal:") == total, "%ld != %ld", meminfo("MemTotal:"), total);
}

/* A huge page is there: it gets the content. */
static void test_shmem_huge(void)
{
	int fd;

	if (!huge_pages(1))
		return;
	adopt_shmem();
	mkdir("/tmp/huge", 0700);
	check(!mount("none", "/tmp/huge", "tmpfs", 0, "huge=always"), "%m");
	fd = open("/tmp/huge/file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	check(fd >= 0 && !ftruncate(fd, SHMEM_END), "%m");
	check(pwrite(fd, "x", 1, 3 * CHUNK) == 1, "%m");
	check(!attach_shmem(fd, PID) && given_by_copy == 512, "%s, %lu by copy", why, (long)given_by_copy);
	commit_shmem();
	check(file_ok(fd, SHMEM_END), "");
	close(fd);
	check(!umount("/tmp/huge"), "%m");
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{ "adopt", test_adopt }, { "verify", test_verify }, { "faults", test_faults }, { "drain", test_drain }, { "write", test_write },
	{ "present", test_present }, { "fork", test_fork }, { "file", test_file }, { "munmap", test_munmap }, { "mremap", test_mremap },
	{ "madvise", test_madvise }, { "vector_madvise", test_vector_madvise }, { "mprotect", test_mprotect },
	{ "mlock", test_mlock }, { "uffd", test_uffd }, { "remote", test_remote }, { "core", test_core }, { "retry", test_retry }, { "misfit", test_misfit },
	{ "exit", test_exit }, { "guards", test_guards }, { "thp_flag", test_thp_flag }, { "memcg", test_memcg },
	{ "share_adopt", test_share_adopt }, { "share", test_share }, { "share_early", test_share_early }, { "share_drain", test_share_drain },
	{ "share_parted", test_share_parted }, { "share_drop", test_share_drop }, { "share_rmap", test_share_rmap },
	{ "share_race", test_share_race },
	{ "shmem", test_shmem }, { "shmem_there", test_shmem_there }, { "shmem_short", test_shmem_short }, { "shmem_huge", test_shmem_huge },
	{ "two", test_two }, { "again", test_again }, { "hammer", test_hammer }, { "kill", test_kill },
};

int main(int argc, char **argv)
{
	int nr = sizeof(tests) / sizeof(*tests), bad = 0, ran = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	dev = open(KUP_DEVICE, O_RDWR | O_CLOEXEC);
	fake = open("/dev/kup_fake", O_RDWR | O_CLOEXEC);
	if (dev < 0 || fake < 0) {
		printf("Bail out! no device: %m\n");
		return 1;
	}
	printf("KTAP version 1\n1..%d\n", argc > 1 ? argc - 1 : nr);
	for (int i = 0; i < nr; i++) {
		bool wanted = argc == 1;

		for (int n = 1; n < argc; n++)
			wanted |= !strcmp(argv[n], tests[i].name);
		if (!wanted)
			continue;
		failed = false;
		tests[i].run();
		printf("%s %d %s\n", failed ? "not ok" : "ok", ++ran, tests[i].name);
		bad += failed;
		if (failed && status().state != KUP_STATE_IDLE && simple(KUP_IOC_ABORT, 0)) {
			printf("Bail out! state %u: %s\n", status().state, why);
			break;
		}
	}
	printf("# %d of %d failed\n", bad, ran);
	return !!bad;
}
