// SPDX-License-Identifier: GPL-2.0
/* The module's adoption in a world of its own: see world.h. */
#include "kernel/kernel.h"

#include "../../module/adopt.c"
#include "../../module/store.c"

struct kup_ctx kup;

void kup_set_state(enum kup_state state) { kup.state = state; }
unsigned long kup_max_pfn(void) { return WORLD_FRAMES; }
int kup_netlock(enum kup_netlock_mode mode) { (void)mode; return 0; }
bool kup_drain_held(void) { return false; }
void kup_fallback_arm(struct kup_handover *h) { (void)h; }
void kup_hugetlb_adopt(void) { }
void kup_free_frame(struct page *page) { world_free(page); }

/* Only the old side calls these. */
struct page *alloc_page(unsigned int gfp) { (void)gfp; abort(); }
void __free_page(struct page *page) { (void)page; abort(); }

ssize_t simple_read_from_buffer(void *to, size_t len, loff_t *pos, const void *from, size_t size)
{
	if ((size_t)*pos > size || len > size - *pos)
		abort();
	memcpy(to, (const char *)from + *pos, len);
	*pos += len;
	return len;
}

/* What is adopted can be read, and all of it: a sanitizer sees a byte too many. */
static void read_store(void)
{
	void *buf = malloc(kup_store_size() + 1);
	loff_t pos = 0;

	if (kup_store_read(buf, kup_store_size(), &pos) != (ssize_t)kup_store_size())
		abort();
	free(buf);
}

/* Every frame of a process is still kept for it. */
static void look_at_frames(void)
{
	u32 pfn[KUP_CHUNK_PAGES], i, n, k;

	for (i = 0; i < kup_new.h->nr_mms; i++)
		for (n = 0; n < kup_new.rec[i].mm->nr_chunks; n++) {
			if (kup_chunk_decode(&kup_new.rec[i].chunks[n], kup_new.stream.base, kup_new.stream.maps_size, pfn) < 0)
				abort();
			for (k = 0; k < KUP_CHUNK_PAGES; k++)
				if (pfn[k] && (pfn[k] >= WORLD_FRAMES || !world_pages[pfn[k]].reserved))
					abort();
		}
}

int world_module_adopt(struct kup_adopt *a)
{
	int err;

	memset(&kup_new, 0, sizeof(kup_new));
	err = kup_adopt(a);
	if (!err) {
		read_store();
		look_at_frames();
	}
	/* Refused is as if nothing had been asked, but for the reason. */
	if (err && (kup.state != KUP_STATE_IDLE || kup_new.h || kup_new.rec || kup_new.stream.base || published || !kup.refused[0]))
		abort();
	return err;
}

void world_module_release(void)
{
	kup_release_handover();
}
