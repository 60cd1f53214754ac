// SPDX-License-Identifier: GPL-2.0
/* The boot profile: an item is used where it fits, says why not where it doesn't, and can be turned off. */
#include <errno.h>
#include <string.h>

#include "ktap.h"
#include "profile.h"

static const struct kup_profile_facts plain = { .cmdline = "console=ttyS0 root=/dev/vda1\n", .clocksource = "tsc", .tsc_khz = 2600000 };

static const struct kup_profile_item *get(const struct kup_profile_facts *f, const char *off, const char *name)
{
	static struct kup_profile p;
	struct kup_err err;
	size_t i;

	CHECK(!kup_profile_make(f, off, &p, &err));
	for (i = 0; i < KUP_PROFILE_ITEMS; i++)
		if (!strcmp(p.item[i].name, name)) {
			CHECK(kup_profile_has(&p, name) == !p.item[i].off);
			CHECK(!p.item[i].off || !p.item[i].words[0] || !strcmp(p.item[i].off, "turned off"));
			return &p.item[i];
		}
	CHECK_FOR(false, "%s", name);
	return NULL;
}

static void fits(void)
{
	CHECK(!get(&plain, NULL, "integrity")->off && !*get(&plain, NULL, "integrity")->words);
	CHECK(!strcmp(get(&plain, NULL, "crypto-tests")->words, "cryptomgr.notests=1"));
	CHECK(!strcmp(get(&plain, "", "tsc")->words, "tsc=reliable tsc_early_khz=2600000"));
	CHECK(!strcmp(get(&plain, NULL, "timer-check")->words, "no_timer_check"));
}

static void does_not_fit(void)
{
	struct kup_profile_facts f = plain;

	f.fips = true;
	CHECK(get(&f, NULL, "crypto-tests")->off != NULL);
	f = plain;
	f.cmdline = "quiet fips=1";
	CHECK(get(&f, NULL, "crypto-tests")->off != NULL);
	f.cmdline = "nofips=1 xtsc=unstable tscx=1";
	CHECK(!get(&f, NULL, "crypto-tests")->off && !get(&f, NULL, "tsc")->off);
	f.cmdline = "tsc_early_khz=2500000";
	CHECK(!strcmp(get(&f, NULL, "tsc")->words, "tsc=reliable"));
	f.cmdline = "tsc=unstable no_timer_check";
	CHECK(get(&f, NULL, "tsc")->off && get(&f, NULL, "timer-check")->off);
	f = plain;
	f.clocksource = "hpet";
	CHECK(get(&f, NULL, "tsc")->off != NULL);
	f = plain;
	f.tsc_khz = 0;
	CHECK(get(&f, NULL, "tsc")->off != NULL);
}

static void turned_off(void)
{
	struct kup_profile p;
	struct kup_err err = { 0 };

	CHECK(!strcmp(get(&plain, "tsc", "tsc")->off, "turned off"));
	CHECK(!get(&plain, "tsc", "timer-check")->off);
	CHECK(get(&plain, "timer-check,tsc integrity", "integrity")->off && get(&plain, "timer-check,tsc", "tsc")->off);
	CHECK(get(&plain, "all", "integrity")->off && get(&plain, "all", "crypto-tests")->off);
	CHECK(kup_profile_make(&plain, "tsc tscc", &p, &err) == -EINVAL && strstr(err.what, "`tscc`") && strstr(err.next, "timer-check"));
}

static const struct ktap_test tests[] = {
	{ "each item where it fits", fits },
	{ "and not where it does not", does_not_fit },
	{ "turned off by name", turned_off },
};
KTAP_MAIN(tests)
