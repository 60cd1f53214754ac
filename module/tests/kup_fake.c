// SPDX-License-Identifier: GPL-2.0
/* See kup_fake.h. */
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include <kup/handover.h>
#include <kup/map.h>
#include "../extent.h"
#include "kup_fake.h"

/* Pure code, and kup_ppp.ko has it for itself: a copy of our own. */
#include "../extent.c"
#include "../handover.c"
#include "../map.c"

#define AREA_ORDER	10
#define EXTENTS_OFF	PAGE_SIZE
#define DIRECTORY_OFF	(1UL << 20)
#define SCRATCH_OFF	(3UL << 20)
#define SCRATCH_SIZE	(64UL << 10)

static struct {
	unsigned long *owned;	/* bitmap of reserved frames */
	u64 *map;		/* what goes into the extents */
} fake;
static DEFINE_MUTEX(lock);

static unsigned long end_pfn(void)
{
	unsigned long end = 0;
	int nid;

	for_each_online_node(nid)
		end = max(end, node_end_pfn(nid));
	return end;
}

static unsigned long words(void)
{
	return round_up(end_pfn(), 64) / 64;
}

static void own(struct page *page, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr; i++) {
		SetPageReserved(page + i);
		set_bit(page_to_pfn(page + i), fake.owned);
		set_bit(page_to_pfn(page + i), (unsigned long *)fake.map);
	}
	adjust_managed_page_count(page, -(long)nr);
}

static u32 new_frames(unsigned int order)
{
	struct page *page = alloc_pages(GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN, order);

	if (!page)
		return 0;
	if (order)
		split_page(page, order);
	own(page, 1UL << order);
	return page_to_pfn(page);
}

/* Not pfn_to_kaddr(): where that is a macro (6.1), it shifts 32 bits, and frames from 4 GiB on are others. */
static void *frame_at(u32 pfn)
{
	return __va(PFN_PHYS((u64)pfn));
}

static void fill(u32 pfn, u32 pid, u64 addr)
{
	u64 *p = frame_at(pfn);
	unsigned int i;

	for (i = 0; i < PAGE_SIZE / 8; i++)
		p[i] = fake_word(pid, addr, i);
}

/* Nobody adopted it. */
static void unmake(void)
{
	unsigned long pfn;

	for_each_set_bit(pfn, fake.owned, end_pfn()) {
		struct page *page = pfn_to_page(pfn);

		set_page_count(page, 1);
		free_reserved_page(page);
	}
}

static bool bit(const u64 *map, unsigned int i)
{
	return map[i / 64] >> (i % 64) & 1;
}

/* @twin: the frames of the chunk with which it shares some, or NULL */
static int make_chunk(const struct fake_chunk *f, const u32 *twin, u32 *pfns)
{
	unsigned int i;
	u32 huge = 0;

	if (f->huge) {
		huge = new_frames(9);
		if (!huge)
			return -ENOMEM;
	}
	memset(pfns, 0, KUP_CHUNK_PAGES * sizeof(*pfns));
	for (i = 0; i < KUP_CHUNK_PAGES; i++) {
		if (!f->huge && !bit(f->present, i))
			continue;
		if (twin && bit(f->shared, i)) {
			pfns[i] = twin[i];
			continue;
		}
		pfns[i] = huge ? huge + i : new_frames(0);
		if (!pfns[i])
			return -ENOMEM;
		fill(pfns[i], f->pid, f->addr + i * PAGE_SIZE);
	}
	return 0;
}

/* Page by page, in the order of the addresses. */
static u64 sum_of(const u32 *pfns)
{
	unsigned int i;
	u64 sum = 0;

	for (i = 0; i < KUP_CHUNK_PAGES; i++)
		if (pfns[i])
			sum = kup_frame_sum(frame_at(pfns[i]), sum);
	return sum;
}

static void spoil_last(const u32 *pfns)
{
	unsigned int i = KUP_CHUNK_PAGES - 1;

	while (!pfns[i])
		i--;
	((char *)frame_at(pfns[i]))[PAGE_SIZE - 1] ^= 0x40;
}

