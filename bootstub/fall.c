// SPDX-License-Identifier: GPL-2.0
/*
 * The way back before the module is there: from the stub on until the handover is adopted.
 *
 * Three calls of the new kernel lead here in place of where they led, if the switch is made with a fallback:
 *   panic's vscnprintf()               kup_fall_text(): the last words
 *   panic's __crash_kexec(), twice     kup_fall_panic(): what this is about; it comes with the other CPUs still running
 *   the tick's calc_global_load()      kup_fall_tick(): a handover that nobody adopts in time is a panic
 *
 * Each looks at the header first, whose page stays reserved for good. Unless the stub has reserved everything, nothing has adopted it, and
 * the switch has a fallback, it does what it stands for and nothing else. From ADOPT on it is module/fallback.c's.
 *
 * The jump:
 *   1. all sums that the way back relies on are checked
 *   2. bus mastering is taken from all PCI functions: nobody has shut the devices down
 *   3. the kernel's own machine_crash_shutdown() stops the other CPUs, by NMI, and routes interrupts as after a reset. Only the boot CPU may
 *      jump: if it is another one that panics, the boot CPU waits in its NMI for what is decided. One that takes no NMI is left alone
 *   4. the jump's page and page tables were made by the old kernel (module/keep.c). The page gets the code of jump.S, and its place is entered in
 *      the top table that is in use; what that code does stands there
 */
#include "reserve.h"

#define MSR_APICBASE	0x1b
#define APICBASE_BSP	(1u << 8)
#define APICBASE_X2APIC	(1u << 10)
#define CR4_LA57	(1u << 12)
#define PAGE_ADDR	0x000ffffffffff000ULL
#define PT_REGS_SIZE	256
#define SMP_OPS		16	/* pointers in smp_ops, at most */

/* The kernel's. */
extern const unsigned long page_offset_base;
extern void *smp_ops[];
extern void *crash_notes;
int vscnprintf(char *buf, __u64 size, const char *fmt, void *args);
void __crash_kexec(void *regs);
void calc_global_load(void);
void panic(const char *fmt, ...) __attribute__((noreturn));
void machine_crash_shutdown(void *regs);
void nmi_shootdown_cpus(void (*callback)(int cpu, void *regs));
void kdump_nmi_shootdown_cpus(void);

/* jump.S */
extern const unsigned char kup_jump[], kup_jump_end[];
void kup_fall_stop(void);	/* entries for indirect calls, */
void kup_fall_stopped(int cpu, void *regs);
void kup_stop(void);		/* and what they lead to */
void kup_stopped(int cpu, void *regs);

int kup_fall_text(char *buf, __u64 size, const char *fmt, void *args);
void kup_fall_panic(void *regs);
void kup_fall_tick(void);

static void *at(__u64 phys)
{
	return (void *)(page_offset_base + phys);
}

static struct kup_handover *armed(void)
{
	volatile struct kup_stub_params *p = &kup_params;
	struct kup_handover *h;

	if (!p->area)
		return (void *)0;
	h = at(p->area);
	return h->magic == KUP_HANDOVER_MAGIC && h->self == p->area && h->nonce == p->nonce && h->stub_state == KUP_STUB_RESERVED &&
	       h->jump_code && !h->falls && h->jumper == KUP_JUMPER_NONE ? h : (void *)0;
}

static int whole(const struct kup_handover *h)
{
	const struct kup_piece *piece = (const void *)((const unsigned char *)h + h->pieces_off);
	__u64 sum = 0;
	__u32 i;

	if (kup_handover_check(h, h->self, 0) || kup_sum(piece, h->nr_pieces * sizeof(*piece), 0) != h->pieces_sum)
		return 0;
	for (i = 0; i < h->nr_pieces; i++)
		sum = kup_sum(at(piece[i].from), piece[i].size, sum);
	return sum == h->fallback_sum;
}

static __u64 rdtsc(void)
{
	__u32 lo, hi;

	asm volatile("rdtsc" : "=a" (lo), "=d" (hi));
	return (__u64)hi << 32 | lo;
}

static int is_boot_cpu(void)
{
	__u32 lo, hi;

	asm volatile("rdmsr" : "=a" (lo), "=d" (hi) : "c" (MSR_APICBASE));
	return !!(lo & APICBASE_BSP);
}

/* -- devices -- */

static __u32 pci_read(__u32 function, __u32 reg)
{
	__u32 v;

	asm volatile("outl %0, %w1" : : "a" (0x80000000 | function << 8 | reg), "d" (0xcf8));
	asm volatile("inl %w1, %0" : "=a" (v) : "d" (0xcfc));
	return v;
}

static void quiet_devices(void)
{
	__u32 function, command;

	for (function = 0; function < 1 << 16; function++) {
		if (pci_read(function, 0) == ~0u) {
			function |= function & 7 ? 0 : 7;	/* no device without its function 0 */
			continue;
		}
		command = pci_read(function, 4);
		if (command & 4)	/* the upper half is a status: what is written there as 0 stays */
			asm volatile("outl %0, %w1" : : "a" (command & 0xfffb), "d" (0xcfc));
		if (!(function & 7) && !(pci_read(function, 0xc) & 0x800000))
			function |= 7;
	}
}

