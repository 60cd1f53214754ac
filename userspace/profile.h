/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The boot profile: what the new kernel need not find out again, since this one knows it or since it has just been shown.
 *
 * Each item pays, measured by itself; each says why it may be left out on this machine, and can be turned off by name
 * (--profile-off, `profile-off` in the configuration; "all" for every one).
 */
#ifndef KUP_PROFILE_H
#define KUP_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"

struct json_object;

#define KUP_PROFILE_ITEMS 4

struct kup_profile_item {
	const char *name;
	const char *why;	/* it may be left out */
	const char *off;	/* why it is not used after all; NULL if it is */
	char words[64];		/* for the command line; empty: an option of kexec */
};

struct kup_profile {
	struct kup_profile_item item[KUP_PROFILE_ITEMS];
};

/* What is known of this machine. */
struct kup_profile_facts {
	const char *cmdline;		/* of the new kernel, as the user wants it */
	const char *clocksource;	/* in use */
	uint32_t tsc_khz;		/* this kernel's; 0: it does not trust its TSC */
	bool fips;
};

/**
 * kup_profile_make - choose the items that fit this machine
 * @turned_off: names, separated by blanks or commas; "all"; or NULL
 *
 * Return: 0, or -EINVAL and @err if @turned_off names an item that there is not.
 */
int kup_profile_make(const struct kup_profile_facts *facts, const char *turned_off, struct kup_profile *p, struct kup_err *err);

bool kup_profile_has(const struct kup_profile *p, const char *name);
struct json_object *kup_profile_to_json(const struct kup_profile *p);

#endif
