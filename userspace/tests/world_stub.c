// SPDX-License-Identifier: GPL-2.0
/* The boot stub in a world of its own: see world.h. */
#include <string.h>

#include "../../bootstub/stub.c"
#include "world.h"

#define SLOTS	128u

struct region {
	__u64 base, size;
	__u32 flags;
	int nid;
};

struct type {
	__u64 cnt, max, total_size;
	struct region *regions;
	const char *name;
};

unsigned long page_offset_base_word __asm__("page_offset_base");
unsigned char memblock[96] __attribute__((aligned(8)));
static struct region slots[SLOTS];

static struct type *reserved(void)
{
	return (struct type *)(memblock + 56);
}

void setup_arch(char **cmdline_p)
{
	(void)cmdline_p;
}

int memblock_reserve(__u64 base, __u64 size, int nid, unsigned int flags)
{
	struct type *t = reserved();
	__u64 i;

	(void)nid;
	(void)flags;
	for (i = 0; i < t->cnt && t->regions[i].base < base; i++)
		;
	if (t->cnt == t->max)
		__builtin_trap();
	memmove(t->regions + i + 1, t->regions + i, (t->cnt - i) * sizeof(*t->regions));
	t->regions[i] = (struct region){ base, size, 0, 1 };
	t->cnt++;
	t->total_size += size;
	return 0;
}

void world_stub(void)
{
	memset(memblock, 0, sizeof(memblock));
	*reserved() = (struct type){ 0, SLOTS, 0, slots, "reserved" };
	memblock_reserve(0, 1 << 18, 0, 0);
	memblock_reserve(1 << 20, 1 << 20, 0, 0);
	kup_params.area = WORLD_AREA;
	kup_params.nonce = WORLD_NONCE;
	kup_params.memblock_reserved = 56;
	kup_params.type_cnt = offsetof(struct type, cnt);
	kup_params.type_max = offsetof(struct type, max);
	kup_params.type_total_size = offsetof(struct type, total_size);
	kup_params.type_regions = offsetof(struct type, regions);
	kup_params.region_size = sizeof(struct region);
	kup_params.region_base = offsetof(struct region, base);
	kup_params.region_length = offsetof(struct region, size);
	page_offset_base_word = (unsigned long)world_ram;
	kup_stub(NULL);
}

const void *world_regions(uint64_t *nr, uint64_t *max, bool *moved)
{
	*nr = reserved()->cnt;
	*max = reserved()->max;
	*moved = reserved()->regions != slots;
	return reserved()->regions;
}
