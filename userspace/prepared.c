// SPDX-License-Identifier: GPL-2.0
/*
 *   1. read the image
 *   2. PREPARE: the module takes the window, sized for kernel, initrd and kexec's own segments, and the area behind it
 *   3. write the patched image into a memfd, moved into the window
 *   4. kexec loads it
 *      With --fallback 3 and 4 are done before, and first, for the running kernel, of which the module then keeps a copy
 *   5. CRIU learns what this kernel can (it keeps that in /run/criu.kdat), so that it need not in the blackout
 *
 * Unhappy path: whatever fails, kexec's image is unloaded and ABORT gives window and area back.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>

#include "cmdline.h"
#include "criu.h"
#include "device.h"
#include "fallback.h"
#include "image/image.h"
#include "json.h"
#include "kexec.h"
#include "kup.h"
#include "prepared.h"
#include "profile.h"
#include "util.h"

#define PREPARED_FILE	KUP_RUN_DIR "/prepared.json"
#define ALIGN_2M(x)	(((x) + (2ull << 20) - 1) & ~((2ull << 20) - 1))

uint64_t kup_window_size(uint64_t load_start, uint64_t load_end, uint64_t initrd_size)
{
	/* the last 2 MiB: kexec aligns the initrd down from the end */
	return KUP_KEXEC_LOW_ROOM + ALIGN_2M(load_end - load_start) + ALIGN_2M(initrd_size) + (2ull << 20);
}

struct json_object *kup_prepared_read(void)
{
	return json_object_from_file(PREPARED_FILE);
}

void kup_unprepare(void)
{
	kup_kexec_unload();
	unlink(PREPARED_FILE);
}

/* Two preparations with the same key are the same. NULL and @err if a file can't be looked at. */
static char *make_key(const struct kup_conf *conf, const struct kup_kernel *k, uint64_t *initrd_size, struct kup_err *err)
{
	const char *paths[] = { k->vmlinuz, k->initrd };
	struct stat st[2];
	char *key;
	int i;

	for (i = 0; i < 2; i++)
		if (stat(paths[i], &st[i])) {
			kup_err_set(err, -errno, "%s: %s", paths[i], strerror(errno));
			return NULL;
		}
	*initrd_size = st[1].st_size;
	if (asprintf(&key, "%s %lld %lld.%ld %s %lld %lld.%ld %s/%s/%d %s %s %u %u", k->vmlinuz, (long long)st[0].st_size,
		     (long long)st[0].st_mtim.tv_sec, st[0].st_mtim.tv_nsec, k->initrd, (long long)st[1].st_size,
		     (long long)st[1].st_mtim.tv_sec, st[1].st_mtim.tv_nsec, conf->append ?: "", conf->profile_off ?: "", conf->fallback,
		     conf->fallback_kernel ?: "", conf->fallback_initrd ?: "", conf->fallback_seconds, conf->fallback_boot_seconds) < 0)
		return NULL;
	return key;
}

static bool still_valid(struct json_object *p, const char *key, const struct kup_status *st)
{
	return st->state == KUP_STATE_PREPARED && kup_kexec_loaded() && !strcmp(kup_json_text(p, "key"), key) &&
	       (uint64_t)kup_json_int(p, "area") == st->area;
}

struct json_object *kup_prepared_for(int dev, const struct kup_conf *conf, const struct kup_kernel *kernel)
{
	uint64_t size;
	char *key = make_key(conf, kernel, &size, NULL);
	struct json_object *o = key ? kup_prepared_read() : NULL;
	struct kup_status st;

	if (o && (kup_device_status(dev, &st, NULL) || !still_valid(o, key, &st))) {
		json_object_put(o);
		o = NULL;
	}
	free(key);
	return o;
}

