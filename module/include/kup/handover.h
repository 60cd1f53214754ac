/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The handover: what one kernel leaves in RAM for the next.
 *
 * Written by the module in the old kernel, checked and acted on by the boot stub before setup_arch(), adopted by the
 * module in the new kernel, printed by the command. All three include this file and link handover.c.
 *
 * Rule for changing it: any change of a size, an offset or a meaning raises KUP_HANDOVER_VERSION. A reader refuses a
 * version that it does not know; there is no compatibility between versions, since both sides of a switch come from
 * one installed package.
 *
 * Byte order is the CPU's (x86-64 only). Addresses are physical, in bytes, unless a name says pfn (4 KiB frames).
 *
 * The *area* is KUP_AREA_SIZE bytes of physically contiguous memory, KUP_AREA_ALIGN aligned. The area starts with
 * struct kup_handover in a page of its own, followed by, each page aligned and found by its offset in the header:
 *
 *   extents    struct kup_extent[nr_extents], sorted by base, disjoint, not adjacent: what the stub reserves. It covers
 *              the area, the stream's frames, the pieces, every preserved frame and the pool of pages of 1 GiB, rounded out to blocks (block_order).
 *   directory  __u32[stream_pages]: the pfn of each page of the stream, in order.
 *   pieces     struct kup_piece[nr_pieces], if there is a fallback: where the pages of the kernel that was left are kept, and
 *              where they go if it has to come back; those that go nowhere are for the jump itself. See module/fallback.c and
 *              bootstub/fall.c. If there are any, the header's page stays reserved as long as the new kernel runs.
 *   scratch    room in which the stub builds memblock's own region array. The new kernel frees exactly these pages
 *              after boot; nobody else may use or free them there.
 *
 * The *stream* is a sequence of pages that are scattered in RAM and mapped contiguously by whoever reads it:
 * first the maps section (struct kup_mm_record[nr_mms], chunk tables, payloads, maybe sums: see map.h), then, from
 * store_off (page aligned), the store: opaque bytes that userspace wrote.
 */
#ifndef KUP_HANDOVER_H
#define KUP_HANDOVER_H

#include <linux/types.h>

#define KUP_HANDOVER_MAGIC	0x5050502d50554b01ULL	/* "\1KUP-PPP" */
#define KUP_HANDOVER_VERSION	8

#define KUP_AREA_SIZE		(4ULL << 20)
#define KUP_AREA_ALIGN		(2ULL << 20)
#define KUP_MAX_EXTENTS		65536u
#define KUP_MAX_MMS		4096u
#define KUP_MAX_PIECES		4096u
#define KUP_FRAME_SIZE		4096ULL
#define KUP_CHUNK_SIZE		(2ULL << 20)	/* what one page table maps */
#define KUP_CHUNK_PAGES		512u

struct kup_extent {
	__u64 base;
	__u64 size;
};

/* [from, from + size) is kept; the jump back copies it to [to, to + size). */
struct kup_piece {
	__u64 to;
	__u64 from;
	__u64 size;
};

/* Where the stub got to. Written by the stub, outside the checksum; read by the module and shown by status. */
enum kup_stub_state {
	KUP_STUB_NONE = 0,		/* the stub has not run on this handover */
	KUP_STUB_RESERVED = 1,		/* validated, everything reserved */
	KUP_STUB_ADOPTED = 2,		/* the module took it: never adopt again */
	/* The rest: refused. Nothing is reserved but the header's page, so that the reason can be told (BAD_MAGIC: not even that). */
	KUP_STUB_BAD_MAGIC = 16,
	KUP_STUB_BAD_VERSION,
	KUP_STUB_BAD_NONCE,
	KUP_STUB_BAD_LAYOUT,		/* an offset or a count out of bounds */
	KUP_STUB_BAD_CHECKSUM,
	KUP_STUB_BAD_EXTENTS,		/* unsorted, overlapping, unaligned or empty */
	KUP_STUB_NO_ROOM,		/* scratch too small for memblock's regions */
	KUP_STUB_STALE,			/* stub_state was not KUP_STUB_NONE */
};

/* In a panic before the handover is adopted: what becomes of the boot CPU, if it is on another one. */
enum kup_jumper {
	KUP_JUMPER_NONE = 0,
	KUP_JUMPER_WAITS,	/* it was stopped, and waits for the decision */
	KUP_JUMPER_GO,		/* it jumps */
	KUP_JUMPER_HALT,	/* the other one does */
	KUP_JUMPER_NOBODY,	/* there is nothing to go back for */
};

#define KUP_HANDOVER_SUMS	1u	/* the maps section ends with a sum of the frames of each chunk */

struct kup_handover {
	__u64 magic;
	__u32 version;
	__u32 header_size;		/* sizeof(struct kup_handover) */
	__u64 nonce;			/* the same in the stub's parameters: this handover belongs to this image */
	__u64 self;			/* physical address of the area */

	__u64 extents_off;		/* offsets in bytes from the start of the area, page aligned */
	__u64 directory_off;
	__u64 scratch_off;
	__u64 scratch_size;		/* multiple of the page size */
	__u32 nr_extents;
	__u32 block_order;		/* extents were rounded out to blocks of 2^block_order pages where that was safe */

	__u64 stream_pages;		/* entries of the directory */
	__u64 maps_size;		/* bytes of the maps section, at stream offset 0 */
	__u64 store_off;		/* stream offset, page aligned */
	__u64 store_size;		/* bytes */
	__u32 nr_mms;
	__u32 flags;			/* KUP_HANDOVER_* */
	__u64 nr_frames;		/* pages of all records */
	__u64 nr_again;			/* of these, how many have a frame that one before them has: so many frames less */

