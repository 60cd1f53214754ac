// SPDX-License-Identifier: GPL-2.0
/*
 * Where the stub goes, and which instruction leads to it.
 *
 * The call: start_kernel() calls setup_arch() once, by an E8 call. That one instruction is redirected; a function's entry is
 * never touched, since ftrace checks those at boot.
 *
 * The place: the linker fills .text with int3 up to its alignment, a long run at the end and short ones elsewhere. The longest one
 * without a symbol inside is nobody's. It is mapped executable when the stub runs, and stays .text: it is not freed after boot.
 */
#include "internal.h"

#define INT3		0xcc
#define CALL		0xe8
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

int kup_place(struct kup_image *img, struct kup_err *err)
{
	uint64_t addr;

	if (find_call(img, err) || find_place(img, err) || symbol(img, "memblock", &addr, err) ||
	    symbol(img, "page_offset_base", &addr, err))
		return -ENOTSUP;
	img->info.reserve_fn = "__memblock_reserve";
	if (!kup_syms_find(&img->syms, img->info.reserve_fn, &addr))
		return 0;
	img->info.reserve_fn = "memblock_reserve";
	return symbol(img, img->info.reserve_fn, &addr, err);
}
