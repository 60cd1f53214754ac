// SPDX-License-Identifier: GPL-2.0
/*
 * The stub's reservation against a memblock made by hand, in three layouts. What it must amount to is computed here page by page:
 * every page of an existing region keeps that region's fields, every other page of an extent gets the default ones.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../bootstub/reserve.h"
#include "ktap.h"

#define PAGES		8192u		/* of the small world: 32 MiB */
#define AREA		0x1000000ULL	/* page 4096 */
#define DEFAULT_ATTR	0xaaaau
#define SLOTS		128u

static const struct layout {
	const char *name;
	struct kup_stub_params p;
	bool dummy;		/* an empty array holds one empty region */
	uint32_t attr;		/* where the other fields are */
	uint32_t size;		/* of struct memblock */
} layouts[] = {
	{ "as 6.1", { .memblock_reserved = 56, .type_cnt = 0, .type_max = 8, .type_total_size = 16, .type_regions = 24,
		      .region_size = 24, .region_base = 0, .region_length = 8 }, true, 16, 96 },
	{ "as 6.12", { .memblock_reserved = 56, .type_cnt = 0, .type_max = 8, .type_total_size = 16, .type_regions = 24,
		       .region_size = 24, .region_base = 0, .region_length = 8 }, false, 16, 96 },
	{ "all different", { .memblock_reserved = 16, .type_cnt = 32, .type_max = 0, .type_total_size = 8, .type_regions = 24,
			     .region_size = 32, .region_base = 16, .region_length = 24 }, false, 8, 64 },
};

static const struct layout *L;
static uint64_t memblock_words[16];
static uint64_t static_regions[SLOTS * 4];
static unsigned int reserve_calls;

static uint64_t *field(uint32_t offset)
{
	return &memblock_words[(L->p.memblock_reserved + offset) / 8];
}

static uint64_t *regions(void)
{
	return *(uint64_t **)field(L->p.type_regions);
}

static uint64_t *reg(uint64_t i, uint32_t offset)
{
	return &regions()[(i * L->p.region_size + offset) / 8];
}

static void insert(uint64_t base, uint64_t size, uint64_t attr)
{
	uint64_t *cnt = field(L->p.type_cnt), i = 0;

	if (*cnt == 1 && !*reg(0, L->p.region_length))
		*cnt = 0;
	while (i < *cnt && *reg(i, L->p.region_base) < base)
		i++;
	memmove(reg(i + 1, 0), reg(i, 0), (*cnt - i) * L->p.region_size);
	memset(reg(i, 0), 0, L->p.region_size);
	*reg(i, L->p.region_base) = base;
	*reg(i, L->p.region_length) = size;
	*reg(i, L->attr) = attr;
	(*cnt)++;
	*field(L->p.type_total_size) += size;
}

/* The kernel's own, as far as the stub can tell: nothing to do if the page is reserved already. */
int memblock_reserve(__u64 base, __u64 size, int nid, unsigned int flags)
{
	reserve_calls++;
	CHECK(base == AREA && size == 4096 && nid == -1 && flags == 0);
	for (uint64_t i = 0; i < *field(L->p.type_cnt); i++)
		if (*reg(i, L->p.region_base) <= base && base < *reg(i, L->p.region_base) + *reg(i, L->p.region_length))
			return 0;
	insert(base, size, DEFAULT_ATTR);
	return 0;
}

static void reset(const struct layout *l)
{
	L = l;
	reserve_calls = 0;
	memset(memblock_words, 0x5a, sizeof(memblock_words));
	memset(static_regions, 0, sizeof(static_regions));
	*(uint64_t **)field(L->p.type_regions) = static_regions;
	*field(L->p.type_cnt) = L->dummy;
	*field(L->p.type_max) = SLOTS;
	*field(L->p.type_total_size) = 0;
}

static uint8_t *new_area(const struct kup_extent *e, uint32_t nr, uint64_t scratch_size)
{
	uint8_t *area = aligned_alloc(4096, KUP_AREA_SIZE);
	struct kup_handover *h = (void *)area;

	memset(area, 0xee, KUP_AREA_SIZE);
	*h = (struct kup_handover){ .self = AREA, .extents_off = 0x1000, .nr_extents = nr, .scratch_off = KUP_AREA_SIZE - scratch_size,
				    .scratch_size = scratch_size };
	memcpy(area + 0x1000, e, nr * sizeof(*e));
	return area;
}

