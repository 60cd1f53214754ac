// SPDX-License-Identifier: GPL-2.0
/* Other processes, ptrace, the kernel's own access. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

static int peer_vm_readv(struct peer *self)
{
	size_t len = 2 * MIB, half = len / 2, bad = 0;
	char *buf = area(len, PAGES(3));
	struct iovec local = { buf, half }, remote = { peer_area, half };

	fill(buf, PAGE);
	peer_hold(self);
	if (process_vm_readv(getppid(), &local, 1, &remote, 1, 0) != (ssize_t)half)
		return 2;
	bad += wrong(buf, peer_area, half, 0);
	put(buf, peer_area + half, half, 1);
	remote.iov_base = peer_area + half;
	if (process_vm_writev(getppid(), &local, 1, &remote, 1, 0) != (ssize_t)half)
		return 3;
	return !!bad;
}

TEST(process_vm_readv_writev)
{
	size_t len = 2 * MIB;
	struct peer peer;

	peer_area = area(len, PAGES(200));
	peer_start(&peer, peer_vm_readv);
	fill(peer_area, len);
	peer_wait(&peer);
	hold();
	peer_go(&peer);
	EXPECT_EQ(0, peer_end(&peer));
	SAME(peer_area, len / 2);
	CHECK(peer_area + len / 2, peer_area + len / 2, len / 2, 1);
}

TEST(process_vm_of_peer)
{
	struct iovec local, remote;
	struct peer peer;
	size_t i;
	char *buf;

	peer_area = area(2 * CHUNK, PAGES(100));
	peer_start(&peer, peer_fills_and_checks);
	buf = area(2 * CHUNK, PAGES(100));
	fill(buf, 2 * CHUNK);
	peer_wait(&peer);
	hold();
	peer_go(&peer);
	peer_wait(&peer);
	for (i = 0; i < 2 * CHUNK; i += PAGES(64)) {
		local = (struct iovec){ buf + i, PAGES(3) };
		remote = (struct iovec){ peer_area + i + 100, PAGES(3) };
		ASSERT_EQ((ssize_t)PAGES(3), process_vm_readv(peer.pid, &local, 1, &remote, 1, 0));
	}
	for (i = 0; i < 2 * CHUNK; i += PAGES(64)) {
		/* 100 is 4 modulo 8: compare byte by byte by way of an aligned copy */
		char *copy = area(PAGES(4), 0);

		memcpy(copy + 100, buf + i, PAGES(3));
		CHECK(copy + 100, peer_area + i + 100, PAGES(3), 0);
		SAME(buf + i + PAGES(3), PAGES(61));
		munmap(copy, PAGES(4));
	}
	peer_say(&peer);
	EXPECT_EQ(0, peer_end(&peer));
}

TEST(proc_self_mem)
{
	size_t len = 2 * MIB;
	char *p = area(len, PAGES(20)), *buf = malloc(PAGES(2));
	int fd;

	fill(p, len);
	hold();
	fd = open("/proc/self/mem", O_RDWR);
	ASSERT_LE(0, fd);
	ASSERT_EQ((ssize_t)PAGES(2), pread(fd, buf, PAGES(2), (off_t)(uintptr_t)(p + PAGES(9))));
	CHECK(buf, p + PAGES(9), PAGES(2), 0);
	put(buf, p + MIB, PAGES(2), 1);
	ASSERT_EQ((ssize_t)PAGES(2), pwrite(fd, buf, PAGES(2), (off_t)(uintptr_t)(p + MIB)));
	close(fd);
	SAME(p, MIB);
	CHECK(p + MIB, p + MIB, PAGES(2), 1);
	SAME(p + MIB + PAGES(2), MIB - PAGES(2));
}

static int peer_ptrace(struct peer *self)
{
	pid_t pid = getppid();
	size_t i, bad = 0;
	int status;

	peer_hold(self);
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0) || waitpid(pid, &status, __WALL) != pid)
		return 2;
	for (i = 0; i < 512; i++) {
		char *at = peer_area + PAGES(i) + 8 * (mix(i) % 512);

		errno = 0;
		if (i % 2)
			bad += ptrace(PTRACE_POKEDATA, pid, at, word(at, 1)) != 0;
		else
			bad += (uint64_t)ptrace(PTRACE_PEEKDATA, pid, at, 0) != word(at, 0);
		bad += errno != 0;
	}
	if (ptrace(PTRACE_DETACH, pid, 0, 0))
		return 3;
	return !!bad;
}

