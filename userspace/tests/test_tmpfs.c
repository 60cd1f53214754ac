// SPDX-License-Identifier: GPL-2.0
/* The limit of a tmpfs: read, raised from a directory deep in it and through another mount of it, and nothing else changed. By root. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ktap.h"
#include "tmpfs.h"

static char top[] = "/tmp/kup-tmpfs-XXXXXX", deep[64], bound[64];

static void mounted(void)
{
	CHECK(!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) && mkdtemp(top));
	CHECK(!mount("tmpfs", top, "tmpfs", MS_NODEV | MS_NOSUID, "size=1m,nr_inodes=77"));
	snprintf(deep, sizeof(deep), "%s/a", top);
	snprintf(bound, sizeof(bound), "%s/b", top);
	CHECK(!mkdir(deep, 0700) && !mkdir(bound, 0700) && !mount(deep, bound, NULL, MS_BIND, NULL));
	CHECK(kup_tmpfs_limit(deep) == 1 << 20);
}

static void grow(void)
{
	struct statvfs fs;

	CHECK(!kup_tmpfs_grow(deep, 3 << 20));
	CHECK(kup_tmpfs_limit(top) == 3 << 20);
	/* the mount's flags and what else was said when it was mounted */
	CHECK(!statvfs(top, &fs) && fs.f_flag & ST_NODEV && fs.f_flag & ST_NOSUID && !(fs.f_flag & ST_NOEXEC) && fs.f_files == 77);
}

static void grow_bound(void)
{
	CHECK(!kup_tmpfs_grow(bound, 5 << 20));
	CHECK(kup_tmpfs_limit(top) == 5 << 20);
}

static void refuse(void)
{
	CHECK(kup_tmpfs_grow("/proc/self", 1 << 20) == -EINVAL);
	CHECK(kup_tmpfs_grow("/nowhere", 1 << 20) == -ENOENT);
	CHECK(kup_tmpfs_limit("/nowhere") == 0);
}

static void over(void)
{
	CHECK(!umount2(top, MNT_DETACH) && !rmdir(top));
}

static const struct ktap_test tests[] = {
	{ "a tmpfs with another mount of it inside", mounted },
	{ "grows, and is else as it was", grow },
	{ "grows by way of the other mount", grow_bound },
	{ "what cannot grow", refuse },
	{ "unmounted", over },
};
KTAP_MAIN(tests)
