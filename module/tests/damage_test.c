// SPDX-License-Identifier: GPL-2.0
/*
 * In the new kernel, before the handover is adopted: every bit of every field by name, and random ones, flipped in the memory where it
 * stands, ADOPT, flipped back. Each must be refused with a reason that STATUS keeps, and change nothing. Runs as root with kup_ppp.ko and
 * kup_damage.ko loaded; whoever adopts afterwards finds the handover as it was.
 *
 *   damage_test AREA [RANDOM [SEED]]
 *
 * Prints one line of JSON. The status is 0 if all is as it must be.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <kup/handover.h>
#include <kup/map.h>
#include <uapi/kup_ppp.h>

#include "fields.h"

#define PAGE	4096ULL

static int dev, mem;
static uint64_t area;
static struct kup_handover h;
static uint32_t *dir;
static unsigned long named, at_random, bad;
static struct kup_status before;

static void get(uint64_t phys, void *to, size_t len)
{
	for (size_t n; len; phys += n, to += n, len -= n) {
		n = PAGE - phys % PAGE < len ? PAGE - phys % PAGE : len;
		if (pread(mem, to, n, phys) != (ssize_t)n) {
			perror("/dev/kup_damage");
			exit(2);
		}
	}
}

static void flip(uint64_t phys, unsigned int bit)
{
	uint8_t byte;

	get(phys, &byte, 1);
	byte ^= 1 << bit;
	if (pwrite(mem, &byte, 1, phys) != 1) {
		perror("/dev/kup_damage");
		exit(2);
	}
}

/* All but what the last ADOPT left there for people, and the TSC's rate, which the kernel refines some time after its start. */
static bool same_status(struct kup_status st)
{
	st.tsc_khz = before.tsc_khz;
	memcpy(st.refused, before.refused, sizeof(st.refused));
	st.stub_state = before.stub_state;
	return !memcmp(&st, &before, sizeof(st));
}

static void refused(uint64_t phys, unsigned int bit, const char *what)
{
	struct kup_adopt a = { .size = sizeof(a), .area = area };
	struct kup_status st = { .size = sizeof(st) };
	int err;

	flip(phys, bit);
	err = ioctl(dev, KUP_IOC_ADOPT, &a) ? errno : 0;
	if (!err) {	/* nothing can be told any more */
		printf("{\"adopted\": \"%s at %#llx, bit %u\"}\n", what, (unsigned long long)phys, bit);
		exit(1);
	}
	flip(phys, bit);
	ioctl(dev, KUP_IOC_STATUS, &st);
	if ((err == EBADMSG || err == ENOENT || err == ESTALE) && a.why[0] && !strcmp(st.refused, a.why) && same_status(st))
		return;
	bad++;
	fprintf(stderr, "%s at %#llx, bit %u: %s, \"%s\", status \"%s\", state %u\n", what, (unsigned long long)phys, bit, strerror(err),
		a.why, st.refused, st.state);
}

static void fields(uint64_t phys, const struct field *f, unsigned int nr)
{
	for (; nr--; f++)
		for (unsigned int bit = 0; bit < 8 * f->size; bit++, named++)
			refused(phys + f->offset + bit / 8, bit % 8, f->name);
}

static uint64_t stream(uint64_t off)
{
	return dir[off / PAGE] * PAGE + off % PAGE;
}

static uint64_t sum_of(uint64_t off, uint64_t size)
{
	uint64_t page[512], sum = 0, end = off + (size + 7) / 8 * 8;

	for (; off < end; off += PAGE) {
		get(stream(off), page, PAGE);
		sum = kup_sum(page, end - off < PAGE ? end - off : PAGE, sum);
	}
	return sum;
}

static void chunk(uint64_t off)
{
	struct kup_chunk c;

	get(stream(off), &c, sizeof(c));
	fields(stream(off), chunk_fields, NR_FIELDS(chunk_fields));
	if (c.kind == KUP_CHUNK_RUNS)
		fields(stream(8ULL * c.value), run_fields, NR_FIELDS(run_fields));
	/* A field may go on in another page: not that of a run. */
	if (c.kind == KUP_CHUNK_SCATTER && 8ULL * c.value % PAGE + sizeof(struct kup_scatter) <= PAGE)
		fields(stream(8ULL * c.value), scatter_fields, NR_FIELDS(scatter_fields));
}

