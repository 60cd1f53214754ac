/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small kernel made by hand: an ELF with all that the image code looks for, in any of the layouts of kallsyms, and with
 * whatever a test wants to be wrong.
 */
#ifndef KUP_SYNTH_H
#define KUP_SYNTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYNTH_TEXT	0xffffffff81000000ULL
#define SYNTH_PHYS	0x1000000ULL
#define SYNTH_MEMSZ	0x845678ULL		/* from the first segment to the end of the second */
#define SYNTH_INIT	0x800000ULL		/* where the second one starts; from layout 5 on it holds the entry */
#define SYNTH_ENTRY(l)	(SYNTH_PHYS + 0x53 + ((l) < 5 ? 0 : SYNTH_INIT))
#define SYNTH_START	(SYNTH_TEXT + 0x1000)	/* start_kernel */
#define SYNTH_CALL	(SYNTH_START + 0x21)
#define SYNTH_SETUP	(SYNTH_TEXT + 0x2000)	/* setup_arch */
#define SYNTH_PANIC	(SYNTH_TEXT + 0x3000)	/* panic, vpanic, tick_do_update_jiffies64, 0x100 bytes each, then all else of a fallback */
#define SYNTH_RUN	(SYNTH_TEXT + 0x4000)	/* int3 from here on, with one symbol in it */
#define SYNTH_RUN_SYM	(SYNTH_TEXT + 0x5000)
#define SYNTH_ETEXT	(SYNTH_TEXT + 0x10000)
#define SYNTH_DATA	(SYNTH_TEXT + 0x200000)	/* memblock, page_offset_base, and fillers */
#define SYNTH_RELEASE	"9.9.9-synth+"

/* Names as kallsyms.c reports them, in the same order. */
extern const char *const synth_layouts[];
#define SYNTH_NR_LAYOUTS 7

struct synth {
	unsigned int layout;
	unsigned int fillers;		/* symbols beyond those needed; 0: some */
	/* What is wrong. */
	unsigned int calls;		/* of setup_arch in start_kernel, plus 1 (0: one call) */
	const char *without;		/* leave out this symbol */
	const char *twice;		/* have this one twice */
	const char *btf_without;	/* leave out this field of a memblock structure */
	unsigned int region_size;	/* of struct memblock_region; 0: 24 */
	bool new_reserve;		/* __memblock_reserve, no memblock_reserve */
	const char *panic;		/* where panic's calls are: "panic" or "vpanic"; NULL: nothing of what a fallback needs is there */
	unsigned int crash_calls;	/* of __crash_kexec there, plus 1 (0: two, as it has to be) */
	bool no_btf, no_run, text_elsewhere, unsorted, bad_number, bad_marker, bad_index, bad_name, two_tables;
	bool big_total;			/* memblock_type.total_size has 4 bytes */
	bool small_type;		/* memblock_type ends before its last field does */
	bool odd_types;			/* one byte between .BTF's header and its types */
	bool overlap;			/* memblock_type.max is where .cnt is */
	/* Out: where in the ELF. */
	size_t names_off, tokens_off, offsets_off;
	uint32_t nr_syms;
	/* Out: what the tables hold. */
	char (*names)[200];
	uint64_t *addrs;
};

/* The ELF, malloc()ed; @s keeps names and addrs until synth_free(). */
uint8_t *synth_build(struct synth *s, size_t *size);
void synth_free(struct synth *s);

#endif
