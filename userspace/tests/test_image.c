// SPDX-License-Identifier: GPL-2.0
/*
 * The whole of the image code on a synthetic kernel, and on the real ones that KUP_TEST_IMAGES names: what was found, what was
 * written, and what is refused.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/internal.h"
#include "ktap.h"
#include "packers.h"
#include "synth.h"
#include "util.h"

static struct kup_err err;

static int open_synth(struct synth *s, struct kup_image **img)
{
	size_t size;
	uint8_t *data = synth_build(s, &size), *exact = malloc(size);
	int ret;

	memcpy(exact, data, size);
	free(data);
	synth_free(s);
	memset(&err, 0, sizeof(err));
	*img = NULL;
	ret = kup_image_from_memory(exact, size, "synth", img, &err);
	free(exact);
	return ret;
}

/* Patched into memory; NULL and @err if that is refused. */
static uint8_t *patched(const struct kup_image *img, const struct kup_patch *patch, size_t *size)
{
	int fd = memfd_create("patched", 0);
	uint8_t *data = NULL;

	memset(&err, 0, sizeof(err));
	if (!kup_image_write_patched(img, patch, fd, &err)) {
		*size = lseek(fd, 0, SEEK_CUR);
		data = malloc(*size);
		if (pread(fd, data, *size, 0) != (ssize_t)*size)
			*size = 0;
	}
	close(fd);
	return data;
}

static void test_found(void)
{
	static const struct kup_stub_params layout = {
		.memblock_reserved = 56, .type_cnt = 0, .type_max = 8, .type_total_size = 16, .type_regions = 24,
		.region_size = 24, .region_base = 0, .region_length = 8,
	};

	for (unsigned int i = 0; i < 2 * SYNTH_NR_LAYOUTS; i++) {
		struct synth s = { .layout = i / 2, .new_reserve = i % 2 };
		const struct kup_image_info *info;
		struct kup_image *img;
		uint64_t addr;

		if (!CHECK_FOR(!open_synth(&s, &img), "%s: %.100s", synth_layouts[i / 2], err.what))
			continue;
		info = kup_image_info(img);
		CHECK(!strcmp(info->release, SYNTH_RELEASE) && !strcmp(info->compression, "none"));
		CHECK(!strcmp(info->kallsyms, synth_layouts[i / 2]) && info->nr_syms == s.nr_syms);
		CHECK(info->setup_arch == SYNTH_SETUP && info->call_site == SYNTH_CALL);
		CHECK(!strcmp(info->reserve_fn, i % 2 ? "__memblock_reserve" : "memblock_reserve"));
		/* The longer part of the run, behind the symbol in it, and never next to anything. */
		CHECK(info->stub_addr == SYNTH_RUN_SYM + 64 && info->stub_addr + info->stub_room == SYNTH_ETEXT - 64);
		CHECK(info->stub_size > 256 && info->stub_size < 8192);
		CHECK(!memcmp(&info->layout, &layout, sizeof(layout)));
		CHECK(info->entry == SYNTH_ENTRY(i / 2) && info->load_start == SYNTH_PHYS && info->load_end == SYNTH_PHYS + SYNTH_MEMSZ);
		CHECK(kup_image_symbol(img, "memblock", &addr) == 0 && addr == SYNTH_DATA);
		CHECK(kup_image_symbol(img, "nothing", &addr) == -ENOENT);
		kup_image_close(img);
	}
	kup_image_close(NULL);
}

static bool refused(struct synth s, int code, const char *why)
{
	struct kup_image *img;
	int ret = open_synth(&s, &img);

	if (ret != code || img || !strstr(err.what, why) || !strstr(err.what, "synth:") || !err.next[0]) {
		printf("# returned %d: %s\n", ret, err.what);
		kup_image_close(img);
		return false;
	}
	return true;
}

