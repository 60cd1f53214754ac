/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The maps section of the handover's stream: which frame stands at which address of which process, or at which offset of which
 * file in memory.
 *
 *   struct kup_mm_record[nr_mms] at offset 0
 *   then, anywhere after them, 8-byte aligned: chunk tables and payloads
 *   with KUP_HANDOVER_SUMS, at the end: __u64 for each chunk, in the order of the records and their tables: kup_frame_sum() of the
 *   chunk's frames, each seeded with that of the one before it
 *
 * A chunk is the KUP_CHUNK_SIZE aligned range that one page table maps. Its record takes 16 bytes, its payload none
 * for a huge page, 8 bytes for each run of contiguous frames, or 72 bytes and at most 4 bytes (mostly 3) a page for scattered ones.
 *
 * A huge page of 1 GiB (hugetlbfs) is 512 chunks, one behind the other, in a record that has only such.
 *
 * A frame is named once, unless all that name it say that it is shared: pages that fork left to several processes. A chunk with
 * such frames is always one of runs.
 * map.c is pure: it compiles in userspace too, where it is unit-tested and fuzzed.
 */
#ifndef KUP_MAP_H
#define KUP_MAP_H

#include <kup/handover.h>

#define KUP_MM_THP_DISABLED	1u	/* PR_SET_THP_DISABLE was on in the old kernel */
#define KUP_MM_SHMEM		2u	/* no process, but a file of tmpfs; addresses are offsets in it, and no chunk is huge or shared */
#define KUP_MM_HUGETLB		4u	/* pages of hugetlbfs: of a process, which has another record besides, or of a file; each chunk is huge */
#define KUP_MM_GIGANTIC		8u	/* with KUP_MM_HUGETLB: of 1 GiB each, which is KUP_GIGANTIC_CHUNKS chunks, one behind the other */
#define KUP_MM_POOL		16u	/* with both: pages of the pool that nobody has any more; what is in them does not matter, addresses neither */

struct kup_mm_record {
	__u32 pid;		/* thread group id in the initial pid namespace of the old kernel, or the number of the file that userspace
				   gave it; unique among its kind */
	__u32 flags;		/* KUP_MM_* */
	__u64 chunks_off;	/* offset of struct kup_chunk[nr_chunks], sorted by addr, from the start of the section */
	__u32 nr_chunks;
	__u32 nr_huge;		/* how many of them are KUP_CHUNK_HUGE */
	__u64 nr_pages;		/* 4 KiB frames, huge ones included */
	char  comm[16];		/* NUL padded, for messages only */
};

enum kup_chunk_kind {
	KUP_CHUNK_HUGE = 1,	/* value: pfn of 512 frames, 512-aligned, one compound page; nr = 512 */
	KUP_CHUNK_RUNS = 2,	/* value: payload offset / 8; payload: struct kup_run[nr] */
	KUP_CHUNK_SCATTER = 3,	/* value: payload offset / 8; payload: struct kup_scatter, see there; nr pages */
};

struct kup_chunk {
	__u64 addr;		/* virtual address, chunk aligned */
	__u32 value;
	__u16 nr;
	__u8  kind;		/* enum kup_chunk_kind */
	__u8  width;		/* KUP_CHUNK_SCATTER: bytes of each frame number, 1..4; KUP_CHUNK_RUNS: 1 if some are shared; else 0 */
};

struct kup_run {
	__u16 first;		/* index of the first page in the chunk, 0..511; runs are sorted and disjoint */
	__u16 nr;		/* pages, 1..512; with KUP_RUN_SHARED if each of them is named elsewhere, too */
	__u32 pfn;
};
#define KUP_RUN_SHARED	0x8000u

/* Followed by nr little-endian numbers of width bytes each: pfn - base, in the order of the set bits; zero padded to 8. */
struct kup_scatter {
	__u64 present[KUP_CHUNK_PAGES / 64];	/* bit i: page i of the chunk is there */
	__u32 base;				/* lowest pfn */
	__u32 zero;
};

static inline int kup_is_shmem(const struct kup_mm_record *r)
{
	return r->flags & KUP_MM_SHMEM;
}

/* Numbers are unique among those of a kind: files, what processes have of hugetlbfs, by size of pages, and all else that they have (0). */
static inline __u32 kup_record_of(const struct kup_mm_record *r)
{
	return r->flags & KUP_MM_SHMEM ? KUP_MM_SHMEM : r->flags & (KUP_MM_HUGETLB | KUP_MM_GIGANTIC | KUP_MM_POOL);
}

#define KUP_GIGANTIC_CHUNKS	512u

/* So many chunks, one behind the other, are one page, or belong together for no reason (1). */
static inline __u32 kup_record_step(const struct kup_mm_record *r)
{
	return r->flags & KUP_MM_GIGANTIC ? KUP_GIGANTIC_CHUNKS : 1;
}

static_assert(sizeof(struct kup_mm_record) == 48, "map layout");
static_assert(sizeof(struct kup_chunk) == 16, "map layout");
static_assert(sizeof(struct kup_run) == 8, "map layout");
static_assert(sizeof(struct kup_scatter) == 72, "map layout");

