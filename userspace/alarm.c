// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include <kup/policy.h>

#include "alarm.h"
#include "json.h"
#include "policy.h"
#include "util.h"

struct symbol {
	uint64_t addr;
	char name[96];
};

/* The nearest symbol below each address, in one pass: there are some 150,000 of them. */
static void find_symbols(const uint64_t *addr, struct symbol *found, unsigned int nr)
{
	FILE *f = fopen("/proc/kallsyms", "re");
	char line[256], name[128], module[64];
	unsigned int i;
	uint64_t at;

	memset(found, 0, nr * sizeof(*found));
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		module[0] = '\0';
		if (sscanf(line, "%" SCNx64 " %*c %127s [%63[^]]]", &at, name, module) < 2)
			continue;
		for (i = 0; i < nr; i++)
			if (at <= addr[i] && at > found[i].addr) {
				found[i].addr = at;
				snprintf(found[i].name, sizeof(found[i].name), "%.60s%s%.30s%s", name, *module ? " [" : "", module,
					 *module ? "]" : "");
			}
	}
	fclose(f);
}

static struct json_object *name_stack(const struct kup_alarm *a)
{
	struct json_object *list = json_object_new_array();
	unsigned int i, nr = a->nr_stack < KUP_POLICY_STACK ? a->nr_stack : KUP_POLICY_STACK;
	struct symbol found[KUP_POLICY_STACK];
	char text[128], *space;

	find_symbols((const uint64_t *)a->stack, found, nr);
	for (i = 0; i < nr; i++) {
		if (!found[i].addr) {
			snprintf(text, sizeof(text), "0x%" PRIx64, (uint64_t)a->stack[i]);
		} else {
			space = strchrnul(found[i].name, ' ');
			snprintf(text, sizeof(text), "%.*s+0x%" PRIx64 "%s", (int)(space - found[i].name), found[i].name,
				 (uint64_t)a->stack[i] - found[i].addr, space);
		}
		json_object_array_add(list, json_object_new_string(text));
	}
	return list;
}

/* Of a task that sleeps. Lines are `[<0>] name+0x10/0x20 [module]`. */
static struct json_object *read_stack(unsigned int pid)
{
	struct json_object *list = json_object_new_array();
	char *text = kup_slurpf("/proc/%u/stack", pid), *rest = text, *line, *name;

	while (text && (line = strsep(&rest, "\n"))) {
		name = strchr(line, ']');
		if (name && *kup_trim(name + 1))
			json_object_array_add(list, json_object_new_string(kup_trim(name + 1)));
	}
	free(text);
	return list;
}

static const char *first_beyond_scheduler(struct json_object *stack)
{
	static const char *const scheduler[] = { "__schedule", "schedule", "io_schedule", "__schedule_loop", "preempt_schedule" };
	size_t i, j, nr = json_object_array_length(stack);

	for (i = 0; i < nr; i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(stack, i));

		for (j = 0; j < KUP_ARRAY_SIZE(scheduler) && !kup_starts(name, scheduler[j]); j++)
			;
		if (j == KUP_ARRAY_SIZE(scheduler))
			return name;
	}
	return NULL;
}

static struct json_object *task(unsigned int pid, const char *comm)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "pid", json_object_new_int64(pid));
	json_object_object_add(o, "comm", json_object_new_string_len(comm, strnlen(comm, 16)));
	return o;
}

static struct json_object *ms(uint64_t ns)
{
	return json_object_new_int64(ns / 1000000);
}

struct json_object *kup_alarm_report(const struct kup_policy *p, const struct kup_alarm *a, unsigned long long watched_ns)
{
	struct json_object *o = json_object_new_object(), *stack;
	const char *at;
	char text[32];

	json_object_object_add(o, "policy", json_object_new_string(p->name));
	json_object_object_add(o, "what", json_object_new_string_len(a->what, strnlen(a->what, sizeof(a->what))));
	json_object_object_add(o, "count", json_object_new_uint64(a->count));
	json_object_object_add(o, "limit", json_object_new_uint64(a->limit));
	json_object_object_add(o, "uptime_ms", ms(a->time_ns));
	json_object_object_add(o, "lasted_ms", ms(a->lasted_ns));
	json_object_object_add(o, "bound_ms", ms(p->bound_ns));
	json_object_object_add(o, "watched_ms", ms(watched_ns));
	stack = a->nr_stack ? name_stack(a) : a->pid ? read_stack(a->pid) : json_object_new_array();
	at = first_beyond_scheduler(stack);
	if (at)
		json_object_object_add(o, "at", json_object_new_string(at));
	if (a->pid || a->comm[0])
		json_object_object_add(o, "task", task(a->pid, a->comm));
	if (a->holder)
		json_object_object_add(o, "holder", task(a->holder, a->holder_comm));
	if (a->cpu >= 0)
		json_object_object_add(o, "cpu", json_object_new_int(a->cpu));
	if (a->object) {
		snprintf(text, sizeof(text), "0x%" PRIx64, (uint64_t)a->object);
		json_object_object_add(o, "object", json_object_new_string(text));
	}
	json_object_object_add(o, "stack", stack);
	return o;
}

void kup_alarm_print(struct json_object *r)
{
	struct json_object *o, *stack = json_object_object_get(r, "stack");
	size_t i;

	printf("ALARM       %s: %s\n", kup_json_text(r, "policy"), kup_json_text(r, "what"));
	printf("count       %lld, limit %lld\n", kup_json_int(r, "count"), kup_json_int(r, "limit"));
	printf("for         %.1f s, bound %.1f s\n", kup_json_int(r, "lasted_ms") / 1e3, kup_json_int(r, "bound_ms") / 1e3);
	if ((o = json_object_object_get(r, "task")))
		printf("task        %s (%lld)\n", kup_json_text(o, "comm"), kup_json_int(o, "pid"));
	if ((o = json_object_object_get(r, "holder")))
		printf("held by     %s (%lld)\n", kup_json_text(o, "comm"), kup_json_int(o, "pid"));
	if (json_object_object_get(r, "cpu"))
		printf("cpu         %lld\n", kup_json_int(r, "cpu"));
	if (json_object_object_get(r, "object"))
		printf("object      %s\n", kup_json_text(r, "object"));
	if (json_object_object_get(r, "at"))
		printf("at          %s\n", kup_json_text(r, "at"));
	for (i = 0; i < json_object_array_length(stack); i++)
		printf("%-12s%s\n", i ? "" : "stack", json_object_get_string(json_object_array_get_idx(stack, i)));
}

int kup_alarm_act(const char *action, struct json_object *report, struct kup_err *err)
{
	char *argv[] = { "/bin/sh", "-c", (char *)action, NULL };
	char out[1024];
	int status;

	if (!action || !strcmp(action, "report"))
		return 0;
	setenv("KUP_POLICY", kup_json_text(report, "policy"), 1);
	setenv("KUP_ALARM", json_object_to_json_string_ext(report, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), 1);
	status = kup_run(argv, out, sizeof(out));
	if (!status)
		return 0;
	kup_err_set(err, -EIO, "on-alarm: `%.100s` ended with status %d: %.100s", action, status, kup_last_line(out));
	kup_err_next(err, "the alarm stands, its action was not completed: run it by hand");
	return -EIO;
}
