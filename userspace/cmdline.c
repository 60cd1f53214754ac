// SPDX-License-Identifier: GPL-2.0
/* The command line of the new kernel. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmdline.h"
#include "hugetlb.h"
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

/* Of which size huge pages are where nothing is said before their number: as kup_huge_of(). */
static int default_size(const char *text)
{
	const char *p = strstr(text, DEFAULT_SIZE);

	return p ? kup_huge_of(bytes_of(p + strlen(DEFAULT_SIZE))) : KUP_HUGE_2M;
}

/*
 * Words of @text; a quoted value stays one word. Those that @had has are left out, and how many huge pages there shall be in @pools.
 * Returns false if there is no room.
 */
static bool add_words(char *out, size_t size, const char *text, const char *had, unsigned int pools)
{
	static const char *const drop[] = { "BOOT_IMAGE=", "initrd=" };
	const char *p = text;
	int huge = default_size(text);

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
			huge = kup_huge_of(bytes_of(word + strlen(SIZE)));
		if (!len || i < KUP_ARRAY_SIZE(drop) || has_word(had, word) ||
		    (huge >= 0 && pools >> huge & 1 && kup_starts(word, "hugepages=")))
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

char *kup_cmdline_new(const char *running, const char *append, unsigned int pools, struct kup_err *err)
{
	char *old = strdup(running), *out = calloc(1, CMDLINE_MAX), had[CMDLINE_MAX], *ours;
	bool fits = old && out;

	ours = old ? strstr(old, OURS) : NULL;
	if (ours)
		*ours = '\0';
	fits = fits && add_words(out, CMDLINE_MAX, old, "", pools);
	if (fits) {
		strcpy(had, out);
		fits = add_words(out, CMDLINE_MAX, append ?: "", had, 0);
	}
	if (!fits) {
		too_long(err);
		free(out);
		out = NULL;
	}
	free(old);
	return out;
}

int kup_cmdline_add(char *cmdline, uint64_t area, const struct kup_profile *profile, struct kup_err *err)
{
	size_t len = strlen(cmdline), i;

	len += snprintf(cmdline + len, CMDLINE_MAX - len, OURS "0x%llx", (unsigned long long)area);
	for (i = 0; i < KUP_PROFILE_ITEMS && len < CMDLINE_MAX; i++)
		if (!profile->item[i].off && profile->item[i].words[0])
			len += snprintf(cmdline + len, CMDLINE_MAX - len, " %s", profile->item[i].words);
	return len < CMDLINE_MAX ? 0 : too_long(err);
}