#define KUP_PFN_NONE		0u	/* frame 0 is never preserved */
#define KUP_SCATTER_MAX		(sizeof(struct kup_scatter) + 4 * KUP_CHUNK_PAGES)
#define KUP_PAYLOAD_MAX		(sizeof(struct kup_run) * KUP_CHUNK_PAGES)

/**
 * kup_chunk_encode - choose the smallest form for a chunk
 * @c: out; .addr is the caller's, .value is set for a huge page only (else the caller stores the payload and its place)
 * @pfn: KUP_CHUNK_PAGES frame numbers, KUP_PFN_NONE where there is no page; at least one page
 * @huge: all frames are one compound page and it shall be one again
 * @payload: out, room for KUP_PAYLOAD_MAX bytes, 8-byte aligned
 *
 * Return: bytes of payload (a multiple of 8, 0 for a huge page), or a negative errno (-EINVAL: no page, or @huge but
 * not 512 contiguous aligned frames).
 */
int kup_chunk_encode(struct kup_chunk *c, const __u32 *pfn, int huge, void *payload);

/* So few runs are the smallest form, whatever else is true of the frames: 8 bytes each, and scatter has 72 and one a page. */
#define KUP_RUNS_ALWAYS		(sizeof(struct kup_scatter) / sizeof(struct kup_run))

/**
 * kup_chunk_encode_runs - the same for a chunk that is known as runs
 * @nr: of runs, 1 to KUP_RUNS_ALWAYS
 * @run: sorted, disjoint, and one does not continue another; they are the payload
 * @huge: the one run is one compound page
 *
 * Return: bytes of payload.
 */
int kup_chunk_encode_runs(struct kup_chunk *c, unsigned int nr, const struct kup_run *run, int huge);

/**
 * kup_chunk_encode_shared - the same for a chunk some of whose frames are shared
 * @shared: bit i: that of page i is; at least one of those that are there
 *
 * Return: bytes of payload, or -EINVAL.
 */
int kup_chunk_encode_shared(struct kup_chunk *c, const __u32 *pfn, const __u64 *shared, void *payload);

/* Are there shared frames in it? */
static inline int kup_chunk_is_shared(const struct kup_chunk *c)
{
	return c->kind == KUP_CHUNK_RUNS && c->width;
}

/**
 * kup_chunk_decode - the frames of a chunk
 * @c: the chunk
 * @maps: start of the maps section
 * @maps_size: its bytes
 * @pfn: out, KUP_CHUNK_PAGES entries; NULL to check only
 *
 * Trusts nothing: every offset, count and index is checked.
 *
 * Return: the number of pages, or -EINVAL.
 */
int kup_chunk_decode(const struct kup_chunk *c, const void *maps, __u64 maps_size, __u32 *pfn);

/* A walk through the frames of a chunk, in the order of their addresses. */
struct kup_walk {
	const struct kup_chunk *chunk;
	const void *payload;
	const __u8 *delta;	/* KUP_CHUNK_SCATTER: of the next page */
	unsigned int next;	/* the number of a run, or of a page */
	int shared;		/* the run that was given last is */
};

/**
 * kup_walk_begin - walk through a chunk of a section that kup_maps_check() has found well formed
 * @w: out
 * @c: the chunk
 * @maps: start of the section
 */
void kup_walk_begin(struct kup_walk *w, const struct kup_chunk *c, const void *maps);

/* The same for a payload that stands by itself. */
void kup_walk_payload(struct kup_walk *w, const struct kup_chunk *c, const void *payload);

/**
 * kup_walk_next - the next run of consecutive frames
 * @w: the walk
 * @run: out; a huge page is one run, each page of KUP_CHUNK_SCATTER is one by itself; @w->shared tells of the flag, which @run->nr has not
 *
 * Return: 0 if there is none any more.
 */
int kup_walk_next(struct kup_walk *w, struct kup_run *run);

/**
 * kup_maps_check - is the whole section well formed?
 * @maps: start of the section
 * @size: bytes
 * @nr_mms: records
 * @nr_frames: the sum that the header claims
 *
 * Checks records, sorted and aligned chunk tables, that pages of 1 GiB are whole, and decodes every chunk. Does not check that a frame is named once
 * only, or each time as shared, nor that it is RAM: the caller has the means.
 *
 * Return: 0 or -EINVAL.
 */
int kup_maps_check(const void *maps, __u64 size, __u32 nr_mms, __u64 nr_frames);

/**
 * kup_maps_sums - the sums at the end of a section that kup_maps_check() has found well formed
 *
 * Return: the first one, or NULL if there is no room for one of each chunk.
 */
const __u64 *kup_maps_sums(const void *maps, __u64 size, __u32 nr_mms);

/**
 * kup_chunk_find - the chunk that holds @addr, by binary search
 *
 * Return: its index or -ENOENT.
 */
long kup_chunk_find(const struct kup_chunk *chunks, __u32 nr, __u64 addr);

#endif
