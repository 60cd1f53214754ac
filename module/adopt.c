// SPDX-License-Identifier: GPL-2.0
/*
 * Taking over what the old kernel left.
 *
 * 1. Nothing is believed before it is checked: the header, that the stub reserved the memory, the sums, the form of the maps,
 *    and that each frame named anywhere is reserved RAM inside an extent and named once. One bitmap does the last: it
 *    starts with all frames of the extents, and whoever names a frame takes it out. A frame that is named as one of several
 *    owners goes into a second one, and each owner but the first adds a reference: see share.c.
 * 2. Only then the handover is marked ADOPTED, for good. What is left in the bitmap was reserved with its block only:
 *    the kernel gets it back.
 * 3. When no chunk is unbound any more, the stream, the pieces and the area go the same way; not the scratch, which was the region
 *    array of memblock and was freed with it.
 */
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "compat/compat.h"
#include "kup.h"
#include "space.h"

struct kup_adopted kup_new;

/* The frames of the extents that nobody has named yet. */
struct frames {
	unsigned long *map;
	unsigned long *shared;	/* those that were named by owners; NULL if the handover says that there are none */
	u64 again;		/* namings of those, but for the first ones */
	u64 end;		/* kup_max_pfn() */
};

static bool take_frame(const struct frames *frames, u64 pfn)
{
	struct page *page;

	if (pfn >= frames->end || !__test_and_clear_bit(pfn, frames->map) || !pfn_valid(pfn))
		return false;
	page = pfn_to_page(pfn);
	return PageReserved(page) && page_count(page) == 1 && !page->mapping;
}

/*
 * So many frames from @pfn on at once, which no other process and nothing else has named; false if one of them is not to be had, and
 * then all are left.
 */
static bool take_run(const struct frames *frames, u64 pfn, unsigned int nr)
{
	u64 end = pfn + nr, i = pfn;

	if (end > frames->end || find_next_zero_bit(frames->map, end, pfn) < end)
		return false;
	while (i < end) {
		/* The memory map is there or not for a whole chunk of frames. */
		u64 stop = min(end, round_up(i + 1, KUP_CHUNK_PAGES));
		struct page *page = pfn_to_page(i);

		if (!pfn_valid(i))
			return false;
		for (; i < stop; i++, page++)
			if (!PageReserved(page) || page_ref_count(page) != 1 || page->mapping)
				return false;
	}
	bitmap_clear(frames->map, pfn, nr);
	return true;
}

static bool take_shared(struct frames *frames, u64 pfn)
{
	if (!frames->shared || pfn >= frames->end)
		return false;
	if (!test_bit(pfn, frames->shared)) {
		if (!take_frame(frames, pfn))
			return false;
		__set_bit(pfn, frames->shared);
		return true;
	}
	page_ref_inc(pfn_to_page(pfn));
	frames->again++;
	return true;
}

/* Each has more owners than one, and all owners of all are as many as the header says. */
static int check_shared(const struct kup_handover *h, const struct frames *frames, char *why)
{
	unsigned long pfn;

	if (frames->again != h->nr_again) {
		kup_say(why, "%llu pages have another's frame, not %llu", frames->again, h->nr_again);
		return -EBADMSG;
	}
	if (!frames->shared)
		return 0;
	for_each_set_bit(pfn, frames->shared, frames->end)
		if (page_ref_count(pfn_to_page(pfn)) < 2) {
			kup_say(why, "frame %#lx has one owner and is named as shared", pfn);
			return -EBADMSG;
		}
	return 0;
}

/* Refused: it may be tried again. */
static void leave_shared(const struct frames *frames)
{
	unsigned long pfn;

	if (frames->shared)
		for_each_set_bit(pfn, frames->shared, frames->end)
			set_page_count(pfn_to_page(pfn), 1);
}

/* The memory may be anybody's by now, if nothing was reserved: what is read there proves nothing until it is checked. */
static void peek_header(u64 area, struct kup_handover *copy)
{
	const unsigned long *from = __va(area);
	unsigned long *to = (unsigned long *)copy;
	unsigned int i;

	BUILD_BUG_ON(sizeof(*copy) % sizeof(*to));
	for (i = 0; i < sizeof(*copy) / sizeof(*to); i++)
		to[i] = READ_ONCE_NOCHECK(from[i]);
}

