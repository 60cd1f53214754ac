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

/* From here on a command line is a switch's own, and the next one leaves it out. */
#define OURS " kup_ppp.area="
#define CMDLINE_MAX 2048	/* COMMAND_LINE_SIZE of x86, the final NUL included */

static bool has_word(const char *text, const char *word)
{
	size_t len = strlen(word);
	const char *p = text;

	while ((p = strstr(p, word))) {
		if ((p == text || p[-1] == ' ') && (p[len] == ' ' || !p[len]))
			return true;
		p += len;
	}
	return false;
}

/* As the kernel reads a number of bytes. */
static uint64_t bytes_of(const char *text)
{
	static const char units[] = "kmg";
	char *end;
	uint64_t n = strtoull(text, &end, 0);
	const char *unit = *end ? strchr(units, *end | 0x20) : NULL;

	return unit ? n << 10 * (unit - units + 1) : n;
}

#define DEFAULT_SIZE	"default_hugepagesz="
#define SIZE		"hugepagesz="

/* Does a count of huge pages mean those of 1 GiB, where nothing is said before it? */
static bool counts_gigantic(const char *text)
{
	const char *p = strstr(text, DEFAULT_SIZE);

	return p && bytes_of(p + strlen(DEFAULT_SIZE)) == 1ull << 30;
}

/* Words of @text that @out lacks; a quoted value stays one word. @pool: but for how many pages of 1 GiB. Returns false if there is no room. */
static bool add_words(char *out, size_t size, const char *text, bool pool)
{
	static const char *const drop[] = { "BOOT_IMAGE=", "initrd=" };
	const char *p = text;
	bool gigantic = counts_gigantic(text);

	while (*p) {
		char word[CMDLINE_MAX];
		bool quoted = false;
		size_t len = 0, i;

		while (*p == ' ' || *p == '\n')
			p++;
		while (*p && (quoted || (*p != ' ' && *p != '\n')) && len < sizeof(word) - 1) {
			if (*p == '"')
				quoted = !quoted;
			word[len++] = *p++;
		}
		word[len] = '\0';
		for (i = 0; i < KUP_ARRAY_SIZE(drop) && strncmp(word, drop[i], strlen(drop[i])); i++)
			;
		if (kup_starts(word, SIZE))
			gigantic = bytes_of(word + strlen(SIZE)) == 1ull << 30;
		if (!len || i < KUP_ARRAY_SIZE(drop) || has_word(out, word) || (pool && gigantic && kup_starts(word, "hugepages=")))
			continue;
		if (strlen(out) + 1 + len >= size)
			return false;
		strcat(strcat(out, out[0] ? " " : ""), word);
	}
	return true;
}

static int too_long(struct kup_err *err)
{
	kup_err_set(err, -E2BIG, "the new kernel's command line is longer than %d bytes", CMDLINE_MAX - 1);
	kup_err_next(err, "shorten --append or `append` in the configuration");
	return -E2BIG;
}

char *kup_kexec_cmdline(const char *append, bool pool, struct kup_err *err)
{
	char *old = kup_slurp("/proc/cmdline", NULL), *out = calloc(1, CMDLINE_MAX), *ours;

	ours = old ? strstr(old, OURS) : NULL;
	if (ours)
		*ours = '\0';
	if (!old || !out || !add_words(out, CMDLINE_MAX, old, pool) || !add_words(out, CMDLINE_MAX, append ?: "", false)) {
		too_long(err);
		free(out);
		out = NULL;
	}
	free(old);
	return out;
}

int kup_kexec_cmdline_add(char *cmdline, uint64_t area, const struct kup_profile *profile, struct kup_err *err)
{
	size_t len = strlen(cmdline), i;

	len += snprintf(cmdline + len, CMDLINE_MAX - len, OURS "0x%llx", (unsigned long long)area);
	for (i = 0; i < KUP_PROFILE_ITEMS && len < CMDLINE_MAX; i++)
		if (!profile->item[i].off && profile->item[i].words[0])
			len += snprintf(cmdline + len, CMDLINE_MAX - len, " %s", profile->item[i].words);
	return len < CMDLINE_MAX ? 0 : too_long(err);
}

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
