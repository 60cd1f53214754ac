// SPDX-License-Identifier: GPL-2.0
/* Madvise. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

TEST(dontneed)
{
	size_t len = 3 * CHUNK;
	char *p = area(len, 0);

	fill(p, len);
	hold();
	ASSERT_EQ(0, madvise(p + PAGES(7), PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(p + PAGES(100), PAGES(100), MADV_DONTNEED));
	ASSERT_EQ(0, madvise(p + CHUNK, CHUNK, MADV_DONTNEED));
	ASSERT_EQ(0, madvise(p + 2 * CHUNK + PAGES(500), PAGES(12), MADV_DONTNEED));
	SAME(p, PAGES(7));
	ZERO(p + PAGES(7), PAGE);
	SAME(p + PAGES(8), PAGES(92));
	ZERO(p + PAGES(100), PAGES(100));
	SAME(p + PAGES(200), PAGES(312));
	ZERO(p + CHUNK, CHUNK);
	SAME(p + 2 * CHUNK, PAGES(500));
	ZERO(p + 2 * CHUNK + PAGES(500), PAGES(12));
}

TEST(dontneed_then_write)
{
	size_t len = CHUNK;
	char *p = area(len, PAGES(128));

	fill(p, len);
	hold();
	ASSERT_EQ(0, madvise(p + PAGES(10), PAGES(200), MADV_DONTNEED));
	put(p + PAGES(50), p + PAGES(50), PAGE, 1);
	CHECK(p + PAGES(50), p + PAGES(50), PAGE, 1);
	ZERO(p + PAGES(10), PAGES(40));
	ZERO(p + PAGES(51), PAGES(159));
	SAME(p, PAGES(10));
	SAME(p + PAGES(210), len - PAGES(210));
}

TEST(dontneed_over_several_vmas)
{
	char *p = area(CHUNK, 0);

	fill(p, CHUNK);
	ASSERT_EQ(0, mprotect(p + PAGES(100), PAGES(100), PROT_READ));
	hold();
	ASSERT_EQ(0, madvise(p + PAGES(50), PAGES(100), MADV_DONTNEED));
	SAME(p, PAGES(50));
	ZERO(p + PAGES(50), PAGES(100));
	SAME(p + PAGES(150), CHUNK - PAGES(150));
}

TEST(madvise_free)
{
	size_t len = 2 * CHUNK, from = PAGES(100), part = PAGES(700);
	char *p = area(len, 0);

	fill(p, len);
	hold();
	ASSERT_EQ(0, madvise(p + from, part, MADV_FREE));
	EXPECT_EQ(0UL, torn(p + from, p + from, part, 0));
	SAME(p, from);
	SAME(p + from + part, len - from - part);
	put(p + from, p + from, part / 2, 1);	/* written again: no longer free */
	write_file("/proc/sys/vm/compact_memory", "1");
	CHECK(p + from, p + from, part / 2, 1);
	EXPECT_EQ(0UL, torn(p + from + part / 2, p + from + part / 2, part / 2, 0));
}

TEST(collapse)
{
	size_t len = 3 * CHUNK;
	char *p = area(len, PAGES(50));
	char *first = p + CHUNK - PAGES(50);

	fill(p, len);
	ASSERT_EQ(0, madvise(p, len, MADV_HUGEPAGE));
	hold();
	if (madvise(first, CHUNK, MADV_COLLAPSE))
		TH_LOG("MADV_COLLAPSE: %s", strerror(errno));
	SAME(first, CHUNK);
	madvise(p, len, MADV_COLLAPSE);
	SAME(p, len);
	put(p, p, len, 1);
	CHECK(p, p, len, 1);
}

TEST(collapse_with_holes)
{
	char *p = area(2 * CHUNK, 0);
	size_t i;

	for (i = 0; i < 1024; i += 3)
		fill(p + PAGES(i), PAGE);
	ASSERT_EQ(0, madvise(p, 2 * CHUNK, MADV_HUGEPAGE));
	hold();
	madvise(p, 2 * CHUNK, MADV_COLLAPSE);
	for (i = 0; i < 1023; i += 3) {
		SAME(p + PAGES(i), PAGE);
		ZERO(p + PAGES(i + 1), PAGES(2));
	}
}

/* khugepaged at full speed beside faults that fill chunks page by page. */
TEST(khugepaged)
{
	static const char scan[] = "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs";
	size_t len = 4 * CHUNK, i;
	char *p = area(len, 0);

	for (i = 0; i < len; i += PAGES(2))
		fill(p + i, PAGE);
	hold();
	ASSERT_EQ(0, madvise(p, len, MADV_HUGEPAGE));
	if (!write_file(scan, "1"))
		TH_LOG("cannot set %s", scan);
	for (i = 0; i < len; i += PAGES(2)) {
		SAME(p + i, PAGE);
		ZERO(p + i + PAGE, PAGE);
		if (i % (MIB / 2) == 0)
			usleep(100000);
	}
	usleep(500000);
	for (i = 0; i < len; i += PAGES(2)) {
		SAME(p + i, PAGE);
		ZERO(p + i + PAGE, PAGE);
	}
	write_file(scan, "10000");
}

