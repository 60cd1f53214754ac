// SPDX-License-Identifier: GPL-2.0
/*
 * Tool for tests: show an image, or write it patched for an area and a window of the test's own.
 *   tool_image VMLINUZ [OUT AREA NONCE WINDOW_BASE WINDOW_SIZE]
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "image/image.h"
#include "kup.h"

int main(int argc, char **argv)
{
	struct kup_opts opts = {};
	struct kup_patch patch;
	struct kup_image *img;
	struct kup_err err;
	int fd;

	if (argc == 2) {
		if (!cmd_inspect(&opts, argc, argv, &err))
			return 0;
		fprintf(stderr, "%s\n%s\n", err.what, err.next);
		return 1;
	}
	if (argc != 7)
		return 2;
	patch = (struct kup_patch){ strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0), strtoull(argv[5], NULL, 0),
				    strtoull(argv[6], NULL, 0), false };
	fd = open(argv[2], O_CREAT | O_TRUNC | O_WRONLY, 0644);
	if (fd < 0 || kup_image_open(argv[1], &img, &err) || kup_image_write_patched(img, &patch, fd, &err)) {
		fprintf(stderr, "%s\n%s\n", fd < 0 ? argv[2] : err.what, err.next);
		return 1;
	}
	kup_image_close(img);
	return close(fd) ? 1 : 0;
}