TEST(ptrace_peek_and_poke)
{
	size_t len = 2 * MIB, i;
	struct peer peer;

	peer_area = area(len, PAGES(201));
	peer_start(&peer, peer_ptrace);
	fill(peer_area, len);
	peer_wait(&peer);
	hold();
	peer_go(&peer);
	EXPECT_EQ(0, peer_end(&peer));
	for (i = 0; i < 512; i++) {
		size_t at = 8 * (mix(i) % 512);
		char *page = peer_area + PAGES(i);

		SAME(page, at);
		CHECK(page + at, page + at, 8, i % 2);
		SAME(page + at + 8, PAGE - at - 8);
	}
}

TEST(read_and_write_calls)
{
	size_t len = 2 * MIB, i;
	char *p = area(len, PAGES(90)), *buf = area(PAGES(16), 0), name[128];
	int pipes[2], sock[2], fd;

	fill(p, len);
	hold();
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	for (i = 0; i < 32; i++) {	/* out of unbound pages, at odd places, over page ends */
		char *from = p + PAGES(i * 7) + 4000;

		ASSERT_EQ(8000, write(pipes[1], from, 8000));
		ASSERT_EQ(8000, read(pipes[0], buf, 8000));
		CHECK(buf, from, 8000, 0);
		ASSERT_EQ(8000, send(sock[0], from + PAGES(2), 8000, 0));
		ASSERT_EQ(8000, recv(sock[1], buf, 8000, MSG_WAITALL));
		CHECK(buf, from + PAGES(2), 8000, 0);
	}
	for (i = 0; i < 32; i++) {	/* into them */
		char *to = p + MIB + PAGES(i * 7) + 4000;

		put(buf, to, 8000, 1);
		ASSERT_EQ(8000, write(pipes[1], buf, 8000));
		ASSERT_EQ(8000, read(pipes[0], to, 8000));
		SAME(to - 4000, 4000);
		CHECK(to, to, 8000, 1);
		SAME(to + 8000, 4 * PAGE + 288);
	}
	snprintf(name, sizeof(name), "%s/file", mem_dir);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	ASSERT_LE(0, fd);
	ASSERT_EQ((ssize_t)MIB, pwrite(fd, p, MIB, 0));
	ASSERT_EQ((ssize_t)PAGES(16), pread(fd, buf, PAGES(16), PAGES(100)));
	CHECK(buf, p + PAGES(100), PAGES(16), 0);
	close(fd);
	unlink(name);
	SAME(p, MIB);
}

/* Without the page cache between, where the file system can do that: the kernel takes hold of the pages themselves. */
TEST(direct_io)
{
	size_t len = 2 * MIB;
	char *p = area(len, PAGES(90)), name[128];
	int fd;

	fill(p, len);
	hold();
	snprintf(name, sizeof(name), "%s/direct", mem_dir);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT, 0600);
	if (fd < 0) {
		TH_LOG("O_DIRECT on %s: %s; going through the page cache", mem_dir, strerror(errno));
		fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	}
	ASSERT_LE(0, fd);
	ASSERT_EQ((ssize_t)MIB, pwrite(fd, p, MIB, 0));
	ASSERT_EQ((ssize_t)PAGES(64), pread(fd, p + MIB + PAGES(32), PAGES(64), PAGES(7)));
	close(fd);
	unlink(name);
	SAME(p, MIB + PAGES(32));
	CHECK(p + MIB + PAGES(32), p + PAGES(7), PAGES(64), 0);
	SAME(p + MIB + PAGES(96), MIB - PAGES(96));
}

