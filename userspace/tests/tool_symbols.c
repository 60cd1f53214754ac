// SPDX-License-Identifier: GPL-2.0
/* Tool for tests: all symbols of a kernel image, "ADDRESS NAME" a line. tool_symbols VMLINUZ */
#include <inttypes.h>
#include <stdio.h>

#include "image/image.h"
#include "image/internal.h"

int main(int argc, char **argv)
{
	struct kup_image *img;
	struct kup_err err;
	uint32_t i;

	if (argc != 2)
		return 2;
	if (kup_image_open(argv[1], &img, &err)) {
		fprintf(stderr, "%s\n%s\n", err.what, err.next);
		return 1;
	}
	for (i = 0; i < img->syms.nr; i++)
		printf("%" PRIx64 " %s\n", img->syms.addr[i], img->syms.names + img->syms.name[i]);
	kup_image_close(img);
	return ferror(stdout) ? 1 : 0;
}
