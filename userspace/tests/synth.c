// SPDX-License-Identifier: GPL-2.0
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "synth.h"

const char *const synth_layouts[SYNTH_NR_LAYOUTS] = {
	"offsets first, absolute percpu", "offsets first, base", "offsets first, absolute percpu, sequence",
	"offsets first, base, sequence", "offsets last, absolute percpu", "offsets last, base", "offsets last, pc-relative",
};

enum { PERCPU, BASE, PCREL };

static const struct {
	unsigned int align;
	bool first, seqs;
	int encoding;
} shapes[SYNTH_NR_LAYOUTS] = {
	{ 8, true, false, PERCPU }, { 8, true, false, BASE }, { 8, true, true, PERCPU }, { 8, true, true, BASE },
	{ 8, false, false, PERCPU }, { 8, false, false, BASE }, { 4, false, false, PCREL },
};

#define SEG_OFF		0x1000		/* of the segment in the file */
#define RODATA		0x10000		/* of .rodata in the segment */
#define SEG_ROOM	(2u << 20)

/* Tokens: every character is its own, and these stand for more. All else is empty. */
static const char *const long_tokens[] = { "filler_", "memblock", "set", "__", "ar", "kernel" };

static void token(unsigned int i, char out[16])
{
	out[0] = out[1] = '\0';
	if (i > ' ' && i < 127)
		out[0] = i;
	else if (i >= 128 && i < 128 + sizeof(long_tokens) / sizeof(*long_tokens))
		strcpy(out, long_tokens[i - 128]);
}

/* One pass, longest token first come: not what the kernel's tool does, but what it could have done. */
static size_t compress(const char *name, uint8_t *out)
{
	size_t n = 0;

	while (*name) {
		unsigned int i, found = 0;
		char t[16];

		for (i = 128; i < 128 + sizeof(long_tokens) / sizeof(*long_tokens) && !found; i++) {
			token(i, t);
			if (!strncmp(name, t, strlen(t)))
				found = i;
		}
		out[n++] = found ? found : (uint8_t)*name;
		token(out[n - 1], t);
		name += strlen(t);
	}
	return n;
}

static void put(uint8_t *p, uint64_t v, unsigned int bytes)
{
	while (bytes--) {
		*p++ = v;
		v >>= 8;
	}
}

struct sym {
	uint64_t addr;
	const char *name;
	unsigned int seq;
};

static int by_addr(const void *a, const void *b)
{
	const struct sym *x = a, *y = b;

	if (x->addr != y->addr)
		return x->addr < y->addr ? -1 : 1;
	return x->seq < y->seq ? -1 : 1;
}

/* In the order of their addresses, from SYNTH_PANIC on. */
static const char *const fall_symbols[] = {
	"panic", "vpanic", "tick_do_update_jiffies64", "__crash_kexec", "vscnprintf", "calc_global_load", "smp_ops", "crash_notes",
	"machine_crash_shutdown", "nmi_shootdown_cpus", "kdump_nmi_shootdown_cpus",
};
#define NR_FALL_SYMBOLS (sizeof(fall_symbols) / sizeof(*fall_symbols))

static void put_call(uint8_t *seg, unsigned int at, unsigned int to, uint8_t opcode)
{
	seg[at] = opcode;
	put(seg + at + 1, to - (at + 5), 4);
}

static void put_fall(const struct synth *s, uint8_t *seg)
{
	const unsigned int base = SYNTH_PANIC - SYNTH_TEXT, in = base + (strcmp(s->panic, "panic") ? 0x100 : 0);

	for (unsigned int i = 0; i < (s->crash_calls ? s->crash_calls - 1 : 2); i++)
		put_call(seg, in + 0x20 + 16 * i, base + 0x300, 0xe8);
	put_call(seg, in + 0x10, base + 0x400, 0xe8);
	put_call(seg, base + 0x2f0, base + 0x500, 0xe9);
	/* Of another function, and of panic to something else. */
	put_call(seg, base + 0x610, base + 0x300, 0xe8);
	put_call(seg, in + 0xa0, base + 0x800, 0xe8);
}

