// SPDX-License-Identifier: GPL-2.0
/*
 * Tool for fuzzing: what the libFuzzer targets begin with, made of the heads of real kernels.
 *   tool_seeds DIR VMLINUZ...	writes DIR/TARGET/NAME
 *
 * A kernel is large, and a fuzzer is fast on small inputs only. So of each kernel the headers are kept, a few hundred of its symbols in
 * its own tables and encoding, and those types of its BTF that matter.
 */
#define _GNU_SOURCE
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <sys/stat.h>

#include <kup/map.h>

#include "packers.h"
#include "util.h"
#include "world.h"

#include "../image/kallsyms.c"	/* finds the tables, and its parts are not for anybody else */

#define NR_SYMS		600u	/* two markers at least, and the least that is taken for a kernel's */
#define SETUP		1024u
#define TEXT		0xffffffff81000000ULL

static const char *dir;

static void write_seed(const char *target, const char *name, const void *head, size_t head_size, const void *data, size_t size)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, target);
	mkdir(path, 0755);
	snprintf(path + strlen(path), sizeof(path) - strlen(path), "/%s", name);
	f = fopen(path, "w");
	if (!f || fwrite(head, 1, head_size, f) != head_size || fwrite(data, 1, size, f) != size || fclose(f)) {
		perror(path);
		exit(1);
	}
}

static void put(uint8_t *p, uint64_t v, unsigned int bytes)
{
	for (; bytes--; v >>= 8)
		*p++ = v;
}

/* The image's headers, as they are and leading to a small payload in each of the compressions. PE's sections are gone. */
static void seed_unpack(const char *name, const uint8_t *file, const struct kup_unpacked *elf)
{
	uint8_t image[SETUP + 65536] = {}, *pe;
	char path[128];

	write_seed("unpack", name, "", 0, file, 4096);
	memcpy(image, file, SETUP);
	pe = image + kup_le32(image + 0x3c);
	if (pe < image + SETUP - 24 && !memcmp(pe, "PE\0\0", 4))
		put(pe + 6, 0, 2);
	image[0x1f1] = 1;
	put(image + 0x1f4, 0, 4);
	put(image + 0x248, 0, 4);
	for (size_t i = 0; i < nr_packers; i++) {
		size_t plain = 3000, n = packers[i].pack(elf->data, plain, image + SETUP, sizeof(image) - SETUP - 4);

		if (packers[i].append) {
			put(image + SETUP + n, plain, 4);
			n += 4;
		}
		put(image + 0x24c, n, 4);
		snprintf(path, sizeof(path), "%s-%s%zu", name, packers[i].name, i);
		write_seed("unpack", path, "", 0, image, SETUP + n);
	}
}

/* All headers, over segments and sections of a few bytes. */
static void seed_elf(const char *name, const struct kup_elf *elf)
{
	size_t at = sizeof(Elf64_Ehdr) + elf->ehdr.e_phnum * sizeof(Elf64_Phdr), end, room = 16384;
	uint8_t *out = calloc(1, room);
	Elf64_Ehdr eh = elf->ehdr;
	size_t body = at;

	memset(out + body, 0x90, 256);
	at += 256;
	eh.e_phoff = sizeof(eh);
	eh.e_shoff = at;
	end = at + elf->nr_shdr * sizeof(Elf64_Shdr);
	for (size_t i = 0; i < elf->nr_shdr; i++) {
		Elf64_Shdr sh = elf->shdr[i];

		if (i == eh.e_shstrndx && end + sh.sh_size <= room) {
			memcpy(out + end, elf->data + sh.sh_offset, sh.sh_size);
			sh.sh_offset = end;
			end += sh.sh_size;
		} else if (sh.sh_type != SHT_NULL && sh.sh_type != SHT_NOBITS) {
			sh.sh_offset = body;
			sh.sh_size = sh.sh_size < 256 ? sh.sh_size : 256;
		}
		memcpy(out + at + i * sizeof(sh), &sh, sizeof(sh));
	}
	for (size_t i = 0; i < eh.e_phnum; i++) {
		Elf64_Phdr ph = elf->phdr[i];

		ph.p_offset = body;
		ph.p_filesz = ph.p_filesz < 256 ? ph.p_filesz : 256;
		memcpy(out + sizeof(eh) + i * sizeof(ph), &ph, sizeof(ph));
	}
	memcpy(out, &eh, sizeof(eh));
	write_seed("elf", name, "", 1, out, end);
	free(out);
}

