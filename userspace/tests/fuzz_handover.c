// SPDX-License-Identifier: GPL-2.0
/*
 * libFuzzer target: a handover with some bytes changed, from the boot stub to the module's adoption. The input's first byte says
 * whether the sums are made right afterwards, and whether the changes happen behind the stub's back; then follow changes: section
 * and length, offset (2 bytes), that many bytes.
 */
#include "fuzz.h"
#include "world.h"

static uint8_t *place(unsigned int section, unsigned int off)
{
	const struct kup_handover *h = world_header();

	switch (section) {
	case 0:
		return (uint8_t *)h + off % sizeof(*h);
	case 1:
		return (uint8_t *)h + 0x1000 + off % 0x1000;	/* extents */
	case 2:
		return (uint8_t *)h + 0x2000 + off % 0x1000;	/* directory */
	default:
		return world_stream(off % (3 * 4096));
	}
}

static void change(const uint8_t *data, size_t size)
{
	while (size > 3) {
		unsigned int n = 1 + (data[0] >> 2) % 8;
		uint8_t *at = place(data[0] & 3, data[1] | data[2] << 8);

		for (data += 3, size -= 3; n && size; n--, size--, data++) {
			*at++ = *data;
			if ((at - world_ram) % 4096 == 0)
				break;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kup_handover *h;
	struct kup_adopt a;

	if (!world_ram)
		world_make();
	if (!size)
		return 0;
	h = world_header();
	if (data[0] & 1)
		world_boot();
	change(data + 1, size - 1);
	if (data[0] & 2) {
		h->magic = KUP_HANDOVER_MAGIC;
		h->version = KUP_HANDOVER_VERSION;
		h->header_size = sizeof(*h);
		h->nonce = WORLD_NONCE;
		h->self = WORLD_AREA;
		world_seal();
	}
	if (!(data[0] & 1))
		world_boot();
	world_adopt(&a);
	world_restore();
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed)
{
	uint32_t state = seed | 1;

	size = fuzz_mutate(data, size, max, &state);
	/* Sums that do not fit stop everything early: have them right half of the time. */
	if (size && fuzz_random(&state) % 2)
		data[0] |= 2;
	return size;
}
