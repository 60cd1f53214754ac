// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cgroup.h"
#include "target.h"
#include "util.h"

struct roots {
	pid_t *pid;
	size_t nr;
};

static int add_root(struct roots *r, pid_t pid)
{
	pid_t *more = realloc(r->pid, (r->nr + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	r->pid = more;
	r->pid[r->nr++] = pid;
	return 0;
}

static pid_t parent_of(pid_t pid)
{
	char *text = kup_slurpf("/proc/%d/stat", pid), *close = text ? strrchr(text, ')') : NULL;
	pid_t ppid = 0;

	if (close)
		sscanf(close + 1, " %*c %d", &ppid);
	free(text);
	return ppid;
}

/* The tasks of a cgroup and of those below it. */
static int cgroup_pids(const char *dir, struct roots *r)
{
	char *text = kup_slurpf("%s/cgroup.procs", dir), *word, *save = NULL;
	struct dirent *e;
	int ret = 0;
	DIR *d;

	for (word = text ? strtok_r(text, "\n", &save) : NULL; word && !ret; word = strtok_r(NULL, "\n", &save))
		ret = add_root(r, atoi(word));
	free(text);
	d = opendir(dir);
	while (d && !ret && (e = readdir(d))) {
		char sub[512];

		if (e->d_type == DT_DIR && e->d_name[0] != '.' &&
		    snprintf(sub, sizeof(sub), "%s/%s", dir, e->d_name) < (int)sizeof(sub))
			ret = cgroup_pids(sub, r);
	}
	if (d)
		closedir(d);
	return ret;
}

static int from_cgroup(const char *name, const char *dir, struct roots *out, struct kup_err *err)
{
	struct roots all = { 0 };
	size_t i, j;
	int ret;

	ret = cgroup_pids(dir, &all);
	for (i = 0; i < all.nr && !ret; i++) {
		pid_t ppid = parent_of(all.pid[i]);

		for (j = 0; j < all.nr && all.pid[j] != ppid; j++)
			;
		if (j == all.nr)
			ret = add_root(out, all.pid[i]);
	}
	if (!ret && !all.nr) {
		ret = kup_err_set(err, -ESRCH, "%s: no process in cgroup %s", name, dir);
		kup_err_next(err, "start it first; `systemd-cgls` shows what runs where");
	}
	free(all.pid);
	return ret;
}

static struct {
	const char *name;
	char dir[512];
	int nr;
} service;

static int match_service(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	if (type == FTW_D && !strcmp(path + ftw->base, service.name)) {
		snprintf(service.dir, sizeof(service.dir), "%s", path);
		service.nr++;
	}
	return 0;
}

/* A service is the cgroup of its name. Return: 0, -ENOENT if there is none, or another negative errno. */
static int from_service(const char *name, struct roots *out, struct kup_err *err)
{
	const char *root;
	int ret;

	ret = kup_cgroup_root(&root, err);
	if (ret)
		return ret;
	service.name = name;
	service.nr = 0;
	nftw(root, match_service, 16, FTW_PHYS | FTW_MOUNT);
	if (!service.nr) {
		kup_err_set(err, -ENOENT, "%s: no such service is running (no cgroup of that name below %s)", name, root);
		kup_err_next(err, "systemctl start %s, or name a pid", name);
		return -ENOENT;
	}
	if (service.nr > 1)
		return kup_err_set(err, -ENOTUNIQ, "%s: %d cgroups have that name; name one by its path", name, service.nr);
	return from_cgroup(name, service.dir, out, err);
}

/* A program whose name occurs once, its own children of the same name not counted. Return: as from_service(). */
static int from_comm(const char *name, struct roots *out, struct kup_err *err)
{
	char comm[16], pcomm[16], list[128] = "";
	struct roots found = { 0 };
	struct dirent *e;
	size_t i;
	DIR *d;
	int ret = 0;

	d = opendir("/proc");
	if (!d)
		return kup_err_set(err, -errno, "/proc: %s", strerror(errno));
	while ((e = readdir(d)) && !ret) {
		pid_t pid = atoi(e->d_name);

		if (!isdigit((unsigned char)e->d_name[0]) || pid == getpid() || strncmp(kup_task_comm(pid, comm), name, 15))
			continue;
		if (strcmp(kup_task_comm(parent_of(pid), pcomm), comm))
			ret = add_root(&found, pid);
	}
	closedir(d);
	if (!ret && found.nr > 1) {
		for (i = 0; i < found.nr; i++)
			snprintf(list + strlen(list), sizeof(list) - strlen(list), " %d", found.pid[i]);
		ret = kup_err_set(err, -ENOTUNIQ, "%s: %zu processes have that name:%s", name, found.nr, list);
		kup_err_next(err, "name the one by its pid, or all of them by their pids");
	}
	if (!ret)
		ret = found.nr ? add_root(out, found.pid[0]) : -ENOENT;
	free(found.pid);
	return ret;
}

static int resolve(const char *name, struct roots *out, struct kup_err *err)
{
	char dir[512], unit[256];
	const char *root;
	int ret;

	if (name[0] && strspn(name, "0123456789") == strlen(name)) {
		snprintf(dir, sizeof(dir), "/proc/%s/task/%s", name, name);
		if (access(dir, F_OK))
			return kup_err_set(err, -ESRCH, "%s: no process with that pid", name);
		return add_root(out, atoi(name));
	}
	if (strchr(name, '/')) {
		ret = kup_cgroup_root(&root, err);
		if (ret)
			return ret;
		if (!strncmp(name, root, strlen(root)))
			snprintf(dir, sizeof(dir), "%s", name);
		else
			snprintf(dir, sizeof(dir), "%s/%s", root, name + strspn(name, "/"));
		if (access(dir, F_OK))
			return kup_err_set(err, -ENOENT, "%s: no such cgroup (looked for %s)", name, dir);
		return from_cgroup(name, dir, out, err);
	}
	if (strlen(name) > 8 && !strcmp(name + strlen(name) - 8, ".service"))
		return from_service(name, out, err);
	ret = from_comm(name, out, err);
	if (ret != -ENOENT)
		return ret;
	snprintf(unit, sizeof(unit), "%s.service", name);
	ret = from_service(unit, out, NULL);
	if (ret == -ENOENT) {
		kup_err_set(err, ret, "%s: no process and no service of that name is running", name);
		kup_err_next(err, "start it, or name it by pid, cgroup or service; see `ps -e`");
	}
	return ret;
}

int kup_targets_resolve(char *const *names, size_t nr, struct kup_forest *forest, struct kup_err *err)
{
	struct roots roots = { 0 };
	size_t i;
	int ret = 0;

	for (i = 0; i < nr && !ret; i++)
		ret = resolve(names[i], &roots, err);
	if (!ret)
		ret = kup_forest_read(roots.pid, roots.nr, forest, err);
	free(roots.pid);
	return ret;
}