static void test_refused(void)
{
	static const char *const needed[] = { "setup_arch", "start_kernel", "memblock", "page_offset_base", "memblock_reserve", "_etext",
					      "linux_banner" };

	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
		CHECK_FOR(refused((struct synth){ .layout = 4, .without = needed[i] }, -ENOTSUP, needed[i]), "without %s", needed[i]);
		CHECK_FOR(refused((struct synth){ .layout = 4, .twice = needed[i] }, -ENOTSUP, needed[i]), "two of %s", needed[i]);
	}
	CHECK(refused((struct synth){ .calls = 1 }, -ENOTSUP, "has 0 calls of setup_arch"));
	CHECK(refused((struct synth){ .calls = 3 }, -ENOTSUP, "has 2 calls of setup_arch"));
	CHECK(refused((struct synth){ .no_run = true }, -ENOTSUP, "no place for the stub"));
	CHECK(refused((struct synth){ .no_btf = true }, -ENOTSUP, "no .BTF"));
	CHECK(refused((struct synth){ .btf_without = "reserved" }, -ENOTSUP, "memblock of this kernel has no field reserved"));
	CHECK(refused((struct synth){ .btf_without = "cnt" }, -ENOTSUP, "no field cnt"));
	CHECK(refused((struct synth){ .btf_without = "max" }, -ENOTSUP, "no field max"));
	CHECK(refused((struct synth){ .btf_without = "total_size" }, -ENOTSUP, "no field total_size"));
	CHECK(refused((struct synth){ .btf_without = "regions" }, -ENOTSUP, "no field regions"));
	CHECK(refused((struct synth){ .btf_without = "base" }, -ENOTSUP, "no field base"));
	CHECK(refused((struct synth){ .btf_without = "size" }, -ENOTSUP, "no field size"));
	CHECK(refused((struct synth){ .region_size = 40 }, -ENOTSUP, "memblock_region has 40 bytes"));
	CHECK(refused((struct synth){ .region_size = 28 }, -ENOTSUP, "memblock_region has 28 bytes"));
	CHECK(refused((struct synth){ .big_total = true }, -ENOTSUP, "total_size: bit 128, 4 bytes"));
	CHECK(refused((struct synth){ .region_size = 8 }, -EINVAL, "memblock_region.size ends behind"));
	CHECK(refused((struct synth){ .small_type = true }, -EINVAL, "memblock_type.regions ends behind"));
	CHECK(refused((struct synth){ .odd_types = true }, -EINVAL, "can't be parsed"));
	CHECK(refused((struct synth){ .overlap = true }, -EINVAL, "memblock_type.max and .cnt are at the same place"));
	CHECK(refused((struct synth){ .two_tables = true }, -ENOTSUP, "which is right can't be told"));
}

/* One word of an image changed. */
static bool word_refused(unsigned int layout, bool in_sections, size_t offset, uint64_t value, const char *why)
{
	struct synth s = { .layout = layout };
	struct kup_image *img = NULL;
	size_t size;
	uint8_t *data = synth_build(&s, &size);
	bool good;

	offset += in_sections ? ((Elf64_Ehdr *)data)->e_shoff : 0;
	memcpy(data + offset, &value, sizeof(value));
	memset(&err, 0, sizeof(err));
	good = kup_image_from_memory(data, size, "word", &img, &err) < 0 && strstr(err.what, why);
	kup_image_close(img);
	free(data);
	synth_free(&s);
	return good;
}

static void test_elf_alone(void)
{
	/* The lowest segment is not aligned, all else is in order: the entry is in the other one. */
	CHECK(word_refused(5, false, sizeof(Elf64_Ehdr) + offsetof(Elf64_Phdr, p_paddr), SYNTH_PHYS + 0x1000, "not a kernel"));
	/* Section 2 is .BTF, section 1 holds the names. */
	for (unsigned int i = 1; i <= 2; i++) {
		CHECK(word_refused(5, true, i * sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_offset), 1ULL << 40, "truncated"));
		CHECK(word_refused(5, true, i * sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_offset), -16ULL, "truncated"));
		CHECK(word_refused(5, true, i * sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_size), ~0ULL, "truncated"));
	}
	CHECK(word_refused(5, true, 2 * sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_size), 20, "can't be parsed"));
}

