// SPDX-License-Identifier: GPL-2.0
/*
 * userfaultfd. A part of dirty.c, which includes it last: to bind all memory of all processes is a fair answer to
 * userfaultfd(), and the tests that come after would find nothing unbound.
 */

static int uffd_open(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		return -1;
	}
	return fd;
}

static long uffd_copy(int fd, void *to, void *from)
{
	struct uffdio_copy copy = { .dst = (uintptr_t)to, .src = (uintptr_t)from, .len = PAGE };

	return ioctl(fd, UFFDIO_COPY, &copy) ? -errno : copy.copy;
}

TEST(uffd_missing)
{
	size_t len = PAGES(1024), i;
	char *p = area(len, PAGES(50)), *src = area(PAGE, 0);
	struct uffdio_register reg = { .range = { (uintptr_t)p, len }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd;

	for (i = 0; i < 1024; i += 2)
		fill(p + PAGES(i), PAGE);
	memset(src, 0xee, PAGE);
	hold();
	fd = uffd_open();
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(fd, UFFDIO_REGISTER, &reg));
	for (i = 0; i < 1024; i += 64) {	/* a page that is there is there */
		EXPECT_EQ(-EEXIST, uffd_copy(fd, p + PAGES(i), src));
		EXPECT_EQ((long)PAGE, uffd_copy(fd, p + PAGES(i + 1), src));
		EXPECT_EQ(0, memcmp(p + PAGES(i + 1), src, PAGE));
	}
	for (i = 0; i < 1024; i += 2)	/* would hang on a missing one */
		SAME(p + PAGES(i), PAGE);
	ASSERT_EQ(0, ioctl(fd, UFFDIO_UNREGISTER, &reg.range));
	ZERO(p + PAGES(3), PAGE);
	close(fd);
}

struct uffd_server {
	int fd;
	_Atomic size_t events;
};

static void *uffd_unprotect(void *arg)
{
	struct uffd_server *s = arg;
	struct pollfd pfd = { .fd = s->fd, .events = POLLIN };
	struct uffd_msg msg;

	while (poll(&pfd, 1, 20000) == 1 && read(s->fd, &msg, sizeof(msg)) == sizeof(msg)) {
		struct uffdio_writeprotect wp = { { msg.arg.pagefault.address & ~(PAGE - 1), PAGE }, 0 };

		s->events += !!(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP);
		if (ioctl(s->fd, UFFDIO_WRITEPROTECT, &wp) || s->events == 8)
			break;
	}
	return NULL;
}

TEST(uffd_write_protect)
{
	size_t len = PAGES(600), i;
	char *p = area(len, PAGES(50));
	struct uffdio_register reg = { .range = { (uintptr_t)p, len }, .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .range = { (uintptr_t)p, len }, .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	struct uffd_server server = { 0 };
	pthread_t thread;

	fill(p, len);
	hold();
	server.fd = uffd_open();
	ASSERT_LE(0, server.fd);
	ASSERT_EQ(0, ioctl(server.fd, UFFDIO_REGISTER, &reg));
	ASSERT_EQ(0, ioctl(server.fd, UFFDIO_WRITEPROTECT, &wp));
	ASSERT_EQ(0, pthread_create(&thread, NULL, uffd_unprotect, &server));
	for (i = 0; i < 8; i++)
		put(p + PAGES(i * 70) + 8, p + PAGES(i * 70) + 8, 8, 1);
	pthread_join(thread, NULL);
	EXPECT_EQ(8UL, server.events);
	close(server.fd);
	for (i = 0; i < 8; i++) {
		CHECK(p + PAGES(i * 70) + 8, p + PAGES(i * 70) + 8, 8, 1);
		put(p + PAGES(i * 70) + 8, p + PAGES(i * 70) + 8, 8, 0);
	}
	SAME(p, len);
}
