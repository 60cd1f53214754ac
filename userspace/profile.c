// SPDX-License-Identifier: GPL-2.0
#include "profile.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "util.h"

/* Is there a word of this name, with or without a value? */
static bool has_param(const char *cmdline, const char *name)
{
	size_t len = strlen(name);
	const char *p = cmdline;

	while ((p = strstr(p, name))) {
		if ((p == cmdline || p[-1] == ' ') && (!p[len] || strchr(" =\n", p[len])))
			return true;
		p += len;
	}
	return false;
}

static const char *integrity(const struct kup_profile_facts *f, char *words, size_t size)
{
	(void)f, (void)words, (void)size;
	return NULL;
}

static const char *crypto_tests(const struct kup_profile_facts *f, char *words, size_t size)
{
	if (f->fips || has_param(f->cmdline, "fips"))
		return "FIPS mode demands them";
	if (has_param(f->cmdline, "cryptomgr.notests"))
		return "the command line has its own";
	snprintf(words, size, "cryptomgr.notests=1");
	return NULL;
}

static const char *tsc(const struct kup_profile_facts *f, char *words, size_t size)
{
	if (!f->tsc_khz || strcmp(f->clocksource, "tsc"))
		return "this kernel does not keep time by its TSC";
	if (has_param(f->cmdline, "tsc"))
		return "the command line has its own";
	if (has_param(f->cmdline, "tsc_early_khz"))
		snprintf(words, size, "tsc=reliable");
	else
		snprintf(words, size, "tsc=reliable tsc_early_khz=%u", f->tsc_khz);
	return NULL;
}

static const char *timer_check(const struct kup_profile_facts *f, char *words, size_t size)
{
	if (has_param(f->cmdline, "no_timer_check"))
		return "the command line has its own";
	snprintf(words, size, "no_timer_check");
	return NULL;
}

static const struct {
	const char *name, *why;
	/* Fills in the words; or returns why it does not fit. */
	const char *(*make)(const struct kup_profile_facts *f, char *words, size_t size);
} items[KUP_PROFILE_ITEMS] = {
	{ "integrity", "kexec --no-checks: kernel and initramfs were read a moment ago; hashing them again at the jump takes longest of all", integrity },
	{ "crypto-tests", "self-tests of the kernel's own ciphers, all done before its init", crypto_tests },
	{ "tsc", "the rate of the TSC is known; the kernel still refines it later", tsc },
	{ "timer-check", "the timer interrupt works: this kernel runs on it", timer_check },
};

static bool names(const char *list, const char *name)
{
	size_t len = strlen(name);
	const char *p = list;

	while (p && *p) {
		size_t n = strcspn(p, " ,");

		if ((n == len && !strncmp(p, name, n)) || (n == 3 && !strncmp(p, "all", 3)))
			return true;
		p += n + strspn(p + n, " ,");
	}
	return false;
}

static int check_names(const char *list, struct kup_err *err)
{
	const char *p = list;
	char known[160] = "all";
	size_t i;

	for (i = 0; i < KUP_PROFILE_ITEMS; i++)
		strcat(strcat(known, " "), items[i].name);
	while (p && *p) {
		size_t n = strcspn(p, " ,");

		for (i = 0; i < KUP_PROFILE_ITEMS && (strlen(items[i].name) != n || strncmp(p, items[i].name, n)); i++)
			;
		if (n && i == KUP_PROFILE_ITEMS && (n != 3 || strncmp(p, "all", 3))) {
			kup_err_set(err, -EINVAL, "the boot profile has no item `%.*s`", (int)n, p);
			kup_err_next(err, "known: %s", known);
			return -EINVAL;
		}
		p += n + strspn(p + n, " ,");
	}
	return 0;
}

int kup_profile_make(const struct kup_profile_facts *facts, const char *turned_off, struct kup_profile *p, struct kup_err *err)
{
	size_t i;
	int ret = check_names(turned_off, err);

	if (ret)
		return ret;
	*p = (struct kup_profile){ 0 };
	for (i = 0; i < KUP_PROFILE_ITEMS; i++) {
		struct kup_profile_item *item = &p->item[i];

		item->name = items[i].name;
		item->why = items[i].why;
		item->off = names(turned_off, item->name) ? "turned off" : items[i].make(facts, item->words, sizeof(item->words));
	}
	return 0;
}

bool kup_profile_has(const struct kup_profile *p, const char *name)
{
	size_t i;

	for (i = 0; i < KUP_PROFILE_ITEMS; i++)
		if (!strcmp(p->item[i].name, name))
			return !p->item[i].off;
	return false;
}

struct json_object *kup_profile_to_json(const struct kup_profile *p)
{
	struct json_object *list = json_object_new_array();
	size_t i;

	for (i = 0; i < KUP_PROFILE_ITEMS; i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "item", json_object_new_string(p->item[i].name));
		json_object_object_add(o, "used", json_object_new_boolean(!p->item[i].off));
		json_object_object_add(o, "words", json_object_new_string(p->item[i].words));
		json_object_object_add(o, "why", json_object_new_string(p->item[i].off ?: p->item[i].why));
		json_object_array_add(list, o);
	}
	return list;
}
