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
#define ALL		"/sys/kernel/mm/hugepages/"
#define NODES		"/sys/devices/system/node"
#define SMALL		ALL "hugepages-2048kB"
#define GIGANTIC	ALL "hugepages-1048576kB"
#define LENT		SMALL "/nr_overcommit_hugepages", KUP_RUN_DIR "/nr_overcommit_hugepages"
#define LENT_GIGANTIC	GIGANTIC "/nr_hugepages", KUP_RUN_DIR "/nr_gigantic_pages"
#define COMPACT		"/proc/sys/vm/compact_memory"

static const struct {
	uint64_t bytes;
	unsigned int flag;	/* for memfd_create() */
	const char *name, *dir;
} pools[KUP_HUGE_SIZES] = {
	[KUP_HUGE_2M] = { 2ull << 20, 21u << 26, "2 MiB", SMALL },
	[KUP_HUGE_1G] = { 1ull << 30, 30u << 26, "1 GiB", GIGANTIC },
};

int kup_huge_of(uint64_t bytes)
{
	for (int size = 0; size < KUP_HUGE_SIZES; size++)
		if (pools[size].bytes == bytes)
			return size;
	return -1;
}

uint64_t kup_huge_bytes(enum kup_huge size)
{
	return pools[size].bytes;
}

const char *kup_huge_name(enum kup_huge size)
{
	return pools[size].name;
}

dev_t kup_hugetlb_dev(enum kup_huge size)
{
	static dev_t dev[KUP_HUGE_SIZES];
	struct stat st;
	int fd;

	if (dev[size])
		return dev[size];
	fd = memfd_create("kup-ppp", MFD_CLOEXEC | MFD_HUGETLB | pools[size].flag);
	if (fd >= 0 && !fstat(fd, &st))
		dev[size] = st.st_dev;
	if (fd >= 0)
		close(fd);
	return dev[size];
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

uint64_t kup_hugetlb_pool(enum kup_huge size)
{
	return read_number(pools[size].dir, "nr_hugepages");
}

static struct {
	bool lent;
	uint64_t overcommit;		/* as it was before */
	struct json_object *gigantic;	/* the pool, as it was before */
} lent;

static bool is_used(const struct kup_forest *forest, enum kup_huge size)
{
	for (size_t i = 0; i < forest->nr; i++)
		if (size == KUP_HUGE_1G ? forest->trees[i].gigantic : forest->trees[i].hugetlb)
			return true;
	return false;
}

unsigned int kup_hugetlb_pools(const struct kup_forest *forest)
{
	return 1u << KUP_HUGE_1G | (forest && is_used(forest, KUP_HUGE_2M) ? 1u << KUP_HUGE_2M : 0);
}

static void note_node(struct json_object *nodes, const char *dir)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "dir", json_object_new_string(dir));
	json_object_object_add(o, "pages", json_object_new_uint64(read_number(dir, "nr_hugepages")));
	json_object_object_add(o, "surplus", json_object_new_uint64(read_number(dir, "surplus_hugepages")));
	json_object_array_add(nodes, o);
}

static struct json_object *describe(enum kup_huge size)
{
	struct json_object *o = json_object_new_object(), *nodes = json_object_new_array();
	const char *all = pools[size].dir;
	struct dirent *e;
	char dir[340];
	DIR *d = opendir(NODES);

	while (d && (e = readdir(d))) {
		snprintf(dir, sizeof(dir), NODES "/%s/hugepages/%s", e->d_name, all + strlen(ALL));
		if (kup_starts(e->d_name, "node") && !access(dir, F_OK))
			note_node(nodes, dir);
	}
	if (d)
		closedir(d);
	if (!json_object_array_length(nodes))	/* a kernel without NUMA */
		note_node(nodes, all);
	json_object_object_add(o, "dir", json_object_new_string(all));
	json_object_object_add(o, "overcommit", json_object_new_uint64(size == KUP_HUGE_2M && lent.lent ? lent.overcommit :
								       read_number(all, "nr_overcommit_hugepages")));
	json_object_object_add(o, "nodes", nodes);
	return o;
}

void kup_hugetlb_note(const struct kup_forest *forest, struct json_object *plan)
{
	struct json_object *list = json_object_new_array();

	if (is_used(forest, KUP_HUGE_2M))
		json_object_array_add(list, describe(KUP_HUGE_2M));
	if (lent.gigantic)
		json_object_array_add(list, json_object_get(lent.gigantic));
	if (json_object_array_length(list))
		json_object_object_add(plan, "hugetlb", list);
	else
		json_object_put(list);
}

