// SPDX-License-Identifier: GPL-2.0
/*
 * bench_table BENCH.json BENCH.svg: the results for people: a table on stdout, and a picture.
 *
 * Each row is a bar, of how much of its goal it takes: the line down the middle is the goal, a bar that ends before it is
 * within. So rows of any unit and size stand beside one another. Bars are cut at twice the goal.
 */
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define WIDTH	1560
#define LEFT	400	/* of the bars */
#define GOAL	170	/* width of a bar that just takes its goal */
#define MOST	1.75	/* where bars are cut */
#define RIGHT	(LEFT + (int)(GOAL * MOST) + 24)
#define TOP	96
#define STEP	46

struct row {
	const char *what, *against, *unit, *sign, *method, *group;
	double value, base, ratio, least, most, goal;
	int64_t repetitions;
	bool met, has_base;
};

static double number(struct json_object *o, const char *key)
{
	return json_object_get_double(json_object_object_get(o, key));
}

static const char *string(struct json_object *o, const char *key)
{
	const char *s = json_object_get_string(json_object_object_get(o, key));

	return s ? s : "";
}

static struct row row_of(struct json_object *o)
{
	return (struct row){
		.what = string(o, "what"), .against = string(o, "against"), .unit = string(o, "unit"), .sign = string(o, "sign"),
		.method = string(o, "method"), .group = string(o, "row"), .value = number(o, "value"), .base = number(o, "base"),
		.ratio = number(o, "ratio"), .least = number(o, "least"), .most = number(o, "most"), .goal = number(o, "goal"),
		.repetitions = json_object_get_int64(json_object_object_get(o, "repetitions")),
		.met = json_object_get_boolean(json_object_object_get(o, "met")), .has_base = json_object_object_get(o, "base"),
	};
}

/* How much of the goal @ratio takes: less is better whichever way the goal points. */
static double part(const struct row *r, double ratio)
{
	double p = *r->sign == '<' ? ratio / r->goal : r->goal / ratio;

	return p < MOST ? p : MOST;
}

/* With as many digits as tell something, and with a unit that people read. */
static const char *amount(char *to, size_t size, double v, const char *unit)
{
	if (!strcmp(unit, "ns") && v >= 1e9)
		snprintf(to, size, "%.2f s", v / 1e9);
	else if (!strcmp(unit, "ns") && v >= 1e6)
		snprintf(to, size, "%.1f ms", v / 1e6);
	else if (!strcmp(unit, "bytes") && v >= 1e6)
		snprintf(to, size, "%.1f MB", v / 1e6);
	else if (!strcmp(unit, "bytes") && v >= 1e3)
		snprintf(to, size, "%.1f kB", v / 1e3);
	else
		snprintf(to, size, v >= 10000 ? "%.0f%s%s" : "%.4g%s%s", v, *unit ? " " : "", unit);
	return to;
}

static void escaped(FILE *f, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<': fputs("&lt;", f); break;
		case '>': fputs("&gt;", f); break;
		case '&': fputs("&amp;", f); break;
		default: putc(*s, f);
		}
	}
}

static void text(FILE *f, double x, double y, const char *class, const char *s)
{
	fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
	escaped(f, s);
	fputs("</text>\n", f);
}

static void draw_row(FILE *f, const struct row *r, int y)
{
	double bar = part(r, r->ratio) * GOAL, a = part(r, r->least) * GOAL, b = part(r, r->most) * GOAL;
	char line[512], value[32], base[32], ratio[32], goal[32], least[32], most[32];
	const char *unit = r->has_base ? "" : r->unit;

	if (a > b) {
		double t = a;

		a = b;
		b = t;
	}
	text(f, 24, y + 13, "what", r->what);
	snprintf(line, sizeof(line), "against %s", r->against);
	text(f, 24, y + 29, "small", line);
	fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"18\" rx=\"2\" class=\"%s\"><title>", LEFT, y + 4, bar > 1.5 ? bar : 1.5,
		r->met ? "met" : "missed");
	escaped(f, r->method);
	fputs("</title></rect>\n", f);
	if (part(r, r->ratio) >= MOST)
		text(f, LEFT + bar + 3, y + 18, "missed", "»");
	fprintf(f, "<path d=\"M%.1f %dH%.1fM%.1f %dv8M%.1f %dv8\" class=\"spread\"/>\n", LEFT + a, y + 13, LEFT + b, LEFT + a, y + 9, LEFT + b, y + 9);

	amount(ratio, sizeof(ratio), r->ratio, unit);
	amount(goal, sizeof(goal), r->goal, unit);
	amount(least, sizeof(least), r->least, unit);
	amount(most, sizeof(most), r->most, unit);
	text(f, RIGHT, y + 14, r->met ? "figure good" : "figure bad", ratio);
	snprintf(line, sizeof(line), "goal %s %s", *r->sign == '<' ? "≤" : "≥", goal);
	text(f, RIGHT + 116, y + 14, "goal", line);
	if (r->has_base)
		snprintf(line, sizeof(line), "%s against %s", amount(value, sizeof(value), r->value, r->unit), amount(base, sizeof(base), r->base, r->unit));
	else
		*line = 0;
	text(f, RIGHT + 250, y + 14, "goal", line);
	snprintf(line, sizeof(line), "%s … %s", least, most);
	if (r->repetitions < 2)
		snprintf(line, sizeof(line), "counted once");
	text(f, RIGHT, y + 29, "small", line);
	snprintf(line, sizeof(line), "%.128s%s", r->method, strlen(r->method) > 128 ? "…" : "");
	text(f, RIGHT + 150, y + 29, "small", line);
}