static void by_name(void)
{
	const struct field *f = handover_fields;

	/* What the stub only tells people means nothing to ADOPT: it would go through. */
	for (unsigned int i = 0; i < NR_FIELDS(handover_fields); i++, f++)
		if (f->offset <= offsetof(struct kup_handover, stub_state))
			fields(area, f, 1);
	fields(area + h.extents_off, extent_fields, NR_FIELDS(extent_fields));
	fields(area + h.extents_off + (h.nr_extents - 1) * sizeof(struct kup_extent), extent_fields, NR_FIELDS(extent_fields));
	for (uint64_t i = 0; i < h.stream_pages; i += h.stream_pages - 1 ? h.stream_pages - 1 : 1)
		for (unsigned int bit = 0; bit < 32; bit++, named++)
			refused(area + h.directory_off + i * 4 + bit / 8, bit % 8, "directory");
	for (uint32_t i = 0; i < h.nr_mms; i++) {
		struct kup_mm_record r;

		get(stream(i * sizeof(r)), &r, sizeof(r));
		if (i * sizeof(r) % PAGE + sizeof(r) <= PAGE)
			fields(stream(i * sizeof(r)), record_fields, NR_FIELDS(record_fields));
		/* The first chunks of every kind, and the last. */
		for (uint32_t n = 0, seen = 0; n < r.nr_chunks; n++) {
			struct kup_chunk c;

			get(stream(r.chunks_off + n * sizeof(c)), &c, sizeof(c));
			if (!(seen & 1 << c.kind) || n == r.nr_chunks - 1)
				chunk(r.chunks_off + n * sizeof(c));
			seen |= 1 << c.kind;
		}
	}
}

/* Anywhere in what the sums cover. */
static void anywhere(unsigned int nr)
{
	uint64_t extents = h.nr_extents * sizeof(struct kup_extent);

	for (; nr--; at_random++) {
		uint64_t r = (uint64_t)rand() << 20 ^ rand();

		switch (rand() % 5) {
		case 0:
			refused(area + r % offsetof(struct kup_handover, stub_state), rand() % 8, "header");
			break;
		case 1:
			refused(area + h.extents_off + r % extents, rand() % 8, "extents");
			break;
		case 2:
			refused(area + h.directory_off + r % (h.stream_pages * 4), rand() % 8, "directory");
			break;
		case 3:
			refused(stream(r % h.maps_size), rand() % 8, "maps");
			break;
		default:
			refused(stream(h.store_off + r % h.store_size), rand() % 8, "store");
		}
	}
}

int main(int argc, char **argv)
{
	struct kup_handover after;

	if (argc < 2)
		return 2;
	area = strtoull(argv[1], NULL, 0);
	srand(argc > 3 ? atoi(argv[3]) : 1);
	dev = open(KUP_DEVICE, O_RDWR);
	mem = open("/dev/kup_damage", O_RDWR);
	before.size = sizeof(before);
	if (dev < 0 || mem < 0 || ioctl(dev, KUP_IOC_STATUS, &before)) {
		perror("device");
		return 2;
	}
	get(area, &h, sizeof(h));
	if (h.magic != KUP_HANDOVER_MAGIC || h.stub_state != KUP_STUB_RESERVED || !h.maps_size || !h.store_size) {
		printf("{\"refused\": \"%s\"}\n", kup_stub_state_name(h.stub_state));
		return 0;	/* the boot stub has refused it: there is nothing to do */
	}
	dir = malloc(h.stream_pages * 4);
	get(area + h.directory_off, dir, h.stream_pages * 4);
	/* Damaged on its way, where the stub does not look: the right bit would make it whole. */
	if (sum_of(0, h.maps_size) != h.maps_sum || sum_of(h.store_off, h.store_size) != h.store_sum) {
		printf("{\"refused\": \"the stream is damaged\"}\n");
		return 0;
	}
	by_name();
	anywhere(argc > 2 ? atoi(argv[2]) : 500);
	get(area, &after, sizeof(after));
	h.jumper = KUP_JUMPER_NOBODY;	/* a handover that was refused is nothing to fall back for */
	bad += !!memcmp(&after, &h, sizeof(h));
	printf("{\"named\": %lu, \"random\": %lu, \"bad\": %lu}\n", named, at_random, bad);
	return !!bad;
}
