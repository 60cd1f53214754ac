// SPDX-License-Identifier: GPL-2.0
#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/string.h>
#else
#include <errno.h>
#include <string.h>
#endif

#include <kup/map.h>

#define ADDR_MAX	(1ULL << 56)	/* of user space with five levels of page tables */
#define PFN_MAX		0xffffffffULL

static __u64 align8(__u64 n)
{
	return (n + 7) & ~7ULL;
}

#define RUNS_MAX	(KUP_SCATTER_MAX / sizeof(struct kup_run))	/* with more, scatter is smaller in any case */

/* All runs of consecutive frames, of which the first RUNS_MAX are written. One pass: there are 512 frames for each 2 MiB kept. */
static unsigned int find_runs(const __u32 *pfn, struct kup_run *run)
{
	unsigned int i = 0, first, n = 0;

	while (i < KUP_CHUNK_PAGES) {
		__u64 next = pfn[i];

		if (next == KUP_PFN_NONE) {
			i++;
			continue;
		}
		first = i;
		do {
			i++;
			next++;
		} while (i < KUP_CHUNK_PAGES && pfn[i] == next);
		if (n < RUNS_MAX)
			run[n] = (struct kup_run) { .first = first, .nr = i - first, .pfn = pfn[first] };
		n++;
	}
	return n;
}

static int encode_scatter(struct kup_chunk *c, const __u32 *pfn, unsigned int nr, __u32 base, struct kup_scatter *s)
{
	__u8 *p = (__u8 *)(s + 1);
	unsigned int i, b;

	c->kind = KUP_CHUNK_SCATTER;
	c->nr = nr;
	memset(s, 0, sizeof(*s) + align8((__u64)nr * c->width));
	s->base = base;
	for (i = 0; i < KUP_CHUNK_PAGES; i++) {
		__u32 delta = pfn[i] - base;

		if (pfn[i] == KUP_PFN_NONE)
			continue;
		s->present[i / 64] |= 1ULL << i % 64;
		for (b = c->width; b; b--, delta >>= 8)
			*p++ = delta;
	}
	return sizeof(*s) + align8((__u64)nr * c->width);
}

static unsigned int count_frames(const __u32 *pfn, __u32 *low, __u32 *high)
{
	unsigned int i, nr = 0;

	for (i = 0; i < KUP_CHUNK_PAGES; i++) {
		if (pfn[i] == KUP_PFN_NONE)
			continue;
		nr++;
		*low = pfn[i] < *low ? pfn[i] : *low;
		*high = pfn[i] > *high ? pfn[i] : *high;
	}
	return nr;
}

int kup_chunk_encode_runs(struct kup_chunk *c, unsigned int nr, const struct kup_run *run, int huge)
{
	c->width = 0;
	c->kind = huge ? KUP_CHUNK_HUGE : KUP_CHUNK_RUNS;
	c->nr = huge ? KUP_CHUNK_PAGES : nr;
	c->value = huge ? run->pfn : 0;
	return huge ? 0 : nr * sizeof(*run);
}

int kup_chunk_encode(struct kup_chunk *c, const __u32 *pfn, int huge, void *payload)
{
	unsigned int nr, runs, width = 1;
	struct kup_run *run = payload;
	__u32 low = ~0u, high = 0;

	c->value = 0;
	c->width = 0;
	runs = find_runs(pfn, run);
	if (!runs)
		return -EINVAL;
	if (huge && (run->nr != KUP_CHUNK_PAGES || pfn[0] % KUP_CHUNK_PAGES))
		return -EINVAL;
	if (huge || runs <= KUP_RUNS_ALWAYS)
		return kup_chunk_encode_runs(c, runs, run, huge);
	/* The smallest scatter for as many pages as there are runs at least, each of one byte: then nobody needs to count. */
	if (runs * sizeof(*run) > sizeof(struct kup_scatter) + align8(runs)) {
		nr = count_frames(pfn, &low, &high);
		while (width < 4 && (high - low) >> 8 * width)
			width++;
		if (runs * sizeof(*run) > sizeof(struct kup_scatter) + align8((__u64)nr * width)) {
			c->width = width;
			return encode_scatter(c, pfn, nr, low, payload);
		}
	}
	c->kind = KUP_CHUNK_RUNS;
	c->nr = runs;
	return runs * sizeof(*run);
}

int kup_chunk_encode_shared(struct kup_chunk *c, const __u32 *pfn, const __u64 *shared, void *payload)
{
	struct kup_run *run = payload;
	unsigned int i, n = 0, any = 0;

	for (i = 0; i < KUP_CHUNK_PAGES; i++) {
		unsigned int flag = shared[i / 64] >> i % 64 & 1 ? KUP_RUN_SHARED : 0;

		if (pfn[i] == KUP_PFN_NONE)
			continue;
		any |= flag;
		if (i && pfn[i - 1] && pfn[i] == pfn[i - 1] + 1 && (run[n - 1].nr & KUP_RUN_SHARED) == flag)
			run[n - 1].nr++;
		else
			run[n++] = (struct kup_run) { .first = i, .nr = 1 | flag, .pfn = pfn[i] };
	}
	if (!any)
		return -EINVAL;
	c->kind = KUP_CHUNK_RUNS;
	c->width = 1;
	c->nr = n;
	c->value = 0;
	return n * sizeof(*run);
}

