// SPDX-License-Identifier: GPL-2.0
/* Mlock and limits. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

TEST(mlock_part)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(30));

	fill(p, len);
	hold();
	ASSERT_EQ(0, mlock(p + PAGES(5), MIB));
	EXPECT_EQ(MIB / PAGE, present(p + PAGES(5), MIB));
	SAME(p, 2 * MIB);
	ASSERT_EQ(0, munlock(p + PAGES(50), MIB));
	SAME(p, len);
	ASSERT_EQ(0, munmap(p, MIB));
	SAME(p + MIB, len - MIB);
}

TEST(mlock_onfault)
{
	size_t len = 2 * MIB;
	char *p = area(len, PAGES(30));

	fill(p, len);
	hold();
	ASSERT_EQ(0, mlock2(p, len, MLOCK_ONFAULT));
	SAME(p, len / 2);
	ASSERT_EQ(0, munlock(p, len));
	SAME(p, len);
}

TEST(mlock_before)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(30));

	fill(p, len);
	ASSERT_EQ(0, mlock(p, MIB));
	ASSERT_EQ(0, mlock2(p + MIB, MIB, MLOCK_ONFAULT));
	hold();
	SAME(p, len);
	put(p, p, len, 1);
	ASSERT_EQ(0, munlock(p, len));
	CHECK(p, p, len, 1);
}

TEST(mlock_all)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(30)), *q;

	fill(p, len);
	hold();
	ASSERT_EQ(0, mlockall(MCL_CURRENT | MCL_FUTURE));
	EXPECT_EQ(len / PAGE, present(p, len));
	q = mmap(NULL, MIB, RW, ANON, -1, 0);
	ASSERT_NE(MAP_FAILED, q);
	ZERO(q, MIB);
	SAME(p, len);
	ASSERT_EQ(0, munlockall());
	SAME(p, len);
}

static int mlock_too_much(void *arg)
{
	struct range *r = arg;
	struct rlimit lim = { PAGES(16), PAGES(16) };

	if (setrlimit(RLIMIT_MEMLOCK, &lim) || setresuid(65534, 65534, 65534))
		return 2;
	if (!mlock(r->p, r->len))
		return 3;
	if (mlock(r->p + MIB, PAGES(4)))
		return 4;
	return !!wrong(r->p, r->p, r->len, 0);
}

TEST(limits)
{
	struct range r = { area(3 * MIB, PAGES(30)), 3 * MIB, 0 };
	struct rlimit lim = { 16 * MIB, RLIM_INFINITY };

	fill(r.p, r.len);
	hold();
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &lim));
	ASSERT_EQ(0, setrlimit(RLIMIT_DATA, &lim));
	EXPECT_EQ(MAP_FAILED, mremap(r.p, r.len, r.len + 64 * MIB, MREMAP_MAYMOVE));
	SAME(r.p, r.len / 2);
	lim.rlim_cur = RLIM_INFINITY;
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &lim));
	ASSERT_EQ(0, setrlimit(RLIMIT_DATA, &lim));
	EXPECT_EQ(0, in_child(mlock_too_much, &r));
	SAME(r.p, r.len);
}

/*
 * The process moves into a cgroup that is far too small and only then touches its memory. What was its own before the
 * switch must not be lost for the limit.
 */
TEST(memcg_limit)
{
	static const char cg[] = "/sys/fs/cgroup/dirty-limit";
	size_t len = 24 * MIB, i;
	char *p = area(len, PAGES(30));
	char path[128];
	int max;

	fill(p, len);
	hold();
	write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	if (mkdir(cg, 0755) && errno != EEXIST)
		TH_LOG("%s: %s", cg, strerror(errno));
	snprintf(path, sizeof(path), "%s/memory.max", cg);
	max = open(path, O_WRONLY);	/* over its limit, it could not be opened without the OOM killer */
	ASSERT_LE(0, max);
	ASSERT_EQ(7, write(max, "8388608", 7));
	snprintf(path, sizeof(path), "%s/cgroup.procs", cg);
	ASSERT_TRUE(write_file(path, "0"));
	for (i = 0; i < len; i += PAGE)
		EXPECT_EQ(word(p + i, 0), *(uint64_t *)(p + i));
	SAME(p, len);
	ASSERT_EQ(3, pwrite(max, "max", 3, 0));
	close(max);
	put(p, p, len, 1);
	CHECK(p, p, len, 1);
	write_file("/sys/fs/cgroup/cgroup.procs", "0");
	rmdir(cg);
}
