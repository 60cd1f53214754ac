// SPDX-License-Identifier: GPL-2.0
/* Private mappings of a file, written to in part. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

static const char *own_file;	/* this program, as it is in the file: both kernels have it */

static void read_own_file(struct __test_metadata *_metadata, size_t *len)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *p;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	*len = st.st_size / PAGE * PAGE;
	p = area(*len, 0);
	ASSERT_EQ((ssize_t)*len, pread(fd, p, *len, 0));
	close(fd);
	own_file = p;
}

/* One page in three is written to; reading the others has the kernel map what is around them. */
static char *map_own_file(struct __test_metadata *_metadata, size_t *len)
{
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	char *p;
	size_t i;

	read_own_file(_metadata, len);
	p = area(*len, PAGES(200));
	ASSERT_EQ(p, mmap(p, *len, RW, MAP_PRIVATE | MAP_FIXED, fd, 0));
	close(fd);
	for (i = 0; i < *len; i += PAGES(3))
		fill(p + i, PAGE);
	return p;
}

/* From @from, a multiple of three pages, on. What is the file's is read first. */
static size_t wrong_in_file(const char *p, size_t from, size_t len)
{
	size_t i, bad = 0;

	for (i = from; i < len; i += PAGE)
		if (i / PAGE % 3)
			bad += !!memcmp(p + i, own_file + i, PAGE);
	for (i = from; i < len; i += PAGES(3))
		bad += wrong(p + i, p + i, PAGE, 0);
	return bad;
}

TEST(file_read_around)
{
	size_t len;
	char *p = map_own_file(_metadata, &len);

	hold();
	EXPECT_EQ(0UL, wrong_in_file(p, 0, len));
}

TEST(file_protected)
{
	size_t len;
	char *p = map_own_file(_metadata, &len);

	ASSERT_EQ(0, mprotect(p, len, PROT_READ));
	hold();
	EXPECT_TRUE(write_faults(p));
	EXPECT_EQ(0UL, wrong_in_file(p, 0, len));
	ASSERT_EQ(0, mprotect(p, len, RW));
	put(p, p, PAGE, 1);
	CHECK(p, p, PAGE, 1);
}

TEST(file_dontneed)
{
	size_t len;
	char *p = map_own_file(_metadata, &len);

	hold();
	ASSERT_EQ(0, madvise(p, PAGES(3), MADV_DONTNEED));
	EXPECT_EQ(0, memcmp(p, own_file, PAGES(3)));
	EXPECT_EQ(0UL, wrong_in_file(p, PAGES(3), len));
}

struct file_range {
	char *p;
	size_t len;
};

static int child_reads_file(void *arg)
{
	struct file_range *r = arg;

	return !!wrong_in_file(r->p, 0, r->len);
}

TEST(file_fork)
{
	struct file_range r;

	r.p = map_own_file(_metadata, &r.len);
	hold();
	EXPECT_EQ(0, in_child(child_reads_file, &r));
	put(r.p, r.p, PAGE, 1);
	CHECK(r.p, r.p, PAGE, 1);
	EXPECT_EQ(0UL, wrong_in_file(r.p, PAGES(3), r.len));
}

TEST(file_moved)
{
	size_t len, i;
	char *p = map_own_file(_metadata, &len), *to = area(len, PAGES(3));

	hold();
	ASSERT_EQ(to, mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to));
	for (i = 0; i < len; i += PAGE)
		if (i / PAGE % 3) {
			EXPECT_EQ(0, memcmp(to + i, own_file + i, PAGE));
		} else {
			CHECK(to + i, p + i, PAGE, 0);
		}
}