static int decode_huge(const struct kup_chunk *c, __u32 *pfn)
{
	unsigned int i;

	if (c->nr != KUP_CHUNK_PAGES || c->width || c->value == KUP_PFN_NONE || c->value % KUP_CHUNK_PAGES)
		return -EINVAL;
	for (i = 0; pfn && i < KUP_CHUNK_PAGES; i++)
		pfn[i] = c->value + i;
	return KUP_CHUNK_PAGES;
}

static int decode_runs(const struct kup_chunk *c, const struct kup_run *run, __u64 room, __u32 *pfn)
{
	unsigned int i, j, pages = 0, end = 0, shared = 0;

	if (!c->nr || c->nr > KUP_CHUNK_PAGES || c->width > 1 || c->nr * sizeof(*run) > room)
		return -EINVAL;
	for (i = 0; i < c->nr; i++, run++) {
		unsigned int nr = run->nr & ~KUP_RUN_SHARED;

		if (run->first < end || !nr || run->first + nr > KUP_CHUNK_PAGES)
			return -EINVAL;
		if (run->pfn == KUP_PFN_NONE || (__u64)run->pfn + nr - 1 > PFN_MAX)
			return -EINVAL;
		end = run->first + nr;
		for (j = 0; pfn && j < nr; j++)
			pfn[run->first + j] = run->pfn + j;
		pages += nr;
		shared |= run->nr & KUP_RUN_SHARED;
	}
	return !shared == !c->width ? (int)pages : -EINVAL;
}

static int decode_scatter(const struct kup_chunk *c, const struct kup_scatter *s, __u64 room, __u32 *pfn)
{
	const __u8 *p = (const __u8 *)(s + 1);
	unsigned int i, b, pages = 0;

	if (!c->nr || c->nr > KUP_CHUNK_PAGES || !c->width || c->width > 4)
		return -EINVAL;
	if (room < sizeof(*s) + align8((__u64)c->nr * c->width) || s->zero || s->base == KUP_PFN_NONE)
		return -EINVAL;
	for (i = 0; i < KUP_CHUNK_PAGES; i++) {
		__u64 delta = 0;

		if (!(s->present[i / 64] >> i % 64 & 1))
			continue;
		if (pages++ == c->nr)
			return -EINVAL;
		for (b = 0; b < c->width; b++)
			delta |= (__u64)*p++ << 8 * b;
		if (s->base + delta > PFN_MAX)
			return -EINVAL;
		if (pfn)
			pfn[i] = s->base + delta;
	}
	return pages == c->nr ? (int)pages : -EINVAL;
}

int kup_chunk_decode(const struct kup_chunk *c, const void *maps, __u64 maps_size, __u32 *pfn)
{
	__u64 off = (__u64)c->value * 8;
	const void *payload;

	if (c->kind == KUP_CHUNK_HUGE)
		return decode_huge(c, pfn);
	if (pfn)
		memset(pfn, 0, KUP_CHUNK_PAGES * sizeof(*pfn));
	if (off > maps_size)
		return -EINVAL;
	payload = (const char *)maps + off;
	switch (c->kind) {
	case KUP_CHUNK_RUNS:
		return decode_runs(c, payload, maps_size - off, pfn);
	case KUP_CHUNK_SCATTER:
		return decode_scatter(c, payload, maps_size - off, pfn);
	default:
		return -EINVAL;
	}
}

void kup_walk_begin(struct kup_walk *w, const struct kup_chunk *c, const void *maps)
{
	kup_walk_payload(w, c, (const char *)maps + (c->kind == KUP_CHUNK_HUGE ? 0 : (__u64)c->value * 8));
}

void kup_walk_payload(struct kup_walk *w, const struct kup_chunk *c, const void *payload)
{
	w->chunk = c;
	w->payload = payload;
	w->delta = (const __u8 *)w->payload + sizeof(struct kup_scatter);
	w->next = 0;
	w->shared = 0;
}

static int next_scattered(struct kup_walk *w, struct kup_run *run)
{
	const struct kup_scatter *s = w->payload;
	__u64 delta = 0;
	unsigned int b;

	while (w->next < KUP_CHUNK_PAGES && !(s->present[w->next / 64] >> w->next % 64 & 1))
		w->next++;
	if (w->next == KUP_CHUNK_PAGES)
		return 0;
	for (b = 0; b < w->chunk->width; b++)
		delta |= (__u64)*w->delta++ << 8 * b;
	*run = (struct kup_run) { .first = w->next++, .nr = 1, .pfn = s->base + delta };
	return 1;
}

int kup_walk_next(struct kup_walk *w, struct kup_run *run)
{
	const struct kup_chunk *c = w->chunk;

	if (c->kind == KUP_CHUNK_SCATTER)
		return next_scattered(w, run);
	if (w->next == (c->kind == KUP_CHUNK_HUGE ? 1 : c->nr))
		return 0;
	if (c->kind == KUP_CHUNK_HUGE)
		*run = (struct kup_run) { .nr = KUP_CHUNK_PAGES, .pfn = c->value };
	else
		*run = ((const struct kup_run *)w->payload)[w->next];
	w->shared = run->nr & KUP_RUN_SHARED;
	run->nr &= ~KUP_RUN_SHARED;
	w->next++;
	return 1;
}

