// SPDX-License-Identifier: GPL-2.0
/* kup-ppp check: what a switch would keep in place, have carried, or refuse. Touches nothing. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>

#include <json-c/json.h>

#include "json.h"
#include "kup.h"
#include "survey.h"

static double mib(struct json_object *o, const char *key)
{
	return kup_json_int(o, key) / 256.0;
}

static void print_refused(struct json_object *refused)
{
	size_t i;

	for (i = 0; i < json_object_array_length(refused); i++) {
		struct json_object *r = json_object_array_get_idx(refused, i);

		printf("  refused  %s: %s\n           -> %s\n", kup_json_text(r, "object"), kup_json_text(r, "why"), kup_json_text(r, "next"));
	}
}

static void print_host(const struct kup_host *h)
{
	printf("machine\n");
	json_object_object_foreach(h->facts, key, value)
		printf("  %-16s %s\n", key, json_object_get_string(value));
	print_refused(h->refused);
}

static void print_process(struct json_object *p)
{
	struct json_object *m, *carried = json_object_object_get(p, "carried");
	const char *comma = "";

	printf("pid %s (%s)  cgroup %s\n", kup_json_text(p, "pid"), kup_json_text(p, "comm"), kup_json_text(p, "cgroup"));
	if (json_object_object_get_ex(p, "memory", &m)) {
		printf("  in place %10.1f MiB of %.1f MiB anonymous memory (%.1f MiB in huge pages, %.1f MiB shared by fork)\n",
		       mib(m, "preserve_pages"), mib(m, "anon_pages"), mib(m, "huge_pages"), mib(m, "shared_pages"));
		printf("  by criu  %10.1f MiB: merged %.1f, executable %.1f, executable of files %.1f\n",
		       mib(m, "merged_pages") + mib(m, "exec_pages") + mib(m, "filecow_pages"), mib(m, "merged_pages"),
		       mib(m, "exec_pages"), mib(m, "filecow_pages"));
		printf("  in place %10.1f MiB of shared memory and files of tmpfs that it has mapped\n", mib(m, "shmem_pages"));
		if (kup_json_int(m, "swapped_pages"))
			printf("  swapped  %10.1f MiB, brought in first\n", mib(m, "swapped_pages"));
	}
	printf("  by criu ");
	json_object_object_foreach(carried, kind, count) {
		printf("%s %s %s", comma, json_object_get_string(count), kind);
		comma = ",";
	}
	printf("\n");
	print_refused(json_object_object_get(p, "refused"));
}

static void print_kept(struct json_object *k)
{
	printf("keep %s\n  in place %10.1f MiB of %lld names; %.1f MiB through the store\n", kup_json_text(k, "dir"),
	       kup_json_int(k, "in_place_bytes") / 1048576.0, kup_json_int(k, "names"), kup_json_int(k, "stored_bytes") / 1048576.0);
	print_refused(json_object_object_get(k, "refused"));
}

static void print_json(const struct kup_survey *s, int bad, const struct kup_err *err)
{
	struct json_object *o = json_object_new_object(), *e;

	json_object_object_add(o, "ok", json_object_new_boolean(bad == 0));
	json_object_object_add(o, "machine", json_object_get(s->host.facts));
	json_object_object_add(o, "refused", json_object_get(s->host.refused));
	json_object_object_add(o, "keep", json_object_get(s->keep));
	json_object_object_add(o, "processes", json_object_get(s->processes));
	json_object_object_add(o, "left_out", json_object_get(s->left));
	if (bad) {
		e = json_object_new_object();
		json_object_object_add(e, "what", json_object_new_string(err->what));
		json_object_object_add(e, "next", json_object_new_string(err->next));
		json_object_object_add(o, "error", e);
	}
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	json_object_put(o);
}

int cmd_check(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	static const struct option options[] = { KUP_CONF_OPTIONS, { 0 } };
	struct kup_survey s;
	struct kup_conf conf;
	bool several;
	int c, ret;
	size_t i;

	ret = kup_conf_read(KUP_CONF, &conf, err);
	if (ret)
		return ret;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (kup_conf_option(&conf, c, optarg)) {
			kup_conf_free(&conf);
			return KUP_EXIT_USAGE;
		}
	kup_conf_targets(&conf, argv + optind, argc - optind);
	ret = kup_survey(&conf, &s, err);
	if (ret >= 0 && opts->json) {
		print_json(&s, ret, err);
	} else if (ret >= 0 || !opts->json) {
		print_host(&s.host);
		for (i = 0; s.processes && i < json_object_array_length(s.processes); i++)
			print_process(json_object_array_get_idx(s.processes, i));
		for (i = 0; i < json_object_array_length(s.left); i++) {
			printf("left out: ");
			print_process(json_object_array_get_idx(s.left, i));
		}
		for (i = 0; s.keep && i < json_object_array_length(s.keep); i++)
			print_kept(json_object_array_get_idx(s.keep, i));
		if (!ret)
			printf("a switch would go ahead\n");
	}
	several = s.forest.nr > 1 && !conf.leave_refused;
	kup_survey_free(&s);
	kup_conf_free(&conf);
	if (ret <= 0)
		return ret;
	if (opts->json) {
		err->what[0] = '\0';	/* said already, in the one object that there shall be */
		return -ENOTSUP;
	}
	kup_err_set(err, -ENOTSUP, "a switch would be refused: %d %s in the way, named above", ret, ret == 1 ? "thing is" : "things are");
	if (several)
		kup_err_next(err, "put right what is said there, or go without the targets that it is said of: --leave-refused");
	return -ENOTSUP;
}