/* The world, a page each: what is reserved, and with which other fields (0: not at all). */
static uint16_t before[PAGES], after[PAGES];

static void paint(uint16_t *world)
{
	memset(world, 0, PAGES * sizeof(*world));
	for (uint64_t i = 0; i < *field(L->p.type_cnt); i++)
		for (uint64_t at = 0; at < *reg(i, L->p.region_length); at += 4096)
			world[(*reg(i, L->p.region_base) + at) / 4096] = *reg(i, L->attr);
}

static void check_result(const struct kup_extent *e, uint32_t nr, uint8_t *area, const char *what)
{
	const struct kup_handover *h = (void *)area;
	uint64_t total = 0, cnt = *field(L->p.type_cnt), max = *field(L->p.type_max);

	CHECK_FOR((uint8_t *)regions() == area + h->scratch_off, "%s", what);
	CHECK_FOR(((max * L->p.region_size + 4095) & ~4095ULL) == h->scratch_size, "%s", what);
	CHECK_FOR(cnt + KUP_REGION_SLACK <= max, "%s", what);
	for (uint64_t i = 0; i < cnt; i++) {
		uint64_t end = i ? *reg(i - 1, L->p.region_base) + *reg(i - 1, L->p.region_length) : 0;

		total += *reg(i, L->p.region_length);
		CHECK_FOR(*reg(i, L->p.region_length) && *reg(i, L->p.region_base) >= end, "%s: region %lu", what, i);
		CHECK_FOR(!i || *reg(i, L->p.region_base) > end || *reg(i, L->attr) != *reg(i - 1, L->attr),
			  "%s: region %lu should be merged", what, i);
	}
	CHECK_FOR(total == *field(L->p.type_total_size), "%s", what);

	paint(after);
	for (uint32_t k = 0; k < nr; k++)
		for (uint64_t at = e[k].base / 4096; at < (e[k].base + e[k].size) / 4096; at++)
			if (!before[at])
				before[at] = DEFAULT_ATTR;
	CHECK_FOR(!memcmp(before, after, sizeof(before)), "%s", what);
}

static uint32_t random_extents(struct kup_extent *e, unsigned int density)
{
	static uint8_t map[PAGES];
	uint32_t nr = 0;

	memset(map, 0, sizeof(map));
	for (unsigned int i = 0; i < density; i++)
		memset(map + rand() % (PAGES - 8), 1, 1 + rand() % 8);
	memset(map + AREA / 4096, 1, KUP_AREA_SIZE / 4096);
	for (unsigned int i = 0; i < PAGES; i++) {
		if (!map[i])
			continue;
		if (!i || !map[i - 1])
			e[nr++] = (struct kup_extent){ i * 4096ULL, 0 };
		e[nr - 1].size += 4096;
	}
	return nr;
}

static void test_random(void)
{
	static struct kup_extent e[PAGES];

	srand(1);
	for (unsigned int round = 0; round < 600; round++) {
		char what[80];
		uint32_t nr = random_extents(e, 1 << rand() % 11);
		uint8_t *area = new_area(e, nr, 0x100000);
		uint64_t at = 0;

		reset(&layouts[round % 3]);
		/* Existing regions of two kinds, touching each other or not, up to whole megabytes, now and then on the area itself. */
		for (unsigned int i = rand() % 40; i; i--) {
			uint64_t size = (1 + (uint64_t)rand() % (rand() % 8 ? 8 : 600)) * 4096;

			at += rand() % 3 ? (uint64_t)rand() % 300 * 4096 : 0;
			if (at + size > PAGES * 4096ULL)
				break;
			/* memblock would have merged likes */
			insert(at, size, rand() % 2 ? DEFAULT_ATTR : 0x1000 + i);
			at += size;
		}
		for (uint64_t i = 1; i < *field(L->p.type_cnt); i++)
			if (*reg(i - 1, L->p.region_base) + *reg(i - 1, L->p.region_length) == *reg(i, L->p.region_base) &&
			    *reg(i, L->attr) == *reg(i - 1, L->attr))
				*reg(i, L->attr) = 0x2000 + i;
		paint(before);
		/* Where an odd region holds the area's first page, its fields are what is learnt; keep to the ordinary case. */
		if (before[AREA / 4096] && before[AREA / 4096] != DEFAULT_ATTR) {
			free(area);
			continue;
		}
		snprintf(what, sizeof(what), "round %u, %s, %u extents", round, L->name, nr);
		CHECK_FOR(kup_reserve(&L->p, memblock_words, area) == 0, "%s", what);
		CHECK_FOR(reserve_calls == 1, "%s", what);
		check_result(e, nr, area, what);
		free(area);
	}
}

