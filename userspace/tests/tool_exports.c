// SPDX-License-Identifier: GPL-2.0
/*
 * Tool for the test bed: what a kernel exports to modules, as Module.symvers has it, from the image itself; and its types.
 *   tool_exports VMLINUZ BTF_OUT >Module.symvers
 */
#include <stdio.h>
#include <string.h>

#include "image/image.h"
#include "image/internal.h"

/* struct kernel_symbol: offsets from each field to what it names */
struct ksym {
	int32_t value, name, namespace;
};

static const char *string_at(const struct kup_elf *elf, uint64_t at, int32_t off)
{
	const uint8_t *s = kup_elf_at(elf, at + off, 1);
	size_t left = s ? elf->data + elf->size - s : 0;

	return s && memchr(s, '\0', left) ? (const char *)s : NULL;
}

static int print_table(const struct kup_elf *elf, const char *table, const char *sums, const char *kind)
{
	const Elf64_Shdr *sh = kup_elf_section(elf, table), *crc_sh = kup_elf_section(elf, sums);
	uint64_t i;

	if (!sh)
		return 0;
	if (crc_sh && crc_sh->sh_size / 4 != sh->sh_size / sizeof(struct ksym))
		return -1;
	for (i = 0; i < sh->sh_size / sizeof(struct ksym); i++) {
		uint64_t at = sh->sh_addr + i * sizeof(struct ksym);
		const uint8_t *p = kup_elf_at(elf, at, sizeof(struct ksym));
		const uint8_t *c = crc_sh ? kup_elf_at(elf, crc_sh->sh_addr + i * 4, 4) : NULL;
		const char *name, *namespace;
		struct ksym k;
		uint32_t crc = 0;

		if (!p)
			return -1;
		memcpy(&k, p, sizeof(k));
		if (c)
			memcpy(&crc, c, sizeof(crc));
		name = string_at(elf, at + offsetof(struct ksym, name), k.name);
		namespace = k.namespace ? string_at(elf, at + offsetof(struct ksym, namespace), k.namespace) : "";
		if (!name || !namespace)
			return -1;
		printf("0x%08x\t%s\tvmlinux\t%s\t%s\n", crc, name, kind, namespace);
	}
	return i;
}

static int write_btf(const struct kup_elf *elf, const char *path)
{
	const Elf64_Shdr *sh = kup_elf_section(elf, ".BTF");
	const uint8_t *btf = sh ? kup_elf_at(elf, sh->sh_addr, sh->sh_size) : NULL;
	FILE *f = btf ? fopen(path, "w") : NULL;

	if (!f)
		return -1;
	fwrite(btf, 1, sh->sh_size, f);
	return fclose(f);
}

int main(int argc, char **argv)
{
	struct kup_image *img;
	struct kup_err err;
	int plain, gpl;

	if (argc != 3)
		return 2;
	if (kup_image_open(argv[1], &img, &err)) {
		fprintf(stderr, "%s\n%s\n", err.what, err.next);
		return 1;
	}
	plain = print_table(&img->elf, "__ksymtab", "__kcrctab", "EXPORT_SYMBOL");
	gpl = print_table(&img->elf, "__ksymtab_gpl", "__kcrctab_gpl", "EXPORT_SYMBOL_GPL");
	if (plain <= 0 || gpl < 0 || write_btf(&img->elf, argv[2])) {
		fprintf(stderr, "%s: its table of exports cannot be read\n", argv[1]);
		return 1;
	}
	kup_image_close(img);
	return ferror(stdout) ? 1 : 0;
}
