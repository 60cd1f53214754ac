// SPDX-License-Identifier: GPL-2.0
/* Mremap. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

TEST(mremap_grow)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(31)), *q;

	fill(p, len);
	hold();
	q = mremap(p, len, len + 2 * MIB, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, q);
	CHECK(q, p, len, 0);
	ZERO(q + len, 2 * MIB);
}

TEST(mremap_grow_elsewhere)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(31)), *q;

	ASSERT_EQ(p + len, mmap(p + len, PAGE, PROT_NONE, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	fill(p, len);
	hold();
	q = mremap(p, len, len + 2 * MIB, MREMAP_MAYMOVE);
	ASSERT_NE(MAP_FAILED, q);
	ASSERT_NE(p, q);
	CHECK(q, p, len, 0);
	ZERO(q + len, 2 * MIB);
}

TEST(mremap_shrink)
{
	size_t len = 5 * MIB;
	char *p = area(len, PAGES(2));

	fill(p, len);
	hold();
	ASSERT_EQ(p, mremap(p, len, 2 * MIB + PAGES(5), 0));
	SAME(p, 2 * MIB + PAGES(5));
	EXPECT_TRUE(read_faults(p + 2 * MIB + PAGES(5)));
	ASSERT_EQ(p, mremap(p, 2 * MIB + PAGES(5), len, 0));
	SAME(p, 2 * MIB + PAGES(5));
	ZERO(p + 2 * MIB + PAGES(5), len - 2 * MIB - PAGES(5));
}

static void move_test(struct __test_metadata *_metadata, size_t from, size_t to, size_t cut_front, size_t cut_back)
{
	size_t len = 5 * MIB, part = len - cut_front - cut_back;
	char *p = area(len, from), *q = area(len, to);

	fill(p, len);
	hold();
	q += cut_front;
	ASSERT_EQ(q, mremap(p + cut_front, part, part, MREMAP_MAYMOVE | MREMAP_FIXED, q));
	CHECK(q, p + cut_front, part, 0);
	if (cut_front)
		SAME(p, cut_front);
	if (cut_back)
		SAME(p + len - cut_back, cut_back);
	EXPECT_TRUE(read_faults(p + cut_front));
	ASSERT_EQ(p + cut_front, mmap(p + cut_front, part, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	ZERO(p + cut_front, part);
	put(q, p + cut_front, part, 1);
	CHECK(q, p + cut_front, part, 1);
}

TEST(mremap_move_aligned)
{
	move_test(_metadata, 0, 0, 0, 0);
}

TEST(mremap_move_odd)
{
	move_test(_metadata, PAGES(3), PAGES(260), 0, 0);
}

TEST(mremap_move_middle)
{
	move_test(_metadata, 0, PAGES(1), PAGES(300), PAGES(450));
}

TEST(mremap_move_middle_same_offset)
{
	move_test(_metadata, PAGES(5), PAGES(5), PAGES(100), PAGES(100));
}

TEST(mremap_dontunmap)
{
	size_t len = 4 * MIB + PAGES(3);
	char *p = area(len, PAGES(200)), *q;

	fill(p, len);
	hold();
	/* not by glibc's mremap(): it would pass a random address */
	q = (char *)syscall(SYS_mremap, p, len, len, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	ASSERT_NE(MAP_FAILED, q);
	CHECK(q, p, len, 0);
	ZERO(p, len);
	put(p, p, len, 1);
	CHECK(q, p, len, 0);
}

/* Unbound pages are moved onto other unbound pages. */
TEST(mremap_onto_another)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(8)), *q = area(len + MIB, PAGES(101));

	fill(p, len);
	fill(q, len + MIB);
	hold();
	ASSERT_EQ(q + PAGES(128), mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, q + PAGES(128)));
	SAME(q, PAGES(128));
	CHECK(q + PAGES(128), p, len, 0);
	SAME(q + PAGES(128) + len, MIB - PAGES(128));
}

TEST(mremap_there_and_back)
{
	size_t len = 2 * MIB + PAGES(100), i;
	char *p = area(len, PAGES(8)), *q = area(len, PAGES(300)), *at = p;

	fill(p, len);
	hold();
	ASSERT_EQ(0, munmap(q, len));
	for (i = 0; i < 5; i++) {
		char *to = at == p ? q : p;

		ASSERT_EQ(to, mremap(at, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
		at = to;
	}
	CHECK(at, p, len, 0);
}
