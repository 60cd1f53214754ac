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

/* Free memory, with what the CPUs keep to themselves for the next who asks: from 6.7 on that may be megabytes. */
static inline long free_kb(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	long kb = meminfo("MemFree:"), pages;
	char line[128];

	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " count: %ld", &pages) == 1)
			kb += pages * 4;
	fclose(f);
	return kb;
}

#endif
