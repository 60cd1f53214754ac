// SPDX-License-Identifier: GPL-2.0
/*
 * The stream's pages on both sides, and the store: bytes of userspace that travel with the handover. See stream.h.
 */
#include <linux/bitmap.h>
#include <linux/fs.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "compat/compat.h"
#include "kup.h"
#include "stream.h"

static struct kup_pages store;
static u64 store_size;
static const struct kup_stream *published;

static void *page_of(const struct kup_pages *p, u64 off)
{
	return (char *)__va(PFN_PHYS((u64)p->pfn[off >> PAGE_SHIFT])) + offset_in_page(off);
}

static int grow_list(struct kup_pages *p, u64 nr)
{
	u64 room = max3(nr, 2 * p->room, (u64)1024);
	u32 *pfn;

	if (nr <= p->room)
		return 0;
	pfn = kvmalloc_array(room, sizeof(*pfn), GFP_KERNEL);
	if (!pfn)
		return -ENOMEM;
	if (p->nr)
		memcpy(pfn, p->pfn, p->nr * sizeof(*pfn));
	kvfree(p->pfn);
	p->pfn = pfn;
	p->room = room;
	return 0;
}

int kup_pages_reserve(struct kup_pages *p, u64 nr)
{
	int err = grow_list(p, nr);

	while (!err && p->nr < nr) {
		struct page *page = alloc_page(GFP_KERNEL | __GFP_ZERO | __GFP_NORETRY | __GFP_NOWARN);

		if (page)
			p->pfn[p->nr++] = page_to_pfn(page);
		else
			err = -ENOMEM;
		cond_resched();
	}
	return err;
}

void kup_pages_write(const struct kup_pages *p, u64 off, const void *data, size_t len)
{
	while (len) {
		size_t n = min_t(size_t, len, PAGE_SIZE - offset_in_page(off));

		memcpy(page_of(p, off), data, n);
		off += n;
		data += n;
		len -= n;
	}
}

u64 kup_pages_sum(const struct kup_pages *p, u64 len)
{
	u64 off, sum = 0;

	len = round_up(len, 8);
	for (off = 0; off < len; off += PAGE_SIZE) {
		sum = kup_sum(page_of(p, off), min_t(u64, len - off, PAGE_SIZE), sum);
		cond_resched();
	}
	return sum;
}

void kup_pages_free(struct kup_pages *p)
{
	while (p->nr)
		__free_page(pfn_to_page(p->pfn[--p->nr]));
	kvfree(p->pfn);
	*p = (struct kup_pages) {};
}

const struct kup_pages *kup_store_pages(void)
{
	return &store;
}

u64 kup_store_size(void)
{
	return published ? published->store_size : store_size;
}

void kup_store_reset(void)
{
	lockdep_assert_held(&kup.lock);
	kup_pages_free(&store);
	store_size = 0;
}

ssize_t kup_store_write(const char __user *buf, size_t len)
{
	u64 end, pos = store_size;
	int err;

	lockdep_assert_held(&kup.lock);
	len = min_t(size_t, len, MAX_RW_COUNT);
	if (check_add_overflow(pos, (u64)len, &end) || DIV_ROUND_UP(end, PAGE_SIZE) > KUP_AREA_SIZE / sizeof(u32))
		return -ENOSPC;
	err = kup_pages_reserve(&store, DIV_ROUND_UP(end, PAGE_SIZE));
	if (err)
		return err;
	while (pos < end) {
		size_t n = min_t(u64, end - pos, PAGE_SIZE - offset_in_page(pos));

		if (copy_from_user(page_of(&store, pos), buf, n))
			break;
		pos += n;
		buf += n;
	}
	/* A page that was copied in part holds bytes behind the end; the sum covers them up to 8, so clear them. */
	if (pos < end && offset_in_page(pos))
		memset(page_of(&store, pos), 0, PAGE_SIZE - offset_in_page(pos));
	len = pos - store_size;
	store_size = pos;
	return len ?: -EFAULT;
}

ssize_t kup_store_read(char __user *buf, size_t len, loff_t *pos)
{
	lockdep_assert_held(&kup.lock);
	if (!published)
		return 0;
	return simple_read_from_buffer(buf, len, pos, published->base + published->store_off, published->store_size);
}

void kup_store_publish(const struct kup_stream *s)
{
	lockdep_assert_held(&kup.lock);
	published = s;
}

/* The pages that the directory names, if each is reserved RAM and named once; NULL with @why and @err otherwise. */
static struct page **directory_pages(const struct kup_handover *h, const u32 *dir, int *err, char *why)
{
	struct page **pages = kvmalloc_array(h->stream_pages, sizeof(*pages), GFP_KERNEL);
	unsigned long *seen = kvzalloc(BITS_TO_LONGS(kup_max_pfn()) * sizeof(long), GFP_KERNEL);
	u64 i;

	*err = -ENOMEM;
	if (!pages || !seen)
		goto fail;
	*err = -EBADMSG;
	for (i = 0; i < h->stream_pages; i++) {
		if (dir[i] >= kup_max_pfn() || !pfn_valid(dir[i]) || !PageReserved(pfn_to_page(dir[i]))) {
			kup_say(why, "page %llu of the handover's stream, frame %#x, is not reserved memory", i, dir[i]);
			goto fail;
		}
		if (__test_and_set_bit(dir[i], seen)) {
			kup_say(why, "frame %#x stands twice in the handover's stream", dir[i]);
			goto fail;
		}
		pages[i] = pfn_to_page(dir[i]);
	}
	kvfree(seen);
	*err = 0;
	return pages;
fail:
	kvfree(seen);
	kvfree(pages);
	return NULL;
}

int kup_stream_map(const struct kup_handover *h, struct kup_stream *s, char *why)
{
	const u32 *dir = (const void *)h + h->directory_off;
	struct page **pages;
	int err;

	*s = (struct kup_stream) {
		.nr_pages = h->stream_pages,
		.maps_size = h->maps_size,
		.store_off = h->store_off,
		.store_size = h->store_size,
	};
	if (kup_sum(dir, round_up(h->stream_pages * sizeof(*dir), 8), 0) != h->directory_sum) {
		kup_say(why, "the handover's directory is damaged");
		return -EBADMSG;
	}
	if (!h->stream_pages)
		return 0;
	pages = directory_pages(h, dir, &err, why);
	if (!pages)
		return err;
	s->base = vmap(pages, h->stream_pages, VM_MAP, PAGE_KERNEL_RO);
	kvfree(pages);
	if (!s->base)
		return -ENOMEM;
	err = -EBADMSG;
	if (kup_sum(s->base, round_up(h->maps_size, 8), 0) != h->maps_sum)
		kup_say(why, "the handover's maps are damaged");
	else if (kup_sum(s->base + h->store_off, round_up(h->store_size, 8), 0) != h->store_sum)
		kup_say(why, "the handover's store is damaged");
	else
		return 0;
	kup_stream_unmap(s);
	return err;
}

void kup_stream_unmap(struct kup_stream *s)
{
	if (s->base)
		vunmap(s->base);
	s->base = NULL;
}
