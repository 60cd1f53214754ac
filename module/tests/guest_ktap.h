/* SPDX-License-Identifier: GPL-2.0 */
/* Results of a test that is one program, run in a guest. */
#ifndef KUP_GUEST_KTAP_H
#define KUP_GUEST_KTAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static unsigned int tests, failures;

/* A line of KTAP. Returns @good. */
static inline bool ok(bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %u - ", good ? "" : "not ", ++tests);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	failures += !good;
	return good;
}

#endif
