// SPDX-License-Identifier: GPL-2.0
/* The mappings of a process, from smaps: what is neither taken by the module nor carried by CRIU. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "carry.h"
#include "hugetlb.h"
#include "util.h"

#define LOOK_MAX	(2ull << 30)	/* what CRIU may take to look at one area */

struct vma {
	unsigned long start, end;
	char perms[5];
	unsigned int major, minor;
	unsigned long ino;
	char *path;		/* "" if it has none */
	unsigned long rss_kb, page_kb;
	int pkey;
};

/* Flags of /proc/PID/smaps that neither side can bring over. */
static const struct {
	char flag[3];
	int criu_since;		/* carried from this version on; 0: never */
	const char *why, *next;
} bad_flags[] = {
	{ "um", 0, "watched by userfaultfd (missing)", "let it unregister the range" },
	{ "uw", 0, "watched by userfaultfd (write protect)", "let it unregister the range" },
	{ "ui", 0, "watched by userfaultfd (minor)", "let it unregister the range" },
	{ "mm", 0, "memory of a device", "stop what maps the device" },
	{ "ss", 40000, "a shadow stack, which this CRIU doesn't carry", "run it without GLIBC_TUNABLES x86 shadow stacks" },
	{ "sl", 0, "sealed by mseal(), and could not be unmapped on restore", "run it without sealing" },
	{ "dp", 40100, "droppable memory, which this CRIU doesn't carry", "install a later criu" },
	{ "gu", 40200, "guard regions, which this CRIU doesn't carry", "install criu 4.2 or later" },
	{ "wf", 31400, "wiped on fork, which this CRIU doesn't carry", "install a later criu" },
};

static bool is_special(const struct vma *v)
{
	return kup_starts(v->path, "[vvar") || !strcmp(v->path, "[vdso]") || !strcmp(v->path, "[vsyscall]");
}

static void refuse(struct kup_carry *c, const struct kup_task *t, const struct vma *v, const char *next, const char *why)
{
	char object[256];

	snprintf(object, sizeof(object), "mapping %lx-%lx %s %s", v->start, v->end, v->perms, *v->path ? v->path : "(anonymous)");
	kup_refuse(c, t, object, next, "%s", why);
}

static bool named(struct kup_carry *c, const struct kup_task *t, const struct vma *v, const struct stat *st)
{
	char object[256];

	snprintf(object, sizeof(object), "mapping %lx-%lx %s", v->start, v->end, v->path);
	return kup_carry_named(c, t, object, v->path, st);
}

static void look_file(struct kup_carry *c, const struct kup_task *t, const struct vma *v)
{
	char link[80], object[256];
	struct stat st;
	size_t len;

	if (kup_starts(v->path, "/SYSV") && c->own_ipc) {
		kup_carried(c, "System V shared memory mapping");
		return;
	}
	if (kup_starts(v->path, "/SYSV")) {
		refuse(c, t, v, "run it in an IPC namespace of its own (of a service: PrivateIPC=yes), or let it use mmap()",
		       "System V shared memory outside an IPC namespace isn't carried by CRIU");
		return;
	}
	if (kup_starts(v->path, "anon_inode:") || kup_starts(v->path, "/anon_inode:")) {
		refuse(c, t, v, "stop the use of that interface", "memory shared with the kernel isn't carried");
		return;
	}
	if (kup_starts(v->path, "/memfd:secret") || kup_starts(v->path, "/secretmem")) {
		refuse(c, t, v, "run it without memfd_secret()", "secret memory can't be read, so it can't be carried");
		return;
	}
	if (kup_starts(v->path, "/[aio]")) {
		kup_carried(c, "aio ring");
		return;
	}
	snprintf(link, sizeof(link), "/proc/%d/map_files/%lx-%lx", t->pid, v->start, v->end);
	if (stat(link, &st))
		return;		/* unmapped meanwhile */
	if (S_ISCHR(st.st_mode) && st.st_rdev != makedev(1, 5)) {
		refuse(c, t, v, "stop what maps the device", "memory of a device");
		return;
	}
	if (kup_starts(v->path, "/memfd:") || kup_starts(v->path, "/dev/zero") || !st.st_dev) {
		snprintf(object, sizeof(object), "mapping %lx-%lx %s", v->start, v->end, v->path);
		kup_carry_shared(c, t, object, &st, "shared memory mapping");
		return;
	}
	len = strlen(v->path);
	if (len > 10 && !strcmp(v->path + len - 10, " (deleted)") && st.st_nlink) {
		refuse(c, t, v, "restart it, so that it maps the installed file",
		       "its file was replaced or renamed: CRIU can't find it by name");
		return;
	}
	if (!strstr(v->path, " (deleted)") && !named(c, t, v, &st))
		return;
	kup_carried(c, v->perms[3] == 's' ? "shared file mapping" : "private file mapping");
	/* a private mapping is of a program or library, which the new system has to bring along: CRIU checks that it is the same */
	if (v->perms[3] == 's' && S_ISREG(st.st_mode)) {
		snprintf(object, sizeof(object), "mapping %lx-%lx %s", v->start, v->end, v->path);
		kup_carry_file(c, t, object, v->path, &st, link);
	}
}

