// SPDX-License-Identifier: GPL-2.0
/* Threads. A part of dirty.c, which includes it: the harness keeps its tests in one unit. */

#define THREADS 4

struct crew {
	pthread_barrier_t start;
	char *p;
	size_t len;
	_Atomic size_t bad;
	_Atomic int stop;
	size_t (*work)(struct crew *crew, unsigned int me);
	pthread_t thread[THREADS];
};

struct member {
	struct crew *crew;
	unsigned int me;
};

static void *member_main(void *arg)
{
	struct member m = *(struct member *)arg;

	free(arg);
	pthread_barrier_wait(&m.crew->start);
	m.crew->bad += m.crew->work(m.crew, m.me);
	return NULL;
}

/* All threads are there, stopped at the barrier; the caller is one more party to it. */
static void crew_gather(struct crew *crew, size_t (*work)(struct crew *, unsigned int))
{
	unsigned int i;

	pthread_barrier_init(&crew->start, NULL, THREADS + 1);
	crew->work = work;
	crew->bad = crew->stop = 0;
	for (i = 0; i < THREADS; i++) {
		struct member *m = malloc(sizeof(*m));

		m->crew = crew;
		m->me = i;
		if (pthread_create(&crew->thread[i], NULL, member_main, m)) {
			perror("# pthread_create");
			exit(1);
		}
	}
}

/* What they work on. Mapped after their stacks, so that it shares no chunk with those. */
static char *crew_memory(struct crew *crew, char *p, size_t len)
{
	crew->len = len;
	return crew->p = p;
}

static void crew_start(struct crew *crew)
{
	pthread_barrier_wait(&crew->start);
}

static size_t crew_join(struct crew *crew)
{
	unsigned int i;

	for (i = 0; i < THREADS; i++)
		pthread_join(crew->thread[i], NULL);
	return crew->bad;
}

/* Each byte of a line belongs to one thread: false sharing and faults of all on the same page. */
static size_t write_own_bytes(struct crew *crew, unsigned int me)
{
	size_t i;

	for (i = me; i < crew->len; i += THREADS)
		crew->p[i] ^= 0xff;
	return 0;
}

static size_t inverted(const char *p, size_t len)
{
	size_t i, bad = 0;

	for (i = 0; i < len; i += 8)
		bad += *(uint64_t *)(p + i) != ~word(p + i, 0);
	return bad;
}

TEST(threads_write_same_lines)
{
	size_t len = 3 * MIB;
	char *p = area(len, PAGES(30));
	struct crew crew;

	fill(p, len);
	hold();
	crew_gather(&crew, write_own_bytes);
	crew_memory(&crew, p, len);
	crew_start(&crew);
	EXPECT_EQ(0UL, crew_join(&crew));
	EXPECT_EQ(0UL, inverted(p, len));
}

TEST(threads_from_before)
{
	size_t len = 3 * MIB;
	char *p;
	struct crew crew;

	crew_gather(&crew, write_own_bytes);
	p = crew_memory(&crew, area(len, PAGES(200)), len);
	fill(p, len);
	hold();
	crew_start(&crew);
	EXPECT_EQ(0UL, crew_join(&crew));
	EXPECT_EQ(0UL, inverted(p, len));
}

static size_t add_to_each(struct crew *crew, unsigned int me)
{
	size_t words = crew->len / 8, i, at;

	for (i = 0; i < words; i++) {
		at = me % 2 ? words - 1 - i : i;	/* from both ends */
		atomic_fetch_add((_Atomic uint64_t *)crew->p + at, me + 1);
	}
	return 0;
}

TEST(threads_atomics)
{
	size_t len = 3 * MIB, i, bad = 0;
	char *p;
	struct crew crew;

	crew_gather(&crew, add_to_each);
	p = crew_memory(&crew, area(len, 0), len);
	fill(p, len);
	hold();
	crew_start(&crew);
	EXPECT_EQ(0UL, crew_join(&crew));
	for (i = 0; i < len; i += 8)
		bad += *(uint64_t *)(p + i) != word(p + i, 0) + 1 + 2 + 3 + 4;
	EXPECT_EQ(0UL, bad);
}

static size_t read_all(struct crew *crew, unsigned int me)
{
	size_t pages = crew->len / PAGE, i, bad = 0;

	for (i = 0; i < pages; i++) {
		char *page = crew->p + PAGES((i * 127 + me * pages / THREADS) % pages);

		bad += wrong(page, page, PAGE, 0);
	}
	return bad;
}

TEST(threads_read_together)
{
	size_t len = 5 * MIB;	/* 1280 pages, prime to 127 */
	char *p;
	struct crew crew;

	crew_gather(&crew, read_all);
	p = crew_memory(&crew, area(len, PAGES(10)), len);
	fill(p, len);
	hold();
	crew_start(&crew);
	EXPECT_EQ(0UL, crew_join(&crew));
	SAME(p, len);
}

/* Threads read the pages with an even number while the test does things to the odd ones. */
static size_t read_even_pages(struct crew *crew, unsigned int me)
{
	size_t pages = crew->len / PAGE, i, bad = 0;

	do {
		for (i = me * 2; i < pages; i += 2)
			bad += wrong(crew->p + PAGES(i), crew->p + PAGES(i), PAGE, 0);
	} while (!crew->stop);
	return bad;
}

