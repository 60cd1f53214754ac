// SPDX-License-Identifier: GPL-2.0
/* Every compression that a bzImage may have, cut and damaged. */
#include <stdarg.h>

#include "image/internal.h"
#include "ktap.h"
#include "packers.h"

#define PLAIN	(9u << 20)	/* more than one block of lz4 and of lzo */
#define ROOM	(2 * PLAIN)

static uint8_t *plain;

#define MAX_KINDS 16

static struct {
	uint8_t *p;
	size_t n;
} packed[MAX_KINDS];	/* packing is slow: once each */

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
		packed[kind].n = packers[kind].pack(plain, PLAIN, packed[kind].p, ROOM);
	}
	n = packed[kind].n;
	memcpy(payload, packed[kind].p, n);
	if (packers[kind].append) {
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
	for (size_t k = 0; k < nr_packers; k++) {
		size_t size = bzimage(file, k);
		struct kup_unpacked out;

		if (!CHECK_FOR(unpack(file, size, &out) == 0, "%s: %.100s", packers[k].name, err.what))
			continue;
		CHECK_FOR(!strcmp(out.compression, packers[k].name), "%s", packers[k].name);
		CHECK_FOR(out.size == PLAIN && !memcmp(out.data, plain, PLAIN), "%s", packers[k].name);
		free(out.data);
	}
}

static void test_truncated(void)
{
	for (size_t k = 0; k < nr_packers; k++) {
		size_t size = bzimage(file, k) - 4096, n = kup_le32(file + 0x24c);

		CHECK_FOR(refused(size - 1, -EINVAL, "truncated"), "%s: the file", packers[k].name);
		CHECK_FOR(refused(START + OFFSET, -EINVAL, "truncated"), "%s: all of the payload", packers[k].name);
		/* The header fits what is left, and the last four bytes still tell the right size. */
		for (int cut = 1; cut < 4; cut++) {
			size_t less = n / 4 * cut;

			put_le32(file + 0x24c, less);
			put_le32(file + START + OFFSET + less - 4, PLAIN);
			CHECK_FOR(refused(size, -EINVAL, "does not unpack"), "%s: %d quarters", packers[k].name, cut);
		}
	}
}

static void test_wrong_size(void)
{
	for (size_t k = 0; k < nr_packers; k++) {
		size_t size = bzimage(file, k), n = kup_le32(file + 0x24c);
		uint8_t *last = file + START + OFFSET + n - 4;

		put_le32(last, PLAIN - 1);
		CHECK_FOR(refused(size, -EINVAL, "does not unpack"), "%s: one less", packers[k].name);
		put_le32(last, PLAIN + 1);
		CHECK_FOR(refused(size, -EINVAL, "does not unpack"), "%s: one more", packers[k].name);
		put_le32(last, 0);
		CHECK_FOR(refused(size, -EINVAL, "claims to unpack"), "%s: nothing", packers[k].name);
		put_le32(last, 0xffffffff);
		CHECK_FOR(refused(size, -EINVAL, "claims to unpack"), "%s: 4 GiB", packers[k].name);
	}
}

static void test_damaged(void)
{
	for (size_t k = 0; k < nr_packers; k++) {
		size_t size = bzimage(file, k), n = kup_le32(file + 0x24c);

		for (int i = 1; i < 6; i++) {
			uint8_t *at = file + START + OFFSET + n / 6 * i;
			struct kup_unpacked out;
			int ret;

			*at ^= 0x55;
			ret = unpack(file, size, &out);
			CHECK_FOR(!packers[k].checked || ret == -EINVAL, "%s: byte %d/6", packers[k].name, i);
			/* Without a sum inside the damage may pass, but never as the right contents. */
			CHECK_FOR(ret || memcmp(out.data, plain, PLAIN), "%s: byte %d/6 made no difference", packers[k].name, i);
			free(out.data);
			*at ^= 0x55;
		}
	}
}

/* Sound but for a dictionary of a size that no kernel is packed with: the decoder would ask for as much memory. */
static void test_dictionary(void)
{
	for (size_t k = 0; k < nr_packers; k++) {
		size_t size = bzimage(file, k);
		struct kup_unpacked out;

		if (strcmp(packers[k].name, "lzma"))
			continue;
		put_le32(file + START + OFFSET + 1, 128 << 20);
		CHECK_FOR(unpack(file, size, &out) == 0, "%.100s", err.what);
		free(out.data);
		put_le32(file + START + OFFSET + 1, 1 << 30);
		CHECK(refused(size, -EINVAL, "does not unpack"));
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
	{ "a huge dictionary is refused", test_dictionary },
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
	for (size_t k = 0; k < nr_packers; k++)
		free(packed[k].p);
	free(file);
	free(plain);
	return status;
}
