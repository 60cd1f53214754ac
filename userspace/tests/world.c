// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <kup/map.h>

#include "../../module/extent.h"
#include "world.h"

#define FRAMES_AT	2100u	/* of the stream, every third one */
#define JUNK		4096u	/* bytes of the scratch that the next owner overwrites at once */

static struct {
	uint8_t *ram;			/* as it was made */
	__u64 frames[WORLD_FRAMES / 64];
	uint8_t maps[8192];
	struct kup_handover h;
	uint32_t dir[64];
	struct kup_piece pieces[2];
} made;

uint8_t *world_ram;
struct page world_pages[WORLD_FRAMES];
unsigned int world_freed;

static void keep(unsigned int pfn, unsigned int nr)
{
	for (; nr--; pfn++)
		made.frames[pfn / 64] |= 1ULL << pfn % 64;
}

/* A chunk of a process with these frames, of which @shared are others', too, at the end of the maps. */
static void add_chunk(struct kup_mm_record *r, uint64_t *end, uint64_t addr, const uint32_t *pfn, bool huge, const __u64 *shared)
{
	struct kup_chunk c = { .addr = addr };
	uint64_t payload[KUP_PAYLOAD_MAX / 8];
	int size = shared ? kup_chunk_encode_shared(&c, pfn, shared, payload) : kup_chunk_encode(&c, pfn, huge, payload);

	if (size < 0 || *end + size > sizeof(made.maps))
		abort();
	if (size)
		c.value = *end / 8;
	memcpy(made.maps + *end, payload, size);
	*end += size;
	memcpy(made.maps + r->chunks_off + r->nr_chunks++ * sizeof(c), &c, sizeof(c));
	r->nr_huge += huge;
	for (unsigned int i = 0; i < KUP_CHUNK_PAGES; i++)
		if (pfn[i]) {
			r->nr_pages++;
			keep(pfn[i], 1);
		}
}

/* Three processes; a huge page, runs, and scattered frames; two of them have some frames together. */
static uint64_t make_maps(void)
{
	struct kup_mm_record r[3] = {
		{ .pid = 101, .flags = KUP_MM_THP_DISABLED, .chunks_off = sizeof(r), .comm = "one" },
		{ .pid = 202, .chunks_off = sizeof(r) + 3 * sizeof(struct kup_chunk), .comm = "two" },
		{ .pid = 303, .chunks_off = sizeof(r) + 4 * sizeof(struct kup_chunk), .comm = "three" },
	};
	uint64_t end = sizeof(r) + 5 * sizeof(struct kup_chunk);
	__u64 shared[KUP_CHUNK_PAGES / 64] = { 7 << 8 };
	uint32_t pfn[KUP_CHUNK_PAGES] = {};
	unsigned int i;

	for (i = 0; i < KUP_CHUNK_PAGES; i++)
		pfn[i] = 2560 + i;
	add_chunk(&r[0], &end, 0x200000000000, pfn, true, NULL);
	memset(pfn, 0, sizeof(pfn));
	for (i = 0; i < 30; i++)
		pfn[i < 12 ? i : i < 20 ? i + 100 : i + 482] = 3090 + i;
	add_chunk(&r[0], &end, 0x200000200000, pfn, false, NULL);
	memset(pfn, 0, sizeof(pfn));
	for (i = 0; i < 60; i++)
		pfn[i * 8] = 3200 + i * 37 % 61 * 13;
	add_chunk(&r[0], &end, 0x200000600000, pfn, false, NULL);
	memset(pfn, 0, sizeof(pfn));
	for (i = 7; i < 12; i++)
		pfn[i] = 3130 + i;
	add_chunk(&r[1], &end, 0x300000000000, pfn, false, shared);
	pfn[7] = 0;
	pfn[11] += 4;
	add_chunk(&r[2], &end, 0x300000000000, pfn, false, shared);
	memcpy(made.maps, r, sizeof(r));
	made.h.nr_mms = 3;
	made.h.nr_frames = r[0].nr_pages + r[1].nr_pages + r[2].nr_pages;
	made.h.nr_again = 3;
	return end;
}

/* [off, off + size) of the area, 8 aligned; NULL if it is not all there. */
static void *in_area(uint64_t off, uint64_t size)
{
	return off % 8 || off > KUP_AREA_SIZE || size > KUP_AREA_SIZE - off ? NULL : (uint8_t *)world_header() + off;
}