static void collect(struct synth *s)
{
	static const struct sym fixed[] = {
		{ SYNTH_TEXT, "_text", 0 }, { SYNTH_TEXT, "_stext", 0 }, { SYNTH_START, "start_kernel", 0 },
		{ SYNTH_START + 0x100, "after_start_kernel", 0 }, { SYNTH_SETUP, "setup_arch", 0 },
		{ SYNTH_SETUP + 0x100, "memblock_reserve", 0 }, { SYNTH_RUN_SYM, "in_the_run", 0 }, { SYNTH_ETEXT, "_etext", 0 },
		{ SYNTH_TEXT + RODATA, "linux_banner", 0 }, { SYNTH_DATA, "memblock", 0 },
		{ SYNTH_DATA + 0x100, "page_offset_base", 0 },
	};
	static const char long_name[] =	/* longer than 127 tokens: its length takes two bytes */
		"a_name_0123456789_0123456789_0123456789_0123456789_0123456789_0123456789_0123456789_0123456789_0123456789_"
		"0123456789_0123456789_0123456789";
	unsigned int nr_fixed = sizeof(fixed) / sizeof(*fixed), fillers = s->fillers ? s->fillers : 900, n = 0;
	struct sym *syms = calloc(fillers + 2 * (nr_fixed + NR_FALL_SYMBOLS) + 8, sizeof(*syms));

	for (unsigned int i = 0; i < nr_fixed; i++) {
		struct sym sym = fixed[i];

		if (s->without && !strcmp(sym.name, s->without))
			continue;
		if (s->new_reserve && !strcmp(sym.name, "memblock_reserve"))
			sym.name = "__memblock_reserve";
		if (s->text_elsewhere && !strcmp(sym.name, "_text"))
			sym.addr += 0x40;
		syms[n++] = sym;
		if (s->twice && !strcmp(sym.name, s->twice)) {
			sym.addr += 8;
			syms[n++] = sym;
		}
	}
	for (unsigned int i = 0; s->panic && i < NR_FALL_SYMBOLS; i++)
		if (!s->without || strcmp(fall_symbols[i], s->without))
			syms[n++] = (struct sym){ SYNTH_PANIC + 0x100 * i, fall_symbols[i], 0 };
	if (shapes[s->layout].encoding == PERCPU) {
		syms[n++] = (struct sym){ 0, "fixed_percpu_data", 0 };
		syms[n++] = (struct sym){ 0x1234, "in_percpu", 0 };
	}
	syms[n++] = (struct sym){ SYNTH_DATA + 0x800, long_name, 0 };
	for (unsigned int i = 0; i < fillers; i++)
		syms[n++] = (struct sym){ SYNTH_DATA + 0x1000 + 24 * (i / 3), NULL, i };
	for (unsigned int i = 0; i < n; i++)
		syms[i].seq = i;
	qsort(syms, n, sizeof(*syms), by_addr);

	s->nr_syms = n;
	s->names = calloc(n, sizeof(*s->names));
	s->addrs = calloc(n, sizeof(*s->addrs));
	for (unsigned int i = 0; i < n; i++) {
		s->addrs[i] = syms[i].addr;
		if (syms[i].name)
			snprintf(s->names[i], sizeof(*s->names), "%s", syms[i].name);
		else
			snprintf(s->names[i], sizeof(*s->names), "filler_%u", syms[i].seq);
	}
	if (s->unsorted) {
		uint64_t last = s->addrs[n - 1];

		s->addrs[n - 1] = s->addrs[n / 2];
		s->addrs[n / 2] = last;
	}
	free(syms);
}

static size_t align(size_t at, unsigned int to)
{
	return (at + to - 1) / to * to;
}

static size_t put_offsets(struct synth *s, uint8_t *seg, size_t at)
{
	int encoding = shapes[s->layout].encoding;

	s->offsets_off = SEG_OFF + at;
	for (uint32_t i = 0; i < s->nr_syms; i++, at += 4) {
		uint64_t a = s->addrs[i];

		if (encoding == PCREL)
			put(seg + at, a - (SYNTH_TEXT + at), 4);
		else if (encoding == BASE)
			put(seg + at, a - SYNTH_TEXT, 4);
		else
			put(seg + at, a < SYNTH_TEXT ? a : SYNTH_TEXT - 1 - a, 4);
	}
	if (encoding == PCREL)
		return at;
	at = align(at, 8);
	put(seg + at, SYNTH_TEXT, 8);
	return at + 8;
}

