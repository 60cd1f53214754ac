// SPDX-License-Identifier: GPL-2.0
/* Fork. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

struct range {
	char *p;
	size_t len;
	int gen;
};

static int child_reads(void *arg)
{
	struct range *r = arg;

	return !!wrong(r->p, r->p, r->len, r->gen);
}

TEST(fork_child_reads)
{
	struct range r = { area(5 * MIB, PAGES(9)), 5 * MIB, 0 };

	fill(r.p, r.len);
	hold();
	EXPECT_EQ(0, in_child(child_reads, &r));
	SAME(r.p, r.len);
}

static int child_writes(void *arg)
{
	struct range *r = arg;
	size_t i, bad = 0;

	for (i = 0; i < r->len; i += PAGES(2))
		put(r->p + i, r->p + i, PAGE, 1);
	for (i = 0; i < r->len; i += PAGES(2))
		bad += wrong(r->p + i, r->p + i, PAGE, 1) + wrong(r->p + i + PAGE, r->p + i + PAGE, PAGE, 0);
	return !!bad;
}

TEST(fork_child_writes)
{
	struct range r = { area(4 * MIB, 0), 4 * MIB, 0 };

	fill(r.p, r.len);
	hold();
	EXPECT_EQ(0, in_child(child_writes, &r));
	SAME(r.p, r.len);
}

TEST(fork_both_write)
{
	size_t len = 4 * MIB;
	char *p = area(len, PAGES(300));
	int go[2], status;
	pid_t pid;
	size_t i;
	char c;

	fill(p, len);
	hold();
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		size_t bad = 0;

		for (i = 0; i < len; i += PAGES(3))
			put(p + i, p + i, PAGE, 1);
		if (read(go[0], &c, 1) != 1)	/* the parent has written its own */
			_exit(2);
		for (i = 0; i < len; i += PAGE)
			bad += wrong(p + i, p + i, PAGE, i / PAGE % 3 ? 0 : 1);
		_exit(!!bad);
	}
	for (i = 0; i < len; i += PAGES(2))
		put(p + i, p + i, PAGE, 2);
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	for (i = 0; i < len; i += PAGE)
		CHECK(p + i, p + i, PAGE, i / PAGE % 2 ? 0 : 2);
}

static int grandchild(void *arg)
{
	struct range *r = arg;
	size_t half = r->len / 2;

	if (wrong(r->p, r->p, half, 1) || wrong(r->p + half, r->p + half, half, 0))
		return 3;
	put(r->p, r->p, r->len, 2);
	return wrong(r->p, r->p, r->len, 2) ? 4 : 0;
}

static int middle_child(void *arg)
{
	struct range *r = arg;
	size_t half = r->len / 2;
	int ret;

	put(r->p, r->p, half, 1);
	ret = in_child(grandchild, r);
	if (ret)
		return ret;
	return wrong(r->p, r->p, half, 1) || wrong(r->p + half, r->p + half, half, 0);
}

TEST(fork_grandchild)
{
	struct range r = { area(3 * MIB, PAGES(77)), 3 * MIB, 0 };

	fill(r.p, r.len);
	hold();
	EXPECT_EQ(0, in_child(middle_child, &r));
	SAME(r.p, r.len);
}

TEST(fork_several_at_once)
{
	size_t len = 4 * MIB;
	char *p = area(len, 0);
	pid_t pid[4];
	int i, status;

	fill(p, len);
	hold();
	for (i = 0; i < 4; i++) {
		pid[i] = fork();
		ASSERT_LE(0, pid[i]);
		if (!pid[i]) {
			struct range r = { p + i * MIB, 2 * MIB - i / 3 * MIB, 0 };

			_exit(wrong(p, p, len, 0) || child_writes(&r));
		}
	}
	SAME(p, len);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_EQ(0, status);
	}
	SAME(p, len);
}

static int orphan_reads(void *arg)
{
	struct range *r = arg;

	usleep(300000);
	return wrong(r->p, r->p, r->len, 0) ? 1 : 0;
}

/* The child is the last one to hold the pages. */
TEST(fork_parent_unmaps)
{
	struct range r = { area(3 * MIB, PAGES(40)), 3 * MIB, 0 };
	int status;
	pid_t pid;

	fill(r.p, r.len);
	hold();
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(orphan_reads(&r));
	ASSERT_EQ(0, munmap(r.p, r.len));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

TEST(vfork_child_writes)
{
	size_t len = 2 * MIB;
	char *p = area(len, PAGES(256));
	int status;
	pid_t pid;

	fill(p, len);
	hold();
	pid = vfork();
	if (!pid) {
		*(volatile uint64_t *)(p + MIB) = word(p + MIB, 1);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	CHECK(p + MIB, p + MIB, 8, 1);
	put(p + MIB, p + MIB, 8, 0);
	SAME(p, len);
}

static int run_true(void *arg)
{
	(void)arg;
	execl("/proc/self/exe", "dirty", "--true", NULL);
	return 1;
}

TEST(exec_of_a_child)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(1));
	int status;
	pid_t pid;

	fill(p, len);
	hold();
	pid = vfork();
	if (!pid) {
		execl("/proc/self/exe", "dirty", "--true", NULL);
		_exit(1);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, in_child(run_true, NULL));
	SAME(p, len);
}

static int clone_vm_child(void *arg)
{
	struct range *r = arg;

	put(r->p, r->p, r->len / 2, 1);
	return 0;
}

TEST(clone_vm)
{
	struct range r = { area(4 * MIB, 0), 4 * MIB, 0 };
	char *stack = area(PAGES(32), 0);
	int status;
	pid_t pid;

	fill(r.p, r.len);
	hold();
	pid = clone(clone_vm_child, stack + PAGES(32), CLONE_VM | SIGCHLD, &r);
	ASSERT_LE(0, pid);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	CHECK(r.p, r.p, r.len / 2, 1);
	SAME(r.p + r.len / 2, r.len / 2);
}

static int wiped_child(void *arg)
{
	struct range *r = arg;

	return nonzero(r->p, MIB) || wrong(r->p + MIB, r->p + MIB, MIB, 0) || !read_faults(r->p + 2 * MIB);
}

TEST(wipeonfork_and_dontfork)
{
	struct range r = { area(3 * MIB, PAGES(300)), 3 * MIB, 0 };

	fill(r.p, r.len);
	hold();
	ASSERT_EQ(0, madvise(r.p, MIB, MADV_WIPEONFORK));
	ASSERT_EQ(0, madvise(r.p + 2 * MIB, MIB, MADV_DONTFORK));
	EXPECT_EQ(0, in_child(wiped_child, &r));
	SAME(r.p, r.len);
	ASSERT_EQ(0, madvise(r.p, MIB, MADV_KEEPONFORK));
	ASSERT_EQ(0, madvise(r.p + 2 * MIB, MIB, MADV_DOFORK));
	EXPECT_EQ(0, in_child(child_reads, &r));
}

TEST(wipeonfork_before)
{
	struct range r = { area(3 * MIB, 0), 3 * MIB, 0 };

	fill(r.p, r.len);
	ASSERT_EQ(0, madvise(r.p, MIB, MADV_WIPEONFORK));
	ASSERT_EQ(0, madvise(r.p + 2 * MIB, MIB, MADV_DONTFORK));
	hold();
	EXPECT_EQ(0, in_child(wiped_child, &r));
	SAME(r.p, r.len);
}