static int load(const struct kup_kernel *k, struct kup_image *img, const struct kup_prepare *p, const char *cmdline,
		bool checks, bool fall, struct kup_steps *steps, struct kup_err *err)
{
	const struct kup_patch patch = {
		.area = p->area,
		.nonce = p->nonce,
		.fall = fall,
		.window_base = p->window_base + KUP_KEXEC_LOW_ROOM,
		.window_size = p->window_size - KUP_KEXEC_LOW_ROOM,
	};
	int fd, ret;

	fd = memfd_create("kup-ppp-kernel", MFD_CLOEXEC);
	if (fd < 0)
		return kup_err_set(err, -errno, "memfd: %s", strerror(errno));
	ret = kup_step_begin(steps, "patch", err);
	if (!ret)
		ret = kup_image_write_patched(img, &patch, fd, err);
	if (!ret)
		ret = kup_step_begin(steps, "load", err);
	if (!ret)
		ret = kup_kexec_load(fd, k->initrd, cmdline, p->window_base, p->window_size, checks, err);
	close(fd);
	return ret;
}

/* The running kernel's command line, as the next one's begins. */
static char *words_of_running(const char *append, unsigned int pools, struct kup_err *err)
{
	char *running = kup_slurp("/proc/cmdline", NULL), *words = kup_cmdline_new(running ?: "", append, pools, err);

	free(running);
	return words;
}

/* The command line, and the profile that fits it and this machine. */
static char *arguments(const struct kup_conf *conf, const char *words, uint64_t area, uint32_t tsc_khz, struct kup_profile *profile,
		       struct kup_err *err)
{
	char *cmdline = kup_cmdline_new(words, NULL, 0, err);
	char *clocksource = kup_slurp("/sys/devices/system/clocksource/clocksource0/current_clocksource", NULL);
	char *fips = kup_slurp("/proc/sys/crypto/fips_enabled", NULL);
	const struct kup_profile_facts facts = {
		.cmdline = cmdline ?: "",
		.clocksource = clocksource ? kup_trim(clocksource) : "",
		.tsc_khz = tsc_khz,
		.fips = fips && fips[0] == '1',
	};

	if (cmdline && (kup_profile_make(&facts, conf->profile_off, profile, err) || kup_cmdline_add(cmdline, area, profile, err))) {
		free(cmdline);
		cmdline = NULL;
	}
	free(clocksource);
	free(fips);
	return cmdline;
}

/* What the module keeps is what kexec would jump to. */
static int keep(int dev, const struct kup_conf *conf, const struct kup_fallback_kernel *fb, const struct kup_prepare *p, uint32_t tsc_khz,
		struct kup_steps *steps, struct kup_err *err)
{
	char *more = kup_fallback_words(), *words = NULL, *cmdline;
	struct kup_profile profile;
	int ret;

	ret = kup_step_begin(steps, "keep", err);
	if (ret)
		goto out;
	words = words_of_running(more, 0, err);
	cmdline = words ? arguments(conf, words, p->area, tsc_khz, &profile, err) : NULL;
	ret = !cmdline ? -EINVAL : load(&fb->kernel, fb->img, p, cmdline, !kup_profile_has(&profile, "integrity"), false, steps, err);
	if (!ret)
		ret = kup_step_begin(steps, "keep", err);
	if (!ret)
		ret = kup_device_keep(dev, conf->fallback_seconds ?: KUP_FALLBACK_SECONDS,
				      conf->fallback_boot_seconds ?: KUP_FALLBACK_BOOT_SECONDS, err);
	kup_kexec_unload();
	free(cmdline);
out:
	free(words);
	free(more);
	return ret;
}

static void remember(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value ?: ""));
}

int kup_prepare(int dev, const struct kup_conf *conf, unsigned int pools, const struct kup_kernel *kernel, struct kup_image *img,
		struct kup_steps *steps, struct json_object **result, struct kup_err *err)
{
	struct kup_prepare p = { .window_limit = KUP_KEXEC_LIMIT };
	struct kup_fallback_kernel fb = { 0 };
	struct kup_image *opened = NULL;
	const struct kup_image_info *info;
	struct kup_profile profile;
	char *key, *words, *cmdline = NULL;
	struct json_object *o;
	struct kup_status st;
	uint64_t initrd_size;
	int ret;

