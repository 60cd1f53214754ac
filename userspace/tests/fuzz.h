/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the libFuzzer targets share: a mutator that mostly changes bytes where they are, since tables that have moved are refused by
 * the first check, and leaves it to the target to make sums and sizes right again.
 */
#ifndef KUP_FUZZ_H
#define KUP_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed);

/* A finding: something was accepted that must not be. */
#define MUST(cond) ((cond) ? (void)0 : abort())

/* Reads the first and the last byte: what is said to be there is there. */
static inline void fuzz_touch(const uint8_t *p, size_t size)
{
	if (size)
		__asm__ volatile("" : : "r" (p[0] ^ p[size - 1]));
}

static inline uint32_t fuzz_random(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

/* Three times out of four the size stays. */
static inline size_t fuzz_mutate(uint8_t *data, size_t size, size_t max, uint32_t *state)
{
	if (!size || fuzz_random(state) % 4 == 0)
		return LLVMFuzzerMutate(data, size, max);
	for (uint32_t n = 1 + fuzz_random(state) % 3; n; n--) {
		size_t at = fuzz_random(state) % size, len = 1 + fuzz_random(state) % 16;

		LLVMFuzzerMutate(data + at, len < size - at ? len : size - at, len < size - at ? len : size - at);
	}
	return size;
}

#endif
