// SPDX-License-Identifier: GPL-2.0
/* extent.c against the simplest possible model: one byte a frame. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../module/extent.h"
#include "ktap.h"

#define WORDS	64u
#define BITS	(WORDS * 64)

static uint64_t random_state = 88172645463325252ULL;

static uint32_t rnd(uint32_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) % below;
}

static __u64 map[WORDS];
static uint8_t model[BITS], forbidden[BITS];
static unsigned int asked_wrongly;

static int may(void *arg, __u64 pfn)
{
	(void)arg;
	asked_wrongly += pfn >= BITS || model[pfn];
	return !forbidden[pfn];
}

static void set(unsigned int bit)
{
	map[bit / 64] |= 1ULL << bit % 64;
	model[bit] = 1;
}

static void clear_all(void)
{
	memset(map, 0, sizeof(map));
	memset(model, 0, sizeof(model));
	memset(forbidden, 0, sizeof(forbidden));
}

static void round_model(unsigned int order)
{
	unsigned int block = 1u << order, i, j, any, no;

	for (i = 0; i < BITS; i += block) {
		for (j = any = no = 0; j < block; j++) {
			any |= model[i + j];
			no |= !model[i + j] && forbidden[i + j];
		}
		if (any && !no)
			memset(model + i, 1, block);
	}
}

static bool same(void)
{
	static struct kup_extent e[BITS];
	uint64_t runs = 0, count = 0, pages = 0;
	unsigned int i;

	for (i = 0; i < BITS; i++) {
		if ((map[i / 64] >> i % 64 & 1) != model[i])
			return false;
		count += model[i];
		runs += model[i] && (!i || !model[i - 1]);
	}
	if (kup_frames_runs(map, WORDS) != runs || kup_frames_count(map, WORDS) != count)
		return false;
	if (kup_frames_extents(map, WORDS, e, BITS) != runs || kup_extents_check(e, runs))
		return false;
	for (i = 0; i < runs; i++) {
		uint64_t p = e[i].base / KUP_FRAME_SIZE, end = p + e[i].size / KUP_FRAME_SIZE;

		if (end > BITS || (end < BITS && model[end]))
			return false;
		for (; p < end; p++, pages++)
			if (!model[p])
				return false;
	}
	return pages == count;
}

static void edges(void)
{
	struct kup_extent e[2] = { { 0, 0 }, { 1, 1 } };

	clear_all();
	CHECK(same());
	CHECK(!kup_frames_runs(map, 0) && !kup_frames_extents(map, 0, e, 2));
	set(0);
	CHECK(same());
	set(BITS - 1);
	CHECK(same());
	CHECK(kup_frames_extents(map, WORDS, e, 1) == 2 && e[1].base == 1);	/* not written */
	set(63);
	set(64);
	CHECK(same());
	memset(map, 0xff, sizeof(map));
	memset(model, 1, sizeof(model));
	CHECK(same() && kup_frames_runs(map, WORDS) == 1);
}

static void random_maps(void)
{
	unsigned int round, order, i, bits, bans;

	for (round = 0; round < 400; round++) {
		clear_all();
		bits = rnd(1u << rnd(13));
		bans = rnd(3) ? rnd(1u << rnd(11)) : 0;
		for (i = 0; i < bits; i++)
			set(rnd(BITS));
		for (i = 0; i < bans; i++)
			forbidden[rnd(BITS)] = 1;
		asked_wrongly = 0;
		for (order = 1; order <= KUP_MAX_BLOCK_ORDER; order++) {
			kup_frames_round(map, WORDS, order, may, NULL);
			round_model(order);
			if (!CHECK_FOR(same() && !asked_wrongly, "round %u, order %u", round, order))
				return;
		}
	}
}

static void fewer_and_fewer(void)
{
	uint64_t runs = ~0ULL, now;
	unsigned int i, order;

	clear_all();
	for (i = 0; i < BITS; i += 2)
		set(i);
	for (order = 1; order <= KUP_MAX_BLOCK_ORDER; order++) {
		kup_frames_round(map, WORDS, order, may, NULL);
		now = kup_frames_runs(map, WORDS);
		CHECK(now <= runs);
		runs = now;
	}
	CHECK(runs == 1);
}

static const struct ktap_test tests[] = {
	{ "empty, full, first and last", edges },
	{ "random maps, each order, some frames forbidden", random_maps },
	{ "larger blocks, never more extents", fewer_and_fewer },
};
KTAP_MAIN(tests)
