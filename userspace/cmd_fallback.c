// SPDX-License-Identifier: GPL-2.0
/*
 * kup-ppp fallback [WHY]
 *
 * In the new kernel, before the applications run for good: back to the old one. For whoever sees that this system comes to nothing: the
 * initramfs that finds no root file system, the service manager in its emergency target, or after a restore that was killed. Takes no
 * lock: a restore that hangs may have it.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

#include "device.h"
#include "kup.h"

int cmd_fallback(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	static const struct option options[] = { { 0 } };
	const char *why = "told to";
	struct kup_status st;
	int dev, ret;

	(void)opts;
	if (getopt_long(argc, argv, "", options, NULL) != -1 || argc - optind > 1)
		return KUP_EXIT_USAGE;
	if (optind < argc)
		why = argv[optind];
	dev = kup_device_open(err);
	if (dev < 0)
		return dev;
	ret = kup_device_status(dev, &st, err);
	if (!ret && st.fallback == KUP_FALLBACK_ARMED) {
		sync();
		ret = kup_device_fallback(dev, KUP_FALLBACK_GO, why, err);	/* comes back only if it failed */
	}
	if (!ret) {
		ret = kup_err_set(err, -ENOENT, "there is nothing to fall back to: %s%s%s", kup_fallback_name(st.fallback),
				  st.fallback_why[0] ? ", " : "", st.fallback_why);
		kup_err_next(err, "only a new kernel in which the applications do not run yet, after `kup-ppp switch --fallback`, has");
	}
	close(dev);
	return ret;
}
