/* SPDX-License-Identifier: GPL-2.0 */
/* The little that a unit test needs: a table of functions, a check that names its line, KTAP on stdout. */
#ifndef KUP_KTAP_H
#define KUP_KTAP_H

#include <stdbool.h>
#include <stdio.h>

struct ktap_test {
	const char *name;
	void (*run)(void);
};

static unsigned int ktap_errors;	/* of the running test */

/* Goes on after a failure, so that one run shows all; returns the condition for those who must stop. */
#define CHECK(cond) ktap_check((cond), __FILE__, __LINE__, #cond, "")
#define CHECK_FOR(cond, ...) \
	({ char _for[160]; snprintf(_for, sizeof(_for), __VA_ARGS__); ktap_check((cond), __FILE__, __LINE__, #cond, _for); })

static inline bool ktap_check(bool cond, const char *file, int line, const char *text, const char *what)
{
	if (!cond && ktap_errors++ < 20)
		printf("# %s:%d: not true: %s%s%s\n", file, line, text, *what ? ", for " : "", what);
	return cond;
}

static inline int ktap_run(const struct ktap_test *tests, unsigned int nr)
{
	int status = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("KTAP version 1\n1..%u\n", nr);
	for (unsigned int i = 0; i < nr; i++) {
		ktap_errors = 0;
		tests[i].run();
		printf("%s %u - %s\n", ktap_errors ? "not ok" : "ok", i + 1, tests[i].name);
		status |= ktap_errors != 0;
	}
	return status;
}

#define KTAP_MAIN(table) \
	int main(void) { return ktap_run(table, sizeof(table) / sizeof(*(table))); }

#endif