static bool draw(const char *path, const struct row *row, size_t nr, size_t met, struct json_object *all)
{
	struct json_object *failed = json_object_object_get(all, "failed");
	size_t nr_failed = json_object_array_length(failed);
	int height = TOP + (int)(nr + nr_failed) * STEP + 30;
	FILE *f = fopen(path, "we");
	char line[512];

	if (!f)
		return false;
	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" height=\"%d\" font-family=\"system-ui, sans-serif\">\n"
		   "<style>.what{font-size:14px;fill:#1d2733}.small{font-size:11px;fill:#6b7683}.goal{font-size:12px;fill:#3d4956}"
		   ".figure{font-size:15px;font-weight:600}.good{fill:#12715b}.bad{fill:#b3401f}.met{fill:#2a9d80}.missed{fill:#dd6b42}"
		   ".spread{stroke:#1d2733;stroke-width:1.2;fill:none}.line{stroke:#1d2733;stroke-width:1.2;stroke-dasharray:4 3}"
		   ".title{font-size:20px;font-weight:600;fill:#1d2733}.band{fill:#f4f6f8}</style>\n"
		   "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n", WIDTH, height, WIDTH, height, WIDTH, height);
	snprintf(line, sizeof(line), "kup-ppp: %zu of %zu goals reached", met, nr);
	text(f, 24, 36, "title", line);
	snprintf(line, sizeof(line), "%s, commit %s. A bar shows how much of its goal a figure takes, the bracket its least and largest. Point at a bar for the method.",
		 string(all, "date"), string(all, "commit"));
	text(f, 24, 58, "small", line);
	for (size_t i = 0; i < nr; i++) {
		int y = TOP + (int)i * STEP;

		if (i % 2 == 0)
			fprintf(f, "<rect x=\"12\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"4\" class=\"band\"/>\n", y - 6, WIDTH - 24, STEP);
		draw_row(f, &row[i], y);
	}
	for (size_t i = 0; i < nr_failed; i++) {
		snprintf(line, sizeof(line), "%s: NOT MEASURED, it failed", json_object_get_string(json_object_array_get_idx(failed, i)));
		text(f, 24, TOP + (int)(nr + i) * STEP + 14, "figure bad", line);
	}
	fprintf(f, "<path d=\"M%d %dV%d\" class=\"line\"/>\n", LEFT + GOAL, TOP - 10, TOP + (int)nr * STEP);
	fprintf(f, "<text x=\"%d\" y=\"%d\" class=\"small\" text-anchor=\"middle\">goal</text>\n</svg>\n", LEFT + GOAL, TOP - 14);
	return !fclose(f);
}

int main(int argc, char **argv)
{
	struct json_object *all = argc == 3 ? json_object_from_file(argv[1]) : NULL, *list, *failed;
	size_t nr, met = 0;

	if (!all || !json_object_object_get_ex(all, "rows", &list) || !json_object_object_get_ex(all, "failed", &failed)) {
		fputs("usage: bench_table BENCH.json BENCH.svg\n", stderr);
		return 2;
	}
	nr = json_object_array_length(list);
	struct row row[nr + 1];

	printf("%-50s %12s %-14s %12s %12s  %s\n", "", "measured", "goal", "value", "base", "least … most");
	for (size_t i = 0; i < nr; i++) {
		char ratio[32], goal[32], value[32], base[32], least[32], most[32];
		struct row *r = &row[i];
		const char *unit;

		*r = row_of(json_object_array_get_idx(list, i));
		met += r->met;
		unit = r->has_base ? "" : r->unit;
		printf("%-50s %12s %s %-11s %12s %12s  %s … %s%s\n", r->what, amount(ratio, sizeof(ratio), r->ratio, unit), r->sign,
		       amount(goal, sizeof(goal), r->goal, unit), r->has_base ? amount(value, sizeof(value), r->value, r->unit) : "",
		       r->has_base ? amount(base, sizeof(base), r->base, r->unit) : "", amount(least, sizeof(least), r->least, unit),
		       amount(most, sizeof(most), r->most, unit), r->met ? "" : "  MISSED");
	}
	for (size_t i = 0; i < json_object_array_length(failed); i++)
		printf("%-50s NOT MEASURED, it failed\n", json_object_get_string(json_object_array_get_idx(failed, i)));
	printf("%zu rows, %zu goals reached, %zu missed; %zu groups could not be measured\n", nr, met, nr - met, json_object_array_length(failed));
	if (!draw(argv[2], row, nr, met, all)) {
		perror(argv[2]);
		return 1;
	}
	return 0;
}