static int check_flags(__u32 flags)
{
	const __u32 gigantic = KUP_MM_HUGETLB | KUP_MM_GIGANTIC;

	if (flags & ~(KUP_MM_THP_DISABLED | KUP_MM_SHMEM | KUP_MM_HUGETLB | KUP_MM_GIGANTIC | KUP_MM_POOL))
		return -EINVAL;
	if (flags & KUP_MM_THP_DISABLED && flags != KUP_MM_THP_DISABLED)
		return -EINVAL;
	if (flags & KUP_MM_GIGANTIC && (flags & gigantic) != gigantic)
		return -EINVAL;
	return flags & KUP_MM_POOL && flags != (gigantic | KUP_MM_POOL) ? -EINVAL : 0;
}

/* The @i-th chunk from @c on, all of them huge: is each page of 1 GiB in one piece, and where one may be? */
static int check_gigantic(const struct kup_chunk *c, __u32 i)
{
	if (i % KUP_GIGANTIC_CHUNKS)
		return c[i].addr == c[i - 1].addr + KUP_CHUNK_SIZE && c[i].value == c[i - 1].value + KUP_CHUNK_PAGES ? 0 : -EINVAL;
	return c[i].addr % (KUP_GIGANTIC_CHUNKS * KUP_CHUNK_SIZE) || c[i].value % (KUP_GIGANTIC_CHUNKS * KUP_CHUNK_PAGES) ? -EINVAL : 0;
}

static int check_record(const struct kup_mm_record *r, const void *maps, __u64 size, __u32 nr_mms)
{
	const struct kup_chunk *c;
	__u64 pages = 0;
	__u32 i, huge = 0;

	if (!r->pid || check_flags(r->flags) || r->comm[sizeof(r->comm) - 1] || r->nr_chunks % kup_record_step(r))
		return -EINVAL;
	if (r->chunks_off % 8 || r->chunks_off < nr_mms * sizeof(*r) || r->chunks_off > size ||
	    r->nr_chunks > (size - r->chunks_off) / sizeof(*c))
		return -EINVAL;
	c = (const void *)((const char *)maps + r->chunks_off);
	for (i = 0; i < r->nr_chunks; i++, c++) {
		int nr;

		if (c->addr % KUP_CHUNK_SIZE || c->addr >= ADDR_MAX || (i && c->addr <= c[-1].addr))
			return -EINVAL;
		nr = kup_chunk_decode(c, maps, size, NULL);
		if (nr < 0)
			return nr;
		if (r->flags & KUP_MM_HUGETLB ? c->kind != KUP_CHUNK_HUGE :
		    kup_is_shmem(r) && (c->kind == KUP_CHUNK_HUGE || kup_chunk_is_shared(c)))
			return -EINVAL;
		if (r->flags & KUP_MM_GIGANTIC && check_gigantic(c - i, i))
			return -EINVAL;
		pages += nr;
		huge += c->kind == KUP_CHUNK_HUGE;
	}
	return pages == r->nr_pages && huge == r->nr_huge ? 0 : -EINVAL;
}

int kup_maps_check(const void *maps, __u64 size, __u32 nr_mms, __u64 nr_frames)
{
	const struct kup_mm_record *r = maps;
	__u64 frames = 0;
	__u32 i, j;

	if (nr_mms > KUP_MAX_MMS || nr_mms * sizeof(*r) > size)
		return -EINVAL;
	for (i = 0; i < nr_mms; i++) {
		int err = check_record(&r[i], maps, size, nr_mms);

		if (err)
			return err;
		for (j = 0; j < i; j++)
			if (r[j].pid == r[i].pid && kup_record_of(&r[j]) == kup_record_of(&r[i]))
				return -EINVAL;
		frames += r[i].nr_pages;
	}
	return frames == nr_frames ? 0 : -EINVAL;
}

const __u64 *kup_maps_sums(const void *maps, __u64 size, __u32 nr_mms)
{
	const struct kup_mm_record *r = maps;
	__u64 nr = 0;
	__u32 i;

	for (i = 0; i < nr_mms; i++)
		nr += r[i].nr_chunks;
	if (size % 8 || size < nr_mms * sizeof(*r) || nr > (size - nr_mms * sizeof(*r)) / 8)
		return NULL;
	return (const __u64 *)((const char *)maps + size) - nr;
}

long kup_chunk_find(const struct kup_chunk *chunks, __u32 nr, __u64 addr)
{
	__u32 low = 0, high = nr;

	addr &= ~(KUP_CHUNK_SIZE - 1);
	while (low < high) {
		__u32 mid = low + (high - low) / 2;

		if (chunks[mid].addr == addr)
			return mid;
		if (chunks[mid].addr < addr)
			low = mid + 1;
		else
			high = mid;
	}
	return -ENOENT;
}
