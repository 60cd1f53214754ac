// SPDX-License-Identifier: GPL-2.0
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <kup/handover.h>

#include "ktap.h"

#define AREA	0x140000000ULL
#define NONCE	0x0123456789abcdefULL
#define KNOWN_SUM	0x7965aa9a2d7a2ce7ULL	/* of the words 0 to 63 */

static void seal(struct kup_handover *h)
{
	h->header_sum = kup_sum(h, offsetof(struct kup_handover, header_sum), 0);
}

static struct kup_handover good(void)
{
	struct kup_handover h = {
		.magic = KUP_HANDOVER_MAGIC, .version = KUP_HANDOVER_VERSION, .header_size = sizeof(h), .nonce = NONCE, .self = AREA,
		.extents_off = 0x1000, .directory_off = 0x101000, .scratch_off = 0x200000, .scratch_size = 0x200000,
		.nr_extents = KUP_MAX_EXTENTS, .block_order = 9, .stream_pages = 1000, .maps_size = 48 * 3 + 160, .store_off = 0x1000,
		.store_size = 999 * 4096, .nr_mms = 3, .nr_frames = 123456, .extents_sum = 1, .directory_sum = 2, .maps_sum = 3,
		.store_sum = 4, .pieces_off = 0x1f0000, .nr_pieces = 2730, .seal_tsc = 5, .release = "6.1.0-test",
	};

	seal(&h);
	return h;
}

static void test_good(void)
{
	struct kup_handover h = good();

	CHECK(kup_handover_check(&h, AREA, NONCE) == 0);
	CHECK(kup_handover_check(&h, AREA, 0) == 0);
	h.flags = KUP_HANDOVER_SUMS;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == 0);
	h.stub_state = KUP_STUB_ADOPTED;	/* not part of what is sealed */
	h.stub_regions = 77;
	h.stub_tsc_in = h.stub_tsc_out = ~0ULL;
	CHECK(kup_handover_check(&h, AREA, NONCE) == 0);
}

static void test_bits(void)
{
	for (size_t bit = 0; bit < 8 * sizeof(struct kup_handover); bit++) {
		struct kup_handover h = good();
		size_t byte = bit / 8;
		int expected = KUP_STUB_BAD_CHECKSUM;

		((uint8_t *)&h)[byte] ^= 1 << bit % 8;
		if (byte < 8)
			expected = KUP_STUB_BAD_MAGIC;
		else if (byte < 16)
			expected = KUP_STUB_BAD_VERSION;
		else if (byte < 24)
			expected = KUP_STUB_BAD_NONCE;
		else if (byte >= offsetof(struct kup_handover, stub_state))
			expected = 0;
		CHECK_FOR(kup_handover_check(&h, AREA, NONCE) == expected, "bit %zu", bit);
		if (expected == KUP_STUB_BAD_NONCE)
			CHECK_FOR(kup_handover_check(&h, AREA, 0) == KUP_STUB_BAD_CHECKSUM, "bit %zu, any nonce", bit);
	}
}

