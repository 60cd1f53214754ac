// SPDX-License-Identifier: GPL-2.0
/*
 * From the file to the ELF: the boot protocol's header tells where the payload is, its first bytes how it was packed, and its
 * last four how large it was. What comes out must be of exactly that size.
 */
#include <bzlib.h>
#include <lz4.h>
#include <lzma.h>
#include <lzo/lzo1x.h>
#include <zlib.h>
#include <zstd.h>

#include "internal.h"

#define MAX_UNPACKED	(512u << 20)
#define MAX_DICTIONARY	(256ull << 20)	/* of xz and lzma; kernels are packed with up to 128 MiB */
#define LZ4_MAGIC	0x184c2102u
#define LZ4_BLOCK	(8u << 20)

struct span {
	const uint8_t *p;
	size_t size;
};

/* All of them: fill exactly @out_size bytes from @in. Return 0, or -1 for anything else, whatever the reason. */
typedef int (*unpack_fn)(struct span in, uint8_t *out, size_t out_size);

static int unpack_none(struct span in, uint8_t *out, size_t out_size)
{
	if (in.size != out_size)
		return -1;
	memcpy(out, in.p, out_size);
	return 0;
}

static int unpack_gzip(struct span in, uint8_t *out, size_t out_size)
{
	z_stream z = { .next_in = (Bytef *)in.p, .avail_in = in.size, .next_out = out, .avail_out = out_size };
	int ret;

	if (inflateInit2(&z, 16 + MAX_WBITS) != Z_OK)
		return -1;
	ret = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return ret == Z_STREAM_END && !z.avail_out ? 0 : -1;
}

static int unpack_bzip2(struct span in, uint8_t *out, size_t out_size)
{
	unsigned int done = out_size;

	if (BZ2_bzBuffToBuffDecompress((char *)out, &done, (char *)in.p, in.size, 0, 0) != BZ_OK)
		return -1;
	return done == out_size ? 0 : -1;
}

static int unpack_liblzma(struct span in, uint8_t *out, size_t out_size, bool alone)
{
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_ret ret;

	ret = alone ? lzma_alone_decoder(&s, MAX_DICTIONARY) : lzma_stream_decoder(&s, MAX_DICTIONARY, 0);
	if (ret != LZMA_OK)
		return -1;
	s.next_in = in.p;
	s.avail_in = in.size;
	s.next_out = out;
	s.avail_out = out_size;
	ret = lzma_code(&s, LZMA_FINISH);
	lzma_end(&s);
	return ret == LZMA_STREAM_END && !s.avail_out ? 0 : -1;
}

static int unpack_xz(struct span in, uint8_t *out, size_t out_size)
{
	return unpack_liblzma(in, out, out_size, false);
}

static int unpack_lzma(struct span in, uint8_t *out, size_t out_size)
{
	return unpack_liblzma(in, out, out_size, true);
}

static int unpack_zstd(struct span in, uint8_t *out, size_t out_size)
{
	size_t done = ZSTD_decompress(out, out_size, in.p, in.size);

	return !ZSTD_isError(done) && done == out_size ? 0 : -1;
}

/* The legacy frame: blocks of at most 8 MiB, each behind its packed size; nothing marks the end. */
static int unpack_lz4(struct span in, uint8_t *out, size_t out_size)
{
	size_t pos = 4, done = 0;

	while (done < out_size) {
		size_t room = out_size - done;
		uint32_t packed;
		int n;

		if (!kup_within(pos, 4, in.size))
			return -1;
		packed = kup_le32(in.p + pos);
		pos += 4;
		if (packed == LZ4_MAGIC)	/* frames may follow each other */
			continue;
		if (!packed || packed > INT32_MAX || !kup_within(pos, packed, in.size))
			return -1;
		n = LZ4_decompress_safe((const char *)in.p + pos, (char *)out + done, packed, room < LZ4_BLOCK ? room : LZ4_BLOCK);
		if (n <= 0)
			return -1;
		pos += packed;
		done += n;
	}
	return pos == in.size ? 0 : -1;
}

enum {
	LZOP_ADLER32_D = 0x1, LZOP_ADLER32_C = 0x2, LZOP_FILTER = 0x800, LZOP_CRC32_D = 0x100, LZOP_CRC32_C = 0x200,
	LZOP_EXTRA_FIELD = 0x40, LZOP_MULTIPART = 0x400,
};

struct reader {
	struct span in;
	size_t pos;
	bool bad;
};

static uint32_t be(struct reader *r, unsigned int bytes)
{
	uint32_t v = 0;

	if (!kup_within(r->pos, bytes, r->in.size)) {
		r->bad = true;
		return 0;
	}
	while (bytes--)
		v = v << 8 | r->in.p[r->pos++];
	return v;
}

