// SPDX-License-Identifier: GPL-2.0
/*
 * Sums of what the preserved frames hold: made by SEAL, if asked for, while nobody can write to them, and compared by VERIFY before
 * anybody can again. Each is of one chunk, so that a difference names a process and 2 MiB of its addresses.
 *
 * A difference shows memory that was written to between the two by what is no process: the jump itself, a device that was not
 * stopped, a broken DIMM.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "kup.h"
#include "space.h"

static u64 sum_of(struct kup_walk *walk)
{
	struct kup_run run;
	u64 sum = 0;
	u32 i;

	while (kup_walk_next(walk, &run))
		for (i = 0; i < run.nr; i++)
			sum = kup_frame_sum(__va(PFN_PHYS((u64)run.pfn + i)), sum);
	return sum;
}

u64 kup_chunk_sum(const struct kup_chunk *c, const void *payload)
{
	struct kup_walk walk;

	kup_walk_payload(&walk, c, payload);
	return sum_of(&walk);
}

static int verify_record(struct kup_verify *v, const struct kup_record *rec, const u64 *sums)
{
	struct kup_walk walk;
	u32 i;

	for (i = 0; i < rec->mm->nr_chunks; i++) {
		kup_walk_begin(&walk, &rec->chunks[i], kup_new.stream.base);
		if (sum_of(&walk) != sums[i]) {
			kup_say(v->why, "memory of %s %u (%s) from %#llx to %#llx is not as it was sealed", kup_record_kind(rec), rec->mm->pid,
				rec->mm->comm, rec->chunks[i].addr, rec->chunks[i].addr + KUP_CHUNK_SIZE);
			return -EBADMSG;
		}
		kup_fallback_alive();
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	v->pages += rec->mm->nr_pages;
	return 0;
}

/**
 * kup_verify - compare all preserved memory with the sums in the handover
 * @v: see the uapi header
 *
 * Under kup.lock, in ADOPTED. Return: 0, -ENODATA, -EBUSY, -EBADMSG, -EINTR.
 */
int kup_verify(struct kup_verify *v)
{
	const struct kup_handover *h = kup_new.h;
	const u64 *sums;
	int err = 0;
	u32 i;

	lockdep_assert_held(&kup.lock);
	v->pages = 0;
	if (!(h->flags & KUP_HANDOVER_SUMS)) {
		kup_say(v->why, "the handover has no sums of the memory");
		return -ENODATA;
	}
	/* That of a process that ended before it touched any is as it was: ATTACH may be tried again, and so may this. */
	for (i = 0; i < h->nr_mms; i++) {
		const struct kup_record *rec = &kup_new.rec[i];

		if (rec->mm->flags & KUP_MM_POOL)
			continue;
		if ((rec->att && !kup_is_dead(rec->att)) || atomic_read(&rec->nr_done)) {
			kup_say(v->why, "%s %u has its memory back, and may have written to it", kup_record_kind(rec), rec->mm->pid);
			return -EBUSY;
		}
	}
	sums = kup_maps_sums(kup_new.stream.base, h->maps_size, h->nr_mms);
	for (i = 0; i < h->nr_mms && !err; i++) {
		if (!(kup_new.rec[i].mm->flags & KUP_MM_POOL))	/* it may have been anybody's until the jump */
			err = verify_record(v, &kup_new.rec[i], sums);
		sums += kup_new.rec[i].mm->nr_chunks;
	}
	return err;
}