static void test_elf(void)
{
	static const struct {
		const char *name;
		size_t offset, size;
		uint64_t value;
		const char *why;
	} bad[] = {
#define EH(field, value, why) { #field " = " #value, offsetof(Elf64_Ehdr, field), sizeof(((Elf64_Ehdr *)0)->field), value, why }
#define PH(field, value, why) \
	{ #field " = " #value, sizeof(Elf64_Ehdr) + offsetof(Elf64_Phdr, field), sizeof(((Elf64_Phdr *)0)->field), value, why }
		EH(e_machine, EM_AARCH64, "machine 183"), EH(e_ident[EI_CLASS], ELFCLASS32, "class 1"),
		EH(e_ident[EI_DATA], ELFDATA2MSB, "x86-64"), EH(e_type, ET_DYN, "type 3"), EH(e_phentsize, 57, "unknown size"),
		EH(e_shentsize, 0, "unknown size"), EH(e_phoff, 1ULL << 40, "truncated"), EH(e_phoff, ~0ULL, "truncated"),
		EH(e_shoff, 1ULL << 40, "truncated"), EH(e_shoff, -64ULL, "truncated"), EH(e_phnum, 0xffff, ""), EH(e_phnum, 0, "not a kernel"),
		EH(e_shnum, 0xffff, "truncated"), EH(e_shstrndx, 0xffff, "no .BTF"), EH(e_shstrndx, 2, "no .BTF"),
		EH(e_entry, SYNTH_PHYS - 1, "not a kernel"), EH(e_entry, SYNTH_PHYS + (1 << 30), "not a kernel"),
		PH(p_offset, ~0xfffULL, "truncated"), PH(p_filesz, 1ULL << 40, "truncated"), PH(p_filesz, ~0ULL, "truncated"),
		PH(p_memsz, 0x100, "wraps around"), PH(p_memsz, ~0ULL, "wraps around"), PH(p_vaddr, ~0xfffULL, "wraps around"),
		PH(p_paddr, ~0xfffULL, "wraps around"), PH(p_paddr, SYNTH_PHYS + 0x1000, "not a kernel"), PH(p_type, PT_NULL, "not a kernel"), PH(p_filesz, 0x52, "not a kernel"),
		PH(p_filesz, 0x11000, "no symbol tables"), PH(p_vaddr, SYNTH_TEXT + 0x200000, "in no known layout"),
#undef EH
#undef PH
	};
	struct synth s = { .layout = 4 };
	size_t size;
	uint8_t *data = synth_build(&s, &size);

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		uint8_t *copy = malloc(size);
		struct kup_image *img = NULL;

		memcpy(copy, data, size);
		memcpy(copy + bad[i].offset, &bad[i].value, bad[i].size);
		memset(&err, 0, sizeof(err));
		CHECK_FOR(kup_image_from_memory(copy, size, "bad", &img, &err) < 0 && strstr(err.what, bad[i].why), "%s: %.100s",
			  bad[i].name, err.what);
		kup_image_close(img);
		free(copy);
	}
	/* Cut anywhere, and read from a buffer of just that size. */
	for (size_t cut = 0; cut < size; cut += cut < 300 ? 1 : 997) {
		uint8_t *copy = malloc(cut ? cut : 1);
		struct kup_image *img = NULL;

		memcpy(copy, data, cut);
		CHECK_FOR(kup_image_from_memory(copy, cut, "cut", &img, &err) == -EINVAL, "%zu bytes: %.100s", cut, err.what);
		kup_image_close(img);
		free(copy);
	}
	free(data);
	synth_free(&s);
}

static bool in_calls(const uint8_t *p, const uint8_t *const call[KUP_FALL_CALLS])
{
	for (unsigned int i = 0; i < KUP_FALL_CALLS; i++)
		if (call[i] && p > call[i] && p < call[i] + 5)
			return true;
	return false;
}

