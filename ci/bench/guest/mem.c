// SPDX-License-Identifier: GPL-2.0
/*
 * What `make bench` does with memory inside a guest. One line of JSON for each measurement; times in ns of the guest's
 * clock, which under --icount are instructions.
 *
 *   mem keep			becomes a process to be kept: says "pid N"; does then what it is asked:
 *   mem ask PID SHAPE MB	drop all memory, and have MB of this shape, touched for the first time: how long that took
 *   mem ask PID touch		write to every page of it: how long that took
 *   mem drain PID MB		let the drainer go: how long until nothing of PID's is unbound, and until the hooks are gone
 *   mem faults			first touches of a process that has nothing to do with kup-ppp
 *   mem seal SHAPE MB N	N times preserve, seal and abort a frozen process, then N times CRIU's dump of it
 *
 * SHAPE: small (4 KiB pages), huge (2 MiB pages), single (4 KiB pages of which no two are neighbours in RAM), sparse (the same,
 * every other one by chance: blocks do not just join them all), none
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <uapi/kup_ppp.h>

#define PAGE	4096UL
#define HUGE	(2UL << 20)
#define WINDOW	(48UL << 20)
#define ANSWER	"/tmp/mem.answer"
#define GROUP	"/sys/fs/cgroup/bench"
#define FAULTS	2048	/* of a round of `mem faults` */
#define ROUNDS	65

enum shape { NONE, SMALL, HUGES, SINGLE, SPARSE, TOUCH };
static const char *const shapes[] = { "none", "small", "huge", "single", "sparse", "touch" };

static char *area;
static size_t area_size;
static enum shape area_shape;

static void die(const char *what)
{
	fprintf(stderr, "mem: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* So much memory is had for what is kept of it. */
static size_t spread(enum shape s)
{
	return s == SINGLE ? 2 : s == SPARSE ? 4 : 1;
}

static bool heads(uint64_t x)
{
	x *= 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 31) * 0x94d049bb133111ebULL;
	return x >> 63;
}

/* Keeps the pages that stand in even frames: whatever lies between them is somebody else's or free. */
static void keep_singles(void)
{
	size_t nr = area_size / PAGE;
	uint64_t *map = malloc(512 * sizeof(*map));
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	for (size_t i = 0; i < nr; i += 512) {
		if (pread(fd, map, 512 * sizeof(*map), ((uintptr_t)area / PAGE + i) * sizeof(*map)) != 512 * sizeof(*map))
			die("pagemap");
		for (size_t j = 0; j < 512; j++)
			if (((map[j] & 1) || (area_shape == SPARSE && heads(map[j]))) &&
			    madvise(area + (i + j) * PAGE, PAGE, MADV_DONTNEED))
				die("madvise");
	}
	close(fd);
	free(map);
}

static long long touch(void)
{
	long long begin = now();

	for (size_t i = 0; i < area_size; i += PAGE)
		*(volatile char *)(area + i) = 1;
	return now() - begin;
}

/* Returns how long touching took. */
static long long have(enum shape shape, size_t mib)
{
	long long ns;

	if (area_size)
		munmap(area, area_size);
	area_size = shape == NONE ? 0 : (mib << 20) * spread(shape);
	area_shape = shape;
	if (!area_size)
		return 0;
	/* Where a huge page may begin. */
	area = mmap((void *)0x200000000000, area_size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
	if (area == MAP_FAILED)
		die("mmap");
	madvise(area, area_size, shape == HUGES ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	ns = touch();
	if (spread(shape) > 1)
		keep_singles();
	return ns;
}

/* --- a process that is kept: SIGRTMIN with shape and size, an answer in a file --- */

static void keep(void)
{
	sigset_t set;
	siginfo_t si;

	/* before anybody knows whom to ask */
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	printf("pid %d\n", getpid());
	fflush(stdout);
	setsid();
	for (int i = 0, null = open("/dev/null", O_RDWR); i < 3; i++)
		dup2(null, i);
	for (int i = 3; i < 10; i++)
		close(i);
	for (;;) {
		enum shape s;
		long long ns;
		FILE *f;

		if (sigwaitinfo(&set, &si) < 0)
			continue;
		s = si.si_value.sival_int % 8;
		ns = s == TOUCH ? touch() : have(s, si.si_value.sival_int / 8);
		f = fopen(ANSWER ".new", "we");
		if (!f || fprintf(f, "{\"what\": \"%s\", \"pages\": %zu, \"ns\": %lld}\n", shapes[s], area_size / PAGE / spread(area_shape), ns) < 0 ||
		    fclose(f) || rename(ANSWER ".new", ANSWER))
			_exit(1);
	}
}

static enum shape shape_of(const char *name)
{
	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++)
		if (!strcmp(name, shapes[i]))
			return i;
	fprintf(stderr, "mem: no shape %s\n", name);
	exit(2);
}

static int ask(pid_t pid, enum shape shape, int mib)
{
	union sigval v = { .sival_int = mib * 8 + shape };
	char line[256];
	FILE *f;

	unlink(ANSWER);
	if (sigqueue(pid, SIGRTMIN, v))
		die("the kept process");
	while (!(f = fopen(ANSWER, "re"))) {
		if (kill(pid, 0))
			die("the kept process is gone");
		usleep(20000);
	}
	if (!fgets(line, sizeof(line), f))
		die(ANSWER);
	fputs(line, stdout);
	return 0;
}

/* --- the module --- */

static int dev;
static long long took;
static char why[KUP_WHY_LEN];

#define CALL(request, arg) ({								\
	long long begin_ = now();							\
	int ret_ = ioctl(dev, request, arg);						\
	took = now() - begin_;								\
	memcpy(why, (arg)->why, sizeof(why));						\
	ret_;										\
})

