// SPDX-License-Identifier: GPL-2.0
/*
 * Reserving tens of thousands of extents before setup_arch().
 *
 * memblock.reserved has some 128 static slots then and cannot grow, and adding regions one by one is quadratic. So:
 *   1. one region is reserved the kernel's own way, to learn what its other fields (flags, node) look like in this kernel;
 *   2. a new array is built in the handover's scratch: every existing region as it is, and around them the extents with the
 *      fields learnt, sorted, without overlap, neighbours that are alike merged: what memblock itself would have made;
 *   3. the array takes the place of memblock's own.
 *
 * From then on the array is memblock's. When boot is over the kernel frees it: PAGE_ALIGN(max * region size) bytes at its
 * physical address. So max is chosen such that this is the scratch exactly, and the scratch must lie in an extent.
 * KUP_REGION_SLACK slots stay free, so that the kernel never outgrows the array.
 *
 * Also compiled into userspace/tests, against a memblock made by hand.
 */
#include "reserve.h"

struct out {
	const struct kup_stub_params *p;
	unsigned char *array;
	__u64 nr;
	__u64 total;
};

static __u64 *word(void *base, __u64 offset)
{
	return (__u64 *)((unsigned char *)base + offset);
}

static __u64 region_base(const struct kup_stub_params *p, const unsigned char *r)
{
	return *(const __u64 *)(r + p->region_base);
}

static __u64 region_length(const struct kup_stub_params *p, const unsigned char *r)
{
	return *(const __u64 *)(r + p->region_length);
}

/* Equal but for base and length? Those two are 8 aligned bytes, and so is the whole. */
static int alike(const struct kup_stub_params *p, const unsigned char *a, const unsigned char *b)
{
	__u32 i;

	for (i = 0; i < p->region_size; i += 8)
		if (i != p->region_base && i != p->region_length && *(const __u64 *)(a + i) != *(const __u64 *)(b + i))
			return 0;
	return 1;
}

/* Append [base, end) with the other fields of @like, or grow the last region if it is adjacent and alike. */
static void emit(struct out *o, __u64 base, __u64 end, const unsigned char *like)
{
	const struct kup_stub_params *p = o->p;
	unsigned char *r = o->array + o->nr * p->region_size;
	unsigned char *last = o->nr ? r - p->region_size : (void *)0;
	__u32 i;

	if (base >= end)
		return;
	o->total += end - base;
	if (last && region_base(p, last) + region_length(p, last) == base && alike(p, last, like)) {
		*word(last, p->region_length) += end - base;
		return;
	}
	for (i = 0; i < p->region_size; i += 8)
		*word(r, i) = *(const __u64 *)(like + i);
	*word(r, p->region_base) = base;
	*word(r, p->region_length) = end - base;
	o->nr++;
}

static int covered(const struct kup_extent *e, __u32 nr, __u64 base, __u64 size)
{
	__u32 i;

	for (i = 0; i < nr; i++)
		if (e[i].base <= base && base + size <= e[i].base + e[i].size)
			return 1;
	return 0;
}

int kup_reserve(const struct kup_stub_params *p, void *memblock, void *area)
{
	struct kup_handover *h = area;
	const struct kup_extent *e = (const void *)((unsigned char *)area + h->extents_off);
	void *type = (unsigned char *)memblock + p->memblock_reserved;
	__u64 max = h->scratch_size / p->region_size;
	__u64 like[KUP_MAX_REGION_SIZE / 8];
	struct out o = { .p = p, .array = (unsigned char *)area + h->scratch_off };
	const unsigned char *old;
	__u64 nr_old, i, base, end, at;
	__u32 k = 0, b;

	if (!covered(e, h->nr_extents, h->self, KUP_AREA_SIZE))
		return KUP_STUB_BAD_EXTENTS;
	/*
	 * Reserving one page adds two regions at most. An existing region can split an extent, so that each costs two slots.
	 * Nothing may fail after this line.
	 */
	nr_old = *word(type, p->type_cnt) + 2;
	if (nr_old * 2 + h->nr_extents + KUP_REGION_SLACK > max)
		return KUP_STUB_NO_ROOM;

	memblock_reserve(h->self, KUP_FRAME_SIZE, -1, 0);
	old = *(unsigned char **)word(type, p->type_regions);
	nr_old = *word(type, p->type_cnt);

	for (i = 0; i < p->region_size / 8; i++)
		like[i] = 0;
	for (i = 0; i < nr_old; i++) {
		const unsigned char *r = old + i * p->region_size;

		if (region_base(p, r) <= h->self && h->self - region_base(p, r) < region_length(p, r))
			for (b = 0; b < p->region_size / 8; b++)
				like[b] = ((const __u64 *)r)[b];
	}

	/* @at: everything below is written. @k: the first extent that reaches beyond it. */
	for (at = 0, i = 0; i < nr_old; i++) {
		const unsigned char *r = old + i * p->region_size;

		base = region_base(p, r);
		end = base + region_length(p, r);
		for (; k < h->nr_extents && e[k].base < base; k++) {
			__u64 stop = e[k].base + e[k].size;

			emit(&o, e[k].base > at ? e[k].base : at, stop < base ? stop : base, (unsigned char *)like);
			if (stop > base)
				break;
		}
		emit(&o, base, end, r);
		at = end;
		while (k < h->nr_extents && e[k].base + e[k].size <= at)
			k++;
	}
	for (; k < h->nr_extents; k++)
		emit(&o, e[k].base > at ? e[k].base : at, e[k].base + e[k].size, (unsigned char *)like);

	*(unsigned char **)word(type, p->type_regions) = o.array;
	*word(type, p->type_cnt) = o.nr;
	*word(type, p->type_max) = max;
	*word(type, p->type_total_size) = o.total;
	return 0;
}
