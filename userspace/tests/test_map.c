// SPDX-License-Identifier: GPL-2.0
/* map.c: what is encoded decodes to the same, and nothing damaged is believed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <kup/map.h>

#include "ktap.h"

#define N KUP_CHUNK_PAGES

static uint64_t random_state = 88172645463325252ULL;

static uint32_t rnd(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) % below;
}

static void walk(const struct kup_chunk *c, const void *maps, const uint32_t *pfn)
{
	uint32_t seen[N] = { 0 };
	struct kup_walk w;
	struct kup_run r;
	unsigned int i, end = 0;

	kup_walk_begin(&w, c, maps);
	while (kup_walk_next(&w, &r)) {
		if (!CHECK(r.nr && r.first >= end && r.first + r.nr <= N))
			return;
		end = r.first + r.nr;
		for (i = 0; i < r.nr; i++)
			seen[r.first + i] = r.pfn + i;
	}
	CHECK(!kup_walk_next(&w, &r));
	CHECK(!memcmp(seen, pfn, sizeof(seen)));
}

/* Encodes into a section of its own with the payload at @off, decodes, compares, and walks. Returns the chunk. */
static struct kup_chunk there_and_back(const uint32_t *pfn, int huge)
{
	/* exactly as large as it must be, so that a sanitizer sees a byte too many */
	uint64_t *payload = malloc(KUP_PAYLOAD_MAX), *maps;
	uint32_t back[N];
	struct kup_chunk c = { .addr = KUP_CHUNK_SIZE };
	unsigned int i, pages = 0;
	int size;

	for (i = 0; i < N; i++)
		pages += pfn[i] != KUP_PFN_NONE;
	size = kup_chunk_encode(&c, pfn, huge, payload);
	if (CHECK(size >= 0 && size % 8 == 0 && size <= (int)KUP_PAYLOAD_MAX)) {
		maps = malloc(size + 16);
		if (size)
			c.value = 2;
		memcpy(maps + 2, payload, size);
		memset(back, 0xaa, sizeof(back));
		CHECK(kup_chunk_decode(&c, maps, size + 16, back) == (int)pages);
		CHECK(!memcmp(back, pfn, sizeof(back)));
		CHECK(kup_chunk_decode(&c, maps, size + 16, NULL) == (int)pages);
		walk(&c, maps, pfn);
		if (size)
			CHECK(kup_chunk_decode(&c, maps, size + 8, back) < 0);
		free(maps);
	}
	free(payload);
	return c;
}

/* The same for a chunk with shared frames: each page comes back as shared or not. */
static void shared_there_and_back(const uint32_t *pfn, const __u64 *shared)
{
	uint64_t *payload = malloc(KUP_PAYLOAD_MAX), *maps;
	struct kup_chunk c = { .addr = KUP_CHUNK_SIZE };
	uint32_t back[N];
	struct kup_walk w;
	struct kup_run r;
	int size = kup_chunk_encode_shared(&c, pfn, shared, payload);

	if (CHECK(size > 0 && size <= (int)KUP_PAYLOAD_MAX && kup_chunk_is_shared(&c) && c.kind == KUP_CHUNK_RUNS)) {
		maps = malloc(size);
		memcpy(maps, payload, size);
		CHECK(kup_chunk_decode(&c, maps, size, back) > 0);
		CHECK(!memcmp(back, pfn, sizeof(back)));
		CHECK(kup_chunk_decode(&c, maps, size - 8, back) < 0);
		walk(&c, maps, pfn);
		kup_walk_begin(&w, &c, maps);
		while (kup_walk_next(&w, &r))
			for (unsigned int i = r.first; i < r.first + r.nr; i++)
				CHECK(!w.shared == !(shared[i / 64] >> i % 64 & 1));
		free(maps);
	}
	free(payload);
}

