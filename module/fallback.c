// SPDX-License-Identifier: GPL-2.0
/*
 * The way back, in the new kernel: what fails before the applications run for good ends in the kernel that was left.
 *
 * States, in `kup-ppp status`:
 *   none    no switch with --fallback, or it is not to be had here: the reason is told
 *   kept    old kernel: it has a copy of itself (keep.c)
 *   armed   new kernel, from ADOPT on; until then the boot stub watches (bootstub/fall.c). A panic jumps back; an oops is a panic; no progress (ADOPT, and what says ALIVE: restore at each
 *           of its steps) for fallback_seconds is a panic, told by a timer in hard interrupt context, whatever user space does; so is a
 *           restart, by which a system tells that it came to nothing
 *   over    END, right before the applications go on: from then on their memory is not what was sealed, and others have seen it
 *   fell    the old kernel, after a jump back. It arms nothing, so that a second failure is an ordinary panic
 *
 * Who owns what while armed:
 *   handover, stream, pieces   reserved, and written by nobody but the panic, which names the reason behind the header's sum and sets
 *                              stub_state back, as the stub of the next kernel takes a fresh handover only
 *   preserved frames           as sealed. A process that touches one gets a copy (bind.c); the frame itself stays the handover's
 *   scratch, rest of blocks    this kernel's; nobody needs to know what was in them, the stub writes the scratch anew
 *   window                     this kernel's. The jump overwrites it; so the pages with the list of what to copy, and the code that does,
 *                              lie outside (kimage_alloc_control_pages())
 *   pieces' frames             after the jump they hold nothing; they are freed with the handover
 *
 * The jump, from a panic notifier before all others:
 *   1. panic() stops the other CPUs, by NMI. If it is not on the boot CPU, that one waits in its NMI: it is the only one that may not be
 *      reset, and the kernel that comes back shall find it running
 *   2. all sums that the way back relies on are checked; if one is wrong, this is an ordinary panic
 *   3. bus mastering is taken from all PCI devices: nobody has shut them down, and they would write into the other kernel's memory
 *   4. the boot CPU sends INIT to all others, those that were taken offline as well: where they were stopped, they would sooner or later
 *      go on, in code and page tables that the jump overwrites
 *   5. interrupts are routed as after a reset, as before the start of a crash kernel; then kexec's own code copies and jumps
 *
 * A crash kernel, if there is one, is for panics that do not jump. Not covered: a CPU that takes no interrupts,
 * if the timer is on it and nobody else panics; a boot CPU that takes no NMI: then the one that panicked jumps, and no INIT is sent;
 * a CPU that was stopped with the lock of PCI's configuration in its hands; encrypted memory.
 */
#include <linux/cc_platform.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/kexec.h>
#include <linux/panic.h>
#include <linux/panic_notifier.h>
#include <linux/pci.h>
#include <linux/reboot.h>
#include <linux/smp.h>
#include <linux/utsname.h>
#include <asm/apic.h>
#include <asm/reboot.h>
#include <asm/smp.h>

#include "compat/compat.h"
#include "kup.h"
#include "old.h"
#include "symbols.h"

static struct kup_handover *armed;	/* NULL: a panic is a panic. Written under kup.lock */
static struct kimage *image;
static struct pci_dev **devices;
static unsigned int nr_devices;
static struct hrtimer timer;
static int *on_oops, oops_was;
static bool *late, late_was;

/* For STATUS; under kup.lock. */
static enum kup_fallback_state state;
static char from[64];
static char why[KUP_WHY_LEN] = "no switch has led here";

/**
 * kup_fallback_armed - is what was sealed still needed as it is?
 */
bool kup_fallback_armed(void)
{
	return READ_ONCE(armed);
}

/* -- which CPU jumps -- */

static void (*kernel_stop)(void);	/* what smp_ops.crash_stop_other_cpus was */
static atomic_t *nr_awaited;		/* that nmi_shootdown_cpus() waits for, a second at most; or NULL */
static bool boot_cpu_waits;
static enum { UNDECIDED, JUMP, HALT } decision;

/* On the boot CPU. The next kernel starts them from there, as from a reset. */
static void init_others(void)
{
	int cpu;

	if (apic->wakeup_secondary_cpu || apic->wakeup_secondary_cpu_64)
		return;		/* no INIT and SIPI on this platform */
	for_each_present_cpu(cpu) {
		u32 id = apic->cpu_present_to_apicid(cpu);

		if (cpu == raw_smp_processor_id() || id == BAD_APICID)
			continue;
		apic->icr_write(APIC_INT_LEVELTRIG | APIC_INT_ASSERT | APIC_DM_INIT, id);
		udelay(200);
		apic->icr_write(APIC_INT_LEVELTRIG | APIC_DM_INIT, id);
		udelay(200);
	}
	mdelay(10);
}