static int check_header(struct kup_adopt *a, struct kup_handover **header)
{
	struct kup_handover h;
	int bad;

	a->stub_state = KUP_STUB_NONE;
	if (!a->area || a->area % KUP_AREA_ALIGN) {
		kup_say(a->why, "%#llx is no address of a handover", a->area);
		return -EINVAL;
	}
	if (PHYS_PFN(a->area + KUP_AREA_SIZE) > kup_max_pfn() ||
	    region_intersects(a->area, KUP_AREA_SIZE, IORESOURCE_SYSTEM_RAM, IORES_DESC_NONE) != REGION_INTERSECTS) {
		kup_say(a->why, "there is no memory at %#llx", a->area);
		return -ENOENT;
	}
	peek_header(a->area, &h);
	bad = kup_handover_check(&h, a->area, 0);
	if (bad == KUP_STUB_BAD_MAGIC) {
		kup_say(a->why, "there is no handover at %#llx", a->area);
		return -ENOENT;
	}
	if (bad) {
		kup_say(a->why, "handover at %#llx: %s", a->area, kup_stub_state_name(bad));
		return -EBADMSG;
	}
	a->stub_state = h.stub_state;
	if (h.stub_state == KUP_STUB_ADOPTED) {
		kup_say(a->why, "the handover at %#llx was adopted before", a->area);
		return -ESTALE;
	}
	if (h.stub_state != KUP_STUB_RESERVED || !PageReserved(pfn_to_page(PHYS_PFN(a->area)))) {
		kup_say(a->why, "the boot stub did not reserve the memory: %s", kup_stub_state_name(h.stub_state));
		return -EBADMSG;
	}
	*header = __va(a->area);
	return 0;
}

/* All frames that the stub reserved. */
static int frames_of_extents(const struct kup_handover *h, const struct frames *frames, char *why)
{
	const struct kup_extent *e = (const void *)h + h->extents_off;
	u64 size = h->nr_extents * sizeof(*e);
	u32 i;

	if (kup_sum(e, size, 0) != h->extents_sum || kup_extents_check(e, h->nr_extents)) {
		kup_say(why, "the handover's extents are damaged");
		return -EBADMSG;
	}
	for (i = 0; i < h->nr_extents; i++) {
		if (e[i].base + e[i].size < e[i].base || PHYS_PFN(e[i].base + e[i].size) > frames->end) {
			kup_say(why, "extent %#llx+%#llx is not in memory", e[i].base, e[i].size);
			return -EBADMSG;
		}
		bitmap_set(frames->map, PHYS_PFN(e[i].base), PHYS_PFN(e[i].size));
	}
	return 0;
}

static int take_area(const struct kup_handover *h, const struct frames *frames, char *why)
{
	const u32 *dir = (const void *)h + h->directory_off;
	u64 i;

	for (i = 0; i < KUP_AREA_SIZE; i += KUP_FRAME_SIZE) {
		bool scratch = i >= h->scratch_off && i < h->scratch_off + h->scratch_size;

		/* The scratch is not ours to look at: the kernel may have freed it already. */
		if (scratch ? !__test_and_clear_bit(PHYS_PFN(h->self + i), frames->map) : !take_frame(frames, PHYS_PFN(h->self + i))) {
			kup_say(why, "the handover's own memory at %#llx is not reserved", h->self + i);
			return -EBADMSG;
		}
	}
	for (i = 0; i < h->stream_pages; i++)
		if (!take_frame(frames, dir[i])) {
			kup_say(why, "page %llu of the handover's stream, frame %#x, is not reserved or not its own", i, dir[i]);
			return -EBADMSG;
		}
	return 0;
}

/* Where the kernel to fall back to is kept. They stay the handover's until it is released, whether it is needed or was used. */
static int take_pieces(const struct kup_handover *h, const struct frames *frames, char *why)
{
	const struct kup_piece *piece = (const void *)h + h->pieces_off;
	u32 i;

	if (kup_sum(piece, h->nr_pieces * sizeof(*piece), 0) != h->pieces_sum) {
		kup_say(why, "the handover's pieces are damaged");
		return -EBADMSG;
	}
	for (i = 0; i < h->nr_pieces; i++)
		if (!take_run(frames, PHYS_PFN(piece[i].from), PHYS_PFN(piece[i].size))) {
			kup_say(why, "memory of the kept kernel at %#llx is not reserved, or named twice", piece[i].from);
			return -EBADMSG;
		}
	return 0;
}

/* Those of a chunk that is one or more runs, without looking at each number; false for another one, or if a frame is not to be had. */
static bool take_runs(const struct frames *frames, const struct kup_chunk *c, const struct kup_stream *stream)
{
	const struct kup_run *run = stream->base + c->value * 8ULL;
	unsigned int i;

	if (c->kind == KUP_CHUNK_HUGE)
		return take_run(frames, c->value, KUP_CHUNK_PAGES);
	if (c->kind != KUP_CHUNK_RUNS || kup_chunk_is_shared(c))
		return false;
	for (i = 0; i < c->nr && take_run(frames, run[i].pfn, run[i].nr); i++)
		;
	if (i == c->nr)
		return true;
	/* Back with those that were taken: who looks at each one tells which is the culprit. */
	while (i--)
		bitmap_set(frames->map, run[i].pfn, run[i].nr);
	return false;
}

