// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>

#include <json-c/json.h>

#include "fault.h"
#include "steps.h"
#include "util.h"

const struct kup_step_info kup_step_list[] = {
	{ "check", "switch", "look for what cannot be kept", false },
	{ "image", "switch", "unpack the new kernel and find its symbols", false },
	{ "window", "switch", "clear the memory that it will be loaded to", false },
	{ "keep", "switch", "with --fallback: load and keep the running kernel, to come back to", false },
	{ "patch", "switch", "put the boot stub into it", false },
	{ "load", "switch", "load it by kexec", false },
	{ "warm-criu", "switch", "let CRIU probe this kernel", false },
	{ "start-criu", "switch", "start a CRIU for each tree", false },
	{ "freeze", "switch", "let connections be accepted, stop all tasks, close the network", false },
	{ "preserve", "switch", "take their memory out of their page tables", false },
	{ "dump", "switch", "CRIU dumps what it still sees", true },
	{ "store", "switch", "CRIU's images and the plan go to the module", false },
	{ "seal", "switch", "the handover is written and summed up; then comes the jump", false },
	{ "adopt", "restore", "take the memory over", false },
	{ "unpack", "restore", "images and plan come out of the module", false },
	{ "verify", "restore", "with --verify: compare the memory with its sums", false },
	{ "restore", "restore", "CRIU makes the processes", true },
	{ "attach", "restore", "each process gets its memory", false },
	{ "resume", "restore", "CRIU lets the processes go", true },
	{ "health", "restore", "with health commands: do the applications serve here?", false },
	{ "commit", "restore", "the applications run for good", false },
};
const size_t kup_nr_steps = KUP_ARRAY_SIZE(kup_step_list);

void kup_step_add(struct kup_steps *s, const char *name, uint64_t begin, uint64_t end)
{
	if (s->nr == KUP_ARRAY_SIZE(s->step))
		return;
	snprintf(s->step[s->nr].name, sizeof(s->step[s->nr].name), "%s", name);
	s->step[s->nr].begin = begin;
	s->step[s->nr].end = end;
	s->nr++;
}

int kup_step_end(struct kup_steps *s, struct kup_err *err)
{
	if (!s->nr || s->step[s->nr - 1].end)
		return 0;
	s->step[s->nr - 1].end = kup_tsc();
	return kup_fault(KUP_FAULT_AFTER, s->step[s->nr - 1].name, err);
}

int kup_step_begin(struct kup_steps *s, const char *name, struct kup_err *err)
{
	int ret = kup_step_end(s, err);

	if (ret)
		return ret;
	if (s->show)
		printf("  %s\n", name);
	kup_step_add(s, name, kup_tsc(), 0);
	return kup_fault(KUP_FAULT_BEFORE, name, err);
}

const char *kup_step_name(const struct kup_steps *s)
{
	return s->nr ? s->step[s->nr - 1].name : "start";
}

struct json_object *kup_steps_to_json(const struct kup_steps *s)
{
	struct json_object *array = json_object_new_array();
	size_t i;

	for (i = 0; i < s->nr; i++) {
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "step", json_object_new_string(s->step[i].name));
		json_object_object_add(o, "begin", json_object_new_uint64(s->step[i].begin));
		json_object_object_add(o, "end", json_object_new_uint64(s->step[i].end));
		json_object_array_add(array, o);
	}
	return array;
}

void kup_steps_from_json(struct json_object *array, struct kup_steps *s)
{
	size_t i;

	if (!json_object_is_type(array, json_type_array))
		return;
	for (i = 0; i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i), *name, *begin, *end;

		if (json_object_object_get_ex(o, "step", &name) && json_object_object_get_ex(o, "begin", &begin) &&
		    json_object_object_get_ex(o, "end", &end))
			kup_step_add(s, json_object_get_string(name), json_object_get_uint64(begin),
				     json_object_get_uint64(end));
	}
}
