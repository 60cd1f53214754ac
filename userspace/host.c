// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <json-c/json.h>

#include "device.h"
#include "fallback.h"
#include "host.h"
#include "image/image.h"
#include "json.h"
#include "lockdown.h"
#include "prepared.h"
#include "sockdiag.h"
#include "util.h"

#define MIN_FREE	(128ull << 20)	/* as the module's default for SEAL */

static void refuse(struct kup_host *h, const char *object, const char *why, const char *next)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "object", json_object_new_string(object));
	json_object_object_add(o, "why", json_object_new_string(why));
	json_object_object_add(o, "next", json_object_new_string(next));
	json_object_array_add(h->refused, o);
}

static void refuse_err(struct kup_host *h, const char *object, const struct kup_err *e)
{
	refuse(h, object, e->what, e->next);
}

static void fact(struct kup_host *h, const char *key, const char *value)
{
	json_object_object_add(h->facts, key, json_object_new_string(value));
}

static void look_rights(struct kup_host *h)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2] = { 0 };
	struct kup_err e;
	char *disabled;

	syscall(SYS_capget, &head, caps);
	if (geteuid() || !(caps[0].effective & 1u << CAP_SYS_ADMIN))
		refuse(h, "user", "root with CAP_SYS_ADMIN is needed", "run kup-ppp as root, outside of containers");
	if (kup_lockdown("", &e))
		refuse_err(h, "lockdown", &e);
	disabled = kup_slurp("/proc/sys/kernel/kexec_load_disabled", NULL);
	if (disabled && disabled[0] == '1')
		refuse(h, "kexec", "kernel.kexec_load_disabled is 1", "it can't be turned off: reboot without setting it");
	free(disabled);
}

static void look_tools(struct kup_host *h, const struct kup_conf *conf)
{
	static const struct {
		int family, protocol;
		const char *module;
	} diag[] = {
		{ AF_UNIX, 0, "unix_diag" },	       { AF_INET, IPPROTO_TCP, "tcp_diag" },
		{ AF_INET, IPPROTO_UDP, "udp_diag" },  { AF_NETLINK, 0, "netlink_diag" },
		{ AF_PACKET, 0, "af_packet_diag" },
	};
	char missing[128] = "", next[160];
	struct utsname uts;
	struct kup_err e;
	size_t i;

	if (!kup_in_path("kexec"))
		refuse(h, "kexec", "kexec isn't installed", "install kexec-tools");
	for (i = 0; i < KUP_ARRAY_SIZE(diag); i++)
		if (!kup_sockdiag_has(diag[i].family, diag[i].protocol))
			snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing), " %s", diag[i].module);
	if (missing[0]) {
		snprintf(next, sizeof(next), "modprobe -a%s", missing);
		refuse(h, "criu", "the kernel doesn't list all of its sockets for it", next);
	}
	if (kup_criu_find(conf->criu, &h->criu, &e)) {
		refuse_err(h, "criu", &e);
		return;
	}
	fact(h, "criu", h->criu.text);
	uname(&uts);
	fact(h, "release", uts.release);
	if (kup_criu_fits(&h->criu, uts.release, &e))
		refuse_err(h, "criu", &e);
	if (h->criu.version < KUP_CRIU_SKIPS_LOCK && access("/sys/module/nf_tables", F_OK) &&
	    kup_run((char *[]){ "modprobe", "nf_tables", NULL }, NULL, 0)) {
		snprintf(next, sizeof(next), "modprobe nf_tables, or install criu 3.19 or later");
		refuse(h, "nf_tables", "this criu closes TCP connections with nftables, and the kernel has no nf_tables", next);
	}
}

