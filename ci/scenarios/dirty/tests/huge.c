// SPDX-License-Identifier: GPL-2.0
/* Huge pages. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

TEST(thp_read)
{
	size_t len = 3 * CHUNK;
	char *p = huge_area(len);

	fill(p, len);
	hold();
	SAME(p, len);
}

TEST(thp_write)
{
	size_t len = 2 * CHUNK, i;
	char *p = huge_area(len);

	fill(p, len);
	hold();
	for (i = 0; i < len; i += PAGES(5))
		put(p + i + 96, p + i + 96, 40, 1);
	for (i = 0; i < len; i += PAGES(5)) {
		SAME(p + i, 96);
		CHECK(p + i + 96, p + i + 96, 40, 1);
		SAME(p + i + 136, PAGE - 136);
	}
	put(p, p, len, 2);
	CHECK(p, p, len, 2);
}

TEST(thp_partial_munmap)
{
	size_t len = 3 * CHUNK;
	char *p = huge_area(len);

	fill(p, len);
	hold();
	ASSERT_EQ(0, munmap(p + PAGES(10), PAGES(100)));
	ASSERT_EQ(0, munmap(p + CHUNK + PAGES(511), PAGES(2)));
	SAME(p, PAGES(10));
	SAME(p + PAGES(110), CHUNK + PAGES(401));
	SAME(p + 2 * CHUNK + PAGE, CHUNK - PAGE);
	ASSERT_EQ(p + PAGES(10), mmap(p + PAGES(10), PAGES(100), RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	ZERO(p + PAGES(10), PAGES(100));
}

TEST(thp_partial_mprotect)
{
	size_t len = 2 * CHUNK;
	char *p = huge_area(len);

	fill(p, len);
	hold();
	ASSERT_EQ(0, mprotect(p + PAGES(100), PAGES(100), PROT_READ));
	EXPECT_TRUE(write_faults(p + PAGES(150)));
	EXPECT_FALSE(write_faults(p + PAGES(99)));
	SAME(p, len);
	ASSERT_EQ(0, mprotect(p + PAGES(100), PAGES(100), RW));
	put(p, p, len, 1);
	CHECK(p, p, len, 1);
}

TEST(thp_partial_dontneed)
{
	size_t len = 2 * CHUNK;
	char *p = huge_area(len);

	fill(p, len);
	hold();
	ASSERT_EQ(0, madvise(p + PAGES(400), PAGES(200), MADV_DONTNEED));
	SAME(p, PAGES(400));
	ZERO(p + PAGES(400), PAGES(200));
	SAME(p + PAGES(600), len - PAGES(600));
}

TEST(thp_free)
{
	size_t len = 2 * CHUNK;
	char *p = huge_area(len);

	fill(p, len);
	hold();
	ASSERT_EQ(0, madvise(p + PAGES(400), PAGES(200), MADV_FREE));
	EXPECT_EQ(0UL, torn(p + PAGES(400), p + PAGES(400), PAGES(200), 0));
	SAME(p, PAGES(400));
	SAME(p + PAGES(600), len - PAGES(600));
}

TEST(thp_fork)
{
	struct range r = { huge_area(2 * CHUNK), 2 * CHUNK, 0 };

	fill(r.p, r.len);
	hold();
	EXPECT_EQ(0, in_child(child_writes, &r));
	SAME(r.p, r.len);
	EXPECT_EQ(0, in_child(child_reads, &r));
	put(r.p, r.p, r.len / 2, 1);
	CHECK(r.p, r.p, r.len / 2, 1);
	SAME(r.p + r.len / 2, r.len / 2);
}

TEST(thp_child_outlives_mapping)
{
	struct range r = { huge_area(2 * CHUNK), 2 * CHUNK, 0 };
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

TEST(thp_mremap)
{
	size_t len = 2 * CHUNK;
	char *p = huge_area(len), *q = area(len, 0), *r = area(len, PAGES(77));

	fill(p, len);
	hold();
	ASSERT_EQ(q, mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, q));
	CHECK(q, p, len / 2, 0);
	ASSERT_EQ(r, mremap(q, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, r));
	CHECK(r, p, len, 0);
}

TEST(thp_move_part)
{
	size_t len = 2 * CHUNK, from = PAGES(300), part = PAGES(500);
	char *p = huge_area(len), *q = area(len, PAGES(33));

	fill(p, len);
	hold();
	ASSERT_EQ(q, mremap(p + from, part, part, MREMAP_MAYMOVE | MREMAP_FIXED, q));
	CHECK(q, p + from, part, 0);
	SAME(p, from);
	SAME(p + from + part, len - from - part);
}

/* Cut before the switch: one huge page under several VMAs. */
TEST(thp_cut_before)
{
	size_t len = 2 * CHUNK;
	char *p = huge_area(len);

	fill(p, len);
	ASSERT_EQ(0, mprotect(p + PAGES(100), PAGES(10), PROT_READ));
	ASSERT_EQ(0, munmap(p + CHUNK + PAGES(7), PAGE));
	hold();
	EXPECT_TRUE(write_faults(p + PAGES(105)));
	EXPECT_TRUE(read_faults(p + CHUNK + PAGES(7)));
	SAME(p, CHUNK + PAGES(7));
	SAME(p + CHUNK + PAGES(8), CHUNK - PAGES(8));
}

TEST(thp_threads)
{
	size_t len = 2 * CHUNK;
	char *p;
	struct crew crew;

	crew_gather(&crew, write_own_bytes);
	p = crew_memory(&crew, huge_area(len), len);
	fill(p, len);
	hold();
	crew_start(&crew);
	EXPECT_EQ(0UL, crew_join(&crew));
	EXPECT_EQ(0UL, inverted(p, len));
}

TEST(thp_stays_huge)
{
	size_t len = 2 * CHUNK, before = 0, after = 0, *out = &before;
	char *p = huge_area(len), line[256];
	FILE *f;

	fill(p, len);
	for (;;) {
		unsigned long start, end;
		bool in = false;

		f = fopen("/proc/self/smaps", "re");
		ASSERT_NE(NULL, f);
		while (fgets(line, sizeof(line), f)) {
			if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
				in = start == (unsigned long)p;
			else if (in)
				sscanf(line, "AnonHugePages: %zu", out);
		}
		fclose(f);
		if (out == &after)
			break;
		hold();
		out = &after;
		SAME(p, len);
	}
	TH_LOG("AnonHugePages: %zu KiB before, %zu KiB after", before, after);
	EXPECT_EQ(before, after);
}
