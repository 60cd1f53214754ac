/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine of 16 MiB made by hand, in which an old kernel has left a handover. The new kernel boots in it as far as user space
 * can have it: the boot stub as it is (stub.c, reserve.c) against a memblock, then struct pages out of that memblock, then the module's
 * own adoption (adopt.c, store.c).
 *
 *   world_make()     what the old kernel left
 *   world_boot()     the stub runs, the kernel takes over memblock's regions
 *   world_adopt()    ADOPT; whatever breaks a rule that the real kernel has aborts the program
 *   world_restore()  what these two have changed is as world_make() left it
 */
#ifndef KUP_WORLD_H
#define KUP_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include <kup/handover.h>
#include <uapi/kup_ppp.h>

#define WORLD_FRAMES	4096u
#define WORLD_SIZE	(WORLD_FRAMES * KUP_FRAME_SIZE)
#define WORLD_AREA	(4ULL << 20)
#define WORLD_NONCE	0x1122334455667788ULL
#define WORLD_USED	320u	/* frames that the new kernel has reserved for itself before the stub runs */
#define WORLD_EXTRA	9u	/* frames that were reserved with their blocks only */
#define WORLD_STORE	5000u	/* bytes */

struct page {
	bool reserved;
	int count;
	void *mapping;
};

extern uint8_t *world_ram;
extern struct page world_pages[WORLD_FRAMES];
extern unsigned int world_freed;	/* frames given to the kernel since world_boot() */

static inline struct kup_handover *world_header(void)
{
	return (struct kup_handover *)(world_ram + WORLD_AREA);
}

void world_make(void);
void world_boot(void);
int world_adopt(struct kup_adopt *a);	/* 0 or a negative errno; after 0 the handover is released again */
void world_restore(void);
void world_seal(void);			/* all sums anew: they are right, whatever else is not */

uint8_t *world_stream(uint64_t off);	/* a byte of the stream as it was made */
bool world_summed(const uint8_t *at);	/* does a sum of the handover as it was made cover this byte of RAM? */
unsigned int world_reserved(void);	/* frames that memblock has reserved, after world_boot() */

/* Between the parts of the world. */
void world_stub(void);							/* world_stub.c */
const void *world_regions(uint64_t *nr, uint64_t *max, bool *moved);	/* memblock.reserved: base and size, 24 bytes each */
int world_module_adopt(struct kup_adopt *a);				/* world_module.c */
void world_module_release(void);
void world_free(struct page *page);
void *world_map(struct page **pages, uint64_t nr);
bool world_is_no_ram(uint64_t base, uint64_t size);

#endif
