// SPDX-License-Identifier: GPL-2.0
/* Mappings that are not plain private memory, and what the kernel holds for a process elsewhere. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../resources.h"

#define LEN 65536

/* The flags of the mapping at @p, of smaps. */
static char *vma_flags(const void *p, char buf[256])
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long start, end;
	char line[512];
	bool here = false;

	buf[0] = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = start <= (unsigned long)p && (unsigned long)p < end;
		else if (here && !strncmp(line, "VmFlags: ", 9))
			snprintf(buf, 256, " %.*s ", (int)strcspn(line + 9, "\n"), line + 9);
	}
	if (f)
		fclose(f);
	return buf;
}

TEST(shared_anon)
{
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int st;

	MUST(p != MAP_FAILED);
	fill(p, LEN, 1);
	hold();
	SAME(differs(p, LEN, 1), 0);
	if (!fork()) {
		p[5] = 'c';
		_exit(0);
	}
	wait(&st);
	SAME(p[5], 'c');
}

static char *common;

static void write_common(int sock)
{
	await(sock);
	send_answer(sock, differs(common, LEN, 1));
	common[100] = 'w';
	tell(sock);
	pause();
}

TEST(shared_family)
{
	int a;

	common = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(common != MAP_FAILED);
	fill(common, LEN, 1);
	child(write_common, &a);
	hold();
	tell(a);
	SAME(answer(a), 0);
	await(a);
	SAME(common[100], 'w');
}

TEST(memfd_mapped)
{
	int fd = memfd_create("mapped", 0);
	char *p, *q;

	MUST(fd >= 0 && !ftruncate(fd, LEN));
	p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	q = mmap(NULL, LEN / 2, PROT_READ, MAP_SHARED, fd, LEN / 2);
	MUST(p != MAP_FAILED && q != MAP_FAILED);
	fill(p, LEN, 4);
	hold();
	SAME(differs(p, LEN, 4), 0);
	SAME(differs(q, LEN / 2, 4 + LEN / 2), 0);
	p[LEN / 2] = 'm';
	SAME(q[0], 'm');
	SAME(pread(fd, &q, 1, LEN / 2), 1);
}

TEST(shm_open)
{
	int fd = shm_open("/kup-resources", O_RDWR | O_CREAT, 0600), st;
	char *p;

	MUST(fd >= 0 && !ftruncate(fd, LEN));
	p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	MUST(p != MAP_FAILED);
	fill(p, LEN, 6);
	hold();
	SAME(differs(p, LEN, 6), 0);
	if (!fork()) {
		int again = shm_open("/kup-resources", O_RDWR, 0);
		char *q = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0);

		if (q != MAP_FAILED)
			q[9] = 's';
		_exit(0);
	}
	wait(&st);
	SAME(p[9], 's');
}

TEST(file_mappings)
{
	int fd = open(in_dir("mapped"), O_RDWR | O_CREAT | O_TRUNC, 0600);
	char *shared, *private, buf[16];

	MUST(fd >= 0 && !ftruncate(fd, LEN));
	shared = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	MUST(shared != MAP_FAILED && private != MAP_FAILED);
	fill(shared, LEN, 2);
	fill(private, 4096, 9);
	hold();
	SAME(differs(shared, LEN, 2), 0);
	SAME(differs(private, 4096, 9), 0);
	SAME(differs(private + 4096, LEN - 4096, 2 + 4096), 0);
	shared[8192] = 'q';
	SAME(private[8192], 'q');
	SAME(pread(fd, buf, 1, 8192), 1);
	SAME(buf[0], 'q');
}

