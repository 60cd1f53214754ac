// SPDX-License-Identifier: GPL-2.0
/* libFuzzer target: an ELF's headers. Whatever a parsed one says is there must be there. */
#include "fuzz.h"
#include "image/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = { ".BTF", ".shstrtab", ".text", "", ".no_such_section" };
	uint8_t *copy;
	struct kup_err err = {};
	struct kup_elf elf;

	if (!size)
		return 0;
	copy = malloc(size - 1 + (size == 1));
	memcpy(copy, data + 1, size - 1);
	if (!kup_elf_parse(&elf, copy, size - 1, data[0] & 1 ? ET_REL : ET_EXEC, &err)) {
		MUST(elf.size <= size - 1);
		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
			const Elf64_Shdr *sh = kup_elf_section(&elf, names[i]);

			if (sh)
				fuzz_touch(elf.data + sh->sh_offset, sh->sh_size);
		}
		for (size_t i = 0; i < elf.ehdr.e_phnum; i++) {
			const Elf64_Phdr *ph = &elf.phdr[i];
			const uint8_t *at = kup_elf_at(&elf, ph->p_vaddr, ph->p_filesz);

			fuzz_touch(at, at ? ph->p_filesz : 0);
			at = kup_elf_at(&elf, ph->p_vaddr + data[0], 8);
			fuzz_touch(at, at ? 8 : 0);
			MUST(!kup_elf_at(&elf, ph->p_vaddr, UINT64_MAX));
		}
		kup_elf_text(&elf);
		kup_elf_free(&elf);
	} else {
		MUST(err.what[0] && !elf.phdr && !elf.shdr);
	}
	free(copy);
	return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned int seed)
{
	uint32_t state = seed | 1;

	return fuzz_mutate(data, size, max, &state);
}
