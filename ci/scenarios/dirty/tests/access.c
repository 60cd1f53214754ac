// SPDX-License-Identifier: GPL-2.0
/* Plain access. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

TEST(read_every_byte)
{
	size_t len = 8 * MIB;
	char *p = area(len, 0);

	fill(p, len);
	hold();
	SAME(p, len);
}

TEST(read_backwards)
{
	size_t len = 6 * MIB, at;
	char *p = area(len, PAGES(7));

	fill(p, len);
	hold();
	for (at = len; at; at -= PAGE)
		SAME(p + at - PAGE, PAGE);
}

TEST(read_scattered)
{
	size_t pages = 2048, i;
	char *p = area(PAGES(pages), PAGES(511));

	fill(p, PAGES(pages));
	hold();
	for (i = 0; i < pages; i++) {
		char *page = p + PAGES(i * 1021 % pages);

		EXPECT_EQ(word(page + 64, 0), *(uint64_t *)(page + 64));
	}
	SAME(p, PAGES(pages));
}

TEST(write_every_page)
{
	size_t len = 8 * MIB;
	char *p = area(len, PAGES(3));

	fill(p, len);
	hold();
	put(p, p, len / 2, 1);
	CHECK(p, p, len / 2, 1);
	SAME(p + len / 2, len / 2);
	put(p, p, len, 2);
	CHECK(p, p, len, 2);
}

TEST(write_parts_of_pages)
{
	size_t pages = 1536, i;
	char *p = area(PAGES(pages), PAGES(300));

	fill(p, PAGES(pages));
	hold();
	for (i = 0; i < pages; i++) {
		size_t from = mix(i) % (PAGE - 64), len = 1 + mix(i) / 7 % 63;

		put(p + PAGES(i) + from, p + PAGES(i) + from, len, 1);
	}
	for (i = 0; i < pages; i++) {
		size_t from = mix(i) % (PAGE - 64), len = 1 + mix(i) / 7 % 63;
		char *page = p + PAGES(i);

		SAME(page, from);
		CHECK(page + from, page + from, len, 1);
		SAME(page + from + len, PAGE - from - len);
	}
}

TEST(single_pages_in_empty_chunks)
{
	size_t chunks = 24, i;
	char *p = area(chunks * CHUNK, 0);

	for (i = 0; i < chunks; i++)
		fill(p + i * CHUNK + PAGES(mix(i) % 512), PAGE);
	hold();
	for (i = 0; i < chunks; i++) {
		char *chunk = p + i * CHUNK;
		size_t at = PAGES(mix(i) % 512);

		if (i % 2)	/* the neighbours first */
			ZERO(chunk, at);
		SAME(chunk + at, PAGE);
		ZERO(chunk, at);
		ZERO(chunk + at + PAGE, CHUNK - at - PAGE);
		SAME(chunk + at, PAGE);
	}
}

TEST(unaligned_ends)
{
	size_t len = 2 * CHUNK + PAGES(9);
	char *p = area(len, CHUNK - PAGE);
	char *q = area(PAGES(3), CHUNK - PAGES(2));
	char *r = area(PAGE, CHUNK - PAGE);

	fill(p, len);
	fill(q, PAGES(3));
	fill(r, PAGE);
	hold();
	SAME(p + len - PAGE, PAGE);
	SAME(p, len);
	SAME(q, PAGES(3));
	SAME(r, PAGE);
	put(p, p, len, 1);
	CHECK(p, p, len, 1);
}

TEST(zero_page_reads)
{
	size_t pages = 1024, i;
	char *p = area(PAGES(pages), PAGES(100));
	volatile char c;

	for (i = 0; i < pages; i++)
		if (i % 4 == 1)
			fill(p + PAGES(i), PAGE);
		else if (i % 4 == 2)
			c = p[PAGES(i)];	/* maps the zero page */
	(void)c;
	hold();
	for (i = 0; i < pages; i++)
		if (i % 4 == 2)
			put(p + PAGES(i) + 8, p + PAGES(i) + 8, 8, 1);
	for (i = 0; i < pages; i++) {
		char *page = p + PAGES(i);

		if (i % 4 == 1) {
			SAME(page, PAGE);
		} else if (i % 4 == 2) {
			ZERO(page, 8);
			CHECK(page + 8, page + 8, 8, 1);
			ZERO(page + 16, PAGE - 16);
		} else {
			ZERO(page, PAGE);
		}
	}
}

TEST(sparse_32_gb)
{
	size_t len = 32UL << 30, i;
	char *p = mmap(NULL, len, RW, ANON | MAP_NORESERVE, -1, 0);
	char *page[96];

	ASSERT_NE(MAP_FAILED, p);
	madvise(p, len, MADV_NOHUGEPAGE);
	for (i = 0; i < 96; i++) {
		page[i] = p + PAGES((uint64_t)mix(i) * 7919 % (len / PAGE - 2));
		fill(page[i], PAGE);
	}
	hold();
	for (i = 0; i < 96; i++) {
		size_t j, next = 0;

		SAME(page[i], PAGE);
		for (j = 0; j < 96; j++)
			next |= page[j] == page[i] + PAGE;
		if (!next)
			ZERO(page[i] + PAGE, PAGE);
	}
	ASSERT_EQ(0, munmap(p, len / 2));
	for (i = 0; i < 96; i++)
		if (page[i] >= p + len / 2)
			SAME(page[i], PAGE);
}

