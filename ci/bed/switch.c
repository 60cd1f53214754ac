// SPDX-License-Identifier: GPL-2.0
/* One switch, as a person would type it into the guest. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bed.h"

static void add_ms(struct json_object *o, const char *key, double ms)
{
	json_object_object_add(o, key, json_ms(ms));
}

static struct json_object *begin(const char *version, int nr)
{
	struct json_object *o = json_object_new_object();

	bed.nr_switch = nr + 1;
	json_object_object_add(o, "from", json_object_new_string(bed.release));
	json_object_object_add(o, "to", json_object_new_string(version));
	bed_say("%s -> %s", bed.release, version);
	return o;
}

/* The guest is diskless: kernel and initramfs come over the network, before anything is frozen. */
static void fetch(const char *version)
{
	if (bed.o.disk)
		return;
	guest_must(120, "rm -f /boot/*; for f in vmlinuz initrd; do wget -q -O /boot/$f-%s http://" HOST_IP ":" HTTP_PORT
		   "/%s/$f || exit 1; done", version, version);
	/* And what runs, where a system has it as a rule. */
	if (bed.o.fallback)
		guest_must(120, "u=http://" HOST_IP ":" HTTP_PORT "/%s; wget -q -O /boot/vmlinuz-%s $u/vmlinuz && "
			   "wget -q -O /boot/initrd.img-%s $u/initrd", bed.release, bed.release, bed.release);
}

static void arrived(const char *version)
{
	bed.ready = false;
	if (strcmp(bed.release, version))
		bed_fail("%s reports itself instead of %s", bed.release, version);
	if (bed.restore < 0 && !bed.o.plain)
		bed_fail("%s was not switched to: the guest has reset itself", version);
}

static const char *of(const char *const *list, int nr_list, int nr)
{
	return !nr_list ? "" : list[nr < nr_list ? nr : nr_list - 1];
}

/* Faults of the bed itself: "module:old", in the kernel that is left; "module:" and anything else, in the new one. */
#define MODULE_OLD	"module:old"
#define NO_HOOK		"none"	/* of the module's parameter hook: it says so, and does not load */

bool fault_is_module(const char *fault)
{
	return !strncmp(fault, "module:", 7);
}

/* Of the switch that is under way. What init does not know of its command line stands in its environment, and the restore's. */
static const char *arguments(const char *version)
{
	const char *fault = of(bed.o.fault, bed.o.nr_fault, bed.nr_switch - 1), *hook = bed.o.hook, *fall = of(bed.o.fall, bed.o.nr_fall, bed.nr_switch - 1);
	static char text[512];

	if (fault_is_module(fault)) {
		hook = strcmp(fault, MODULE_OLD) ? NO_HOOK : NULL;
		fault = "";
	}
	snprintf(text, sizeof(text), "--kernel /boot/vmlinuz-%s%s%s%s%s%s%s%s%s%s%.*s", version,
		 bed.o.disk ? "" : " --initrd /boot/initrd-", bed.o.disk ? "" : version,
		 bed.o.hold_drain ? " --append kup_bed.hold_drain" : "", hook ? " --append kup_bed.hook=" : "", hook ?: "",
		 bed.o.nr_fault ? " --append KUP_FAULT=" : "", fault, bed.o.fallback ? " --fallback" : "",
		 *fall ? " --append kup_bed.fault=" : "", (int)strcspn(fall, "="), fall);
	return text;
}

static void load_module(void)
{
	if (guest_run(10, "[ -e /dev/kup_ppp ]"))
		guest_must(60, bed.o.disk ? "modprobe kup_ppp" : "insmod kup_ppp.ko");
}

static void prepare(const char *version)
{
	fetch(version);
	bed.show = true;
	load_module();
	guest_must(300, "kup-ppp prepare %s", arguments(version));
	bed.show = false;
}

bool switch_shall_stay(int nr)
{
	return *of(bed.o.stay, bed.o.nr_stay, nr);
}

static int do_switch(const char *version, int nr, struct json_object *o)
{
	int status;

	phase("depart", 60, o);
	bed.show = true;
	status = guest_run(300, "kup-ppp switch %s %s%s%s", arguments(version), of(bed.o.switch_args, bed.o.nr_switch_args, nr), bed.keep, bed.pids);
	bed.show = false;
	return status;
}

static void client_result(struct json_object *o)
{
	struct json_object *answer = client_do("arrive", bed.o.limit), *v;

	if (answer && json_object_object_get_ex(answer, "gap_ms", &v))
		json_object_object_add(o, "gap_ms", json_object_get(v));
}