/* -- which CPU jumps -- */

static void __attribute__((noreturn)) jump(struct kup_handover *h)
{
	void (*code)(const struct kup_piece *list, __u64 nr, __u64 table, __u64 entry, __u64 init);
	__u64 cr3, cr4, *top, i, base = 0;
	unsigned char *to = at(h->jump_code);
	__u32 lo, hi, level;

	for (i = 0; i < (__u64)(kup_jump_end - kup_jump); i++)
		to[i] = kup_jump[i];
	asm volatile("mov %%cr3, %0; mov %%cr4, %1" : "=r" (cr3), "=r" (cr4));
	level = !!(cr4 & CR4_LA57);
	i = h->jump_code >> (level ? 48 : 39) & 511;
	top = at(cr3 & PAGE_ADDR);
	top[i] = ((const __u64 *)at(h->jump_table[level]))[i];
	asm volatile("mov %0, %%cr3" : : "r" (cr3) : "memory");
	/* INIT for all others comes from the boot CPU alone: one that reaches it would reset the machine. */
	if (is_boot_cpu()) {
		asm volatile("rdmsr" : "=a" (lo), "=d" (hi) : "c" (MSR_APICBASE));
		base = lo & APICBASE_X2APIC ? 1 : ((__u64)hi << 32 | lo) & PAGE_ADDR;
	}
	code = (void *)h->jump_code;
	code((const struct kup_piece *)(h->self + h->pieces_off), h->nr_pieces, h->jump_table[level], h->fallback_entry, base);
	__builtin_unreachable();
}

static void shut_down(void)
{
	volatile __u64 no_regs[PT_REGS_SIZE / 8];	/* for a core that nobody makes */
	__u32 i;

	for (i = 0; i < PT_REGS_SIZE / 8; i++)
		no_regs[i] = 0;
	if (crash_notes)
		machine_crash_shutdown((void *)no_regs);
}

/* On a CPU that was interrupted by NMI. Who returns is halted. */
void kup_stopped(int cpu, void *regs)
{
	struct kup_handover *h = at(kup_params.area);
	volatile __u32 *jumper = &h->jumper;

	(void)cpu;
	(void)regs;
	if (!is_boot_cpu())
		return;
	*jumper = KUP_JUMPER_WAITS;
	while (*jumper == KUP_JUMPER_WAITS)
		asm volatile("pause" : : : "memory");
	if (*jumper != KUP_JUMPER_GO)
		return;
	shut_down();
	jump(h);
}

/* In place of kdump_nmi_shootdown_cpus(). */
void kup_stop(void)
{
	nmi_shootdown_cpus(kup_fall_stopped);
}

static void fall(struct kup_handover *h)
{
	volatile __u32 *jumper = &h->jumper;
	__u32 i;

	/* So early that the kernel has no place for a core's notes, and would write them elsewhere: INIT alone has to do. */
	if (!crash_notes && !is_boot_cpu())
		return;
	h->falls++;
	h->stub_state = KUP_STUB_NONE;
	for (i = 0; i < sizeof(h->fell_from); i++)
		h->fell_from[i] = kup_params.release[i];
	quiet_devices();
	for (i = 0; i < SMP_OPS; i++)
		if (smp_ops[i] == (void *)kdump_nmi_shootdown_cpus)
			smp_ops[i] = kup_fall_stop;
	*jumper = KUP_JUMPER_NONE;
	shut_down();
	if (is_boot_cpu() || *jumper != KUP_JUMPER_WAITS) {
		*jumper = KUP_JUMPER_HALT;
		jump(h);
	}
	*jumper = KUP_JUMPER_GO;
	for (;;)	/* until the INIT */
		asm volatile("pause" : : : "memory");
}

/* -- where the kernel's calls lead -- */

int kup_fall_text(char *buf, __u64 size, const char *fmt, void *args)
{
	int len = vscnprintf(buf, size, fmt, args);
	struct kup_handover *h = armed();
	__u32 i, end = len > 0 && buf[len - 1] == '\n' ? len - 1 : len;

	for (i = 0; h && i < sizeof(h->fell_why); i++)
		h->fell_why[i] = i < end && i < sizeof(h->fell_why) - 1 ? buf[i] : 0;
	return len;
}

static __attribute__((noinline)) void maybe_fall(void)
{
	struct kup_handover *h = armed();

	if (h && whole(h))
		fall(h);
}

void kup_fall_panic(void *regs)
{
	maybe_fall();
	__crash_kexec(regs);
}

static __attribute__((noinline)) void look_at_clock(void)
{
	struct kup_handover *h = armed();

	if (!h || !h->boot_cycles || rdtsc() - h->stub_tsc_in < h->boot_cycles)
		return;
	/* With nothing to go back to it is no reason to panic: this kernel may well do without. */
	if (!whole(h)) {
		h->jumper = KUP_JUMPER_NOBODY;
		return;
	}
	panic("kup_ppp: nobody has adopted the handover in time");
}

void kup_fall_tick(void)
{
	look_at_clock();
	calc_global_load();
}
