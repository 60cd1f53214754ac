// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's own symbol table, without any symbol to find it by.
 *
 *   1. The ten digits are always tokens of their own and stand in a row in the token table. Behind the table follows an index
 *      of 256 offsets that must point at every token's start: that fixes where the table begins.
 *   2. In front of it, with known alignments, stand markers (the offset of each 256th name), names, and the number of symbols.
 *      For a number that might be it, the markers' place follows. A number is accepted if walking all names meets every marker
 *      and ends where the markers start.
 *   3. Offsets, and the base they refer to, stand before the number or behind the token index. A reading of them is
 *      accepted if addresses ascend and _text is where the ELF has it.
 *
 * Kernels write this in several layouts. All are tried; exactly one accepted reading is needed.
 */
#define _GNU_SOURCE
#include <ctype.h>

#include "internal.h"

#define MIN_SYMS	512u		/* no kernel has fewer; two markers at least, so that chance cannot pass */
#define MAX_SYMS	(4u << 20)
#define MAX_NAME	1024

/* One segment of the ELF; all positions are offsets in it. */
struct seg {
	const uint8_t *p;
	uint64_t size;
	uint64_t vaddr;
};

struct tokens {
	uint64_t table;
	uint64_t index;
	uint64_t end;		/* of the index */
};

enum encoding { PERCPU, BASE, PCREL };

/* Where things stand relative to the names. Alignment is that of the tables, the base is always 8-aligned. */
static const struct layout {
	const char *name;
	unsigned int align;
	bool offsets_first;	/* offsets and base in front of the number; else behind the token index */
	bool seqs;		/* 3 bytes a symbol between markers and tokens */
	enum encoding encoding;
} layouts[] = {
	{ "offsets first, absolute percpu", 8, true, false, PERCPU },
	{ "offsets first, base", 8, true, false, BASE },
	{ "offsets first, absolute percpu, sequence", 8, true, true, PERCPU },
	{ "offsets first, base, sequence", 8, true, true, BASE },
	{ "offsets last, absolute percpu", 8, false, false, PERCPU },
	{ "offsets last, base", 8, false, false, BASE },
	{ "offsets last, pc-relative", 4, false, false, PCREL },
};

#define NR_LAYOUTS	(sizeof(layouts) / sizeof(*layouts))

static uint32_t u32(const struct seg *s, uint64_t off)
{
	return kup_le32(s->p + off);
}

static uint32_t u16(const struct seg *s, uint64_t off)
{
	return s->p[off] | s->p[off + 1] << 8;
}

/* Do 256 tokens stand at @t->table just as the index says? */
static bool tokens_ok(const struct seg *s, const struct tokens *t)
{
	for (unsigned int i = 0; i < 256; i++) {
		uint64_t at = t->table + u16(s, t->index + 2 * i);
		uint64_t next = i < 255 ? t->table + u16(s, t->index + 2 * i + 2) : 0;
		size_t len;

		if (at >= t->index)
			return false;
		len = strnlen((const char *)s->p + at, t->index - at);
		if (at + len >= t->index || (next && next != at + len + 1) || (!next && KUP_ALIGN(at + len + 1, 8) < t->index))
			return false;
	}
	return u16(s, t->index) == 0;
}

/* @digits: where the token "0" seems to stand. */
static bool find_tokens(const struct seg *s, uint64_t digits, unsigned int align, struct tokens *t)
{
	uint64_t at = digits;

	for (unsigned int i = '0'; i < 256; i++) {
		const uint8_t *nul = memchr(s->p + at, 0, s->size - at);

		if (!nul || nul - (s->p + at) >= MAX_NAME)
			return false;
		at = nul + 1 - s->p;
	}
	t->index = KUP_ALIGN(at, align);
	t->end = t->index + 512;
	if (!kup_within(t->index, 512, s->size) || u16(s, t->index + 2 * '0') > digits)
		return false;
	t->table = digits - u16(s, t->index + 2 * '0');
	return !(t->table % align) && tokens_ok(s, t);
}

/* Length of the name at *@at, which moves behind the length; 0: bad. */
static uint32_t name_length(const struct seg *s, uint64_t *at, uint64_t end)
{
	uint32_t len;

	if (*at >= end)
		return 0;
	len = s->p[(*at)++];
	if (len & 0x80) {
		if (*at >= end)
			return 0;
		len = (len & 0x7f) | (uint32_t)s->p[(*at)++] << 7;
	}
	return len <= end - *at ? len : 0;
}

static uint64_t names_start(const struct layout *l, uint64_t number)
{
	return KUP_ALIGN(number + 4, l->align);
}