static void copy(struct json_object *to, const char *as, struct json_object *from, const char *key)
{
	struct json_object *v;

	if (json_object_object_get_ex(from, key, &v))
		json_object_object_add(to, as, json_object_get(v));
}

/* The report has it all; what a run is judged by stands beside it. */
static void summarize(struct json_object *o, struct json_object *report)
{
	struct json_object *trees, *tasks;
	int64_t kept = 0, left = 0;

	copy(o, "blackout_ms", report, "blackout_ms");
	copy(o, "frames", report, "frames");
	copy(o, "huge", report, "huge");
	copy(o, "extents", report, "extents");
	copy(o, "criu_bytes", report, "image_bytes");
	copy(o, "looked_at_pages", report, "faulted_back");
	copy(o, "copied_pages", report, "shown_pages");
	copy(o, "image_pages", report, "image_pages");
	copy(o, "evacuated_pages", report, "evacuated_pages");
	if (!json_object_object_get_ex(report, "trees", &trees))
		return;
	for (size_t i = 0; i < json_object_array_length(trees); i++) {
		if (!json_object_object_get_ex(json_object_array_get_idx(trees, i), "tasks", &tasks))
			continue;
		for (size_t j = 0; j < json_object_array_length(tasks); j++) {
			struct json_object *t = json_object_array_get_idx(tasks, j);

			kept += json_object_get_int64(json_object_object_get(t, "pages"));
			left += json_object_get_int64(json_object_object_get(t, "left"));
		}
	}
	json_object_object_add(o, "left_pages", json_object_new_int64(left));
	json_object_object_add(o, "anon_pages", json_object_new_int64(kept + left));
	json_object_object_add(o, "preserved_share", json_object_new_double(kept + left ? (double)kept / (kept + left) : 0));
}

/* The fault struck the restore; the next one goes on where that ended. What struck at the adoption, init has tried again. */
static void restore_again(struct json_object *o, const char *fault)
{
	if (!bed.restore && !strstr(bed.out_text, "as asked for") && !strstr(bed.out_text, "Killed"))
		bed_fail("the fault %s did not strike:\n%s", fault, bed.out_text);
	json_object_object_add(o, "fault", json_object_new_string(fault));
	json_object_object_add(o, "exit", json_object_new_int(bed.restore));
	json_object_object_add(o, "said", json_object_new_string(bed.out_text));
	if (bed.restore)
		guest_must(120, "KUP_FAULT= kup-ppp restore");
}

/* The module does not load in the new kernel, and nothing there falls back. The memory waits until it does. */
static void restore_with_module(struct json_object *o, const char *fault)
{
	int status = guest_run(60, "kup-ppp restore");

	if (!bed.restore || !status || !strstr(bed.out_text, "isn't loaded") || !strstr(bed.out_text, "still kept"))
		bed_fail("a restore without the module ended with %d:\n%s", status, bed.out_text);
	json_object_object_add(o, "fault", json_object_new_string(fault));
	json_object_object_add(o, "exit", json_object_new_int(status));
	json_object_object_add(o, "said", json_object_new_string(bed.out_text));
	guest_must(120, "insmod kup_ppp.ko && kup-ppp restore --adopt && ifconfig lo up && ifconfig eth0 " GUEST_IP " netmask " NETMASK " up && "
		   "kup-ppp restore");
}

/* What kup-ppp said, and all that CRIU has to say: the first error of its log is not always the cause. */
static void restore_failed(void)
{
	char *said = strdup(bed.out_text ?: "");
	int status = bed.restore;

	guest_run(10, "grep -h 'Error (' /run/kup-ppp/log/restore-*.log | tail -20");
	bed_fail("restore in the new kernel ended with %d:\n%s\n%s", status, said, bed.out_text);
}

struct json_object *switch_to(const char *version, int nr)
{
	struct json_object *o = begin(version, nr), *report;
	int64_t started = now_ns();
	int status;

	prepare(version);
	add_ms(o, "prepare_ms", (now_ns() - started) / 1e6);
	client_do("hold", 30);
	status = do_switch(version, nr, o);
	if (status != -1)
		bed_fail("kup-ppp switch ended with %d instead of switching", status);
	arrived(version);
	bed_say("%s is up, %.0f ms after its first instruction of init", bed.release, tsc_ms(bed.init_tsc, bed.ready_tsc));
	if (fault_is_module(of(bed.o.fault, bed.o.nr_fault, nr)))
		restore_with_module(o, of(bed.o.fault, bed.o.nr_fault, nr));
	else if (*of(bed.o.fault, bed.o.nr_fault, nr))
		restore_again(o, of(bed.o.fault, bed.o.nr_fault, nr));
	else if (bed.restore)
		restore_failed();
	client_result(o);
	if (guest_run(30, "cat /run/kup-ppp/report.json") == 0 && (report = guest_json()))
		json_object_object_add(o, "report", report);
	else
		bed_fail("the new kernel has no report of the switch:\n%s", bed.out_text);
	summarize(o, report);
	return o;
}

