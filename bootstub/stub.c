// SPDX-License-Identifier: GPL-2.0
/*
 * The boot stub: stands in the place of start_kernel()'s call of setup_arch(), and ends by jumping there.
 *
 * It runs on the boot CPU, interrupts off, with the kernel's early page tables: physical memory is reached through
 * page_offset_base, page by page as the early fault handler maps it, for data only. There is no console and no way to fail:
 * whatever it meets, the kernel boots, with the reservation or as if there were no stub. What it found it leaves in
 * stub_state, and only in a page that says itself that it is the handover; that page stays reserved in any case.
 */
#include "reserve.h"

#define MAX_PHYS_BITS	46	/* what early page tables of four levels reach */

/* The kernel's, linked by name when the injector places the stub. */
extern const unsigned long page_offset_base;
extern unsigned char memblock[];
void setup_arch(char **cmdline_p);

void kup_stub(char **cmdline_p);

__attribute__((section(".kup_params"), used)) volatile struct kup_stub_params kup_params = { .magic = KUP_STUB_PARAMS_MAGIC };

/* An address that the CPU does not have would fault for ever. */
static __u64 phys_limit(void)
{
	__u32 eax = 0x80000000, ebx, ecx = 0, edx;
	__u32 bits = 36;

	asm volatile("cpuid" : "+a" (eax), "=b" (ebx), "+c" (ecx), "=d" (edx));
	if (eax >= 0x80000008) {
		eax = 0x80000008;
		ecx = 0;
		asm volatile("cpuid" : "+a" (eax), "=b" (ebx), "+c" (ecx), "=d" (edx));
		bits = eax & 0xff;
	}
	return 1ULL << (bits < MAX_PHYS_BITS ? bits : MAX_PHYS_BITS);
}

static int check(const struct kup_handover *h, const struct kup_stub_params *p)
{
	const unsigned char *area = (const unsigned char *)h;
	const struct kup_extent *e;
	int state;

	state = kup_handover_check(h, p->area, p->nonce);
	if (state)
		return state;
	if (h->stub_state != KUP_STUB_NONE)
		return KUP_STUB_STALE;
	/* The directory may be an odd number of words; its page is zero padded and the sum rounds up. */
	e = (const struct kup_extent *)(area + h->extents_off);
	if (kup_sum(e, h->nr_extents * sizeof(*e), 0) != h->extents_sum ||
	    kup_sum(area + h->directory_off, (h->stream_pages * sizeof(__u32) + 7) & ~7ULL, 0) != h->directory_sum ||
	    kup_sum(area + h->pieces_off, h->nr_pieces * sizeof(struct kup_piece), 0) != h->pieces_sum)
		return KUP_STUB_BAD_CHECKSUM;
	return kup_extents_check(e, h->nr_extents);
}

static __u64 rdtsc(void)
{
	__u32 lo, hi;

	asm volatile("rdtsc" : "=a" (lo), "=d" (hi));
	return (__u64)hi << 32 | lo;
}

static void run(const struct kup_stub_params *p)
{
	__u64 tsc = rdtsc();
	struct kup_handover *h;
	int state;

	if (p->area & (KUP_AREA_ALIGN - 1) || p->area > phys_limit() - KUP_AREA_SIZE)
		return;
	h = (struct kup_handover *)(page_offset_base + p->area);
	state = check(h, p);
	if (!state)
		state = kup_reserve(p, memblock, h);

	/* Is it ours to write to? Nobody else's page starts like this one. But fall.c will read it again and again, whatever it is. */
	if (h->magic != KUP_HANDOVER_MAGIC || h->self != p->area) {
		if (p->calls)
			memblock_reserve(p->area, KUP_FRAME_SIZE, -1, 0);
		return;
	}
	/* Refused: keep the header's page, so that the module can tell why. */
	if (state)
		memblock_reserve(p->area, KUP_FRAME_SIZE, -1, 0);
	else
		state = KUP_STUB_RESERVED;
	h->stub_regions = *(__u64 *)(memblock + p->memblock_reserved + p->type_cnt);
	h->stub_tsc_in = tsc;
	h->stub_tsc_out = rdtsc();
	/* Refused before: the first reason counts. */
	if (h->stub_state < KUP_STUB_BAD_MAGIC)
		h->stub_state = state;
}

/* Apart from kup_stub(), whose frame must not hold a variable that outlives it: then the compiler would call, not jump. */
static __attribute__((noinline)) void handle(void)
{
	struct kup_stub_params p;
	__u32 i;

	for (i = 0; i < sizeof(p) / 8; i++)
		((__u64 *)&p)[i] = ((const volatile __u64 *)&kup_params)[i];
	if (p.area)
		run(&p);
}

void kup_stub(char **cmdline_p)
{
	handle();
	setup_arch(cmdline_p);
}