/* Is the word at @number the number of symbols? */
static bool number_ok(const struct seg *s, const struct layout *l, const struct tokens *t, uint64_t number)
{
	uint64_t nr = u32(s, number), names = names_start(l, number), seqs, markers, at = names;

	if (nr < MIN_SYMS || nr > MAX_SYMS)
		return false;
	seqs = l->seqs ? KUP_ALIGN(3 * nr, l->align) : 0;
	if (seqs + KUP_ALIGN(4 * ((nr + 255) / 256), l->align) + names > t->table)
		return false;
	markers = t->table - seqs - KUP_ALIGN(4 * ((nr + 255) / 256), l->align);
	if (u32(s, markers) || u32(s, markers + 4) < 2 * 256 || u32(s, markers + 4 * ((nr - 1) / 256)) >= markers - names)
		return false;

	for (uint64_t i = 0; i < nr; i++) {
		uint32_t len;

		if (!(i % 256) && at - names != u32(s, markers + 4 * (i / 256)))
			return false;
		len = name_length(s, &at, markers);
		if (!len)
			return false;
		at += len;
	}
	return KUP_ALIGN(at, l->align) == markers;
}

/* Offset of the number of symbols, or 0. More than one is an ambiguity that the caller must see. */
static uint64_t find_number(const struct seg *s, const struct layout *l, const struct tokens *t, unsigned int *found)
{
	uint64_t number = 0;

	*found = 0;
	for (uint64_t at = 0; at + 8 < t->table; at += l->align) {
		if (!number_ok(s, l, t, at))
			continue;
		number = at;
		(*found)++;
	}
	return number;
}

/* The name at @at into @out without its type letter, NUL terminated. Returns its length, 0: bad. */
static size_t expand(const struct seg *s, const struct tokens *t, uint64_t *at, char out[MAX_NAME])
{
	uint32_t len = name_length(s, at, t->table);
	size_t n = 0;
	bool type = true;

	while (len--) {
		const char *token = (const char *)s->p + t->table + u16(s, t->index + 2 * s->p[(*at)++]);

		for (; *token; token++) {
			if (type) {
				type = false;
				if (!isalpha((unsigned char)*token) && *token != '?')
					return 0;
				continue;
			}
			if (n == MAX_NAME - 1)
				return 0;
			out[n++] = *token;
		}
	}
	out[n] = '\0';
	return n;
}

static int read_names(struct kup_syms *syms, const struct seg *s, const struct tokens *t, uint64_t at)
{
	size_t used = 0, room = 0;

	syms->name = calloc(syms->nr, sizeof(*syms->name));
	if (!syms->name)
		return -ENOMEM;
	for (uint32_t i = 0; i < syms->nr; i++) {
		char name[MAX_NAME];
		size_t n = expand(s, t, &at, name);

		if (!n)
			return -EINVAL;
		if (room - used < n + 1) {
			char *more;

			room = 2 * room + (64 << 10);
			more = realloc(syms->names, room);
			if (!more)
				return -ENOMEM;
			syms->names = more;
		}
		syms->name[i] = used;
		memcpy(syms->names + used, name, n + 1);
		used += n + 1;
	}
	return 0;
}

static int read_addresses(struct kup_syms *syms, const struct seg *s, const struct layout *l, const struct tokens *t,
			  uint64_t number)
{
	uint64_t size = 4ULL * syms->nr, offsets, base = 0;

	if (l->offsets_first) {
		if (number < KUP_ALIGN(size, 8) + 8)
			return -EINVAL;
		base = kup_le64(s->p + number - 8);
		offsets = number - 8 - KUP_ALIGN(size, 8);
	} else {
		offsets = KUP_ALIGN(t->end, l->align);
		if (!kup_within(offsets, KUP_ALIGN(size, 8) + 8, s->size))
			return -EINVAL;
		base = kup_le64(s->p + offsets + KUP_ALIGN(size, 8));
	}

	syms->addr = calloc(syms->nr, sizeof(*syms->addr));
	if (!syms->addr)
		return -ENOMEM;
	for (uint32_t i = 0; i < syms->nr; i++) {
		uint32_t v = u32(s, offsets + 4 * i);
		int64_t sv = (int32_t)v;

		switch (l->encoding) {
		case PERCPU:
			syms->addr[i] = sv >= 0 ? (uint64_t)sv : base - 1 - sv;
			break;
		case BASE:
			syms->addr[i] = base + v;
			break;
		case PCREL:
			syms->addr[i] = s->vaddr + offsets + 4 * i + sv;
			break;
		}
		if (i && syms->addr[i] < syms->addr[i - 1])
			return -EINVAL;
	}
	return 0;
}

