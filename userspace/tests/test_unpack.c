// SPDX-License-Identifier: GPL-2.0
/* Every compression that a bzImage may have, packed here as the kernel's build packs it, then cut and damaged. */
#include <bzlib.h>
#include <lz4hc.h>
#include <lzma.h>
#include <lzo/lzo1x.h>
#include <stdarg.h>
#include <zlib.h>
#include <zstd.h>

#include "image/internal.h"
#include "ktap.h"

#define PLAIN	(9u << 20)	/* more than one block of lz4 and of lzo */
#define ROOM	(2 * PLAIN)

static uint8_t *plain;

static void put_le32(uint8_t *p, uint32_t v)
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

static size_t pack_gzip(uint8_t *out)
{
	z_stream z = { .next_in = plain, .avail_in = PLAIN, .next_out = out, .avail_out = ROOM };

	CHECK(deflateInit2(&z, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	CHECK(deflate(&z, Z_FINISH) == Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

static size_t pack_bzip2(uint8_t *out)
{
	unsigned int n = ROOM;

	CHECK(BZ2_bzBuffToBuffCompress((char *)out, &n, (char *)plain, PLAIN, 9, 0, 0) == BZ_OK);
	return n;
}

static size_t pack_lzma(uint8_t *out)
{
	lzma_stream s = LZMA_STREAM_INIT;
	lzma_options_lzma o;

	lzma_lzma_preset(&o, 1);
	CHECK(lzma_alone_encoder(&s, &o) == LZMA_OK);
	s.next_in = plain;
	s.avail_in = PLAIN;
	s.next_out = out;
	s.avail_out = ROOM;
	CHECK(lzma_code(&s, LZMA_FINISH) == LZMA_STREAM_END);
	lzma_end(&s);
	return s.total_out;
}

/* With the filter for x86 code, as scripts/xz_wrap.sh does. */
static size_t pack_xz(uint8_t *out)
{
	lzma_options_lzma o;
	lzma_filter filters[] = { { LZMA_FILTER_X86, NULL }, { LZMA_FILTER_LZMA2, &o }, { LZMA_VLI_UNKNOWN, NULL } };
	size_t n = 0;

	lzma_lzma_preset(&o, 1);
	CHECK(lzma_stream_buffer_encode(filters, LZMA_CHECK_CRC32, NULL, plain, PLAIN, out, &n, ROOM) == LZMA_OK);
	return n;
}

static size_t pack_lzo_flags(uint8_t *out, uint32_t flags)
{
	static uint8_t work[LZO1X_1_MEM_COMPRESS];
	size_t n = 0;

	CHECK(lzo_init() == LZO_E_OK);
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
	for (size_t at = 0; at < PLAIN; at += 256 << 10) {
		size_t head = 8 + (flags & 1 ? 4 : 0) + (flags & 0x100 ? 4 : 0);
		lzo_uint packed;
		uint8_t *body = out + n + head + (flags & 2 ? 4 : 0);

		CHECK(lzo1x_1_compress(plain + at, 256 << 10, body, &packed, work) == LZO_E_OK);
		if (packed >= 256 << 10) {	/* stored */
			packed = 256 << 10;
			body = out + n + head;
			memcpy(body, plain + at, packed);
		}
		n += put_be(out + n, 256 << 10, 4);
		n += put_be(out + n, packed, 4);
		if (flags & 1)
			n += put_be(out + n, adler32(1, plain + at, 256 << 10), 4);
		if (flags & 0x100)
			n += put_be(out + n, crc32(0, plain + at, 256 << 10), 4);
		n = body + packed - out;
	}
	return n + put_be(out + n, 0, 4);
}

static size_t pack_lzo(uint8_t *out)
{
	return pack_lzo_flags(out, 0x03000001);
}

static size_t pack_lzo_sums(uint8_t *out)
{
	return pack_lzo_flags(out, 0x03000103);
}

static size_t pack_lz4(uint8_t *out)
{
	size_t n = 4;

	put_le32(out, 0x184c2102);
	for (size_t at = 0; at < PLAIN; at += 8 << 20) {
		size_t part = PLAIN - at < 8 << 20 ? PLAIN - at : 8 << 20;
		int packed = LZ4_compress_HC((char *)plain + at, (char *)out + n + 4, part, ROOM - n - 4, 3);

		CHECK(packed > 0);
		put_le32(out + n, packed);
		n += 4 + packed;
	}
	return n;
}

static size_t pack_zstd(uint8_t *out)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t n;

	/* A large window and no size in the frame, as from a pipe through zstd --ultra -22. */
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, 3);
	ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, 27);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	n = ZSTD_compress2(c, out, ROOM, plain, PLAIN);
	CHECK(!ZSTD_isError(n));
	ZSTD_freeCCtx(c);
	return n;
}

static size_t pack_none(uint8_t *out)
{
	memcpy(out, plain, PLAIN);
	return PLAIN;
}

static const struct {
	const char *name;
	size_t (*pack)(uint8_t *out);
	bool append;
	bool checked;		/* damage inside is found by the format itself */
} kinds[] = {
	{ "gzip", pack_gzip, false, true }, { "bzip2", pack_bzip2, true, true }, { "lzma", pack_lzma, true, false },
	{ "xz", pack_xz, true, true }, { "lzo", pack_lzo, true, true }, { "lzo", pack_lzo_sums, true, true },
	{ "lz4", pack_lz4, true, false }, { "zstd", pack_zstd, true, true }, { "none", pack_none, true, false },
};

#define NR_KINDS (sizeof(kinds) / sizeof(*kinds))

static struct {
	uint8_t *p;
	size_t n;
} packed[NR_KINDS];	/* packing is slow: once each */

/* A file around a payload, with as many setup sectors as bzImages have. */
#define START	(28 * 512)
#define OFFSET	0x2f3

static size_t bzimage(uint8_t *file, size_t kind)
{
	uint8_t *payload = file + START + OFFSET;
	size_t n;

	memset(file, 0, START + OFFSET);
	if (!packed[kind].p) {
		packed[kind].p = malloc(ROOM);
		packed[kind].n = kinds[kind].pack(packed[kind].p);
	}
	n = packed[kind].n;
	memcpy(payload, packed[kind].p, n);
	if (kinds[kind].append) {
		put_le32(payload + n, PLAIN);
		n += 4;
	}
	file[0x1f1] = 27;
	file[0x1fe] = 0x55;
	file[0x1ff] = 0xaa;
	memcpy(file + 0x202, "HdrS\x0f\x02", 6);
	put_le32(file + 0x248, OFFSET);
	put_le32(file + 0x24c, n);
	memset(payload + n, 0x77, 4096);
	return START + OFFSET + n + 4096;
}

static uint8_t *file;
static struct kup_err err;

/* From a buffer of exactly that size, so that ASan sees a read too far. */
static int unpack(const uint8_t *from, size_t size, struct kup_unpacked *out)
{
	uint8_t *copy = malloc(size ? size : 1);
	int ret;

	memcpy(copy, from, size);
	memset(&err, 0, sizeof(err));
	*out = (struct kup_unpacked){};
	ret = kup_unpack_image(copy, size, out, &err);
	free(copy);
	return ret;
}

static bool refused(size_t size, int code, const char *why)
{
	struct kup_unpacked out;
	int ret = unpack(file, size, &out);
	bool good = ret == code && !out.data && strstr(err.what, why);

	if (!good)
		printf("# returned %d: %s\n", ret, err.what);
	free(out.data);
	return good;
}

static void test_each(void)
{
	for (size_t k = 0; k < NR_KINDS; k++) {
		size_t size = bzimage(file, k);
		struct kup_unpacked out;

		if (!CHECK_FOR(unpack(file, size, &out) == 0, "%s: %.100s", kinds[k].name, err.what))
			continue;
		CHECK_FOR(!strcmp(out.compression, kinds[k].name), "%s", kinds[k].name);
		CHECK_FOR(out.size == PLAIN && !memcmp(out.data, plain, PLAIN), "%s", kinds[k].name);
		free(out.data);
	}
}

static void test_truncated(void)
{
	for (size_t k = 0; k < NR_KINDS; k++) {
		size_t size = bzimage(file, k) - 4096, n = kup_le32(file + 0x24c);

		CHECK_FOR(refused(size - 1, -EINVAL, "truncated"), "%s: the file", kinds[k].name);
		CHECK_FOR(refused(START + OFFSET, -EINVAL, "truncated"), "%s: all of the payload", kinds[k].name);
		/* The header fits what is left, and the last four bytes still tell the right size. */
		for (int cut = 1; cut < 4; cut++) {
			size_t less = n / 4 * cut;

			put_le32(file + 0x24c, less);
			put_le32(file + START + OFFSET + less - 4, PLAIN);
			CHECK_FOR(refused(size, -EINVAL, "does not unpack"), "%s: %d quarters", kinds[k].name, cut);
		}
	}
}

static void test_wrong_size(void)
{
	for (size_t k = 0; k < NR_KINDS; k++) {
		size_t size = bzimage(file, k), n = kup_le32(file + 0x24c);
		uint8_t *last = file + START + OFFSET + n - 4;

		put_le32(last, PLAIN - 1);
		CHECK_FOR(refused(size, -EINVAL, "does not unpack"), "%s: one less", kinds[k].name);
		put_le32(last, PLAIN + 1);
		CHECK_FOR(refused(size, -EINVAL, "does not unpack"), "%s: one more", kinds[k].name);
		put_le32(last, 0);
		CHECK_FOR(refused(size, -EINVAL, "claims to unpack"), "%s: nothing", kinds[k].name);
		put_le32(last, 0xffffffff);
		CHECK_FOR(refused(size, -EINVAL, "claims to unpack"), "%s: 4 GiB", kinds[k].name);
	}
}

static void test_damaged(void)
{
	for (size_t k = 0; k < NR_KINDS; k++) {
		size_t size = bzimage(file, k), n = kup_le32(file + 0x24c);

		for (int i = 1; i < 6; i++) {
			uint8_t *at = file + START + OFFSET + n / 6 * i;
			struct kup_unpacked out;
			int ret;

			*at ^= 0x55;
			ret = unpack(file, size, &out);
			CHECK_FOR(!kinds[k].checked || ret == -EINVAL, "%s: byte %d/6", kinds[k].name, i);
			/* Without a sum inside the damage may pass, but never as the right contents. */
			CHECK_FOR(ret || memcmp(out.data, plain, PLAIN), "%s: byte %d/6 made no difference", kinds[k].name, i);
			free(out.data);
			*at ^= 0x55;
		}
	}
}

static void test_not_an_image(void)
{
	size_t size = bzimage(file, 0);

	CHECK(refused(0, -EINVAL, "too few"));
	CHECK(refused(0x200, -EINVAL, "too few"));
	file[0x1fe] = 0;
	CHECK(refused(size, -ENOTSUP, "neither an x86 bzImage"));
	bzimage(file, 0);
	memcpy(file + 0x202, "SrdH", 4);
	CHECK(refused(size, -ENOTSUP, "neither an x86 bzImage"));
	bzimage(file, 0);
	file[0x206] = 7;
	CHECK(refused(size, -ENOTSUP, "boot protocol 2.07"));
	bzimage(file, 0);
	put_le32(file + START + OFFSET, 0x04030201);
	CHECK(refused(size, -ENOTSUP, "01 02 03 04"));
	bzimage(file, 0);
	put_le32(file + 0x24c, 8);
	CHECK(refused(size, -EINVAL, "truncated"));
	bzimage(file, 0);
	put_le32(file + 0x248, 0xfffffff0);
	CHECK(refused(size, -EINVAL, "truncated"));
	put_le32(file + 0x24c, 0xfffffff0);
	CHECK(refused(size, -EINVAL, "truncated"));
}

static void test_plain(void)
{
	struct kup_unpacked out;

	if (!CHECK(unpack(plain, PLAIN, &out) == 0))
		return;
	CHECK(!strcmp(out.compression, "none") && out.size == PLAIN && !memcmp(out.data, plain, PLAIN));
	free(out.data);
}

static const struct ktap_test tests[] = {
	{ "every compression unpacks", test_each },
	{ "a truncated image is refused", test_truncated },
	{ "a wrong size is refused", test_wrong_size },
	{ "damage is found, or changes what comes out", test_damaged },
	{ "what is no x86 image is refused", test_not_an_image },
	{ "a plain ELF is taken as it is", test_plain },
};

int main(void)
{
	int status;

	plain = malloc(PLAIN);
	file = calloc(1, ROOM + START + OFFSET + 8192);
	/* Compressible, but not everywhere: lzo must store some blocks. */
	srand(2);
	for (size_t i = 0; i < PLAIN; i++)
		plain[i] = i >> 20 == 3 ? rand() >> 8 : "call push mov nop"[rand() % 4 + i / 64 % 13];
	memcpy(plain, ELFMAG, SELFMAG);
	status = ktap_run(tests, sizeof(tests) / sizeof(*tests));
	for (size_t k = 0; k < NR_KINDS; k++)
		free(packed[k].p);
	free(file);
	free(plain);
	return status;
}
