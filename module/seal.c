// SPDX-License-Identifier: GPL-2.0
/*
 * Writes the handover.
 *
 *   1. Pages that faults brought back are hidden again. What is touched from here on stays named (kup_hide_moved()).
 *   2. Where pages may have several owners, one walk finds the frames that more than one entry has.
 *   3. The maps section is encoded into pages of its own. Each frame sets its bit in a bitmap of all RAM, which shows a frame
 *      named twice that is none of those, and later gives the extents in order: nothing is sorted.
 *      With KUP_SEAL_SUMS what is in them is summed up on the way (verify.c).
 *      The pages of shared memory are taken anew, as their files have them now.
 *      All pages of 1 GiB that hugetlbfs has besides are named for the next kernel's pool: it could hardly find such memory by itself.
 *   4. The stream's pages and the area get their bits. Blocks are filled up, order by order, until the extents are few or memory
 *      would be short.
 *   5. Extents, directory and header go to the area; the header, with the sums of all, last.
 */
#include <linux/module.h>
#include <linux/utsname.h>
#include <linux/vmalloc.h>

#include <asm/tsc.h>

#include "extent.h"
#include "old.h"
#include "stream.h"

static unsigned int few_extents = 1024;
module_param(few_extents, uint, 0644);
MODULE_PARM_DESC(few_extents, "extents cost boot time: blocks are filled up until there are this few (default 1024), as long as memory allows");

#define BLOCK_WORDS	((1u << KUP_MAX_BLOCK_ORDER) / 64)

static struct kup_pages maps;	/* of the handover that is sealed; under kup.lock */

struct seal {
	u64 *frames;		/* bitmap of all RAM */
	u64 words;
	unsigned long *shared;	/* of those of several owners; NULL if no process may have such */
	u64 nr_again;
	u64 end;		/* bytes of the maps section written so far */
	u64 *sums;		/* of each chunk that was; NULL: not asked for */
	u64 nr_sums;
	u64 nr_frames;
	u32 nr_mms;
	u32 *pool;		/* first frames of all pages of 1 GiB */
	u32 nr_pool;
	char *why;
	struct kup_extent *extents;
	u32 nr_extents;
	u32 order;
	u32 pfn[KUP_CHUNK_PAGES];
	u64 payload[KUP_PAYLOAD_MAX / 8];
};

static bool is_shared(const struct seal *s, u32 pfn)
{
	return s->shared && test_bit(pfn, s->shared);
}

/* @again: as one of its owners. */
static int name_frame(struct seal *s, u32 pfn, bool again)
{
	if (WARN_ON_ONCE(pfn >= s->words * 64))
		return -EINVAL;
	if (!__test_and_set_bit(pfn, (unsigned long *)s->frames) ? is_shared(s, pfn) == again : again)
		return 0;
	kup_say(s->why, "frame %#x has two owners", pfn);
	return -EBUSY;
}

/* So many from @pfn on, at once. */
static int name_run(struct seal *s, u32 pfn, unsigned int nr)
{
	unsigned long *map = (unsigned long *)s->frames, end = (unsigned long)pfn + nr;
	int err = 0;

	if (nr > 1 && end <= s->words * 64 && find_next_bit(map, end, pfn) >= end &&
	    (!s->shared || find_next_bit(s->shared, end, pfn) >= end)) {
		bitmap_set(map, pfn, nr);
		return 0;
	}
	while (nr-- && !err)
		err = name_frame(s, pfn++, false);
	return err;
}

/* Those in s->pfn. */
static int name_chunk(struct seal *s)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < KUP_CHUNK_PAGES && !err; i++) {
		u64 pfn = s->pfn[i], *word = s->frames + pfn / 64, bit = 1ULL << pfn % 64;

		if (pfn == KUP_PFN_NONE)
			continue;
		if (s->shared || pfn >= s->words * 64 || *word & bit)
			err = name_frame(s, pfn, false);
		else
			*word |= bit;	/* as name_frame() does, for most by far */
	}
	return err;
}

static int name_pages(struct seal *s, const struct kup_pages *p)
{
	u64 i;
	int err = 0;

	for (i = 0; i < p->nr && !err; i++)
		err = name_frame(s, p->pfn[i], false);
	return err;
}

static int name_kept(struct seal *s)
{
	u32 i;
	int err = 0;

	for (i = 0; i < kup_kept.nr && !err; i++)
		err = name_run(s, PHYS_PFN(kup_kept.piece[i].from), PHYS_PFN(kup_kept.piece[i].size));
	return err;
}