	__u64 extents_sum;		/* kup_sum() of the extents array */
	__u64 directory_sum;		/* of the directory */
	__u64 maps_sum;			/* of the maps section, rounded up to 8 bytes with zeros */
	__u64 store_sum;		/* of the store, likewise */

	__u64 pieces_off;		/* 0 if there is no fallback, and then the next eight, too */
	__u32 nr_pieces;
	__u32 fallback_seconds;		/* so long without progress is a hang */
	__u64 fallback_entry;		/* physical address at which the kernel that comes back begins */
	__u64 pieces_sum;		/* of the pieces array */
	__u64 fallback_sum;		/* of what the pieces hold, one after the other */
	__u64 boot_cycles;		/* of the TSC, from the stub to the adoption: more is a hang; 0: nobody can tell */
	__u64 jump_code;		/* a page for the code that jumps, in a piece; 0: there is none before adoption */
	__u64 jump_table[2];		/* page tables, of four levels and of five, in which all memory stands at its physical address; in pieces */

	__u64 seal_tsc;			/* TSC when sealed */
	char  release[64];		/* of the kernel that sealed it, NUL padded */
	__u64 header_sum;		/* kup_sum() of all above */

	/* From here on written after the seal, by the stub and the new kernel's module. */
	__u32 stub_state;		/* enum kup_stub_state */
	__u32 stub_regions;		/* memblock.reserved.cnt after the swap */
	__u64 stub_tsc_in;
	__u64 stub_tsc_out;
	__u32 falls;			/* how often a kernel fell back; not more than once */
	__u32 jumper;			/* enum kup_jumper */
	char  fell_from[64];		/* release of the kernel that did, */
	char  fell_why[128];		/* and the last words of its panic */
};

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#else
#include <assert.h>
#include <stddef.h>
#endif
static_assert(sizeof(struct kup_extent) == 16, "handover layout");
static_assert(offsetof(struct kup_handover, extents_off) == 32, "handover layout");
static_assert(offsetof(struct kup_handover, stream_pages) == 72, "handover layout");
static_assert(offsetof(struct kup_handover, extents_sum) == 128, "handover layout");
static_assert(sizeof(struct kup_piece) == 24, "handover layout");
static_assert(offsetof(struct kup_handover, pieces_off) == 160, "handover layout");
static_assert(offsetof(struct kup_handover, release) == 240, "handover layout");
static_assert(offsetof(struct kup_handover, header_sum) == 304, "handover layout");
static_assert(offsetof(struct kup_handover, falls) == 336, "handover layout");
static_assert(sizeof(struct kup_handover) == 536, "handover layout");

/*
 * Parameters of the stub, in its .kup_params section; the injector fills them in. Struct layouts come from the target
 * image's BTF: offsets and sizes in bytes.
 */
#define KUP_STUB_PARAMS_MAGIC	0x534d415250425553ULL	/* "SUBPRAMS" */
struct kup_stub_params {
	__u64 magic;			/* KUP_STUB_PARAMS_MAGIC: how the injector checks that it found the block */
	__u64 area;			/* physical address of the handover area; 0: boot as if there were no stub */
	__u64 nonce;
	__u32 memblock_reserved;	/* offsetof(struct memblock, reserved) */
	__u32 type_cnt;			/* of struct memblock_type: unsigned long each, but regions a pointer */
	__u32 type_max;
	__u32 type_total_size;
	__u32 type_regions;
	__u32 region_size;		/* sizeof(struct memblock_region); at most KUP_MAX_REGION_SIZE */
	__u32 region_base;
	__u32 region_length;		/* offset of .size */
	__u64 calls;			/* of the kernel that lead to the stub's fall.c; 0: none, the switch has no fallback */
	char  release[64];		/* of the kernel that the stub is in, NUL padded */
};
#define KUP_MAX_REGION_SIZE	32u
#define KUP_REGION_SLACK	4096u	/* free slots left to the kernel, so that it never doubles the array */
static_assert(sizeof(struct kup_stub_params) == 128, "stub parameters layout");

/*
 * handover.c: pure functions, the same file in the module, the stub and userspace.
 */

/**
 * kup_sum - checksum of @len bytes at @data
 * @data: 8-byte aligned
 * @len: bytes, a multiple of 8
 * @seed: 0, or the sum of what came before
 *
 * Each step is a bijection of the running value and of the word, so no single changed word goes unnoticed. It is no
 * defence against an adversary: whoever can write physical memory owns the machine anyway.
 */
__u64 kup_sum(const void *data, __u64 len, __u64 seed);

/**
 * kup_frame_sum - checksum of the KUP_FRAME_SIZE bytes at @data
 *
 * As kup_sum(), but another sum: it has four strands, since a CPU can follow that many at once.
 */
__u64 kup_frame_sum(const void *data, __u64 seed);

/**
 * kup_handover_check - is this header one to act on?
 * @h: the header
 * @area: the physical address at which it was found
 * @nonce: the expected nonce, or 0 for any
 *
 * Checks everything that the header alone can tell: identity, bounds of every section within the area, counts,
 * checksum. Does not look at stub_state, nor at the sections.
 *
 * Return: 0 or the enum kup_stub_state that names the defect.
 */
int kup_handover_check(const struct kup_handover *h, __u64 area, __u64 nonce);

/**
 * kup_extents_check - are @nr extents sorted, disjoint, not adjacent, page aligned and not empty?
 *
 * Return: 0 or KUP_STUB_BAD_EXTENTS.
 */
int kup_extents_check(const struct kup_extent *e, __u32 nr);

/**
 * kup_stub_state_name - a few words for people; never NULL
 */
const char *kup_stub_state_name(int state);

#endif
