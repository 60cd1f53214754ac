// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lockdown.h"
#include "util.h"

/* The variable of the firmware, behind four bytes of attributes. */
#define SECURE_BOOT	"/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

static bool secure_boot(const char *root)
{
	char path[512], *var;
	size_t len = 0;
	bool on;

	snprintf(path, sizeof(path), "%s%s", root, SECURE_BOOT);
	var = kup_slurp(path, &len);
	on = var && len == 5 && var[4] == 1;
	free(var);
	return on;
}

int kup_lockdown(const char *root, struct kup_err *err)
{
	char *modes = kup_slurpf("%s/sys/kernel/security/lockdown", root), mode[32] = "none";
	const char *chosen = modes ? strchr(modes, '[') : NULL;

	/* All modes in a line, the one that holds in brackets. */
	if (chosen)
		sscanf(chosen, "[%31[a-z]]", mode);
	free(modes);
	if (!strcmp(mode, "none"))
		return 0;
	if (secure_boot(root)) {
		kup_err_set(err, -EPERM, "the kernel is locked down (%s), and Secure Boot is on: kexec of a patched kernel is not allowed", mode);
		kup_err_next(err, "turn Secure Boot off in the firmware's setup, and boot without lockdown=");
	} else {
		kup_err_set(err, -EPERM, "the kernel is locked down (%s): kexec of a patched kernel is not allowed", mode);
		kup_err_next(err, "boot without lockdown= and without a policy that turns it on; it can't be turned off later");
	}
	return -EPERM;
}