static int make_maps(const struct fake_handover *in, const struct fake_chunk *f, char *maps, u64 room, struct kup_handover *h)
{
	struct kup_mm_record *mm = (void *)maps;
	struct kup_chunk *c;
	u32 *pfns = kmalloc_array(2 * KUP_CHUNK_PAGES, sizeof(*pfns), GFP_KERNEL), first = 0, i;
	u64 *payload = kmalloc(KUP_PAYLOAD_MAX, GFP_KERNEL), *sums = kvmalloc_array(in->nr_chunks, sizeof(*sums), GFP_KERNEL);
	u64 off;
	int err = -ENOMEM, len;

	if (!pfns || !payload || !sums)
		goto out;
	for (i = 0; i < in->nr_chunks; i++)
		h->nr_mms += !i || f[i].pid != f[i - 1].pid;
	off = h->nr_mms * sizeof(*mm);
	c = (void *)maps + off;
	for (i = 0; i < in->nr_chunks; i++) {
		if (i && f[i].pid != f[i - 1].pid)
			mm++;
		if (!mm->pid) {
			mm->pid = f[i].pid;
			mm->flags = in->flags;
			mm->chunks_off = off + i * sizeof(*c);
			strscpy(mm->comm, "fake", sizeof(mm->comm));
		}
		mm->nr_chunks++;
	}
	mm = (void *)maps;
	off += in->nr_chunks * sizeof(*c);
	for (i = 0; i < in->nr_chunks; i++) {
		if (i && f[i].pid != f[i - 1].pid)
			mm++;
		if (f[i].twin) {
			kup_chunk_decode(&c[f[i].twin - 1], maps, off, pfns + KUP_CHUNK_PAGES);
			h->nr_again += bitmap_weight((unsigned long *)f[i].shared, KUP_CHUNK_PAGES);
		}
		err = make_chunk(&f[i], f[i].twin ? pfns + KUP_CHUNK_PAGES : NULL, pfns);
		if (err)
			goto out;
		if (i == 0)
			for (first = 0; !pfns[first]; first++)
				;
		if (i == 0 && in->defect == FAKE_TWICE)
			for (len = KUP_CHUNK_PAGES - 1; ; len--)
				if (pfns[len]) {
					pfns[len] = pfns[first];
					break;
				}
		if (i == 0 && in->defect == FAKE_NOT_RESERVED)
			ClearPageReserved(pfn_to_page(pfns[first]));
		if (i == 0 && in->defect == FAKE_IN_USE)
			get_page(pfn_to_page(pfns[first]));
		if (i == 0 && in->defect == FAKE_OUTSIDE)
			clear_bit(pfns[first], (unsigned long *)fake.map);
		c[i].addr = f[i].addr;
		if (bitmap_empty((unsigned long *)f[i].shared, KUP_CHUNK_PAGES))
			len = kup_chunk_encode(&c[i], pfns, f[i].huge, payload);
		else
			len = kup_chunk_encode_shared(&c[i], pfns, f[i].shared, payload);
		if (len < 0 || off + len > room) {
			err = len < 0 ? len : -ENOSPC;
			goto out;
		}
		if (c[i].kind != KUP_CHUNK_HUGE) {
			c[i].value = off / 8;
			memcpy(maps + off, payload, len);
			off += len;
		}
		sums[i] = sum_of(pfns);
		if (i == in->nr_chunks - 1 && in->defect == FAKE_FRAME)
			spoil_last(pfns);
		mm->nr_huge += c[i].kind == KUP_CHUNK_HUGE;
		mm->nr_pages += c[i].kind == KUP_CHUNK_RUNS ? 0 : c[i].nr;
		if (c[i].kind == KUP_CHUNK_RUNS) {
			const struct kup_run *r = (void *)maps + c[i].value * 8;
			u32 n;

			for (n = 0; n < c[i].nr; n++)
				mm->nr_pages += r[n].nr & ~KUP_RUN_SHARED;
		}
		cond_resched();
	}
	for (i = 0, mm = (void *)maps; i < h->nr_mms; i++)
		h->nr_frames += mm[i].nr_pages;
	h->nr_again -= in->defect == FAKE_AGAIN;
	if (in->sums) {
		h->flags = KUP_HANDOVER_SUMS;
		memcpy(maps + off, sums, in->nr_chunks * sizeof(*sums));
		off += in->nr_chunks * sizeof(*sums);
	}
	h->maps_size = off;
	err = 0;
out:
	kvfree(sums);
	kfree(payload);
	kfree(pfns);
	return err;
}