/* Wrong, but with a right checksum: only the bounds stand between it and the stub. */
static void test_layout(void)
{
#define SET(field, value) { #field " = " #value, offsetof(struct kup_handover, field), sizeof(((struct kup_handover *)0)->field), value }
	static const struct {
		const char *name;
		size_t offset, size;
		uint64_t value;
	} bad[] = {
		SET(self, AREA + KUP_AREA_ALIGN), SET(self, 0),
		SET(extents_off, 0), SET(extents_off, 0x1008), SET(extents_off, 0x2000), SET(extents_off, 0x400000),
		SET(extents_off, 0x301000), SET(extents_off, ~0xfffULL), SET(extents_off, 1ULL << 63),
		SET(directory_off, 0), SET(directory_off, 0x100000), SET(directory_off, 0x101004), SET(directory_off, 0x400000),
		SET(directory_off, 0x200000), SET(directory_off, 0x3ff000), SET(directory_off, ~0xfffULL),
		SET(scratch_off, 0), SET(scratch_off, 0x101000), SET(scratch_off, 0x1000), SET(scratch_off, 0x200800),
		SET(scratch_off, 0x201000), SET(scratch_off, ~0xfffULL),
		SET(scratch_size, 0), SET(scratch_size, 0x1ff800), SET(scratch_size, 0x201000), SET(scratch_size, ~0xfffULL),
		SET(nr_extents, 0), SET(nr_extents, KUP_MAX_EXTENTS + 1), SET(nr_extents, 0xffffffff),
		SET(block_order, 19), SET(block_order, 0xffffffff),
		SET(stream_pages, 0), SET(stream_pages, 999), SET(stream_pages, (0x200000 - 0x101000) / 4 + 1),
		SET(stream_pages, (0x1f0000 - 0x101000) / 4 + 1), SET(stream_pages, 1ULL << 62), SET(stream_pages, ~0ULL),
		SET(maps_size, 0x1001), SET(maps_size, 3 * 48 - 1), SET(maps_size, ~0ULL),
		SET(store_off, 0), SET(store_off, 0x1001), SET(store_off, 0x2000), SET(store_off, 1001 * 4096), SET(store_off, ~0xfffULL),
		SET(store_size, 999 * 4096 + 1), SET(store_size, ~0ULL),
		SET(nr_mms, 7), SET(nr_mms, KUP_MAX_MMS + 1), SET(nr_mms, 0xffffffff),
		SET(flags, KUP_HANDOVER_SUMS << 1), SET(flags, 0x80000000), SET(nr_frames, 1ULL << 32), SET(nr_again, 123457), SET(release[63], 'x'),
		SET(pieces_off, 0), SET(pieces_off, 0x1f0008), SET(pieces_off, 0x1f1000), SET(pieces_off, 0x100000), SET(pieces_off, 0x1000),
		SET(pieces_off, 0x3ff000), SET(pieces_off, ~0xfffULL),
		SET(nr_pieces, 0), SET(nr_pieces, 2731), SET(nr_pieces, KUP_MAX_PIECES + 1), SET(nr_pieces, 0xffffffff),
	};
#undef SET

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct kup_handover h = good();

		memcpy((uint8_t *)&h + bad[i].offset, &bad[i].value, bad[i].size);
		seal(&h);
		CHECK_FOR(kup_handover_check(&h, AREA, NONCE) == KUP_STUB_BAD_LAYOUT, "%s", bad[i].name);
	}
}

/* Bounds that another one would hide if only one field changed. */
static void test_single_bounds(void)
{
	struct kup_handover h = good();

	h.directory_off = 0x200000;
	h.scratch_off = 0x300000;
	h.scratch_size = 0x1000;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == 0);
	h.nr_extents++;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == KUP_STUB_BAD_LAYOUT);

	h = good();
	h.stream_pages += 1ULL << 62;	/* bytes of the directory and of the stream wrap around to what they were */
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == KUP_STUB_BAD_LAYOUT);

	h = good();
	h.store_size = 4096;
	h.store_off = h.maps_size = 100 * 4096;
	h.nr_mms = KUP_MAX_MMS;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == 0);
	h.nr_mms++;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == KUP_STUB_BAD_LAYOUT);

	h = good();
	h.scratch_off = 0x100000;	/* over the end of the extents, not over the directory */
	h.scratch_size = 0x1000;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == KUP_STUB_BAD_LAYOUT);

	h = good();
	h.store_off += 8;
	h.store_size = 8;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == KUP_STUB_BAD_LAYOUT);
}

static void test_version(void)
{
	struct kup_handover h = good();

	h.version++;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == KUP_STUB_BAD_VERSION);
	h = good();
	h.header_size += 8;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == KUP_STUB_BAD_VERSION);
}

static void test_place(void)
{
	struct kup_handover h = good();

	CHECK(kup_handover_check(&h, AREA + KUP_AREA_ALIGN, NONCE) == KUP_STUB_BAD_LAYOUT);
	h.self = AREA + 4096;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA + 4096, NONCE) == KUP_STUB_BAD_LAYOUT);
	h.self = -KUP_AREA_ALIGN;
	seal(&h);
	CHECK(kup_handover_check(&h, -KUP_AREA_ALIGN, NONCE) == KUP_STUB_BAD_LAYOUT);
	h.self = 0;
	seal(&h);
	CHECK(kup_handover_check(&h, 0, NONCE) == KUP_STUB_BAD_LAYOUT);
}