static void must(int ret, const char *what)
{
	if (!ret)
		return;
	fprintf(stderr, "mem: %s: %s: %s\n", what, strerror(errno), why);
	exit(1);
}

static void simple(unsigned long request, uint32_t flags, const char *what)
{
	struct kup_simple s = { .size = sizeof(s), .flags = flags };

	must(CALL(request, &s), what);
}

static int drain(pid_t pid, size_t mib)
{
	long long begin = now(), bound;
	size_t pages = 0;
	char path[64];
	FILE *f;

	simple(KUP_IOC_DRAIN, KUP_DRAIN_RUN, "DRAIN run");
	/* By what the process has: STATUS would wait while the hooks are removed. Its counter may be some pages behind. */
	snprintf(path, sizeof(path), "/proc/%d/statm", pid);
	while (pages + 512 < mib << 8) {
		usleep(1000);
		f = fopen(path, "re");
		if (!f || fscanf(f, "%*u %zu", &pages) != 1)
			die(path);
		fclose(f);
	}
	bound = now() - begin;
	simple(KUP_IOC_DRAIN, KUP_DRAIN_WAIT, "DRAIN wait");
	printf("{\"what\": \"drain\", \"ns\": %lld, \"till_idle_ns\": %lld}\n", bound, now() - begin);
	return 0;
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static void freeze(bool on)
{
	char text[256];

	put(GROUP "/cgroup.freeze", on ? "1" : "0");
	for (;;) {
		FILE *f = fopen(GROUP "/cgroup.events", "re");
		size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

		if (!f)
			die(GROUP);
		fclose(f);
		text[n] = 0;
		if (!!strstr(text, "frozen 1") == on)
			return;
		usleep(1000);
	}
}

static int seal(enum shape shape, size_t mib, int n)
{
	long long preserve[n], sealed[n], dump[n];
	struct kup_seal s;
	char command[256], text[16], go = 0;
	int pipes[2], dumps = spread(shape) > 1 ? 0 : n;
	uint64_t pages = 0, huge = 0;
	pid_t pid;

	if ((mkdir(GROUP, 0755) && errno != EEXIST) || pipe(pipes))
		die(GROUP);
	pid = fork();
	if (!pid) {
		have(shape, mib);
		snprintf(text, sizeof(text), "%d", getpid());
		put(GROUP "/cgroup.procs", text);
		setsid();
		if (write(pipes[1], &go, 1) != 1)
			_exit(1);
		close(pipes[0]);
		close(pipes[1]);
		close(dev);
		for (int i = 0, null = open("/dev/null", O_RDWR); i < 3; i++)
			dup2(null, i);
		close(3);
		for (;;)
			pause();
	}
	if (read(pipes[0], &go, 1) != 1)
		die("the process to be sealed");
	for (int i = 0; i < n; i++) {
		struct kup_prepare p = { .size = sizeof(p), .window_size = WINDOW };
		struct kup_preserve v = { .size = sizeof(v), .pid = pid };

		must(CALL(KUP_IOC_PREPARE, &p), "PREPARE");
		freeze(true);
		must(CALL(KUP_IOC_PRESERVE, &v), "PRESERVE");
		preserve[i] = took;
		s = (struct kup_seal){ .size = sizeof(s) };
		must(CALL(KUP_IOC_SEAL, &s), "SEAL");
		sealed[i] = took;
		simple(KUP_IOC_ABORT, 0, "ABORT");
		freeze(false);
		pages = v.pages;
		huge = v.huge;
	}
	for (int i = 0; i < dumps; i++) {
		snprintf(command, sizeof(command), "rm -rf /tmp/dump; mkdir /tmp/dump; exec criu dump -t %d -D /tmp/dump "
			 "--leave-running --shell-job -v0", pid);
		long long begin = now();

		if (system(command))
			die("criu dump");
		dump[i] = now() - begin;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	if (system("rm -rf /tmp/dump"))
		die("rm");
	printf("{\"what\": \"seal\", \"shape\": \"%s\", \"pages\": %llu, \"huge\": %llu, \"frames\": %llu, \"extents\": %u, \"meta_bytes\": %llu, \"runs\": [",
	       shapes[shape], (unsigned long long)pages, (unsigned long long)huge, (unsigned long long)s.frames, s.extents,
	       (unsigned long long)s.meta_bytes);
	for (int i = 0; i < n; i++) {
		printf("%s{\"preserve\": %lld, \"seal\": %lld", i ? ", " : "", preserve[i], sealed[i]);
		if (i < dumps)
			printf(", \"dump\": %lld", dump[i]);
		printf("}");
	}
	puts("]}");
	return 0;
}

/* --- a process that is not kept --- */

static int by_value(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return x < y ? -1 : x > y;
}

static int faults(void)
{
	long long t[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		area_size = FAULTS * PAGE;
		area = mmap(NULL, area_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		madvise(area, area_size, MADV_NOHUGEPAGE);
		t[i] = touch();
		munmap(area, area_size);
	}
	qsort(t, ROUNDS, sizeof(*t), by_value);
	printf("{\"what\": \"faults\", \"least\": %.1f, \"median\": %.1f, \"most\": %.1f}\n", (double)t[0] / FAULTS, (double)t[ROUNDS / 2] / FAULTS,
	       (double)t[ROUNDS - 1] / FAULTS);
	return 0;
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	if (!strcmp(verb, "keep"))
		keep();
	if (!strcmp(verb, "ask") && argc == 5)
		return ask(atoi(argv[2]), shape_of(argv[3]), atoi(argv[4]));
	if (!strcmp(verb, "ask") && argc == 4)
		return ask(atoi(argv[2]), shape_of(argv[3]), 0);
	if (!strcmp(verb, "faults"))
		return faults();
	dev = open(KUP_DEVICE, O_RDWR | O_CLOEXEC);
	if (dev < 0)
		die(KUP_DEVICE);
	if (!strcmp(verb, "drain") && argc == 4)
		return drain(atoi(argv[2]), atoi(argv[3]));
	if (!strcmp(verb, "seal") && argc == 5)
		return seal(shape_of(argv[2]), atoi(argv[3]), atoi(argv[4]));
	fputs("mem: see the top of mem.c\n", stderr);
	return 2;
}