/* The frames of a chunk into s->pfn. Returns their number. */
static unsigned int hidden_frames(struct seal *s, const struct kup_hidden *h)
{
	const pte_t *pte;
	unsigned int i, nr = 0;

	if (h->kind == HIDDEN_BACK || (h->kind == HIDDEN_HUGE && kup_pmd_kind(h->pmd) == KUP_PAGE_ZERO))
		return 0;
	if (h->kind == HIDDEN_HUGE || h->kind == HIDDEN_SPLIT || h->kind == HIDDEN_HUGETLB) {
		for (i = 0; i < KUP_CHUNK_PAGES; i++)
			s->pfn[i] = (h->kind == HIDDEN_HUGETLB ? pte_pfn(h->huge) : pmd_pfn(h->pmd)) + i;
		return KUP_CHUNK_PAGES;
	}
	pte = kup_hidden_ptes(h);
	for (i = 0; i < KUP_CHUNK_PAGES; i++) {
		unsigned long pfn = pte_none(pte[i]) ? KUP_PFN_NONE : pte_pfn(pte[i]);

		if (is_zero_pfn(pfn))
			pfn = KUP_PFN_NONE;
		s->pfn[i] = pfn;
		nr += pfn != KUP_PFN_NONE;
	}
	return nr;
}

/*
 * The same, in a fraction of the time, for a huge page, and a table of few runs, as memory that was touched in order has it: the runs go
 * to the payload. Returns how many; 0 if the chunk is none of these.
 */
static unsigned int hidden_runs(struct seal *s, const struct kup_hidden *h, unsigned int *pages)
{
	const unsigned long care = PTE_PFN_MASK | _PAGE_PRESENT, zero = page_to_pfn(ZERO_PAGE(0));
	struct kup_run *run = (void *)s->payload;
	unsigned int i = 0, first, n = 0;
	const pte_t *pte;

	*pages = 0;
	if (h->kind == HIDDEN_HUGE && kup_pmd_kind(h->pmd) != KUP_PAGE_ZERO) {
		*run = (struct kup_run) { .nr = KUP_CHUNK_PAGES, .pfn = pmd_pfn(h->pmd) };
		*pages = KUP_CHUNK_PAGES;
		return 1;
	}
	if (h->kind != HIDDEN_TABLE)
		return 0;
	pte = kup_hidden_ptes(h);
	while (i < KUP_CHUNK_PAGES) {
		unsigned long val = native_pte_val(pte[i]), pfn = (val & PTE_PFN_MASK) >> PAGE_SHIFT;

		if (!val) {
			i++;
			continue;
		}
		first = i;
		do {
			i++;
			val += PAGE_SIZE;
		} while (i < KUP_CHUNK_PAGES && (native_pte_val(pte[i]) == val || !((native_pte_val(pte[i]) ^ val) & care)));
		if (i == first + 1 && is_zero_pfn(pfn))
			continue;
		if (!(val & _PAGE_PRESENT) || n == KUP_RUNS_ALWAYS || zero - pfn < i - first)
			return 0;
		run[n++] = (struct kup_run) { .first = first, .nr = i - first, .pfn = pfn };
		*pages += i - first;
	}
	return n;
}

/* The chunk's frames are one huge page, maybe mapped page by page. */
static bool is_huge(u32 first)
{
	return !(first % KUP_CHUNK_PAGES) && folio_order(page_folio(pfn_to_page(first))) == PMD_SHIFT - PAGE_SHIFT;
}

/* All frames of a chunk, some of which may have more owners; those into @mine. Returns whether there are any, or an error. */
static int name_shared(struct seal *s, u64 *mine)
{
	unsigned int i;
	int err = 0, any = 0;

	memset(mine, 0, KUP_CHUNK_PAGES / 8);
	for (i = 0; i < KUP_CHUNK_PAGES && !err; i++) {
		bool again = s->pfn[i] != KUP_PFN_NONE && is_shared(s, s->pfn[i]);

		if (s->pfn[i] != KUP_PFN_NONE)
			err = name_frame(s, s->pfn[i], again);
		mine[i / 64] |= (u64)again << i % 64;
		any |= again;
	}
	return err ?: any;
}

static int grow_maps(u64 end)
{
	return kup_pages_reserve(&maps, DIV_ROUND_UP(end, PAGE_SIZE));
}