	key = make_key(conf, kernel, &initrd_size, err);
	if (!key)
		return -ENOENT;
	words = words_of_running(conf->append, conf->fallback ? 0 : pools, err);
	ret = words ? kup_device_status(dev, &st, err) : -EINVAL;
	if (ret)
		goto out_key;
	o = kup_prepared_for(dev, conf, kernel);
	if (o && !strcmp(kup_json_text(o, "words"), words)) {
		*result = o;
		goto out_key;
	}
	json_object_put(o);
	if (st.state != KUP_STATE_IDLE && st.state != KUP_STATE_PREPARED) {
		ret = kup_err_set(err, -EBUSY, "the module is in state %s, not idle", kup_state_name(st.state));
		kup_err_next(err, "kup-ppp status; kup-ppp abort puts an interrupted switch back");
		goto out_key;
	}
	kup_unprepare();
	if (st.state == KUP_STATE_PREPARED) {
		ret = kup_device_abort(dev, err);
		if (ret)
			goto out_key;
	}

	ret = kup_step_begin(steps, "image", err);
	if (ret)
		goto out_key;
	if (!img) {
		ret = kup_image_open(kernel->vmlinuz, &opened, err);
		if (ret)
			goto out_key;
		img = opened;
	}
	info = kup_image_info(img);
	ret = kup_fallback_open(conf, &fb, err);
	if (ret)
		goto out_image;

	ret = kup_step_begin(steps, "window", err);
	if (ret)
		goto out_image;
	p.window_size = kup_window_size(info->load_start, info->load_end, initrd_size);
	if (p.window_size < fb.window_size)
		p.window_size = fb.window_size;
	ret = kup_device_prepare(dev, &p, err);
	if (ret)
		goto out_image;
	ret = fb.img ? keep(dev, conf, &fb, &p, st.tsc_khz, steps, err) : 0;
	if (ret)
		goto err_abort;
	kup_fallback_close(&fb);
	cmdline = arguments(conf, words, p.area, st.tsc_khz, &profile, err);
	ret = cmdline ? load(kernel, img, &p, cmdline, !kup_profile_has(&profile, "integrity"), conf->fallback, steps, err) : -EINVAL;
	if (ret)
		goto err_abort;
	ret = kup_step_begin(steps, "warm-criu", err);
	if (!ret)
		ret = kup_criu_warm(conf->criu, err);
	if (!ret)
		ret = kup_step_end(steps, err);
	if (ret)
		goto err_abort;

	o = json_object_new_object();
	remember(o, "key", key);
	remember(o, "kernel", kernel->vmlinuz);
	remember(o, "initrd", kernel->initrd);
	remember(o, "append", conf->append);
	remember(o, "release", info->release);
	remember(o, "words", words);
	remember(o, "cmdline", cmdline);
	json_object_object_add(o, "profile", kup_profile_to_json(&profile));
	json_object_object_add(o, "area", json_object_new_uint64(p.area));
	json_object_object_add(o, "window_base", json_object_new_uint64(p.window_base));
	json_object_object_add(o, "window_size", json_object_new_uint64(p.window_size));
	json_object_object_add(o, "steps", kup_steps_to_json(steps));
	ret = kup_replace_file(PREPARED_FILE, json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	if (ret) {
		json_object_put(o);
		kup_err_set(err, ret, "%s: %s", PREPARED_FILE, strerror(-ret));
		goto err_abort;
	}
	*result = o;
	goto out_image;
err_abort:
	kup_unprepare();
	kup_device_abort(dev, NULL);
out_image:
	kup_fallback_close(&fb);
	free(cmdline);
	if (opened)
		kup_image_close(opened);
out_key:
	kup_step_end(steps, NULL);
	free(words);
	free(key);
	return ret;
}