static void shared_frames(void)
{
	uint64_t payload[KUP_PAYLOAD_MAX / 8];
	__u64 shared[N / 64] = { 0 };
	struct kup_chunk c = { 0 };
	uint32_t pfn[N], round, i;

	for (i = 0; i < N; i++)
		pfn[i] = 100 + i;
	CHECK(kup_chunk_encode_shared(&c, pfn, shared, payload) < 0);
	shared[7] = 1ULL << 63;
	shared_there_and_back(pfn, shared);
	memset(shared, 0xff, sizeof(shared));
	CHECK(kup_chunk_encode_shared(&c, pfn, shared, payload) == 8);
	shared_there_and_back(pfn, shared);
	for (i = 0; i < N; i++)
		pfn[i] = 5000 - i;
	shared_there_and_back(pfn, shared);
	/* where there is no page, nothing is shared */
	memset(pfn, 0, sizeof(pfn));
	CHECK(kup_chunk_encode_shared(&c, pfn, shared, payload) < 0);
	for (round = 0; round < 1000; round++) {
		memset(pfn, 0, sizeof(pfn));
		for (i = 0; i < N; i++) {
			pfn[i] = rnd(3) ? 1000 + i + (rnd(20) ? 0 : rnd(1000)) : 0;
			if (rnd(4) == 0)
				shared[i / 64] ^= 1ULL << i % 64;
		}
		i = rnd(N);
		pfn[i] = 1 + rnd(0xfffffffe);
		shared[i / 64] |= 1ULL << i % 64;
		for (i = 0; i < N; i++)
			if (!pfn[i])
				shared[i / 64] &= ~(1ULL << i % 64);
		shared_there_and_back(pfn, shared);
	}
}

static void forms(void)
{
	uint32_t pfn[N] = { 0 };
	struct kup_chunk c;
	unsigned int i;

	for (i = 0; i < N; i++)
		pfn[i] = 0x1200 + i;
	c = there_and_back(pfn, 1);
	CHECK(c.kind == KUP_CHUNK_HUGE && c.value == 0x1200 && c.nr == N && !c.width);
	c = there_and_back(pfn, 0);
	CHECK(c.kind == KUP_CHUNK_RUNS && c.nr == 1);

	memset(pfn, 0, sizeof(pfn));
	pfn[511] = 0xffffffff;
	c = there_and_back(pfn, 0);
	CHECK(c.kind == KUP_CHUNK_RUNS && c.nr == 1);
	pfn[0] = 1;
	c = there_and_back(pfn, 0);
	CHECK(c.kind == KUP_CHUNK_RUNS && c.nr == 2);

	/* neighbours in virtual memory, not in physical */
	for (i = 0; i < N; i++)
		pfn[i] = 5000 - i;
	c = there_and_back(pfn, 0);
	CHECK(c.kind == KUP_CHUNK_SCATTER && c.nr == N && c.width == 2);
	for (i = 0; i < N; i++)
		pfn[i] = 1 + (i ^ 1) % 256;
	c = there_and_back(pfn, 0);
	CHECK(c.kind == KUP_CHUNK_SCATTER && c.width == 1);
	for (i = 0; i < N; i++)
		pfn[i] = 7 + 30000 * (i ^ 1);
	CHECK(there_and_back(pfn, 0).width == 3);
	pfn[0] = 0xffffffff;
	CHECK(there_and_back(pfn, 0).width == 4);
}

static void random_chunks(void)
{
	uint32_t pfn[N], round, i, next;

	for (round = 0; round < 3000; round++) {
		uint32_t density = 1 + rnd(512), step = 1 + rnd(1u << rnd(20)), jump = 1 + rnd(64);

		memset(pfn, 0, sizeof(pfn));
		for (i = 0, next = 1 + rnd(1u << 26); i < N; i++) {
			next += rnd(jump) ? 1 : rnd(step);
			if (rnd(512) < density)
				pfn[i] = next;
		}
		pfn[rnd(N)] = 1 + rnd(0xfffffffe);
		there_and_back(pfn, 0);
	}
}

static void refused_to_encode(void)
{
	uint64_t payload[KUP_PAYLOAD_MAX / 8];
	uint32_t pfn[N] = { 0 };
	struct kup_chunk c = { 0 };
	unsigned int i;

	CHECK(kup_chunk_encode(&c, pfn, 0, payload) < 0);
	for (i = 0; i < N; i++)
		pfn[i] = 0x1201 + i;
	CHECK(kup_chunk_encode(&c, pfn, 1, payload) < 0);
	for (i = 0; i < N; i++)
		pfn[i] = 0x1200 + i;
	pfn[17] = KUP_PFN_NONE;
	CHECK(kup_chunk_encode(&c, pfn, 1, payload) < 0);
	pfn[17] = 0x1212;
	CHECK(kup_chunk_encode(&c, pfn, 1, payload) < 0);
}