/* A chunk of @nr pages whose payload, of @size bytes, is in s->payload. */
static int write_chunk(struct seal *s, struct kup_mm_record *r, struct kup_chunk *c, unsigned int nr, unsigned int size)
{
	int err;

	if (size) {
		if (s->end / 8 > U32_MAX)
			return -ENOSPC;
		c->value = s->end / 8;
		err = grow_maps(s->end + size);
		if (err)
			return err;
		kup_pages_write(&maps, s->end, s->payload, size);
		s->end += size;
	}
	kup_pages_write(&maps, r->chunks_off + r->nr_chunks++ * sizeof(*c), c, sizeof(*c));
	if (s->sums)
		s->sums[s->nr_sums++] = r->flags & KUP_MM_POOL ? 0 : kup_chunk_sum(c, s->payload);
	r->nr_huge += c->kind == KUP_CHUNK_HUGE;
	r->nr_pages += nr;
	return 0;
}

static int encode_chunk(struct seal *s, struct kup_old_mm *om, const struct kup_hidden *h, struct kup_mm_record *r)
{
	struct kup_chunk c = { .addr = h->addr };
	struct kup_run *run = (void *)s->payload;
	u64 mine[KUP_CHUNK_PAGES / 64];
	unsigned int nr, runs, i;
	int size = -EINVAL, err = 0;

	mutex_lock(&om->lock);
	runs = h->shared ? 0 : hidden_runs(s, h, &nr);
	if (!runs)
		nr = hidden_frames(s, h);
	mutex_unlock(&om->lock);
	if (!nr)
		return 0;
	for (i = 0; i < runs && !err; i++)
		err = name_run(s, run[i].pfn, run[i].nr);
	if (!runs)
		err = h->shared ? name_shared(s, mine) : name_chunk(s);
	if (err < 0)
		return err;
	if (err) {
		size = kup_chunk_encode_shared(&c, s->pfn, mine, s->payload);
	} else if (runs) {
		size = kup_chunk_encode_runs(&c, runs, run, run->nr == KUP_CHUNK_PAGES && is_huge(run->pfn));
	} else {
		if (nr == KUP_CHUNK_PAGES && s->pfn[nr - 1] == s->pfn[0] + nr - 1 && is_huge(s->pfn[0]))
			size = kup_chunk_encode(&c, s->pfn, true, s->payload);
		if (size < 0)
			size = kup_chunk_encode(&c, s->pfn, false, s->payload);
	}
	return write_chunk(s, r, &c, nr, size);
}

/* A page of 1 GiB. */
static int encode_gigantic(struct seal *s, u64 addr, u32 pfn, struct kup_mm_record *r)
{
	u32 i;
	int err = 0;

	for (i = 0; i < KUP_GIGANTIC_CHUNKS && !err; i++) {
		const struct kup_run run = { .nr = KUP_CHUNK_PAGES, .pfn = pfn + i * KUP_CHUNK_PAGES };
		struct kup_chunk c = { .addr = addr + i * KUP_CHUNK_SIZE };

		kup_chunk_encode_runs(&c, 1, &run, true);
		err = name_run(s, run.pfn, run.nr);
		if (!err)
			err = write_chunk(s, r, &c, run.nr, 0);
		cond_resched();
	}
	return err;
}

/* Of which of a process's records is this? */
static u32 record_of(const struct kup_hidden *h)
{
	return h->kind != HIDDEN_HUGETLB ? 0 : h->gigantic ? KUP_MM_HUGETLB | KUP_MM_GIGANTIC : KUP_MM_HUGETLB;
}

static int encode_mm(struct seal *s, struct kup_old_mm *om, struct kup_mm_record *r)
{
	const u32 kind = kup_record_of(r);
	const struct kup_hidden *h;
	int err = 0;

	for (h = om->chunk; h < om->chunk + om->nr_chunks && !err; h++) {
		if (record_of(h) != kind)
			continue;
		err = h->gigantic ? encode_gigantic(s, h->addr, pte_pfn(h->huge), r) : encode_chunk(s, om, h, r);
		cond_resched();
	}
	s->nr_frames += r->nr_pages;
	return err;
}

