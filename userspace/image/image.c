// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

#define LOAD_ALIGN	(2ULL << 20)	/* what a relocated kernel must keep */

static int find_release(struct kup_image *img, struct kup_err *err)
{
	static const char prefix[] = "Linux version ";
	const uint8_t *banner;
	uint64_t addr;
	size_t n;

	if (kup_syms_find(&img->syms, "linux_banner", &addr))
		return kup_err_set(err, -ENOTSUP, "the image has no symbol linux_banner: its release is not known");
	banner = kup_elf_at(&img->elf, addr, sizeof(prefix) + sizeof(img->release));
	if (!banner || memcmp(banner, prefix, sizeof(prefix) - 1))
		return kup_err_set(err, -EINVAL, "linux_banner at %#llx does not start with \"%s\"", (unsigned long long)addr, prefix);
	banner += sizeof(prefix) - 1;
	for (n = 0; n < sizeof(img->release) - 1 && banner[n] > ' ' && banner[n] < 0x7f; n++)
		img->release[n] = banner[n];
	if (!n || banner[n] != ' ')
		return kup_err_set(err, -EINVAL, "linux_banner names no release");
	img->info.release = img->release;
	return 0;
}

static int find_layout(struct kup_image *img, struct kup_err *err)
{
	const Elf64_Shdr *sh = kup_elf_section(&img->elf, ".BTF");
	const uint8_t *btf = NULL;
	uint64_t start, stop, size = 0;

	if (sh) {
		btf = img->elf.data + sh->sh_offset;
		size = sh->sh_size;
	} else if (!kup_syms_find(&img->syms, "__start_BTF", &start) && !kup_syms_find(&img->syms, "__stop_BTF", &stop) &&
		   start < stop) {
		size = stop - start;
		btf = kup_elf_at(&img->elf, start, size);
	}
	if (!btf || !size) {
		kup_err_set(err, -ENOTSUP, "no .BTF: the layout of memblock in this kernel is not known");
		kup_err_next(err, "use a kernel with CONFIG_DEBUG_INFO_BTF");
		return -ENOTSUP;
	}
	return kup_btf_layout(btf, size, &img->info.layout, err);
}

static int find_span(struct kup_image *img, struct kup_err *err)
{
	struct kup_image_info *info = &img->info;

	info->entry = img->elf.ehdr.e_entry;
	info->load_start = UINT64_MAX;
	for (size_t i = 0; i < img->elf.ehdr.e_phnum; i++) {
		const Elf64_Phdr *ph = &img->elf.phdr[i];

		if (ph->p_type != PT_LOAD)
			continue;
		if (ph->p_paddr < info->load_start)
			info->load_start = ph->p_paddr;
		if (ph->p_paddr + ph->p_memsz > info->load_end)
			info->load_end = ph->p_paddr + ph->p_memsz;
	}
	if (info->load_start >= info->load_end || info->load_start % LOAD_ALIGN || !kup_elf_text(&img->elf))
		return kup_err_set(err, -ENOTSUP, "segments from %#llx to %#llx, entry %#llx: not a kernel that kexec can place",
				   (unsigned long long)info->load_start, (unsigned long long)info->load_end,
				   (unsigned long long)info->entry);
	return 0;
}

int kup_image_from_memory(const void *data, size_t size, const char *name, struct kup_image **out, struct kup_err *err)
{
	struct kup_image *img = calloc(1, sizeof(*img));
	struct kup_err why = {};
	struct kup_stub stub;
	int ret;

	if (!img)
		return kup_err_set(err, -ENOMEM, "%s: no memory", name);
	ret = kup_stub_open(&stub, &why);
	if (ret)
		goto err_image;
	img->info.file_size = size;
	img->info.stub_size = stub.section->sh_size;
	ret = kup_unpack_image(data, size, &img->buf, &why);
	if (ret)
		goto err_stub;
	ret = kup_elf_parse(&img->elf, img->buf.data, img->buf.size, ET_EXEC, &why);
	if (ret)
		goto err_stub;
	img->info.compression = img->buf.compression;
	img->info.elf_size = img->elf.size;
	ret = find_span(img, &why);
	if (!ret)
		ret = kup_syms_read(&img->syms, &img->elf, &why);
	if (ret)
		goto err_stub;
	img->info.kallsyms = img->syms.layout;
	img->info.nr_syms = img->syms.nr;
	ret = find_release(img, &why);
	if (!ret)
		ret = find_layout(img, &why);
	if (!ret)
		ret = kup_place(img, &why);
	if (ret)
		goto err_stub;
	kup_stub_close(&stub);
	*out = img;
	return 0;

err_stub:
	kup_stub_close(&stub);
err_image:
	kup_image_close(img);
	kup_err_set(err, ret, "%s: %.200s", name, why.what);
	kup_err_next(err, "%s", why.next[0] ? why.next : "give the vmlinuz of an x86-64 kernel, as its package has it");
	return ret;
}

int kup_image_open(const char *path, struct kup_image **img, struct kup_err *err)
{
	struct stat st;
	void *data;
	int fd, ret;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		ret = kup_err_set(err, -errno, "%s: %s", path, strerror(errno));
		goto out_close;
	}
	if (!S_ISREG(st.st_mode) || !st.st_size) {
		ret = kup_err_set(err, -EINVAL, "%s: %s", path, S_ISREG(st.st_mode) ? "empty file" : "not a file");
		goto out_close;
	}
	data = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED) {
		ret = kup_err_set(err, -errno, "%s: %s", path, strerror(errno));
		goto out_close;
	}
	ret = kup_image_from_memory(data, st.st_size, path, img, err);
	munmap(data, st.st_size);
