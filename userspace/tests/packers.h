/* SPDX-License-Identifier: GPL-2.0 */
/* Every compression that a bzImage may have, as the kernel's build packs it. */
#ifndef KUP_TEST_PACKERS_H
#define KUP_TEST_PACKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct packer {
	const char *name;
	size_t (*pack)(const uint8_t *in, size_t size, uint8_t *out, size_t room);	/* returns how much it wrote */
	bool append;		/* the build appends the unpacked size */
	bool checked;		/* damage inside is found by the format itself */
};

extern const struct packer packers[];
extern const size_t nr_packers;

void put_le32(uint8_t *p, uint32_t v);

#endif