static struct pt_regs no_regs;	/* for a core that nobody makes */

static void jump(void)
{
	if (!raw_smp_processor_id())
		init_others();
	machine_crash_shutdown(&no_regs);
	machine_kexec(image);
}

/* On a CPU that was interrupted by NMI; the boot CPU learns from @decision what becomes of it. Others, and who returns, are halted. */
static void on_stop(int cpu, struct pt_regs *regs)
{
	if (cpu)
		return;
	WRITE_ONCE(boot_cpu_waits, true);
	if (nr_awaited)
		atomic_dec(nr_awaited);
	while (smp_load_acquire(&decision) == UNDECIDED)
		cpu_relax();
	if (decision == JUMP)
		jump();
}

/* In place of the kernel's own, which halts all others where they are. */
static void stop_others(void)
{
	if (READ_ONCE(armed) && raw_smp_processor_id())
		nmi_shootdown_cpus(on_stop);
	else
		kernel_stop();
}

/* The others are stopped. Does not return. */
static void jump_on_boot_cpu(void)
{
	if (!raw_smp_processor_id() || !READ_ONCE(boot_cpu_waits)) {
		WRITE_ONCE(decision, HALT);
		jump();
	}
	/* This CPU's own part: with virtualization on, it would not hear the INIT. */
	machine_crash_shutdown(&no_regs);
	smp_store_release(&decision, JUMP);
	for (;;)
		cpu_relax();
}

/* -- the panic -- */

static const char *damaged(const struct kup_handover *h)
{
	const struct kup_piece *piece = (const void *)h + h->pieces_off;
	u64 sum = 0;
	u32 i;

	if (kup_handover_check(h, h->self, 0))
		return "header";
	if (kup_sum((const void *)h + h->extents_off, h->nr_extents * sizeof(struct kup_extent), 0) != h->extents_sum)
		return "extents";
	if (kup_sum((const void *)h + h->directory_off, round_up(h->stream_pages * sizeof(u32), 8), 0) != h->directory_sum)
		return "directory";
	if (kup_sum(piece, h->nr_pieces * sizeof(*piece), 0) != h->pieces_sum)
		return "pieces";
	for (i = 0; i < h->nr_pieces; i++)
		sum = kup_sum(__va(piece[i].from), piece[i].size, sum);
	return sum == h->fallback_sum ? NULL : "kept kernel";
}

