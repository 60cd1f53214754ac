// SPDX-License-Identifier: GPL-2.0
#include "bed.h"

static uint64_t tsc0;
static int64_t ns0;

__attribute__((constructor)) static void begin(void)
{
	ns0 = now_ns();
	tsc0 = __builtin_ia32_rdtsc();
}

/* The rate is measured over the life of this process: long against the error of the two readings. */
double tsc_ms(uint64_t from, uint64_t to)
{
	double rate = (double)(__builtin_ia32_rdtsc() - tsc0) / (now_ns() - ns0);

	return (double)(int64_t)(to - from) / rate / 1e6;
}