TEST(small_vmas_in_one_chunk)
{
	char *p = area(2 * CHUNK, 0);
	size_t i;

	fill(p, 2 * CHUNK);
	for (i = 0; i < 1024; i += 8) {
		ASSERT_EQ(0, mprotect(p + PAGES(i), PAGES(2), PROT_READ));
		ASSERT_EQ(0, munmap(p + PAGES(i + 5), PAGE));
	}
	hold();
	for (i = 0; i < 1024; i += 8) {
		EXPECT_TRUE(write_faults(p + PAGES(i)));
		EXPECT_TRUE(read_faults(p + PAGES(i + 5)));
		put(p + PAGES(i + 3), p + PAGES(i + 3), PAGE, 1);
	}
	for (i = 0; i < 1024; i += 8) {
		SAME(p + PAGES(i), PAGES(3));
		CHECK(p + PAGES(i + 3), p + PAGES(i + 3), PAGE, 1);
		SAME(p + PAGES(i + 4), PAGE);
		SAME(p + PAGES(i + 6), PAGES(2));
	}
}

TEST(guard_pages)
{
	size_t pages = 640, i;
	char *p = area(PAGES(pages), PAGES(50));

	fill(p, PAGES(pages));
	for (i = 0; i < pages; i += 32)
		ASSERT_EQ(p + PAGES(i), mmap(p + PAGES(i), PAGE, PROT_NONE, ANON | MAP_FIXED, -1, 0));
	hold();
	for (i = 0; i < pages; i += 32) {
		EXPECT_TRUE(read_faults(p + PAGES(i)));
		SAME(p + PAGES(i + 1), PAGES(31));
		ASSERT_EQ(0, mprotect(p + PAGES(i), PAGE, PROT_READ));
		ZERO(p + PAGES(i), PAGE);
	}
}

TEST(prot_none_with_data)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(256));

	fill(p, len);
	ASSERT_EQ(0, mprotect(p, len, PROT_NONE));
	hold();
	EXPECT_TRUE(read_faults(p + MIB));
	ASSERT_EQ(0, mprotect(p, len / 2, PROT_READ));
	SAME(p, len / 2);
	EXPECT_TRUE(write_faults(p));
	EXPECT_TRUE(read_faults(p + len / 2));
	ASSERT_EQ(0, mprotect(p, len, RW));
	SAME(p, len);
	put(p, p, len, 1);
	CHECK(p, p, len, 1);
}

TEST(read_only_data)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(5));

	fill(p, len);
	ASSERT_EQ(0, mprotect(p, len, PROT_READ));
	hold();
	EXPECT_TRUE(write_faults(p + MIB));
	SAME(p, len);
	ASSERT_EQ(0, mprotect(p, len, RW));
	put(p, p, len, 1);
	CHECK(p, p, len, 1);
}

TEST(grows_down)
{
	size_t len = PAGES(16), more = PAGES(40);
	char *hole = mmap(NULL, 8 * MIB, PROT_NONE, ANON | MAP_NORESERVE, -1, 0), *p = hole + 7 * MIB;

	ASSERT_NE(MAP_FAILED, hole);
	ASSERT_EQ(0, munmap(hole, 8 * MIB));
	ASSERT_EQ(p, mmap(p, len, RW, ANON | MAP_FIXED_NOREPLACE | MAP_GROWSDOWN, -1, 0));
	madvise(p, len, MADV_NOHUGEPAGE);
	fill(p, len);
	hold();
	SAME(p + len / 2, len / 2);
	put(p - more, p - more, more, 1);
	CHECK(p - more, p - more, more, 1);
	SAME(p, len);
}

TEST(map_into_the_gaps)
{
	char *p = area(CHUNK, 0);

	fill(p, CHUNK);
	ASSERT_EQ(0, munmap(p + PAGES(100), PAGES(50)));
	ASSERT_EQ(0, munmap(p + PAGES(300), PAGES(50)));
	hold();
	ASSERT_EQ(p + PAGES(100), mmap(p + PAGES(100), PAGES(50), RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	ZERO(p + PAGES(100), PAGES(50));
	SAME(p, PAGES(100));
	SAME(p + PAGES(150), PAGES(150));
	ASSERT_EQ(p + PAGES(300), mmap(p + PAGES(300), PAGES(50), RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
	put(p + PAGES(300), p + PAGES(300), PAGES(50), 1);
	CHECK(p + PAGES(300), p + PAGES(300), PAGES(50), 1);
	SAME(p + PAGES(350), PAGES(162));
}
