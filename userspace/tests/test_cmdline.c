// SPDX-License-Identifier: GPL-2.0
/* The new kernel's command line: what of the running one's stays, and what is added. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmdline.h"
#include "hugetlb.h"
#include "ktap.h"

#define GIGANTIC	(1u << KUP_HUGE_1G)
#define BOTH		(GIGANTIC | 1u << KUP_HUGE_2M)

static void is(const char *running, const char *append, unsigned int pools, const char *expected)
{
	struct kup_err err = { 0 };
	char *made = kup_cmdline_new(running, append, pools, &err);

	CHECK_FOR(made && !strcmp(made, expected), "%.60s: %.60s", running, made ?: err.what);
	free(made);
}

static void stays(void)
{
	is("BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro initrd=/initrd\n", NULL, BOTH, "root=/dev/vda1 ro");
	is("a=\"b c\"  d\n", "", BOTH, "a=\"b c\" d");
	is("quiet kup_ppp.area=0x1000 no_timer_check\n", NULL, BOTH, "quiet");	/* of the switch that led here */
	is("x=1 y=2 x=1\n", NULL, BOTH, "x=1 y=2 x=1");	/* what is repeated may mean something each time */
}

static void is_added(void)
{
	is("quiet\n", "console=ttyS0 quiet a", BOTH, "quiet console=ttyS0 a");
	is("nofoo\n", "foo", BOTH, "nofoo foo");
}

static void huge_pages(void)
{
	const char *two = "hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=4\n";

	is(two, NULL, GIGANTIC, "hugepagesz=1G hugepagesz=2M hugepages=4");
	is(two, NULL, BOTH, "hugepagesz=1G hugepagesz=2M");
	is(two, NULL, 0, "hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=4");
	is("hugepagesz=2M hugepages=4 hugepagesz=1048576k hugepages=4 quiet\n", NULL, GIGANTIC, "hugepagesz=2M hugepages=4 hugepagesz=1048576k quiet");
	is("default_hugepagesz=1G hugepages=2\n", NULL, GIGANTIC, "default_hugepagesz=1G");
	is("hugepages=2 default_hugepagesz=1G\n", NULL, GIGANTIC, "default_hugepagesz=1G");
	is("hugepages=64\n", NULL, GIGANTIC, "hugepages=64");
	is("hugepages=64\n", NULL, BOTH, "");
	is("hugepagesz=16M hugepages=2\n", NULL, BOTH, "hugepagesz=16M hugepages=2");
	is("quiet\n", "hugepagesz=1G hugepages=2", BOTH, "quiet hugepagesz=1G hugepages=2");	/* as was asked for */
}

static void no_room(void)
{
	struct kup_err err;
	char *long_one = calloc(1, 4096), *made;
	const struct kup_profile profile = { 0 };

	memset(long_one, 'a', 2048);
	CHECK(!kup_cmdline_new(long_one, NULL, BOTH, &err) && strstr(err.what, "2047"));
	long_one[2046] = '\0';
	made = kup_cmdline_new(long_one, NULL, BOTH, &err);
	CHECK(made && strlen(made) == 2046);
	CHECK(made && kup_cmdline_add(made, 0x1000, &profile, &err) == -E2BIG);
	free(made);
	free(long_one);
}

static const struct ktap_test tests[] = {
	{ "what stays of the running kernel's", stays },
	{ "what is added", is_added },
	{ "huge pages that come along are not asked for", huge_pages },
	{ "no room", no_room },
};
KTAP_MAIN(tests)
