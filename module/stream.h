/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The stream of the handover: pages scattered in RAM, contiguous for who reads it. First the maps section, then the store.
 *
 *   old kernel   two page lists: the store's grows by write() before the seal, the maps' is filled by the seal, which
 *                then writes the directory. ABORT frees both.
 *   new kernel   the frames are PageReserved and belong to adopt.c, which maps them, publishes the store for read(), and
 *                withdraws it before it gives the frames back.
 */
#ifndef KUP_STREAM_H
#define KUP_STREAM_H

#include <linux/types.h>

#include <kup/handover.h>

/* Old side: a growing list of pages of our own. */
struct kup_pages {
	u32 *pfn;
	u64 nr, room;
};

int kup_pages_reserve(struct kup_pages *p, u64 nr);	/* have at least @nr zeroed pages, or -ENOMEM */
void kup_pages_write(const struct kup_pages *p, u64 off, const void *data, size_t len);	/* within the pages there are */
u64 kup_pages_sum(const struct kup_pages *p, u64 len);	/* kup_sum() of the first @len bytes, rounded up to 8 */
void kup_pages_free(struct kup_pages *p);

/* Old side: what write() collected. Under kup.lock. */
const struct kup_pages *kup_store_pages(void);
u64 kup_store_size(void);
void kup_store_reset(void);

/* New side. */
struct kup_stream {
	const void *base;	/* mapped read-only; the maps section stands at its start */
	u64 nr_pages;
	u64 maps_size;
	u64 store_off;
	u64 store_size;
};

/**
 * kup_stream_map - map the stream of a handover whose header has passed kup_handover_check()
 * @h: the header, in the direct map, with the whole area behind it
 * @s: out
 * @why: out, KUP_WHY_LEN bytes
 *
 * Checks the sums of directory, maps and store, and that every page of the stream is reserved RAM and named once.
 *
 * Return: 0, -EBADMSG, -ENOMEM.
 */
int kup_stream_map(const struct kup_handover *h, struct kup_stream *s, char *why);
void kup_stream_unmap(struct kup_stream *s);		/* leaves the frames alone */
void kup_store_publish(const struct kup_stream *s);	/* what read() gives; NULL: nothing. Under kup.lock */

#endif