/* What of the pool none of the above has: free, or of somebody who ends with this kernel. Not what a device may go on writing to. */
static int encode_pool(struct seal *s, struct kup_mm_record *r)
{
	u32 i, nr = 0;
	int err = 0;

	for (i = 0; i < s->nr_pool && !err; i++) {
		const u32 pfn = s->pool[i];

		if (!test_bit(pfn, (unsigned long *)s->frames) && !folio_maybe_dma_pinned(page_folio(pfn_to_page(pfn))))
			err = encode_gigantic(s, nr++ * (u64)PUD_SIZE, pfn, r);
	}
	s->nr_frames += r->nr_pages;
	return err;
}

static int encode_shmem(struct seal *s, const struct kup_old_shmem *os, struct kup_mm_record *r)
{
	const struct kup_cached *cached;
	int err = 0, size;

	list_for_each_entry(cached, &os->cached, node) {
		struct kup_chunk c = { .addr = cached->off };

		memcpy(s->pfn, cached->pfn, sizeof(s->pfn));
		err = name_chunk(s);
		if (err)
			return err;
		size = kup_chunk_encode(&c, s->pfn, os->hugetlb, s->payload);
		if (size < 0)
			return size;
		err = write_chunk(s, r, &c, cached->nr, size);
		if (err)
			return err;
		cond_resched();
	}
	s->nr_frames += r->nr_pages;
	return 0;
}

static void find_in_chunk(struct seal *s, unsigned long *once, struct kup_old_mm *om, const struct kup_hidden *h)
{
	unsigned int i, nr;

	mutex_lock(&om->lock);
	nr = hidden_frames(s, h);
	mutex_unlock(&om->lock);
	for (i = 0; nr && i < KUP_CHUNK_PAGES; i++) {
		u32 pfn = s->pfn[i];

		if (pfn == KUP_PFN_NONE || WARN_ON_ONCE(pfn >= s->words * 64) || !__test_and_set_bit(pfn, once))
			continue;
		__set_bit(pfn, s->shared);
		s->nr_again++;
	}
}

/* The owners of a page all have it as KUP_PAGE_SHARED, so it is enough to look where there are such. */
static int find_shared(struct seal *s)
{
	unsigned long *once = NULL;
	struct kup_old_mm *om;
	struct kup_hidden *h;

	list_for_each_entry(om, &kup_old_mms, node)
		for (h = om->chunk; h < om->chunk + om->nr_chunks; h++) {
			if (!h->shared)
				continue;
			if (!once) {
				s->shared = kvcalloc(s->words, sizeof(*s->frames), GFP_KERNEL);
				once = kvcalloc(s->words, sizeof(*s->frames), GFP_KERNEL);
				if (!once || !s->shared) {
					kvfree(once);
					return -ENOMEM;
				}
			}
			find_in_chunk(s, once, om, h);
			cond_resched();
		}
	kvfree(once);
	return 0;
}

static int write_sums(struct seal *s)
{
	u64 size = s->nr_sums * sizeof(*s->sums);
	int err = grow_maps(s->end + size);

	if (err)
		return err;
	kup_pages_write(&maps, s->end, s->sums, size);
	s->end += size;
	return 0;
}

