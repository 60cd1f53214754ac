// SPDX-License-Identifier: GPL-2.0
#include "internal.h"

/* Copy @nr headers of @each bytes from @off; NULL if they are not all there. Alignment in the buffer is not assumed. */
static void *copy_headers(const uint8_t *data, size_t size, uint64_t off, size_t nr, size_t each)
{
	void *copy;

	if (!kup_within(off, (uint64_t)nr * each, size))
		return NULL;
	copy = malloc(nr * each);
	if (copy)
		memcpy(copy, data + off, nr * each);
	return copy;
}

int kup_elf_parse(struct kup_elf *elf, const uint8_t *data, size_t size, uint16_t type, struct kup_err *err)
{
	uint64_t end = sizeof(Elf64_Ehdr);
	size_t i;

	*elf = (struct kup_elf){ .data = data };
	if (size < sizeof(elf->ehdr) || memcmp(data, ELFMAG, SELFMAG))
		return kup_err_set(err, -EINVAL, "no ELF: %zu bytes that start with %02x %02x %02x %02x", size,
				   size > 3 ? data[0] : 0, size > 3 ? data[1] : 0, size > 3 ? data[2] : 0, size > 3 ? data[3] : 0);
	memcpy(&elf->ehdr, data, sizeof(elf->ehdr));
	if (elf->ehdr.e_ident[EI_CLASS] != ELFCLASS64 || elf->ehdr.e_ident[EI_DATA] != ELFDATA2LSB ||
	    elf->ehdr.e_machine != EM_X86_64)
		return kup_err_set(err, -ENOTSUP, "an ELF for machine %u, class %u: x86-64 (62, class 2) is needed",
				   elf->ehdr.e_machine, elf->ehdr.e_ident[EI_CLASS]);
	if (elf->ehdr.e_type != type)
		return kup_err_set(err, -ENOTSUP, "an ELF of type %u: type %u is needed", elf->ehdr.e_type, type);
	if ((elf->ehdr.e_phnum && elf->ehdr.e_phentsize != sizeof(Elf64_Phdr)) ||
	    (elf->ehdr.e_shnum && elf->ehdr.e_shentsize != sizeof(Elf64_Shdr)))
		return kup_err_set(err, -EINVAL, "ELF headers of unknown size: the image is damaged");

	if (elf->ehdr.e_phnum) {
		elf->phdr = copy_headers(data, size, elf->ehdr.e_phoff, elf->ehdr.e_phnum, sizeof(Elf64_Phdr));
		if (!elf->phdr)
			goto truncated;
		end = elf->ehdr.e_phoff + elf->ehdr.e_phnum * sizeof(Elf64_Phdr);
	}
	for (i = 0; i < elf->ehdr.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->phdr[i];

		if (ph->p_type != PT_LOAD && ph->p_type != PT_NOTE)
			continue;
		if (!kup_within(ph->p_offset, ph->p_filesz, size))
			goto truncated;
		if (ph->p_filesz > ph->p_memsz || ph->p_vaddr + ph->p_memsz < ph->p_vaddr || ph->p_paddr + ph->p_memsz < ph->p_paddr) {
			kup_elf_free(elf);
			return kup_err_set(err, -EINVAL, "ELF segment %zu wraps around: the image is damaged", i);
		}
		if (ph->p_offset + ph->p_filesz > end)
			end = ph->p_offset + ph->p_filesz;
	}

	if (elf->ehdr.e_shnum) {
		elf->shdr = copy_headers(data, size, elf->ehdr.e_shoff, elf->ehdr.e_shnum, sizeof(Elf64_Shdr));
		if (!elf->shdr)
			goto truncated;
		elf->nr_shdr = elf->ehdr.e_shnum;
		if (elf->ehdr.e_shoff + elf->nr_shdr * sizeof(Elf64_Shdr) > end)
			end = elf->ehdr.e_shoff + elf->nr_shdr * sizeof(Elf64_Shdr);
	}
	for (i = 0; i < elf->nr_shdr; i++) {
		const Elf64_Shdr *sh = &elf->shdr[i];

		if (sh->sh_type == SHT_NOBITS || sh->sh_type == SHT_NULL)
			continue;
		if (!kup_within(sh->sh_offset, sh->sh_size, size))
			goto truncated;
		if (sh->sh_offset + sh->sh_size > end)
			end = sh->sh_offset + sh->sh_size;
	}
	elf->size = end;
	return 0;

truncated:
	kup_elf_free(elf);
	return kup_err_set(err, -EINVAL, "truncated: the ELF's headers reach beyond its %zu bytes", size);
}

void kup_elf_free(struct kup_elf *elf)
{
	free(elf->phdr);
	free(elf->shdr);
	elf->phdr = NULL;
	elf->shdr = NULL;
	elf->nr_shdr = 0;
}

const Elf64_Shdr *kup_elf_section(const struct kup_elf *elf, const char *name)
{
	const Elf64_Shdr *str;
	size_t len = strlen(name) + 1;

	if (elf->ehdr.e_shstrndx >= elf->nr_shdr)
		return NULL;
	str = &elf->shdr[elf->ehdr.e_shstrndx];
	if (str->sh_type != SHT_STRTAB)
		return NULL;
	for (size_t i = 0; i < elf->nr_shdr; i++) {
		const Elf64_Shdr *sh = &elf->shdr[i];

		if (sh->sh_type != SHT_NULL && sh->sh_type != SHT_NOBITS && kup_within(sh->sh_name, len, str->sh_size) &&
		    !memcmp(elf->data + str->sh_offset + sh->sh_name, name, len))
			return sh;
	}
	return NULL;
}

const uint8_t *kup_elf_at(const struct kup_elf *elf, uint64_t vaddr, uint64_t len)
{
	for (size_t i = 0; i < elf->ehdr.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->phdr[i];

		if (ph->p_type == PT_LOAD && vaddr >= ph->p_vaddr && kup_within(vaddr - ph->p_vaddr, len, ph->p_filesz))
			return elf->data + ph->p_offset + (vaddr - ph->p_vaddr);
	}
	return NULL;
}

uint64_t kup_elf_text(const struct kup_elf *elf)
{
	const Elf64_Phdr *lowest = NULL;
	bool entry = false;

	for (size_t i = 0; i < elf->ehdr.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->phdr[i];

		if (ph->p_type != PT_LOAD)
			continue;
		entry |= elf->ehdr.e_entry >= ph->p_paddr && elf->ehdr.e_entry - ph->p_paddr < ph->p_filesz;
		if (!lowest || ph->p_paddr < lowest->p_paddr)
			lowest = ph;
	}
	return entry ? lowest->p_vaddr : 0;
}
