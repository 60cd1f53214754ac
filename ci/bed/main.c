// SPDX-License-Identifier: GPL-2.0
/*
 * bed: runs one scenario in one guest through any number of switches. Called by ci/scenario, which finds the kernels and
 * builds what the guest is made of. The result is one line of JSON on stdout, progress is on stderr.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bed.h"

struct bed bed = {
	.o = { .cpu = "max,la57=off,erms=off,fsrm=off,cx16=off", .mem = 1024, .cpus = 1, .nodes = 1, .size = 64, .limit = 900, .name = "scenario" },
	.to_client = -1,
	.restore = -1,
};

/* The figures of the whole run: a switch's own if it was one, else the median of a time and the largest of a count. */
static void headline(void)
{
	static const char *const times[] = { "blackout_ms", "gap_ms" };
	static const char *const counts[] = { "frames", "huge", "extents", "criu_bytes" };
	struct json_object *list, *v;
	size_t n, i, j, k;

	if (!json_object_object_get_ex(bed.result, "switches", &list) || !(n = json_object_array_length(list)))
		return;
	for (i = 0; i < sizeof(times) / sizeof(*times); i++) {
		double t[n], x;

		for (j = k = 0; j < n; j++) {
			if (!json_object_object_get_ex(json_object_array_get_idx(list, j), times[i], &v))
				continue;
			x = json_object_get_double(v);
			size_t at = k++;

			for (; at && t[at - 1] > x; at--)
				t[at] = t[at - 1];
			t[at] = x;
		}
		if (k)
			json_object_object_add(bed.result, times[i], json_ms((t[(k - 1) / 2] + t[k / 2]) / 2));
	}
	for (i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
		int64_t most = -1;

		for (j = 0; j < n; j++)
			if (json_object_object_get_ex(json_object_array_get_idx(list, j), counts[i], &v) &&
			    json_object_get_int64(v) > most)
				most = json_object_get_int64(v);
		if (most >= 0)
			json_object_object_add(bed.result, counts[i], json_object_new_int64(most));
	}
}

