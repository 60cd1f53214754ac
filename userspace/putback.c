// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <json-c/json.h>

#include "device.h"
#include "hugetlb.h"
#include "prepared.h"
#include "putback.h"
#include "sysctl.h"
#include "util.h"

#define SWITCH_FILE	KUP_RUN_DIR "/switch.json"

int kup_putback_note(const struct kup_freeze *freeze, size_t nr, struct kup_err *err)
{
	struct json_object *o = json_object_new_object(), *array = json_object_new_array();
	size_t i;
	int ret;

	for (i = 0; i < nr; i++)
		json_object_array_add(array, kup_freeze_to_json(&freeze[i]));
	json_object_object_add(o, "freeze", array);
	ret = kup_replace_file(SWITCH_FILE, json_object_to_json_string(o));
	json_object_put(o);
	return ret ? kup_err_set(err, ret, "%s: %s", SWITCH_FILE, strerror(-ret)) : 0;
}

size_t kup_putback_read(struct kup_freeze **freeze)
{
	struct json_object *o = json_object_from_file(SWITCH_FILE), *array;
	size_t i, nr = 0;

	*freeze = NULL;
	if (o && json_object_object_get_ex(o, "freeze", &array) && json_object_is_type(array, json_type_array)) {
		*freeze = calloc(json_object_array_length(array), sizeof(**freeze));
		for (i = 0; *freeze && i < json_object_array_length(array); i++)
			nr += !kup_freeze_from_json(json_object_array_get_idx(array, i), &(*freeze)[nr]);
	}
	json_object_put(o);
	return nr;
}

static bool is_traced(const char *dir)
{
	char *text = kup_slurpf("%s/cgroup.procs", dir), *word, *save = NULL;
	bool traced = false;

	for (word = text ? strtok_r(text, "\n", &save) : NULL; word && !traced; word = strtok_r(NULL, "\n", &save)) {
		char *status = kup_slurpf("/proc/%s/status", word), *p = status ? strstr(status, "\nTracerPid:") : NULL;

		traced = p && atoi(p + strlen("\nTracerPid:"));
		free(status);
	}
	free(text);
	return traced;
}

int kup_put_back(int dev, struct kup_freeze *freeze, size_t nr, struct kup_err *err)
{
	const struct timespec wait = { .tv_nsec = 10 * 1000 * 1000 };
	int ret = 0, one, tries;
	size_t i;

	for (i = 0; i < nr; i++)
		for (tries = 0; is_traced(freeze[i].dir) && tries < 1000; tries++)
			nanosleep(&wait, NULL);
	kup_unprepare();	/* before ABORT: the loaded kernel would overwrite a window that isn't ours any more */
	if (dev >= 0)
		ret = kup_device_abort(dev, err);
	for (i = 0; i < nr; i++) {
		one = kup_freeze_release(&freeze[i], ret ? NULL : err);
		if (!ret)
			ret = one;
	}
	kup_remove_tree(KUP_IMAGES_DIR);
	unlink(SWITCH_FILE);
	kup_hugetlb_put_back();
	kup_sysctl_return(KUP_RCU_EXPEDITED);
	unlink(KUP_RUN_DIR "/hook");	/* of one that was killed */
	return ret;
}
