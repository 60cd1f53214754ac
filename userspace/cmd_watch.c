// SPDX-License-Identifier: GPL-2.0
/*
 * kup-ppp watch: what counts as a failure of the running kernel, by policies.
 *
 *  1. All policies of the directory are read, and set as the configuration and the command line say. Those named on the command line
 *     are the only ones.
 *  2. They are loaded and attached. From here on an alarm is in a ring buffer, whether this program runs or not.
 *  3. It sleeps, until there is an alarm or a policy's iterators are to be walked. It asks for the best nice value and locks its memory,
 *     so that it runs on in a system that is drowning.
 *  4. The first alarm is reported, and then acted upon: in this order, since acting may not come back. The policies are left to the
 *     kernel to close at the exit, which waits for every CPU, and so may not end where one hangs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <json-c/json.h>

#include <kup/policy.h>

#include "alarm.h"
#include "conf.h"
#include "kup.h"
#include "policy.h"
#include "util.h"

struct watch {
	struct kup_policy *policies;
	uint64_t *next;			/* when each one's iterators are to be walked */
	size_t nr;
	uint64_t begin;
	struct json_object *report;	/* of the first alarm */
};

struct source {
	struct watch *watch;
	struct kup_policy *policy;
};

static volatile sig_atomic_t stopped;

static void on_signal(int sig)
{
	(void)sig;
	stopped = 1;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* --- which, and how --- */

static struct kup_policy *named(struct watch *w, const char *name)
{
	size_t i;

	for (i = 0; i < w->nr; i++)
		if (!strcmp(w->policies[i].name, name))
			return &w->policies[i];
	return NULL;
}

static void drop(struct watch *w, struct kup_policy *p)
{
	kup_policy_close(p);
	memmove(p, p + 1, (char *)(w->policies + --w->nr) - (char *)p);
}

static int unknown(const struct watch *w, const char *name, const char *dir, struct kup_err *err)
{
	char known[200] = "";
	size_t i;

	for (i = 0; i < w->nr; i++)
		snprintf(known + strlen(known), sizeof(known) - strlen(known), "%s%s", i ? ", " : "", w->policies[i].name);
	kup_err_set(err, -ENOENT, "unknown policy `%s`: there is no %s/%s.bpf.o", name, dir, name);
	kup_err_next(err, "there are: %s", *known ? known : "none; `make install` puts those of kup-ppp there");
	return -ENOENT;
}

/* `NAME KEY=VALUE...` or `NAME off`; commas do as well as blanks. */
static int apply(struct watch *w, const char *spec, const char *dir, bool *off, char *name, size_t size, struct kup_err *err)
{
	char *copy = strdup(spec), *rest = copy, *word, *eq;
	struct kup_policy *p = NULL;
	int ret = 0;

	*off = false;
	name[0] = '\0';
	while (!ret && (word = strsep(&rest, " \t,"))) {
		if (!*word)
			continue;
		if (!p) {
			snprintf(name, size, "%s", word);
			p = named(w, word);
			if (!p)
				ret = unknown(w, word, dir, err);
			continue;
		}
		if (!strcmp(word, "off")) {
			*off = true;
			continue;
		}
		eq = strchr(word, '=');
		if (!eq) {
			kup_err_set(err, -EINVAL, "policy %s: expected KEY=VALUE or `off`, found `%s`", name, word);
			kup_err_next(err, "for example `policy = %s bound=10s`; `kup-ppp watch --list` shows all", name);
			ret = -EINVAL;
			break;
		}
		*eq = '\0';
		ret = kup_policy_set(p, word, eq + 1, err);
	}
	free(copy);
	if (!ret && !p)
		ret = kup_err_set(err, -EINVAL, "a policy without a name");
	return ret;
}

static int open_all(struct watch *w, const char *dir, struct kup_err *err)
{
	char **names;
	int i, nr = kup_policy_names(dir, &names, err), ret = nr < 0 ? nr : 0;

	w->policies = calloc(nr > 0 ? nr : 1, sizeof(*w->policies));
	w->next = calloc(nr > 0 ? nr : 1, sizeof(*w->next));
	if (!w->policies || !w->next)
		ret = kup_err_set(err, -ENOMEM, "no memory");
	for (i = 0; i < nr; i++) {
		if (!ret)
			ret = kup_policy_open(dir, names[i], &w->policies[w->nr], err);
		if (!ret)
			w->nr++;
		free(names[i]);
	}
	free(names);
	return ret;
}

/* @only: from the command line. */
static int choose(struct watch *w, const struct kup_conf *conf, char *const *only, size_t nr_only, const char *dir, struct kup_err *err)
{
	bool off, *wanted = calloc(w->nr ?: 1, sizeof(*wanted));
	char name[64];
	size_t i;
	int ret = 0;

	if (!wanted)
		return kup_err_set(err, -ENOMEM, "no memory");
	for (i = 0; i < w->nr; i++)
		wanted[i] = !nr_only;
	for (i = 0; !ret && i < conf->nr_policies; i++) {
		ret = apply(w, conf->policies[i], dir, &off, name, sizeof(name), err);
		if (!ret)
			wanted[named(w, name) - w->policies] = !off && !nr_only;
	}
	for (i = 0; !ret && i < nr_only; i++) {
		ret = apply(w, only[i], dir, &off, name, sizeof(name), err);
		if (!ret)
			wanted[named(w, name) - w->policies] = !off;
	}
	for (i = w->nr; !ret && i--;)
		if (!wanted[i])
			drop(w, &w->policies[i]);
	free(wanted);
	if (ret || w->nr)
		return ret;
	kup_err_set(err, -ENOENT, "no policy to watch by: %s has none that is not off", dir);
	kup_err_next(err, "`make install` puts those of kup-ppp there; `kup-ppp watch --list` shows them");
	return -ENOENT;
}

/* --- the kernel --- */

static int check_kernel(struct kup_err *err)
{
	int fd;

	if (geteuid()) {
		kup_err_set(err, -EPERM, "policies are loaded into the kernel: root with CAP_SYS_ADMIN is needed");
		kup_err_next(err, "run kup-ppp watch as root, outside of containers");
		return -EPERM;
	}
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "kup_probe", 4, 4, 1, NULL);
	if (fd < 0) {
		kup_err_set(err, -errno, "the kernel runs no BPF programs: bpf(): %s", strerror(errno));
		kup_err_next(err, errno == ENOSYS ? "it needs CONFIG_BPF_SYSCALL" : "root with CAP_BPF and CAP_SYS_ADMIN is needed, outside of containers");
		return -ENOTSUP;
	}
	close(fd);
	if (access("/sys/kernel/btf/vmlinux", R_OK)) {
		kup_err_set(err, -ENOTSUP, "the kernel does not describe its types: /sys/kernel/btf/vmlinux: %s", strerror(errno));
		kup_err_next(err, "it needs CONFIG_DEBUG_INFO_BTF, and /sys mounted");
		return -ENOTSUP;
	}
	return 0;
}