/* All tables from @at on, as scripts/kallsyms.c orders them in kernels of that layout. */
static size_t put_tables(struct synth *s, uint8_t *seg, size_t at)
{
	unsigned int al = shapes[s->layout].align;
	uint32_t markers[64];
	size_t names, table, index[256];

	at = align(at, al);
	if (shapes[s->layout].first)
		at = put_offsets(s, seg, at);
	put(seg + at, s->nr_syms - s->bad_number, 4);
	at = names = align(at + 4, al);
	s->names_off = SEG_OFF + names;
	for (uint32_t i = 0; i < s->nr_syms; i++) {
		char typed[220];
		uint8_t packed[220];
		size_t n;

		if (!(i % 256))
			markers[i / 256] = at - names;
		snprintf(typed, sizeof(typed), "%c%s", s->bad_name && i == 700 ? '#' : "tTdDbB"[i % 6], s->names[i]);
		n = compress(typed, packed);
		if (n > 127)
			seg[at++] = (n & 127) | 128;
		seg[at++] = n > 127 ? n >> 7 : n;
		memcpy(seg + at, packed, n);
		at += n;
	}
	at = align(at, al);
	for (uint32_t i = 0; i < (s->nr_syms + 255) / 256; i++, at += 4)
		put(seg + at, markers[i] + (s->bad_marker && i == 2), 4);
	at = align(at, al);
	if (shapes[s->layout].seqs) {
		for (uint32_t i = 0; i < s->nr_syms; i++, at += 3)
			put(seg + at, (s->nr_syms - i) * 77, 3);
		at = align(at, al);
	}
	table = at;
	s->tokens_off = SEG_OFF + table;
	for (unsigned int i = 0; i < 256; i++) {
		char t[16];

		token(i, t);
		index[i] = at - table;
		strcpy((char *)seg + at, t);
		at += strlen(t) + 1;
	}
	at = align(at, al);
	for (unsigned int i = 0; i < 256; i++, at += 2)
		put(seg + at, index[i] + (s->bad_index && i == 130), 2);
	if (!shapes[s->layout].first) {
		at = put_offsets(s, seg, align(at, al));
		for (uint32_t i = 0; i < s->nr_syms; i++, at += 3)
			put(seg + at, (s->nr_syms - i) * 77, 3);
	}
	return at;
}

static void add_field(struct btf *btf, const struct synth *s, const char *name, int type, uint32_t byte)
{
	if (!s->btf_without || strcmp(s->btf_without, name))
		btf__add_field(btf, name, type, byte * 8, 0);
}

static struct btf *make_btf(const struct synth *s)
{
	struct btf *btf = btf__new_empty();
	int u64 = btf__add_int(btf, "long unsigned int", 8, 0), u32 = btf__add_int(btf, "int", 4, 0), region, type, ptr;

	btf__add_struct(btf, "unrelated", 8);
	btf__add_field(btf, "base", u64, 0, 0);
	region = btf__add_struct(btf, "memblock_region", s->region_size ? s->region_size : 24);
	add_field(btf, s, "base", u64, 0);
	add_field(btf, s, "size", u64, 8);
	add_field(btf, s, "nid", u32, 20);
	ptr = btf__add_ptr(btf, region);
	type = btf__add_struct(btf, "memblock_type", s->small_type ? 24 : 40);
	add_field(btf, s, "cnt", u64, 0);
	add_field(btf, s, "max", u64, s->overlap ? 0 : 8);
	add_field(btf, s, "total_size", s->big_total ? u32 : u64, 16);
	add_field(btf, s, "regions", ptr, 24);
	btf__add_struct(btf, "memblock", 96);
	add_field(btf, s, "memory", type, 16);
	add_field(btf, s, "reserved", type, 56);
	return btf;
}

