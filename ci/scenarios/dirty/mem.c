// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <elf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dirty.h"
#include "mem.h"

enum sabotage mem_sabotage;
const char *mem_dir = "/run/dirty";

static uint64_t seed;
static struct {
	char *p;
	size_t len;
} filled[2048];
static unsigned int nr_filled;

void mem_init(const char *test_name)
{
	for (seed = 0xcbf29ce484222325ULL; *test_name; test_name++)
		seed = (seed ^ (unsigned char)*test_name) * 0x100000001b3ULL;
}

uint64_t word(const void *home, int gen)
{
	uint64_t x = ((uintptr_t)home & ~7UL) + seed + gen * 0xd6e8feb86659fd93ULL;

	x = (x ^ x >> 32) * 0x9e3779b97f4a7c15ULL;
	x ^= x >> 29;
	return x | 1;
}

static unsigned char byte_at(const char *home, int gen)
{
	return word(home, gen) >> 8 * ((uintptr_t)home & 7);
}

char *area(size_t len, size_t offset)
{
	size_t room = len + 2 * CHUNK;
	char *hole = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *p, *end;

	if (hole == MAP_FAILED)
		err(1, "mmap %zu", room);
	p = (char *)(((uintptr_t)hole + CHUNK - 1) & ~(CHUNK - 1)) + offset % CHUNK;
	/* Never a moment without a mapping: other threads map as well. */
	if (mmap(p, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != p)
		err(1, "mmap %zu at %p", len, p);
	end = p + ((len + PAGE - 1) & ~(PAGE - 1));
	if (p > hole)
		munmap(hole, p - hole);
	munmap(end, hole + room - end);
	madvise(p, len, MADV_NOHUGEPAGE);
	return p;
}

char *huge_area(size_t len)
{
	char *p = area(len, 0);

	madvise(p, len, MADV_HUGEPAGE);
	return p;
}

void put(void *to, const void *home, size_t len, int gen)
{
	char *p = to;
	const char *h = home, *end = h + len;

	for (; h < end && (uintptr_t)h & 7; h++)
		*p++ = byte_at(h, gen);
	for (; h + 8 <= end; h += 8, p += 8)
		*(uint64_t *)p = word(h, gen);
	for (; h < end; h++)
		*p++ = byte_at(h, gen);
}

void fill(void *p, size_t len)
{
	put(p, p, len, 0);
	if (nr_filled == sizeof(filled) / sizeof(filled[0]))
		errx(1, "too many regions");
	filled[nr_filled].p = p;
	filled[nr_filled++].len = len;
}

static void show(const char *what, const char *p, unsigned char seen, unsigned char expected)
{
	fprintf(stderr, "# %s at %p: %02x instead of %02x\n", what, p, seen, expected);
}

size_t wrong(const void *mem, const void *home, size_t len, int gen)
{
	const char *p = mem, *h = home;
	size_t i = 0, bad = 0;

	while (i < len) {
		unsigned char c;

		if (!((uintptr_t)(h + i) & 7) && i + 8 <= len && *(const uint64_t *)(p + i) == word(h + i, gen)) {
			i += 8;
			continue;
		}
		c = p[i];
		if (c != byte_at(h + i, gen) && !bad++)
			show("wrong byte", p + i, c, byte_at(h + i, gen));
		i++;
	}
	return bad;
}

/* Through /proc/self/mem, so that protection does not matter; ours alone, since the page is private. */
static void flip(const void *p)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	unsigned char c;

	if (fd < 0 || pread(fd, &c, 1, (off_t)(uintptr_t)p) != 1)
		err(1, "/proc/self/mem: read at %p", p);
	c ^= 0x10;
	if (pwrite(fd, &c, 1, (off_t)(uintptr_t)p) != 1)
		err(1, "/proc/self/mem: write at %p", p);
	close(fd);
}

size_t nonzero(const void *mem, size_t len)
{
	const unsigned char *p = mem;
	size_t i, bad = 0;

	fputs("# expects zeros\n", stderr);
	if (mem_sabotage == SABOTAGE_RESURRECT)
		flip(p + len / 2);
	for (i = 0; i < len; i++)
		if (p[i] && !bad++)
			show("not zero", (const char *)p + i, p[i], 0);
	return bad;
}

size_t torn(const void *mem, const void *home, size_t len, int gen)
{
	static const char zeros[PAGE];
	const char *p = mem, *h = home;
	size_t i, bad = 0;

	for (i = 0; i < len; i += PAGE)
		if (memcmp(p + i, zeros, PAGE) && wrong(p + i, h + i, PAGE, gen))
			bad++;
	return bad;
}

static sigjmp_buf segv_env;

static void on_segv(int sig)
{
	siglongjmp(segv_env, sig);
}

static bool faults(volatile char *p, bool write)
{
	struct sigaction sa = { .sa_handler = on_segv }, old;
	bool hit = true;

	sigaction(SIGSEGV, &sa, &old);
	if (!sigsetjmp(segv_env, 1)) {
		if (write)
			*p = *p;
		else
			(void)*p;
		hit = false;
	}
	sigaction(SIGSEGV, &old, NULL);
	return hit;
}