/* --- the watch --- */

static int on_alarm(void *ctx, void *data, size_t size)
{
	struct source *s = ctx;

	if (size < sizeof(struct kup_alarm) || s->watch->report)
		return 0;
	s->watch->report = kup_alarm_report(s->policy, data, now_ns() - s->watch->begin);
	return -ECANCELED;	/* no more of them */
}

static int look(struct watch *w, struct kup_err *err)
{
	uint64_t now = now_ns();
	size_t i;
	int ret = 0;

	for (i = 0; i < w->nr && !ret; i++) {
		if (!w->policies[i].nr_iters || now < w->next[i])
			continue;
		w->next[i] += kup_policy_period(&w->policies[i]);
		if (w->next[i] <= now)		/* late */
			w->next[i] = now + kup_policy_period(&w->policies[i]);
		ret = kup_policy_look(&w->policies[i], err);
	}
	return ret;
}

static int until_next(const struct watch *w, uint64_t end)
{
	uint64_t now = now_ns(), next = end;
	size_t i;

	for (i = 0; i < w->nr; i++)
		if (w->policies[i].nr_iters && w->next[i] < next)
			next = w->next[i];
	if (next <= now)
		return 0;
	return next - now > 3600000000000ull ? 3600000 : (next - now + 999999) / 1000000;
}

static int wait_for_alarm(struct watch *w, uint64_t for_ns, struct kup_err *err)
{
	struct source *sources = calloc(w->nr, sizeof(*sources));
	struct sigaction sa = { .sa_handler = on_signal };
	uint64_t end = for_ns ? w->begin + for_ns : UINT64_MAX;
	struct ring_buffer *rb = NULL;
	size_t i;
	int ret = 0;

	for (i = 0; sources && i < w->nr; i++) {
		int fd = kup_policy_alarms(&w->policies[i]);

		sources[i] = (struct source){ .watch = w, .policy = &w->policies[i] };
		w->next[i] = w->begin;
		if (!i)
			rb = ring_buffer__new(fd, on_alarm, &sources[i], NULL);
		else if (ring_buffer__add(rb, fd, on_alarm, &sources[i]))
			ret = -errno;
		if (!rb || ret)
			break;
	}
	if (!rb || ret)
		return kup_err_set(err, -ENOMEM, "the policies' alarms cannot be received: %s", strerror(errno));
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	setpriority(PRIO_PROCESS, 0, -20);
	mlockall(MCL_CURRENT | MCL_FUTURE);
	while (!ret && !stopped && now_ns() < end) {
		ret = look(w, err);
		if (ret)
			break;
		ret = ring_buffer__poll(rb, until_next(w, end));
		if (w->report)
			ret = KUP_EXIT_ALARM;
		else if (ret == -EINTR || ret > 0)
			ret = 0;
		else if (ret < 0)
			kup_err_set(err, ret, "waiting for alarms: %s", strerror(-ret));
	}
	/* It may have slept over its end on a CPU that hung, with an alarm waiting. */
	if (!ret && ring_buffer__consume(rb) && w->report)
		ret = KUP_EXIT_ALARM;
	if (w->report)
		return ret;	/* what was made here is left to the exit: see above */
	ring_buffer__free(rb);
	free(sources);
	return ret;
}

