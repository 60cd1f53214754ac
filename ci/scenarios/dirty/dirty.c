// SPDX-License-Identifier: GPL-2.0
/*
 * Dirties memory while its frames are still unbound, and proves that nothing is lost and nothing comes back from the dead.
 *
 *   1. Each test fills its memory, then calls hold(): the launcher lets the switch happen.
 *   2. In the new kernel, with the drainer held back, hold() returns; the test does its operation and checks every byte.
 *   3. Without a switch the same tests run on memory that is all there: the expectations hold for any kernel.
 *
 * One process runs one test, since all tests must be filled before the one switch: dirty --run NAME.
 * Pages that fork left to several processes are another scenario (forked): tests fill after the harness has forked, and helpers that must
 * live through the switch (struct peer) are forked before.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "kselftest_harness.h"

#include "mem.h"

#ifndef MADV_COLD
#define MADV_COLD		20
#define MADV_PAGEOUT		21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#define MADV_POPULATE_WRITE	23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE		25
#endif
#define MADV_GUARD_INSTALL_	102	/* Linux 6.13 */
#define MADV_GUARD_REMOVE_	103
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP	4
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA		0x53564d41
#define PR_SET_VMA_ANON_NAME	0
#endif

/* What must be at @p; @home is where it was filled. */
#define CHECK(p, home, len, gen)	EXPECT_EQ(0UL, wrong(p, home, len, gen))
#define SAME(p, len)			CHECK(p, p, len, 0)
#define ZERO(p, len)			EXPECT_EQ(0UL, nonzero(p, len))
#define PAGES(n)			((n) * PAGE)
#define RW				(PROT_READ | PROT_WRITE)
#define ANON				(MAP_PRIVATE | MAP_ANONYMOUS)

static unsigned int mix(unsigned int i)
{
	i = (i + 1) * 2654435761u;
	return i ^ i >> 15;
}

#include "tests/access.c"
#include "tests/file.c"
#include "tests/heap.c"
#include "tests/fork.c"
#include "tests/threads.c"
#include "tests/mremap.c"
#include "tests/remap.c"
#include "tests/advice.c"
#include "tests/limits.c"
#include "tests/huge.c"
#include "tests/foreign.c"
#include "tests/core.c"
#include "tests/end.c"
#include "tests/uffd.c"

static int save_core(const char *name)
{
	char buf[65536];
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ssize_t n;

	if (fd < 0)
		return 1;
	while ((n = read(0, buf, sizeof(buf))) > 0)
		if (write(fd, buf, n) != n)
			return 1;
	return n < 0;
}

static void list(void)
{
	struct __test_metadata *t;

	for (t = _fixture_global.tests; t; t = t->next)
		puts(t->name);
}

/* Leave nothing but the test @name in the harness's list; not every version of the harness can choose one itself. */
static bool choose(const char *name)
{
	struct __test_metadata *t;

	for (t = _fixture_global.tests; t; t = t->next)
		if (!strcmp(t->name, name))
			break;
	if (!t)
		return false;
	t->next = NULL;
	t->prev = t;
	t->timeout = 3600;	/* it waits for a switch */
	_fixture_global.tests = t;
	return true;
}

int main(int argc, char **argv)
{
	int i;

	if (argc == 2 && !strcmp(argv[1], "--true"))
		return 0;
	if (argc == 2 && !strcmp(argv[1], "--list")) {
		list();
		return 0;
	}
	if (argc == 3 && !strcmp(argv[1], "--core-to"))
		return save_core(argv[2]);
	if (argc < 3 || strcmp(argv[1], "--run") || !choose(argv[2]))
		goto usage;
	for (i = 3; i < argc; i++) {
		if (!strcmp(argv[i], "--sabotage=lose"))
			mem_sabotage = SABOTAGE_LOSE;
		else if (!strcmp(argv[i], "--sabotage=resurrect"))
			mem_sabotage = SABOTAGE_RESURRECT;
		else if (!strncmp(argv[i], "--dir=", 6))
			mem_dir = argv[i] + 6;
		else
			goto usage;
	}
	mem_init(argv[2]);
	return test_harness_run(1, argv);
usage:
	fprintf(stderr, "usage: %s --list | --run TEST [--dir=DIR] [--sabotage=lose|resurrect]   (dirty_launch does this)\n", argv[0]);
	return 2;
}
