/* SPDX-License-Identifier: GPL-2.0 */
#ifndef KUP_MEMINFO_H
#define KUP_MEMINFO_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In kB; @key with its colon. -1: there is none. */
static inline long meminfo(const char *key)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	long kb = -1;

	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			kb = atol(line + strlen(key));
	fclose(f);
	return kb;
}

#endif
