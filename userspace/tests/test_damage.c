// SPDX-License-Identifier: GPL-2.0
/*
 * A handover with any bit flipped, before the boot stub looks at it or behind its back: refused with a reason, nothing reserved,
 * nothing freed. Or else the bit means nothing, and everything is adopted as if it had not been flipped.
 */
#include <stdlib.h>
#include <string.h>

#include "fields.h"
#include "ktap.h"
#include "world.h"

#define NR_RANDOM	10000

enum when { BEFORE_STUB, AFTER_STUB };
static const char *const when_names[] = { "before the stub", "after the stub" };

static struct kup_adopt sound;			/* what a sound one gives */
static unsigned int sound_reserved, sound_freed;	/* and how many frames that takes, and gives back in the end */
static unsigned int refused, ignored;

/* What the sums do not cover, and yet decides. */
static bool is_state(const uint8_t *at)
{
	size_t off = at - (const uint8_t *)world_header();

	return off >= offsetof(struct kup_handover, stub_state) && off < offsetof(struct kup_handover, stub_regions);
}

static bool in_area(const uint8_t *at)
{
	return at >= (const uint8_t *)world_header() && at < (const uint8_t *)world_header() + KUP_AREA_SIZE;
}

static bool in_scratch(const uint8_t *at)
{
	const struct kup_handover *h = world_header();
	size_t off = at - (const uint8_t *)h;

	return off >= h->scratch_off && off < h->scratch_off + h->scratch_size;
}

/* Flips one bit of world_ram, and all is as it was afterwards. */
static void flip(uint8_t *at, unsigned int bit, enum when when, const char *what)
{
	bool counts = world_summed(at) || is_state(at);
	unsigned int reserved;
	struct kup_adopt a;
	uint8_t was = *at;
	int err;

	if (when == BEFORE_STUB)
		*at ^= 1 << bit;
	world_boot();
	/* All is reserved, or no memory is missing but the page that tells why. */
	reserved = world_reserved();
	CHECK_FOR(world_header()->stub_state == KUP_STUB_RESERVED ? reserved == sound_reserved : reserved <= WORLD_USED + 1,
		  "%s, bit %u, %s: %u frames reserved", what, bit, when_names[when], reserved);
	/* The stub reads all of the area that counts, and nothing of the stream. */
	CHECK_FOR((world_header()->stub_state == KUP_STUB_RESERVED) == (when == AFTER_STUB || !counts || !in_area(at)),
		  "%s, bit %u, %s: %s", what, bit, when_names[when], kup_stub_state_name(world_header()->stub_state));
	if (when == AFTER_STUB)
		*at ^= 1 << bit;
	err = world_adopt(&a);
	if (counts) {
		CHECK_FOR(err < 0 && a.why[0], "%s, bit %u, %s: %d %.60s", what, bit, when_names[when], err, a.why);
		refused++;
	} else {
		a.stub_cycles = sound.stub_cycles;
		CHECK_FOR(!err && !memcmp(&a, &sound, sizeof(a)) && world_freed == sound_freed, "%s, bit %u, %s: %d %.60s", what, bit,
			  when_names[when], err, a.why);
		ignored++;
	}
	world_restore();
	*at = was;
}

static void test_sound(void)
{
	world_boot();
	sound_reserved = world_reserved();
	CHECK_FOR(world_header()->stub_state == KUP_STUB_RESERVED, "%s", kup_stub_state_name(world_header()->stub_state));
	CHECK_FOR(!world_adopt(&sound), "%s", sound.why);
	CHECK(sound.nr_mms == 3 && sound.huge == 1 && sound.frames == 512 + 30 + 60 + 5 + 4 && sound.returned_pages == WORLD_EXTRA);
	CHECK(sound.store_size == WORLD_STORE && !strcmp(sound.release, "6.1.0-world"));
	sound_freed = world_freed;
	world_restore();
}

static void flip_fields(uint8_t *at, const struct field *f, unsigned int nr, const char *what)
{
	for (; nr--; f++)
		for (unsigned int bit = 0; bit < 8 * f->size; bit++) {
			char name[80];

			snprintf(name, sizeof(name), "%s.%s", what, f->name);
			flip(at + f->offset + bit / 8, bit % 8, BEFORE_STUB, name);
			flip(at + f->offset + bit / 8, bit % 8, AFTER_STUB, name);
		}
}

