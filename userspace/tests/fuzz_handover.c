// SPDX-License-Identifier: GPL-2.0
/* libFuzzer target: a header that passes its checks must have all sections inside the area, and extents that pass theirs must ascend. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <kup/handover.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(uint64_t off, uint64_t size)
{
	if (off < KUP_FRAME_SIZE || off > KUP_AREA_SIZE || size > KUP_AREA_SIZE - off)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kup_handover h = {};
	struct kup_extent e[64];
	size_t nr;

	memcpy(&h, data, size < sizeof(h) ? size : sizeof(h));
	h.magic = KUP_HANDOVER_MAGIC;
	h.version = KUP_HANDOVER_VERSION;
	h.header_size = sizeof(h);
	h.self = 0x40000000;
	h.header_sum = kup_sum(&h, offsetof(struct kup_handover, header_sum), 0);
	if (!kup_handover_check(&h, h.self, 0)) {
		inside(h.extents_off, h.nr_extents * 16ULL);
		inside(h.directory_off, h.stream_pages * 4);
		inside(h.scratch_off, h.scratch_size);
		if (h.store_off + h.store_size > h.stream_pages * KUP_FRAME_SIZE || h.maps_size > h.store_off)
			abort();
	}
	nr = size / sizeof(*e) < 64 ? size / sizeof(*e) : 64;
	memcpy(e, data, nr * sizeof(*e));
	if (!kup_extents_check(e, nr))
		for (size_t i = 1; i < nr; i++)
			if (e[i].base <= e[i - 1].base + e[i - 1].size || e[i].base + e[i].size <= e[i].base)
				abort();
	return 0;
}