/* The sum of a part of the stream, by the directory as it is now; 0 if that leads out of memory. */
static uint64_t stream_sum(uint64_t off, uint64_t size)
{
	const struct kup_handover *h = world_header();
	uint64_t sum = 0, end = off + (size + 7) / 8 * 8;
	const uint32_t *dir;

	dir = h->stream_pages < KUP_AREA_SIZE ? in_area(h->directory_off, h->stream_pages * 4) : NULL;
	if (!dir || off % 8 || end < off || end > h->stream_pages * 4096)
		return 0;
	for (; off < end; off += 8) {
		if (dir[off / 4096] >= WORLD_FRAMES)
			return 0;
		sum = kup_sum(world_ram + dir[off / 4096] * 4096ULL + off % 4096, 8, sum);
	}
	return sum;
}

void world_seal(void)
{
	struct kup_handover *h = world_header();
	uint64_t size = h->nr_extents * sizeof(struct kup_extent), dir_size = h->stream_pages > KUP_AREA_SIZE ? 0 : (h->stream_pages * 4 + 7) & ~7ULL;
	uint64_t pieces_size = h->nr_pieces * sizeof(struct kup_piece);
	const void *e = in_area(h->extents_off, size), *dir = in_area(h->directory_off, dir_size), *pieces = in_area(h->pieces_off, pieces_size);

	/* What is not within bounds has no sum, and needs none. */
	if (e)
		h->extents_sum = kup_sum(e, size, 0);
	if (dir)
		h->directory_sum = kup_sum(dir, dir_size, 0);
	if (pieces)
		h->pieces_sum = kup_sum(pieces, pieces_size, 0);
	h->maps_sum = stream_sum(0, h->maps_size);
	h->store_sum = stream_sum(h->store_off, h->store_size);
	h->header_sum = kup_sum(h, offsetof(struct kup_handover, header_sum), 0);
}

void world_make(void)
{
	struct kup_handover *h = &made.h;
	unsigned int i;

	world_ram = mmap(NULL, WORLD_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	made.ram = mmap(NULL, WORLD_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (world_ram == MAP_FAILED || made.ram == MAP_FAILED)
		abort();
	*h = (struct kup_handover){
		.magic = KUP_HANDOVER_MAGIC, .version = KUP_HANDOVER_VERSION, .header_size = sizeof(*h), .nonce = WORLD_NONCE,
		.self = WORLD_AREA, .extents_off = 0x1000, .block_order = 4, .seal_tsc = 12345, .release = "6.1.0-world",
	};
	h->maps_size = make_maps();
	h->store_off = (h->maps_size + 4095) & ~4095ULL;
	h->store_size = WORLD_STORE;
	h->stream_pages = (h->store_off + h->store_size + 4095) / 4096;
	for (i = 0; i < h->stream_pages; i++) {
		made.dir[i] = FRAMES_AT + 3 * i;
		keep(made.dir[i], 1);
	}
	keep(WORLD_AREA / 4096, KUP_AREA_SIZE / 4096);
	keep(3121, WORLD_EXTRA);
	made.pieces[0] = (struct kup_piece) { .to = 1 << 20, .from = 2300 * 4096, .size = 10 * 4096 };
	made.pieces[1] = (struct kup_piece) { .to = 2 << 20, .from = 2400 * 4096, .size = 4096 };
	keep(2300, 10);
	keep(2400, 1);
	h->nr_extents = kup_frames_extents(made.frames, WORLD_FRAMES / 64, (void *)(world_ram + WORLD_AREA + h->extents_off), 256);
	if (h->nr_extents > 256)
		abort();
	h->directory_off = h->extents_off + 4096;
	h->pieces_off = h->directory_off + 4096;
	h->nr_pieces = 2;
	h->fallback_seconds = 60;
	h->scratch_off = h->pieces_off + 4096;
	h->scratch_size = KUP_AREA_SIZE - h->scratch_off;
	memcpy(world_ram + WORLD_AREA + h->directory_off, made.dir, sizeof(made.dir));
	memcpy(world_ram + WORLD_AREA + h->pieces_off, made.pieces, sizeof(made.pieces));
	for (i = 0; i < h->maps_size; i++)
		*world_stream(i) = made.maps[i];
	for (i = 0; i < h->store_size; i++)
		*world_stream(h->store_off + i) = i * 7;
	memcpy(world_header(), h, sizeof(*h));
	world_seal();
	*h = *world_header();
	memcpy(made.ram, world_ram, WORLD_SIZE);
}

void world_boot(void)
{
	const struct { uint64_t base, size, other; } *r;
	uint64_t nr, max, first;
	bool moved;

	world_stub();
	r = world_regions(&nr, &max, &moved);
	memset(world_pages, 0, sizeof(world_pages));
	world_freed = 0;
	for (uint64_t i = 0; i < nr; i++) {
		if (i && r[i].base < r[i - 1].base + r[i - 1].size)
			abort();
		for (uint64_t pfn = r[i].base / 4096; pfn < (r[i].base + r[i].size) / 4096 && pfn < WORLD_FRAMES; pfn++)
			world_pages[pfn] = (struct page){ .reserved = true, .count = 1 };
	}
	if (!moved)
		return;
	/* memblock's array is freed with its boot memory, and somebody has it by now. It must not have held more than its room. */
	first = ((const uint8_t *)r - world_ram) / 4096;
	if (nr > max || first + (max * sizeof(*r) + 4095) / 4096 > (WORLD_AREA + KUP_AREA_SIZE) / 4096)
		abort();
	for (uint64_t pfn = first; pfn < first + (max * sizeof(*r) + 4095) / 4096; pfn++)
		world_pages[pfn] = (struct page){};
	memset(world_ram + first * 4096, 0xa5, JUNK < max * sizeof(*r) ? JUNK : max * sizeof(*r));
}

unsigned int world_reserved(void)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < WORLD_FRAMES; i++)
		n += world_pages[i].reserved;
	return n;
}

