// SPDX-License-Identifier: GPL-2.0
/* libFuzzer target: the .BTF of a kernel. A layout that is accepted must be one that the stub can work with. */
#include "fuzz.h"
#include "image/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kup_stub_params p = {};
	struct kup_err err = {};
	uint8_t *copy = malloc(size + !size);

	memcpy(copy, data, size);
	if (!kup_btf_layout(copy, size, &p, &err)) {
		MUST(p.region_size && p.region_size <= KUP_MAX_REGION_SIZE && p.region_size % 8 == 0);
		MUST(!((p.region_base | p.region_length | p.type_cnt | p.type_max | p.type_total_size | p.type_regions) % 8));
		MUST(p.region_base + 8 <= p.region_size && p.region_length + 8 <= p.region_size && p.region_base != p.region_length);
	} else {
		MUST(err.what[0]);
	}
	free(copy);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed)
{
	uint32_t state = seed | 1;

	return fuzz_mutate(data, size, max, &state);
}
