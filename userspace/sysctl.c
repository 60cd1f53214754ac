// SPDX-License-Identifier: GPL-2.0
#include "sysctl.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "util.h"

int kup_sysctl_lend(const char *file, const char *saved, const char *value)
{
	char *old;
	int ret = 0;

	if (access(saved, F_OK)) {
		old = kup_slurp(file, NULL);
		ret = old ? kup_replace_file(saved, old) : -errno;
		free(old);
	}
	return ret ? ret : kup_put(file, value);
}

void kup_sysctl_return(const char *file, const char *saved)
{
	char *old = kup_slurp(saved, NULL);

	if (old && !kup_put(file, old))
		unlink(saved);
	free(old);
}