static void look_kernel(struct kup_host *h, const struct kup_conf *conf)
{
	const struct kup_image_info *info;
	struct json_object *prepared;
	struct kup_kernel own = { 0 };
	struct stat st;
	struct kup_err e;

	if (kup_kernel_choose(conf->kernel, conf->initrd, &h->kernel, &e)) {
		refuse_err(h, "new kernel", &e);
		return;
	}
	fact(h, "kernel", h->kernel.vmlinuz);
	fact(h, "initrd", h->kernel.initrd);
	prepared = h->dev >= 0 ? kup_prepared_for(h->dev, conf, &h->kernel) : NULL;
	if (prepared) {		/* it was read and loaded already */
		fact(h, "kernel_release", kup_json_text(prepared, "release"));
		h->window_size = kup_json_int(prepared, "window_size");
		if (h->criu.version && kup_criu_fits(&h->criu, kup_json_text(prepared, "release"), &e))
			refuse_err(h, "criu", &e);
		json_object_put(prepared);
		return;
	}
	if (conf->fallback && kup_fallback_find(conf, &own, &e))
		refuse_err(h, "fallback", &e);
	kup_kernel_free(&own);
	if (kup_image_open(h->kernel.vmlinuz, &h->img, &e)) {
		h->img = NULL;
		refuse_err(h, "new kernel", &e);
		return;
	}
	info = kup_image_info(h->img);
	fact(h, "kernel_release", info->release);
	if (h->criu.version && kup_criu_fits(&h->criu, info->release, &e))
		refuse_err(h, "criu", &e);
	if (!stat(h->kernel.initrd, &st)) {
		h->window_size = kup_window_size(info->load_start, info->load_end, st.st_size);
		json_object_object_add(h->facts, "window_bytes", json_object_new_uint64(h->window_size));
	}
}

void kup_host_look(const struct kup_conf *conf, struct kup_host *h)
{
	struct kup_status status;
	struct kup_err e;

	*h = (struct kup_host){ .dev = -1, .facts = json_object_new_object(), .refused = json_object_new_array() };
	look_rights(h);
	h->dev = kup_device_open(&e);
	if (h->dev < 0) {
		refuse_err(h, "module", &e);
	} else if (kup_device_status(h->dev, &status, &e)) {
		refuse_err(h, "module", &e);
	} else {
		fact(h, "state", kup_state_name(status.state));
		if (status.state != KUP_STATE_IDLE && status.state != KUP_STATE_PREPARED)
			refuse(h, "module", "a switch is under way, or was interrupted",
			       status.state == KUP_STATE_DRAINING ? "wait until its memory is bound: kup-ppp drain wait" :
								    "kup-ppp status; then kup-ppp abort");
	}
	look_tools(h, conf);
	look_kernel(h, conf);
}

void kup_host_free(struct kup_host *h)
{
	if (h->dev >= 0)
		close(h->dev);
	if (h->img)
		kup_image_close(h->img);
	kup_kernel_free(&h->kernel);
	json_object_put(h->facts);
	json_object_put(h->refused);
}

static uint64_t meminfo(const char *text, const char *key)
{
	const char *p = text ? strstr(text, key) : NULL;

	return p ? strtoull(p + strlen(key), NULL, 10) << 10 : 0;
}

void kup_host_memory(struct kup_host *h, uint64_t preserve_bytes)
{
	char *text = kup_slurp("/proc/meminfo", NULL), why[200];
	uint64_t total = meminfo(text, "MemTotal:"), available = meminfo(text, "MemAvailable:");
	uint64_t kept = preserve_bytes + KUP_AREA_SIZE + h->window_size, segments = h->window_size * 2;
	bool prepared = !strcmp(kup_json_text(h->facts, "state"), "prepared");

	free(text);
	if (kept + MIN_FREE > total) {
		snprintf(why, sizeof(why), "%llu MiB stay in place or are the new kernel's, of %llu MiB: less than %llu MiB are left for it",
			 (unsigned long long)kept >> 20, (unsigned long long)total >> 20, MIN_FREE >> 20);
		refuse(h, "memory", why, "keep fewer processes, or shrink their memory");
	} else if (!prepared && segments > available) {
		snprintf(why, sizeof(why), "loading the new kernel takes %llu MiB (window, and kexec's copy), %llu MiB are available",
			 (unsigned long long)segments >> 20, (unsigned long long)available >> 20);
		refuse(h, "memory", why, "free memory, or use a smaller initrd");
	}
}

size_t kup_host_refused(const struct kup_host *h, struct kup_err *err)
{
	size_t nr = json_object_array_length(h->refused);
	struct json_object *o;

	if (!nr)
		return 0;
	o = json_object_array_get_idx(h->refused, 0);
	kup_err_set(err, -ENOTSUP, "%s: %s", kup_json_text(o, "object"),
		    kup_json_text(o, "why"));
	kup_err_next(err, "%s", kup_json_text(o, "next"));
	return nr;
}
