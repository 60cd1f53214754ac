// SPDX-License-Identifier: GPL-2.0
/* Mprotect, munmap, mmap over. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

TEST(mprotect_read_only_and_back)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(80));

	fill(p, len);
	hold();
	ASSERT_EQ(0, mprotect(p, len, PROT_READ));
	EXPECT_TRUE(write_faults(p + MIB));
	SAME(p, len / 2);
	EXPECT_TRUE(write_faults(p));
	ASSERT_EQ(0, mprotect(p, len, RW));
	put(p, p, len / 2, 1);
	CHECK(p, p, len / 2, 1);
	SAME(p + len / 2, len / 2);
}

TEST(mprotect_parts_of_chunks)
{
	size_t pages = 1024, i;
	char *p = area(PAGES(pages), 0);

	fill(p, PAGES(pages));
	hold();
	for (i = 5; i + 20 < pages; i += 100)
		ASSERT_EQ(0, mprotect(p + PAGES(i), PAGES(20), PROT_READ));
	for (i = 5; i + 20 < pages; i += 100) {
		EXPECT_TRUE(write_faults(p + PAGES(i + 19)));
		EXPECT_FALSE(write_faults(p + PAGES(i + 20)));
		EXPECT_FALSE(write_faults(p + PAGES(i - 1)));
	}
	SAME(p, PAGES(pages));
}

TEST(mprotect_none_and_back)
{
	size_t len = 4 * MIB;
	char *p = area(len, PAGES(100));

	fill(p, len);
	hold();
	ASSERT_EQ(0, mprotect(p + MIB, 2 * MIB, PROT_NONE));
	EXPECT_TRUE(read_faults(p + 2 * MIB));
	SAME(p, MIB);
	SAME(p + 3 * MIB, MIB);
	ASSERT_EQ(0, mprotect(p + MIB, 2 * MIB, RW));
	SAME(p, len);
}

TEST(mprotect_exec)
{
	size_t len = 2 * MIB;
	char *p = area(len, PAGES(100));
	int (*fn)(void) = (int (*)(void))(p + MIB);

	fill(p, len);
	hold();
	memcpy(p + MIB, "\xb8\x2a\x00\x00\x00\xc3", 6);	/* mov $42, %eax; ret */
	ASSERT_EQ(0, mprotect(p + MIB, PAGES(4), PROT_READ | PROT_EXEC));
	EXPECT_EQ(42, fn());
	SAME(p, MIB);
	SAME(p + MIB + 8, MIB - 8);
}

TEST(munmap_parts)
{
	size_t pages = 1536, i;
	char *p = area(PAGES(pages), PAGES(256));

	fill(p, PAGES(pages));
	hold();
	for (i = 10; i < pages; i += 150)
		ASSERT_EQ(0, munmap(p + PAGES(i), PAGES(40)));
	for (i = 10; i < pages; i += 150) {
		SAME(p + PAGES(i - 10), PAGES(10));
		EXPECT_TRUE(read_faults(p + PAGES(i)));
		ASSERT_EQ(p + PAGES(i), mmap(p + PAGES(i), PAGES(40), RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
		ZERO(p + PAGES(i), PAGES(40));
	}
	for (i = 50; i + 110 < pages; i += 150)
		SAME(p + PAGES(i + 10), PAGES(100));
}

TEST(munmap_whole)
{
	size_t len = 4 * MIB;
	char *p = area(len, 0), *keep = area(PAGE, 0);

	fill(p, len);
	fill(keep, PAGE);
	hold();
	ASSERT_EQ(0, munmap(p, len));
	ASSERT_EQ(p, mmap(p, len, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	ZERO(p, len);
	SAME(keep, PAGE);
}

TEST(munmap_ends)
{
	size_t len = 2 * CHUNK;
	char *p = area(len, 0);

	fill(p, len);
	hold();
	ASSERT_EQ(0, munmap(p, PAGE));
	ASSERT_EQ(0, munmap(p + len - PAGE, PAGE));
	ASSERT_EQ(0, munmap(p + CHUNK - PAGE, PAGES(2)));
	SAME(p + PAGE, CHUNK - PAGES(2));
	SAME(p + CHUNK + PAGE, CHUNK - PAGES(2));
}

TEST(map_fixed_over)
{
	size_t len = 3 * CHUNK;
	char *p = area(len, 0);
	int fd;

	fill(p, len);
	hold();
	ASSERT_EQ(p + PAGES(100), mmap(p + PAGES(100), PAGES(100), RW, ANON | MAP_FIXED, -1, 0));
	ASSERT_EQ(p + CHUNK, mmap(p + CHUNK, CHUNK, RW, ANON | MAP_FIXED, -1, 0));
	ASSERT_EQ(p + 2 * CHUNK + PAGES(9),
		  mmap(p + 2 * CHUNK + PAGES(9), PAGES(20), RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	fd = open("/proc/self/exe", O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(p + 2 * CHUNK + PAGES(50),
		  mmap(p + 2 * CHUNK + PAGES(50), PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0));
	close(fd);
	ZERO(p + PAGES(100), PAGES(100));
	ZERO(p + CHUNK, CHUNK);
	ZERO(p + 2 * CHUNK + PAGES(9), PAGES(20));
	EXPECT_EQ(0, memcmp(p + 2 * CHUNK + PAGES(50), "\177ELF", 4));
	SAME(p, PAGES(100));
	SAME(p + PAGES(200), PAGES(312));
	SAME(p + 2 * CHUNK, PAGES(9));
	SAME(p + 2 * CHUNK + PAGES(29), PAGES(21));
	SAME(p + 2 * CHUNK + PAGES(51), CHUNK - PAGES(51));
}
