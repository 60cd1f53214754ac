// SPDX-License-Identifier: GPL-2.0
/*
 * Pure checks of the handover: one file for the module, the boot stub and userspace. Calls nothing, allocates nothing,
 * and reads nothing but what it is given. The stub runs it before the kernel has an allocator or a console.
 */
#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#endif

#include <kup/handover.h>

#define MAX_BLOCK_ORDER	18u	/* 1 GiB */

static __u64 round_up_pages(__u64 v)
{
	return (v + KUP_FRAME_SIZE - 1) & ~(KUP_FRAME_SIZE - 1);
}

static int aligned(__u64 v, __u64 to)
{
	return !(v & (to - 1));
}

/* The addition makes leading zeros count; all three steps can be undone, so none loses a difference. */
static inline __u64 sum_word(__u64 s, __u64 word)
{
	s = ((s ^ word) + 0x9e3779b97f4a7c15ULL) * 0xd6e8feb86659fd93ULL;
	return s ^ s >> 32;
}

__u64 kup_sum(const void *data, __u64 len, __u64 seed)
{
	const __u64 *w = data;
	__u64 s = seed;

	for (; len >= sizeof(*w); len -= sizeof(*w))
		s = sum_word(s, *w++);
	return s;
}

__u64 kup_frame_sum(const void *data, __u64 seed)
{
	const __u64 *w = data, *end = w + KUP_FRAME_SIZE / sizeof(*w);
	__u64 a = seed, b = 1, c = 2, d = 3;

	for (; w < end; w += 4) {
		a = sum_word(a, w[0]);
		b = sum_word(b, w[1]);
		c = sum_word(c, w[2]);
		d = sum_word(d, w[3]);
	}
	return sum_word(sum_word(sum_word(a, b), c), d);
}

/* [off, off + size) is page aligned at its start, behind the header's page and within the area. */
static int section_fits(__u64 off, __u64 size)
{
	return aligned(off, KUP_FRAME_SIZE) && off >= KUP_FRAME_SIZE && off <= KUP_AREA_SIZE && size <= KUP_AREA_SIZE - off;
}

static int disjoint(__u64 a, __u64 a_size, __u64 b, __u64 b_size)
{
	return a + a_size <= b || b + b_size <= a;
}

static int layout_ok(const struct kup_handover *h, __u64 area)
{
	__u64 extents_size, directory_size, pieces_size;

	if (h->self != area || !aligned(area, KUP_AREA_ALIGN) || !area || area + KUP_AREA_SIZE < area)
		return 0;
	if (!h->nr_extents || h->nr_extents > KUP_MAX_EXTENTS || h->block_order > MAX_BLOCK_ORDER)
		return 0;
	if (h->stream_pages > KUP_AREA_SIZE / sizeof(__u32) || h->nr_mms > KUP_MAX_MMS || h->flags & ~KUP_HANDOVER_SUMS)
		return 0;
	if (h->nr_pieces > KUP_MAX_PIECES || !h->nr_pieces != !h->pieces_off)
		return 0;
	if (h->nr_frames >> 32 || h->nr_again > h->nr_frames || h->release[sizeof(h->release) - 1])
		return 0;

	/* Counts are bounded now: no product below can overflow. */
	extents_size = h->nr_extents * sizeof(struct kup_extent);
	directory_size = h->stream_pages * sizeof(__u32);
	pieces_size = h->nr_pieces * sizeof(struct kup_piece);
	if (!section_fits(h->extents_off, extents_size) || !section_fits(h->directory_off, directory_size) ||
	    !section_fits(h->scratch_off, h->scratch_size))
		return 0;
	if (!h->scratch_size || !aligned(h->scratch_size, KUP_FRAME_SIZE))
		return 0;
	/* By whole pages: the scratch is freed by pages, the rest is not. */
	if (!disjoint(h->extents_off, round_up_pages(extents_size), h->directory_off, round_up_pages(directory_size)) ||
	    !disjoint(h->extents_off, round_up_pages(extents_size), h->scratch_off, h->scratch_size) ||
	    !disjoint(h->directory_off, round_up_pages(directory_size), h->scratch_off, h->scratch_size))
		return 0;
	if (h->nr_pieces &&
	    (!section_fits(h->pieces_off, pieces_size) ||
	     !disjoint(h->pieces_off, round_up_pages(pieces_size), h->extents_off, round_up_pages(extents_size)) ||
	     !disjoint(h->pieces_off, round_up_pages(pieces_size), h->directory_off, round_up_pages(directory_size)) ||
	     !disjoint(h->pieces_off, round_up_pages(pieces_size), h->scratch_off, h->scratch_size)))
		return 0;

	/* 48: sizeof(struct kup_mm_record), which map.h keeps to itself. */
	if (h->maps_size > h->store_off || h->maps_size < h->nr_mms * 48ULL || !aligned(h->store_off, KUP_FRAME_SIZE))
		return 0;
	if (h->store_off > h->stream_pages * KUP_FRAME_SIZE ||
	    h->store_size > h->stream_pages * KUP_FRAME_SIZE - h->store_off)
		return 0;
	return 1;
}

int kup_handover_check(const struct kup_handover *h, __u64 area, __u64 nonce)
{
	if (h->magic != KUP_HANDOVER_MAGIC)
		return KUP_STUB_BAD_MAGIC;
	if (h->version != KUP_HANDOVER_VERSION || h->header_size != sizeof(*h))
		return KUP_STUB_BAD_VERSION;
	if (nonce && h->nonce != nonce)
		return KUP_STUB_BAD_NONCE;
	if (h->header_sum != kup_sum(h, offsetof(struct kup_handover, header_sum), 0))
		return KUP_STUB_BAD_CHECKSUM;
	if (!layout_ok(h, area))
		return KUP_STUB_BAD_LAYOUT;
	return 0;
}

int kup_extents_check(const struct kup_extent *e, __u32 nr)
{
	__u64 end = 0;
	__u32 i;

	for (i = 0; i < nr; i++) {
		if (!e[i].size || !aligned(e[i].base | e[i].size, KUP_FRAME_SIZE) || e[i].base + e[i].size < e[i].base)
			return KUP_STUB_BAD_EXTENTS;
		if (i && e[i].base <= end)
			return KUP_STUB_BAD_EXTENTS;
		end = e[i].base + e[i].size;
	}
	return 0;
}

const char *kup_stub_state_name(int state)
{
	switch (state) {
	case KUP_STUB_NONE:		return "stub has not run";
	case KUP_STUB_RESERVED:		return "memory reserved";
	case KUP_STUB_ADOPTED:		return "adopted before";
	case KUP_STUB_BAD_MAGIC:	return "no handover there";
	case KUP_STUB_BAD_VERSION:	return "handover of another version";
	case KUP_STUB_BAD_NONCE:	return "handover belongs to another image";
	case KUP_STUB_BAD_LAYOUT:	return "offset or count out of bounds";
	case KUP_STUB_BAD_CHECKSUM:	return "checksum does not match";
	case KUP_STUB_BAD_EXTENTS:	return "extents unsorted, overlapping or empty";
	case KUP_STUB_NO_ROOM:		return "scratch too small for the reserved regions";
	case KUP_STUB_STALE:		return "handover was used before";
	default:			return "unknown state";
	}
}