static int take_chunk(const struct kup_record *rec, const struct kup_chunk *c, const struct kup_stream *stream, struct frames *frames,
		      char *why)
{
	struct kup_walk walk;
	struct kup_run run;
	unsigned int i;

	kup_walk_begin(&walk, c, stream->base);
	while (kup_walk_next(&walk, &run))
		for (i = 0; i < run.nr; i++)
			if (!(walk.shared ? take_shared(frames, run.pfn + i) : take_frame(frames, run.pfn + i))) {
				kup_say(why, "frame %#x of %s %u at %#llx is not reserved, or named twice", run.pfn + i, kup_record_kind(rec), rec->mm->pid,
					c->addr + (run.first + i) * KUP_FRAME_SIZE);
				return -EBADMSG;
			}
	return 0;
}

static int take_record(const struct kup_record *rec, const struct kup_stream *stream, struct frames *frames, char *why)
{
	int err = 0;
	u32 i;

	for (i = 0; i < rec->mm->nr_chunks && !err; i++) {
		cond_resched();
		if (!take_runs(frames, &rec->chunks[i], stream))
			err = take_chunk(rec, &rec->chunks[i], stream, frames, why);
	}
	return err;
}

static void free_records(struct kup_record *rec, u32 nr)
{
	if (!rec)
		return;
	while (nr--) {
		kvfree(rec[nr].busy);
		kvfree(rec[nr].done);
		kvfree(rec[nr].copied);
	}
	kvfree(rec);
}

static struct kup_record *alloc_records(const struct kup_handover *h, const struct kup_stream *stream)
{
	const struct kup_mm_record *mm = stream->base;
	struct kup_record *rec = kvcalloc(max(h->nr_mms, 1u), sizeof(*rec), GFP_KERNEL);
	u32 i;

	for (i = 0; rec && i < h->nr_mms; i++) {
		rec[i].mm = &mm[i];
		rec[i].chunks = stream->base + mm[i].chunks_off;
		rec[i].busy = kvcalloc(BITS_TO_LONGS(mm[i].nr_chunks) ?: 1, sizeof(long), GFP_KERNEL);
		rec[i].done = kvcalloc(BITS_TO_LONGS(mm[i].nr_chunks) ?: 1, sizeof(long), GFP_KERNEL);
		rec[i].copied = kvcalloc(BITS_TO_LONGS(mm[i].nr_chunks) ?: 1, sizeof(long), GFP_KERNEL);
		if (!rec[i].busy || !rec[i].done || !rec[i].copied) {
			free_records(rec, i + 1);
			return NULL;
		}
	}
	return rec;
}

static u64 give_back(const struct frames *frames)
{
	unsigned long pfn;
	u64 nr = 0;

	for_each_set_bit(pfn, frames->map, frames->end) {
		if (!take_frame(frames, pfn))
			continue;	/* whatever it is, it is not ours */
		free_reserved_page(pfn_to_page(pfn));
		if (!(++nr % 1024))
			cond_resched();
	}
	return nr;
}

static int adopt(struct kup_adopt *a)
{
	struct kup_adopted new = {};
	struct frames frames = { .end = kup_max_pfn() };
	struct kup_handover *h;
	int err;
	u32 i;

	err = check_header(a, &h);
	if (err)
		return err;
	frames.map = kvcalloc(BITS_TO_LONGS(frames.end), sizeof(long), GFP_KERNEL);
	if (h->nr_again)
		frames.shared = kvcalloc(BITS_TO_LONGS(frames.end), sizeof(long), GFP_KERNEL);
	err = -ENOMEM;
	if (!frames.map || (h->nr_again && !frames.shared))
		goto out;
	err = frames_of_extents(h, &frames, a->why);
	if (!err)
		err = kup_stream_map(h, &new.stream, a->why);
	if (err)
		goto out;
	if (kup_maps_check(new.stream.base, h->maps_size, h->nr_mms, h->nr_frames) ||
	    (h->flags & KUP_HANDOVER_SUMS && !kup_maps_sums(new.stream.base, h->maps_size, h->nr_mms))) {
		kup_say(a->why, "the handover's maps are malformed");
		err = -EBADMSG;
		goto unmap;
	}
	err = take_area(h, &frames, a->why) ?: take_pieces(h, &frames, a->why);
	if (err)
		goto unmap;
	new.rec = alloc_records(h, &new.stream);
	err = -ENOMEM;
	if (!new.rec)
		goto unmap;
	for (i = 0, err = 0; !err && i < h->nr_mms; i++) {
		err = take_record(&new.rec[i], &new.stream, &frames, a->why);
		a->huge += new.rec[i].mm->nr_huge;
	}
	err = err ?: check_shared(h, &frames, a->why);
	if (err)
		goto free_rec;

	h->stub_state = KUP_STUB_ADOPTED;
	a->returned_pages = give_back(&frames);
	new.h = h;
	kup_new = new;
	atomic64_set(&kup_new.unbound, h->nr_frames);
	kup_hugetlb_adopt();
	kup_store_publish(&kup_new.stream);
	goto out;

free_rec:
	leave_shared(&frames);
	free_records(new.rec, h->nr_mms);
unmap:
	kup_stream_unmap(&new.stream);
out:
	/* What cannot be adopted here cannot be in the old kernel: nothing to go back for, when the stub's time is over (bootstub/fall.c). */
	if (err == -EBADMSG)
		h->jumper = KUP_JUMPER_NOBODY;
	kvfree(frames.shared);
	kvfree(frames.map);
	return err;
}

