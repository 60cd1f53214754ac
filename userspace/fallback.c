// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "fallback.h"
#include "image/image.h"
#include "prepared.h"
#include "util.h"

static const char *const places[] = { "/boot/vmlinuz-%s", "/usr/lib/modules/%s/vmlinuz" };

/* Where the running kernel's image is as a rule: the last place that is looked at, if in none. */
static void usual_place(const char *release, char *path, size_t size)
{
	size_t i;

	for (i = 0; i < KUP_ARRAY_SIZE(places); i++) {
		snprintf(path, size, places[i], release);
		if (!access(path, R_OK))
			return;
	}
}

#define NEXT "name the running kernel's own by `fallback-kernel` and `fallback-initrd` in the configuration, or leave out --fallback"

int kup_fallback_find(const struct kup_conf *conf, struct kup_kernel *k, struct kup_err *err)
{
	struct utsname uts;
	char path[512];
	int ret;

	uname(&uts);
	usual_place(uts.release, path, sizeof(path));
	ret = kup_kernel_choose(conf->fallback_kernel ?: path, conf->fallback_initrd, k, err);
	if (ret)
		kup_err_next(err, NEXT);
	return ret;
}

int kup_fallback_open(const struct kup_conf *conf, struct kup_fallback_kernel *fb, struct kup_err *err)
{
	const struct kup_image_info *info;
	struct utsname uts;
	struct stat st;
	int ret;

	*fb = (struct kup_fallback_kernel){ 0 };
	if (!conf->fallback)
		return 0;
	ret = kup_fallback_find(conf, &fb->kernel, err);
	if (ret)
		return ret;
	ret = kup_image_open(fb->kernel.vmlinuz, &fb->img, err);
	if (ret)
		goto err_close;
	info = kup_image_info(fb->img);
	uname(&uts);
	if (strcmp(info->release, uts.release)) {
		ret = kup_err_set(err, -ENOEXEC, "%s is %s, not the running kernel %s", fb->kernel.vmlinuz, info->release, uts.release);
		goto err_close;
	}
	if (stat(fb->kernel.initrd, &st)) {
		ret = kup_err_set(err, -errno, "%s: %s", fb->kernel.initrd, strerror(errno));
		goto err_close;
	}
	fb->window_size = kup_window_size(info->load_start, info->load_end, st.st_size);
	return 0;
err_close:
	kup_err_next(err, NEXT);
	kup_fallback_close(fb);
	return ret;
}

void kup_fallback_close(struct kup_fallback_kernel *fb)
{
	if (fb->img)
		kup_image_close(fb->img);
	kup_kernel_free(&fb->kernel);
	*fb = (struct kup_fallback_kernel){ 0 };
}

/*
 * If the first CPU does not answer in the panic, it comes up on another one; to start the first one then would reset the machine. Kernels
 * before 6.9 have to be told which it is, later ones find out and say nothing of the word. On the first CPU the word says nothing.
 */
char *kup_fallback_words(void)
{
	char *text = kup_slurp("/proc/cpuinfo", NULL), *p = text ? strstr(text, "initial apicid") : NULL, *words = NULL;
	int apicid;

	if (sysconf(_SC_NPROCESSORS_CONF) > 1 && p && sscanf(p, "initial apicid : %d", &apicid) == 1 &&
	    asprintf(&words, "disable_cpu_apicid=%d", apicid) < 0)
		words = NULL;
	free(text);
	return words;
}
