// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel.h"
#include "util.h"

int kup_release_major_minor(const char *release)
{
	int major, minor;

	return sscanf(release, "%d.%d", &major, &minor) == 2 ? major * 1000 + minor : 0;
}

/* The release that a path names: /boot/vmlinuz-RELEASE, or /usr/lib/modules/RELEASE/vmlinuz. NULL if it names none. */
static char *release_of(const char *path)
{
	const char *base = strrchr(path, '/'), *dir;

	base = base ? base + 1 : path;
	if (!strncmp(base, "vmlinuz-", 8))
		return strdup(base + 8);
	if (base - path < 2 || strcmp(base, "vmlinuz"))
		return NULL;
	dir = memrchr(path, '/', base - 1 - path);
	dir = dir ? dir + 1 : path;
	return strndup(dir, base - 1 - dir);
}

static char *newest(void)
{
	static const char *const patterns[] = { "/boot/vmlinuz-*", "/usr/lib/modules/*/vmlinuz" };
	char *best = NULL, *best_release = NULL;
	size_t i, j;
	glob_t g;

	for (i = 0; i < KUP_ARRAY_SIZE(patterns); i++) {
		if (glob(patterns[i], 0, NULL, &g))
			continue;
		for (j = 0; j < g.gl_pathc; j++) {
			char *release = release_of(g.gl_pathv[j]);

			if (release && (!best || strverscmp(release, best_release) > 0)) {
				free(best);
				free(best_release);
				best = strdup(g.gl_pathv[j]);
				best_release = release;
			} else {
				free(release);
			}
		}
		globfree(&g);
	}
	free(best_release);
	return best;
}

int kup_kernel_choose(const char *vmlinuz, const char *initrd, struct kup_kernel *k, struct kup_err *err)
{
	char *release, *path;
	int ret;

	*k = (struct kup_kernel){ .vmlinuz = vmlinuz ? strdup(vmlinuz) : newest() };
	if (!k->vmlinuz) {
		kup_err_set(err, -ENOENT, "no kernel found in /boot/vmlinuz-* or /usr/lib/modules/*/vmlinuz");
		kup_err_next(err, "install one, or name it by --kernel");
		return -ENOENT;
	}
	if (access(k->vmlinuz, R_OK)) {
		ret = kup_err_set(err, -errno, "kernel %s: %s", k->vmlinuz, strerror(errno));
		goto err_free;
	}
	if (initrd) {
		k->initrd = strdup(initrd);
	} else {
		release = release_of(k->vmlinuz);
		if (release && asprintf(&path, "/boot/initrd.img-%s", release) >= 0)
			k->initrd = path;
		free(release);
	}
	if (!k->initrd || access(k->initrd, R_OK)) {
		ret = kup_err_set(err, -ENOENT, "initrd %s of kernel %s: %s", k->initrd ?: "(none)", k->vmlinuz,
				  k->initrd ? strerror(errno) : "not named");
		kup_err_next(err, "name it by --initrd; it must hold kup_ppp.ko for that kernel and run `kup-ppp restore`");
		goto err_free;
	}
	return 0;
err_free:
	kup_kernel_free(k);
	return ret;
}

void kup_kernel_free(struct kup_kernel *k)
{
	free(k->vmlinuz);
	free(k->initrd);
	*k = (struct kup_kernel){ 0 };
}