/* What any patched image must be: the original but for headers, the calls and the stub; and those as they should be. */
static void check_patched(const struct kup_image *img, const struct kup_patch *patch, const char *what)
{
	const struct kup_image_info *info = kup_image_info(img);
	const bool falls = patch->fall && !info->no_fall;
	const uint8_t *call, *place, *fall[KUP_FALL_CALLS] = {};
	uint64_t to[KUP_FALL_CALLS];
	struct kup_stub_params params;
	struct kup_elf elf;
	size_t size, params_at = 0, changed = 0;
	uint64_t move = patch->window_size ? patch->window_base - info->load_start : 0, lowest = UINT64_MAX;
	uint8_t *data = patched(img, patch, &size);

	if (!CHECK_FOR(data, "%s: %.100s", what, err.what))
		return;
	if (!CHECK_FOR(size == img->elf.size && !kup_elf_parse(&elf, data, size, ET_EXEC, &err), "%s", what)) {
		free(data);
		return;
	}
	CHECK_FOR(elf.ehdr.e_entry == info->entry + move, "%s", what);
	for (size_t i = 0; i < elf.ehdr.e_phnum; i++) {
		CHECK_FOR(elf.phdr[i].p_paddr == img->elf.phdr[i].p_paddr + move && elf.phdr[i].p_vaddr == img->elf.phdr[i].p_vaddr &&
			  elf.phdr[i].p_offset == img->elf.phdr[i].p_offset && elf.phdr[i].p_memsz == img->elf.phdr[i].p_memsz,
			  "%s: segment %zu", what, i);
		if (elf.phdr[i].p_type == PT_LOAD && elf.phdr[i].p_paddr < lowest)
			lowest = elf.phdr[i].p_paddr;
	}
	if (patch->window_size)
		CHECK_FOR(lowest == patch->window_base, "%s", what);

	call = kup_elf_at(&elf, info->call_site, 5);
	CHECK_FOR(call && call[0] == 0xe8 && info->call_site + 5 + (int32_t)kup_le32(call + 1) == info->stub_addr, "%s", what);
	place = kup_elf_at(&elf, info->stub_addr, info->stub_size);
	for (size_t i = 0; place && i + sizeof(params) <= info->stub_size; i += 8)
		if (kup_le64(place + i) == KUP_STUB_PARAMS_MAGIC)
			params_at = i;
	if (CHECK_FOR(params_at, "%s", what)) {
		memcpy(&params, place + params_at, sizeof(params));
		CHECK_FOR(params.area == patch->area && params.nonce == patch->nonce, "%s", what);
		CHECK_FOR(!strcmp(params.release, info->release) && params.calls == (falls ? KUP_FALL_CALLS : 0), "%s", what);
		params.magic = params.area = params.nonce = params.calls = 0;
		memset(params.release, 0, sizeof(params.release));
		CHECK_FOR(!memcmp(&params, &info->layout, sizeof(params)), "%s", what);
	}
	/* What a fallback needs: into the stub, each kind of call to its own entry there. */
	for (unsigned int i = 0; falls && i < KUP_FALL_CALLS; i++) {
		const struct kup_call *c = &info->fall_call[i];

		fall[i] = kup_elf_at(&elf, c->site, 5);
		CHECK_FOR(fall[i] && (fall[i][0] == 0xe8 || fall[i][0] == 0xe9), "%s: call %u", what, i);
		to[i] = fall[i] ? c->site + 5 + (int32_t)kup_le32(fall[i] + 1) - info->stub_addr : 0;
		CHECK_FOR(to[i] > 0 && to[i] < info->stub_size, "%s: call %u", what, i);
		for (unsigned int k = 0; k < i; k++)
			CHECK_FOR((to[i] == to[k]) == (c->entry == info->fall_call[k].entry), "%s: calls %u and %u", what, k, i);
	}
	/* Every reference to setup_arch and memblock_reserve by a call or a jump leads there. */
	for (const char *const *name = (const char *const[]){ "setup_arch", info->reserve_fn, NULL }; place && *name; name++) {
		uint64_t addr = 0, found = 0;

		CHECK_FOR(!kup_image_symbol(img, *name, &addr), "%s: %s", what, *name);
		for (size_t i = 0; i + 5 <= info->stub_size; i++)
			found += (place[i] == 0xe8 || place[i] == 0xe9) &&
				 info->stub_addr + i + 5 + (int32_t)kup_le32(place + i + 1) == addr;
		/* One page is reserved in either case: to learn from, or to keep the reason of a refusal. */
		CHECK_FOR(found == (strcmp(*name, "setup_arch") ? 3 : 1), "%s: %lu ways to %s", what, found, *name);
	}
	for (size_t i = elf.ehdr.e_phoff + elf.ehdr.e_phnum * sizeof(Elf64_Phdr); i < size; i++)
		changed += data[i] != img->elf.data[i] && !(data + i > call && data + i < call + 5) &&
			   !(data + i >= place && data + i < place + info->stub_size) && !in_calls(data + i, fall);
	CHECK_FOR(!changed, "%s: %zu bytes changed elsewhere", what, changed);
	kup_elf_free(&elf);
	free(data);
}