int world_adopt(struct kup_adopt *a)
{
	int err;

	*a = (struct kup_adopt){ .size = sizeof(*a), .area = WORLD_AREA };
	err = world_module_adopt(a);
	if (err && world_freed)
		abort();
	if (!err)
		world_module_release();
	return err;
}

void world_restore(void)
{
	bool moved = memcmp(&world_header()->scratch_off, &made.h.scratch_off, 16);

	/* The scratch is large, and nobody looks at what is in it. */
	memcpy(world_header(), made.ram + WORLD_AREA, moved ? KUP_AREA_SIZE : made.h.scratch_off + JUNK);
	for (uint64_t i = 0; i < made.h.stream_pages; i++)
		memcpy(world_ram + made.dir[i] * 4096ULL, made.ram + made.dir[i] * 4096ULL, 4096);
}

uint8_t *world_stream(uint64_t off)
{
	return world_ram + made.dir[off / 4096] * 4096ULL + off % 4096;
}

bool world_summed(const uint8_t *at)
{
	const struct kup_handover *h = &made.h;
	uint64_t phys = at - world_ram, off;

	if (phys >= WORLD_AREA && phys < WORLD_AREA + KUP_AREA_SIZE) {
		off = phys - WORLD_AREA;
		return off < offsetof(struct kup_handover, stub_state) ||
		       (off >= h->extents_off && off < h->extents_off + h->nr_extents * sizeof(struct kup_extent)) ||
		       (off >= h->directory_off && off < h->directory_off + (h->stream_pages * 4 + 7) / 8 * 8) ||
		       (off >= h->pieces_off && off < h->pieces_off + sizeof(made.pieces));
	}
	for (uint64_t i = 0; i < h->stream_pages; i++)
		if (phys / 4096 == made.dir[i]) {
			off = i * 4096 + phys % 4096;
			return off < (h->maps_size + 7) / 8 * 8 ||
			       (off >= h->store_off && off < h->store_off + (h->store_size + 7) / 8 * 8);
		}
	return false;
}

/* What the module does to frames, with the rules that the kernel has for it. */

void world_free(struct page *page)
{
	if (page < world_pages || page >= world_pages + WORLD_FRAMES || !page->reserved || page->count != 1)
		abort();
	*page = (struct page){};
	world_freed++;
}

/* A copy, which ends where the mapping does: nothing writes to it. */
void *world_map(struct page **pages, uint64_t nr)
{
	uint8_t *copy = malloc(nr * 4096);

	for (uint64_t i = 0; copy && i < nr; i++)
		memcpy(copy + i * 4096, world_ram + (pages[i] - world_pages) * 4096, 4096);
	return copy;
}

bool world_is_no_ram(uint64_t base, uint64_t size)
{
	return base > WORLD_SIZE || size > WORLD_SIZE - base;
}
