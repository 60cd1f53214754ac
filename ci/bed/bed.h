/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The bed: one guest under QEMU in a network namespace of this process's own, watched from outside.
 *
 * One thread, one loop: bed_wait() serves console, control line and client until its condition holds. Everything that
 * fails ends in bed_fail(), which reports and exits; children die with this process, the namespace with the last of them.
 */
#ifndef KUP_BED_H
#define KUP_BED_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "../guest/guest.h"

#define MAX_EACH 64

struct options {
	const char *scenario;	/* folder */
	const char *images;	/* VERSION/{vmlinuz,initrd}; served to the guest */
	const char *run;	/* where logs go */
	const char *busybox;
	const char *scratch;	/* an image of a disk that the guest may write to */
	const char *disk;	/* an image with the root file system, never written to; kernels and their initramfs are in it, too */
	char **kernel;		/* the first, then one for each switch */
	int nr_kernels;
	unsigned int mem, cpus, nodes, size;	/* MiB, count, of NUMA, MiB of payload */
	const char *cpu;
	const char *append;	/* for the first kernel's command line */
	/* Of the first, second, ... switch; the last one given counts for all that follow. */
	const char *switch_args[MAX_EACH];	/* more arguments for kup-ppp switch */
	const char *stay[MAX_EACH];	/* the switch must end in the old kernel, saying this; empty: it must not */
	const char *lose[MAX_EACH];	/* the switch must arrive, and the restore there refuse, saying this; empty: it must not */
	const char *fault[MAX_EACH];	/* KUP_FAULT of the switch, or of the restore in the new kernel; empty: none */
	/* FAULT=TEXT: the new kernel has kup_bed.fault=FAULT and must fall back for a reason that has TEXT; empty: it must not */
	const char *fall[MAX_EACH];
	int nr_switch_args, nr_stay, nr_lose, nr_fault, nr_fall;
	bool fallback;		/* the old kernel is kept */
	const char *dead;	/* the last switch must end in a panic that says this, and nothing after it */
	const char *hook;	/* of the new kernel, in place of the default */
	bool hold_drain;	/* the new kernel binds on faults only, until told otherwise */
	bool verify_last;	/* not after every switch */
	bool plain;		/* kexec without kup-ppp: nothing is kept, the scenario starts anew */
	bool icount;		/* the guest's clock counts instructions */
	bool end;		/* at the end the application is stopped and memory accounted for */
	bool table;		/* a table for people at the end */
	bool quiet;
	const char *json;	/* a copy of the result here */
	const char *name;	/* of the result */
	unsigned int limit;	/* seconds for the whole run */
};

/* A line from a pipe or socket at a time. */
struct lines {
	int fd;
	size_t len;
	char buf[64 << 10];
	void (*line)(char *line);
};

struct bed {
	struct options o;
	pid_t qemu;
	struct lines console, control, client;
	FILE *log;		/* of the console */
	int to_client;
	int64_t begin, deadline;	/* monotonic ns */
	struct json_object *result;
	unsigned int splats;
	const char *deadly;	/* a panic that says this is no fault */
	bool dying, dead;	/* it came; and the kernel has stopped */
	unsigned int panics, boots;	/* such panics, and kernels that began */
	long mem_total_kb;	/* at the first boot */
	char pids[1024];		/* to keep, with blanks */
	char keep[256];		/* and directories, as arguments */
	int nr_switch;		/* of the last one that was begun, from 1 */

	/* control.c: what the guest said last */
	bool ready;
	int64_t ready_ns;
	char release[128];
	uint64_t init_tsc, ready_tsc;
	int restore;
	unsigned int run_id;
	bool exited;
	int status;
	uint64_t exit_tsc;
	bool show;		/* commands and their output on stderr */
	FILE *out;		/* of the running command, or of the guest's init if none runs */
	char *out_text;
	size_t out_len;
	struct json_object *answer;	/* client.c: the client's last */
};

extern struct bed bed;

/* main.c */
void bed_fail(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* A script of the scenario in the guest; if it has it, its result goes into @to. */
void phase(const char *name, unsigned int seconds, struct json_object *to);
void bed_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* loop.c */
int64_t now_ns(void);
/* Serves everything until @done; false after @seconds. Fails the run if QEMU ends or the whole run's time is over. */
bool bed_wait(bool (*done)(void), unsigned int seconds);
bool lines_read(struct lines *l);	/* false at end of file */

/* net.c: a namespace with a tap named tap0; returns the tap for QEMU */
int net_create(void);

/* process.c */
pid_t spawn(char *const argv[], int in, int out, int err);	/* dies with this process; -1: /dev/null */
void http_start(void);

/* qemu.c */
void qemu_start(int tap);
void qemu_check(void);

/* console.c */
void console_line(char *line);
void console_tail(FILE *to);

/* control.c */
void control_line(char *line);
void guest_await(unsigned int seconds);		/* a kernel that reports itself */
/* Runs @fmt in the guest; returns its exit status, output in bed.out_text. -1: it was cut off by a new kernel. */
int guest_run(unsigned int seconds, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
long guest_mem_total_kb(void);
void guest_must(unsigned int seconds, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct json_object *guest_json(void);	/* the last JSON object in bed.out_text, or NULL; the caller's to put */

/* client.c */
void client_start(void);
void client_stop(void);
void client_pause(void);	/* it does and notices nothing any more, its connections stay */
void client_line(char *line);
struct json_object *client_do(const char *phase, unsigned int seconds);	/* NULL without a client; borrowed */

/* switch.c: switch number @nr, from 0, to @version; each returns what is known of the switch, for the result */
struct json_object *switch_to(const char *version, int nr);
struct json_object *switch_stays(const char *version, int nr);
bool switch_shall_stay(int nr);
struct json_object *switch_loses(const char *version, int nr);
bool switch_shall_lose(int nr);
struct json_object *switch_faults(const char *version, int nr);
bool switch_shall_fault(int nr);	/* on the old side */
bool fault_is_module(const char *fault);	/* a kernel refuses to load the module */
bool fault_is_power(const char *fault);	/* the guest is reset by it */
struct json_object *switch_loses_power(const char *version, int nr);
bool switch_shall_lose_power(int nr);
struct json_object *switch_falls(const char *version, int nr);
bool switch_shall_fall(int nr);
struct json_object *switch_dies(const char *version, int nr);
struct json_object *switch_plain(const char *version, int nr);
void switch_drained(struct json_object *o);	/* waits until nothing is unbound, and adds what that took */

/* report.c */
void report_table(struct json_object *result);

struct json_object *json_ms(double ms);	/* a number with one decimal */

/* tsc.c */
double tsc_ms(uint64_t from, uint64_t to);
unsigned int tsc_khz(void);

#endif