TEST(vma_flags)
{
	static const struct {
		int advice;
		const char *flag;
	} a[] = { { MADV_DONTFORK, " dc " }, { MADV_DONTDUMP, " dd " }, { MADV_HUGEPAGE, " hg " }, { MADV_NOHUGEPAGE, " nh " },
		  { MADV_RANDOM, " rr " }, { MADV_SEQUENTIAL, " sr " } };
	char flags[256], *p[6], *locked, *stack;
	int i;

	for (i = 0; i < 6; i++) {
		mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		p[i] = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		MUST(p[i] != MAP_FAILED);
		fill(p[i], LEN, i);
		MUST(!madvise(p[i], LEN, a[i].advice));
	}
	locked = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	stack = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0);
	MUST(locked != MAP_FAILED && stack != MAP_FAILED);
	hold();
	for (i = 0; i < 6; i++) {
		SAME(differs(p[i], LEN, i), 0);
		if (!strstr(vma_flags(p[i], flags), a[i].flag))
			complain(__FILE__, __LINE__, a[i].flag);
	}
	EXPECT(strstr(vma_flags(locked, flags), " lo "));
	EXPECT(strstr(vma_flags(stack, flags), " gd "));
}

TEST(mlockall)
{
	char flags[256], *p;

	MUST(!mlockall(MCL_CURRENT));
	p = malloc(100);
	MUST(p);
	hold();
	EXPECT(strstr(vma_flags(p, flags), " lo "));
}

TEST(brk)
{
	char *before = sbrk(LEN), *top = sbrk(0);

	MUST(before != (void *)-1);
	fill(before, LEN, 12);
	hold();
	EXPECT(sbrk(0) == top);
	SAME(differs(before, LEN, 12), 0);
	EXPECT(sbrk(LEN) == top);
}

TEST(exec_anon)
{
	static const unsigned char code[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 };	/* mov $42, %eax; ret */
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	MUST(p != MAP_FAILED);
	memcpy(p, code, sizeof(code));
	hold();
	SAME(((int (*)(void))p)(), 42);
}

TEST(aio)
{
	unsigned long ctx = 0;

	MUST(!syscall(SYS_io_setup, 8, &ctx));
	hold();
	SAME(syscall(SYS_io_destroy, ctx), 0);
}

REFUSED(io_uring, "io_uring")
{
	struct io_uring_params p = { 0 };

	MUST(syscall(SYS_io_uring_setup, 4, &p) >= 0);
	hold();
}

REFUSED(userfaultfd, "userfaultfd")
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	MUST(fd >= 0 && !ioctl(fd, UFFDIO_API, &api));
	hold();
}

REFUSED(perf_event, "perf_event")
{
	struct {
		uint32_t type, size;
		uint64_t config, rest[14];
	} a = { .type = 1, .size = 64, .config = 0 };

	MUST(syscall(SYS_perf_event_open, &a, 0, -1, -1, 0) >= 0);
	hold();
}

REFUSED(mqueue, "message queue")
{
	MUST(mq_open("/kup-resources", O_RDWR | O_CREAT, 0600, NULL) >= 0);
	hold();
}

REFUSED(large_area, "mapping")
{
	MUST(mmap(NULL, 8ul << 40, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0) != MAP_FAILED);
	hold();
}

REFUSED(sysv_shm, "System V shared memory")
{
	int id = shmget(IPC_PRIVATE, LEN, 0600);
	char *p = shmat(id, NULL, 0);

	MUST(p != (void *)-1);
	fill(p, LEN, 3);
	hold();
}

REFUSED(sysv_sem, "System V semaphores")
{
	struct sembuf up = { 0, 3, 0 };
	int id = semget(IPC_PRIVATE, 1, 0600);

	MUST(id >= 0 && !semop(id, &up, 1));
	hold();
}

REFUSED(sysv_msg, "System V message queue")
{
	struct {
		long type;
		char text[8];
	} m = { 1, "queued" };
	int id = msgget(IPC_PRIVATE, 0600);

	MUST(id >= 0 && !msgsnd(id, &m, 8, 0));
	hold();
}

REFUSED(bpf_map, "doesn't carry such a descriptor")
{
	struct {
		uint32_t type, key, value, entries, flags;
		uint32_t rest[26];
	} a = { .type = 2, .key = 4, .value = 4, .entries = 4 };

	MUST(syscall(SYS_bpf, 0, &a, sizeof(a)) >= 0);
	hold();
}