static const struct kup_patch patches[] = {
	{ 0, 0, 0, 0, false },
	{ 0x123400000, 0xfedcba9876543210, 0, 0, true },
	{ 0x123400000, 0xfedcba9876543210, 0x40000000, 0x8000000, false },
	{ 0x123400000, 1, 0x200000, 0x8000000, true },	/* downwards */
	{ 0x123400000, 1, 0x1ff8000000, 0x8000000, true },
};

#define NR_PATCHES (sizeof(patches) / sizeof(*patches))

static void test_patched(void)
{
	for (unsigned int layout = 0; layout < SYNTH_NR_LAYOUTS; layout++) {
		struct synth s = { .layout = layout, .new_reserve = layout % 2 };
		struct kup_image *img;

		if (!CHECK(!open_synth(&s, &img)))
			continue;
		for (size_t i = 0; i < NR_PATCHES; i++)
			check_patched(img, &patches[i], synth_layouts[layout]);
		kup_image_close(img);
	}
}

/* With all that a fallback before adoption needs, in either shape of panic(); or without one of them, which refuses no kernel. */
static void test_fall(void)
{
	static const char *const needed[] = { "smp_ops", "crash_notes", "vscnprintf", "__crash_kexec", "calc_global_load", "panic",
					      "machine_crash_shutdown", "nmi_shootdown_cpus", "kdump_nmi_shootdown_cpus" };
	const struct kup_patch patch = { .area = 0x200000, .nonce = 1, .fall = true };
	struct kup_image *img;

	for (unsigned int i = 0; i < 2; i++) {
		struct synth s = { .layout = i * 6, .panic = i ? "vpanic" : "panic" };

		if (!CHECK(!open_synth(&s, &img)))
			continue;
		CHECK_FOR(!kup_image_info(img)->no_fall, "%s: %s", s.panic, kup_image_info(img)->no_fall);
		check_patched(img, &patch, s.panic);
		check_patched(img, &patches[2], s.panic);
		kup_image_close(img);
	}
	for (unsigned int calls = 1; calls < 6; calls++) {
		struct synth s = { .layout = 6, .panic = "vpanic", .crash_calls = calls + 1 };
		const char *lacks;

		if (!CHECK(!open_synth(&s, &img)))
			continue;
		lacks = kup_image_info(img)->no_fall;
		CHECK_FOR(calls == 2 ? !lacks : lacks && !strcmp(lacks, "__crash_kexec"), "%u calls: %s", calls, lacks);
		check_patched(img, &patch, "calls");
		kup_image_close(img);
	}
	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) {
		struct synth s = { .layout = 6, .panic = "vpanic", .without = needed[i] };
		const char *lacks;

		if (!CHECK(!open_synth(&s, &img)))
			continue;
		lacks = kup_image_info(img)->no_fall;
		CHECK_FOR(lacks && !strcmp(lacks, needed[i]), "without %s: %s", needed[i], lacks);
		check_patched(img, &patch, needed[i]);
		kup_image_close(img);
	}
}

