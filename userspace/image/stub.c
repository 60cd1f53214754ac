// SPDX-License-Identifier: GPL-2.0
/*
 * Linking the stub: one section, a few relocations, symbols of the kernel by name. bootstub/check.sh has seen to it
 * that the object has nothing else; what is met here and not known is an error all the same.
 */
#include "internal.h"

extern const uint8_t kup_stub_blob[], kup_stub_blob_end[];

static void sym_at(const struct kup_stub *stub, size_t i, Elf64_Sym *sym)
{
	memcpy(sym, stub->elf.data + stub->symtab->sh_offset + i * sizeof(*sym), sizeof(*sym));
}

static const char *sym_name(const struct kup_stub *stub, const Elf64_Sym *sym)
{
	const Elf64_Shdr *str;

	if (stub->symtab->sh_link >= stub->elf.nr_shdr)
		return NULL;
	str = &stub->elf.shdr[stub->symtab->sh_link];
	if (sym->st_name >= str->sh_size || !memchr(stub->elf.data + str->sh_offset + sym->st_name, 0, str->sh_size - sym->st_name))
		return NULL;
	return (const char *)stub->elf.data + str->sh_offset + sym->st_name;
}

/* In the order of place.c's calls. */
static const char *const entries[] = { "kup_fall_panic", "kup_fall_text", "kup_fall_tick" };

int kup_stub_open(struct kup_stub *stub, struct kup_err *err)
{
	bool entry = false, params = false;
	size_t nr_entries = 0;

	*stub = (struct kup_stub){};
	if (kup_elf_parse(&stub->elf, kup_stub_blob, kup_stub_blob_end - kup_stub_blob, ET_REL, NULL))
		goto bad;
	stub->section = kup_elf_section(&stub->elf, ".kup_stub");
	stub->rela = kup_elf_section(&stub->elf, ".rela.kup_stub");
	stub->symtab = kup_elf_section(&stub->elf, ".symtab");
	if (!stub->section || !stub->rela || !stub->symtab)
		goto bad;
	for (size_t i = 0; i < stub->symtab->sh_size / sizeof(Elf64_Sym); i++) {
		Elf64_Sym sym;
		const char *name;

		sym_at(stub, i, &sym);
		name = sym_name(stub, &sym);
		if (!name || sym.st_shndx != stub->section - stub->elf.shdr)
			continue;
		if (!strcmp(name, "kup_stub"))
			entry = !sym.st_value;
		for (size_t e = 0; e < sizeof(entries) / sizeof(*entries); e++)
			if (!strcmp(name, entries[e]) && sym.st_value < stub->section->sh_size) {
				stub->entry[e] = sym.st_value;
				nr_entries++;
			}
		if (!strcmp(name, "kup_params")) {
			stub->params = sym.st_value;
			params = kup_within(sym.st_value, sizeof(struct kup_stub_params), stub->section->sh_size) &&
				 kup_le64(stub->elf.data + stub->section->sh_offset + sym.st_value) == KUP_STUB_PARAMS_MAGIC;
		}
	}
	if (entry && params && nr_entries == sizeof(entries) / sizeof(*entries))
		return 0;
bad:
	kup_stub_close(stub);
	return kup_err_set(err, -EINVAL, "the boot stub inside this program is damaged: install kup-ppp again");
}

void kup_stub_close(struct kup_stub *stub)
{
	kup_elf_free(&stub->elf);
}

/* The address of symbol @i with the stub at @place. */
static int resolve(const struct kup_stub *stub, const struct kup_image *img, size_t i, uint64_t *addr, struct kup_err *err)
{
	const char *name;
	Elf64_Sym sym;

	if (i >= stub->symtab->sh_size / sizeof(sym))
		return kup_err_set(err, -EINVAL, "the boot stub refers to symbol %zu, which it does not have", i);
	sym_at(stub, i, &sym);
	if (sym.st_shndx == stub->section - stub->elf.shdr) {
		*addr = img->info.stub_addr + sym.st_value;
		return 0;
	}
	name = sym_name(stub, &sym);
	if (name && !strcmp(name, "memblock_reserve"))
		name = img->info.reserve_fn;
	if (name && img->info.no_fall && kup_is_fall_symbol(name)) {
		*addr = img->info.stub_addr;	/* nothing leads to where it is used */
		return 0;
	}
	if (!name || sym.st_shndx != SHN_UNDEF || kup_syms_find(&img->syms, name, addr))
		return kup_err_set(err, -ENOTSUP, "the boot stub needs the symbol %s: the image has none, or several", name ? name : "?");
	return 0;
}

static void put_le(uint8_t *p, uint64_t v, unsigned int bytes)
{
	for (; bytes--; v >>= 8)
		*p++ = v;
}

int kup_stub_link(const struct kup_stub *stub, const struct kup_image *img, uint8_t *out, struct kup_err *err)
{
	memcpy(out, stub->elf.data + stub->section->sh_offset, stub->section->sh_size);
	for (size_t i = 0; i < stub->rela->sh_size / sizeof(Elf64_Rela); i++) {
		unsigned int bytes = 4;
		Elf64_Rela r;
		uint64_t v;
		int ret;

		memcpy(&r, stub->elf.data + stub->rela->sh_offset + i * sizeof(r), sizeof(r));
		ret = resolve(stub, img, ELF64_R_SYM(r.r_info), &v, err);
		if (ret)
			return ret;
		v += r.r_addend;
		switch (ELF64_R_TYPE(r.r_info)) {
		case R_X86_64_PC32:
		case R_X86_64_PLT32:
			v -= img->info.stub_addr + r.r_offset;
			/* fall through */
		case R_X86_64_32S:
			if ((int64_t)v != (int32_t)v)
				return kup_err_set(err, -ENOTSUP, "the boot stub can't reach a symbol from %#llx",
						   (unsigned long long)img->info.stub_addr);
			break;
		case R_X86_64_64:
			bytes = 8;
			break;
		default:
			return kup_err_set(err, -EINVAL, "the boot stub has a relocation of unknown type %u",
					   (unsigned int)ELF64_R_TYPE(r.r_info));
		}
		if (!kup_within(r.r_offset, bytes, stub->section->sh_size))
			return kup_err_set(err, -EINVAL, "the boot stub has a relocation outside of itself");
		put_le(out + r.r_offset, v, bytes);
	}
	return 0;
}
