// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "util.h"

static int replace(char **field, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

static int join(char **field, const char *value)
{
	char *joined;

	if (asprintf(&joined, "%s%s%s", *field ?: "", *field ? " " : "", value) < 0)
		return -ENOMEM;
	free(*field);
	*field = joined;
	return 0;
}

static int add(char ***list, size_t *nr, const char *value)
{
	char **more = realloc(*list, (*nr + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	*list = more;
	more[*nr] = strdup(value);
	return more[(*nr)++] ? 0 : -ENOMEM;
}

static int on_or_off(bool *field, const char *value)
{
	*field = !strcmp(value, "on");
	return *field || !strcmp(value, "off") ? 0 : -ERANGE;
}

static int seconds(unsigned int *field, const char *value)
{
	char *end;
	long n = strtol(value, &end, 10);

	if (end == value || *end || n < 1 || n > 3600)
		return -ERANGE;
	*field = n;
	return 0;
}

int kup_conf_set(struct kup_conf *conf, const char *key, const char *value)
{
	if (!strcmp(key, "kernel"))
		return replace(&conf->kernel, value);
	if (!strcmp(key, "initrd"))
		return replace(&conf->initrd, value);
	if (!strcmp(key, "criu"))
		return replace(&conf->criu, value);
	if (!strcmp(key, "append"))
		return join(&conf->append, value);
	if (!strcmp(key, "profile-off"))
		return join(&conf->profile_off, value);
	if (!strcmp(key, "fallback"))
		return on_or_off(&conf->fallback, value);
	if (!strcmp(key, "fallback-kernel"))
		return replace(&conf->fallback_kernel, value);
	if (!strcmp(key, "fallback-initrd"))
		return replace(&conf->fallback_initrd, value);
	if (!strcmp(key, "fallback-seconds"))
		return seconds(&conf->fallback_seconds, value);
	if (!strcmp(key, "fallback-boot-seconds"))
		return seconds(&conf->fallback_boot_seconds, value);
	if (!strcmp(key, "health"))
		return add(&conf->health, &conf->nr_health, value);
	if (!strcmp(key, "keep"))
		return value[0] == '/' ? add(&conf->keep, &conf->nr_keep, value) : -ERANGE;
	if (!strcmp(key, "health-seconds"))
		return seconds(&conf->health_seconds, value);
	if (!strcmp(key, "leave-refused"))
		return on_or_off(&conf->leave_refused, value);
	if (!strcmp(key, "verify"))
		return on_or_off(&conf->verify, value);
	if (!strcmp(key, "on-alarm"))
		return replace(&conf->on_alarm, value);
	if (!strcmp(key, "policy"))
		return add(&conf->policies, &conf->nr_policies, value);
	if (!strcmp(key, "target"))
		return add(&conf->targets, &conf->nr_targets, value);
	return -EINVAL;
}

int kup_conf_option(struct kup_conf *conf, int option, const char *value)
{
	switch (option) {
	case 'k':
		return kup_conf_set(conf, "kernel", value);
	case 'i':
		return kup_conf_set(conf, "initrd", value);
	case 'a':
		return kup_conf_set(conf, "append", value);
	case 'c':
		return kup_conf_set(conf, "criu", value);
	case 'F':
		return kup_conf_set(conf, "fallback", "on");
	case 'H':
		return kup_conf_set(conf, "health", value);
	case 'K':
		return kup_conf_set(conf, "keep", value);
	case 'L':
		return kup_conf_set(conf, "leave-refused", "on");
	case 'V':
		return kup_conf_set(conf, "verify", "on");
	case 'p':
		return kup_conf_set(conf, "profile-off", value);
	default:
		return -EINVAL;
	}
}

int kup_conf_targets(struct kup_conf *conf, char *const *names, size_t nr)
{
	size_t i;
	int ret = 0;

	while (nr && conf->nr_targets)
		free(conf->targets[--conf->nr_targets]);
	for (i = 0; i < nr && !ret; i++)
		ret = kup_conf_set(conf, "target", names[i]);
	return ret;
}

static int read_one(const char *path, struct kup_conf *conf, struct kup_err *err)
{
	char *text = kup_slurp(path, NULL), *line, *rest = text;
	int ret = 0, nr = 0;

	if (!text)
		return errno == ENOENT ? 0 : kup_err_set(err, -errno, "%s: %s", path, strerror(errno));
	while (!ret && (line = strsep(&rest, "\n"))) {
		char *hash = strchr(line, '#'), *eq;

		nr++;
		if (hash)
			*hash = '\0';
		line = kup_trim(line);
		if (!*line)
			continue;
		eq = strchr(line, '=');
		if (!eq) {
			ret = kup_err_set(err, -EINVAL, "%s:%d: expected `key = value`, found `%s`", path, nr, line);
			break;
		}
		*eq = '\0';
		ret = kup_conf_set(conf, kup_trim(line), kup_trim(eq + 1));
		if (ret == -EINVAL) {
			kup_err_set(err, ret, "%s:%d: unknown key `%s`", path, nr, kup_trim(line));
			kup_err_next(err, "known: target, kernel, initrd, append, criu, profile-off, policy, on-alarm, fallback, fallback-kernel, "
				      "fallback-initrd, fallback-seconds, fallback-boot-seconds, health, health-seconds, keep, leave-refused, verify");
		} else if (ret == -ERANGE) {
			kup_err_set(err, ret, "%s:%d: %s is not for `%s`", path, nr, kup_trim(eq + 1), kup_trim(line));
			kup_err_next(err, "`on` or `off`; seconds are from 1 to 3600; a directory's name begins with /");
		}
	}
	free(text);
	return ret;
}

int kup_conf_read(const char *path, struct kup_conf *conf, struct kup_err *err)
{
	char pattern[512];
	glob_t g;
	size_t i;
	int ret;

	*conf = (struct kup_conf){ 0 };
	ret = read_one(path, conf, err);
	snprintf(pattern, sizeof(pattern), "%s.d/*.conf", path);
	if (!ret && !glob(pattern, 0, NULL, &g)) {
		for (i = 0; i < g.gl_pathc && !ret; i++)
			ret = read_one(g.gl_pathv[i], conf, err);
		globfree(&g);
	}
	if (ret)
		kup_conf_free(conf);
	return ret;
}

void kup_conf_free(struct kup_conf *conf)
{
	while (conf->nr_targets)
		free(conf->targets[--conf->nr_targets]);
	free(conf->targets);
	while (conf->nr_policies)
		free(conf->policies[--conf->nr_policies]);
	free(conf->policies);
	while (conf->nr_health)
		free(conf->health[--conf->nr_health]);
	free(conf->health);
	while (conf->nr_keep)
		free(conf->keep[--conf->nr_keep]);
	free(conf->keep);
	free(conf->on_alarm);
	free(conf->kernel);
	free(conf->initrd);
	free(conf->append);
	free(conf->criu);
	free(conf->fallback_kernel);
	free(conf->fallback_initrd);
	free(conf->profile_off);
	*conf = (struct kup_conf){ 0 };
}
