// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kexec.h"
#include "util.h"

int kup_kexec_load(int elf, const char *initrd, const char *cmdline, uint64_t base, uint64_t size, bool checks,
		   struct kup_err *err)
{
	char file[32], min[40], max[40], out[4096] = "", killed[32] = "";
	char *ird = NULL, *cmd = NULL;
	int ret, fd;

	fd = dup(elf);		/* without close-on-exec: kexec opens it by this name */
	if (fd < 0)
		return kup_err_set(err, -errno, "dup: %s", strerror(errno));
	snprintf(file, sizeof(file), "/proc/self/fd/%d", fd);
	snprintf(min, sizeof(min), "--mem-min=0x%llx", (unsigned long long)base);
	snprintf(max, sizeof(max), "--mem-max=0x%llx", (unsigned long long)(base + size - 1));
	ret = -ENOMEM;
	if (asprintf(&ird, "--initrd=%s", initrd) >= 0 && asprintf(&cmd, "--command-line=%s", cmdline) >= 0) {
		char *argv[] = { "kexec", "--type=elf-x86_64", "--args-linux", "-c", "-l", file, min, max, ird, cmd, checks ? NULL : "--no-checks", NULL };

		ret = kup_run(argv, out, sizeof(out));
	}
	free(ird);
	free(cmd);
	close(fd);
	if (ret == -ENOENT) {
		kup_err_set(err, ret, "kexec isn't installed");
		kup_err_next(err, "install kexec-tools");
	} else if (ret) {
		if (ret > 128)	/* for want of memory, as a rule, and without a word */
			snprintf(killed, sizeof(killed), "killed by signal %d", ret - 128);
		kup_err_set(err, ret < 0 ? ret : -EIO, "loading the new kernel: kexec: %s",
			    ret < 0 ? strerror(-ret) : killed[0] ? killed : kup_last_line(out));
		kup_err_next(err, "see `dmesg`; kexec_load_disabled, lockdown or too little memory are the usual reasons");
		ret = ret < 0 ? ret : -EIO;
	}
	return ret;
}

void kup_kexec_unload(void)
{
	char *argv[] = { "kexec", "-c", "-u", NULL };

	if (kup_kexec_loaded())
		kup_run(argv, NULL, 0);
}

bool kup_kexec_loaded(void)
{
	char *text = kup_slurp("/sys/kernel/kexec_loaded", NULL);
	bool loaded = text && text[0] == '1';

	free(text);
	return loaded;
}

int kup_kexec_jump(struct kup_err *err)
{
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	return kup_err_set(err, -errno, "the jump into the new kernel: %s", strerror(errno));
}