/* lzop's container; sums of packed data are passed over, that of the unpacked data is checked if it is there. */
static int unpack_lzo(struct span in, uint8_t *out, size_t out_size)
{
	struct reader r = { .in = in, .pos = 9 };
	size_t done = 0;
	uint32_t flags, version;

	if (lzo_init() != LZO_E_OK)
		return -1;
	version = be(&r, 2);
	be(&r, 2);
	if (version >= 0x0940)
		be(&r, 2);
	be(&r, 1);
	if (version >= 0x0940)
		be(&r, 1);
	flags = be(&r, 4);
	if (flags & (LZOP_FILTER | LZOP_EXTRA_FIELD | LZOP_MULTIPART))
		return -1;
	be(&r, 4);
	be(&r, 4);
	if (version >= 0x0940)
		be(&r, 4);
	for (uint32_t n = be(&r, 1); n; n--)
		be(&r, 1);
	be(&r, 4);

	while (!r.bad) {
		uint32_t plain = be(&r, 4), packed, adler = 0, crc = 0;
		lzo_uint n = plain;

		if (r.bad)
			return -1;
		if (!plain)
			return done == out_size && r.pos == in.size ? 0 : -1;
		packed = be(&r, 4);
		if (flags & LZOP_ADLER32_D)
			adler = be(&r, 4);
		if (flags & LZOP_CRC32_D)
			crc = be(&r, 4);
		if (packed < plain && flags & LZOP_ADLER32_C)
			be(&r, 4);
		if (packed < plain && flags & LZOP_CRC32_C)
			be(&r, 4);
		if (r.bad || packed > plain || plain > out_size - done || !kup_within(r.pos, packed, in.size))
			return -1;
		if (packed == plain)
			memcpy(out + done, in.p + r.pos, plain);
		else if (lzo1x_decompress_safe(in.p + r.pos, packed, out + done, &n, NULL) != LZO_E_OK || n != plain)
			return -1;
		if (flags & LZOP_ADLER32_D && adler != adler32(1, out + done, plain))
			return -1;
		if (flags & LZOP_CRC32_D && crc != crc32(0, out + done, plain))
			return -1;
		r.pos += packed;
		done += plain;
	}
	return -1;
}

/* How the kernel packs: all but gzip have the size appended, gzip ends with it anyway. */
static const struct packing {
	const char *name;
	const char *magic;
	size_t magic_size;
	bool size_appended;
	unpack_fn unpack;
} packings[] = {
	{ "gzip", "\x1f\x8b", 2, false, unpack_gzip },
	{ "bzip2", "BZh", 3, true, unpack_bzip2 },
	{ "lzma", "\x5d\0\0", 3, true, unpack_lzma },
	{ "xz", "\xfd" "7zXZ", 6, true, unpack_xz },
	{ "lzo", "\x89LZO\0\r\n\x1a\n", 9, true, unpack_lzo },
	{ "lz4", "\x02\x21\x4c\x18", 4, true, unpack_lz4 },
	{ "zstd", "\x28\xb5\x2f\xfd", 4, true, unpack_zstd },
	{ "none", ELFMAG, SELFMAG, true, unpack_none },
};

int kup_unpack_payload(const uint8_t *in, size_t size, struct kup_unpacked *out, struct kup_err *err)
{
	const struct packing *k = NULL;
	uint32_t plain;

	if (size < 16)
		return kup_err_set(err, -EINVAL, "the kernel's payload has %zu bytes: the image is truncated", size);
	for (size_t i = 0; i < sizeof(packings) / sizeof(*packings); i++)
		if (!memcmp(in, packings[i].magic, packings[i].magic_size))
			k = &packings[i];
	if (!k)
		return kup_err_set(err, -ENOTSUP, "the kernel's payload starts with %02x %02x %02x %02x: no known compression",
				   in[0], in[1], in[2], in[3]);
	plain = kup_le32(in + size - 4);
	if (plain < sizeof(Elf64_Ehdr) || plain > MAX_UNPACKED)
		return kup_err_set(err, -EINVAL, "the %s payload claims to unpack to %u bytes: the image is truncated or damaged",
				   k->name, plain);
	out->data = malloc(plain);
	if (!out->data)
		return kup_err_set(err, -ENOMEM, "no memory for the unpacked kernel (%u bytes)", plain);
	if (k->unpack((struct span){ in, size - (k->size_appended ? 4 : 0) }, out->data, plain)) {
		free(out->data);
		out->data = NULL;
		return kup_err_set(err, -EINVAL, "the %s payload does not unpack to the %u bytes it claims: the image is damaged",
				   k->name, plain);
	}
	out->size = plain;
	out->compression = k->name;
	return 0;
}