/* CRIU has eight bytes for each page of the largest area, used or not, and looks at each of them. Return: whether that can be borne. */
static bool look_size(struct kup_carry *c, const struct kup_task *t, const struct vma *v)
{
	const uint64_t size = v->end - v->start, need = size / 512, ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * 4096;
	char why[128];

	if (need <= LOOK_MAX && need <= ram / 4)
		return true;
	snprintf(why, sizeof(why), "an area of %llu GiB, used or not: CRIU would take %llu MiB to look at its page tables",
		 (unsigned long long)size >> 30, (unsigned long long)need >> 20);
	refuse(c, t, v, "let it reserve less (MariaDB: innodb_buffer_pool_size_max)", why);
	return false;
}

/* Memory of hugetlbfs, of MAP_HUGETLB or a memfd. */
static void look_huge(struct kup_carry *c, const struct kup_task *t, const struct vma *v, const char *flags)
{
	const bool is_private = v->perms[3] == 'p', has_name = !kup_starts(v->path, "/memfd:") && !kup_starts(v->path, "/anon_hugepage");
	const int size = kup_huge_of((uint64_t)v->page_kb << 10);
	char link[80], object[256];
	struct stat st;

	if (size < 0) {
		refuse(c, t, v, "let it use those of 2 MiB", "huge pages of hugetlbfs that are neither of 2 MiB nor of 1 GiB");
		return;
	}
	if (has_name) {
		refuse(c, t, v, "let it use MAP_HUGETLB or MFD_HUGETLB without a file, or transparent huge pages",
		       kup_starts(v->path, "/SYSV") ? "huge pages of System V shared memory" : "a file of a mounted hugetlbfs");
		return;
	}
	snprintf(link, sizeof(link), "/proc/%d/map_files/%lx-%lx", t->pid, v->start, v->end);
	if (stat(link, &st))
		return;		/* unmapped meanwhile */
	snprintf(object, sizeof(object), "mapping %lx-%lx %s", v->start, v->end, v->path);
	if (is_private) {
		kup_carried(c, "huge page mapping");
		kup_carry_huge(c, t, object, size, strstr(flags, "nr") ? 0 : v->end - v->start);	/* MAP_NORESERVE */
	}
	/* One that is there for this mapping only has nothing in it, and is not reserved. */
	if ((!is_private || st.st_blocks) && kup_carry_shared(c, t, object, &st, "shared memory mapping"))
		kup_carry_huge(c, t, object, size, st.st_size);
}

static void look_vma(struct kup_carry *c, const struct kup_task *t, const struct vma *v, const char *flags)
{
	const char *f;
	size_t i;

	if (is_special(v))
		return;
	for (f = flags; f[0] && f[1]; f += f[2] ? 3 : 2)
		for (i = 0; i < KUP_ARRAY_SIZE(bad_flags); i++)
			if (!strncmp(f, bad_flags[i].flag, 2) &&
			    (!bad_flags[i].criu_since || c->criu->version < bad_flags[i].criu_since)) {
				refuse(c, t, v, bad_flags[i].next, bad_flags[i].why);
				return;
			}
	if (strstr(flags, "io") || strstr(flags, "pf")) {
		refuse(c, t, v, strstr(v->path, "uprobes") ? "remove the uprobes (perf, bpftrace) from it" : "stop what maps it",
		       "memory of a device or of the kernel");
		return;
	}
	if (strstr(flags, "ht")) {
		look_huge(c, t, v, flags);
		return;
	}
	if (!look_size(c, t, v))
		return;
	if (v->pkey) {
		refuse(c, t, v, "run it without protection keys", "it has a protection key, which CRIU doesn't carry");
		return;
	}
	if (v->path[0] == '/' || kup_starts(v->path, "anon_inode:"))
		look_file(c, t, v);
	else if (v->perms[3] == 's')
		kup_carried(c, "shared memory mapping");
	else if (v->perms[2] == 'x' && v->rss_kb)
		kup_carried(c, "executable anonymous mapping");
}

void kup_carry_vmas(struct kup_carry *c, const struct kup_task *t)
{
	char *text = kup_slurpf("/proc/%d/smaps", t->pid), *line, *rest = text;
	struct vma v = { 0 };
	int path_at;

	if (!text) {
		kup_refuse(c, t, "mappings", "run kup-ppp as root", "/proc/%d/smaps can't be read", t->pid);
		return;
	}
	while ((line = strsep(&rest, "\n"))) {
		if (*line < 'A' || *line > 'Z') {	/* an address; what is known of it begins with a capital letter */
			struct vma n = { 0 };

			path_at = 0;
			if (sscanf(line, "%lx-%lx %4s %*x %x:%x %lu %n", &n.start, &n.end, n.perms, &n.major, &n.minor, &n.ino,
				   &path_at) == 6 && path_at) {
				n.path = line + path_at;
				v = n;
			}
		} else if (kup_starts(line, "Rss:")) {
			v.rss_kb = strtoul(line + 4, NULL, 10);
		} else if (kup_starts(line, "KernelPageSize:")) {
			v.page_kb = strtoul(line + 15, NULL, 10);
		} else if (kup_starts(line, "ProtectionKey:")) {
			v.pkey = atoi(line + 14);
		} else if (kup_starts(line, "VmFlags: ") && v.path) {
			look_vma(c, t, &v, line + 9);
			v.path = NULL;
		}
	}
	free(text);
}
