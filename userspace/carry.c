// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <json-c/json.h>

#include "carry.h"
#include "device.h"
#include "files.h"
#include "hugetlb.h"
#include "json.h"
#include "util.h"

void kup_refuse(struct kup_carry *c, const struct kup_task *t, const char *object, const char *next, const char *fmt, ...)
{
	struct json_object *o = json_object_new_object();
	char why[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	json_object_object_add(o, "pid", json_object_new_int(t->pid));
	json_object_object_add(o, "comm", json_object_new_string(t->comm));
	json_object_object_add(o, "object", json_object_new_string(object));
	json_object_object_add(o, "why", json_object_new_string(why));
	json_object_object_add(o, "next", json_object_new_string(next));
	json_object_array_add(c->refused, o);
}

void kup_carried(struct kup_carry *c, const char *kind)
{
	struct json_object *count;

	if (json_object_object_get_ex(c->carried, kind, &count))
		json_object_set_int(count, json_object_get_int(count) + 1);
	else
		json_object_object_add(c->carried, kind, json_object_new_int(1));
}

bool kup_carry_named(struct kup_carry *c, const struct kup_task *t, const char *object, const char *path, const struct stat *st)
{
	struct stat now;

	if (!stat(path, &now) && now.st_dev == st->st_dev && now.st_ino == st->st_ino)
		return true;
	kup_refuse(c, t, object, "open it again (restart the application), or unmount what covers it",
		   "its name leads to another file now: something is mounted over it, or it was replaced");
	return false;
}

void kup_carry_file(struct kup_carry *c, const struct kup_task *t, const char *object, const char *path, const struct stat *st,
		    const char *via)
{
	if (kup_file_is_cgroup1(via)) {
		kup_refuse(c, t, object, "let the process close it", "it lies in a hierarchy of cgroup v1, which the new kernel won't have");
		return;
	}
	if (!kup_file_is_volatile(via))
		return;
	if (S_ISREG(st->st_mode) && (uint64_t)st->st_size > KUP_FILE_MAX && !kup_file_stays(via, st))
		kup_refuse(c, t, object, "put it on a disk, or let the process close it",
			   "a file of %lld MiB that exists in memory only; up to %llu MiB are carried", (long long)st->st_size >> 20,
			   KUP_FILE_MAX >> 20);
	else
		kup_file_note(c->files, path, st);
}

/* One CRIU restores each tree, and makes its own of it. */
bool kup_carry_shared(struct kup_carry *c, const struct kup_task *t, const char *object, const struct stat *st, const char *kind)
{
	struct kup_shared *more;
	char comm[16];
	size_t i;

	kup_carried(c, kind);
	for (i = 0; i < c->nr_shared; i++) {
		const struct kup_shared *s = &c->shared[i];

		if (s->dev != st->st_dev || s->ino != st->st_ino)
			continue;
		if (s->tree != c->tree)
			kup_refuse(c, t, object, "name a process that both descend from, or let them share a file in /dev/shm",
				   "it is shared with pid %d (%s), which is kept as another tree: each would get its own", s->pid,
				   kup_task_comm(s->pid, comm));
		return false;
	}
	more = realloc(c->shared, (c->nr_shared + 1) * sizeof(*more));
	if (!more)
		return true;	/* what is preserved is looked at again (shmem.c) */
	c->shared = more;
	c->shared[c->nr_shared++] = (struct kup_shared){ st->st_dev, st->st_ino, c->tree, t->pid };
	return true;
}

void kup_carry_huge(struct kup_carry *c, const struct kup_task *t, const char *object, enum kup_huge size, uint64_t bytes)
{
	const uint64_t pool = kup_hugetlb_pool(size), before = c->huge_pages[size];

	if (c->fallback && !c->tree->hugetlb && !c->tree->gigantic)
		kup_refuse(c, t, object, "switch without --fallback, or let it use transparent huge pages",
			   "huge pages of hugetlbfs, which a fallback would need twice");
	if (size == KUP_HUGE_1G)
		c->tree->gigantic = true;
	else
		c->tree->hugetlb = true;
	c->huge_pages[size] += bytes / kup_huge_bytes(size);
	if (before <= pool && c->huge_pages[size] > pool)
		kup_refuse(c, t, object, "make the pool larger (/sys/kernel/mm/hugepages), or let it map less",
			   "with it %llu huge pages of hugetlbfs, of %s, are mapped, and the pool has %llu: CRIU could not map them",
			   (unsigned long long)c->huge_pages[size], kup_huge_name(size), (unsigned long long)pool);
}

static long status_field(const char *status, const char *name)
{
	const char *p = strstr(status, name);

	return p ? strtol(p + strlen(name), NULL, 10) : 0;
}

static bool is_ancestor_of_us(pid_t pid)
{
	pid_t p = getpid();

	while (p > 1 && p != pid) {
		char *text = kup_slurpf("/proc/%d/stat", p), *close = text ? strrchr(text, ')') : NULL;

		p = 0;
		if (close)
			sscanf(close + 1, " %*c %d", &p);
		free(text);
	}
	return p == pid;
}

/*
 * Not the time namespace: CRIU gives each process that it restores one, so that clocks go on, and takes it along again. For that of IPC
 * see carry_ipc.c.
 */
static void look_namespaces(struct kup_carry *c, const struct kup_task *t)
{
	static const char *const spaces[] = { "mnt", "net", "pid", "user", "uts", "cgroup" };
	size_t i;

	for (i = 0; i < KUP_ARRAY_SIZE(spaces); i++) {
		char path[64], object[32];
		struct stat ours, its;

		snprintf(path, sizeof(path), "/proc/1/ns/%s", spaces[i]);
		if (stat(path, &ours))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/ns/%s", t->pid, spaces[i]);
		if (stat(path, &its) || its.st_ino == ours.st_ino)
			continue;
		snprintf(object, sizeof(object), "%s namespace", spaces[i]);
		kup_refuse(c, t, object, "run it in the host's namespaces (of a service: no Private*=, Protect*= and the like)",
			   "the process is in a %s namespace of its own", spaces[i]);
	}
}

static bool has_parents_memory(const struct kup_tree *tree, const struct kup_task *t)
{
	return kup_tree_find(tree, t->ppid) && !syscall(SYS_kcmp, t->pid, t->ppid, KCMP_VM, 0, 0);
}

const struct kup_task *kup_carry_vforked(const struct kup_forest *forest)
{
	for (size_t i = 0; i < forest->nr; i++)
		for (size_t j = 0; j < forest->trees[i].nr; j++)
			if (has_parents_memory(&forest->trees[i], &forest->trees[i].tasks[j]))
				return &forest->trees[i].tasks[j];
	return NULL;
}

/* Two processes with one memory: CRIU takes each process's for its own. After a vfork() that passes, as a rule at once. */
static void look_vm(struct kup_carry *c, const struct kup_task *t)
{
	for (int ms = 0; has_parents_memory(c->tree, t); ms++) {
		if (ms == KUP_VFORK_MS) {
			kup_refuse(c, t, "state", "try again when that has passed",
				   "it shares its memory with pid %d: in the midst of vfork(), or by clone()", t->ppid);
			return;
		}
		usleep(1000);
	}
}

/* Attributes that an older CRIU restores as if they had never been set. */
static void look_attributes(struct kup_carry *c, const struct kup_task *t, const char *status)
{
	const char *p = strstr(status, "\nCapAmb:");
	char *text;

	if (c->criu->version >= 40200)
		return;
	if (p && strtoull(p + strlen("\nCapAmb:"), NULL, 16))
		kup_refuse(c, t, "credentials", "install criu 4.2 or later", "ambient capabilities, which CRIU %s would drop", c->criu->text);
	if (status_field(status, "\nNoNewPrivs:"))
		kup_refuse(c, t, "credentials", "install criu 4.2 or later", "no_new_privs is set, which CRIU %s would drop", c->criu->text);
	text = kup_slurpf("/proc/%d/personality", t->pid);
	if (text && strtoul(text, NULL, 16))
		kup_refuse(c, t, "personality", "install criu 4.2 or later", "%.8s, which CRIU %s would drop", text, c->criu->text);
	free(text);
}

static void look_state(struct kup_carry *c, const struct kup_task *t)
{
	char *status = kup_slurpf("/proc/%d/status", t->pid), tracer[16], object[48];
	size_t i;
	pid_t by;

	if (!status) {
		kup_refuse(c, t, "state", "name a process that goes on running", "it ended while it was looked at");
		return;
	}
	by = status_field(status, "\nTracerPid:");
	if (by)
		kup_refuse(c, t, "state", "detach the debugger or strace", "traced by pid %d (%s)", by, kup_task_comm(by, tracer));
	if (t->pid == 1 || is_ancestor_of_us(t->pid))
		kup_refuse(c, t, "state", "name the application, not its shell or init",
			   t->pid == 1 ? "it is init" : "kup-ppp itself runs below it");
	if (t->pid <= c->low_pids)
		kup_refuse(c, t, "pid", "start it with a higher one: echo 1000 > /proc/sys/kernel/ns_last_pid before",
			   "pids up to about %d are likely to be taken in the new kernel, by its own threads and init", c->low_pids);
	if (t->state == 'X' || (t->state == 'Z' && t->pid == c->tree->tasks[0].pid))
		kup_refuse(c, t, "state", "name a process that runs", "it has ended (state %c)", t->state);
	look_attributes(c, t, status);
	/* CRIU takes it for dead as a whole */
	if (t->state == 'Z' && t->nr_tids > 1)
		kup_refuse(c, t, "state", "let its main() wait for its threads", "its first thread has ended while others go on");
	free(status);
	for (i = 0; i < t->nr_tids; i++) {
		int policy = sched_getscheduler(t->tids[i]);

		if (policy >= 0 && (policy & ~SCHED_RESET_ON_FORK) == SCHED_DEADLINE) {
			snprintf(object, sizeof(object), "thread %d", t->tids[i]);
			kup_refuse(c, t, object, "chrt --other -p 0 TID", "SCHED_DEADLINE isn't carried by CRIU");
		} else if (policy >= 0 && policy & SCHED_RESET_ON_FORK && c->criu->version < 40200) {
			snprintf(object, sizeof(object), "thread %d", t->tids[i]);
			kup_refuse(c, t, object, "install criu 4.2 or later", "SCHED_RESET_ON_FORK, which CRIU %s does not restore", c->criu->text);
		}
		kup_carried(c, "thread");
	}
	if (t->pid == 2 || t->ppid == 2)
		kup_refuse(c, t, "state", "name an application", "it is a kernel thread");
}

static void add_pages(struct json_object *o, const char *key, uint64_t n)
{
	json_object_object_add(o, key, json_object_new_uint64(n));
}

static struct json_object *look_memory(struct kup_carry *c, const struct kup_task *t, int dev)
{
	struct json_object *o;
	struct kup_scan s;
	struct kup_err e;
	int ret;

	if (dev < 0 || t->state == 'Z')
		return NULL;
	ret = kup_device_scan(dev, t->pid, &s, &e);
	if (ret)
		kup_refuse(c, t, "memory", s.pinned_pages ? "end what pins it (io_uring buffers, RDMA, a device)" : "see dmesg", "%s",
			   s.why[0] ? s.why : e.what);
	if (ret && ret != -EBUSY)
		return NULL;
	o = json_object_new_object();
	add_pages(o, "anon_pages", s.anon_pages);
	add_pages(o, "preserve_pages", s.preserve_pages);
	add_pages(o, "huge_pages", s.huge_pages);
	add_pages(o, "shared_pages", s.shared_pages);
	add_pages(o, "preserve_bytes", s.preserve_bytes);
	add_pages(o, "merged_pages", s.merged_pages);
	add_pages(o, "pinned_pages", s.pinned_pages);
	add_pages(o, "swapped_pages", s.swapped_pages);
	add_pages(o, "exec_pages", s.exec_pages);
	add_pages(o, "filecow_pages", s.filecow_pages);
	add_pages(o, "shmem_pages", s.shmem_pages);
	return o;
}

/* One that ends while it is looked at has nothing that is to be kept; but a tree without a root is none. */
static bool has_ended(const struct kup_carry *c, const struct kup_task *t)
{
	if (t->pid == c->tree->tasks[0].pid)
		return false;
	/* a zombie is carried, as long as nobody has asked for its status */
	return t->state == 'Z' ? kill(t->pid, 0) && errno == ESRCH : kup_task_has_ended(t->pid);
}

static struct json_object *look(struct kup_carry *c, const struct kup_task *t, int dev)
{
	struct json_object *o = json_object_new_object(), *memory;

	c->refused = json_object_new_array();
	c->carried = json_object_new_object();
	look_state(c, t);
	if (t->state != 'Z') {
		look_namespaces(c, t);
		kup_carry_ipc(c, t);
		look_vm(c, t);
		kup_carry_vmas(c, t);
		kup_carry_fds(c, t);
	}
	memory = look_memory(c, t, dev);
	if (has_ended(c, t)) {
		json_object_put(c->refused);
		c->refused = json_object_new_array();
	}
	json_object_object_add(o, "pid", json_object_new_int(t->pid));
	json_object_object_add(o, "comm", json_object_new_string(t->comm));
	json_object_object_add(o, "threads", json_object_new_int(t->nr_tids));
	json_object_object_add(o, "cgroup", json_object_new_string(t->cgroup ?: "/"));
	if (memory)
		json_object_object_add(o, "memory", memory);
	json_object_object_add(o, "carried", c->carried);
	json_object_object_add(o, "refused", c->refused);
	return o;
}

const struct kup_holders *kup_carry_holders(struct kup_carry *c)
{
	if (!c->holders_read)
		c->holders_read = kup_holders_read(&c->holders) ?: 1;
	return &c->holders;
}

/* The new kernel has about as many threads of its own as this one; half as many again, and what runs until restore. Counted once. */
static pid_t low_pids(void)
{
	static pid_t nr;
	struct dirent *e;
	DIR *d;

	if (nr)
		return nr;
	d = opendir("/proc");
	while (d && (e = readdir(d))) {
		char *text = isdigit((unsigned char)e->d_name[0]) ? kup_slurpf("/proc/%s/stat", e->d_name) : NULL;
		char *close = text ? strrchr(text, ')') : NULL;
		pid_t ppid = 0;

		if (close)
			sscanf(close + 1, " %*c %d", &ppid);
		nr += ppid == 2;
		free(text);
	}
	if (d)
		closedir(d);
	nr += nr / 2 + 64;
	return nr;
}

struct json_object *kup_carry_forest(struct kup_forest *forest, int dev, const struct kup_criu *criu, bool fallback, struct json_object *files,
				     struct kup_err *err)
{
	struct json_object *array = json_object_new_array();
	struct kup_carry c = { .forest = forest, .criu = criu, .fallback = fallback, .files = files };
	struct kup_unix_sock *socks = NULL;
	size_t i, j;
	int ret;

	ret = kup_sockdiag_unix(&socks, &c.nr_unix);
	if (ret) {
		kup_err_set(err, ret, "the kernel doesn't list its unix sockets: %s", strerror(-ret));
		kup_err_next(err, "modprobe unix_diag");
		json_object_put(array);
		return NULL;
	}
	c.unix_socks = socks;
	ret = kup_ipcs_read(&c.ipcs);
	if (ret) {
		kup_err_set(err, ret, "looking who uses System V semaphores and queues: %s", strerror(-ret));
		free(socks);
		json_object_put(array);
		return NULL;
	}
	c.low_pids = low_pids();
	for (i = 0; i < forest->nr; i++) {
		c.tree = &forest->trees[i];
		for (j = 0; j < c.tree->nr; j++)
			json_object_array_add(array, look(&c, &c.tree->tasks[j], dev));
	}
	if (c.holders_read < 0) {
		kup_err_set(err, c.holders_read, "looking who holds which pipe: %s", strerror(-c.holders_read));
		json_object_put(array);
		array = NULL;
	}
	free(c.shared);
	kup_ipcs_free(&c.ipcs);
	kup_holders_free(&c.holders);
	free(socks);
	return array;
}

size_t kup_carry_refused(struct json_object *processes, struct kup_err *err)
{
	size_t i, total = 0;

	for (i = 0; i < json_object_array_length(processes); i++) {
		struct json_object *p = json_object_array_get_idx(processes, i), *refused = json_object_object_get(p, "refused"), *r;

		if (!total && json_object_array_length(refused)) {
			r = json_object_array_get_idx(refused, 0);
			kup_err_set(err, -ENOTSUP, "pid %d (%s): %s: %s", (int)kup_json_int(r, "pid"),
				    kup_json_text(r, "comm"),
				    kup_json_text(r, "object"),
				    kup_json_text(r, "why"));
			kup_err_next(err, "%s", kup_json_text(r, "next"));
		}
		total += json_object_array_length(refused);
	}
	return total;
}
