// SPDX-License-Identifier: GPL-2.0
#include <glob.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "json.h"
#include "plan.h"
#include "units.h"
#include "util.h"

#define DROP_IN	"/run/systemd/system/%s.d/kup-ppp.conf"

/* Those of the system only: what belongs to a user's manager is started by nobody before a login. */
static int hold(struct json_object *task, void *ctx)
{
	const char *cgroup = kup_json_text(task, "cgroup"), *unit = strrchr(cgroup, '/');
	char path[512], text[600];

	(void)ctx;
	unit = unit ? unit + 1 : cgroup;
	if (strlen(unit) <= 8 || strcmp(unit + strlen(unit) - 8, ".service") || strstr(cgroup, "/user@"))
		return 0;
	snprintf(path, sizeof(path), DROP_IN, unit);
	snprintf(text, sizeof(text), "# Kept by kup-ppp, which restores it.\n[Unit]\nConditionPathExists=!%s\n", path);
	*strrchr(path, '/') = '\0';
	kup_mkdirs(path, 0755);
	strcat(path, "/kup-ppp.conf");
	if (!kup_replace_file(path, text))
		chmod(path, 0644);
	return 0;
}

void kup_units_hold(struct json_object *plan)
{
	kup_plan_each_task(plan, hold, NULL);
}

void kup_units_release(void)
{
	char pattern[64];
	glob_t g;
	size_t i;

	snprintf(pattern, sizeof(pattern), DROP_IN, "*");
	if (glob(pattern, 0, NULL, &g))
		return;
	for (i = 0; i < g.gl_pathc; i++)
		unlink(g.gl_pathv[i]);
	globfree(&g);
}
