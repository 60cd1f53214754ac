// SPDX-License-Identifier: GPL-2.0
/* kup-ppp prepare: everything that can be done before the freeze. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "device.h"
#include "host.h"
#include "hugetlb.h"
#include "json.h"
#include "kup.h"
#include "prepared.h"
#include "util.h"

static void explain(struct json_object *p)
{
	struct json_object *profile = json_object_object_get(p, "profile");
	size_t i;

	printf("loaded by   kexec --type=elf-x86_64 --args-linux -c -l, confined to the window\n"
	       "patched     call of setup_arch(): the boot stub first reserves what the handover at 0x%llx lists\n"
	       "window      the memory that the jump overwrites; the module holds it, nobody's page is in it\n"
	       "arguments   of the running kernel, without its boot loader's, then --append, then kup_ppp.area\n"
	       "            and the boot profile's\n"
	       "criu        has probed this kernel; it keeps what it found in /run/criu.kdat\n", kup_json_int(p, "area"));
	printf("boot profile\n");
	for (i = 0; i < json_object_array_length(profile); i++) {
		struct json_object *o = json_object_array_get_idx(profile, i);

		printf("  %-13s %-4s%s\n", kup_json_text(o, "item"), kup_json_int(o, "used") ? "used" : "off", kup_json_text(o, "words"));
		printf("  %-13s     %s\n", "", kup_json_text(o, "why"));
	}
}

int cmd_prepare(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	static const struct option options[] = { KUP_CONF_OPTIONS, { "explain", no_argument, NULL, 'e' }, { 0 } };
	struct kup_steps steps = { .show = !opts->json };
	struct json_object *prepared;
	struct kup_conf conf;
	struct kup_host host;
	bool more = false;
	int c, ret;

	ret = kup_conf_read(KUP_CONF, &conf, err);
	if (ret)
		return ret;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'e')
			more = true;
		else if (kup_conf_option(&conf, c, optarg))
			ret = KUP_EXIT_USAGE;
	}
	if (ret || optind < argc) {
		kup_conf_free(&conf);
		return KUP_EXIT_USAGE;
	}
	ret = kup_lock(err);
	if (ret)
		goto out;
	kup_host_look(&conf, &host);
	kup_host_memory(&host, 0);
	if (kup_host_refused(&host, err)) {
		ret = -ENOTSUP;
		goto out_host;
	}
	ret = kup_prepare(host.dev, &conf, kup_hugetlb_pools(NULL), &host.kernel, host.img, &steps, &prepared, err);
	if (ret)
		goto out_host;
	if (opts->json) {
		printf("%s\n", json_object_to_json_string_ext(prepared, JSON_C_TO_STRING_PRETTY));
	} else {
		printf("%s %s\n"
		       "initrd      %s\n"
		       "window      0x%llx-0x%llx (%llu MiB)\n"
		       "handover    0x%llx\n"
		       "arguments   %s\n", steps.nr ? "prepared   " : "was ready  ", kup_json_text(prepared, "release"), kup_json_text(prepared, "initrd"),
		       kup_json_int(prepared, "window_base"), kup_json_int(prepared, "window_base") + kup_json_int(prepared, "window_size"),
		       kup_json_int(prepared, "window_size") >> 20, kup_json_int(prepared, "area"), kup_json_text(prepared, "cmdline"));
		if (more)
			explain(prepared);
	}
	json_object_put(prepared);
out_host:
	kup_host_free(&host);
out:
	kup_conf_free(&conf);
	return ret;
}