static void test_bad_patches(void)
{
	static const struct {
		struct kup_patch patch;
		int code;
		const char *why;
	} bad[] = {
		{ { .area = 0x1000 }, -EINVAL, "not 2 MiB aligned" },
		{ { .window_base = 0x40100000, .window_size = 0x8000000 }, -EINVAL, "not 2 MiB aligned" },
		{ { .window_base = -0x200000ULL, .window_size = 0x400000 }, -EINVAL, "wraps around" },
		{ { .window_base = 0x40000000, .window_size = 0x200000 }, -ENOSPC, "the window has 2048 KiB" },
		{ { .window_base = 0x40000000, .window_size = SYNTH_MEMSZ - 1 }, -ENOSPC, "the window has" },
	};
	struct synth s = { .layout = 6 };
	struct kup_image *img;
	int full;

	if (!CHECK(!open_synth(&s, &img)))
		return;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int fd = memfd_create("bad", 0);

		memset(&err, 0, sizeof(err));
		CHECK_FOR(kup_image_write_patched(img, &bad[i].patch, fd, &err) == bad[i].code && strstr(err.what, bad[i].why), "%zu: %.100s",
			  i, err.what);
		CHECK_FOR(lseek(fd, 0, SEEK_END) == 0, "%zu: nothing was written", i);
		close(fd);
	}
	check_patched(img, &(struct kup_patch){ .window_base = 0x40000000, .window_size = SYNTH_MEMSZ }, "exact fit");
	CHECK(kup_image_write_patched(img, &patches[0], -1, &err) == -EBADF);
	full = memfd_create("full", MFD_ALLOW_SEALING);
	CHECK(full >= 0 && !fcntl(full, F_ADD_SEALS, F_SEAL_GROW));
	CHECK(kup_image_write_patched(img, &patches[0], full, &err) == -EPERM);
	close(full);
	kup_image_close(img);
}

static void test_files(void)
{
	struct kup_image *img;

	CHECK(kup_image_open("/nonexistent/vmlinuz", &img, &err) == -ENOENT && strstr(err.what, "/nonexistent/vmlinuz"));
	CHECK(kup_image_open("/", &img, &err) == -EINVAL && strstr(err.what, "not a file"));
	CHECK(kup_image_open("/dev/null", &img, &err) == -EINVAL);
	CHECK(kup_image_open("/proc/self/exe", &img, &err) == -ENOTSUP && strstr(err.what, "/proc/self/exe"));
}

/* Each image that ci names: its name says its release. */
static void test_real(void)
{
	char *list = strdup(getenv("KUP_TEST_IMAGES")), *save = NULL;
	unsigned int nr = 0;

	for (char *path = strtok_r(list, " \n", &save); path; path = strtok_r(NULL, " \n", &save), nr++) {
		const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
		struct kup_image *img;

		if (!CHECK_FOR(!kup_image_open(path, &img, &err), "%.60s: %.90s", path, err.what))
			continue;
		CHECK_FOR(!kup_image_info(img)->no_fall, "%s: no fallback before adoption: %s", base, kup_image_info(img)->no_fall);
		printf("# %s: %s, %s, %u symbols, %s\n", kup_image_info(img)->release, kup_image_info(img)->compression,
		       kup_image_info(img)->kallsyms, kup_image_info(img)->nr_syms, kup_image_info(img)->reserve_fn);
		if (!strncmp(base, "vmlinuz-", 8))
			CHECK_FOR(!strcmp(kup_image_info(img)->release, base + 8), "%s", base);
		CHECK_FOR(kup_image_info(img)->nr_syms > 50000, "%s", base);
		for (size_t i = 0; i < NR_PATCHES; i++)
			check_patched(img, &patches[i], base);
		kup_image_close(img);
	}
	CHECK(nr > 0);
	free(list);
}

/* The first of the real images: its file, and what is in it. */
static struct {
	uint8_t *file;
	size_t size, payload, packed;
	struct kup_unpacked plain;
	struct kup_image *img;
} real;

static void read_real(void)
{
	char *list = strdup(getenv("KUP_TEST_IMAGES"));
	const char *path = strtok(list, " \n");

	real.file = (uint8_t *)kup_slurp(path, &real.size);
	if (!CHECK(real.file && !kup_unpack_image(real.file, real.size, &real.plain, &err)) ||
	    !CHECK(!kup_image_open(path, &real.img, &err)))
		exit(1);
	real.payload = (real.file[0x1f1] + 1) * 512 + kup_le32(real.file + 0x248);
	real.packed = kup_le32(real.file + 0x24c);
	free(list);
}