TEST(threads_against_dontneed)
{
	size_t pages = 1024, i;
	char *p;
	struct crew crew;

	crew_gather(&crew, read_even_pages);
	p = crew_memory(&crew, area(PAGES(pages), 0), PAGES(pages));
	fill(p, PAGES(pages));
	hold();
	crew_start(&crew);
	for (i = pages - 1; i < pages; i -= 2) {
		EXPECT_EQ(0, madvise(p + PAGES(i), PAGE, MADV_DONTNEED));
		ZERO(p + PAGES(i), PAGE);
	}
	crew.stop = 1;
	EXPECT_EQ(0UL, crew_join(&crew));
	for (i = 0; i < pages; i += 2) {
		SAME(p + PAGES(i), PAGE);
		ZERO(p + PAGES(i + 1), PAGE);
	}
}

TEST(threads_against_munmap)
{
	size_t pages = 1024, i;
	char *p;
	struct crew crew;

	crew_gather(&crew, read_even_pages);
	p = crew_memory(&crew, area(PAGES(pages), PAGES(64)), PAGES(pages));
	fill(p, PAGES(pages));
	hold();
	crew_start(&crew);
	for (i = pages - 1; i < pages; i -= 2) {
		EXPECT_EQ(0, munmap(p + PAGES(i), PAGE));
		if (i % 4 == 1) {
			ASSERT_EQ(p + PAGES(i), mmap(p + PAGES(i), PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
			ZERO(p + PAGES(i), PAGE);
		}
	}
	crew.stop = 1;
	EXPECT_EQ(0UL, crew_join(&crew));
	for (i = 0; i < pages; i += 2)
		SAME(p + PAGES(i), PAGE);
	EXPECT_TRUE(read_faults(p + PAGES(3)));
}

TEST(threads_against_mprotect)
{
	size_t pages = 1024, i;
	char *p;
	struct crew crew;

	crew_gather(&crew, read_even_pages);
	p = crew_memory(&crew, area(PAGES(pages), PAGES(2)), PAGES(pages));
	fill(p, PAGES(pages));
	hold();
	crew_start(&crew);
	for (i = pages - 1; i < pages; i -= 2) {
		EXPECT_EQ(0, mprotect(p + PAGES(i), PAGE, PROT_NONE));
		EXPECT_TRUE(read_faults(p + PAGES(i)));
		EXPECT_EQ(0, mprotect(p + PAGES(i), PAGE, RW));
		SAME(p + PAGES(i), PAGE);
	}
	crew.stop = 1;
	EXPECT_EQ(0UL, crew_join(&crew));
	SAME(p, PAGES(pages));
}

TEST(threads_against_mremap)
{
	size_t pages = 512, i;
	char *p;
	char *q = area(PAGES(pages), PAGES(11));
	struct crew crew;

	crew_gather(&crew, read_even_pages);
	p = crew_memory(&crew, area(PAGES(pages), PAGES(2)), PAGES(pages));
	fill(p, PAGES(pages));
	hold();
	crew_start(&crew);
	for (i = pages - 1; i < pages; i -= 2) {
		ASSERT_EQ(q + PAGES(i), mremap(p + PAGES(i), PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, q + PAGES(i)));
		CHECK(q + PAGES(i), p + PAGES(i), PAGE, 0);
	}
	crew.stop = 1;
	EXPECT_EQ(0UL, crew_join(&crew));
	for (i = 0; i < pages; i += 2) {
		SAME(p + PAGES(i), PAGE);
		CHECK(q + PAGES(i + 1), p + PAGES(i + 1), PAGE, 0);
	}
}

static size_t write_even_pages(struct crew *crew, unsigned int me)
{
	size_t pages = crew->len / PAGE, i;

	for (i = me * 2; i < pages; i += THREADS * 2)
		put(crew->p + PAGES(i), crew->p + PAGES(i), PAGE, 1);
	return 0;
}

/* A page that threads write while the test forks: each word is old or new; what nobody writes is old. */
static int child_sees_old_or_new(void *arg)
{
	struct range *r = arg;
	size_t i, bad = 0;

	for (i = 0; i < r->len; i += 8) {
		uint64_t seen = *(uint64_t *)(r->p + i);

		bad += seen != word(r->p + i, 0) && (i / PAGE % 2 || seen != word(r->p + i, 1));
	}
	put(r->p, r->p, r->len, 2);
	return !!bad;
}

TEST(threads_against_fork)
{
	size_t pages = 1024, i;
	char *p;
	struct range r = { .len = PAGES(pages) };
	struct crew crew;

	crew_gather(&crew, write_even_pages);
	p = r.p = crew_memory(&crew, area(PAGES(pages), PAGES(128)), PAGES(pages));
	fill(p, PAGES(pages));
	hold();
	crew_start(&crew);
	for (i = 0; i < 5; i++)
		EXPECT_EQ(0, in_child(child_sees_old_or_new, &r));
	EXPECT_EQ(0UL, crew_join(&crew));
	for (i = 0; i < pages; i++)
		CHECK(p + PAGES(i), p + PAGES(i), PAGE, i % 2 ? 0 : 1);
}

static size_t exit_at_once(struct crew *crew, unsigned int me)
{
	return wrong(crew->p + me * MIB, crew->p + me * MIB, MIB, 0);
}

/* Threads end while others still fault. */
TEST(threads_exit)
{
	size_t len = THREADS * MIB, i;
	char *p;
	struct crew crew;

	crew_gather(&crew, exit_at_once);
	p = crew_memory(&crew, area(len, PAGES(13)), len);
	fill(p, len);
	hold();
	crew_start(&crew);
	EXPECT_EQ(0UL, crew_join(&crew));
	for (i = 0; i < 20; i++) {
		crew_gather(&crew, exit_at_once);
		crew_start(&crew);
		EXPECT_EQ(0UL, crew_join(&crew));
	}
	SAME(p, len);
}

static long futex(void *addr, int op, unsigned int val, void *timeout)
{
	return syscall(SYS_futex, addr, op, val, timeout, NULL, 0);
}

static size_t wait_on_words(struct crew *crew, unsigned int me)
{
	_Atomic uint32_t *w = (_Atomic uint32_t *)(crew->p + PAGES(me * 100));
	uint32_t first = word(w, 0);
	int op = me % 2 ? FUTEX_WAIT : FUTEX_WAIT_PRIVATE;

	while (*w == first)
		futex(w, op, first, NULL);
	return *w != first + 1;
}

static void futex_test(struct __test_metadata *_metadata, bool waiting_before)
{
	size_t len = 2 * MIB, i;
	char *p;
	struct crew crew;

	crew_gather(&crew, wait_on_words);
	p = crew_memory(&crew, area(len, PAGES(17)), len);
	fill(p, len);
	if (waiting_before) {
		crew_start(&crew);
		usleep(200000);
	}
	hold();
	if (!waiting_before)
		crew_start(&crew);
	usleep(100000);
	for (i = 0; i < THREADS; i++) {
		_Atomic uint32_t *w = (_Atomic uint32_t *)(p + PAGES(i * 100));

		(*w)++;
		futex(w, i % 2 ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE, INT_MAX, NULL);
	}
	EXPECT_EQ(0UL, crew_join(&crew));
	for (i = 0; i < THREADS; i++)
		(*(uint32_t *)(p + PAGES(i * 100)))--;
	SAME(p, len);
}

TEST(futex_waiters_from_before)
{
	futex_test(_metadata, true);
}

TEST(futex_wait_and_wake)
{
	futex_test(_metadata, false);
}

TEST(futex_pi_and_requeue)
{
	size_t len = MIB;
	char *p = area(len, PAGES(400));
	uint32_t *a = (uint32_t *)(p + PAGES(3)), *b = (uint32_t *)(p + PAGES(200));

	fill(p, len);
	*a = 0;
	hold();
	ASSERT_EQ(0, futex(a, FUTEX_LOCK_PI, 0, NULL));
	EXPECT_EQ((uint32_t)gettid(), *a & FUTEX_TID_MASK);
	ASSERT_EQ(0, futex(a, FUTEX_UNLOCK_PI, 0, NULL));
	EXPECT_EQ(0, syscall(SYS_futex, b, FUTEX_CMP_REQUEUE, 1, 1, p + PAGES(100), (uint32_t)word(b, 0)));
	EXPECT_EQ(0U, *a);
	*a = word(a, 0);
	SAME(p, len);
}

static size_t rseq_wrong_cpu(struct crew *crew, unsigned int me)
{
	volatile struct rseq *rs = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	size_t bad = 0;
	int cpu, round;

	(void)crew;
	(void)me;
	if (rs->cpu_id >= (uint32_t)sysconf(_SC_NPROCESSORS_CONF)) {
		fprintf(stderr, "# rseq: cpu_id is %d\n", (int)rs->cpu_id);
		bad++;
	}
	for (round = 0; round < 4; round++)
		for (cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++) {
			unsigned int seen = -1;
			cpu_set_t set;

			CPU_ZERO(&set);
			CPU_SET(cpu, &set);
			if (sched_setaffinity(0, sizeof(set), &set))
				continue;	/* not online */
			syscall(SYS_getcpu, &seen, NULL, NULL);
			if (seen != (unsigned int)cpu || rs->cpu_id != seen || rs->cpu_id_start != seen) {
				fprintf(stderr, "# rseq: cpu_id %u, start %u, the kernel says %u\n", rs->cpu_id,
					rs->cpu_id_start, seen);
				bad++;
			}
		}
	return bad;
}

TEST(rseq)
{
	struct crew crew;
	char *p = area(PAGE, 0);

	ASSERT_NE(0U, __rseq_size);
	fill(p, PAGE);
	crew_gather(&crew, rseq_wrong_cpu);
	hold();
	EXPECT_EQ(0UL, rseq_wrong_cpu(NULL, 0));
	crew_start(&crew);
	EXPECT_EQ(0UL, crew_join(&crew));
	SAME(p, PAGE);
}
