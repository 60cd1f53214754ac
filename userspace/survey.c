// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "carry.h"
#include "hugetlb.h"
#include "json.h"
#include "keep.h"
#include "shmem.h"
#include "survey.h"
#include "target.h"

static uint64_t preserve_bytes(struct json_object *processes)
{
	struct json_object *memory, *bytes;
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < json_object_array_length(processes); i++)
		if (json_object_object_get_ex(json_object_array_get_idx(processes, i), "memory", &memory) &&
		    json_object_object_get_ex(memory, "preserve_bytes", &bytes))
			sum += json_object_get_uint64(bytes);
	return sum;
}

static bool is_refused(struct json_object *processes, const struct kup_tree *tree)
{
	size_t i;

	for (i = 0; i < json_object_array_length(processes); i++) {
		struct json_object *p = json_object_array_get_idx(processes, i);

		if (json_object_array_length(json_object_object_get(p, "refused")) && kup_tree_find(tree, kup_json_int(p, "pid")))
			return true;
	}
	return false;
}

/* Takes out the trees of which something is refused. Return: whether any was, and something is left to keep. */
static bool leave_refused(struct kup_survey *s, bool keeps_else)
{
	struct kup_forest *f = &s->forest;
	size_t i, j, refused = 0;

	for (i = 0; i < f->nr; i++)
		refused += is_refused(s->processes, &f->trees[i]);
	if (!refused || (refused == f->nr && !keeps_else))
		return false;
	for (i = 0; i < f->nr;) {
		if (!is_refused(s->processes, &f->trees[i])) {
			i++;
			continue;
		}
		for (j = 0; j < json_object_array_length(s->processes); j++) {
			struct json_object *p = json_object_array_get_idx(s->processes, j);

			if (kup_tree_find(&f->trees[i], kup_json_int(p, "pid")))
				json_object_array_add(s->left, json_object_get(p));
		}
		kup_tree_free(&f->trees[i]);
		memmove(&f->trees[i], &f->trees[i + 1], (--f->nr - i) * sizeof(f->trees[0]));
	}
	return true;
}

int kup_survey(const struct kup_conf *conf, struct kup_survey *s, struct kup_err *err)
{
	struct kup_err of_process, of_keep;
	size_t host, process, keep;
	uint64_t keep_bytes = 0;
	int ret;

	*s = (struct kup_survey){ .files = json_object_new_object(), .left = json_object_new_array() };
	kup_host_look(conf, &s->host);
	if (!conf->nr_targets && !conf->nr_keep) {
		kup_err_set(err, -EINVAL, "no target: neither named nor in " KUP_CONF);
		kup_err_next(err, "name pids, cgroups, services or programs to keep, or --keep DIR; or `target = NAME` or `keep = DIR` in "
				  KUP_CONF);
		return -EINVAL;
	}
	ret = kup_targets_resolve(conf->targets, conf->nr_targets, &s->forest, err);
	if (ret)
		return ret;
	s->processes = kup_carry_forest(&s->forest, s->host.dev, &s->host.criu, conf->fallback, s->files, &of_process);
	/* Again, since one that goes may have held what another has. */
	while (conf->leave_refused && s->processes && leave_refused(s, conf->nr_keep)) {
		json_object_put(s->processes);
		json_object_put(s->files);
		s->files = json_object_new_object();
		s->processes = kup_carry_forest(&s->forest, s->host.dev, &s->host.criu, conf->fallback, s->files, &of_process);
	}
	s->keep = kup_keep_look(conf, &s->forest, kup_json_text(s->host.facts, "kernel_release"), s->files, &keep_bytes, &of_keep);
	keep = kup_keep_refused(s->keep);
	if (s->processes) {
		kup_host_memory(&s->host, preserve_bytes(s->processes) + kup_shmem_bytes(&s->forest, s->files) + keep_bytes +
					  (conf->fallback ? 0 : kup_hugetlb_along(&s->forest)));
		process = kup_carry_refused(s->processes, &of_process);
	} else {
		process = 1;
	}
	host = kup_host_refused(&s->host, err);
	if (!host && (process || keep))
		*err = process ? of_process : of_keep;
	return host + process + keep;
}

void kup_survey_free(struct kup_survey *s)
{
	json_object_put(s->keep);
	json_object_put(s->processes);
	json_object_put(s->left);
	json_object_put(s->files);
	kup_forest_free(&s->forest);
	kup_host_free(&s->host);
}
