// SPDX-License-Identifier: GPL-2.0
/*
 * Tool for tests in a guest: a handover made by hand, without the module, to see what the boot stub makes of it.
 *
 *   tool_handover write AREA NONCE BASE SIZE NR [damage]
 *	through /dev/mem, in memory that this kernel does not use: a handover at AREA that preserves NR extents of one or two frames
 *	spread over BASE..BASE+SIZE, each frame filled with its own address. With "damage" an extent is wrong and the sum right.
 *   tool_handover check AREA BASE SIZE NR
 *	in the next kernel, through /proc/kcore and /proc/kpageflags: state of the stub, frames reserved and intact, the rest free for use
 *
 * One line for each result, "ok" or "not ok"; exit status 0 if all are ok.
 */
#include <errno.h>
#include <fcntl.h>
#include <elf.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <kup/handover.h>

#define EXTENTS_OFF	0x1000
#define SCRATCH_OFF	0x200000
#define SCRATCH_SIZE	0x1c0000
#define KPF_RESERVED	32

static int failures;

static void result(bool ok, const char *name)
{
	printf("%s - %s\n", ok ? "ok" : "not ok", name);
	failures += !ok;
}

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(2);
}

/* Extent @i: one frame, or two for every third, at an even pace; both sides compute it alike. */
static struct kup_extent extent(uint64_t base, uint64_t size, uint32_t nr, uint32_t i)
{
	uint64_t step = size / nr & ~0xfffULL;

	return (struct kup_extent){ base + i * step, i % 3 ? 4096 : 8192 };
}

static int cmd_write(uint64_t area, uint64_t nonce, uint64_t base, uint64_t size, uint32_t nr, bool damage)
{
	int fd = open("/dev/mem", O_RDWR | O_SYNC);
	struct kup_handover *h;
	struct kup_extent *e;
	uint8_t *a, *frames;

	if (fd < 0)
		die("/dev/mem");
	a = mmap(NULL, KUP_AREA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, area);
	frames = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, base);
	if (a == MAP_FAILED || frames == MAP_FAILED)
		die("mmap of /dev/mem");
	memset(a, 0, KUP_AREA_SIZE);
	h = (struct kup_handover *)a;
	e = (struct kup_extent *)(a + EXTENTS_OFF);
	e[0] = (struct kup_extent){ area, KUP_AREA_SIZE };
	for (uint32_t i = 0; i < nr; i++) {
		struct kup_extent x = extent(base, size, nr, i);

		e[i + 1] = x;
		for (uint64_t off = 0; off < x.size; off += 8)
			*(uint64_t *)(frames + (x.base - base) + off) = x.base + off;
	}
	if (damage)
		e[nr / 2].base = e[nr / 2 - 1].base;
	*h = (struct kup_handover){
		.magic = KUP_HANDOVER_MAGIC, .version = KUP_HANDOVER_VERSION, .header_size = sizeof(*h), .nonce = nonce,
		.self = area, .extents_off = EXTENTS_OFF, .directory_off = SCRATCH_OFF - 0x1000, .scratch_off = SCRATCH_OFF,
		.scratch_size = SCRATCH_SIZE, .nr_extents = nr + 1, .release = "made by hand",
	};
	h->extents_sum = kup_sum(e, h->nr_extents * sizeof(*e), 0);
	h->header_sum = kup_sum(h, offsetof(struct kup_handover, header_sum), 0);
	printf("check before the jump: %s\n", kup_stub_state_name(kup_handover_check(h, area, nonce)));
	return 0;
}

static int kcore = -1, kflags = -1;

/* Reads physical memory through the direct map's segment of /proc/kcore. */
static void read_phys(uint64_t phys, void *buf, size_t len)
{
	static Elf64_Phdr ph[64];
	static Elf64_Ehdr eh;

	if (kcore < 0) {
		kcore = open("/proc/kcore", O_RDONLY);
		if (kcore < 0 || pread(kcore, &eh, sizeof(eh), 0) != sizeof(eh) || eh.e_phnum > 64 ||
		    pread(kcore, ph, eh.e_phnum * sizeof(*ph), eh.e_phoff) != (ssize_t)(eh.e_phnum * sizeof(*ph)))
			die("/proc/kcore");
	}
	for (int i = 0; i < eh.e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD || ph[i].p_paddr == UINT64_MAX || phys < ph[i].p_paddr ||
		    phys + len > ph[i].p_paddr + ph[i].p_memsz || ph[i].p_vaddr >= 0xffffffff80000000)
			continue;
		if (pread(kcore, buf, len, ph[i].p_offset + (phys - ph[i].p_paddr)) != (ssize_t)len)
			die("reading /proc/kcore");
		return;
	}
	errno = EFAULT;
	die("physical address in /proc/kcore");
}

static bool reserved(uint64_t phys)
{
	uint64_t flags;

	if (kflags < 0)
		kflags = open("/proc/kpageflags", O_RDONLY);
	if (pread(kflags, &flags, 8, phys / 4096 * 8) != 8)
		die("/proc/kpageflags");
	return flags >> KPF_RESERVED & 1;
}

static int cmd_check(uint64_t area, uint64_t base, uint64_t size, uint32_t nr)
{
	uint32_t good = 0, kept = 0, frames = 0, between = 0, scratch = 0, rest = 0;
	struct kup_handover h;

	read_phys(area, &h, sizeof(h));
	printf("# state %u (%s), regions %u, stub took %" PRIu64 " TSC cycles\n", h.stub_state, kup_stub_state_name(h.stub_state),
	       h.stub_regions, (uint64_t)(h.stub_tsc_out - h.stub_tsc_in));
	result(h.stub_state == KUP_STUB_RESERVED, "the stub reserved");
	result(h.stub_regions >= nr + 1 && h.stub_regions < nr + 100, "number of regions");
	for (uint32_t i = 0; i < nr; i++) {
		struct kup_extent x = extent(base, size, nr, i);

		for (uint64_t at = x.base; at < x.base + x.size; at += 4096, frames++) {
			uint64_t words[512];
			unsigned int k;

			read_phys(at, words, sizeof(words));
			for (k = 0; k < 512 && words[k] == at + 8 * k; k++)
				;
			good += k == 512;
			kept += reserved(at);
		}
		between += reserved(x.base + x.size);
	}
	for (uint64_t off = 0; off < KUP_AREA_SIZE; off += 4096)
		*(off >= SCRATCH_OFF && off < SCRATCH_OFF + SCRATCH_SIZE ? &scratch : &rest) += reserved(area + off);
	printf("# %u frames: %u intact, %u reserved; %u of their neighbours reserved; area: %u of scratch, %u of the rest reserved\n",
	       frames, good, kept, between, scratch, rest);
	result(good == frames, "every frame is intact");
	result(kept == frames, "every frame is reserved");
	result(!between, "no frame next to them is reserved");
	result(!scratch, "the kernel has freed the scratch");
	result(rest == (KUP_AREA_SIZE - SCRATCH_SIZE) / 4096, "the rest of the area is reserved");
	return failures ? 1 : 0;
}

int main(int argc, char **argv)
{
	uint64_t v[5] = {};

	for (int i = 2; i < argc && i < 7; i++)
		v[i - 2] = strtoull(argv[i], NULL, 0);
	if (argc >= 7 && !strcmp(argv[1], "write"))
		return cmd_write(v[0], v[1], v[2], v[3], v[4], argc > 7);
	if (argc == 6 && !strcmp(argv[1], "check"))
		return cmd_check(v[0], v[1], v[2], v[3]);
	return 2;
}