void switch_drained(struct json_object *o)
{
	struct json_object *status, *v;

	guest_must(120, "kup-ppp drain wait && kup-ppp status --json");
	status = guest_json();
	if (!status || !json_object_object_get_ex(status, "state", &v) || strcmp(json_object_get_string(v), "idle"))
		bed_fail("not idle after the drain: %s", bed.out_text);
	copy(o, "report", status, "report");
	json_object_object_del(status, "report");
	json_object_object_add(o, "status", status);
}

/* The switch is refused, fails, or stops where it was told to: the application goes on in the old kernel. */
struct json_object *switch_stays(const char *version, int nr)
{
	struct json_object *o = begin(version, nr);
	int status;

	prepare(version);
	client_do("hold", 30);
	status = do_switch(version, nr, o);
	if (status == -1)
		bed_fail("the switch should have stopped, but a new kernel came up");
	if (!strstr(bed.out_text, of(bed.o.stay, bed.o.nr_stay, nr)))
		bed_fail("the switch ended with %d, but did not say '%s':\n%s", status, of(bed.o.stay, bed.o.nr_stay, nr), bed.out_text);
	json_object_object_add(o, "status", json_object_new_int(status));
	json_object_object_add(o, "said", json_object_new_string(bed.out_text));
	client_result(o);
	return o;
}

bool switch_shall_fault(int nr)
{
	const char *fault = of(bed.o.fault, bed.o.nr_fault, nr);

	if (fault_is_module(fault))
		return !strcmp(fault, MODULE_OLD);
	return *fault && !guest_run(10, "kup-ppp faults | grep -q '^%s  *switch '", fault);
}

static int switch_with_fault(const char *version, int nr, const char *fault)
{
	int status;

	bed.show = true;
	status = guest_run(300, "KUP_FAULT=%s kup-ppp switch %s %s%s%s", fault_is_module(fault) ? "" : fault, arguments(version),
			   of(bed.o.switch_args, bed.o.nr_switch_args, nr), bed.keep, bed.pids);
	bed.show = false;
	return status;
}

/* A fault strikes the switch; the application goes on in the old kernel, and nobody helps. */
struct json_object *switch_faults(const char *version, int nr)
{
	struct json_object *o = begin(version, nr);
	const char *fault = of(bed.o.fault, bed.o.nr_fault, nr);
	int status;

	fetch(version);
	if (fault_is_module(fault))
		guest_must(60, "[ ! -e /dev/kup_ppp ] || rmmod kup_ppp; ! insmod kup_ppp.ko hook=" NO_HOOK);
	else
		load_module();
	client_do("hold", 30);
	if (fault_is_module(fault) && (!guest_run(60, "kup-ppp check %s%s%s", arguments(version), bed.keep, bed.pids) || !strstr(bed.out_text, "isn't loaded")))
		bed_fail("kup-ppp check does not tell that there is no module:\n%s", bed.out_text);
	status = switch_with_fault(version, nr, fault);
	if (status <= 0)
		bed_fail("the switch ended with %d, in spite of the fault %s", status, fault);
	json_object_object_add(o, "fault", json_object_new_string(fault));
	json_object_object_add(o, "exit", json_object_new_int(status));
	json_object_object_add(o, "said", json_object_new_string(bed.out_text));
	/* Of a command that was killed the guard is left: a `kup-ppp switch` as well until it becomes an `abort`. */
	guest_must(60, "while ps | grep -q '[k]up-ppp \\(switch\\|abort\\)'; do sleep 0.1; done; kup-ppp --json status; "
		   "[ ! -e /run/kup-ppp/switch.json ]");
	client_result(o);
	return o;
}

bool fault_is_power(const char *fault)
{
	const char *kind = strrchr(fault, ':');

	return kind && !strcmp(kind, ":power");
}

bool switch_shall_lose_power(int nr)
{
	return fault_is_power(of(bed.o.fault, bed.o.nr_fault, nr));
}