static void refused_to_decode(void)
{
	struct { struct kup_run run[2]; } runs = { { { 0, 4, 100 }, { 4, 508, 200 } } };
	struct { struct kup_scatter s; uint8_t delta[8]; } sc = { { .present = { 0x15 }, .base = 9 }, { 1, 0, 2 } };
	struct kup_chunk c, good = { .addr = 0, .value = 0, .nr = 2, .kind = KUP_CHUNK_RUNS };
	uint32_t pfn[N];

#define REFUSED(data, set) do { typeof(data) _d = data; c = good; typeof(_d) *d = &_d; (void)d; set; \
	CHECK_FOR(kup_chunk_decode(&c, d, sizeof(*d), pfn) < 0, "%s", #set); } while (0)
	CHECK(kup_chunk_decode(&good, &runs, sizeof(runs), pfn) == N);
	REFUSED(runs, c.kind = 0);
	REFUSED(runs, c.kind = 4);
	REFUSED(runs, c.nr = 0);
	REFUSED(runs, c.nr = 3);
	REFUSED(runs, c.nr = 513);
	REFUSED(runs, c.width = 1);
	REFUSED(runs, c.value = 1);
	REFUSED(runs, c.value = 0xffffffff);
	REFUSED(runs, d->run[1].first = 3);
	REFUSED(runs, d->run[1].nr = 509);
	REFUSED(runs, d->run[1].nr = 0);
	REFUSED(runs, d->run[1].pfn = 0);
	REFUSED(runs, d->run[1].pfn = 0xffffffff);
	REFUSED(runs, d->run[0].first = 65535);
	REFUSED(runs, d->run[1].nr |= KUP_RUN_SHARED);
	REFUSED(runs, d->run[1].nr = KUP_RUN_SHARED; c.width = 1);
	REFUSED(runs, d->run[1].nr |= KUP_RUN_SHARED; c.width = 2);
	REFUSED(runs, d->run[1].nr |= KUP_RUN_SHARED | 1024; c.width = 1);

	good = (struct kup_chunk) { .nr = 3, .kind = KUP_CHUNK_SCATTER, .width = 1 };
	CHECK(kup_chunk_decode(&good, &sc, sizeof(sc), pfn) == 3);
	CHECK(pfn[0] == 10 && pfn[2] == 9 && pfn[4] == 11 && !pfn[1] && !pfn[511]);
	REFUSED(sc, c.nr = 2);
	REFUSED(sc, c.nr = 4);
	REFUSED(sc, c.nr = 0);
	REFUSED(sc, c.width = 0);
	REFUSED(sc, c.width = 4);
	REFUSED(sc, c.width = 5);
	REFUSED(sc, c.value = 1);
	REFUSED(sc, d->s.zero = 1);
	REFUSED(sc, d->s.base = 0);
	REFUSED(sc, d->s.base = 0xfffffffe);
	REFUSED(sc, d->s.present[7] = 1);

	good = (struct kup_chunk) { .nr = N, .kind = KUP_CHUNK_HUGE, .value = 1024 };
	CHECK(kup_chunk_decode(&good, NULL, 0, pfn) == N && pfn[511] == 1535);
	REFUSED(sc, c.value = 1025);
	REFUSED(sc, c.value = 0);
	REFUSED(sc, c.nr = 511);
	REFUSED(sc, c.width = 1);
}

/* Two processes: a huge page and a run; a scatter. */
struct section {
	struct kup_mm_record mm[2];
	struct kup_chunk a[2], b[1];
	struct kup_run run;
	struct kup_scatter s;
	uint8_t delta[8];
};

static struct section section(void)
{
	return (struct section) {
		.mm = {
			{ .pid = 10, .chunks_off = offsetof(struct section, a), .nr_chunks = 2, .nr_huge = 1, .nr_pages = 517, .comm = "a" },
			{ .pid = 11, .flags = KUP_MM_THP_DISABLED, .chunks_off = offsetof(struct section, b), .nr_chunks = 1, .nr_pages = 2 },
		},
		.a = {
			{ .addr = KUP_CHUNK_SIZE, .value = 512, .nr = 512, .kind = KUP_CHUNK_HUGE },
			{ .addr = 3 * KUP_CHUNK_SIZE, .value = offsetof(struct section, run) / 8, .nr = 1, .kind = KUP_CHUNK_RUNS },
		},
		.b = { { .value = offsetof(struct section, s) / 8, .nr = 2, .kind = KUP_CHUNK_SCATTER, .width = 2 } },
		.run = { .first = 507, .nr = 5, .pfn = 77 },
		.s = { .present = { 0, 3 }, .base = 1 },
	};
}

static void sections(void)
{
	struct section s = section();
	unsigned int i;

	s.mm[1].flags = KUP_MM_SHMEM;
	s.mm[1].pid = s.mm[0].pid;		/* numbers of another kind */
	CHECK(!kup_maps_check(&s, sizeof(s), 2, 519));
	/* Of hugetlbfs: what the same process has besides, or a file's. */
	s = section();
	s.mm[0].flags = KUP_MM_HUGETLB;
	s.mm[0].pid = s.mm[1].pid;
	s.mm[0].nr_chunks = 1;
	s.mm[0].nr_pages = 512;
	CHECK(!kup_maps_check(&s, sizeof(s), 2, 514));
	s.mm[0].flags |= KUP_MM_SHMEM;
	CHECK(!kup_maps_check(&s, sizeof(s), 2, 514));
	s.mm[1].flags = KUP_MM_SHMEM;		/* of files each has a number of its own */
	CHECK(kup_maps_check(&s, sizeof(s), 2, 514));
	s = section();
	CHECK(!kup_maps_check(&s, sizeof(s), 2, 519));
	CHECK(!kup_maps_check(&s, sizeof(s), 0, 0));
	CHECK(kup_maps_check(&s, sizeof(s), 2, 518));
	CHECK(kup_maps_check(&s, sizeof(s), KUP_MAX_MMS + 1, 519));
	for (i = 0; i < sizeof(s); i += 8) {
		char *cut = malloc(i ?: 1);

		memcpy(cut, &s, i);
		CHECK_FOR(kup_maps_check(cut, i, 2, 519), "%u bytes", i);
		free(cut);
	}
#define BAD(set) do { s = section(); set; CHECK_FOR(kup_maps_check(&s, sizeof(s), 2, 519), "%s", #set); } while (0)
	BAD(s.mm[0].pid = 0);
	BAD(s.mm[0].pid = 11);
	BAD(s.mm[0].flags = KUP_MM_SHMEM);	/* which has no huge page */
	BAD(s.mm[1].flags = KUP_MM_SHMEM | KUP_MM_THP_DISABLED);
	BAD(s.mm[0].flags = KUP_MM_HUGETLB);	/* which has huge pages only */
	BAD(s.mm[0].flags = KUP_MM_HUGETLB | KUP_MM_SHMEM);
	BAD(s.mm[1].flags = KUP_MM_HUGETLB | KUP_MM_THP_DISABLED);
	BAD(s.mm[1].flags = 32);
	BAD(s.mm[1].flags = KUP_MM_GIGANTIC);	/* which are of hugetlbfs, */
	BAD(s.mm[0].flags = KUP_MM_HUGETLB | KUP_MM_GIGANTIC);	/* and whole */
	BAD(s.mm[1].flags = KUP_MM_POOL);
	BAD(s.mm[0].chunks_off += 4);
	BAD(s.mm[0].chunks_off = 0);
	BAD(s.mm[0].chunks_off = ~7ULL);
	BAD(s.mm[0].chunks_off = sizeof(s));
	BAD(s.mm[0].nr_chunks = 1);
	BAD(s.mm[0].nr_chunks = 0xffffffff);
	BAD(s.mm[0].nr_huge = 0);
	BAD(s.mm[0].nr_pages = 516);
	BAD(memset(s.mm[0].comm, 'x', 16));
	BAD(s.a[0].addr += 4096);
	BAD(s.a[0].addr = 3 * KUP_CHUNK_SIZE);
	BAD(s.a[1].addr = 1ULL << 56);
	BAD(s.run.nr = 6);
}

/* Two pages of 1 GiB, of one record. */
#define G	KUP_GIGANTIC_CHUNKS
struct gigantic {
	struct kup_mm_record mm;
	struct kup_chunk c[2 * G];
};

static struct gigantic *two_gigantic(void)
{
	struct gigantic *s = calloc(1, sizeof(*s));
	unsigned int i;

	s->mm = (struct kup_mm_record) {
		.pid = 1, .flags = KUP_MM_HUGETLB | KUP_MM_GIGANTIC, .chunks_off = offsetof(struct gigantic, c),
		.nr_chunks = 2 * G, .nr_huge = 2 * G, .nr_pages = 2 * G * N,
	};
	for (i = 0; i < 2 * G; i++)
		s->c[i] = (struct kup_chunk) {
			.addr = (i / G * 3 * G + i % G) * KUP_CHUNK_SIZE, .value = ((2 - i / G) * G + i % G) * N, .nr = N, .kind = KUP_CHUNK_HUGE,
		};
	return s;
}

static void gigantic(void)
{
	struct gigantic *s = two_gigantic();
	unsigned int i;

	CHECK(!kup_maps_check(s, sizeof(*s), 1, 2 * G * N));
	s->mm.flags |= KUP_MM_SHMEM;
	CHECK(!kup_maps_check(s, sizeof(*s), 1, 2 * G * N));
	s->mm.flags ^= KUP_MM_SHMEM | KUP_MM_POOL;
	CHECK(!kup_maps_check(s, sizeof(*s), 1, 2 * G * N));
	s->mm.flags |= KUP_MM_SHMEM;
	CHECK(kup_maps_check(s, sizeof(*s), 1, 2 * G * N));
	free(s);
#define BAD_GIGANTIC(set) do { s = two_gigantic(); set; CHECK_FOR(kup_maps_check(s, sizeof(*s), 1, s->mm.nr_chunks * N), "%s", #set); free(s); } while (0)
	BAD_GIGANTIC(s->mm.flags = KUP_MM_GIGANTIC);
	BAD_GIGANTIC(s->mm.flags |= KUP_MM_THP_DISABLED);
	BAD_GIGANTIC(s->mm.nr_chunks = s->mm.nr_huge = 2 * G - 1; s->mm.nr_pages -= N);	/* the last one is not whole */
	BAD_GIGANTIC(s->c[G - 1].value += N);						/* its frames not in one piece, */
	BAD_GIGANTIC(s->c[G - 1].addr += KUP_CHUNK_SIZE);				/* its addresses neither, */
	BAD_GIGANTIC(for (i = 0; i < G; i++) s->c[i].addr += KUP_CHUNK_SIZE);		/* or not where one can be */
	BAD_GIGANTIC(for (i = G; i < 2 * G; i++) s->c[i].value += N);
	BAD_GIGANTIC(s->c[G].value = 0);
}
#undef G

static void sums(void)
{
	struct {
		struct section s;
		uint64_t sum[3];
	} with = { .s = section() };
	uint64_t size = sizeof(with), least = 2 * sizeof(struct kup_mm_record) + sizeof(with.sum);

	/* Three chunks, so three of the last words. */
	CHECK((void *)kup_maps_sums(&with, size, 2) == (void *)with.sum);
	CHECK((char *)kup_maps_sums(&with, least, 2) == (char *)&with + least - sizeof(with.sum));
	CHECK(!kup_maps_sums(&with, least - 8, 2));
	CHECK(!kup_maps_sums(&with, size - 4, 2));
	CHECK(!kup_maps_sums(&with, 8, 2));
	with.s.mm[0].nr_chunks = ~0u;
	CHECK(!kup_maps_sums(&with, size, 2));
	CHECK((char *)kup_maps_sums(&with, size, 0) == (char *)&with + size);
}

static void damage(void)
{
	struct section good = section(), s;
	unsigned int i, byte;

	/* No crash, whatever is changed; a sanitizer watches. */
	for (i = 0; i < sizeof(s); i++)
		for (byte = 0; byte < 256; byte++) {
			s = good;
			((uint8_t *)&s)[i] = byte;
			kup_maps_check(&s, sizeof(s), 2, 519);
		}
	for (i = 0; i < 100000; i++) {
		s = good;
		for (byte = 0; byte < 1 + rnd(8); byte++)
			((uint8_t *)&s)[rnd(sizeof(s))] = rnd(256);
		kup_maps_check(&s, sizeof(s), rnd(4), 519);
	}
	CHECK(true);
}

static void find(void)
{
	struct kup_chunk c[5] = { { .addr = 0 }, { .addr = 2 * KUP_CHUNK_SIZE }, { .addr = 3 * KUP_CHUNK_SIZE },
				  { .addr = 9 * KUP_CHUNK_SIZE }, { .addr = 1ULL << 47 } };

	CHECK(kup_chunk_find(c, 5, 4097) == 0);
	CHECK(kup_chunk_find(c, 5, KUP_CHUNK_SIZE) < 0);
	CHECK(kup_chunk_find(c, 5, 3 * KUP_CHUNK_SIZE - 1) == 1);
	CHECK(kup_chunk_find(c, 5, 3 * KUP_CHUNK_SIZE) == 2);
	CHECK(kup_chunk_find(c, 5, (1ULL << 47) + KUP_CHUNK_SIZE - 1) == 4);
	CHECK(kup_chunk_find(c, 5, ~0ULL) < 0);
	CHECK(kup_chunk_find(c, 0, 0) < 0);
}

static const struct ktap_test tests[] = {
	{ "the smallest form is chosen and decodes to the same", forms },
	{ "random chunks decode to the same", random_chunks },
	{ "shared frames are told from others", shared_frames },
	{ "what cannot be encoded is refused", refused_to_encode },
	{ "malformed chunks are refused", refused_to_decode },
	{ "sections are checked", sections },
	{ "pages of 1 GiB are whole", gigantic },
	{ "sums are at the end of a section that has room for them", sums },
	{ "damage is never followed out of bounds", damage },
	{ "chunks are found by address", find },
};
KTAP_MAIN(tests)
