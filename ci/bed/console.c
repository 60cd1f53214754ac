// SPDX-License-Identifier: GPL-2.0
/* The console: kept in run/console.log with the outside's clock, and looked through for what must never be there. */
#include <string.h>

#include "bed.h"

static const char *const bad[] = {
	"Oops", "BUG:", "BUG at", "kernel BUG", "WARNING:", "Bad page", "Bad rss", "bad: ", "Kernel panic", "Call Trace",
	"general protection", "unable to handle", "invalid opcode", "traps:", "segfault", "leak", " stall", "lockup", "LOCKUP",
	"blocked for more than", "KASAN", "UBSAN", "KCSAN", "corrupt", "refcount_t", "scheduling while atomic",
	"page allocation failure", "Out of memory", "oom-kill", "nobody cared", "still has locks", "possible recursive",
	"suspicious RCU", "soft-lockup",
};

/* What a healthy boot of these kernels says. */
static const char *const harmless[] = {
	"RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable",	/* of a CPU model, not of the kernel's state */
	"Check for corrupted low memory",
	"Scanning for low memory corruption",
	"Scan for memory corruption",
	"Corrupted low memory scan",
};

#define TAIL 40
static char tail[TAIL][512];
static unsigned int tail_at;

static bool any_of(const char *line, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strstr(line, list[i]))
			return true;
	return false;
}

void console_line(char *line)
{
	fprintf(bed.log, "%10.3f %s\n", (now_ns() - bed.begin) / 1e9, line);
	snprintf(tail[tail_at++ % TAIL], sizeof(tail[0]), "%s", line);
	if (strstr(line, "Linux version ")) {
		bed.dying = false;
		bed.boots++;
	}
	if (bed.deadly && strstr(line, "Kernel panic - not syncing: ") && strstr(line, bed.deadly)) {
		if (strstr(line, "---[ end"))
			bed.dead = true;
		else
			bed.panics++;
		bed.dying = true;
	}
	if (bed.dying)
		return;
	if (!any_of(line, bad, sizeof(bad) / sizeof(*bad)) || any_of(line, harmless, sizeof(harmless) / sizeof(*harmless)))
		return;
	if (bed.splats++ < 10) {
		bed_say("console: %s", line);
		struct json_object *list;

		if (!json_object_object_get_ex(bed.result, "splats", &list)) {
			list = json_object_new_array();
			json_object_object_add(bed.result, "splats", list);
		}
		json_object_array_add(list, json_object_new_string(line));
	}
}

void console_tail(FILE *to)
{
	for (unsigned int i = tail_at > TAIL ? tail_at - TAIL : 0; i < tail_at; i++)
		fprintf(to, "    %s\n", tail[i % TAIL]);
}