TEST(cold_pageout_willneed)
{
	size_t len = 2 * CHUNK;
	char *p = area(len, PAGES(40));

	fill(p, len);
	hold();
	ASSERT_EQ(0, madvise(p + PAGES(3), MIB, MADV_COLD));
	ASSERT_EQ(0, madvise(p + MIB, MIB, MADV_PAGEOUT));
	madvise(p, len, MADV_WILLNEED);
	SAME(p, len);
	ASSERT_EQ(0, madvise(p, len, MADV_PAGEOUT));
	SAME(p, len);
}

TEST(populate)
{
	size_t len = 2 * CHUNK, i;
	char *p = area(len, PAGES(40));

	for (i = 0; i < len; i += PAGES(4))
		fill(p + i, PAGE);
	hold();
	ASSERT_EQ(0, madvise(p, CHUNK, MADV_POPULATE_READ));
	ASSERT_EQ(0, madvise(p + CHUNK, CHUNK, MADV_POPULATE_WRITE));
	for (i = 0; i < len; i += PAGES(4)) {
		SAME(p + i, PAGE);
		ZERO(p + i + PAGE, PAGES(3));
	}
}

TEST(mergeable)
{
	size_t len = CHUNK, i;
	char *p = area(2 * len, 0);

	fill(p, len);
	for (i = 0; i < len; i += PAGE)
		memset(p + len + i, 0x5a, PAGE);
	hold();
	ASSERT_EQ(0, madvise(p, 2 * len, MADV_MERGEABLE));
	if (!write_file("/sys/kernel/mm/ksm/sleep_millisecs", "1") || !write_file("/sys/kernel/mm/ksm/pages_to_scan", "1000") ||
	    !write_file("/sys/kernel/mm/ksm/run", "1"))
		TH_LOG("no ksmd here");
	SAME(p, len / 2);
	usleep(800000);
	SAME(p, len);
	for (i = 0; i < len; i++)
		if (p[len + i] != 0x5a)
			break;
	EXPECT_EQ(len, i);
	write_file("/sys/kernel/mm/ksm/run", "2");
	put(p + len, p + len, len, 1);
	CHECK(p + len, p + len, len, 1);
	SAME(p, len);
}

TEST(advice_that_splits)
{
	size_t pages = 1024, i;
	char *p = area(PAGES(pages), 0);

	fill(p, PAGES(pages));
	hold();
	for (i = 0; i < pages; i += 64) {
		EXPECT_EQ(0, madvise(p + PAGES(i), PAGES(8), MADV_SEQUENTIAL));
		EXPECT_EQ(0, madvise(p + PAGES(i + 8), PAGES(8), MADV_DONTDUMP));
		EXPECT_EQ(0, madvise(p + PAGES(i + 16), PAGES(8), MADV_HUGEPAGE));
		prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, p + PAGES(i + 24), PAGES(8), "dirty");
	}
	SAME(p, PAGES(pages) / 2);
	EXPECT_EQ(0, madvise(p, PAGES(pages), MADV_NORMAL));
	EXPECT_EQ(0, madvise(p, PAGES(pages), MADV_DODUMP));
	EXPECT_EQ(0, madvise(p, PAGES(pages), MADV_NOHUGEPAGE));
	SAME(p, PAGES(pages));
}

TEST(madvise_guard)
{
	char *p = area(CHUNK, 0);

	fill(p, CHUNK);
	hold();
	if (madvise(p + PAGES(100), PAGES(10), MADV_GUARD_INSTALL_)) {
		TH_LOG("no guard regions here: %s", strerror(errno));
	} else {
		EXPECT_TRUE(read_faults(p + PAGES(105)));
		ASSERT_EQ(0, madvise(p + PAGES(100), PAGES(10), MADV_GUARD_REMOVE_));
		ZERO(p + PAGES(100), PAGES(10));
		put(p + PAGES(100), p + PAGES(100), PAGES(10), 0);
	}
	SAME(p, CHUNK);
}

static char *peer_area;

static int peer_fills_and_checks(struct peer *self)
{
	size_t bad;

	fill(peer_area, 2 * CHUNK);
	peer_hold(self);
	peer_say(self);
	peer_wait(self);
	bad = wrong(peer_area, peer_area, 2 * CHUNK, 0);
	return !!bad;
}

TEST(madvise_from_outside)
{
	struct iovec iov;
	struct peer peer;
	int pidfd;

	peer_area = area(2 * CHUNK, PAGES(100));
	peer_start(&peer, peer_fills_and_checks);
	peer_wait(&peer);
	hold();
	peer_go(&peer);
	peer_wait(&peer);
	pidfd = syscall(SYS_pidfd_open, peer.pid, 0);
	ASSERT_LE(0, pidfd);
	iov.iov_base = peer_area;
	iov.iov_len = CHUNK;
	EXPECT_EQ((long)CHUNK, syscall(SYS_process_madvise, pidfd, &iov, 1, MADV_COLD, 0));
	EXPECT_EQ((long)CHUNK, syscall(SYS_process_madvise, pidfd, &iov, 1, MADV_PAGEOUT, 0));
	iov.iov_base = peer_area + PAGES(412);	/* the one whole chunk in it */
	if (syscall(SYS_process_madvise, pidfd, &iov, 1, MADV_COLLAPSE, 0) < 0)
		TH_LOG("MADV_COLLAPSE: %s", strerror(errno));
	close(pidfd);
	peer_say(&peer);
	EXPECT_EQ(0, peer_end(&peer));
}