/* The bzImage that the build makes without an EFI stub: what is in front of the payload and behind it stays. */
static uint8_t *repack(const struct packer *packer, size_t *size)
{
	size_t room = real.plain.size * 5 / 4 + (1 << 20), behind = real.size - real.payload - real.packed, n;
	uint8_t *file = malloc(real.payload + room + behind + 16);

	memcpy(file, real.file, real.payload);
	n = packer->pack(real.plain.data, real.plain.size, file + real.payload, room - 4);
	if (packer->append) {
		put_le32(file + real.payload + n, real.plain.size);
		n += 4;
	}
	memcpy(file + real.payload + n, real.file + real.payload + real.packed, behind);
	*size = real.payload + n + behind;
	memset(file, 0, 2);
	put_le32(file + 0x24c, n);
	put_le32(file + 0x1f4, (*size - (file[0x1f1] + 1) * 512 + 15) / 16);
	while ((*size - (file[0x1f1] + 1) * 512) % 16)
		file[(*size)++] = 0;
	return file;
}

static void check_same(const struct kup_image_info *a, const struct kup_image_info *b, const char *name)
{
	CHECK_FOR(!strcmp(a->compression, name), "%s: %s", name, a->compression);
	CHECK_FOR(!strcmp(a->release, b->release) && !strcmp(a->kallsyms, b->kallsyms) && a->nr_syms == b->nr_syms, "%s", name);
	CHECK_FOR(a->setup_arch == b->setup_arch && a->call_site == b->call_site && !strcmp(a->reserve_fn, b->reserve_fn), "%s", name);
	CHECK_FOR(a->stub_addr == b->stub_addr && a->stub_size == b->stub_size && a->stub_room == b->stub_room, "%s", name);
	CHECK_FOR(a->entry == b->entry && a->load_start == b->load_start && a->load_end == b->load_end, "%s", name);
	CHECK_FOR(!memcmp(&a->layout, &b->layout, sizeof(a->layout)) && a->elf_size == b->elf_size, "%s", name);
}

/* Cut at a place, it has to be refused as truncated, from a buffer of just that size. */
static void check_cut(const uint8_t *file, size_t cut, const char *name)
{
	struct kup_image *img = NULL;
	uint8_t *copy = malloc(cut ? cut : 1);

	memcpy(copy, file, cut);
	memset(&err, 0, sizeof(err));
	CHECK_FOR(kup_image_from_memory(copy, cut, "cut", &img, &err) == -EINVAL && strstr(err.what, cut < 0x268 ? "too few" : "truncated"),
		  "%s at %zu: %.90s", name, cut, err.what);
	kup_image_close(img);
	free(copy);
}

static void check_cuts(const uint8_t *file, size_t size, size_t payload, size_t packed, const char *name)
{
	const size_t places[] = { 0, 1, 2, 0x1ff, 0x200, 0x267, 0x268, 0x400, payload - 1, payload, payload + 1, payload + 4,
				  payload + packed / 2, payload + packed - 4, payload + packed - 1, payload + packed, size - 512, size - 1 };

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
		check_cut(file, places[i], name);
	for (size_t i = 1; i < 16; i++)
		check_cut(file, size / 16 * i + i, name);
}

static void test_repacked(void)
{
	read_real();
	check_cuts(real.file, real.size, real.payload, real.packed, "as packaged");
	for (size_t i = 0; i < nr_packers; i++) {
		struct kup_image *img;
		size_t size;
		uint8_t *file = repack(&packers[i], &size);

		if (CHECK_FOR(!kup_image_from_memory(file, size, packers[i].name, &img, &err), "%s: %.100s", packers[i].name, err.what)) {
			printf("# %s: %zu KiB\n", packers[i].name, size >> 10);
			check_same(kup_image_info(img), kup_image_info(real.img), packers[i].name);
			kup_image_close(img);
		}
		check_cuts(file, size, real.payload, kup_le32(file + 0x24c), packers[i].name);
		free(file);
	}
}