/* --- what people and scripts see --- */

static struct json_object *describe(const struct watch *w)
{
	struct json_object *list = json_object_new_array();
	size_t i;

	for (i = 0; i < w->nr; i++)
		json_object_array_add(list, kup_policy_describe(&w->policies[i]));
	return list;
}

static void print_policies(struct json_object *list, FILE *to)
{
	size_t i;

	for (i = 0; i < json_object_array_length(list); i++) {
		struct json_object *p = json_object_array_get_idx(list, i), *all = json_object_object_get(p, "parameters");

		fprintf(to, "%-11s %s\n", json_object_get_string(json_object_object_get(p, "name")),
			json_object_get_string(json_object_object_get(p, "about")));
		fprintf(to, "           ");
		json_object_object_foreach(all, key, value)
			fprintf(to, " %s=%s", key, json_object_get_string(value));
		fputc('\n', to);
	}
}

static void print_json(struct json_object *policies, struct json_object *report, uint64_t watched_ns)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "policies", policies);
	json_object_object_add(o, "alarm", json_object_get(report));
	json_object_object_add(o, "watched_ms", json_object_new_int64(watched_ns / 1000000));
	printf("%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
	json_object_put(o);
}

static int list_policies(const struct kup_opts *opts, struct watch *w)
{
	struct json_object *list = describe(w);

	if (opts->json)
		printf("%s\n", json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		print_policies(list, stdout);
	json_object_put(list);
	return 0;
}

/* The report first, then the action: the report must not wait for what may hang. So what the action says is never in the JSON. */
static int conclude(const struct kup_opts *opts, struct watch *w, const char *action, struct json_object *policies, struct kup_err *err)
{
	if (opts->json) {
		print_json(policies, w->report, now_ns() - w->begin);
	} else {
		kup_alarm_print(w->report);
		fflush(stdout);
		json_object_put(policies);
	}
	if (kup_alarm_act(action, w->report, err) && opts->json) {
		fprintf(stderr, "kup-ppp: %s\n         -> %s\n", err->what, err->next);
		err->what[0] = '\0';
	}
	return KUP_EXIT_ALARM;
}

static int run(const struct kup_opts *opts, struct watch *w, const char *action, uint64_t for_ns, struct kup_err *err)
{
	struct json_object *policies;
	size_t i;
	int ret = check_kernel(err);

	for (i = 0; i < w->nr && !ret; i++)
		ret = kup_policy_start(&w->policies[i], opts->verbose, err);
	if (ret)
		return ret;
	policies = describe(w);
	print_policies(policies, stderr);
	fprintf(stderr, "watching\n");
	w->begin = now_ns();
	ret = wait_for_alarm(w, for_ns, err);
	if (ret == KUP_EXIT_ALARM)
		return conclude(opts, w, action, policies, err);
	if (!ret && opts->json) {
		print_json(policies, NULL, now_ns() - w->begin);
		return 0;
	}
	if (!ret)
		printf("no alarm in %.1f s\n", (now_ns() - w->begin) / 1e9);
	json_object_put(policies);
	return ret;
}

int cmd_watch(const struct kup_opts *opts, int argc, char **argv, struct kup_err *err)
{
	static const struct option options[] = { { "policy", required_argument, NULL, 'p' }, { "policies", required_argument, NULL, 'd' },
						 { "for", required_argument, NULL, 'f' },    { "on-alarm", required_argument, NULL, 'a' },
						 { "list", no_argument, NULL, 'l' },	     { 0 } };
	const char *dir = KUP_POLICY_DIR, *action = NULL;
	char **only = calloc(argc, sizeof(*only));
	struct watch w = { 0 };
	struct kup_conf conf;
	uint64_t for_ns = 0;
	size_t nr_only = 0;
	bool list = false;
	int c, ret;

	ret = only ? kup_conf_read(KUP_CONF, &conf, err) : -ENOMEM;
	if (ret) {
		free(only);
		return ret;
	}
	while (!ret && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'p')
			only[nr_only++] = optarg;
		else if (c == 'd')
			dir = optarg;
		else if (c == 'a')
			action = optarg;
		else if (c == 'l')
			list = true;
		else if (c != 'f' || kup_duration(optarg, &for_ns) || !for_ns)
			ret = KUP_EXIT_USAGE;
	}
	if (optind < argc)
		ret = KUP_EXIT_USAGE;
	if (!ret)
		ret = open_all(&w, dir, err);
	if (!ret)
		ret = choose(&w, &conf, only, nr_only, dir, err);
	if (!ret)
		ret = list ? list_policies(opts, &w) : run(opts, &w, action ?: conf.on_alarm, for_ns, err);
	if (ret == KUP_EXIT_ALARM)
		return ret;	/* nothing is closed */
	while (w.nr)
		drop(&w, &w.policies[w.nr - 1]);
	free(w.policies);
	free(w.next);
	free(only);
	kup_conf_free(&conf);
	return ret;
}