/* Is there a page that is free and that nobody has reserved? */
static bool has_spare(enum kup_huge size)
{
	return read_number(pools[size].dir, "free_hugepages") > read_number(pools[size].dir, "resv_hugepages");
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

static void lend_small(const struct kup_forest *forest)
{
	char number[24];

	if (!is_used(forest, KUP_HUGE_2M) || has_spare(KUP_HUGE_2M))
		return;
	lent.overcommit = read_number(SMALL, "nr_overcommit_hugepages");
	snprintf(number, sizeof(number), "%llu", (unsigned long long)read_number(SMALL, "surplus_hugepages") + 1);
	lent.lent = !kup_sysctl_lend(LENT, number);
}

uint64_t kup_hugetlb_along(const struct kup_forest *forest)
{
	const bool more = is_used(forest, KUP_HUGE_1G) && !has_spare(KUP_HUGE_1G);

	return (read_number(GIGANTIC, "free_hugepages") + more) * kup_huge_bytes(KUP_HUGE_1G);
}

int kup_hugetlb_check(const struct kup_forest *forest, struct kup_err *err)
{
	if (!is_used(forest, KUP_HUGE_1G) || has_spare(KUP_HUGE_1G))
		return 0;
	kup_err_set(err, -ENOMEM, "a switch with huge pages of 1 GiB needs one more, free and not reserved: the pool has none, and no memory in one piece");
	kup_err_next(err, "free some memory, or have the pool larger from boot on (hugepagesz=1G hugepages=%llu)",
		     (unsigned long long)kup_hugetlb_pool(KUP_HUGE_1G) + 1);
	return -ENOMEM;
}

int kup_hugetlb_lend(const struct kup_forest *forest, struct kup_err *err)
{
	const uint64_t pages = kup_hugetlb_pool(KUP_HUGE_1G);
	char number[24];

	lend_small(forest);
	if (pages)
		lent.gigantic = describe(KUP_HUGE_1G);
	if (is_used(forest, KUP_HUGE_1G) && !has_spare(KUP_HUGE_1G)) {
		snprintf(number, sizeof(number), "%llu", (unsigned long long)pages + 1);
		if (!kup_sysctl_lend(LENT_GIGANTIC, number))
			set_pages(GIGANTIC, pages + 1);
	}
	return kup_hugetlb_check(forest, err);
}

void kup_hugetlb_return(void)
{
	kup_sysctl_return(LENT);
	lent.lent = false;
}

void kup_hugetlb_put_back(void)
{
	kup_hugetlb_return();
	kup_sysctl_return(LENT_GIGANTIC);
	json_object_put(lent.gigantic);
	lent.gigantic = NULL;
}

/* One pool of the plan, with a page more. */
static int grow(struct json_object *pool, struct kup_err *err)
{
	struct json_object *nodes = json_object_object_get(pool, "nodes");
	size_t i;

	for (i = 0; i < json_object_array_length(nodes); i++) {
		struct json_object *node = json_object_array_get_idx(nodes, i);
		const char *dir = kup_json_text(node, "dir");
		uint64_t pages = kup_json_int(node, "pages") + 1;

		if (access(dir, F_OK))
			dir = kup_json_text(pool, "dir");
		if (set_pages(dir, pages))
			continue;
		kup_err_set(err, -ENOMEM, "%s: the pool of huge pages was of %llu, and only %llu are to be had here", dir,
			    (unsigned long long)pages - 1, (unsigned long long)read_number(dir, "nr_hugepages"));
		kup_err_next(err, "the memory is still kept: end what uses memory, then `kup-ppp restore` again");
		return -ENOMEM;
	}
	return 0;
}

int kup_hugetlb_grow(struct json_object *plan, struct kup_err *err)
{
	struct json_object *list = json_object_object_get(plan, "hugetlb");
	int ret = 0;

	for (size_t i = 0; list && i < json_object_array_length(list) && !ret; i++) {
		struct json_object *pool = json_object_array_get_idx(list, i);

		if (!strcmp(kup_json_text(pool, "dir"), SMALL))
			ret = grow(pool, err);
	}
	return ret;
}

static void settle(struct json_object *pool)
{
	struct json_object *nodes = json_object_object_get(pool, "nodes");
	const char *all = kup_json_text(pool, "dir");
	size_t i;

	for (i = 0; i < json_object_array_length(nodes); i++) {
		struct json_object *node = json_object_array_get_idx(nodes, i);
		const char *dir = kup_json_text(node, "dir");

		write_number(access(dir, F_OK) ? all : dir, "nr_hugepages", kup_json_int(node, "pages") - kup_json_int(node, "surplus"));
	}
	write_number(all, "nr_overcommit_hugepages", kup_json_int(pool, "overcommit"));
}

void kup_hugetlb_settle(struct json_object *plan)
{
	struct json_object *list = json_object_object_get(plan, "hugetlb");

	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		settle(json_object_array_get_idx(list, i));
}
