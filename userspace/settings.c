// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <linux/ioprio.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <json-c/json.h>

#include "json.h"
#include "settings.h"
#include "util.h"

static struct json_object *affinity(pid_t tid)
{
	char *status = kup_slurpf("/proc/%d/status", tid), *p = status ? strstr(status, "\nCpus_allowed:") : NULL;
	char *self = kup_slurp("/proc/1/status", NULL), *q = self ? strstr(self, "\nCpus_allowed:") : NULL;
	struct json_object *o;
	size_t len;

	p = p ? p + strlen("\nCpus_allowed:") : NULL;
	q = q ? q + strlen("\nCpus_allowed:") : NULL;
	len = p ? strcspn(p, "\n") : 0;
	if (p && q && len == strcspn(q, "\n") && !strncmp(p, q, len))
		len = 0;
	while (len && (*p == '\t' || *p == ' '))
		p++, len--;
	o = json_object_new_string_len(p ?: "", len);
	free(status);
	free(self);
	return o;
}

static void set_affinity(pid_t tid, const char *mask)
{
	const char *p;
	cpu_set_t set;
	int cpu = 0;

	CPU_ZERO(&set);
	for (p = mask + strlen(mask); p > mask && cpu < CPU_SETSIZE; ) {
		char digit[2] = { *--p, 0 };
		unsigned long bits = strtoul(digit, NULL, 16);
		int i;

		if (*p == ',')
			continue;
		for (i = 0; i < 4; i++, cpu++)
			if (bits & 1ul << i)
				CPU_SET(cpu, &set);
	}
	/* CPUs that this kernel doesn't have: then it may run anywhere */
	if (CPU_COUNT(&set))
		sched_setaffinity(tid, sizeof(set), &set);
}

/* A file of /proc whose content is written as it is read, if it is not as init has it. */
static void read_file(pid_t tid, const char *name, const char *key, struct json_object *o)
{
	char *text = kup_slurpf("/proc/%d/%s", tid, name), *usual = kup_slurpf("/proc/1/%s", name);

	if (text && *text && (!usual || strcmp(text, usual)))
		json_object_object_add(o, key, json_object_new_string(kup_trim(text)));
	free(text);
	free(usual);
}

static void write_file(pid_t tid, const char *name, const char *prefix, const char *text)
{
	char path[64], value[64];

	if (!*text)
		return;
	snprintf(path, sizeof(path), "/proc/%d/%s", tid, name);
	snprintf(value, sizeof(value), "%s%s", prefix, text);
	kup_put(path, value);
}

void kup_settings_read(pid_t tid, struct json_object *o)
{
	long ioprio = syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, tid);

	json_object_object_add(o, "cpus", affinity(tid));
	/* without a class of its own it follows from its nice value */
	if (ioprio > 0 && ioprio >> IOPRIO_CLASS_SHIFT)
		json_object_object_add(o, "ioprio", json_object_new_int64(ioprio));
	read_file(tid, "timerslack_ns", "timerslack", o);
	read_file(tid, "coredump_filter", "coredump", o);
}

void kup_settings_apply(pid_t tid, struct json_object *o)
{
	set_affinity(tid, kup_json_text(o, "cpus"));
	if (kup_json_int(o, "ioprio"))
		syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, tid, (int)kup_json_int(o, "ioprio"));
	write_file(tid, "timerslack_ns", "", kup_json_text(o, "timerslack"));
	write_file(tid, "coredump_filter", "0x", kup_json_text(o, "coredump"));
}