static void finish(bool ok)
{
	const char *text;

	json_object_object_add(bed.result, "ok", json_object_new_boolean(ok));
	json_object_object_add(bed.result, "console", json_object_new_int(bed.splats));
	json_object_object_add(bed.result, "seconds", json_object_new_int64((now_ns() - bed.begin) / 1000000000));
	headline();
	if (bed.qemu > 0) {
		kill(bed.qemu, SIGKILL);
		waitpid(bed.qemu, NULL, 0);
	}
	if (bed.log)
		fclose(bed.log);
	if (bed.o.table && ok)
		report_table(bed.result);
	text = json_object_to_json_string_ext(bed.result, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	puts(text);
	if (bed.o.json) {
		FILE *f = fopen(bed.o.json, "we");

		if (!f || fprintf(f, "%s\n", text) < 0 || fclose(f)) {
			fprintf(stderr, "%s: %s\n", bed.o.json, strerror(errno));
			ok = false;
		}
	}
	fflush(stdout);
	_exit(ok ? 0 : 1);
}

void bed_fail(const char *fmt, ...)
{
	static bool failing;
	va_list ap;
	char *why;

	if (failing)
		_exit(1);
	failing = true;
	va_start(ap, fmt);
	if (vasprintf(&why, fmt, ap) < 0)
		_exit(1);
	va_end(ap);
	fprintf(stderr, "FAILED: %s\n", why);
	if (bed.qemu) {
		fprintf(stderr, "  the console's last lines (all of it: %s/console.log):\n", bed.o.run);
		console_tail(stderr);
	}
	json_object_object_add(bed.result, "why", json_object_new_string(why));
	finish(false);
	__builtin_unreachable();
}

void bed_say(const char *fmt, ...)
{
	va_list ap;

	if (bed.o.quiet)
		return;
	va_start(ap, fmt);
	fprintf(stderr, "[%6.1f s] ", (now_ns() - bed.begin) / 1e9);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static void each(const char **list, int *nr)
{
	if (*nr == MAX_EACH) {
		fprintf(stderr, "bed: more than %d of one option\n", MAX_EACH);
		exit(2);
	}
	list[(*nr)++] = optarg;
}

static void options(int argc, char **argv)
{
	enum { SCENARIO = 256, IMAGES, RUN, BUSYBOX, DISK, SCRATCH, KERNEL, MEM, CPUS, NODES, SIZE, CPU, APPEND, SWITCH_ARGS, STAY, LOSE, FAULT, FALL, FALLBACK, DEAD, PLAIN, END, HOLD_DRAIN, HOOK, ICOUNT, VERIFY_LAST,
	       TABLE, QUIET, JSON, NAME, LIMIT };
	static const struct option all[] = {
		{ "scenario", 1, NULL, SCENARIO }, { "images", 1, NULL, IMAGES },   { "run", 1, NULL, RUN },
		{ "busybox", 1, NULL, BUSYBOX },   { "disk", 1, NULL, DISK },	    { "scratch", 1, NULL, SCRATCH }, { "kernel", 1, NULL, KERNEL },   { "mem", 1, NULL, MEM },
		{ "cpus", 1, NULL, CPUS }, { "nodes", 1, NULL, NODES },	   { "size", 1, NULL, SIZE },	    { "cpu", 1, NULL, CPU },
		{ "append", 1, NULL, APPEND },	   { "switch-args", 1, NULL, SWITCH_ARGS },
		{ "stay", 1, NULL, STAY },	   { "lose", 1, NULL, LOSE },	    { "fault", 1, NULL, FAULT },	    { "hold-drain", 0, NULL, HOLD_DRAIN },
		{ "fall", 1, NULL, FALL },	   { "fallback", 0, NULL, FALLBACK }, { "dead", 1, NULL, DEAD },
		{ "hook", 1, NULL, HOOK },
		{ "verify-last", 0, NULL, VERIFY_LAST }, { "icount", 0, NULL, ICOUNT },
		{ "plain", 0, NULL, PLAIN },	   { "end", 0, NULL, END },	    { "table", 0, NULL, TABLE },
		{ "quiet", 0, NULL, QUIET },	   { "json", 1, NULL, JSON },	    { "name", 1, NULL, NAME },
		{ "limit", 1, NULL, LIMIT },	   { }
	};
	struct options *o = &bed.o;
	int c;

	o->kernel = calloc(argc, sizeof(*o->kernel));
	while ((c = getopt_long(argc, argv, "", all, NULL)) != -1) {
		switch (c) {
		case SCENARIO: o->scenario = optarg; break;
		case IMAGES: o->images = optarg; break;
		case RUN: o->run = optarg; break;
		case BUSYBOX: o->busybox = optarg; break;
		case DISK: o->disk = optarg; break;
		case SCRATCH: o->scratch = optarg; break;
		case KERNEL: o->kernel[o->nr_kernels++] = optarg; break;
		case MEM: o->mem = atoi(optarg); break;
		case CPUS: o->cpus = atoi(optarg); break;
		case NODES: o->nodes = atoi(optarg); break;
		case SIZE: o->size = atoi(optarg); break;
		case CPU: o->cpu = optarg; break;
		case APPEND: o->append = optarg; break;
		case SWITCH_ARGS: each(o->switch_args, &o->nr_switch_args); break;
		case STAY: each(o->stay, &o->nr_stay); break;
		case HOLD_DRAIN: o->hold_drain = true; break;
		case HOOK: o->hook = optarg; break;
		case VERIFY_LAST: o->verify_last = true; break;
		case LOSE: each(o->lose, &o->nr_lose); break;
		case FAULT: each(o->fault, &o->nr_fault); break;
		case FALL: each(o->fall, &o->nr_fall); break;
		case FALLBACK: o->fallback = true; break;
		case DEAD: o->dead = optarg; break;
		case PLAIN: o->plain = true; break;
		case END: o->end = true; break;
		case ICOUNT: o->icount = true; break;
		case TABLE: o->table = true; break;
		case QUIET: o->quiet = true; break;
		case JSON: o->json = optarg; break;
		case NAME: o->name = optarg; break;
		case LIMIT: o->limit = atoi(optarg); break;
		default: exit(2);
		}
	}
	if (optind != argc || !o->scenario || !o->images || !o->run || !o->busybox || !o->nr_kernels ||
	    o->nodes < 1 || o->nodes > 8 || o->nodes > o->cpus || o->mem % o->nodes) {
		fputs("bed: see ci/scenario --help\n", stderr);
		exit(2);
	}
}

static void describe(void)
{
	struct json_object *r = bed.result, *to = json_object_new_array();

	json_object_object_add(r, "scenario", json_object_new_string(bed.o.name));
	json_object_object_add(r, "from", json_object_new_string(bed.o.kernel[0]));
	for (int i = 1; i < bed.o.nr_kernels; i++)
		json_object_array_add(to, json_object_new_string(bed.o.kernel[i]));
	json_object_object_add(r, "to", to);
	json_object_object_add(r, "mem_mb", json_object_new_int(bed.o.mem));
	json_object_object_add(r, "cpus", json_object_new_int(bed.o.cpus));
	json_object_object_add(r, "size_mb", json_object_new_int(bed.o.size));
	json_object_object_add(r, "run", json_object_new_string(bed.o.run));
}

void phase(const char *name, unsigned int seconds, struct json_object *to)
{
	struct json_object *o;
	int status;

	status = guest_run(seconds, "[ -x /scenario/%s ] || exit 99; cd /scenario; KUP_SIZE=%u KUP_MEM=%u KUP_CPUS=%u "
			   "KUP_PIDS='%s' KUP_SWITCH=%d KUP_HTTP=http://" HOST_IP ":" HTTP_PORT " ./%s",
			   name, bed.o.size, bed.o.mem, bed.o.cpus, bed.pids, bed.nr_switch, name);
	if (status == 99)
		return;
	if (status)
		bed_fail("scenario's '%s' ended with %d in the guest:\n%s", name, status, bed.out_text);
	o = guest_json();
	if (!o)
		o = json_object_new_string(bed.out_text);
	json_object_object_add(to, name, o);
}

static void load(void)
{
	struct json_object *o;

	bed_say("loading %u MB from outside", bed.o.size);
	o = client_do("load", 600);
	if (o)
		json_object_object_add(bed.result, "load", json_object_get(o));
}

static void verify(void)
{
	struct json_object *o;

	bed_say("verifying every byte from outside");
	o = client_do("verify", 900);
	if (!o)
		return;
	bed_say("verified: %s", json_object_to_json_string(o));
	json_object_object_add(bed.result, "verify", json_object_get(o));
}

/* The application ends; what memory is there then, as a plain boot would have it? */
static void end_scenario(void)
{
	struct json_object *o = json_object_new_object();
	char key[64];
	long kb;

	client_stop();
	guest_must(60, "kill%s; while kill -0%s 2>/dev/null; do sleep 0.1; done; rm -rf /boot/*; was=0; "
		   /* Freeing goes on for a while behind the back of whoever exits. */
		   "for i in $(seq 30); do echo 3 >/proc/sys/vm/drop_caches; sleep 1; "
		   "is=$(awk '/^MemFree/ { print $2 }' /proc/meminfo); [ $is -gt $((was + 256)) ] || break; was=$is; done; "
		   "cat /proc/meminfo; "
		   /* Free as well, but not in MemFree; with one CPU that may be tens of megabytes. */
		   "awk '/^ +count:/ { n += $2 } END { print \"PerCpuFree: \" n * 4 \" kB\" }' /proc/zoneinfo",
		   bed.pids, bed.pids);
	for (char *line = strtok(bed.out_text, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, "%63[^:]: %ld kB", key, &kb) == 2)
			json_object_object_add(o, key, json_object_new_int64(kb));
	json_object_object_add(bed.result, "meminfo", o);
}

/* Its `start` names what shall be kept: a line "pid N" for each process tree, "keep DIR" for each directory. */
static void start_scenario(void)
{
	size_t len = 0, dirs = 0;
	int pid, at;

	*bed.pids = *bed.keep = 0;
	phase("start", bed.o.limit, bed.result);
	for (char *line = strtok(bed.out_text, "\n"); line; line = strtok(NULL, "\n"))
		if (sscanf(line, "pid %d%n", &pid, &at) == 1 && !line[at])
			len += snprintf(bed.pids + len, sizeof(bed.pids) - len, " %d", pid);
		else if (!strncmp(line, "keep /", 6))
			dirs += snprintf(bed.keep + dirs, sizeof(bed.keep) - dirs, " --%s", line);
	if (!(len + dirs) || len >= sizeof(bed.pids) || dirs >= sizeof(bed.keep))
		bed_fail("the scenario's 'start' names nothing to keep: it prints a line 'pid N' or 'keep DIR' for each");
	client_start();
	load();
}

int main(int argc, char **argv)
{
	struct json_object *list = json_object_new_array();
	char *path;
	int tap;

	options(argc, argv);
	bed.begin = now_ns();
	bed.deadline = bed.begin + bed.o.limit * 1000000000LL;
	bed.result = json_object_new_object();
	describe();
	signal(SIGPIPE, SIG_IGN);
	if (asprintf(&path, "%s/console.log", bed.o.run) < 0 || !(bed.log = fopen(path, "we")))
		bed_fail("%s: %s", bed.o.run, strerror(errno));

	tap = net_create();
	http_start();
	bed_say("booting %s: %u MB, %u CPU(s), %s", bed.o.kernel[0], bed.o.mem, bed.o.cpus, bed.o.disk ? "from a disk" : "diskless");
	qemu_start(tap);
	guest_await(120);
	bed_say("%s is up", bed.release);
	bed.mem_total_kb = guest_mem_total_kb();

	start_scenario();
	json_object_object_add(bed.result, "switches", list);
	for (int i = 1; i < bed.o.nr_kernels; i++) {
		bool power = switch_shall_lose_power(i - 1), anew = bed.o.plain || switch_shall_lose(i - 1) || power;
		bool stays = switch_shall_stay(i - 1), faults = switch_shall_fault(i - 1);
		struct json_object *o;

		if (bed.o.dead && i == bed.o.nr_kernels - 1) {
			json_object_array_add(list, switch_dies(bed.o.kernel[i], i - 1));
			client_stop();
			finish(!bed.splats);
		}
		if (power) {
			o = switch_loses_power(bed.o.kernel[i], i - 1);
			start_scenario();
		} else if (anew) {
			client_stop();	/* before: the new kernel resets its connections as soon as it sends again, and it would end by itself */
			o = bed.o.plain ? switch_plain(bed.o.kernel[i], i - 1) : switch_loses(bed.o.kernel[i], i - 1);
			phase("arrive", bed.o.limit, o);
			start_scenario();
		} else if (stays) {
			o = switch_stays(bed.o.kernel[i], i - 1);
		} else if (faults) {
			o = switch_faults(bed.o.kernel[i], i - 1);
		} else if (switch_shall_fall(i - 1)) {
			o = switch_falls(bed.o.kernel[i], i - 1);
		} else {
			o = switch_to(bed.o.kernel[i], i - 1);
			phase("arrive", bed.o.limit, o);
		}
		json_object_array_add(list, o);
		if (!bed.o.verify_last || i == bed.o.nr_kernels - 1)
			verify();
		if (!anew && !stays && !faults) {
			switch_drained(o);
			phase("drained", 120, o);
		}
	}
	phase("check", bed.o.limit, bed.result);
	if (bed.o.nr_kernels == 1)
		verify();
	client_do("end", 30);
	if (bed.o.end)
		end_scenario();
	if (bed.splats)
		bed_fail("the console shows what must never be there");
	finish(true);
}