#define FLIP_FIELDS(at, table) flip_fields((uint8_t *)(at), table, NR_FIELDS(table), #table)

static void test_fields(void)
{
	const struct kup_handover *h = world_header();
	const struct kup_mm_record *mm = (void *)world_stream(0);
	unsigned int kinds = 0;

	refused = ignored = 0;
	FLIP_FIELDS(h, handover_fields);
	/* stub_regions, the two times of the stub, and what a panic writes: for people to read. Who has fallen arms no fallback. */
	CHECK_FOR(ignored == 2 * 8 * (4 + 8 + 8 + 4 + 4 + 64 + 128), "%u", ignored);
	for (uint32_t i = 0; i < h->nr_extents; i++)
		FLIP_FIELDS((struct kup_extent *)(world_ram + WORLD_AREA + h->extents_off) + i, extent_fields);
	for (uint32_t i = 0; i < h->nr_pieces; i++)
		FLIP_FIELDS((struct kup_piece *)(world_ram + WORLD_AREA + h->pieces_off) + i, piece_fields);
	for (uint32_t i = 0; i < h->nr_mms; i++) {
		FLIP_FIELDS(mm + i, record_fields);
		for (uint32_t n = 0; n < mm[i].nr_chunks; n++) {
			const struct kup_chunk *c = (void *)world_stream(mm[i].chunks_off + n * sizeof(*c));

			FLIP_FIELDS(c, chunk_fields);
			for (uint32_t k = 0; c->kind == KUP_CHUNK_RUNS && k < c->nr; k++)
				FLIP_FIELDS(world_stream(8ULL * c->value + k * sizeof(struct kup_run)), run_fields);
			if (c->kind == KUP_CHUNK_SCATTER)
				FLIP_FIELDS(world_stream(8ULL * c->value), scatter_fields);
			kinds |= 1 << c->kind;
		}
	}
	CHECK(kinds == (1 << KUP_CHUNK_HUGE | 1 << KUP_CHUNK_RUNS | 1 << KUP_CHUNK_SCATTER));
	printf("# fields by name: %u flips refused, %u in what is told only\n", refused, ignored);
}

/* Every bit that a sum covers, wherever it is. */
static void test_all(void)
{
	const struct kup_handover *h = world_header();

	refused = ignored = 0;
	for (size_t i = 0; i < h->scratch_off; i++)
		for (unsigned int bit = 0; bit < 8 && world_summed((uint8_t *)h + i); bit++) {
			flip((uint8_t *)h + i, bit, BEFORE_STUB, "area");
			flip((uint8_t *)h + i, bit, AFTER_STUB, "area");
		}
	for (size_t i = 0; i < h->stream_pages * 4096; i++)
		for (unsigned int bit = 0; bit < 8 && world_summed(world_stream(i)); bit++)
			flip(world_stream(i), bit, i % 2 ? BEFORE_STUB : AFTER_STUB, "stream");
	CHECK(!ignored);
	printf("# %u flips refused\n", refused);
}

static void test_random(void)
{
	const struct kup_handover *h = world_header();

	srand(20);
	refused = ignored = 0;
	for (unsigned int i = 0; i < NR_RANDOM; i++) {
		/* Most of them where sections are: nearly all of the area is scratch. */
		uint64_t off = (uint64_t)rand() % (i % 4 ? h->scratch_off + h->stream_pages * 4096 : KUP_AREA_SIZE);
		bool stream = i % 4 && off >= h->scratch_off;
		uint8_t *at = stream ? world_stream(off - h->scratch_off) : (uint8_t *)h + off;
		enum when when = rand() % 2 && !in_scratch(at) ? AFTER_STUB : BEFORE_STUB;
		char what[80];

		snprintf(what, sizeof(what), "%s at %#lx", stream ? "stream" : "area", off);
		flip(at, rand() % 8, when, what);
	}
	CHECK(refused + ignored == NR_RANDOM && refused && ignored);
	printf("# random positions: %u flips refused, %u in bytes that mean nothing and changed nothing\n", refused, ignored);
}

static const struct ktap_test tests[] = {
	{ "a sound handover is adopted", test_sound },
	{ "every bit of every field, by name", test_fields },
	{ "every bit that a sum covers", test_all },
	{ "10000 random positions of area and stream", test_random },
};

int main(void)
{
	world_make();
	return ktap_run(tests, sizeof(tests) / sizeof(*tests));
}