/* Tables of the chosen symbols: what scripts/kallsyms.c would have written for a small kernel with the same tokens. */
static void small_tables(const char *name, const struct seg *s, const struct layout *l, const struct tokens *t, uint64_t number,
			 const struct kup_syms *syms)
{
	uint64_t vaddr = TEXT + 0x1000000, at = 64, names, from = names_start(l, number), base = TEXT;
	uint32_t chosen[NR_SYMS], nr = 0, text = 0, marker[NR_SYMS / 256 + 1], offsets;
	uint8_t *out = calloc(1, 1 << 17);

	while (strcmp(syms->names + syms->name[text], "_text"))
		text++;
	for (uint32_t i = 0; i < syms->nr && nr < NR_SYMS; i++)
		if (i < 40 || i >= text)
			chosen[nr++] = i;
	if (nr < NR_SYMS)
		return;
	offsets = l->offsets_first ? at : 0;
	if (l->offsets_first) {
		at += KUP_ALIGN(4 * nr, 8);
		put(out + at, base, 8);
		at += 8;
	}
	put(out + at, nr, 4);
	at = names = KUP_ALIGN(at + 4, l->align);
	for (uint32_t i = 0, k = 0; k < nr; i++) {
		uint64_t here = from;
		uint32_t len = name_length(s, &from, t->table);

		from += len;
		if (i != chosen[k])
			continue;
		if (!(k % 256))
			marker[k / 256] = at - names;
		memcpy(out + at, s->p + here, from - here);
		at += from - here;
		k++;
	}
	at = KUP_ALIGN(at, l->align);
	for (uint32_t i = 0; i < (nr + 255) / 256; i++, at += 4)
		put(out + at, marker[i], 4);
	at = KUP_ALIGN(at, l->align);
	if (l->seqs)
		at = KUP_ALIGN(at + 3 * nr, l->align);
	memcpy(out + at, s->p + t->table, t->end - t->table);
	at += t->end - t->table;
	if (!l->offsets_first) {
		at = offsets = KUP_ALIGN(at, l->align);
		put(out + KUP_ALIGN(at + 4 * nr, 8), base, 8);
	}
	for (uint32_t k = 0; k < nr; k++) {
		uint64_t a = syms->addr[chosen[k]];

		put(out + offsets + 4 * k, l->encoding == PCREL ? a - (vaddr + offsets + 4 * k) : l->encoding == BASE ? a - base :
		    a < base ? a : base - 1 - a, 4);
	}
	if (!l->offsets_first)
		at = KUP_ALIGN(at + 4 * nr, 8) + 8;
	write_seed("kallsyms", name, &vaddr, 8, out, at + 64);
	free(out);
}

static void seed_kallsyms(const char *name, const struct kup_elf *elf)
{
	static const char digits[] = "0\0" "1\0" "2\0" "3\0" "4\0" "5\0" "6\0" "7\0" "8\0" "9";

	for (size_t i = 0; i < elf->ehdr.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->phdr[i];
		struct seg s = { elf->data + ph->p_offset, ph->p_filesz, ph->p_vaddr };
		const uint8_t *at = s.p;

		if (ph->p_type != PT_LOAD)
			continue;
		for (; (at = memmem(at, s.p + s.size - at, digits, sizeof(digits))); at++)
			for (size_t n = 0; n < NR_LAYOUTS; n++) {
				struct kup_syms syms;
				unsigned int found;
				struct tokens t;
				uint64_t number;

				if (!find_tokens(&s, at - s.p, layouts[n].align, &t))
					continue;
				number = find_number(&s, &layouts[n], &t, &found);
				if (found != 1 || read_layout(&syms, &s, &layouts[n], &t, number, kup_elf_text(elf)))
					continue;
				small_tables(name, &s, &layouts[n], &t, number, &syms);
				kup_syms_free(&syms);
			}
	}
}

