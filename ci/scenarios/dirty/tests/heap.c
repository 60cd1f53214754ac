// SPDX-License-Identifier: GPL-2.0
/* Heap and stack. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

TEST(brk_grow_and_shrink)
{
	size_t len = 4 * MIB + PAGES(3);
	char *p = sbrk(0);

	ASSERT_NE((void *)-1, sbrk(-(uintptr_t)p & (PAGE - 1)));
	p = sbrk(len);
	ASSERT_NE((void *)-1, p);
	fill(p, len);
	hold();
	ASSERT_EQ(p + len, sbrk(MIB));
	ZERO(p + len, MIB);
	SAME(p + MIB, MIB);
	ASSERT_EQ(p + len + MIB, sbrk(-(intptr_t)(2 * MIB)));
	SAME(p + len - 2 * MIB, MIB);
	ASSERT_EQ(p + len - MIB, sbrk(2 * MIB));
	SAME(p, len - MIB);
	ZERO(p + len - MIB, 2 * MIB);
}

#define FRAME (16 * 1024)

static size_t dig(unsigned int depth, void (*bottom)(void))
{
	char *frame = alloca(FRAME);
	size_t bad = 0;

	fill(frame, FRAME);
	if (depth)
		bad = dig(depth - 1, bottom);
	else
		bottom();
	return bad + wrong(frame, frame, FRAME, 0);
}

static size_t dig_on(unsigned int depth)
{
	char *frame = memset(alloca(FRAME), 0, FRAME);
	size_t bad = 0;

	put(frame, frame, FRAME, 3);
	if (depth)
		bad = dig_on(depth - 1);
	return bad + wrong(frame, frame, FRAME, 3);
}

static size_t stack_bad;

static void stack_bottom(void)
{
	hold();
	stack_bad = dig_on(100);
}

TEST(stack_growth)
{
	EXPECT_EQ(0UL, dig(250, stack_bottom));
	EXPECT_EQ(0UL, stack_bad);
}

static volatile sig_atomic_t on_stack_of;

static void on_usr1(int sig)
{
	char here;

	(void)sig;
	on_stack_of = (uintptr_t)&here >> 20;
}

TEST(signal_stack)
{
	size_t len = PAGES(64);
	char *p = area(len, PAGES(20));
	struct sigaction sa = { .sa_handler = on_usr1, .sa_flags = SA_ONSTACK };
	stack_t ss = { .ss_sp = p + PAGES(16), .ss_size = PAGES(32) };

	fill(p, len);
	ASSERT_EQ(0, sigaltstack(&ss, NULL));
	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	hold();
	ASSERT_EQ(0, raise(SIGUSR1));
	EXPECT_EQ((sig_atomic_t)((uintptr_t)(p + PAGES(47)) >> 20), on_stack_of);
	SAME(p, PAGES(40));	/* the handler needs far less than 8 pages */
	SAME(p + PAGES(48), PAGES(16));
}
