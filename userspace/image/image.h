/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A kernel image, as the switch needs it: unpacked, understood, and written out again with the boot stub inside.
 *
 *   1. bzImage header -> payload -> ELF (unpack.c, elf.c); a plain vmlinux is taken as well
 *   2. kallsyms tables -> symbols (kallsyms.c); exactly one reading of them must fit, else the image is refused
 *   3. .BTF -> layout of memblock (btf.c)
 *   4. the one call of setup_arch() in start_kernel(), and a place for the stub in .text (place.c)
 *   5. the calls that a fallback needs redirected as well (place.c): optional
 *   6. the stub linked at its place, its parameters, the calls redirected, the whole relocated (image.c)
 *
 * Pure: no state but the handle, no trust in the input. Every refusal says what was found and what was expected. A handle
 * may be used by several threads as long as nobody closes it.
 */
#ifndef KUP_IMAGE_H
#define KUP_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../err.h"
#include <kup/handover.h>

struct kup_image;

/* A call that leads to the stub if the switch has a fallback: see bootstub/fall.c. */
struct kup_call {
	uint64_t site;		/* of the instruction, a call or a jump with 32 bits of distance */
	unsigned int entry;	/* index of the stub's entry */
};
#define KUP_FALL_CALLS 4

/**
 * struct kup_image_info - what was found in an image; strings and all live as long as the handle
 * @release: the kernel's release, as `uname -r` will show it
 * @compression: of the payload: gzip, bzip2, lzma, xz, lzo, lz4, zstd; or none
 * @file_size: bytes of the file; @elf_size: bytes of the unpacked ELF
 * @kallsyms: name of the layout of the symbol tables
 * @nr_syms: symbols in them
 * @setup_arch: virtual addresses, as linked, of the function,
 * @call_site: and of the call instruction in start_kernel()
 * @fall_call: the calls for a fallback before adoption, and @no_fall: NULL, or what this kernel lacks for one
 * @reserve_fn: the function that reserves in this kernel: memblock_reserve or __memblock_reserve
 * @stub_addr: where the stub goes; @stub_size: bytes of it
 * @stub_room: bytes of unused .text found there, at least @stub_size
 * @layout: of memblock's structures; only the fields that describe it are set, .area and .nonce are 0
 * @entry: physical, as linked
 * @load_start: lowest physical address of a segment, as linked, 2 MiB aligned
 * @load_end: end of the highest one, .bss included
 */
struct kup_image_info {
	const char *release;
	const char *compression;
	uint64_t file_size;
	uint64_t elf_size;
	const char *kallsyms;
	uint32_t nr_syms;
	uint64_t setup_arch;
	uint64_t call_site;
	const char *reserve_fn;
	struct kup_call fall_call[KUP_FALL_CALLS];
	const char *no_fall;
	uint64_t stub_addr;
	uint32_t stub_size;
	uint64_t stub_room;
	struct kup_stub_params layout;
	uint64_t entry;
	uint64_t load_start;
	uint64_t load_end;
};

/**
 * struct kup_patch - what to write into the image
 * @area: physical address of the handover area; 0: boots as if there were no stub
 * @nonce: of that handover
 * @window_base: 2 MiB aligned; every segment is moved into the window, as low in it as it fits
 * @window_size: 0: leave the image where it was linked
 * @fall: the calls for a fallback lead to the stub, if the image has all of them (no_fall is NULL)
 */
struct kup_patch {
	uint64_t area;
	uint64_t nonce;
	uint64_t window_base;
	uint64_t window_size;
	bool fall;
};

/**
 * kup_image_open - read and understand a kernel image
 * @path: a bzImage or a vmlinux
 * @img: out, for kup_image_close()
 * @err: filled on failure
 *
 * Return: 0 or a negative errno: -EINVAL or -ENOTSUP for an image that is refused, else what reading it gave.
 */
int kup_image_open(const char *path, struct kup_image **img, struct kup_err *err);

/**
 * kup_image_from_memory - the same, for an image that is in memory
 * @data: stays the caller's; not needed after the call
 * @name: for messages
 */
int kup_image_from_memory(const void *data, size_t size, const char *name, struct kup_image **img, struct kup_err *err);

void kup_image_close(struct kup_image *img);	/* NULL is fine */

const struct kup_image_info *kup_image_info(const struct kup_image *img);

/**
 * kup_image_symbol - the address of a symbol of the image, as linked
 *
 * Return: 0, -ENOENT, or -ENOTUNIQ if several symbols have the name.
 */
int kup_image_symbol(const struct kup_image *img, const char *name, uint64_t *addr);

/**
 * kup_image_write_patched - write the ELF for kexec, with the stub and its parameters
 * @img: not changed
 * @patch: what to write
 * @fd: written from its current position on
 * @err: filled on failure
 *
 * Return: 0 or a negative errno; after a failed write the file is incomplete.
 */
int kup_image_write_patched(const struct kup_image *img, const struct kup_patch *patch, int fd, struct kup_err *err);

#endif
