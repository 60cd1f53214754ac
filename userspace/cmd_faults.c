// SPDX-License-Identifier: GPL-2.0
/* kup-ppp faults: what KUP_FAULT can be. */
#include <stdio.h>

#include <json-c/json.h>

#include "fault.h"
#include "kup.h"
#include "steps.h"

static void print_fault(void *ctx, const char *fault, const struct kup_step_info *step, const char *what)
{
	(void)ctx;
	printf("%-24s %-8s %-58s %s\n", fault, step->verb, step->what, what);
}

static void add_fault(void *ctx, const char *fault, const struct kup_step_info *step, const char *what)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "fault", json_object_new_string(fault));
	json_object_object_add(o, "step", json_object_new_string(step->name));
	json_object_object_add(o, "verb", json_object_new_string(step->verb));
	json_object_object_add(o, "what", json_object_new_string(what));
	json_object_array_add(ctx, o);
}

int cmd_faults(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	struct json_object *list;

	(void)argv;
	(void)err;
	if (argc > 1)
		return KUP_EXIT_USAGE;
	if (!opts->json) {
		kup_fault_each(print_fault, NULL);
		return 0;
	}
	list = json_object_new_array();
	kup_fault_each(add_fault, list);
	printf("%s\n", json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
	json_object_put(list);
	return 0;
}
