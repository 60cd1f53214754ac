// SPDX-License-Identifier: GPL-2.0
/* The result for people: one timeline for each switch, on stderr. */
#include <string.h>

#include "bed.h"

#define BAR 44

struct json_object *json_ms(double ms)
{
	char text[32];

	snprintf(text, sizeof(text), "%.1f", ms);
	return json_object_new_double_s(ms, text);
}

static double number(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_double(v) : 0;
}

static const char *string(struct json_object *o, const char *key)
{
	struct json_object *v;

	return json_object_object_get_ex(o, key, &v) ? json_object_get_string(v) : "";
}

static void row(const char *name, double at, double ms, double whole)
{
	char bar[BAR + 1];
	int from = whole > 0 ? at / whole * BAR : 0, to = whole > 0 ? (at + ms) / whole * BAR : 0;

	for (int i = 0; i < BAR; i++)
		bar[i] = i >= from && (i < to || i == from) && at >= 0 ? '#' : ' ';
	bar[BAR] = 0;
	fprintf(stderr, "  %-14s %10.1f %10.1f  |%s|\n", name, at, ms, bar);
}

static void timeline(struct json_object *report)
{
	double whole = number(report, "blackout_ms");
	struct json_object *steps;

	if (!json_object_object_get_ex(report, "steps", &steps))
		return;
	fprintf(stderr, "  %-14s %10s %10s\n", "step", "at ms", "took ms");
	for (size_t i = 0; i < json_object_array_length(steps); i++) {
		struct json_object *s = json_object_array_get_idx(steps, i);
		const char *name = string(s, "step");

		row(strcmp(name, "boot") ? name : "jump to init", number(s, "at_ms"), number(s, "ms"), whole);
	}
	row("drain", whole, number(report, "drain_ms"), 0);
}

void report_table(struct json_object *result)
{
	struct json_object *list, *verify;

	if (!json_object_object_get_ex(result, "switches", &list))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *s = json_object_array_get_idx(list, i), *report;

		fprintf(stderr, "\n%s -> %s\n", string(s, "from"), string(s, "to"));
		if (!json_object_object_get_ex(s, "report", &report))
			continue;
		timeline(report);
		fprintf(stderr, "\n  prepare             %10.1f ms, while the application runs: fetch, load, warm up\n"
				"  blackout            %10.1f ms, freeze to resume\n"
				"  client's gap        %10.1f ms without an answer\n"
				"  kept in place       %10.0f frames (%.1f MB), %.3f %% of the anonymous memory, in %.0f extents, %.0f huge pages\n"
				"  carried by CRIU     %10.0f bytes\n"
				"  copied              %10.0f pages; %.0f looked at while preserved, %.0f moved out of the window\n",
			number(s, "prepare_ms"), number(s, "blackout_ms"), number(s, "gap_ms"), number(s, "frames"), number(s, "frames") * 4096 / 1e6,
			number(s, "preserved_share") * 100, number(s, "extents"), number(s, "huge"), number(s, "criu_bytes"),
			number(s, "copied_pages"), number(s, "looked_at_pages"), number(s, "evacuated_pages"));
	}
	if (json_object_object_get_ex(result, "verify", &verify))
		fprintf(stderr, "  verified            %10.0f items, %.0f bytes identical; %.0f missing, %.0f different, %.0f evicted\n\n",
			number(verify, "items"), number(verify, "bytes"), number(verify, "missing"), number(verify, "different"),
			number(verify, "evictions"));
}
