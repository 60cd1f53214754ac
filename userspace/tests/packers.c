// SPDX-License-Identifier: GPL-2.0
#include <bzlib.h>
#include <lz4hc.h>
#include <lzma.h>
#include <lzo/lzo1x.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "packers.h"

#define LZO_BLOCK	(256u << 10)
#define MUST(cond) ((cond) ? (void)0 : (fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond), abort()))

void put_le32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = v >> 8 * i;
}

static size_t put_be(uint8_t *p, uint32_t v, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes; i++)
		p[i] = v >> 8 * (bytes - 1 - i);
	return bytes;
}

static size_t pack_gzip(const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
	z_stream z = { .next_in = (Bytef *)in, .avail_in = size, .next_out = out, .avail_out = room };

	MUST(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	MUST(deflate(&z, Z_FINISH) == Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

static size_t pack_bzip2(const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
	unsigned int n = room;

	MUST(BZ2_bzBuffToBuffCompress((char *)out, &n, (char *)in, size, 9, 0, 0) == BZ_OK);
	return n;
}

static size_t pack_lzma(const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_options_lzma o;

	lzma_lzma_preset(&o, 0);
	MUST(lzma_alone_encoder(&s, &o) == LZMA_OK);
	s.next_in = in;
	s.avail_in = size;
	s.next_out = out;
	s.avail_out = room;
	MUST(lzma_code(&s, LZMA_FINISH) == LZMA_STREAM_END);
	lzma_end(&s);
	return s.total_out;
}

/* With the filter for x86 code, as scripts/xz_wrap.sh does. */
static size_t pack_xz(const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
	lzma_options_lzma o;
	lzma_filter filters[] = { { LZMA_FILTER_X86, NULL }, { LZMA_FILTER_LZMA2, &o }, { LZMA_VLI_UNKNOWN, NULL } };
	size_t n = 0;

	lzma_lzma_preset(&o, 0);
	MUST(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL, in, size, out, &n, room) == LZMA_OK);
	return n;
}

static size_t pack_lzo_flags(const uint8_t *in, size_t size, uint8_t *out, uint32_t flags)
{
	static uint8_t work[LZO1X_1_MEM_COMPRESS];
	size_t n = 0;

	MUST(lzo_init() == LZO_E_OK);
	memcpy(out, "\x89LZO\0\r\n\x1a\n", 9);
	n += 9;
	n += put_be(out + n, 0x1030, 2);
	n += put_be(out + n, 0x20a0, 2);
	n += put_be(out + n, 0x0940, 2);
	n += put_be(out + n, 1, 1);
	n += put_be(out + n, 5, 1);
	n += put_be(out + n, flags, 4);
	n += put_be(out + n, 0100644, 4);
	n += put_be(out + n, 0, 4);
	n += put_be(out + n, 0, 4);
	n += put_be(out + n, 3, 1);
	n += put_be(out + n, 0x616263, 3);	/* a name */
	n += put_be(out + n, 0x12345678, 4);	/* the header's checksum, which the kernel does not look at either */
	for (size_t at = 0; at < size; at += LZO_BLOCK) {
		size_t head = 8 + (flags & 1 ? 4 : 0) + (flags & 0x100 ? 4 : 0);
		size_t part = size - at < LZO_BLOCK ? size - at : LZO_BLOCK;
		lzo_uint packed;
		uint8_t *body = out + n + head + (flags & 2 ? 4 : 0);

		MUST(lzo1x_1_compress(in + at, part, body, &packed, work) == LZO_E_OK);
		if (packed >= part) {	/* stored */
			packed = part;
			body = out + n + head;
			memcpy(body, in + at, packed);
		}
		n += put_be(out + n, part, 4);
		n += put_be(out + n, packed, 4);
		if (flags & 1)
			n += put_be(out + n, adler32(1, in + at, part), 4);
		if (flags & 0x100)
			n += put_be(out + n, crc32(0, in + at, part), 4);
		n = body + packed - out;
	}
	return n + put_be(out + n, 0, 4);
}

static size_t pack_lzo(const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
	(void)room;
	return pack_lzo_flags(in, size, out, 0x03000001);
}

static size_t pack_lzo_sums(const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
	(void)room;
	return pack_lzo_flags(in, size, out, 0x03000103);
}

static size_t pack_lz4(const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
	size_t n = 4;

	put_le32(out, 0x184c2102);
	for (size_t at = 0; at < size; at += 8 << 20) {
		size_t part = size - at < 8 << 20 ? size - at : 8 << 20;
		int packed = LZ4_compress_HC((char *)in + at, (char *)out + n + 4, part, room - n - 4, 3);

		MUST(packed > 0);
		put_le32(out + n, packed);
		n += 4 + packed;
	}
	return n;
}

static size_t pack_zstd(const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t n;

	/* A large window and no size in the frame, as from a pipe through zstd --ultra -22. */
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, 3);
	ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 27);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	n = ZSTD_compress2(c, out, room, in, size);
	MUST(!ZSTD_isError(n));
	ZSTD_freeCCtx(c);
	return n;
}

static size_t pack_none(const uint8_t *in, size_t size, uint8_t *out, size_t room)
{
	MUST(size <= room);
	memcpy(out, in, size);
	return size;
}

const struct packer packers[] = {
	{ "gzip", pack_gzip, false, true }, { "bzip2", pack_bzip2, true, true }, { "lzma", pack_lzma, true, false },
	{ "xz", pack_xz, true, true }, { "lzo", pack_lzo, true, true }, { "lzo", pack_lzo_sums, true, true },
	{ "lz4", pack_lz4, true, false }, { "zstd", pack_zstd, true, true }, { "none", pack_none, true, false },
};

const size_t nr_packers = sizeof(packers) / sizeof(*packers);