/* Records first, then the chunk tables of all, then the payloads as they come, then the sums. */
static int encode_maps(struct seal *s, bool sums)
{
	u64 tables = s->nr_mms * sizeof(struct kup_mm_record), record = 0, chunks = 0;
	struct kup_old_shmem *os;
	struct kup_old_mm *om;
	int err;

	list_for_each_entry(om, &kup_old_mms, node)
		chunks += om->nr_chunks + om->nr_gigantic * (KUP_GIGANTIC_CHUNKS - 1);
	list_for_each_entry(os, &kup_old_shmems, node)
		chunks += os->nr_cached;
	chunks += s->nr_pool * KUP_GIGANTIC_CHUNKS;
	s->end = tables + chunks * sizeof(struct kup_chunk);
	if (sums) {
		s->sums = kvmalloc_array(chunks ?: 1, sizeof(*s->sums), GFP_KERNEL);
		if (!s->sums)
			return -ENOMEM;
	}
	err = grow_maps(s->end);
	if (err)
		return err;
	list_for_each_entry(om, &kup_old_mms, node) {
		const struct {
			u32 flags, nr_chunks;
		} parts[] = {
			{ om->thp_was_disabled ? KUP_MM_THP_DISABLED : 0, om->nr_chunks - om->nr_hugetlb - om->nr_gigantic },
			{ KUP_MM_HUGETLB, om->nr_hugetlb },
			{ KUP_MM_HUGETLB | KUP_MM_GIGANTIC, om->nr_gigantic * KUP_GIGANTIC_CHUNKS },
		};
		u32 i;

		for (i = 0; i < ARRAY_SIZE(parts); i++) {
			struct kup_mm_record r = { .pid = om->tgid, .flags = parts[i].flags, .chunks_off = tables };

			if (i && !parts[i].nr_chunks)
				continue;
			strscpy(r.comm, om->comm, sizeof(r.comm));
			err = encode_mm(s, om, &r);
			if (err)
				return err;
			kup_pages_write(&maps, record, &r, sizeof(r));
			record += sizeof(r);
			tables += parts[i].nr_chunks * sizeof(struct kup_chunk);
		}
	}
	list_for_each_entry(os, &kup_old_shmems, node) {
		struct kup_mm_record r = {
			.pid = os->id,
			.flags = KUP_MM_SHMEM | (os->hugetlb ? KUP_MM_HUGETLB : 0) | (os->gigantic ? KUP_MM_GIGANTIC : 0),
			.chunks_off = tables,
		};

		strscpy(r.comm, os->name, sizeof(r.comm));
		err = encode_shmem(s, os, &r);
		if (err)
			return err;
		kup_pages_write(&maps, record, &r, sizeof(r));
		record += sizeof(r);
		tables += os->nr_cached * sizeof(struct kup_chunk);
	}
	if (s->nr_pool) {
		struct kup_mm_record r = { .pid = 1, .flags = KUP_MM_HUGETLB | KUP_MM_GIGANTIC | KUP_MM_POOL, .chunks_off = tables, .comm = "pool" };

		err = encode_pool(s, &r);
		if (err)
			return err;
		kup_pages_write(&maps, record, &r, sizeof(r));
	}
	return write_sums(s);
}

/* May the next kernel be kept from this frame, which is nobody's, until it adopts the handover? */
static int may_fill(void *arg, __u64 pfn)
{
	return pfn < kup_window.ram_end && test_bit(pfn, kup_window.ram) && pfn_to_online_page(pfn) &&
	       (pfn < PHYS_PFN(kup_window.base) || pfn >= PHYS_PFN(kup_window.base + kup_window.size));
}

/* Bytes that the next kernel has until it adopts the handover. */
static u64 left_of(u64 reserved)
{
	u64 total = totalram_pages(), used = reserved + PHYS_PFN(kup_window.size);

	return total > used ? PFN_PHYS(total - used) : 0;
}

/* What a kernel and its initramfs need, and what grows with memory: struct page (a 64th), hash tables, per-CPU areas. */
static u64 default_min_free(void)
{
	return (128ULL << 20) + PFN_PHYS((u64)totalram_pages()) / 32;
}

/*
 * Each extent costs the next kernel's boot time, and each frame that is filled in costs memory until it has adopted them. So blocks
 * grow until the extents, of which there are @runs, are few, but twice what must be left stays, unless the extents would not fit.
 */
static int fill_blocks(struct seal *s, u64 runs, u32 few, u64 min_free)
{
	u64 *wider;

	wider = kvmalloc_array(s->words, sizeof(*wider), GFP_KERNEL);
	if (!wider)
		return -ENOMEM;
	while (runs > few && s->order < KUP_MAX_BLOCK_ORDER) {
		memcpy(wider, s->frames, s->words * sizeof(*wider));
		kup_frames_round(wider, s->words, s->order + 1, may_fill, NULL);
		if (runs <= KUP_MAX_EXTENTS && left_of(kup_frames_count(wider, s->words)) / 2 < min_free)
			break;
		swap(wider, s->frames);
		s->order++;
		runs = kup_frames_runs(s->frames, s->words);
		cond_resched();
	}
	kvfree(wider);
	return 0;
}

static int make_extents(struct seal *s, u64 min_free)
{
	u32 few = clamp(READ_ONCE(few_extents), 1u, KUP_MAX_EXTENTS);
	u64 nr;
	int err;

	s->extents = kup_area() + PAGE_SIZE;
	nr = kup_frames_extents(s->frames, s->words, s->extents, KUP_MAX_EXTENTS);
	if (nr > few) {
		err = fill_blocks(s, nr, few, min_free);
		if (err)
			return err;
		nr = kup_frames_extents(s->frames, s->words, s->extents, KUP_MAX_EXTENTS);
	}
	if (nr > KUP_MAX_EXTENTS) {
		kup_say(s->why, "memory is too scattered: %llu extents with blocks of %lu KiB, at most %u are allowed",
			nr, PAGE_SIZE << s->order >> 10, KUP_MAX_EXTENTS);
		return -ENOSPC;
	}
	s->nr_extents = nr;
	return 0;
}

