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

#define DIR	"/run/systemd/system/%s.d"
#define FILES	"/run/systemd/system/*.d/kup-ppp.conf"

bool kup_unit_of(const char *cgroup, char unit[256])
{
	static const char suffix[] = ".service";
	const size_t tail = strlen(suffix);
	size_t len;

	/* What belongs to a user's manager is started by nobody before a login. */
	if (strstr(cgroup, "/user@"))
		return false;
	for (; *cgroup; cgroup += len + !!cgroup[len]) {
		len = strcspn(cgroup, "/");
		if (len > tail && len < 256 && !strncmp(cgroup + len - tail, suffix, tail)) {
			memcpy(unit, cgroup, len);
			unit[len] = '\0';
			return true;
		}
	}
	return false;
}

static int hold(struct json_object *task, void *ctx)
{
	char unit[256], dir[320], path[400], text[640];

	(void)ctx;
	if (!kup_unit_of(kup_json_text(task, "cgroup"), unit))
		return 0;
	snprintf(dir, sizeof(dir), DIR, unit);
	snprintf(path, sizeof(path), "%s/kup-ppp.conf", dir);
	snprintf(text, sizeof(text),
		 "# Kept by kup-ppp, which restores it. What comes after it comes after that.\n"
		 "[Unit]\nAfter=kup-ppp-restore.service\nConditionPathExists=!%s\n", path);
	kup_mkdirs(dir, 0755);
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
	glob_t g;
	size_t i;

	if (glob(FILES, 0, NULL, &g))
		return;
	for (i = 0; i < g.gl_pathc; i++)
		unlink(g.gl_pathv[i]);
	globfree(&g);
}
