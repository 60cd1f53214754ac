// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "plan.h"
#include "report.h"
#include "util.h"

static uint64_t begin_of(const struct kup_steps *s, const char *name)
{
	size_t i;

	for (i = 0; i < s->nr; i++)
		if (!strcmp(s->step[i].name, name))
			return s->step[i].begin;
	return 0;
}

/* Whoever boots the new system may tell in KUP_INIT_TSC when the first instruction of its init ran. */
static void add_boot(struct kup_steps *all, uint64_t seal, uint64_t first)
{
	const char *text = getenv("KUP_INIT_TSC");
	uint64_t init = text ? strtoull(text, NULL, 10) : 0;

	kup_step_add(all, "boot", seal, init ?: first);
	if (init)
		kup_step_add(all, "init", init, first);
}

static double ms(uint64_t from, uint64_t to, uint64_t khz)
{
	return khz ? ((double)to - (double)from) / khz : 0;
}

static struct json_object *number(double v)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", v);
	return json_object_new_double_s(v, text);
}

static void copy_int(struct json_object *to, struct json_object *from, const char *key)
{
	json_object_object_add(to, key, json_object_new_int64(kup_json_int(from, key)));
}

struct json_object *kup_report_new(struct json_object *plan, const struct kup_adopt *adopted, const struct kup_steps *steps,
				   uint64_t resume_tsc)
{
	static const char *const from_plan[] = { "image_bytes", "image_pages", "preserved_pages", "preserved_huge", "preserved_shmem", "faulted_back", "shown_pages", "evacuated_pages" };
	struct json_object *r = json_object_new_object(), *array = json_object_new_array();
	const uint64_t khz = kup_json_int(plan, "tsc_khz");
	struct kup_steps all = { 0 };
	uint64_t freeze;
	size_t i;

	kup_steps_from_json(json_object_object_get(plan, "steps"), &all);
	if (all.nr && !all.step[all.nr - 1].end)
		all.step[all.nr - 1].end = adopted->seal_tsc;
	freeze = begin_of(&all, "freeze");
	add_boot(&all, adopted->seal_tsc, steps->nr ? steps->step[0].begin : 0);
	for (i = 0; i < steps->nr; i++)
		kup_step_add(&all, steps->step[i].name, steps->step[i].begin, steps->step[i].end);

	json_object_object_add(r, "from", json_object_new_string(kup_json_text(plan, "from")));
	json_object_object_add(r, "criu", json_object_new_string(kup_json_text(plan, "criu")));
	json_object_object_add(r, "to", json_object_new_string(kup_json_text(plan, "to")));
	json_object_object_add(r, "blackout_ms", number(ms(freeze, resume_tsc, khz)));
	json_object_object_add(r, "freeze_to_seal_ms", number(ms(freeze, adopted->seal_tsc, khz)));
	json_object_object_add(r, "stub_ms", number(ms(0, adopted->stub_cycles, khz)));
	json_object_object_add(r, "frames", json_object_new_uint64(adopted->frames));
	json_object_object_add(r, "huge", json_object_new_uint64(adopted->huge));
	json_object_object_add(r, "extents", json_object_new_uint64(adopted->extents));
	json_object_object_add(r, "block_order", json_object_new_uint64(adopted->block_order));
	json_object_object_add(r, "returned_pages", json_object_new_uint64(adopted->returned_pages));
	json_object_object_add(r, "store_bytes", json_object_new_uint64(adopted->store_size));
	for (i = 0; i < KUP_ARRAY_SIZE(from_plan); i++)
		copy_int(r, plan, from_plan[i]);
	copy_int(r, plan, "tsc_khz");
	copy_int(r, plan, "verified_pages");
	for (i = 0; i < all.nr; i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "step", json_object_new_string(all.step[i].name));
		json_object_object_add(o, "at_ms", number(ms(freeze, all.step[i].begin, khz)));
		json_object_object_add(o, "ms", number(ms(all.step[i].begin, all.step[i].end, khz)));
		json_object_array_add(array, o);
	}
	json_object_object_add(r, "steps", array);
	json_object_object_add(r, "shmem", json_object_get(json_object_object_get(plan, "shmem")));
	json_object_object_add(r, "keep", json_object_get(json_object_object_get(plan, "keep")));
	json_object_object_add(r, "trees", json_object_get(json_object_object_get(plan, "trees")));
	json_object_object_add(r, "left_out", json_object_get(json_object_object_get(plan, "left_out")));
	return r;
}

int kup_report_drain(struct json_object *report, const struct kup_status *st)
{
	json_object_object_add(report, "unbound_pages", json_object_new_uint64(st->unbound_pages));
	json_object_object_add(report, "bound_pages", json_object_new_uint64(st->bound_pages));
	json_object_object_add(report, "bound_huge", json_object_new_uint64(st->bound_huge));
	json_object_object_add(report, "fault_binds", json_object_new_uint64(st->fault_binds));
	json_object_object_add(report, "dropped_pages", json_object_new_uint64(st->dropped_pages));
	json_object_object_add(report, "drain_ms", number(st->drain_ns / 1e6));
	return st->state == KUP_STATE_IDLE && !st->unbound_pages;
}

void kup_report_fallback(struct json_object *report, const struct kup_status *st)
{
	struct json_object *o = json_object_new_object();

	if (st->fallback != KUP_FALLBACK_FELL) {
		json_object_put(o);
		return;
	}
	json_object_object_add(o, "from", json_object_new_string(st->fallback_from));
	json_object_object_add(o, "why", json_object_new_string(st->fallback_why));
	json_object_object_add(report, "fallback", o);
	json_object_object_add(report, "to", json_object_get(json_object_object_get(report, "from")));
}

void kup_report_print(struct json_object *r)
{
	struct json_object *steps = json_object_object_get(r, "steps"), *fallback = json_object_object_get(r, "fallback");
	size_t i;

	if (fallback)
		printf("fallback    from %s: %s\n", kup_json_text(fallback, "from"), kup_json_text(fallback, "why"));
	printf("from        %s\nto          %s\n", kup_json_text(r, "from"), kup_json_text(r, "to"));
	for (i = 0; i < json_object_array_length(steps); i++) {
		struct json_object *o = json_object_array_get_idx(steps, i);

		printf("  %-12s at %10.1f ms  took %8.1f ms\n", kup_json_text(o, "step"),
		       kup_json_double(o, "at_ms"),
		       kup_json_double(o, "ms"));
	}
	printf("in place    %lld frames in %lld extents, %lld huge pages\n", kup_json_int(r, "frames"), kup_json_int(r, "extents"),
	       kup_json_int(r, "huge"));
	printf("by criu     %lld bytes\n", kup_json_int(r, "image_bytes"));
	printf("blackout    %.1f ms\n", kup_json_double(r, "blackout_ms"));
	if (json_object_object_get(r, "drain_ms"))
		printf("bound       %lld pages, %lld by faults; %lld to go; drain %.1f ms\n", kup_json_int(r, "bound_pages"),
		       kup_json_int(r, "fault_binds"), kup_json_int(r, "unbound_pages"),
		       kup_json_double(r, "drain_ms"));
}