static int check_room(struct seal *s, u64 min_free, u64 *reserved)
{
	u32 i;

	for (*reserved = i = 0; i < s->nr_extents; i++)
		*reserved += PHYS_PFN(s->extents[i].size);
	if (left_of(*reserved) >= min_free)
		return 0;
	kup_say(s->why, "too little memory for the next kernel: of %llu MiB, %llu are reserved, window and all, and %llu must be left",
		PFN_PHYS((u64)totalram_pages()) >> 20, (PFN_PHYS(*reserved) + kup_window.size) >> 20, min_free >> 20);
	return -ENOSPC;
}

static int write_area(struct seal *s)
{
	const struct kup_pages *store = kup_store_pages();
	struct kup_handover *h = kup_area(), hdr = {
		.magic = KUP_HANDOVER_MAGIC,
		.version = KUP_HANDOVER_VERSION,
		.header_size = sizeof(hdr),
		.nonce = kup_window.nonce,
		.self = kup_window.area,
		.nr_extents = s->nr_extents,
		.block_order = s->order,
		.stream_pages = maps.nr + store->nr,
		.maps_size = s->end,
		.store_off = PFN_PHYS(maps.nr),
		.store_size = kup_store_size(),
		.nr_mms = s->nr_mms,
		.flags = s->sums ? KUP_HANDOVER_SUMS : 0,
		.nr_frames = s->nr_frames,
		.nr_again = s->nr_again,
		.nr_pieces = kup_kept.nr,
		.fallback_seconds = kup_kept.seconds,
		.fallback_entry = kup_kept.entry,
		.fallback_sum = kup_kept.sum,
		.boot_cycles = check_tsc_unstable() ? 0 : kup_kept.boot_seconds * 1000ULL * tsc_khz,
		.jump_code = kup_kept.jump_code,
		.jump_table = { kup_kept.jump_table[0], kup_kept.jump_table[1] },
		.stub_state = KUP_STUB_NONE,
	};
	u64 dir_size = hdr.stream_pages * sizeof(u32), pieces_size = kup_kept.nr * sizeof(*kup_kept.piece);
	u32 *dir;

	hdr.extents_off = PAGE_SIZE;
	hdr.directory_off = hdr.extents_off + PAGE_ALIGN(s->nr_extents * sizeof(*s->extents));
	hdr.scratch_off = hdr.directory_off + PAGE_ALIGN(dir_size);
	if (kup_kept.nr) {
		hdr.pieces_off = hdr.scratch_off;
		hdr.scratch_off += PAGE_ALIGN(pieces_size);
	}
	if (hdr.scratch_off + ((u64)s->nr_extents + KUP_REGION_SLACK) * KUP_MAX_REGION_SIZE > KUP_AREA_SIZE) {
		kup_say(s->why, "the handover is too large: %llu pages of maps and store, %u extents", hdr.stream_pages,
			s->nr_extents);
		return -ENOSPC;
	}
	hdr.scratch_size = KUP_AREA_SIZE - hdr.scratch_off;

	dir = kup_area() + hdr.directory_off;
	memset(dir, 0, PAGE_ALIGN(dir_size));
	memcpy(dir, maps.pfn, maps.nr * sizeof(*dir));
	memcpy(dir + maps.nr, store->pfn, store->nr * sizeof(*dir));
	memcpy(kup_area() + hdr.pieces_off, kup_kept.piece, pieces_size);	/* none: nothing */

	hdr.extents_sum = kup_sum(s->extents, s->nr_extents * sizeof(*s->extents), 0);
	hdr.directory_sum = kup_sum(dir, round_up(dir_size, 8), 0);
	hdr.maps_sum = kup_pages_sum(&maps, hdr.maps_size);
	hdr.store_sum = kup_pages_sum(store, hdr.store_size);
	hdr.pieces_sum = kup_sum(kup_kept.piece, pieces_size, 0);
	strscpy_pad(hdr.release, init_utsname()->release, sizeof(hdr.release));
	hdr.seal_tsc = rdtsc_ordered();
	hdr.header_sum = kup_sum(&hdr, offsetof(struct kup_handover, header_sum), 0);
	*h = hdr;
	return 0;
}