uint8_t *synth_build(struct synth *s, size_t *size)
{
	static const char section_names[] = "\0.shstrtab\0.BTF";
	uint8_t *elf = calloc(1, SEG_OFF + SEG_ROOM), *seg = elf + SEG_OFF;
	Elf64_Ehdr eh = { .e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = 1, .e_entry = SYNTH_ENTRY(s->layout),
			  .e_phoff = sizeof(eh), .e_ehsize = sizeof(eh), .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 3, .e_shentsize = sizeof(Elf64_Shdr),
			  .e_shnum = 3, .e_shstrndx = 1 };
	Elf64_Phdr ph[3] = {
		{ .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_offset = SEG_OFF, .p_vaddr = SYNTH_TEXT, .p_paddr = SYNTH_PHYS,
		  .p_memsz = 0x345678, .p_align = 2 << 20 },
		{ .p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_offset = SEG_OFF, .p_vaddr = SYNTH_TEXT + SYNTH_INIT,
		  .p_paddr = SYNTH_PHYS + SYNTH_INIT, .p_filesz = 0x1000, .p_memsz = SYNTH_MEMSZ - SYNTH_INIT, .p_align = 2 << 20 },
		{ .p_type = PT_NOTE, .p_offset = SEG_OFF, .p_vaddr = SYNTH_TEXT, .p_paddr = SYNTH_PHYS, .p_filesz = 4, .p_memsz = 4 },
	};
	Elf64_Shdr sh[3] = { { .sh_type = SHT_NULL }, { .sh_name = 1, .sh_type = SHT_STRTAB, .sh_size = sizeof(section_names) },
			     { .sh_name = 11, .sh_type = SHT_PROGBITS } };
	uint32_t btf_size;
	struct btf *btf = make_btf(s);
	const void *raw = btf__raw_data(btf, &btf_size);
	size_t at;

	collect(s);
	memset(seg, 0x90, SYNTH_ETEXT - SYNTH_TEXT);
	if (!s->no_run)
		memset(seg + (SYNTH_RUN - SYNTH_TEXT), 0xcc, SYNTH_ETEXT - SYNTH_RUN);
	for (unsigned int i = 0; i < (s->calls ? s->calls - 1 : 1); i++) {
		size_t call = SYNTH_CALL - SYNTH_TEXT + 16 * i;

		seg[call] = 0xe8;
		put(seg + call + 1, SYNTH_SETUP - (SYNTH_TEXT + call + 5), 4);
	}
	if (s->panic)
		put_fall(s, seg);
	/* A call of something else, and one of setup_arch in another function. */
	seg[0x1008] = 0xe8;
	put(seg + 0x1009, 0x1234, 4);
	seg[0x1180] = 0xe8;
	put(seg + 0x1181, 0x2000 - 0x1185, 4);

	at = RODATA + sprintf((char *)seg + RODATA, "Linux version %s (synth@synth) #1 SMP", SYNTH_RELEASE) + 64;
	at = put_tables(s, seg, at);
	if (s->two_tables)
		at = put_tables(s, seg, at + 64);
	at = align(at, 8);
	memcpy(seg + at, raw, btf_size);
	if (s->odd_types) {
		const uint32_t head = sizeof(struct btf_header);

		memcpy(seg + at + head + 1, (const uint8_t *)raw + head, btf_size++ - head);
		put(seg + at + offsetof(struct btf_header, hdr_len), head + 1, 4);
	}
	sh[2].sh_offset = SEG_OFF + at;
	sh[2].sh_addr = SYNTH_TEXT + at;
	sh[2].sh_size = btf_size;
	at += btf_size;
	btf__free(btf);
	ph[0].p_filesz = at;

	at = align(SEG_OFF + at, 8);
	sh[1].sh_offset = at;
	memcpy(elf + at, section_names, sizeof(section_names));
	at = align(at + sizeof(section_names), 8);
	eh.e_shoff = at;
	if (s->no_btf)
		eh.e_shnum = 2;
	memcpy(elf + at, sh, sizeof(sh));
	at += eh.e_shnum * sizeof(*sh);
	memcpy(eh.e_ident, ELFMAG, SELFMAG);
	eh.e_ident[EI_CLASS] = ELFCLASS64;
	eh.e_ident[EI_DATA] = ELFDATA2LSB;
	eh.e_ident[EI_VERSION] = 1;
	memcpy(elf, &eh, sizeof(eh));
	if (s->layout == 6) {	/* in no order */
		Elf64_Phdr first = ph[0];

		ph[0] = ph[1];
		ph[1] = first;
	}
	memcpy(elf + sizeof(eh), ph, sizeof(ph));
	*size = at;
	return elf;
}

void synth_free(struct synth *s)
{
	free(s->names);
	free(s->addrs);
	s->names = NULL;
	s->addrs = NULL;
}
