/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What goes through the module's store: a stream of small files.
 *
 * Each entry is struct kup_pack_entry, the name, the content; a name of length 0 ends it. Names are relative, with at most one
 * slash (`plan.json`, `123/core-123.img`), never `..`.
 */
#ifndef KUP_PACK_H
#define KUP_PACK_H

#include <stdint.h>

#include "err.h"

#define KUP_PACK_MAGIC	0x4b50554bu	/* "KUPK" */

struct kup_pack_entry {
	uint32_t magic;
	uint32_t name_len;
	uint64_t size;
};

/**
 * kup_pack_dir - write the files of a directory, one level deep
 * @out: descriptor to write to, in large pieces
 * @path: directory; entries are named @prefix/FILE, or FILE if @prefix is NULL
 * @bytes: added to: bytes of content
 *
 * Return: 0 or a negative errno.
 */
int kup_pack_dir(int out, const char *path, const char *prefix, uint64_t *bytes, struct kup_err *err);
int kup_pack_data(int out, const char *name, const void *data, uint64_t size, struct kup_err *err);
int kup_pack_text(int out, const char *name, const char *text, struct kup_err *err);
int kup_pack_end(int out, struct kup_err *err);

/**
 * kup_unpack - write the files of a stream into a directory
 * @in: read from its position to the end mark
 * @path: directory, exists
 *
 * Trusts nothing in the stream.
 *
 * Return: 0, -EBADMSG for a malformed stream, or another negative errno.
 */
int kup_unpack(int in, const char *path, struct kup_err *err);

#endif
