// SPDX-License-Identifier: GPL-2.0
/*
 * libFuzzer target: the maps section by itself. The first byte is the number of records, the second says whether the records' counts
 * are made right. What is accepted must decode to what it claims, and every chunk must be found by its address.
 */
#include <kup/map.h>

#include "fuzz.h"

static uint64_t frames_of(struct kup_mm_record *r, const uint8_t *maps, uint64_t size, bool repair)
{
	const struct kup_chunk *c;
	uint64_t pages = 0;
	uint32_t huge = 0;

	if (r->chunks_off % 8 || r->chunks_off > size || r->nr_chunks > (size - r->chunks_off) / sizeof(*c))
		return 0;
	c = (const void *)(maps + r->chunks_off);
	for (uint32_t i = 0; i < r->nr_chunks; i++) {
		int n = kup_chunk_decode(&c[i], maps, size, NULL);

		pages += n > 0 ? n : 0;
		huge += c[i].kind == KUP_CHUNK_HUGE;
	}
	if (repair) {
		r->nr_pages = pages;
		r->nr_huge = huge;
	}
	return pages;
}

static void accepted(const struct kup_mm_record *r, const uint8_t *maps, uint64_t size)
{
	const struct kup_chunk *c = (const void *)(maps + r->chunks_off);
	uint64_t pages = 0;

	for (uint32_t i = 0; i < r->nr_chunks; i++) {
		uint32_t pfn[KUP_CHUNK_PAGES], n = 0;

		MUST(kup_chunk_decode(&c[i], maps, size, pfn) > 0);
		for (unsigned int k = 0; k < KUP_CHUNK_PAGES; k++)
			n += pfn[k] != KUP_PFN_NONE;
		MUST((int)n == kup_chunk_decode(&c[i], maps, size, NULL));
		MUST(kup_chunk_find(c, r->nr_chunks, c[i].addr + KUP_CHUNK_SIZE - 1) == i);
		pages += n;
	}
	MUST(pages == r->nr_pages);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kup_mm_record *r;
	uint64_t frames = 0;
	uint32_t nr, i;
	uint8_t *maps;

	if (size < 2)
		return 0;
	nr = data[0];
	maps = malloc(size - 2 + !(size - 2));
	memcpy(maps, data + 2, size - 2);
	r = (void *)maps;
	for (i = 0; i < nr && (i + 1) * sizeof(*r) <= size - 2; i++)
		frames += frames_of(&r[i], maps, size - 2, data[1] & 1);
	if (!kup_maps_check(maps, size - 2, nr, frames)) {
		const __u64 *sum = kup_maps_sums(maps, size - 2, nr), *end = (void *)(maps + size - 2);

		for (i = 0; i < nr; i++) {
			accepted(&r[i], maps, size - 2);
			if (sum)
				sum += r[i].nr_chunks;
		}
		MUST(!sum || sum == end);
	}
	free(maps);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed)
{
	uint32_t state = seed | 1;

	return fuzz_mutate(data, size, max, &state);
}