/* One extent inside, across the start, across the end, and around a region; and the other way round. */
static void test_overlaps(void)
{
	static const struct kup_extent e[] = {
		{ 0x1000, 0x1000 }, { 0x10000, 0x8000 }, { 0x20000, 0x8000 }, { 0x30000, 0x8000 }, { 0x40000, 0x8000 }, { AREA, KUP_AREA_SIZE },
	};

	for (size_t i = 0; i < 3; i++) {
		uint8_t *area = new_area(e, 6, 0x40000);

		reset(&layouts[i]);
		insert(0x0, 0x3000, 7);		/* holds an extent */
		insert(0xe000, 0x4000, 7);	/* over the start of one */
		insert(0x26000, 0x4000, 7);	/* over the end */
		insert(0x32000, 0x1000, 7);	/* two inside one */
		insert(0x34000, 0x1000, 8);
		insert(0x3f000, 0x1000, DEFAULT_ATTR);	/* alike and adjacent: merged at both ends */
		insert(0x48000, 0x1000, DEFAULT_ATTR);
		paint(before);
		CHECK(kup_reserve(&L->p, memblock_words, area) == 0);
		check_result(e, 6, area, L->name);
		CHECK_FOR(*field(L->p.type_cnt) == 1 + 2 + 2 + 5 + 1 + 1, "%s: %lu regions", L->name, *field(L->p.type_cnt));
		free(area);
	}
}

static void test_no_room(void)
{
	static struct kup_extent e[6000] = { { AREA, KUP_AREA_SIZE } };

	for (uint32_t i = 1; i < 6000; i++)
		e[i] = (struct kup_extent){ AREA + KUP_AREA_SIZE + i * 0x2000ULL, 0x1000 };
	for (size_t i = 0; i < 3; i++) {
		uint64_t saved[16];
		/* What fits exactly: two slots for what reserving a page adds, twice, and the slack. */
		uint64_t pages = 40, max = pages * 4096 / layouts[i].p.region_size;
		uint32_t fits = max - KUP_REGION_SLACK - 2 * (layouts[i].dummy + 2);
		uint8_t *area = new_area(e, fits + 1, pages * 4096);

		reset(&layouts[i]);
		memcpy(saved, memblock_words, sizeof(saved));
		CHECK_FOR(kup_reserve(&L->p, memblock_words, area) == KUP_STUB_NO_ROOM, "%s", L->name);
		CHECK_FOR(!memcmp(saved, memblock_words, sizeof(saved)) && !reserve_calls, "%s: nothing was touched", L->name);
		((struct kup_handover *)area)->nr_extents = fits;
		CHECK_FOR(kup_reserve(&L->p, memblock_words, area) == 0, "%s", L->name);
		CHECK_FOR(*field(L->p.type_cnt) == fits, "%s", L->name);
		free(area);
	}
}

static void test_area_uncovered(void)
{
	static const struct kup_extent sets[][2] = {
		{ { 0x1000, 0x1000 }, { 0x3000, 0x1000 } },
		{ { 0x1000, 0x1000 }, { AREA, KUP_AREA_SIZE - 0x1000 } },
		{ { 0x1000, 0x1000 }, { AREA + 0x1000, KUP_AREA_SIZE } },
		{ { AREA, KUP_AREA_SIZE / 2 }, { AREA + KUP_AREA_SIZE / 2 + 0x1000, KUP_AREA_SIZE } },
	};

	for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++) {
		uint8_t *area = new_area(sets[i], 2, 0x40000);

		reset(&layouts[1]);
		CHECK_FOR(kup_reserve(&L->p, memblock_words, area) == KUP_STUB_BAD_EXTENTS, "set %zu", i);
		CHECK_FOR(!reserve_calls && regions() == static_regions, "set %zu: nothing was touched", i);
		free(area);
	}
}

static const struct ktap_test tests[] = {
	{ "regions and extents of all sorts, page by page", test_random },
	{ "extents and regions that overlap", test_overlaps },
	{ "too little scratch: nothing is touched", test_no_room },
	{ "the area must be covered by one extent", test_area_uncovered },
};

KTAP_MAIN(tests)