static void quiet_devices(void)
{
	unsigned int i;
	u16 command;

	for (i = 0; i < nr_devices; i++)
		if (!pci_read_config_word(devices[i], PCI_COMMAND, &command) && command & PCI_COMMAND_MASTER)
			pci_write_config_word(devices[i], PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
}

static int on_panic(struct notifier_block *nb, unsigned long action, void *message)
{
	struct kup_handover *h = xchg(&armed, NULL);	/* a panic in here does not come back */
	const char *wrong = h ? damaged(h) : NULL;

	if (wrong)
		pr_emerg("no fallback: the %s is damaged\n", wrong);
	if (!h || wrong) {
		WRITE_ONCE(decision, HALT);
		return NOTIFY_DONE;
	}
	h->falls++;
	strscpy_pad(h->fell_from, init_utsname()->release, sizeof(h->fell_from));
	strscpy_pad(h->fell_why, message, sizeof(h->fell_why));
	h->stub_state = KUP_STUB_NONE;
	quiet_devices();
	pr_emerg("falling back to %s\n", h->release);
	jump_on_boot_cpu();
	return NOTIFY_DONE;	/* never */
}

static struct notifier_block notifier = { .notifier_call = on_panic, .priority = INT_MAX };

static enum hrtimer_restart on_timeout(struct hrtimer *t)
{
	const struct kup_handover *h = READ_ONCE(armed);

	if (h)
		panic("kup_ppp: no progress for %u seconds", h->fallback_seconds);
	return HRTIMER_NORESTART;
}

static int on_reboot(struct notifier_block *nb, unsigned long action, void *command)
{
	if (action == SYS_RESTART && READ_ONCE(armed))
		panic("kup_ppp: a restart before the applications ran");
	return NOTIFY_DONE;
}

static struct notifier_block reboot_notifier = { .notifier_call = on_reboot };

/* -- arming -- */

static void free_image(void)
{
	struct page *page, *next;

	if (!image)
		return;
	if (image->control_code_page)
		machine_kexec_cleanup(image);
	/* As kimage_alloc_control_pages() left them. */
	list_for_each_entry_safe(page, next, &image->control_pages, lru) {
		unsigned int i, order = page_private(page);

		list_del(&page->lru);
		set_page_private(page, 0);
		for (i = 0; i < 1u << order; i++)
			ClearPageReserved(page + i);
		__free_pages(page, order);
	}
	kfree(image);
	image = NULL;
}

/* Where the pieces go, in ranges: what kexec's own allocations keep clear of. */
static int add_segments(const struct kup_handover *h)
{
	const struct kup_piece *piece = (const void *)h + h->pieces_off, *end = piece + h->nr_pieces;
	struct kexec_segment *s = NULL;

	for (; piece < end; piece++) {
		if (piece->to == piece->from)
			continue;
		if (s && s->mem + s->memsz == piece->to) {
			s->memsz += piece->size;
			continue;
		}
		if (image->nr_segments == KEXEC_SEGMENT_MAX)
			return -E2BIG;
		s = &image->segment[image->nr_segments++];
		*s = (struct kexec_segment) { .mem = piece->to, .memsz = piece->size };
	}
	return 0;
}

/* The list that kexec's code follows: a page of entries at a time, the last of which leads to the next page. */
static int add_entry(kimage_entry_t entry)
{
	struct page *page;

	if (image->entry == image->last_entry) {
		page = kimage_alloc_control_pages(image, 0);
		if (!page)
			return -ENOMEM;
		clear_highpage(page);
		*image->entry = page_to_phys(page) | IND_INDIRECTION;
		image->entry = page_to_virt(page);
		image->last_entry = image->entry + PAGE_SIZE / sizeof(entry) - 1;
	}
	*image->entry++ = entry;
	return 0;
}

static int add_pieces(const struct kup_handover *h)
{
	const struct kup_piece *piece = (const void *)h + h->pieces_off;
	u64 off;
	int err = 0;
	u32 i;

	for (i = 0; i < h->nr_pieces && !err; i++) {
		if (piece[i].to == piece[i].from)
			continue;
		err = add_entry(piece[i].to | IND_DESTINATION);
		for (off = 0; off < piece[i].size && !err; off += PAGE_SIZE)
			err = add_entry((piece[i].from + off) | IND_SOURCE);
	}
	return err ?: add_entry(IND_DONE);
}

static int make_image(const struct kup_handover *h)
{
	int err;

	image = kzalloc(sizeof(*image), GFP_KERNEL);
	if (!image)
		return -ENOMEM;
	image->entry = &image->head;
	image->last_entry = &image->head;
	image->control_page = ~0UL;
	image->type = KEXEC_TYPE_DEFAULT;
	image->start = h->fallback_entry;
	INIT_LIST_HEAD(&image->control_pages);
	INIT_LIST_HEAD(&image->dest_pages);
	INIT_LIST_HEAD(&image->unusable_pages);
	err = add_segments(h);
	if (err)
		return err;
	image->swap_page = kimage_alloc_control_pages(image, 0);
	image->control_code_page = kimage_alloc_control_pages(image, get_order(KEXEC_CONTROL_PAGE_SIZE));
	if (!image->swap_page || !image->control_code_page)
		return -ENOMEM;
	return machine_kexec_prepare(image) ?: add_pieces(h);
}

static void put_devices(void)
{
	while (nr_devices)
		pci_dev_put(devices[--nr_devices]);
	kfree(devices);
	devices = NULL;
}

/* Looked up now: a panic may find the lists locked. */
static int find_devices(void)
{
	struct pci_dev *dev = NULL;
	unsigned int nr = 0;

	for_each_pci_dev(dev)
		nr++;
	devices = kcalloc(max(nr, 1u), sizeof(*devices), GFP_KERNEL);
	if (!devices)
		return -ENOMEM;
	for_each_pci_dev(dev)
		if (nr_devices < nr)
			devices[nr_devices++] = pci_dev_get(dev);
	return 0;
}

static bool find_symbols(void)
{
	static const char *const functions[] = { "kimage_alloc_control_pages", "machine_kexec_prepare", "machine_kexec_cleanup",
						 "machine_crash_shutdown", "nmi_shootdown_cpus", "machine_kexec" };
	unsigned int i;

	on_oops = (int *)kup_symbol("panic_on_oops");
	late = (bool *)kup_symbol("crash_kexec_post_notifiers");
	nr_awaited = (atomic_t *)kup_symbol("waiting_for_crash_ipi");
	for (i = 0; i < ARRAY_SIZE(functions) && kup_symbol(functions[i]); i++)
		;
	if (on_oops && late && i == ARRAY_SIZE(functions))
		return true;
	kup_say(why, "this kernel lacks %s", !on_oops ? "panic_on_oops" : !late ? "crash_kexec_post_notifiers" : functions[i]);
	return false;
}

/**
 * kup_fallback_arm - from now on a failure goes back to the kernel that was left, if it left itself
 *
 * The handover has been adopted, the pieces' frames with it. Without a fallback the switch goes on all the same; STATUS tells why.
 */
void kup_fallback_arm(struct kup_handover *h)
{
	int err;

	lockdep_assert_held(&kup.lock);
	state = KUP_FALLBACK_NONE;
	*from = 0;
	if (h->falls) {
		state = KUP_FALLBACK_FELL;
		strscpy(from, h->fell_from, sizeof(from));
		strscpy(why, h->fell_why, sizeof(why));
		pr_warn("after a fallback from %s: %s\n", from, why);
		return;
	}
	if (!h->nr_pieces) {
		kup_say(why, "the switch was made without");
		return;
	}
	if (cc_platform_has(CC_ATTR_MEM_ENCRYPT)) {
		kup_say(why, "memory is encrypted: pages for a jump are of a kind that is not known here");
		goto none;
	}
	if (!find_symbols())
		goto none;
	err = make_image(h);
	if (!err)
		err = find_devices();
	if (err) {
		kup_say(why, "cannot set up the jump: error %d", err);
		goto none;
	}
	kup_compat_hrtimer_setup(&timer, on_timeout);
	oops_was = *on_oops;
	late_was = *late;
	*on_oops = 1;
	*late = true;
	kernel_stop = smp_ops.crash_stop_other_cpus;
	if (kernel_stop)
		WRITE_ONCE(smp_ops.crash_stop_other_cpus, stop_others);
	WRITE_ONCE(armed, h);
	atomic_notifier_chain_register(&panic_notifier_list, &notifier);
	register_reboot_notifier(&reboot_notifier);
	*why = 0;
	state = KUP_FALLBACK_ARMED;
	kup_fallback_alive();
	return;
none:
	put_devices();
	free_image();
	pr_warn("no fallback: %s\n", why);
}

/**
 * kup_fallback_alive - there is progress
 */
void kup_fallback_alive(void)
{
	lockdep_assert_held(&kup.lock);
	if (armed)
		hrtimer_start(&timer, ktime_set(armed->fallback_seconds, 0), HRTIMER_MODE_REL_HARD);
}

/**
 * kup_fallback_end - there is no way back any more
 * @committed: because the applications go on, else because somebody wants none
 */
void kup_fallback_end(bool committed)
{
	lockdep_assert_held(&kup.lock);
	if (!armed)
		return;
	WRITE_ONCE(armed, NULL);
	hrtimer_cancel(&timer);
	atomic_notifier_chain_unregister(&panic_notifier_list, &notifier);
	unregister_reboot_notifier(&reboot_notifier);
	*on_oops = oops_was;
	*late = late_was;
	if (kernel_stop)
		WRITE_ONCE(smp_ops.crash_stop_other_cpus, kernel_stop);
	put_devices();
	free_image();
	state = committed ? KUP_FALLBACK_OVER : KUP_FALLBACK_NONE;
	kup_say(why, "%s", committed ? "" : "it was given up");
}

/**
 * kup_fallback_go - fall back now
 * @reason: KUP_WHY_LEN bytes, the last words
 *
 * Return: not at all, or -ENOENT if nothing is armed.
 */
int kup_fallback_go(char *reason)
{
	lockdep_assert_held(&kup.lock);
	reason[KUP_WHY_LEN - 1] = 0;
	if (armed)
		panic("kup_ppp: %s", reason);
	*reason = 0;
	return -ENOENT;
}

void kup_fallback_status(struct kup_status *st)
{
	st->fallback = kup_kept.pages ? KUP_FALLBACK_KEPT : state;
	st->kept_pages = kup_kept.pages;
	strscpy(st->fallback_from, from, sizeof(st->fallback_from));
	strscpy(st->fallback_why, why, sizeof(st->fallback_why));
}