/* The largest of everything, and the smallest. */
static void test_limits(void)
{
	struct kup_handover h = good();

	h.stream_pages = (0x1f0000 - 0x101000) / 4;
	h.store_size = (h.stream_pages - 1) * 4096;
	h.block_order = 18;
	h.nr_frames = 0xffffffff;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == 0);
	h.nr_mms = KUP_MAX_MMS;
	h.store_off = KUP_MAX_MMS * 48;
	h.maps_size = h.store_off;
	h.store_size = h.stream_pages * 4096 - h.store_off;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == 0);

	h.nr_extents = 1;
	h.nr_pieces = h.pieces_off = 0;
	h.stream_pages = h.maps_size = h.store_off = h.store_size = h.nr_mms = h.nr_frames = 0;
	h.extents_off = 0x1000;
	h.directory_off = 0x2000;
	h.scratch_off = 0x3ff000;
	h.scratch_size = 0x1000;
	seal(&h);
	CHECK(kup_handover_check(&h, AREA, NONCE) == 0);
}

static void test_sum(void)
{
	uint64_t w[64] = {}, sum = kup_sum(w, sizeof(w), 0);

	/* Part of the format: another result is another version. */
	for (int i = 0; i < 64; i++)
		w[i] = i;
	CHECK(kup_sum(w, sizeof(w), 0) == KNOWN_SUM);
	memset(w, 0, sizeof(w));
	CHECK(kup_sum(w, 0, 5) == 5);
	CHECK(kup_sum(w, 8, 0) != 0 && kup_sum(w, 16, 0) != kup_sum(w, 8, 0));
	CHECK(kup_sum(w + 10, 54 * 8, kup_sum(w, 10 * 8, 0)) == sum);
	for (int bit = 0; bit < 64 * 64; bit++) {
		w[bit / 64] ^= 1ULL << bit % 64;
		CHECK_FOR(kup_sum(w, sizeof(w), 0) != sum, "bit %d", bit);
		w[bit / 64] ^= 1ULL << bit % 64;
	}
	w[3] = 1;
	sum = kup_sum(w, sizeof(w), 0);
	w[3] = 0;
	w[4] = 1;
	CHECK(kup_sum(w, sizeof(w), 0) != sum);
}

static void test_frame_sum(void)
{
	uint64_t w[KUP_FRAME_SIZE / 8] = {}, sum;

	for (size_t i = 0; i < KUP_FRAME_SIZE / 8; i++)
		w[i] = i * 0x9e3779b97f4a7c15ULL >> 40;
	sum = kup_frame_sum(w, 0);
	CHECK(kup_frame_sum(w, 0) == sum && kup_frame_sum(w, 1) != sum && kup_frame_sum(w, 1ULL << 63) != sum);
	for (size_t bit = 0; bit < 8 * sizeof(w); bit++) {
		w[bit / 64] ^= 1ULL << bit % 64;
		CHECK_FOR(kup_frame_sum(w, 0) != sum, "bit %zu", bit);
		w[bit / 64] ^= 1ULL << bit % 64;
	}
	/* Any word changes places with any of the next nine. */
	for (size_t i = 0; i < KUP_FRAME_SIZE / 8; i++)
		for (size_t k = i + 1; k < i + 10 && k < KUP_FRAME_SIZE / 8; k++) {
			uint64_t a = w[i], b = w[k];

			w[i] = b;
			w[k] = a;
			CHECK_FOR(kup_frame_sum(w, 0) != sum || a == b, "words %zu and %zu", i, k);
			w[i] = a;
			w[k] = b;
		}
}