/* Where a type refers to others. */
static uint32_t *reference(struct btf_type *t, unsigned int i)
{
	switch (btf_kind(t)) {
	case BTF_KIND_PTR: case BTF_KIND_TYPEDEF: case BTF_KIND_CONST: case BTF_KIND_VOLATILE: case BTF_KIND_RESTRICT: case BTF_KIND_FUNC:
		return i ? NULL : &t->type;
	case BTF_KIND_ARRAY:
		return i == 0 ? &btf_array(t)->type : i == 1 ? &btf_array(t)->index_type : NULL;
	case BTF_KIND_STRUCT: case BTF_KIND_UNION:
		return i < btf_vlen(t) ? &btf_members(t)[i].type : NULL;
	case BTF_KIND_FUNC_PROTO:
		return i == 0 ? &t->type : i <= btf_vlen(t) ? &btf_params(t)[i - 1].type : NULL;
	default:
		return NULL;
	}
}

static void mark(const struct btf *btf, uint32_t id, uint32_t *map)
{
	const uint32_t *ref;

	if (!id || map[id])
		return;
	map[id] = 1;
	for (unsigned int i = 0; (ref = reference((struct btf_type *)btf__type_by_id(btf, id), i)); i++)
		mark(btf, *ref, map);
}

static void seed_btf(const char *name, const uint8_t *data, size_t size)
{
	struct btf *btf = btf__new(data, size), *out = btf__new_empty();
	uint32_t nr, *map, *ref, raw_size;
	const void *raw;

	if (libbpf_get_error(btf))
		return;
	nr = btf__type_cnt(btf);
	map = calloc(nr, sizeof(*map));
	mark(btf, btf__find_by_name_kind(btf, "memblock", BTF_KIND_STRUCT), map);
	mark(btf, btf__find_by_name_kind(btf, "list_head", BTF_KIND_STRUCT), map);
	for (uint32_t id = 1; id < nr; id++)
		if (map[id])
			map[id] = btf__add_type(out, btf, btf__type_by_id(btf, id));
	for (uint32_t id = 1; id < btf__type_cnt(out); id++)
		for (unsigned int i = 0; (ref = reference((struct btf_type *)btf__type_by_id(out, id), i)); i++)
			*ref = map[*ref];
	raw = btf__raw_data(out, &raw_size);
	write_seed("btf", name, "", 0, raw, raw_size);
	free(map);
	btf__free(out);
	btf__free(btf);
}

static void seed_handover(void)
{
	struct kup_handover *h;
	uint8_t maps[8192], change[16] = { 2, 0, 48, 0 };

	world_make();
	h = world_header();
	for (size_t i = 0; i < h->maps_size; i++)
		maps[i] = *world_stream(i);
	write_seed("map", "world", (uint8_t[]){ h->nr_mms, 1 }, 2, maps, h->maps_size);
	write_seed("map", "world-counts", (uint8_t[]){ h->nr_mms, 0 }, 2, maps, h->maps_size);
	/* One change in each section, with right sums and wrong ones, before the stub and after it. */
	for (unsigned int i = 0; i < 16; i++) {
		char name[32];

		change[0] = i / 4;
		change[1] = i % 4;
		snprintf(name, sizeof(name), "change-%u", i);
		write_seed("handover", name, "", 0, change, 8);
	}
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	dir = argv[1];
	libbpf_set_print(NULL);
	seed_handover();
	for (int i = 2; i < argc; i++) {
		struct kup_unpacked buf = {};
		struct kup_err err = {};
		const Elf64_Shdr *btf;
		struct kup_elf elf;
		char name[16];
		size_t size;
		char *file = kup_slurp(argv[i], &size);

		snprintf(name, sizeof(name), "kernel%d", i - 1);
		if (!file || kup_unpack_image((uint8_t *)file, size, &buf, &err) ||
		    kup_elf_parse(&elf, buf.data, buf.size, ET_EXEC, &err)) {
			fprintf(stderr, "%s: %s\n", argv[i], err.what);
			return 1;
		}
		seed_unpack(name, (uint8_t *)file, &buf);
		seed_elf(name, &elf);
		seed_kallsyms(name, &elf);
		btf = kup_elf_section(&elf, ".BTF");
		if (btf)
			seed_btf(name, elf.data + btf->sh_offset, btf->sh_size);
		kup_elf_free(&elf);
		free(buf.data);
		free(file);
	}
	return 0;
}
