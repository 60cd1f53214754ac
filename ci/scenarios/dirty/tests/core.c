// SPDX-License-Identifier: GPL-2.0
/* Core dumps. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

static char core_name[128], core_saved[128];

static void core_to(struct __test_metadata *_metadata, const char *test, bool through_pipe)
{
	char pattern[256], exe[96];
	ssize_t n;
	int fd;

	fd = open("/proc/sys/kernel/core_pattern", O_RDONLY);
	ASSERT_LE(0, fd);
	n = read(fd, core_saved, sizeof(core_saved) - 1);
	ASSERT_LT(0, n);
	close(fd);
	snprintf(core_name, sizeof(core_name), "%s/core.%s", mem_dir, test);
	unlink(core_name);
	if (through_pipe) {
		n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
		ASSERT_LT(0, n);
		exe[n] = 0;
		snprintf(pattern, sizeof(pattern), "|%s --core-to %s", exe, core_name);
	} else {
		snprintf(pattern, sizeof(pattern), "%s", core_name);
		ASSERT_TRUE(write_file("/proc/sys/kernel/core_uses_pid", "0"));
	}
	ASSERT_TRUE(write_file("/proc/sys/kernel/core_pattern", pattern));
}

static void core_done(void)
{
	write_file("/proc/sys/kernel/core_pattern", core_saved);
	unlink(core_name);
}

static int child_aborts(void *arg)
{
	struct rlimit lim = { RLIM_INFINITY, RLIM_INFINITY };

	(void)arg;
	if (setrlimit(RLIMIT_CORE, &lim))
		return 1;
	signal(SIGABRT, SIG_DFL);
	abort();
}

TEST(core_of_forked_child)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(50));

	fill(p, len);
	hold();
	core_to(_metadata, "child", false);
	EXPECT_EQ(-1, in_child(child_aborts, NULL));
	EXPECT_EQ(0UL, core_wrong(core_name, p, len, 0));
	core_done();
	SAME(p, len);
}

static void *sleep_forever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static int peer_aborts(struct peer *self)
{
	pthread_t thread;

	pthread_create(&thread, NULL, sleep_forever, NULL);
	fill(peer_area, 3 * MIB);
	fill(peer_area + 4 * MIB, CHUNK);
	peer_hold(self);
	return child_aborts(NULL);
}

static void core_test(struct __test_metadata *_metadata, const char *name, bool through_pipe)
{
	struct peer peer;
	int status;

	peer_area = area(8 * MIB, 0);
	madvise(peer_area + 4 * MIB, 4 * MIB, MADV_HUGEPAGE);
	peer_start(&peer, peer_aborts);
	peer_wait(&peer);
	hold();
	core_to(_metadata, name, through_pipe);
	peer_go(&peer);
	status = peer_end(&peer);
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_TRUE(WCOREDUMP(status));
	EXPECT_EQ(0UL, core_wrong(core_name, peer_area, 3 * MIB, 0));
	EXPECT_EQ(0UL, core_wrong(core_name, peer_area + 4 * MIB, CHUNK, 0));
	core_done();
}

TEST(core_to_file)
{
	core_test(_metadata, "file", false);
}

TEST(core_through_pipe)
{
	core_test(_metadata, "pipe", true);
}