bool read_faults(const void *p)
{
	return faults((volatile char *)p, false);
}

bool write_faults(void *p)
{
	return faults(p, true);
}

size_t present(const void *p, size_t len)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uintptr_t vpn = (uintptr_t)p / PAGE, end = ((uintptr_t)p + len + PAGE - 1) / PAGE;
	uint64_t entry[512];
	size_t n = 0;

	if (fd < 0)
		err(1, "/proc/self/pagemap");
	while (vpn < end) {
		size_t want = end - vpn < 512 ? end - vpn : 512, i;

		if (pread(fd, entry, want * 8, vpn * 8) != (ssize_t)(want * 8))
			err(1, "/proc/self/pagemap: read");
		for (i = 0; i < want; i++)
			n += entry[i] >> 63;
		vpn += want;
	}
	close(fd);
	return n;
}

static void damage(void)
{
	unsigned int r;
	size_t i;

	if (mem_sabotage != SABOTAGE_LOSE)
		return;
	for (r = 0; r < nr_filled; r++)
		for (i = 0; i < filled[r].len; i += PAGE)
			flip(filled[r].p + i + (filled[r].len - i < 1234 ? 0 : 1234));
}

static void report_held(void)
{
	size_t pages = 0, here = 0;
	unsigned int r;

	for (r = 0; r < nr_filled; r++) {
		pages += (((uintptr_t)filled[r].p & (PAGE - 1)) + filled[r].len + PAGE - 1) / PAGE;
		here += present(filled[r].p, filled[r].len);
	}
	fprintf(stderr, "# held %zu of %zu pages\n", pages - here, pages);
}

static void tell(int fd)
{
	if (write(fd, "", 1) != 1)
		err(1, "write to the other side");
}

static void await(int fd)
{
	char c;
	ssize_t n;

	do
		n = read(fd, &c, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		errx(1, "the other side is gone");
}

void hold(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* the launcher ends a test that hangs by its harness */
	damage();
	tell(DIRTY_FD_READY);
	await(DIRTY_FD_GO);
	report_held();
}

void peer_start(struct peer *p, int (*fn)(struct peer *self))
{
	int down[2], up[2];

	if (pipe2(down, O_CLOEXEC) || pipe2(up, O_CLOEXEC))
		err(1, "pipe");
	fflush(NULL);
	p->pid = fork();
	if (p->pid < 0)
		err(1, "fork");
	if (!p->pid) {
		close(down[1]);
		close(up[0]);
		p->from = down[0];
		p->to = up[1];
		nr_filled = 0;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(fn(p));
	}
	close(down[0]);
	close(up[1]);
	p->from = up[0];
	p->to = down[1];
}

void peer_hold(struct peer *self)
{
	damage();
	tell(self->to);
	await(self->from);
	report_held();
}

void peer_say(struct peer *self)
{
	tell(self->to);
}

void peer_wait(struct peer *self)
{
	await(self->from);
}

static int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			err(1, "waitpid");
	return status;
}

int peer_end(struct peer *p)
{
	int status = reap(p->pid);

	close(p->to);
	close(p->from);
	return status;
}

int in_child(int (*fn)(void *arg), void *arg)
{
	pid_t pid;
	int status;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid)
		_exit(fn(arg));
	status = reap(pid);
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	fprintf(stderr, "# child ended by signal %d\n", WTERMSIG(status));
	return -1;
}

size_t core_wrong(const char *core, const void *mem, size_t len, int gen)
{
	uintptr_t at = (uintptr_t)mem, end = at + len;
	int fd = open(core, O_RDONLY | O_CLOEXEC);
	char *page = malloc(PAGE);
	size_t bad = 0;
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	int i;

	if (fd < 0 || pread(fd, &eh, sizeof(eh), 0) != sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG)) {
		fprintf(stderr, "# %s: no core file there\n", core);
		bad = len;
		goto out;
	}
	while (at < end && bad < len) {
		for (i = 0; i < eh.e_phnum; i++) {
			if (pread(fd, &ph, sizeof(ph), eh.e_phoff + i * sizeof(ph)) != sizeof(ph))
				break;
			if (ph.p_type == PT_LOAD && at >= ph.p_vaddr && at < ph.p_vaddr + ph.p_filesz)
				goto found;
		}
		fprintf(stderr, "# %s: no segment holds %#lx\n", core, (unsigned long)at);
		bad += PAGE;
		at += PAGE;
		continue;
found:
		if (pread(fd, page, PAGE, ph.p_offset + (at - ph.p_vaddr)) != (ssize_t)PAGE)
			bad += PAGE;
		else
			bad += wrong(page, (void *)at, PAGE, gen);
		at += PAGE;
	}
out:
	free(page);
	if (fd >= 0)
		close(fd);
	return bad;
}

size_t free_memory(void)
{
	size_t pages = 0, n;
	FILE *f = fopen("/proc/zoneinfo", "re");
	char line[128];

	if (!f)
		err(1, "/proc/zoneinfo");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " nr_free_pages %zu", &n) == 1 || sscanf(line, " count: %zu", &n) == 1)
			pages += n;
	fclose(f);
	return pages * PAGE;
}

bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t len = strlen(text);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, len) == len;
	close(fd);
	return ok;
}
