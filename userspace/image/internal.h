/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the image code share. Everything points into one buffer, the unpacked ELF, that the handle owns. */
#ifndef KUP_IMAGE_INTERNAL_H
#define KUP_IMAGE_INTERNAL_H

#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "image.h"

#define KUP_ALIGN(v, to)	(((v) + (to) - 1) & ~((uint64_t)(to) - 1))

/* Is [off, off + len) within size bytes? */
static inline bool kup_within(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

static inline uint32_t kup_le32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t kup_le64(const uint8_t *p)
{
	return kup_le32(p) | (uint64_t)kup_le32(p + 4) << 32;
}

/* unpack.c */
struct kup_unpacked {
	uint8_t *data;		/* malloc()ed, the caller's */
	size_t size;
	const char *compression;
};
int kup_unpack_image(const uint8_t *file, size_t size, struct kup_unpacked *out, struct kup_err *err);
int kup_unpack_payload(const uint8_t *in, size_t size, struct kup_unpacked *out, struct kup_err *err);

/* elf.c: a parsed header is within bounds for good: users of phdr and shdr need not check again. */
struct kup_elf {
	const uint8_t *data;
	size_t size;		/* of the ELF proper, without what follows it in the buffer */
	Elf64_Ehdr ehdr;
	Elf64_Phdr *phdr;	/* malloc()ed copies */
	Elf64_Shdr *shdr;
	size_t nr_shdr;
};
int kup_elf_parse(struct kup_elf *elf, const uint8_t *data, size_t size, uint16_t type, struct kup_err *err);
void kup_elf_free(struct kup_elf *elf);
const Elf64_Shdr *kup_elf_section(const struct kup_elf *elf, const char *name);
const uint8_t *kup_elf_at(const struct kup_elf *elf, uint64_t vaddr, uint64_t len);	/* NULL: not in the file */
uint64_t kup_elf_text(const struct kup_elf *elf);	/* vaddr of the lowest segment; 0: none, or the entry is in no segment */

/* kallsyms.c */
struct kup_syms {
	const char *layout;
	uint32_t nr;
	uint64_t *addr;		/* ascending */
	uint32_t *name;		/* offsets into names */
	char *names;		/* NUL terminated each, without the type letter */
};
int kup_syms_read(struct kup_syms *syms, const struct kup_elf *elf, struct kup_err *err);
void kup_syms_free(struct kup_syms *syms);
int kup_syms_find(const struct kup_syms *syms, const char *name, uint64_t *addr);	/* 0, -ENOENT, -ENOTUNIQ */
uint64_t kup_syms_next(const struct kup_syms *syms, uint64_t addr);	/* lowest address above; UINT64_MAX: none */

/* btf.c */
int kup_btf_layout(const void *btf, size_t size, struct kup_stub_params *p, struct kup_err *err);

struct kup_image {
	struct kup_image_info info;
	struct kup_unpacked buf;
	struct kup_elf elf;
	struct kup_syms syms;
	char release[65];
};

/* place.c: fill in the fields of info that it finds */
int kup_place(struct kup_image *img, struct kup_err *err);
bool kup_is_fall_symbol(const char *name);	/* without which the stub has but no way back */

/* stub.c: the object that is embedded in this program */
struct kup_stub {
	struct kup_elf elf;
	const Elf64_Shdr *section;	/* .kup_stub */
	const Elf64_Shdr *symtab;
	const Elf64_Shdr *rela;
	uint64_t params;		/* offset of kup_params in the section, */
	uint64_t entry[3];		/* and of what fall_call leads to */
};
int kup_stub_open(struct kup_stub *stub, struct kup_err *err);
void kup_stub_close(struct kup_stub *stub);
int kup_stub_link(const struct kup_stub *stub, const struct kup_image *img, uint8_t *out, struct kup_err *err);

#endif