static int check_undisturbed(struct seal *s)
{
	struct kup_old_mm *om;

	list_for_each_entry(om, &kup_old_mms, node)
		if (READ_ONCE(om->disturbed)) {
			kup_say(s->why, "%s (%d) ran while its memory was preserved", om->comm, om->tgid);
			return -EBUSY;
		}
	return 0;
}

/* What userspace will make the pool of huge pages of 2 MiB have besides those that are kept, and one. */
static u64 pool_bytes(void)
{
	struct kup_old_shmem *os;
	struct kup_old_mm *om;
	bool hugetlb = false;

	list_for_each_entry(om, &kup_old_mms, node)
		hugetlb |= om->nr_hugetlb;
	list_for_each_entry(os, &kup_old_shmems, node)
		hugetlb |= os->hugetlb && !os->gigantic;
	return hugetlb ? (kup_hugetlb_free() + 1) * PMD_SIZE : 0;
}

static int seal(struct seal *s, struct kup_seal *arg)
{
	u64 min_free = (arg->min_free ?: default_min_free()) + pool_bytes(), reserved;
	int err;

	s->words = round_up(DIV_ROUND_UP_ULL(kup_max_pfn(), 64), BLOCK_WORDS);
	s->frames = kvcalloc(s->words, sizeof(*s->frames), GFP_KERNEL);
	if (!s->frames)
		return -ENOMEM;
	err = find_shared(s) ?: kup_shmem_hold_again(s->why);
	if (!err && !kup_kept.nr)	/* with a fallback nothing of hugetlbfs is kept */
		err = kup_hugetlb_list(&s->pool, &s->nr_pool);
	if (err)
		return err;
	s->nr_mms += !!s->nr_pool;
	if (s->nr_mms > KUP_MAX_MMS) {
		kup_say(s->why, "%u maps of processes and of what they share are more than the %u that fit", s->nr_mms, KUP_MAX_MMS);
		return -ENOSPC;
	}
	err = encode_maps(s, arg->flags & KUP_SEAL_SUMS);
	if (err)
		return err;
	err = name_pages(s, &maps);
	if (err)
		return err;
	err = name_pages(s, kup_store_pages());
	if (err)
		return err;
	err = name_kept(s);
	if (err)
		return err;
	bitmap_set((unsigned long *)s->frames, PHYS_PFN(kup_window.area), PHYS_PFN(KUP_AREA_SIZE));
	err = check_undisturbed(s);
	if (err)
		return err;
	err = make_extents(s, min_free);
	if (err)
		return err;
	err = check_room(s, min_free, &reserved);
	if (err)
		return err;
	err = write_area(s);
	if (err)
		return err;
	arg->frames = s->nr_frames - s->nr_again;
	arg->reserved_pages = reserved;
	arg->meta_bytes = s->end;
	arg->extents = s->nr_extents;
	arg->block_order = s->order;
	return 0;
}

static int hide_all_moved(struct seal *s)
{
	struct kup_old_shmem *os;
	struct kup_old_mm *om;
	int err = 0;

	list_for_each_entry(os, &kup_old_shmems, node)
		s->nr_mms++;
	list_for_each_entry(om, &kup_old_mms, node) {
		err = kup_hide_moved(om, s->why);
		if (err)
			break;
		s->nr_mms += 1 + !!om->nr_hugetlb + !!om->nr_gigantic;
	}
	return err;
}

/**
 * kup_seal - write the handover
 */
int kup_seal(struct kup_seal *arg)
{
	struct seal *s;
	int err;

	lockdep_assert_held(&kup.lock);
	s = kvzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return -ENOMEM;
	s->why = arg->why;
	err = hide_all_moved(s) ?: seal(s, arg);
	if (err)
		kup_seal_undo();
	else
		kup_set_state(KUP_STATE_SEALED);
	kvfree(s->frames);
	kvfree(s->shared);
	kvfree(s->sums);
	kvfree(s->pool);
	kvfree(s);
	return err;
}

void kup_seal_undo(void)
{
	struct kup_old_mm *om;

	list_for_each_entry(om, &kup_old_mms, node)
		kup_unseal(om);
	if (kup_window.size)
		memset(kup_area(), 0, PAGE_SIZE);
	kup_pages_free(&maps);
}
