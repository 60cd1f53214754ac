// SPDX-License-Identifier: GPL-2.0
/*
 * libFuzzer target: a bzImage, from its headers to the unpacked payload, in all compressions. Half of the time the mutator makes the
 * boot protocol's header lead to the payload again.
 */
#include "fuzz.h"
#include "image/internal.h"

#define SMALL	(128u << 10)

enum { SETUP_SECTS = 0x1f1, SYSSIZE = 0x1f4, BOOT_FLAG = 0x1fe, HEADER = 0x202, PROTOCOL = 0x206, PAYLOAD_OFFSET = 0x248,
       PAYLOAD_LENGTH = 0x24c, HEADER_END = 0x268, START = 1024 };

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

/* What is accepted and only costs time is made small: the claim in the last four bytes, and the tables of the decoders. */
static void bound(uint8_t *payload, uint32_t length)
{
	uint32_t plain = kup_le32(payload + length - 4), dictionary = kup_le32(payload + 1);

	if (!memcmp(payload, "\x5d\0\0", 3) && dictionary > SMALL && dictionary <= 256u << 20)
		put32(payload + 1, SMALL);
	if (!memcmp(payload, "BZh", 3) && payload[3] > '1' && payload[3] <= '9')
		payload[3] = '1';
	if (plain > SMALL && plain <= 512u << 20)
		put32(payload + length - 4, plain % SMALL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kup_unpacked out = {};
	uint8_t *copy = malloc(size + !size);
	struct kup_err err = {};

	memcpy(copy, data, size);
	if (size >= HEADER_END) {
		uint64_t start = ((copy[SETUP_SECTS] ? copy[SETUP_SECTS] : 4) + 1) * 512 + (uint64_t)kup_le32(copy + PAYLOAD_OFFSET);
		uint32_t length = kup_le32(copy + PAYLOAD_LENGTH);

		if (length >= 16 && kup_within(start, length, size))
			bound(copy + start, length);
	}
	if (!kup_unpack_image(copy, size, &out, &err)) {
		MUST(out.size && out.compression);
		fuzz_touch(out.data, out.size);
		free(out.data);
	} else {
		MUST(!out.data && err.what[0]);
	}
	free(copy);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed)
{
	uint32_t state = seed | 1;

	size = fuzz_mutate(data, size, max, &state);
	if (size <= START + 16 || fuzz_random(&state) % 2)
		return size;
	data[SETUP_SECTS] = 1;
	data[BOOT_FLAG] = 0x55;
	data[BOOT_FLAG + 1] = 0xaa;
	memcpy(data + HEADER, "HdrS", 4);
	data[PROTOCOL] = 0x0f;
	data[PROTOCOL + 1] = 2;
	put32(data + SYSSIZE, 0);
	put32(data + PAYLOAD_OFFSET, 0);
	put32(data + PAYLOAD_LENGTH, size - START);
	return size;
}