static void test_extents(void)
{
	static const struct {
		const char *name;
		struct kup_extent e[3];
		int expected;
	} cases[] = {
		{ "good", { { 0x1000, 0x1000 }, { 0x3000, 0x2000 }, { 0x6000, 0x1000 } }, 0 },
		{ "at address 0", { { 0, 0x1000 }, { 0x3000, 0x2000 }, { 0x6000, 0x1000 } }, 0 },
		{ "far apart", { { 0x1000, 0x1000 }, { 1ULL << 40, 1ULL << 30 }, { ~0xfffULL - 0x1000, 0x1000 } }, 0 },
		{ "adjacent", { { 0x1000, 0x1000 }, { 0x2000, 0x2000 }, { 0x6000, 0x1000 } }, KUP_STUB_BAD_EXTENTS },
		{ "overlapping", { { 0x1000, 0x3000 }, { 0x2000, 0x2000 }, { 0x6000, 0x1000 } }, KUP_STUB_BAD_EXTENTS },
		{ "equal", { { 0x1000, 0x1000 }, { 0x1000, 0x1000 }, { 0x6000, 0x1000 } }, KUP_STUB_BAD_EXTENTS },
		{ "descending", { { 0x6000, 0x1000 }, { 0x3000, 0x1000 }, { 0x1000, 0x1000 } }, KUP_STUB_BAD_EXTENTS },
		{ "last descending", { { 0x1000, 0x1000 }, { 0x6000, 0x1000 }, { 0x3000, 0x1000 } }, KUP_STUB_BAD_EXTENTS },
		{ "first empty", { { 0x1000, 0 }, { 0x3000, 0x1000 }, { 0x6000, 0x1000 } }, KUP_STUB_BAD_EXTENTS },
		{ "last empty", { { 0x1000, 0x1000 }, { 0x3000, 0x1000 }, { 0x6000, 0 } }, KUP_STUB_BAD_EXTENTS },
		{ "unaligned base", { { 0x1000, 0x1000 }, { 0x3008, 0x1000 }, { 0x6000, 0x1000 } }, KUP_STUB_BAD_EXTENTS },
		{ "unaligned size", { { 0x1000, 0x1000 }, { 0x3000, 0x1001 }, { 0x6000, 0x1000 } }, KUP_STUB_BAD_EXTENTS },
		{ "wraps around", { { 0x1000, 0x1000 }, { 0x3000, 0x1000 }, { 0x6000, ~0xfffULL } }, KUP_STUB_BAD_EXTENTS },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		CHECK_FOR(kup_extents_check(cases[i].e, 3) == cases[i].expected, "%s", cases[i].name);
}

static void test_names(void)
{
	static const int states[] = {
		KUP_STUB_NONE, KUP_STUB_RESERVED, KUP_STUB_ADOPTED, KUP_STUB_BAD_MAGIC, KUP_STUB_BAD_VERSION, KUP_STUB_BAD_NONCE,
		KUP_STUB_BAD_LAYOUT, KUP_STUB_BAD_CHECKSUM, KUP_STUB_BAD_EXTENTS, KUP_STUB_NO_ROOM, KUP_STUB_STALE, -1,
	};
	size_t n = sizeof(states) / sizeof(*states);

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++)
			CHECK_FOR(strcmp(kup_stub_state_name(states[i]), kup_stub_state_name(states[j])), "%d and %d", states[i], states[j]);
	CHECK(!strcmp(kup_stub_state_name(-1), kup_stub_state_name(1000)));
}

static const struct ktap_test tests[] = {
	{ "a good header is accepted, whatever the stub wrote", test_good },
	{ "every flipped bit of the header is found", test_bits },
	{ "every bound is checked, even with a right checksum", test_layout },
	{ "every bound counts by itself", test_single_bounds },
	{ "other versions are refused", test_version },
	{ "a header in the wrong place is refused", test_place },
	{ "the largest and the smallest handover are accepted", test_limits },
	{ "the checksum sees every bit and every order", test_sum },
	{ "that of a frame, too", test_frame_sum },
	{ "extents: sorted, disjoint, apart, aligned, not empty", test_extents },
	{ "every state has its own name", test_names },
};

KTAP_MAIN(tests)
