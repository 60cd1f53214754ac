// SPDX-License-Identifier: GPL-2.0
/* The end of a process. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

#define EXIT_SIZE (48 * MIB)

static int peer_exits(struct peer *self)
{
	char *p = area(EXIT_SIZE / 2, PAGES(50)), *q = huge_area(EXIT_SIZE / 2);

	fill(p, EXIT_SIZE / 2);
	fill(q, EXIT_SIZE / 2);
	peer_hold(self);
	return 0;
}

static int peer_execs(struct peer *self)
{
	peer_exits(self);
	return run_true(NULL);
}

static int peer_lingers(struct peer *self)
{
	peer_exits(self);
	while (pause() < 0)
		;
	return 0;
}

/* Its memory comes back to the system though nobody ever touched it here. */
static void exit_test(struct __test_metadata *_metadata, int (*fn)(struct peer *), int sig)
{
	char *keep = area(PAGES(8), 0);
	size_t before, after;
	struct peer peer;
	int status, i;

	peer_start(&peer, fn);
	fill(keep, PAGES(8));
	peer_wait(&peer);
	hold();
	before = free_memory();
	if (sig)
		kill(peer.pid, sig);
	else
		peer_go(&peer);
	status = peer_end(&peer);
	EXPECT_EQ(sig, status);
	for (i = 0; i < 50; i++) {	/* freeing may lag behind the end */
		usleep(200000);
		after = free_memory();
		if (after >= before + EXIT_SIZE - 4 * MIB)
			break;
	}
	TH_LOG("%zd KiB came back, in %d ms", (ssize_t)(after - before) / 1024, (i + 1) * 200);
	EXPECT_LE(before + EXIT_SIZE - 4 * MIB, after);
	SAME(keep, PAGES(8));
}

TEST(exit_unbound)
{
	exit_test(_metadata, peer_exits, 0);
}

TEST(exec_unbound)
{
	exit_test(_metadata, peer_execs, 0);
}

TEST(kill_unbound)
{
	exit_test(_metadata, peer_lingers, SIGKILL);
}