/* Nothing of the life before the reset, although all of it may still be in RAM. */
static void boot_is_clean(struct json_object *o)
{
	static const char *const as_booted[][2] = {
		{ "state", "idle" }, { "stub", "stub has not run" }, { "refused", NULL }, { "fallback", "none" }, { "network_closed", "false" },
		{ "window_size", "0" }, { "area", "0" }, { "store_size", "0" }, { "preserved_pages", "0" }, { "unbound_pages", "0" },
		{ "kexec_loaded", "false" }, { "prepared", NULL }, { "report", NULL },
	};
	struct json_object *status, *v;
	long kb = guest_mem_total_kb();

	json_object_object_add(o, "mem_total_kb", json_object_new_int64(kb));
	/* KASLR decides how many page tables the kernel needs for itself. */
	if (labs(kb - bed.mem_total_kb) > 256)
		bed_fail("after the reset there are %ld kB of memory, at the first boot there were %ld kB", kb, bed.mem_total_kb);
	guest_must(30, "ls -A /run/kup-ppp 2>/dev/null; kup-ppp restore");
	if (strcmp(bed.out_text, "nothing to restore: this boot was no switch\n"))
		bed_fail("after the reset there is something of the last life: %s", bed.out_text);
	json_object_object_add(o, "boot", json_object_new_string(bed.out_text));
	load_module();
	guest_must(30, "kup-ppp --json status");
	status = guest_json();
	for (size_t i = 0; i < sizeof(as_booted) / sizeof(*as_booted); i++) {
		const char *key = as_booted[i][0], *want = as_booted[i][1], *is;

		if (!json_object_object_get_ex(status, key, &v))
			bed_fail("the status has no %s:\n%s", key, bed.out_text);
		is = json_object_get_string(v);
		if (want ? !is || strcmp(is, want) : !!is)
			bed_fail("after the reset %s is not as booted:\n%s", key, bed.out_text);
	}
	json_object_put(status);
}

/* Not even who is told where the last life's handover was, as by a boot loader that keeps its command line, gets it, if RAM has it still. */
static void adopts_nothing(struct json_object *o, const char *area)
{
	if (!guest_run(30, "echo kup_ppp.area=%s >/tmp/cmdline; mount --bind /tmp/cmdline /proc/cmdline; kup-ppp restore --adopt; r=$?; "
			   "umount /proc/cmdline; rm -r /tmp/cmdline /run/kup-ppp; exit $r", area) ||
	    !strstr(bed.out_text, "adopting the handover at"))
		bed_fail("the handover of the last life was not refused:\n%s", bed.out_text);
	json_object_object_add(o, "stale", json_object_new_string(bed.out_text));
	guest_must(30, "rmmod kup_ppp");	/* with what it says of that */
}

/* The guest is reset, in the old kernel or in the new one. It boots the first one again, with what was in RAM. */
struct json_object *switch_loses_power(const char *version, int nr)
{
	struct json_object *o = begin(version, nr);
	const char *fault = of(bed.o.fault, bed.o.nr_fault, nr);
	unsigned int kernels = switch_shall_fault(nr) ? 1 : 2;
	char area[32] = "", *p;
	int status;

	/* A fault in what `prepare` does has to find it to be done. */
	if (kernels == 2 || strstr(fault, ":seal:")) {
		prepare(version);
		p = strstr(bed.out_text, "handover ");
		if (!p || sscanf(p, "handover %31s", area) != 1)
			bed_fail("kup-ppp prepare does not say where the handover is");
	} else {
		fetch(version);
		load_module();
	}
	client_do("hold", 30);
	client_pause();
	bed.boots = 0;
	status = switch_with_fault(version, nr, fault);
	if (status != -1 || bed.restore != -1 || bed.boots != kernels || strcmp(bed.release, bed.o.kernel[0]))
		bed_fail("the fault %s did not strike: status %d, %u kernels, the last of them %s", fault, status, bed.boots, bed.release);
	bed.ready = false;
	json_object_object_add(o, "fault", json_object_new_string(fault));
	json_object_object_add(o, "said", json_object_new_string(bed.out_text));
	json_object_object_add(o, "kernel", json_object_new_string(bed.release));
	boot_is_clean(o);
	if (*area)
		adopts_nothing(o, area);
	bed_say("lost power, and %s booted clean", bed.release);
	client_stop();
	return o;
}

bool switch_shall_lose(int nr)
{
	return *of(bed.o.lose, bed.o.nr_lose, nr);
}

/* It arrives, but what was handed over is refused there: the kernel is as if booted anew, the application is gone. */
struct json_object *switch_loses(const char *version, int nr)
{
	struct json_object *o = begin(version, nr);
	int status;

