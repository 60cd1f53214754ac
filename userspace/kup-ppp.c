// SPDX-License-Identifier: GPL-2.0
/* The command: one table of verbs drives dispatch and help. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "fault.h"
#include "kup.h"
#include "util.h"

#define CONF_USAGE "[--kernel VMLINUZ] [--initrd FILE] [--append ARGS] [--profile-off ITEM] [--criu PROGRAM] [--fallback] [--health COMMAND] [--keep DIR] [--leave-refused] [--verify]"

static const struct verb {
	const char *name;
	kup_cmd_fn run;
	const char *usage;
	const char *help;
} verbs[] = {
	{ "check", cmd_check, CONF_USAGE " [TARGET...]", "show what would be kept, carried or refused; touches nothing" },
	{ "prepare", cmd_prepare, CONF_USAGE " [--explain]", "load the new kernel, and do all that can be done before the freeze" },
	{ "switch", cmd_switch, CONF_USAGE " [--stop-after=preserve|dump|seal] [TARGET...]", "keep TARGETs and go to the new kernel" },
	{ "restore", cmd_restore, "[--adopt] [--hold-drain] [--no-fallback] [--verify|--no-verify]", "in the new kernel: take over what was kept, and let it run" },
	{ "fallback", cmd_fallback, "[WHY]", "in the new kernel, before the applications run for good: back to the old one, and them" },
	{ "status", cmd_status, "", "show where things stand" },
	{ "drain", cmd_drain, "[wait|hold|run]", "wait until all kept memory is bound (default), or hold the drainer back (debug)" },
	{ "abort", cmd_abort, "[--yes]", "put everything back as it was before prepare or switch" },
	{ "watch", cmd_watch, "[--policy 'NAME KEY=VALUE...']... [--for TIME] [--on-alarm COMMAND] [--policies DIR] [--list]",
	  "wait for a failure of the running kernel, as policies see it" },
	{ "faults", cmd_faults, "", "list the faults that KUP_FAULT= in the environment makes happen (debug)" },
	{ "inspect", cmd_inspect, "VMLINUZ", "show what is found in a kernel image" },
};

static void help(FILE *out)
{
	size_t i;

	fprintf(out, "usage: kup-ppp [--json] [--verbose] VERB [ARGUMENTS]\n\n"
		     "Replaces the running kernel; the memory of the processes that TARGETs name stays in place.\n\n");
	for (i = 0; i < KUP_ARRAY_SIZE(verbs); i++)
		fprintf(out, "  %-8s %s\n           %s\n", verbs[i].name, verbs[i].usage, verbs[i].help);
	fprintf(out, "\nTARGET: a pid, the path of a cgroup, NAME.service, or the name of a program that runs once; without one, those that\n"
		     "/etc/kup-ppp.conf and /etc/kup-ppp.conf.d/*.conf name. See kup-ppp(8).\n"
		     "Exit status: 0 done; 1 refused or failed, with everything as before; 2 misuse; 3 failed and not put back;\n4 an alarm.\n");
}

static void print_error(const struct kup_opts *opts, const struct kup_err *err)
{
	struct json_object *o, *e;

	if (!opts->json) {
		fprintf(stderr, "kup-ppp: %s\n", err->what);
		if (err->next[0])
			fprintf(stderr, "         -> %s\n", err->next);
		return;
	}
	o = json_object_new_object();
	e = json_object_new_object();
	json_object_object_add(e, "what", json_object_new_string(err->what));
	json_object_object_add(e, "next", json_object_new_string(err->next));
	json_object_object_add(o, "error", e);
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY));
	json_object_put(o);
}

static int misuse(const struct kup_opts *opts, struct kup_err *err, const char *next)
{
	kup_err_next(err, "%s", next);
	print_error(opts, err);
	return KUP_EXIT_USAGE;
}

/* Options that every verb has are taken out of @argv wherever they stand before `--`. */
static int global_options(int argc, char **argv, struct kup_opts *opts, bool *want_help)
{
	int i, n = 1;
	bool ended = false;

	for (i = 1; i < argc; i++) {
		ended = ended || !strcmp(argv[i], "--");
		if (!ended && !strcmp(argv[i], "--json"))
			opts->json = true;
		else if (!ended && (!strcmp(argv[i], "--verbose") || !strcmp(argv[i], "-v")))
			opts->verbose = true;
		else if (!ended && (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")))
			*want_help = true;
		else
			argv[n++] = argv[i];
	}
	argv[n] = NULL;
	return n;
}

int main(int argc, char **argv)
{
	struct kup_opts opts = { 0 };
	struct kup_err err = { 0 };
	bool want_help = false;
	char next[256];
	size_t i;
	int ret;

	kup_tsc_start();
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	argc = global_options(argc, argv, &opts, &want_help);
	if (want_help || (argc > 1 && !strcmp(argv[1], "help"))) {
		help(stdout);
		return 0;
	}
	if (argc < 2) {
		if (!opts.json)
			help(stderr);
		kup_err_set(&err, -EINVAL, "no verb");
		return misuse(&opts, &err, "kup-ppp --help");
	}
	for (i = 0; i < KUP_ARRAY_SIZE(verbs) && strcmp(verbs[i].name, argv[1]); i++)
		;
	if (i == KUP_ARRAY_SIZE(verbs)) {
		kup_err_set(&err, -EINVAL, "unknown verb `%s`", argv[1]);
		return misuse(&opts, &err, "kup-ppp --help");
	}
	opterr = !opts.json;
	ret = kup_fault_check(&err);
	if (ret) {
		print_error(&opts, &err);
		return KUP_EXIT_USAGE;
	}
	ret = verbs[i].run(&opts, argc - 1, argv + 1, &err);
	if (ret == KUP_EXIT_USAGE) {
		if (!err.what[0])
			kup_err_set(&err, -EINVAL, "%s: wrong arguments", verbs[i].name);
		snprintf(next, sizeof(next), "usage: kup-ppp %s %s", verbs[i].name, verbs[i].usage);
		return misuse(&opts, &err, next);
	}
	if (ret && err.what[0])
		print_error(&opts, &err);
	return ret == KUP_EXIT_BROKEN || ret == KUP_EXIT_ALARM ? ret : ret ? 1 : 0;
}
