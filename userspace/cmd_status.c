// SPDX-License-Identifier: GPL-2.0
/* kup-ppp status: where things stand. kup-ppp drain: wait for, or steer, the binding of kept memory. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include <kup/handover.h>

#include "device.h"
#include "json.h"
#include "kexec.h"
#include "kup.h"
#include "prepared.h"
#include "report.h"
#include "util.h"

static struct json_object *module_to_json(const struct kup_status *st)
{
	struct json_object *o = json_object_new_object();
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "window_base", st->window_base },	    { "window_size", st->window_size },
		{ "area", st->area },			    { "processes", st->nr_mms },
		{ "preserved_pages", st->preserved_pages }, { "preserved_huge", st->preserved_huge },
		{ "preserved_shmem", st->preserved_shmem }, { "faulted_back", st->faulted_back },	    { "shown_pages", st->shown_pages },
		{ "evacuated_pages", st->evacuated_pages }, { "store_size", st->store_size },
		{ "unbound_pages", st->unbound_pages },	    { "bound_pages", st->bound_pages },
		{ "bound_huge", st->bound_huge },	    { "fault_binds", st->fault_binds },
		{ "dropped_pages", st->dropped_pages },	    { "shared_pages", st->shared_pages },
		{ "parted_pages", st->parted_pages },	    { "drain_ns", st->drain_ns },
	};
	size_t i;

	json_object_object_add(o, "state", json_object_new_string(kup_state_name(st->state)));
	json_object_object_add(o, "stub", json_object_new_string(kup_stub_state_name(st->stub_state)));
	json_object_object_add(o, "refused", *st->refused ? json_object_new_string(st->refused) : NULL);
	json_object_object_add(o, "fallback", json_object_new_string(kup_fallback_name(st->fallback)));
	json_object_object_add(o, "fallback_from", json_object_new_string(st->fallback_from));
	json_object_object_add(o, "fallback_why", json_object_new_string(st->fallback_why));
	json_object_object_add(o, "hook", json_object_new_string(st->hook));
	json_object_object_add(o, "network_closed", json_object_new_boolean(st->flags & KUP_STATUS_NETLOCK));
	json_object_object_add(o, "drain_held", json_object_new_boolean(st->flags & KUP_STATUS_HELD));
	for (i = 0; i < KUP_ARRAY_SIZE(numbers); i++)
		json_object_object_add(o, numbers[i].key, json_object_new_uint64(numbers[i].value));
	return o;
}

static void print_module(const struct kup_status *st)
{
	printf("state       %s%s%s\n", kup_state_name(st->state), st->flags & KUP_STATUS_NETLOCK ? ", network closed" : "",
	       st->flags & KUP_STATUS_HELD ? ", drain held" : "");
	printf("hook        %s\n", st->hook);
	if (st->stub_state)
		printf("boot stub   %s\n", kup_stub_state_name(st->stub_state));
	if (*st->refused)
		printf("refused     %s\n", st->refused);
	switch (st->fallback) {
	case KUP_FALLBACK_NONE:
		printf("fallback    none: %s\n", st->fallback_why);
		break;
	case KUP_FALLBACK_KEPT:
		printf("fallback    kept, %llu pages: the next switch can come back to this kernel\n", (unsigned long long)st->kept_pages);
		break;
	case KUP_FALLBACK_ARMED:
		printf("fallback    armed: a failure goes back to the old kernel\n");
		break;
	case KUP_FALLBACK_OVER:
		printf("fallback    over: committed, the applications run here for good\n");
		break;
	case KUP_FALLBACK_FELL:
		printf("fallback    running after a fallback from %s: %s\n", st->fallback_from, st->fallback_why);
		break;
	}
	if (st->window_size)
		printf("window      0x%llx-0x%llx, handover area 0x%llx\n", (unsigned long long)st->window_base,
		       (unsigned long long)(st->window_base + st->window_size), (unsigned long long)st->area);
	if (st->preserved_pages)
		printf("preserved   %llu pages, %llu huge\n", (unsigned long long)st->preserved_pages,
		       (unsigned long long)st->preserved_huge);
	if (st->unbound_pages || st->bound_pages)
		printf("memory      %llu pages to be bound, %llu bound (%llu faults), %llu dropped\n",
		       (unsigned long long)st->unbound_pages, (unsigned long long)st->bound_pages,
		       (unsigned long long)st->fault_binds, (unsigned long long)st->dropped_pages);
	if (st->shared_pages || st->parted_pages)
		printf("shared      %llu pages have a frame together with other processes; %llu had, and were copied\n",
		       (unsigned long long)st->shared_pages, (unsigned long long)st->parted_pages);
}

int cmd_status(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	struct json_object *o, *prepared, *report;
	struct kup_status st;
	int dev, ret;

	(void)argv;
	if (argc > 1)
		return KUP_EXIT_USAGE;
	dev = kup_device_open(err);
	if (dev < 0)
		return dev;
	ret = kup_device_status(dev, &st, err);
	close(dev);
	if (ret)
		return ret;
	prepared = st.state == KUP_STATE_PREPARED ? kup_prepared_read() : NULL;
	report = json_object_from_file(KUP_REPORT_FILE);
	if (report && (st.bound_pages || st.unbound_pages)) {
		kup_report_drain(report, &st);
		kup_replace_file(KUP_REPORT_FILE, json_object_to_json_string_ext(report, JSON_C_TO_STRING_PRETTY));
	}
	if (opts->json) {
		o = module_to_json(&st);
		json_object_object_add(o, "kexec_loaded", json_object_new_boolean(kup_kexec_loaded()));
		json_object_object_add(o, "prepared", json_object_get(prepared));
		json_object_object_add(o, "report", json_object_get(report));
		printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
		json_object_put(o);
	} else {
		print_module(&st);
		if (prepared)
			printf("prepared    %s\n", kup_json_text(prepared, "release"));
		if (report) {
			printf("\nlast switch\n");
			kup_report_print(report);
		}
	}
	json_object_put(prepared);
	json_object_put(report);
	return 0;
}

int cmd_drain(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	const char *what = argc > 1 ? argv[1] : "wait";
	struct kup_status st;
	int dev, ret;
	uint32_t flags;

	if (!strcmp(what, "wait"))
		flags = KUP_DRAIN_WAIT;
	else if (!strcmp(what, "hold"))
		flags = KUP_DRAIN_HOLD;
	else if (!strcmp(what, "run"))
		flags = KUP_DRAIN_RUN;
	else
		return KUP_EXIT_USAGE;
	if (argc > 2)
		return KUP_EXIT_USAGE;
	dev = kup_device_open(err);
	if (dev < 0)
		return dev;
	ret = kup_device_drain(dev, flags, err);
	if (!ret)
		ret = kup_device_status(dev, &st, err);
	close(dev);
	if (ret)
		return ret;
	if (opts->json)
		printf("{ \"unbound_pages\": %llu, \"drain_ms\": %.3f }\n", (unsigned long long)st.unbound_pages, st.drain_ns / 1e6);
	else
		printf("%llu pages to be bound\n", (unsigned long long)st.unbound_pages);
	return 0;
}