	prepare(version);
	status = do_switch(version, nr, o);
	if (status != -1)
		bed_fail("kup-ppp switch ended with %d instead of switching", status);
	arrived(version);
	if (!bed.restore || !strstr(bed.out_text, of(bed.o.lose, bed.o.nr_lose, nr)))
		bed_fail("restore in the new kernel ended with %d, but did not say '%s':\n%s", bed.restore,
			 of(bed.o.lose, bed.o.nr_lose, nr), bed.out_text);
	json_object_object_add(o, "restore", json_object_new_int(bed.restore));
	json_object_object_add(o, "said", json_object_new_string(bed.out_text));
	return o;
}

bool switch_shall_fall(int nr)
{
	return *of(bed.o.fall, bed.o.nr_fall, nr);
}

/* The new kernel fails, and the old one restores the application: its report and its status say so. */
struct json_object *switch_falls(const char *version, int nr)
{
	struct json_object *o = begin(version, nr), *report, *v;
	const char *why = strchr(of(bed.o.fall, bed.o.nr_fall, nr), '='), *fault = of(bed.o.fault, bed.o.nr_fault, nr);
	char old[sizeof(bed.release)];

	why = why ? why + 1 : "";
	strcpy(old, bed.release);
	prepare(version);
	client_do("hold", 30);
	bed.deadly = why;
	bed.panics = 0;
	if (do_switch(version, nr, o) != -1 || !bed.ready)
		bed_fail("the kernel should have fallen back, but the switch ended, or the kernel stopped");
	/* A restore that was killed, or has no module, tells nobody: that kernel takes itself for ready, until its time is over. */
	if (*fault && !strcmp(bed.release, version) && strcmp(version, old)) {
		bed.ready = false;
		guest_await(240);
	}
	arrived(old);
	bed.deadly = NULL;
	if (bed.restore || bed.panics != 1)
		bed_fail("%u panics that say '%s'; the restore after it ended with %d:\n%s", bed.panics, why, bed.restore, bed.out_text);
	client_result(o);
	if (*fault)
		json_object_object_add(o, "fault", json_object_new_string(fault));
	if (guest_run(30, "cat /run/kup-ppp/report.json") || !(report = guest_json()) ||
	    !json_object_object_get_ex(report, "fallback", &v))
		bed_fail("the report does not tell of a fallback:\n%s", bed.out_text);
	json_object_object_add(o, "report", report);
	summarize(o, report);
	guest_must(30, "kup-ppp status");
	if (!strstr(bed.out_text, "running after a fallback from ") || !strstr(bed.out_text, why))
		bed_fail("the status does not tell of a fallback because of '%s':\n%s", why, bed.out_text);
	bed_say("fell back to %s: %s", bed.release, json_object_to_json_string(v));
	return o;
}

static bool is_dead(void)
{
	return bed.dead;
}

static bool never(void)
{
	return false;
}

/* There is a panic without a way back: maybe after the new kernel has arrived, maybe it never does. */
struct json_object *switch_dies(const char *version, int nr)
{
	struct json_object *o = begin(version, nr);

	prepare(version);
	bed.deadly = bed.o.dead;
	bed.panics = bed.boots = 0;
	if (do_switch(version, nr, o) != -1)
		bed_fail("kup-ppp switch ended instead of switching");
	if (bed.ready) {
		arrived(version);
		guest_must(30, "kup-ppp status");
		json_object_object_add(o, "said", json_object_new_string(bed.out_text));
		guest_run(10, "echo c >/proc/sysrq-trigger; sleep 10");
	}
	if (!bed_wait(is_dead, 60))
		bed_fail("no kernel stopped by a panic that says '%s'", bed.o.dead);
	bed_wait(never, 10);
	json_object_object_add(o, "panics", json_object_new_int(bed.panics));
	json_object_object_add(o, "boots", json_object_new_int(bed.boots));
	return o;
}

struct json_object *switch_plain(const char *version, int nr)
{
	struct json_object *o = begin(version, nr);
	uint64_t jump;

	fetch(version);
	guest_must(60, "kexec -l /boot/vmlinuz-%s --initrd=/boot/initrd-%s --command-line=console=ttyS0", version, version);
	guest_must(10, ":");
	jump = bed.exit_tsc;
	if (guest_run(120, "kexec -e") != -1)
		bed_fail("plain kexec: %s", bed.out_text);
	arrived(version);
	add_ms(o, "jump_to_init_ms", tsc_ms(jump, bed.init_tsc));
	bed_say("jump to init: %.0f ms", tsc_ms(jump, bed.init_tsc));
	return o;
}
