// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>

#include "hugetlb.h"
#include "json.h"
#include "kup.h"
#include "sysctl.h"
#include "util.h"

#ifndef MFD_HUGETLB
#define MFD_HUGETLB	4u
#endif
#define HUGE_2MB	(21u << 26)
#define POOL		"hugepages/hugepages-2048kB"
#define ALL		"/sys/kernel/mm/" POOL
#define NODES		"/sys/devices/system/node"
#define LENT		ALL "/nr_overcommit_hugepages", KUP_RUN_DIR "/nr_overcommit_hugepages"
#define COMPACT		"/proc/sys/vm/compact_memory"

dev_t kup_hugetlb_dev(void)
{
	static dev_t dev;
	struct stat st;
	int fd;

	if (dev)
		return dev;
	fd = memfd_create("kup-ppp", MFD_CLOEXEC | MFD_HUGETLB | HUGE_2MB);
	if (fd >= 0 && !fstat(fd, &st))
		dev = st.st_dev;
	if (fd >= 0)
		close(fd);
	return dev;
}

static uint64_t read_number(const char *dir, const char *name)
{
	char *text = kup_slurpf("%s/%s", dir, name);
	uint64_t n = text ? strtoull(text, NULL, 10) : 0;

	free(text);
	return n;
}

static void write_number(const char *dir, const char *name, uint64_t n)
{
	char path[256], number[24];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)n);
	kup_put(path, number);
}

uint64_t kup_hugetlb_pool(void)
{
	return read_number(ALL, "nr_hugepages");
}

static struct {
	bool lent;
	uint64_t overcommit;	/* as it was before */
} lent;

static bool is_used(const struct kup_forest *forest)
{
	for (size_t i = 0; i < forest->nr; i++)
		if (forest->trees[i].hugetlb)
			return true;
	return false;
}

static void note_node(struct json_object *nodes, const char *dir)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "dir", json_object_new_string(dir));
	json_object_object_add(o, "pages", json_object_new_uint64(read_number(dir, "nr_hugepages")));
	json_object_object_add(o, "surplus", json_object_new_uint64(read_number(dir, "surplus_hugepages")));
	json_object_array_add(nodes, o);
}

void kup_hugetlb_note(const struct kup_forest *forest, struct json_object *plan)
{
	struct json_object *o, *nodes;
	struct dirent *e;
	char dir[320];
	DIR *d;

	if (!is_used(forest))
		return;
	o = json_object_new_object();
	nodes = json_object_new_array();
	d = opendir(NODES);
	while (d && (e = readdir(d))) {
		snprintf(dir, sizeof(dir), NODES "/%s/" POOL, e->d_name);
		if (kup_starts(e->d_name, "node") && !access(dir, F_OK))
			note_node(nodes, dir);
	}
	if (d)
		closedir(d);
	if (!json_object_array_length(nodes))	/* a kernel without NUMA */
		note_node(nodes, ALL);
	json_object_object_add(o, "overcommit", json_object_new_uint64(lent.lent ? lent.overcommit : read_number(ALL, "nr_overcommit_hugepages")));
	json_object_object_add(o, "nodes", nodes);
	json_object_object_add(plan, "hugetlb", o);
}

void kup_hugetlb_lend(const struct kup_forest *forest)
{
	char number[24];

	if (!is_used(forest) || read_number(ALL, "free_hugepages") > read_number(ALL, "resv_hugepages"))
		return;
	lent.overcommit = read_number(ALL, "nr_overcommit_hugepages");
	snprintf(number, sizeof(number), "%llu", (unsigned long long)read_number(ALL, "surplus_hugepages") + 1);
	lent.lent = !kup_sysctl_lend(LENT, number);
}

void kup_hugetlb_return(void)
{
	kup_sysctl_return(LENT);
	lent.lent = false;
}

/* Return: whether there are so many. */
static bool set_pages(const char *dir, uint64_t pages)
{
	for (int tries = 0; tries < 3; tries++) {
		if (read_number(dir, "nr_hugepages") >= pages)
			return true;
		if (tries)
			kup_put(COMPACT, "1");
		write_number(dir, "nr_hugepages", pages);
	}
	return read_number(dir, "nr_hugepages") >= pages;
}

int kup_hugetlb_grow(struct json_object *plan, struct kup_err *err)
{
	struct json_object *o = json_object_object_get(plan, "hugetlb"), *nodes = json_object_object_get(o, "nodes");
	size_t i;

	for (i = 0; o && i < json_object_array_length(nodes); i++) {
		struct json_object *node = json_object_array_get_idx(nodes, i);
		const char *dir = kup_json_text(node, "dir");
		uint64_t pages = kup_json_int(node, "pages") + 1;

		if (access(dir, F_OK))
			dir = ALL;
		if (set_pages(dir, pages))
			continue;
		kup_err_set(err, -ENOMEM, "%s: the pool of huge pages was of %llu, and only %llu are to be had here", dir,
			    (unsigned long long)pages - 1, (unsigned long long)read_number(dir, "nr_hugepages"));
		kup_err_next(err, "the memory is still kept: end what uses memory, then `kup-ppp restore` again");
		return -ENOMEM;
	}
	return 0;
}

void kup_hugetlb_settle(struct json_object *plan)
{
	struct json_object *o = json_object_object_get(plan, "hugetlb"), *nodes = json_object_object_get(o, "nodes");
	size_t i;

	for (i = 0; o && i < json_object_array_length(nodes); i++) {
		struct json_object *node = json_object_array_get_idx(nodes, i);
		const char *dir = kup_json_text(node, "dir");

		write_number(access(dir, F_OK) ? ALL : dir, "nr_hugepages", kup_json_int(node, "pages") - kup_json_int(node, "surplus"));
	}
	if (o)
		write_number(ALL, "nr_overcommit_hugepages", kup_json_int(o, "overcommit"));
}