static u32 count_processes(void)
{
	u32 i, nr = 0;

	for (i = 0; i < kup_new.h->nr_mms; i++)
		nr += !kup_record_of(kup_new.rec[i].mm);
	return nr;
}

int kup_adopt(struct kup_adopt *a)
{
	const struct kup_handover *h;
	int err = 0;

	lockdep_assert_held(&kup.lock);
	if (a->flags & KUP_ADOPT_NETLOCK)
		err = kup_netlock(KUP_NETLOCK_ALL);
	if (err) {
		kup_say(a->why, "cannot lock the network: error %d", err);
		return err;
	}
	a->huge = 0;
	err = adopt(a);
	kup.stub_state = a->stub_state;
	*kup.refused = 0;
	if (err) {
		strscpy(kup.refused, *a->why ? a->why : "no memory", sizeof(kup.refused));
		pr_warn("not adopted: %s\n", kup.refused);
		if (a->flags & KUP_ADOPT_NETLOCK)
			kup_netlock(KUP_NETLOCK_OFF);
		return err;
	}
	h = kup_new.h;
	a->nr_mms = count_processes();
	a->frames = h->nr_frames;
	a->store_size = h->store_size;
	a->stub_cycles = h->stub_tsc_out - h->stub_tsc_in;
	a->seal_tsc = h->seal_tsc;
	a->extents = h->nr_extents;
	a->block_order = h->block_order;
	memcpy(a->release, h->release, sizeof(a->release));
	kup.counters = (struct kup_status) {
		.nr_mms = a->nr_mms,
		.area = h->self,
		.store_size = h->store_size,
	};
	kup_set_state(KUP_STATE_ADOPTED);
	kup_fallback_arm(kup_new.h);
	return 0;
}

void kup_release_handover(void)
{
	const struct kup_handover *h = kup_new.h;
	const u32 *dir = (const void *)h + h->directory_off;
	const struct kup_piece *piece = (const void *)h + h->pieces_off;
	u64 i, off, self = h->self, scratch = h->scratch_off, scratch_end = scratch + h->scratch_size;
	u64 stays = h->nr_pieces ? KUP_FRAME_SIZE : 0;

	lockdep_assert_held(&kup.lock);
	kup_store_publish(NULL);
	free_records(kup_new.rec, h->nr_mms);
	kup_stream_unmap(&kup_new.stream);
	for (i = 0; i < h->stream_pages; i++)
		kup_free_frame(pfn_to_page(dir[i]));
	for (i = 0; i < h->nr_pieces; i++)
		for (off = 0; off < piece[i].size; off += PAGE_SIZE)
			free_reserved_page(pfn_to_page(PHYS_PFN(piece[i].from + off)));
	/*
	 * From behind, so that the header is there as long as something is left. With a fallback it stays for good: the stub reads in it, at
	 * each tick, that there is nothing to do.
	 */
	for (i = KUP_AREA_SIZE; i > stays; i -= KUP_FRAME_SIZE)
		if (i <= scratch || i > scratch_end)
			kup_free_frame(pfn_to_page(PHYS_PFN(self + i - KUP_FRAME_SIZE)));
	kup_new.h = NULL;
	kup_new.rec = NULL;
	kup_set_state(KUP_STATE_IDLE);
}

void kup_new_status(struct kup_status *st)
{
	st->unbound_pages = atomic64_read(&kup_new.unbound);
	st->bound_pages = atomic64_read(&kup_new.bound);
	st->bound_huge = atomic64_read(&kup_new.bound_huge);
	st->fault_binds = atomic64_read(&kup_new.fault_binds);
	st->dropped_pages = atomic64_read(&kup_new.dropped);
	st->shared_pages = atomic64_read(&kup_new.shared);
	st->parted_pages = atomic64_read(&kup_new.parted);
	if (kup_drain_held())
		st->flags |= KUP_STATUS_HELD;
}
