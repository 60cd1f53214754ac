// SPDX-License-Identifier: GPL-2.0
/* The outside's end of the control line: see guest.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bed.h"

static void unescape(char *s)
{
	char *d = s;

	while (*s) {
		unsigned int c;

		if (*s == '%' && sscanf(s + 1, "%2x", &c) == 1) {
			*d++ = c;
			s += 3;
		} else {
			*d++ = *s++;
		}
	}
	*d = 0;
}

static void output_begin(void)
{
	if (bed.out)
		fclose(bed.out);
	free(bed.out_text);
	bed.out = open_memstream(&bed.out_text, &bed.out_len);
}

static void show(char *text)
{
	char *rest = text, *line;

	while ((line = strsep(&rest, "\n"))) {
		if (!*line)
			continue;
		fprintf(bed.log, "%10.3f > %s\n", (now_ns() - bed.begin) / 1e9, line);
		if (bed.show && !bed.o.quiet)
			fprintf(stderr, "             %s\n", line);
	}
}

void control_line(char *line)
{
	unsigned long long a, b;
	unsigned int id;
	int status, at = 0;

	if (sscanf(line, "ready %127s %llu %llu %d", bed.release, &a, &b, &bed.restore) == 4) {
		bed.ready = true;
		bed.ready_ns = now_ns();
		bed.init_tsc = a;
		bed.ready_tsc = b;
	} else if (sscanf(line, "out %u%n", &id, &at) == 1 && line[at++] == ' ' && (id == bed.run_id || !id)) {
		/* One blank: what follows may begin with another. */
		unescape(line + at);
		fputs(line + at, bed.out);
		fflush(bed.out);
		show(line + at);
	} else if (sscanf(line, "exit %u %d %llu", &id, &status, &a) == 3 && id == bed.run_id) {
		bed.exited = true;
		bed.status = status;
		bed.exit_tsc = a;
	}
}

static bool is_ready(void)
{
	return bed.ready;
}

static bool is_over(void)
{
	return bed.exited || bed.ready || bed.dead;
}

void guest_await(unsigned int seconds)
{
	if (!bed.out)
		output_begin();
	if (!bed_wait(is_ready, seconds))
		bed_fail("no kernel reported itself within %u s; its init said: %s", seconds, bed.out_text ?: "nothing");
	bed.ready = false;
}

static int run(unsigned int seconds, const char *command)
{
	char line[LINE_LEN];
	int n = snprintf(line, sizeof(line), "run %u ", ++bed.run_id);

	for (const char *p = command; *p && n < LINE_LEN - 8; p++)
		n += sprintf(line + n, *p == '\n' || *p == '%' ? "%%%02x" : "%c", *p);
	line[n++] = '\n';
	output_begin();
	bed.exited = false;
	fprintf(bed.log, "%10.3f $ %s\n", (now_ns() - bed.begin) / 1e9, command);
	if (bed.show)
		bed_say("guest# %s", command);
	if (write(bed.control.fd, line, n) != n)
		bed_fail("control line: %s", strerror(errno));
	if (!bed_wait(is_over, seconds))
		bed_fail("no end within %u s: %s\n%s", seconds, command, bed.out_text);
	fflush(bed.out);
	return bed.exited ? bed.status : -1;
}

int guest_run(unsigned int seconds, const char *fmt, ...)
{
	char command[LINE_LEN / 3];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	return run(seconds, command);
}

void guest_must(unsigned int seconds, const char *fmt, ...)
{
	char command[LINE_LEN / 3];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	status = run(seconds, command);
	if (status)
		bed_fail("in the guest: '%s' ended with %d:\n%s", command, status, bed.out_text);
}

long guest_mem_total_kb(void)
{
	guest_must(10, "sed -n 's/^MemTotal: *//p' /proc/meminfo");
	return atol(bed.out_text);
}

struct json_object *guest_json(void)
{
	for (char *p = bed.out_text ? strchr(bed.out_text, '{') : NULL; p; p = strchr(p + 1, '{')) {
		struct json_object *o = json_tokener_parse(p);

		if (o)
			return o;
	}
	return NULL;
}