out_close:
	if (fd >= 0)
		close(fd);
	return ret;
}

void kup_image_close(struct kup_image *img)
{
	if (!img)
		return;
	kup_syms_free(&img->syms);
	kup_elf_free(&img->elf);
	free(img->buf.data);
	free(img);
}

const struct kup_image_info *kup_image_info(const struct kup_image *img)
{
	return &img->info;
}

int kup_image_symbol(const struct kup_image *img, const char *name, uint64_t *addr)
{
	return kup_syms_find(&img->syms, name, addr);
}

/* By how much to move the image up or down; both are multiples of LOAD_ALIGN, so the difference is. */
static int choose_move(const struct kup_image_info *info, const struct kup_patch *patch, uint64_t *move, struct kup_err *err)
{
	*move = 0;
	if (!patch->window_size)
		return 0;
	if (patch->window_base % LOAD_ALIGN || patch->window_base + patch->window_size < patch->window_base)
		return kup_err_set(err, -EINVAL, "the window at %#llx, %#llx bytes, is not 2 MiB aligned or wraps around",
				   (unsigned long long)patch->window_base, (unsigned long long)patch->window_size);
	if (info->load_end - info->load_start > patch->window_size)
		return kup_err_set(err, -ENOSPC, "the kernel takes %llu KiB in memory, the window has %llu KiB",
				   (unsigned long long)(info->load_end - info->load_start) >> 10,
				   (unsigned long long)patch->window_size >> 10);
	*move = patch->window_base - info->load_start;
	return 0;
}

/* Through the segments, since the caller's copy is laid out as the file is. */
static uint8_t *writable_at(const struct kup_image *img, uint8_t *copy, uint64_t vaddr, uint64_t len)
{
	const uint8_t *p = kup_elf_at(&img->elf, vaddr, len);

	return p ? copy + (p - img->elf.data) : NULL;
}

/* The 32 bits of distance of the call or jump at @site. */
static int redirect(const struct kup_image *img, uint8_t *copy, uint64_t site, uint64_t to)
{
	uint8_t *call = writable_at(img, copy, site, 5);
	int64_t distance = to - (site + 5);

	if (!call || distance != (int32_t)distance)
		return -EINVAL;
	for (int i = 0; i < 4; i++)
		call[1 + i] = (uint32_t)distance >> (8 * i);
	return 0;
}

static int patch_copy(const struct kup_image *img, const struct kup_patch *patch, uint8_t *copy, struct kup_err *err)
{
	const struct kup_image_info *info = &img->info;
	struct kup_stub_params params = info->layout;
	uint8_t *place = writable_at(img, copy, info->stub_addr, info->stub_size);
	Elf64_Ehdr ehdr = img->elf.ehdr;
	struct kup_stub stub;
	uint64_t move;
	int ret;

	if (!place || redirect(img, copy, info->call_site, info->stub_addr))
		return kup_err_set(err, -EINVAL, "the stub's place at %#llx can't be reached from %#llx",
				   (unsigned long long)info->stub_addr, (unsigned long long)info->call_site);
	if (patch->area % KUP_AREA_ALIGN)
		return kup_err_set(err, -EINVAL, "the handover area at %#llx is not 2 MiB aligned", (unsigned long long)patch->area);
	ret = choose_move(info, patch, &move, err);
	if (ret)
		return ret;

	ret = kup_stub_open(&stub, err);
	if (ret)
		return ret;
	ret = kup_stub_link(&stub, img, place, err);
	params.magic = KUP_STUB_PARAMS_MAGIC;
	params.area = patch->area;
	params.nonce = patch->nonce;
	memcpy(params.release, img->release, sizeof(params.release) - 1);
	for (int i = 0; patch->fall && !info->no_fall && !ret && i < KUP_FALL_CALLS; i++) {
		ret = redirect(img, copy, info->fall_call[i].site, info->stub_addr + stub.entry[info->fall_call[i].entry]);
		params.calls++;
		if (ret)
			kup_err_set(err, ret, "the stub can't be reached from %#llx", (unsigned long long)info->fall_call[i].site);
	}
	memcpy(place + stub.params, &params, sizeof(params));
	kup_stub_close(&stub);
	if (ret)
		return ret;

	ehdr.e_entry += move;
	memcpy(copy, &ehdr, sizeof(ehdr));
	for (size_t i = 0; i < ehdr.e_phnum; i++) {
		Elf64_Phdr ph = img->elf.phdr[i];

		ph.p_paddr += move;
		memcpy(copy + ehdr.e_phoff + i * sizeof(ph), &ph, sizeof(ph));
	}
	return 0;
}

int kup_image_write_patched(const struct kup_image *img, const struct kup_patch *patch, int fd, struct kup_err *err)
{
	uint8_t *copy = malloc(img->elf.size);
	int ret;

	if (!copy)
		return kup_err_set(err, -ENOMEM, "no memory for the patched kernel (%zu bytes)", img->elf.size);
	memcpy(copy, img->elf.data, img->elf.size);
	ret = patch_copy(img, patch, copy, err);
	for (size_t done = 0; !ret && done < img->elf.size; ) {
		ssize_t n = write(fd, copy + done, img->elf.size - done);

		if (n > 0)
			done += n;
		else if (n < 0 && errno != EINTR)
			ret = kup_err_set(err, -errno, "writing the patched kernel: %s", strerror(errno));
		else if (!n)
			ret = kup_err_set(err, -EIO, "writing the patched kernel: nothing was written");
	}
	free(copy);
	return ret;
}