static int make(struct fake_handover *in, const struct fake_chunk *f)
{
	u64 room = round_up(in->nr_chunks * (sizeof(struct kup_chunk) + KUP_PAYLOAD_MAX + sizeof(struct kup_mm_record) + sizeof(u64)), PAGE_SIZE);
	u64 total = room + PAGE_ALIGN(in->store_size), i, sum;
	char *stream = vzalloc(total);
	struct kup_extent *e;
	struct kup_handover *h;
	struct page *area;
	u32 *dir;
	int err;

	if (!stream)
		return -ENOMEM;
	err = -ENOMEM;
	area = alloc_pages(GFP_KERNEL | __GFP_ZERO, AREA_ORDER);
	if (!area)
		goto out;
	split_page(area, AREA_ORDER);
	bitmap_zero(fake.owned, end_pfn());
	memset(fake.map, 0, words() * 8);
	own(area, 1UL << AREA_ORDER);
	h = page_address(area);

	err = make_maps(in, f, stream, room, h);
	if (err)
		goto undo;
	h->store_off = PAGE_ALIGN(h->maps_size);
	h->store_size = in->store_size;
	for (i = 0; i < in->store_size; i++)
		stream[h->store_off + i] = i * 7;
	h->stream_pages = (h->store_off + PAGE_ALIGN(in->store_size)) >> PAGE_SHIFT;
	dir = (void *)h + DIRECTORY_OFF;
	h->maps_sum = kup_sum(stream, round_up(h->maps_size, 8), 0);
	h->store_sum = kup_sum(stream + h->store_off, round_up(h->store_size, 8), 0);
	if (in->defect == FAKE_MAPS)
		stream[60] ^= 1;
	if (in->defect == FAKE_STORE)
		stream[h->store_off] ^= 1;
	err = -ENOMEM;
	for (i = 0; i < h->stream_pages; i++) {
		dir[i] = new_frames(0);
		if (!dir[i])
			goto undo;
		memcpy(frame_at(dir[i]), stream + i * PAGE_SIZE, PAGE_SIZE);
	}
	for (i = 0; i < in->extra_pages; i++)
		if (!new_frames(0))
			goto undo;
	e = (void *)h + EXTENTS_OFF;
	sum = kup_frames_extents(fake.map, words(), e, (DIRECTORY_OFF - EXTENTS_OFF) / sizeof(*e));
	err = -ENOSPC;
	if (sum > KUP_MAX_EXTENTS || sum > (DIRECTORY_OFF - EXTENTS_OFF) / sizeof(*e))
		goto undo;
	h->magic = KUP_HANDOVER_MAGIC;
	h->version = KUP_HANDOVER_VERSION;
	h->header_size = sizeof(*h);
	h->nonce = 42;
	h->self = page_to_phys(area);
	h->extents_off = EXTENTS_OFF;
	h->directory_off = DIRECTORY_OFF;
	h->scratch_off = SCRATCH_OFF;
	h->scratch_size = SCRATCH_SIZE;
	h->nr_extents = sum;
	h->extents_sum = kup_sum(e, sum * sizeof(*e), 0);
	h->directory_sum = kup_sum(dir, round_up(h->stream_pages * 4, 8), 0);
	strscpy(h->release, "fake", sizeof(h->release));
	if (in->defect == FAKE_EXTENTS)
		e[0].size ^= PAGE_SIZE;
	h->header_sum = kup_sum(h, offsetof(struct kup_handover, header_sum), 0);
	if (in->defect == FAKE_HEADER)
		h->nr_frames++;
	h->stub_state = in->defect == FAKE_NO_STUB ? KUP_STUB_NONE :
			in->defect == FAKE_ADOPTED ? KUP_STUB_ADOPTED : KUP_STUB_RESERVED;
	for (i = SCRATCH_OFF; i < SCRATCH_OFF + SCRATCH_SIZE; i += PAGE_SIZE) {	/* as memblock does after boot */
		clear_bit(page_to_pfn(area) + (i >> PAGE_SHIFT), fake.owned);
		free_reserved_page(area + (i >> PAGE_SHIFT));
	}
	in->area = h->self;
	err = 0;
	goto out;
undo:
	unmake();
out:
	vfree(stream);
	return err;
}

static long fake_ioctl(struct file *file, unsigned int cmd, unsigned long uarg)
{
	struct fake_handover in;
	struct fake_chunk *f;
	long err = 0;

	if (cmd != FAKE_IOC_MAKE && cmd != FAKE_IOC_UNMAKE)
		return -ENOTTY;
	mutex_lock(&lock);
	if (cmd == FAKE_IOC_UNMAKE) {
		unmake();
	} else if (copy_from_user(&in, (void __user *)uarg, sizeof(in))) {
		err = -EFAULT;
	} else {
		f = vmalloc(array_size(in.nr_chunks, sizeof(*f)));
		if (!f)
			err = -ENOMEM;
		else if (copy_from_user(f, u64_to_user_ptr(in.chunks), in.nr_chunks * sizeof(*f)))
			err = -EFAULT;
		else
			err = make(&in, f);
		if (!err && copy_to_user((void __user *)uarg, &in, sizeof(in)))
			err = -EFAULT;
		vfree(f);
	}
	mutex_unlock(&lock);
	return err;
}

static const struct file_operations fops = { .owner = THIS_MODULE, .unlocked_ioctl = fake_ioctl };
static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = "kup_fake", .fops = &fops, .mode = 0600 };

static int __init fake_init(void)
{
	fake.owned = vzalloc(words() * 8);
	fake.map = vzalloc(words() * 8);
	return fake.owned && fake.map ? misc_register(&device) : -ENOMEM;
}

static void __exit fake_exit(void)
{
	misc_deregister(&device);
	vfree(fake.owned);
	vfree(fake.map);
}

module_init(fake_init);
module_exit(fake_exit);
MODULE_DESCRIPTION("test only: a handover without a switch");
MODULE_LICENSE("GPL");
