// SPDX-License-Identifier: GPL-2.0
/* The guest's TSC runs at this machine's rate, which is measured over the life of this process: long against the error of a reading. */
#include <unistd.h>

#include "bed.h"

static struct reading {
	uint64_t tsc;
	int64_t ns;
} first;

/* Both clocks at the same moment: of some tries the one between whose ends the least time went by. */
static struct reading read_both(void)
{
	struct reading best = {};
	uint64_t least = -1;

	for (int i = 0; i < 20; i++) {
		uint64_t before = __builtin_ia32_rdtsc(), after;
		int64_t ns = now_ns();

		after = __builtin_ia32_rdtsc();
		if (after - before < least) {
			least = after - before;
			best = (struct reading){ .tsc = before + least / 2, .ns = ns };
		}
	}
	return best;
}

__attribute__((constructor)) static void begin(void)
{
	first = read_both();
}

double tsc_ms(uint64_t from, uint64_t to)
{
	struct reading now = read_both();
	double rate = (double)(now.tsc - first.tsc) / (now.ns - first.ns);

	return (double)(int64_t)(to - from) / rate / 1e6;
}

unsigned int tsc_khz(void)
{
	struct reading now;

	while (now = read_both(), now.ns - first.ns < 100000000)
		usleep(10000);
	return (double)(now.tsc - first.tsc) / (now.ns - first.ns) * 1e6;
}
