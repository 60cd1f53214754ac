// SPDX-License-Identifier: GPL-2.0
/*
 * kup-ppp abort
 *
 * In the old kernel: puts back what prepare did, or what a switch did that was killed. In the new kernel, before COMMIT: gives
 * up the memory that was brought over, which is lost then, so it wants --yes.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "device.h"
#include "kup.h"
#include "putback.h"
#include "sysctl.h"
#include "units.h"
#include "util.h"

static int give_up(int dev, const struct kup_status *st, bool yes, struct kup_err *err)
{
	int ret;

	if (!yes) {
		kup_err_set(err, -EPERM, "the memory of %u processes (%llu MiB) that came from the old kernel would be lost",
			    st->nr_mms, (unsigned long long)st->unbound_pages >> 8);
		kup_err_next(err, "`kup-ppp restore` tries again to bring them back; `kup-ppp abort --yes` gives them up");
		return -EPERM;
	}
	ret = kup_device_abort(dev, err);
	if (!ret) {
		kup_remove_tree(KUP_IMAGES_DIR);
		kup_units_release();
	}
	return ret;
}

int cmd_abort(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	static const struct option options[] = { { "yes", no_argument, NULL, 'y' }, { 0 } };
	struct kup_freeze *freeze = NULL;
	struct kup_status st;
	bool yes = false;
	int c, dev, ret;
	size_t nr;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 'y')
			return KUP_EXIT_USAGE;
		yes = true;
	}
	if (optind < argc)
		return KUP_EXIT_USAGE;
	ret = kup_lock(err);
	if (ret)
		return ret;
	kup_sysctl_return(KUP_OVERCOMMIT);	/* of a restore that was killed */
	kup_sysctl_return(KUP_RCU_EXPEDITED);
	dev = kup_device_open(err);
	if (dev < 0)
		return dev;
	ret = kup_device_status(dev, &st, err);
	if (ret)
		goto out;
	switch (st.state) {
	case KUP_STATE_ADOPTED:
		ret = give_up(dev, &st, yes, err);
		break;
	case KUP_STATE_DRAINING:
		kup_err_set(err, -EBUSY, "the switch is over: the applications run on this kernel");
		ret = -EBUSY;
		break;
	default:
		/* the module may be idle and yet a switch may have left something: it was killed before PREPARE, or kup_ppp.ko was reloaded */
		nr = kup_putback_read(&freeze);
		if (kup_put_back(st.state == KUP_STATE_IDLE ? -1 : dev, freeze, nr, err))
			ret = KUP_EXIT_BROKEN;
		free(freeze);
	}
	if (!ret)
		printf(opts->json ? "{ \"aborted\": \"%s\" }\n" : "was %s; everything is as before\n", kup_state_name(st.state));
out:
	close(dev);
	return ret;
}