static int read_layout(struct kup_syms *syms, const struct seg *s, const struct layout *l, const struct tokens *t,
		       uint64_t number, uint64_t text)
{
	uint64_t addr;
	int ret;

	*syms = (struct kup_syms){ .layout = l->name, .nr = u32(s, number) };
	ret = read_addresses(syms, s, l, t, number);
	if (!ret)
		ret = read_names(syms, s, t, names_start(l, number));
	if (!ret && (kup_syms_find(syms, "_text", &addr) || addr != text))
		ret = -EINVAL;
	if (ret)
		kup_syms_free(syms);
	return ret;
}

struct search {
	struct kup_syms *syms;	/* the one accepted reading */
	uint64_t text;
	unsigned int tables;	/* token tables met */
	unsigned int numbers;	/* name tables met */
	unsigned int accepted;
	const char *other;	/* the second accepted reading */
};

static int search_tokens(struct search *f, const struct seg *s, uint64_t digits)
{
	bool seen = false;

	for (size_t i = 0; i < NR_LAYOUTS; i++) {
		const struct layout *l = &layouts[i];
		struct kup_syms syms;
		struct tokens t;
		unsigned int numbers;
		uint64_t number;
		int ret;

		if (!find_tokens(s, digits, l->align, &t))
			continue;
		f->tables += !seen;
		seen = true;
		number = find_number(s, l, &t, &numbers);
		f->numbers += numbers;
		if (numbers > 1) {
			f->accepted += numbers;
			f->other = l->name;
		}
		if (numbers != 1)
			continue;
		ret = read_layout(&syms, s, l, &t, number, f->text);
		if (ret == -ENOMEM)
			return ret;
		if (ret)
			continue;
		if (f->accepted++) {
			f->other = l->name;
			kup_syms_free(&syms);
		} else {
			*f->syms = syms;
		}
	}
	return 0;
}

int kup_syms_read(struct kup_syms *syms, const struct kup_elf *elf, struct kup_err *err)
{
	static const char digits[] = "0\0" "1\0" "2\0" "3\0" "4\0" "5\0" "6\0" "7\0" "8\0" "9";
	struct search f = { .syms = syms, .text = kup_elf_text(elf) };

	*syms = (struct kup_syms){};
	for (size_t i = 0; i < elf->ehdr.e_phnum; i++) {
		const Elf64_Phdr *ph = &elf->phdr[i];
		struct seg s = { elf->data + ph->p_offset, ph->p_filesz, ph->p_vaddr };
		const uint8_t *at = s.p;

		if (ph->p_type != PT_LOAD || ph->p_vaddr % 8)
			continue;
		while ((at = memmem(at, s.p + s.size - at, digits, sizeof(digits)))) {
			if (search_tokens(&f, &s, at - s.p)) {
				kup_syms_free(syms);
				return kup_err_set(err, -ENOMEM, "no memory for the image's symbols");
			}
			at++;
		}
	}
	if (f.accepted == 1)
		return 0;
	if (f.accepted > 1) {
		kup_err_set(err, -ENOTSUP, "the symbol tables can be read in %u ways (%s; %s): which is right can't be told", f.accepted,
			    syms->layout ? syms->layout : f.other, f.other);
		kup_syms_free(syms);
	} else if (f.numbers) {
		kup_err_set(err, -ENOTSUP, "symbol names are there, but in no known layout do addresses ascend with _text at %#llx",
			    (unsigned long long)f.text);
	} else if (f.tables) {
		kup_err_set(err, -ENOTSUP, "a table of symbol tokens is there, but no names that fit it in a known layout");
	} else {
		kup_err_set(err, -ENOTSUP, "no symbol tables: the kernel was built without CONFIG_KALLSYMS, or in an unknown layout");
	}
	kup_err_next(err, "use a kernel with CONFIG_KALLSYMS_ALL, of 6.1 to 7.3");
	return -ENOTSUP;
}

void kup_syms_free(struct kup_syms *syms)
{
	free(syms->addr);
	free(syms->name);
	free(syms->names);
	*syms = (struct kup_syms){};
}

int kup_syms_find(const struct kup_syms *syms, const char *name, uint64_t *addr)
{
	int found = 0;

	for (uint32_t i = 0; i < syms->nr; i++) {
		if (strcmp(syms->names + syms->name[i], name))
			continue;
		*addr = syms->addr[i];
		found++;
	}
	return found == 1 ? 0 : found ? -ENOTUNIQ : -ENOENT;
}

uint64_t kup_syms_next(const struct kup_syms *syms, uint64_t addr)
{
	uint32_t lo = 0, hi = syms->nr;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (syms->addr[mid] <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < syms->nr ? syms->addr[lo] : UINT64_MAX;
}
