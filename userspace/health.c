// SPDX-License-Identifier: GPL-2.0
#include <errno.h>

#include <json-c/json.h>

#include "fallback.h"
#include "health.h"
#include "json.h"
#include "util.h"

int kup_health_check(const struct kup_conf *conf, struct kup_err *err)
{
	unsigned int limit = conf->health_seconds ?: KUP_HEALTH_SECONDS, hang = conf->fallback_seconds ?: KUP_FALLBACK_SECONDS;

	if (!conf->nr_health)
		return 0;
	if (!conf->fallback) {
		kup_err_set(err, -EINVAL, "health: `%.100s` has no kernel to go back to", conf->health[0]);
		kup_err_next(err, "add --fallback, or leave the health command out");
		return -EINVAL;
	}
	if (limit >= hang) {
		kup_err_set(err, -EINVAL, "health commands may take %u s, but no progress for %u s is a failure", limit, hang);
		kup_err_next(err, "make health-seconds less than fallback-seconds");
		return -EINVAL;
	}
	return 0;
}

void kup_health_to_plan(const struct kup_conf *conf, struct json_object *plan)
{
	struct json_object *list = json_object_new_array();
	size_t i;

	for (i = 0; i < conf->nr_health; i++)
		json_object_array_add(list, json_object_new_string(conf->health[i]));
	json_object_object_add(plan, "health", list);
	json_object_object_add(plan, "health_seconds", json_object_new_int(conf->health_seconds ?: KUP_HEALTH_SECONDS));
}

bool kup_health_wanted(struct json_object *plan)
{
	return json_object_array_length(json_object_object_get(plan, "health"));
}

int kup_health_run(struct json_object *plan, struct kup_err *err)
{
	struct json_object *list = json_object_object_get(plan, "health");
	const long long limit = kup_json_int(plan, "health_seconds"), end = kup_now_ms() + limit * 1000;
	char out[1024];
	size_t i;

	for (i = 0; i < json_object_array_length(list); i++) {
		const char *command = json_object_get_string(json_object_array_get_idx(list, i));
		char *argv[] = { "/bin/sh", "-c", (char *)command, NULL };
		const long long left = end - kup_now_ms();
		int status = left > 0 ? kup_run_within(argv, left, out, sizeof(out)) : -ETIMEDOUT;

		if (status == -ETIMEDOUT)
			return kup_err_set(err, status, "health: `%.60s` does not answer within %lld s", command, limit);
		if (status < 0)
			return kup_err_set(err, status, "health: `%.60s`: %s", command, strerror(-status));
		if (status)
			return kup_err_set(err, -EIO, "health: `%.60s` ended with status %d: %.60s", command, status, kup_last_line(out));
	}
	return 0;
}