static bool real_refused(const uint8_t *data, size_t size, int code, const char *why)
{
	struct kup_image *img = NULL;
	int ret;

	memset(&err, 0, sizeof(err));
	ret = kup_image_from_memory(data, size, "lacking", &img, &err);
	kup_image_close(img);
	printf("# %.150s\n", err.what);
	return ret == code && strstr(err.what, why) && err.next[0];
}

static void test_real_lacks(void)
{
	const Elf64_Shdr *btf = kup_elf_section(&real.img->elf, ".BTF");
	size_t size = real.plain.size, end = 0, i;
	uint8_t *copy = malloc(size), *p;

	/* The unpacked kernel itself, cut: all but the list of relocations, which follows the ELF, is needed. */
	for (i = 0; i < real.img->elf.ehdr.e_shnum; i++) {
		const Elf64_Shdr *sh = (const Elf64_Shdr *)(real.plain.data + real.img->elf.ehdr.e_shoff) + i;

		if (sh->sh_type != SHT_NOBITS && sh->sh_offset + sh->sh_size > end)
			end = sh->sh_offset + sh->sh_size;
	}
	for (i = 0; i < 12; i++) {
		struct kup_image *img = NULL;

		CHECK_FOR(kup_image_from_memory(real.plain.data, i < 11 ? end / 11 * i + i : end - 1, "cut", &img, &err) == -EINVAL, "%zu: %.90s",
			  i, err.what);
		kup_image_close(img);
	}
	/* Without kallsyms: wherever the ten digits, one string each, stand in a row, there may be a token table. */
	memcpy(copy, real.plain.data, size);
	for (p = copy; (p = memmem(p, copy + size - p, "0\0001\0002\0003\0004\0005\0006\0007\0008\0009", 20)); )
		memset(p, 0xff, 20);
	CHECK(real_refused(copy, size, -ENOTSUP, "no symbol tables"));
	/* Without BTF: real kernels that lack it have no symbols of it either, here the place that they name is empty. */
	memcpy(copy, real.plain.data, size);
	if (CHECK(btf != NULL)) {
		memset(copy + btf->sh_offset, 0, btf->sh_size);
		CHECK(real_refused(copy, size, -EINVAL, "BTF"));
	}
	/* Another machine's. */
	memcpy(copy, real.plain.data, size);
	copy[offsetof(Elf64_Ehdr, e_machine)] = EM_AARCH64;
	CHECK(real_refused(copy, size, -ENOTSUP, "machine 183"));
	memset(copy, 0, 4096);
	memcpy(copy, "MZ", 2);
	memcpy(copy + 0x38, "ARM\x64", 4);
	CHECK(real_refused(copy, size, -ENOTSUP, "arm64"));
	memcpy(copy + 0x38, "RSC\x05", 4);
	CHECK(real_refused(copy, size, -ENOTSUP, "riscv"));
	memset(copy + 0x38, 0, 4);
	memcpy(copy + 4, "zimg", 4);
	CHECK(real_refused(copy, size, -ENOTSUP, "zboot"));
	free(copy);
	free(real.plain.data);
	free(real.file);
	kup_image_close(real.img);
}

static const struct ktap_test tests[] = {
	{ "everything is found", test_found },
	{ "what lacks something, or has it twice, is refused by name", test_refused },
	{ "damaged ELF headers, and an ELF cut anywhere", test_elf },
	{ "defects that one field makes", test_elf_alone },
	{ "the patched image differs just where it should", test_patched },
	{ "the calls of a fallback", test_fall },
	{ "patches that make no sense are refused", test_bad_patches },
	{ "files that are no images", test_files },
	/* last: only if there are any */
	{ "real kernels", test_real },
	{ "a real kernel repacked with each compression reads the same, and is refused if cut anywhere", test_repacked },
	{ "a real kernel cut, without kallsyms, without BTF, or of another architecture", test_real_lacks },
};

#define NR_REAL 3

int main(void)
{
	return ktap_run(tests, sizeof(tests) / sizeof(*tests) - (getenv("KUP_TEST_IMAGES") ? 0 : NR_REAL));
}
