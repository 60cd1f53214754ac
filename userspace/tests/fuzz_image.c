// SPDX-License-Identifier: GPL-2.0
/*
 * libFuzzer target. The first byte chooses: an image as it is, or a synthetic kernel in some layout with bytes changed, so that
 * the fuzzer gets past the first checks. Whatever is accepted must be patchable, or be refused cleanly.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "image/image.h"
#include "synth.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try(const uint8_t *data, size_t size, bool fall)
{
	const struct kup_patch patch = { 0x40000000, 1, 0x8000000, 0x8000000, fall };
	static int null = -1;
	struct kup_image *img;
	struct kup_err err;

	if (null < 0)
		null = open("/dev/null", O_WRONLY);
	if (kup_image_from_memory(data, size, "fuzz", &img, &err))
		return;
	kup_image_write_patched(img, &patch, null, &err);
	kup_image_close(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t *kernels[SYNTH_NR_LAYOUTS];
	static size_t sizes[SYNTH_NR_LAYOUTS];
	static size_t tables[SYNTH_NR_LAYOUTS];
	unsigned int k;
	uint8_t *copy;

	if (!size)
		return 0;
	k = *data++ % (SYNTH_NR_LAYOUTS + 1);
	size--;
	if (k == SYNTH_NR_LAYOUTS) {
		try(data, size, true);
		return 0;
	}
	if (!kernels[k]) {
		struct synth s = { .layout = k, .fillers = 520, .panic = k % 2 ? "panic" : "vpanic" };

		kernels[k] = synth_build(&s, &sizes[k]);
		tables[k] = s.names_off;
		synth_free(&s);
	}
	copy = malloc(sizes[k]);
	memcpy(copy, kernels[k], sizes[k]);
	/* Changes of four bytes each: place (headers, tables or anywhere), value. */
	for (; size >= 5; data += 5, size -= 5) {
		size_t at = data[1] | data[2] << 8 | (size_t)data[3] << 16;

		at = data[0] & 1 ? at % 300 : data[0] & 2 ? tables[k] - 64 + at % 30000 : data[0] & 4 ? sizes[k] - 1 - at % 2000 : at;
		copy[at % sizes[k]] = data[4];
	}
	try(copy, sizes[k], k % 3);
	free(copy);
	return 0;
}
