// SPDX-License-Identifier: GPL-2.0
/* libFuzzer target: the symbol tables of a kernel. 8 bytes of virtual address, then the segment that holds them. */
#include "fuzz.h"
#include "image/internal.h"

#define TEXT	0xffffffff81000000ULL

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Elf64_Phdr ph[2] = {
		{ .p_type = PT_LOAD, .p_vaddr = TEXT, .p_paddr = 0x1000000, .p_memsz = 0x1000 },
		{ .p_type = PT_LOAD, .p_paddr = 0x2000000 },
	};
	struct kup_elf elf = { .ehdr = { .e_phnum = 2, .e_entry = 0x2000000 }, .phdr = ph };
	struct kup_err err = {};
	struct kup_syms syms;
	uint64_t addr;
	uint8_t *copy;

	if (size <= 8)
		return 0;
	copy = malloc(size - 8);
	memcpy(copy, data + 8, size - 8);
	memcpy(&ph[1].p_vaddr, data, 8);
	ph[1].p_filesz = ph[1].p_memsz = elf.size = size - 8;
	elf.data = copy;
	if (!kup_syms_read(&syms, &elf, &err)) {
		MUST(!kup_syms_find(&syms, "_text", &addr) && addr == TEXT);
		for (uint32_t i = 0; i < syms.nr; i++) {
			MUST(strlen(syms.names + syms.name[i]) && (!i || syms.addr[i] >= syms.addr[i - 1]));
			MUST(kup_syms_next(&syms, syms.addr[i]) > syms.addr[i]);
			if (i > 20)
				i += 50;
		}
		kup_syms_free(&syms);
	} else {
		MUST(err.what[0] && !syms.addr && !syms.name && !syms.names);
	}
	free(copy);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed)
{
	uint32_t state = seed | 1;

	return fuzz_mutate(data, size, max, &state);
}