enum {	/* offsets of the x86 boot protocol, and of PE, which an image with an EFI stub is as well */
	PE_OFFSET = 0x3c, PE_NR_SECTIONS = 6, PE_OPTIONAL_SIZE = 20, PE_OPTIONAL = 24, PE_CERTIFICATES = 144, PE_SECTION = 40,
	SETUP_SECTS = 0x1f1, SYSSIZE = 0x1f4, BOOT_FLAG = 0x1fe, HEADER = 0x202, PROTOCOL = 0x206, PAYLOAD_OFFSET = 0x248, PAYLOAD_LENGTH = 0x24c,
	HEADER_END = 0x268,
};

/* How long the file is by what its headers say of the kernel, of PE's sections and of the signature behind them. */
static uint64_t whole_size(const uint8_t *file, size_t size, uint64_t start)
{
	uint64_t end = start + (uint64_t)kup_le32(file + SYSSIZE) * 16, pe = kup_le32(file + PE_OFFSET), at;
	unsigned int sections, optional;

	if (memcmp(file, "MZ", 2) || !kup_within(pe, PE_OPTIONAL, size) || memcmp(file + pe, "PE\0\0", 4))
		return end;
	sections = file[pe + PE_NR_SECTIONS] | file[pe + PE_NR_SECTIONS + 1] << 8;
	optional = file[pe + PE_OPTIONAL_SIZE] | file[pe + PE_OPTIONAL_SIZE + 1] << 8;
	at = pe + PE_OPTIONAL + optional;
	if (!kup_within(at, (uint64_t)sections * PE_SECTION, size))
		return UINT64_MAX;
	for (; sections--; at += PE_SECTION) {
		uint64_t raw = (uint64_t)kup_le32(file + at + 20) + kup_le32(file + at + 16);

		end = raw > end ? raw : end;
	}
	if (optional >= PE_CERTIFICATES + 8) {
		const uint8_t *certs = file + pe + PE_OPTIONAL + PE_CERTIFICATES;
		uint64_t raw = (uint64_t)kup_le32(certs) + kup_le32(certs + 4);

		end = raw > end ? raw : end;
	}
	return end;
}

int kup_unpack_image(const uint8_t *file, size_t size, struct kup_unpacked *out, struct kup_err *err)
{
	uint64_t start, offset, length, whole;
	unsigned int protocol;

	if (size >= SELFMAG && !memcmp(file, ELFMAG, SELFMAG)) {
		if (size > MAX_UNPACKED)
			return kup_err_set(err, -ENOTSUP, "%zu bytes are too large for a kernel (at most %u)", size, MAX_UNPACKED);
		out->data = malloc(size);
		if (!out->data)
			return kup_err_set(err, -ENOMEM, "no memory for the kernel (%zu bytes)", size);
		memcpy(out->data, file, size);
		out->size = size;
		out->compression = "none";
		return 0;
	}
	if (size < HEADER_END)
		return kup_err_set(err, -EINVAL, "%zu bytes are too few for a kernel: not an image, or truncated", size);
	if (!memcmp(file + 0x38, "ARM\x64", 4) || !memcmp(file + 0x38, "RSC\x05", 4) || !memcmp(file + 4, "zimg", 4))
		return kup_err_set(err, -ENOTSUP, "a kernel of another architecture (%s), not of x86-64",
				   !memcmp(file + 0x38, "ARM", 3) ? "arm64" : !memcmp(file + 0x38, "RSC", 3) ? "riscv" : "EFI zboot");
	if (file[BOOT_FLAG] != 0x55 || file[BOOT_FLAG + 1] != 0xaa || memcmp(file + HEADER, "HdrS", 4))
		return kup_err_set(err, -ENOTSUP,
				   "neither an x86 bzImage (no HdrS at 0x202) nor an ELF: it starts with %02x %02x %02x %02x", file[0],
				   file[1], file[2], file[3]);
	protocol = file[PROTOCOL] | file[PROTOCOL + 1] << 8;
	if (protocol < 0x208)
		return kup_err_set(err, -ENOTSUP, "boot protocol %u.%02u: 2.08 or later is needed", protocol >> 8, protocol & 0xff);
	start = ((file[SETUP_SECTS] ? file[SETUP_SECTS] : 4) + 1) * 512;
	offset = kup_le32(file + PAYLOAD_OFFSET);
	length = kup_le32(file + PAYLOAD_LENGTH);
	if (!kup_within(start + offset, length, size))
		return kup_err_set(err, -EINVAL, "truncated: the payload ends at byte %llu of %zu",
				   (unsigned long long)(start + offset + length), size);
	whole = whole_size(file, size, start);
	if (whole == UINT64_MAX)
		return kup_err_set(err, -EINVAL, "truncated: its PE headers end behind byte %zu", size);
	if (whole > size)
		return kup_err_set(err, -EINVAL, "truncated: %zu bytes of %llu", size, (unsigned long long)whole);
	return kup_unpack_payload(file + start + offset, length, out, err);
}