TEST(vmsplice_and_splice)
{
	size_t len = PAGES(256), i;
	char *p = area(len, PAGES(400)), *buf = area(PAGES(4), 0);
	int pipes[2], more[2];

	fill(p, len);
	hold();
	ASSERT_EQ(0, pipe(pipes));
	ASSERT_EQ(0, pipe(more));
	for (i = 0; i < 128; i += 4) {
		struct iovec iov = { p + PAGES(i), PAGES(4) };

		ASSERT_EQ((ssize_t)PAGES(4), vmsplice(pipes[1], &iov, 1, 0));
		ASSERT_EQ((ssize_t)PAGES(4), splice(pipes[0], NULL, more[1], NULL, PAGES(4), 0));
		ASSERT_EQ((ssize_t)PAGES(4), read(more[0], buf, PAGES(4)));
		CHECK(buf, p + PAGES(i), PAGES(4), 0);
	}
	for (i = 128; i < 256; i += 4) {	/* a page in the pipe outlives its mapping */
		struct iovec iov = { p + PAGES(i), PAGES(4) };

		ASSERT_EQ((ssize_t)PAGES(4), vmsplice(pipes[1], &iov, 1, 0));
		ASSERT_EQ(0, munmap(p + PAGES(i), PAGES(2)));
		ASSERT_EQ((ssize_t)PAGES(4), read(pipes[0], buf, PAGES(4)));
		CHECK(buf, p + PAGES(i), PAGES(4), 0);
	}
	SAME(p, PAGES(128));
}

/* A buffer registered with io_uring stays pinned; a child's fork and the pin must not part the process from its page. */
TEST(io_uring_registered)
{
	size_t len = PAGES(512);
	char *p = area(len, PAGES(100));
	struct io_uring_params params = { 0 };
	struct iovec iov = { p + PAGES(10), PAGES(200) };
	struct range r = { p, len, 0 };
	int fd;

	fill(p, len);
	hold();
	fd = syscall(SYS_io_uring_setup, 4, &params);
	if (fd < 0) {
		TH_LOG("io_uring: %s", strerror(errno));
	} else {
		ASSERT_EQ(0, syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &iov, 1));
		EXPECT_EQ(200UL, present(iov.iov_base, iov.iov_len));
		EXPECT_EQ(0, in_child(child_reads, &r));
		put(p + PAGES(50), p + PAGES(50), PAGE, 1);
		CHECK(p + PAGES(50), p + PAGES(50), PAGE, 1);
		put(p + PAGES(50), p + PAGES(50), PAGE, 0);
		close(fd);
	}
	SAME(p, len);
}

TEST(soft_dirty)
{
	size_t len = PAGES(700);
	char *p = area(len, PAGES(50));

	fill(p, len);
	hold();
	EXPECT_TRUE(write_file("/proc/self/clear_refs", "1"));
	SAME(p, len / 2);
	EXPECT_TRUE(write_file("/proc/self/clear_refs", "4"));
	SAME(p, len);
	put(p, p, len, 1);
	CHECK(p, p, len, 1);
}

TEST(migrate)
{
	size_t len = PAGES(700), i;
	char *p = area(len, PAGES(50));
	unsigned long node = 1;
	int status[8];
	void *pages[8];

	fill(p, len);
	hold();
	for (i = 0; i < 8; i++)
		pages[i] = p + PAGES(i * 80);
	syscall(SYS_move_pages, 0, 8, pages, NULL, status, 0);
	SAME(p + PAGES(80), PAGE);
	syscall(SYS_mbind, p, len, 2 /* MPOL_BIND */, &node, 8, 2 /* MPOL_MF_MOVE */);
	syscall(SYS_migrate_pages, 0, 8, &node, &node);
	write_file("/proc/sys/vm/compact_memory", "1");
	SAME(p, len);
	write_file("/proc/sys/vm/compact_memory", "1");
	SAME(p, len);
}

TEST(accounting)
{
	size_t len = PAGES(1100), rss = 0, anon = 0, size = 0;
	unsigned char *vec = malloc(len / PAGE);
	char *p = area(len, PAGES(50)), line[256];
	unsigned long start, end;
	bool in = false;
	size_t i;
	FILE *f;

	fill(p, len);
	hold();
	SAME(p, len);
	ASSERT_EQ(0, mincore(p, len, vec));
	for (i = 0; i < len / PAGE; i++)
		EXPECT_EQ(1, vec[i] & 1);
	EXPECT_EQ(len / PAGE, present(p, len));
	f = fopen("/proc/self/smaps", "re");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			in = start == (unsigned long)p;
		else if (in) {
			sscanf(line, "Size: %zu", &size);
			sscanf(line, "Rss: %zu", &rss);
			sscanf(line, "Anonymous: %zu", &anon);
		}
	}
	fclose(f);
	EXPECT_EQ(len >> 10, size);
	EXPECT_EQ(len >> 10, rss);
	EXPECT_EQ(len >> 10, anon);
}
