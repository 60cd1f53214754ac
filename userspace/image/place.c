// SPDX-License-Identifier: GPL-2.0
/*
 * Where the stub goes, and which instruction leads to it.
 *
 * The call: start_kernel() calls setup_arch() once, by an E8 call. That one instruction is redirected; a function's entry is
 * never touched, since ftrace checks those at boot.
 *
 * With a fallback some more calls are redirected, to where bootstub/fall.c begins. A kernel that does not have exactly those is taken all
 * the same, but there is no way back then before the handover is adopted.
 *
 * The place: the linker fills .text with int3 up to its alignment, a long run at the end and short ones elsewhere. The longest one
 * without a symbol inside is nobody's. It is mapped executable when the stub runs, and stays .text: it is not freed after boot.
 */
#include "internal.h"

#define INT3		0xcc
#define CALL		0xe8
#define JUMP		0xe9
#define MARGIN		64		/* bytes left alone at both ends of a run */
#define PLACE_ALIGN	64

static int symbol(const struct kup_image *img, const char *name, uint64_t *addr, struct kup_err *err)
{
	int ret = kup_syms_find(&img->syms, name, addr);

	if (!ret)
		return 0;
	kup_err_set(err, -ENOTSUP, ret == -ENOENT ? "the image has no symbol %s" : "the image has several symbols %s", name);
	kup_err_next(err, "use a kernel with CONFIG_KALLSYMS_ALL");
	return -ENOTSUP;
}

static int find_call(struct kup_image *img, struct kup_err *err)
{
	struct kup_image_info *info = &img->info;
	uint64_t start, end, calls = 0;
	const uint8_t *code;

	if (symbol(img, "setup_arch", &info->setup_arch, err) || symbol(img, "start_kernel", &start, err))
		return -ENOTSUP;
	end = kup_syms_next(&img->syms, start);
	code = end - start < (64 << 10) ? kup_elf_at(&img->elf, start, end - start) : NULL;
	if (!code)
		return kup_err_set(err, -EINVAL, "start_kernel at %#llx is not in the image", (unsigned long long)start);
	for (uint64_t i = 0; i + 5 <= end - start; i++) {
		if (code[i] != CALL || start + i + 5 + (int32_t)kup_le32(code + i + 1) != info->setup_arch)
			continue;
		info->call_site = start + i;
		calls++;
	}
	if (calls != 1)
		return kup_err_set(err, -ENOTSUP, "start_kernel has %llu calls of setup_arch; expected exactly one",
				   (unsigned long long)calls);
	return 0;
}

/* [start, end) is int3 and has no symbol inside: better than what we have? */
static void consider(struct kup_image_info *info, uint64_t start, uint64_t end)
{
	uint64_t place = KUP_ALIGN(start + MARGIN, PLACE_ALIGN);

	if (end < place + MARGIN || end - MARGIN - place <= info->stub_room)
		return;
	info->stub_addr = place;
	info->stub_room = end - MARGIN - place;
}

static int find_place(struct kup_image *img, struct kup_err *err)
{
	struct kup_image_info *info = &img->info;
	uint64_t text, etext, i, n;
	const uint8_t *code;

	if (symbol(img, "_text", &text, err) || symbol(img, "_etext", &etext, err))
		return -ENOTSUP;
	code = etext > text ? kup_elf_at(&img->elf, text, etext - text) : NULL;
	if (!code)
		return kup_err_set(err, -EINVAL, "_text to _etext (%#llx to %#llx) is not in the image", (unsigned long long)text,
				   (unsigned long long)etext);
	for (i = 0; i < etext - text; i += n ? n : 1) {
		for (n = 0; i + n < etext - text && code[i + n] == INT3; n++)
			;
		for (uint64_t at = text + i, end = text + i + n; at < end; ) {
			uint64_t next = kup_syms_next(&img->syms, at);

			consider(info, at, next < end ? next : end);
			at = next;
		}
	}
	if (info->stub_room < info->stub_size)
		return kup_err_set(err, -ENOTSUP, "no place for the stub: the longest unused run in .text has %llu bytes, it needs %u",
				   (unsigned long long)info->stub_room, info->stub_size);
	return 0;
}

/* What fall.c refers to. */
static const char *const fall_symbols[] = {
	"smp_ops", "crash_notes", "vscnprintf", "__crash_kexec", "calc_global_load", "panic", "machine_crash_shutdown", "nmi_shootdown_cpus",
	"kdump_nmi_shootdown_cpus",
};

bool kup_is_fall_symbol(const char *name)
{
	for (size_t i = 0; i < sizeof(fall_symbols) / sizeof(*fall_symbols); i++)
		if (!strcmp(fall_symbols[i], name))
			return true;
	return false;
}

/* panic() became a shell around vpanic() in 6.17. The tick's call may be its last one, a jump. */
static const struct {
	const char *in[2], *to;
	unsigned int nr;
} fall_calls[] = {
	{ { "panic", "vpanic" }, "__crash_kexec", 2 },
	{ { "panic", "vpanic" }, "vscnprintf", 1 },
	{ { "tick_do_update_jiffies64", NULL }, "calc_global_load", 1 },
};

/* Calls of @to in the function @in, to @call, of which @room are left. Return: how many there are. */
static unsigned int find_calls(const struct kup_image *img, const char *in, uint64_t to, unsigned int entry, struct kup_call *call, unsigned int room)
{
	unsigned int nr = 0;
	uint64_t start, end;
	const uint8_t *code;

	if (!in || kup_syms_find(&img->syms, in, &start))
		return 0;
	end = kup_syms_next(&img->syms, start);
	code = end - start < (64 << 10) ? kup_elf_at(&img->elf, start, end - start) : NULL;
	for (uint64_t i = 0; code && i + 5 <= end - start; i++) {
		if ((code[i] != CALL && code[i] != JUMP) || start + i + 5 + (int32_t)kup_le32(code + i + 1) != to)
			continue;
		if (nr < room)
			call[nr] = (struct kup_call){ .site = start + i, .entry = entry };
		nr++;
	}
	return nr;
}

/* Return: NULL or what is missing. */
static const char *find_fall(struct kup_image *img)
{
	struct kup_call *call = img->info.fall_call;
	unsigned int room = KUP_FALL_CALLS;
	uint64_t to;

	for (size_t i = 0; i < sizeof(fall_symbols) / sizeof(*fall_symbols); i++)
		if (kup_syms_find(&img->syms, fall_symbols[i], &to))
			return fall_symbols[i];
	for (size_t i = 0; i < sizeof(fall_calls) / sizeof(*fall_calls); i++) {
		unsigned int nr = 0;

		kup_syms_find(&img->syms, fall_calls[i].to, &to);
		for (size_t k = 0; k < 2 && nr <= fall_calls[i].nr; k++)
			nr += find_calls(img, fall_calls[i].in[k], to, i, call + nr, room > nr ? room - nr : 0);
		if (nr != fall_calls[i].nr)
			return fall_calls[i].to;
		call += nr;
		room -= nr;
	}
	return NULL;
}

int kup_place(struct kup_image *img, struct kup_err *err)
{
	uint64_t addr;

	if (find_call(img, err) || find_place(img, err) || symbol(img, "memblock", &addr, err) ||
	    symbol(img, "page_offset_base", &addr, err))
		return -ENOTSUP;
	img->info.no_fall = find_fall(img);
	img->info.reserve_fn = "__memblock_reserve";
	if (!kup_syms_find(&img->syms, img->info.reserve_fn, &addr))
		return 0;
	img->info.reserve_fn = "memblock_reserve";
	return symbol(img, img->info.reserve_fn, &addr, err);
}
