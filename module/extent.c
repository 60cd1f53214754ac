// SPDX-License-Identifier: GPL-2.0
#include "extent.h"

#define WORD_BITS	64u

static unsigned int popcount(__u64 w)
{
	w -= w >> 1 & 0x5555555555555555ULL;
	w = (w & 0x3333333333333333ULL) + (w >> 2 & 0x3333333333333333ULL);
	w = (w + (w >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return w * 0x0101010101010101ULL >> 56;
}

__u64 kup_frames_runs(const __u64 *map, __u64 words)
{
	__u64 i, runs = 0, carry = 0;

	for (i = 0; i < words; i++) {
		/* a run starts at each bit whose lower neighbour is clear */
		__u64 starts = map[i] & ~(map[i] << 1 | carry);

		carry = map[i] >> 63;
		if (starts)	/* few have any */
			runs += popcount(starts);
	}
	return runs;
}

__u64 kup_frames_count(const __u64 *map, __u64 words)
{
	__u64 i, n = 0;

	for (i = 0; i < words; i++)
		if (map[i])
			n += map[i] == ~0ULL ? WORD_BITS : popcount(map[i]);
	return n;
}

static int may_fill(__u64 w, __u64 mask, __u64 first_pfn, kup_may_fill_t may, void *arg)
{
	__u64 clear;

	for (clear = ~w & mask; clear; clear &= clear - 1)
		if (!may(arg, first_pfn + __builtin_ctzll(clear)))
			return 0;
	return 1;
}

static void round_within_word(__u64 *word, __u64 first_pfn, unsigned int block, kup_may_fill_t may, void *arg)
{
	__u64 mask = block == WORD_BITS ? ~0ULL : (1ULL << block) - 1;
	unsigned int done;

	for (done = 0; done < WORD_BITS; done += block, mask <<= block & (WORD_BITS - 1)) {
		__u64 set = *word & mask;

		if (set && set != mask && may_fill(*word, mask, first_pfn, may, arg))
			*word |= mask;
	}
}

static void round_words(__u64 *word, __u64 nr, __u64 first_pfn, kup_may_fill_t may, void *arg)
{
	__u64 i, any = 0, all = ~0ULL;

	for (i = 0; i < nr; i++) {
		any |= word[i];
		all &= word[i];
	}
	if (!any || all == ~0ULL)
		return;
	for (i = 0; i < nr; i++)
		if (!may_fill(word[i], ~0ULL, first_pfn + i * WORD_BITS, may, arg))
			return;
	for (i = 0; i < nr; i++)
		word[i] = ~0ULL;
}

void kup_frames_round(__u64 *map, __u64 words, unsigned int order, kup_may_fill_t may, void *arg)
{
	__u64 i, step = order > 6 ? 1ULL << (order - 6) : 1;

	for (i = 0; i + step <= words; i += step) {
		if (step > 1)
			round_words(map + i, step, i * WORD_BITS, may, arg);
		else if (map[i] && map[i] != ~0ULL)
			round_within_word(map + i, i * WORD_BITS, 1u << order, may, arg);
	}
}

/* The first bit at or after @from that is @value; @bits, which are whole words, if there is none. */
static __u64 next_bit(const __u64 *map, __u64 bits, __u64 from, int value)
{
	const __u64 others = value ? 0 : ~0ULL;	/* a word without any */
	__u64 i = from / WORD_BITS, w;

	if (from >= bits)
		return bits;
	w = (map[i] ^ others) >> from % WORD_BITS;
	if (w)
		return from + __builtin_ctzll(w);
	while (++i < bits / WORD_BITS)
		if (map[i] != others)	/* few are */
			return i * WORD_BITS + __builtin_ctzll(map[i] ^ others);
	return bits;
}

__u64 kup_frames_extents(const __u64 *map, __u64 words, struct kup_extent *out, __u64 max)
{
	__u64 bits = words * WORD_BITS, first, end, nr = 0;

	for (first = next_bit(map, bits, 0, 1); first < bits; first = next_bit(map, bits, end, 1)) {
		end = next_bit(map, bits, first, 0);
		if (nr < max) {
			out[nr].base = first * KUP_FRAME_SIZE;
			out[nr].size = (end - first) * KUP_FRAME_SIZE;
		}
		nr++;
	}
	return nr;
}
