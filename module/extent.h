/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Which frames the next kernel must leave alone, as a bitmap: bit n is frame n. From it come the extents of the handover.
 * extent.c is pure: it compiles in userspace too, where it is unit-tested.
 */
#ifndef KUP_EXTENT_H
#define KUP_EXTENT_H

#include <kup/handover.h>

#define KUP_MAX_BLOCK_ORDER	10u	/* blocks of at most 4 MiB */

/* May this frame, which nobody preserves, be reserved with its neighbours? */
typedef int (*kup_may_fill_t)(void *arg, __u64 pfn);

/**
 * kup_frames_runs - how many maximal runs of set bits there are: the number of extents
 * @map: @words 64-bit words
 */
__u64 kup_frames_runs(const __u64 *map, __u64 words);

/**
 * kup_frames_count - how many bits are set
 */
__u64 kup_frames_count(const __u64 *map, __u64 words);

/**
 * kup_frames_round - fill each block of 2^@order frames that has a frame set, unless @may refuses one of its clear frames
 *
 * @may is asked about clear frames only, from the lowest on, and no more for a block once it has refused one. A block that
 * is not filled stays exactly as it was. @words must be a multiple of the block for @order above 6.
 */
void kup_frames_round(__u64 *map, __u64 words, unsigned int order, kup_may_fill_t may, void *arg);

/**
 * kup_frames_extents - write the runs as extents: sorted, disjoint, not adjacent
 *
 * Return: how many there are; only the first @max are written.
 */
__u64 kup_frames_extents(const __u64 *map, __u64 words, struct kup_extent *out, __u64 max);

#endif
