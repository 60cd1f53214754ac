// SPDX-License-Identifier: GPL-2.0
/* The new kernel's command line: what of the running one's stays, and what is added. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmdline.h"
#include "ktap.h"

static void is(const char *running, const char *append, bool pool, const char *expected)
{
	struct kup_err err = { 0 };
	char *made = kup_cmdline_new(running, append, pool, &err);

	CHECK_FOR(made && !strcmp(made, expected), "%.60s: %.60s", running, made ?: err.what);
	free(made);
}

static void stays(void)
{
	is("BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro initrd=/initrd\n", NULL, true, "root=/dev/vda1 ro");
	is("a=\"b c\"  d\n", "", true, "a=\"b c\" d");
	is("quiet kup_ppp.area=0x1000 no_timer_check\n", NULL, true, "quiet");	/* of the switch that led here */
	is("x=1 y=2 x=1\n", NULL, true, "x=1 y=2 x=1");	/* what is repeated may mean something each time */
}

static void is_added(void)
{
	is("quiet\n", "console=ttyS0 quiet a", true, "quiet console=ttyS0 a");
	is("nofoo\n", "foo", true, "nofoo foo");
}

static void huge_pages(void)
{
	is("hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=4\n", NULL, true, "hugepagesz=1G hugepagesz=2M hugepages=4");
	is("hugepagesz=2M hugepages=4 hugepagesz=1048576k hugepages=4 quiet\n", NULL, true, "hugepagesz=2M hugepages=4 hugepagesz=1048576k quiet");
	is("default_hugepagesz=1G hugepages=2\n", NULL, true, "default_hugepagesz=1G");
	is("hugepages=2 default_hugepagesz=1G\n", NULL, true, "default_hugepagesz=1G");
	is("hugepages=64\n", NULL, true, "hugepages=64");
	is("hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=4\n", NULL, false, "hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=4");
	is("quiet\n", "hugepagesz=1G hugepages=2", true, "quiet hugepagesz=1G hugepages=2");	/* as was asked for */
}

static void no_room(void)
{
	struct kup_err err;
	char *long_one = calloc(1, 4096), *made;
	const struct kup_profile profile = { 0 };

	memset(long_one, 'a', 2048);
	CHECK(!kup_cmdline_new(long_one, NULL, true, &err) && strstr(err.what, "2047"));
	long_one[2046] = '\0';
	made = kup_cmdline_new(long_one, NULL, true, &err);
	CHECK(made && strlen(made) == 2046);
	CHECK(made && kup_cmdline_add(made, 0x1000, &profile, &err) == -E2BIG);
	free(made);
	free(long_one);
}

static const struct ktap_test tests[] = {
	{ "what stays of the running kernel's", stays },
	{ "what is added", is_added },
	{ "huge pages of 1 GiB that come along are not asked for", huge_pages },
	{ "no room", no_room },
};
KTAP_MAIN(tests)
