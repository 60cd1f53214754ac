// SPDX-License-Identifier: GPL-2.0
/*
 * Who may open /dev/kup_ppp, and what those who may can do to the kernel through it. Runs as root in a test guest with kup_fake.ko
 * loaded; KTAP on stdout.
 *
 *   fuzz_ioctl SECONDS [SEED]
 *
 * Several processes call everything at once, out of order, with right structures and with wrong sizes, flags, pointers, addresses and
 * pids. Others are what they act upon: they touch their memory, fork, are frozen, thawed and killed in the middle. The kernel's console
 * tells the result, and these: the state can be brought back to idle, no memory is missing, and every call was both refused and
 * done, or the fuzzing was shallow.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <kup/handover.h>
#include <kup/map.h>
#include <uapi/kup_ppp.h>
#include "kup_fake.h"
#include "guest_ktap.h"
#include "meminfo.h"

#define PAGE		4096UL
#define CHUNK		(512 * PAGE)
#define BASE		0x200000000000UL	/* of what the fake handover holds, and victims have mapped */
#define SPAN		(4 * CHUNK)
#define OLD_PID		77u
#define NR_VICTIMS	4
#define NR_WORKERS	3
#define GROUP		"/sys/fs/cgroup/fuzz_ioctl"

#define COMMANDS(C) \
	C(STATUS, kup_status) C(SCAN, kup_scan) C(PREPARE, kup_prepare) C(PRESERVE, kup_preserve) C(SEAL, kup_seal) C(ABORT, kup_simple) \
	C(ADOPT, kup_adopt) C(ATTACH, kup_attach) C(COMMIT, kup_simple) C(DRAIN, kup_simple) C(NETLOCK, kup_simple) \
	C(FALLBACK, kup_fallback) C(VERIFY, kup_verify) C(PRESERVE_SHMEM, kup_shmem) C(ATTACH_SHMEM, kup_shmem)
#define ENTRY(name, type) { #name, KUP_IOC_##name, sizeof(struct type) },
static const struct command {
	const char *name;
	unsigned long cmd;
	size_t size;
} commands[] = { COMMANDS(ENTRY) };
#define NR_COMMANDS	(sizeof(commands) / sizeof(*commands))
enum { STATUS, SCAN, PREPARE, PRESERVE, SEAL, ABORT, ADOPT, ATTACH, COMMIT, DRAIN, NETLOCK, FALLBACK, VERIFY, PRESERVE_SHMEM, ATTACH_SHMEM, WRITE, READ, NR_COUNTED };

/* Of all processes. */
static struct shared {
	volatile bool stop;
	volatile pid_t victim[NR_VICTIMS];
	unsigned long done[NR_COUNTED], refused[NR_COUNTED], killed;
} *shared;

static uint64_t seed;
static int dev = -1, fake = -1;
static int shmem[3] = { -1, -1, -1 };	/* two memfds, and a file of no tmpfs */

static uint32_t rnd(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed >> 11) % below;
}

static bool put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

/* ---- who may ---- */

/* The errno with which a child that has run @less opens the device; 0: it can. */
static int opens(bool (*less)(void))
{
	pid_t pid = fork();
	int st, fd;

	if (!pid) {
		if (!less())
			_exit(200);
		fd = open(KUP_DEVICE, O_RDWR);
		_exit(fd >= 0 ? 0 : errno);
	}
	return waitpid(pid, &st, 0) == pid && WIFEXITED(st) ? WEXITSTATUS(st) : 201;
}

static bool nothing(void) { return true; }
static bool nobody(void) { return !setgid(65534) && !setuid(65534); }
static bool root_of_a_namespace(void) { return !unshare(CLONE_NEWUSER); }

static bool without_sys_admin(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];

	if (syscall(SYS_capget, &head, caps))
		return false;
	caps[0].effective &= ~(1u << CAP_SYS_ADMIN);
	return !syscall(SYS_capset, &head, caps);
}

static bool nobody_though_the_mode_allows(void)
{
	return !chmod(KUP_DEVICE, 0666) && nobody();
}

static void test_rights(void)
{
	ok(opens(nothing) == 0, "root opens the device");
	ok(opens(nobody) == EACCES, "nobody does not");
	ok(opens(nobody_though_the_mode_allows) == EPERM, "not even if the file's mode allows it");
	chmod(KUP_DEVICE, 0600);
	ok(opens(without_sys_admin) == EPERM, "nor root without CAP_SYS_ADMIN");
	ok(opens(root_of_a_namespace) == EPERM, "nor root of a user namespace");
}

/* ---- those who are acted upon ---- */

static void on_tick(int sig)
{
	(void)sig;
}

static void victim(void)
{
	volatile uint64_t *p = mmap((void *)BASE, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	bool keep = rnd(2);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (rnd(2))
		madvise((void *)p, SPAN, MADV_HUGEPAGE);
	for (;;) {
		size_t at = rnd(SPAN / PAGE) * PAGE / 8;
		pid_t pid;

		switch (rnd(keep ? 3 : 8)) {
		case 0: case 1:
			p[at] = at;
			break;
		case 2:
			usleep(rnd(10000));
			break;
		case 3:
			madvise((void *)&p[at], PAGE, MADV_DONTNEED);
			break;
		case 4:
			munmap((void *)&p[at], PAGE);
			mmap((void *)&p[at], PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			break;
		case 5:
			pid = fork();
			if (!pid)
				_exit(p[at]);
			waitpid(pid, NULL, 0);
			break;
		case 6:
			mprotect((void *)&p[at], PAGE, PROT_READ);
			mprotect((void *)&p[at], PAGE, PROT_READ | PROT_WRITE);
			break;
		case 7:
			if (!rnd(500))
				_exit(0);
			break;
		}
	}
}

/* Has them live and die. */
static void warden(void)
{
	char text[32];
	pid_t pid;

	while (!shared->stop) {
		unsigned int i = rnd(NR_VICTIMS);

		if (!shared->victim[i]) {
			pid = fork();
			if (!pid) {
				seed += getpid() * 7919;
				snprintf(text, sizeof(text), "%d", getpid());
				put(GROUP "/cgroup.procs", text);
				victim();
			}
			shared->victim[i] = pid;
		} else if (!rnd(12)) {
			kill(shared->victim[i], SIGKILL);
			shared->killed++;
		}
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
			for (unsigned int n = 0; n < NR_VICTIMS; n++)
				if (shared->victim[n] == pid)
					shared->victim[n] = 0;
		put(GROUP "/cgroup.freeze", rnd(3) ? "1" : "0");
		usleep(rnd(60000));
	}
	put(GROUP "/cgroup.freeze", "0");
	put(GROUP "/cgroup.kill", "1");
	while (wait(NULL) > 0)
		;
	_exit(0);
}

/* ---- those who call ---- */

static int32_t some_pid(void)
{
	static const int32_t odd[] = { 0, 1, 2, -1, INT32_MAX, INT32_MIN, 999999 };

	return rnd(8) ? shared->victim[rnd(NR_VICTIMS)] : rnd(3) ? odd[rnd(7)] : rnd(2) ? getpid() : getppid();
}

static uint64_t some_number(void)
{
	static const uint64_t odd[] = { 0, 1, 4095, 4096, 2 << 20, 4 << 20, 1ULL << 32, 1ULL << 46, 1ULL << 52, 1ULL << 63, -4096ULL,
					-(2ULL << 20), -(4ULL << 20), ~0ULL };

	return rnd(2) ? odd[rnd(14)] : (uint64_t)rnd(1 << 30) * (rnd(2) ? 2 << 20 : 1);
}

/* What a call may hand over, mostly as it should be. */
static void fill(unsigned int c, void *arg)
{
	struct kup_prepare *p = arg;
	struct kup_attach *a = arg;

	memset(arg, 0, commands[c].size);
	switch (c) {
	case SCAN: case PRESERVE:
		((struct kup_scan *)arg)->pid = some_pid();
		break;
	case PREPARE:
		p->window_size = rnd(4) ? (1 + rnd(8)) * (2UL << 20) : some_number();
		p->window_limit = rnd(4) ? 0 : some_number();
		break;
	case SEAL:
		((struct kup_seal *)arg)->flags = rnd(2) ? KUP_SEAL_SUMS : 0;
		((struct kup_seal *)arg)->min_free = rnd(3) ? 4096 : some_number();
		break;
	case ADOPT:
		((struct kup_adopt *)arg)->area = some_number();
		break;
	case PRESERVE_SHMEM: case ATTACH_SHMEM:
		((struct kup_shmem *)arg)->fd = rnd(16) ? shmem[rnd(16) ? rnd(2) : 2] : (int32_t)some_number();
		((struct kup_shmem *)arg)->id = c == ATTACH_SHMEM && rnd(8) ? OLD_PID : rnd(4);
		((struct kup_shmem *)arg)->pid = rnd(4) ? getpid() : some_pid();
		break;
	case ATTACH:
		a->pid = some_pid();
		a->old_pid = rnd(8) ? OLD_PID : rnd(1000);
		break;
	case DRAIN:
		*(uint32_t *)(arg + 4) = rnd(2) ? KUP_DRAIN_RUN : rnd(8);
		break;
	case NETLOCK:
		((struct kup_simple *)arg)->arg = rnd(8) ? rnd(4) : some_number();
		break;
	case FALLBACK:
		((struct kup_fallback *)arg)->op = rnd(8) ? 1 + rnd(5) : some_number();
		((struct kup_fallback *)arg)->boot_seconds = rnd(8) ? 1 + rnd(60) : some_number();
		((struct kup_fallback *)arg)->seconds = rnd(8) ? 1 + rnd(60) : some_number();
		break;
	}
	*(uint32_t *)arg = commands[c].size;
	if (!rnd(10))
		*(uint32_t *)arg = rnd(3) ? commands[c].size + rnd(17) - 8 : some_number();
	if (!rnd(10))
		*(uint32_t *)(arg + 4) = rnd(2) ? 1u << rnd(32) : some_number();
	if (!rnd(10))
		memset(arg + 8 + rnd(commands[c].size - 8), rnd(256), 1);
}

static void *bad_pointer(size_t size)
{
	static char *pages;	/* the second one is not there, the third cannot be written */

	if (!pages) {
		pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		munmap(pages + PAGE, PAGE);
		mprotect(pages + 2 * PAGE, PAGE, PROT_READ);
	}
	switch (rnd(6)) {
	case 0:
		return NULL;
	case 1:
		return (void *)-8UL;
	case 2:
		return (void *)0xffff888000000000UL;
	case 3:
		return (void *)0x7ffffffff000UL;
	case 4:
		return pages + 2 * PAGE;
	default:
		return pages + PAGE - rnd(size);
	}
}

static void count(unsigned int c, long ret)
{
	__atomic_add_fetch(ret < 0 ? &shared->refused[c] : &shared->done[c], 1, __ATOMIC_RELAXED);
}

static void call(unsigned int c)
{
	uint64_t arg[128];

	if (commands[c].size > sizeof(arg))
		abort();
	fill(c, arg);
	if (!rnd(12))
		count(c, ioctl(dev, commands[c].cmd, bad_pointer(commands[c].size)));
	else if (!rnd(20))
		ioctl(dev, rnd(2) ? commands[c].cmd ^ 1u << rnd(32) : (unsigned long)some_number(), arg);
	else
		count(c, ioctl(dev, commands[c].cmd, arg));
}

static void read_or_write(void)
{
	static char buf[65536];
	size_t len = rnd(4) ? rnd(sizeof(buf)) : some_number();
	bool sound = len <= sizeof(buf);

	if (rnd(3))
		count(WRITE, write(dev, sound && rnd(8) ? buf : bad_pointer(PAGE), sound ? len : len % (64 << 20)));
	else
		count(READ, pread(dev, sound && rnd(8) ? buf : bad_pointer(PAGE), len, rnd(2) ? rnd(1 << 20) : some_number()));
}

/* Somebody uses the files meanwhile. */
static void use_shmem(void)
{
	off_t at = rnd(SPAN / PAGE) * PAGE, len = (1 + rnd(600)) * PAGE;
	int fd = shmem[rnd(2)];
	char *p;

	switch (rnd(6)) {
	case 0:
		if (ftruncate(fd, rnd(3) ? SPAN : at) || ftruncate(fd, SPAN))
			abort();
		break;
	case 1:
		fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, len);
		break;
	case 2:
		fallocate(fd, FALLOC_FL_KEEP_SIZE, at, len);
		break;
	case 3:
		lseek(fd, at, SEEK_DATA);
		break;
	case 4:
		p = mmap(NULL, SPAN, PROT_READ | PROT_WRITE, MAP_SHARED | (rnd(2) ? MAP_POPULATE : 0), fd, 0);
		if (p != MAP_FAILED) {
			madvise(p, SPAN, MADV_PAGEOUT);
			munmap(p, SPAN);
		}
		break;
	default:
		if (pwrite(fd, &at, sizeof(at), at) != sizeof(at) && errno != EINTR)
			abort();
	}
}

/* Old side: in order mostly, so that it gets far; anything else in between. */
static void old_side(void)
{
	static const unsigned int order[] = { PREPARE, WRITE, PRESERVE, PRESERVE_SHMEM, PRESERVE, PRESERVE, PRESERVE_SHMEM, NETLOCK, SEAL, SCAN, ABORT };
	static unsigned int at;
	struct kup_status st = { .size = sizeof(st) };
	unsigned int c = rnd(4) ? order[at % 11] : rnd(NR_COUNTED);

	/* Leaves the new side alone, mostly, while that is at work. */
	if (!ioctl(dev, KUP_IOC_STATUS, &st) && st.state >= KUP_STATE_ADOPTED && rnd(8)) {
		usleep(5000);
		return;
	}
	at++;
	if (c >= WRITE)
		read_or_write();
	else
		call(c);
	if (c == PRESERVE)
		usleep(rnd(3000));
}

/* New side: a sound handover that only this process knows of, then anybody may do anything to what was adopted. */
static void new_side(void)
{
	struct fake_chunk chunks[3] = { { .addr = BASE, .pid = OLD_PID }, { .addr = BASE + CHUNK, .pid = OLD_PID },
					{ .addr = BASE + 3 * CHUNK, .pid = OLD_PID } };
	struct fake_handover f = { .chunks = (uintptr_t)chunks, .nr_chunks = 3, .defect = rnd(4) ? FAKE_FINE : rnd(FAKE_NR),
				   .store_size = rnd(20000), .extra_pages = rnd(40), .sums = rnd(4), .flags = rnd(3) ? 0 : KUP_MM_SHMEM };
	static const unsigned int order[] = { VERIFY, ATTACH, READ, ATTACH, ATTACH_SHMEM, NETLOCK, FALLBACK, COMMIT, DRAIN, ABORT };
	struct kup_adopt a = { .size = sizeof(a), .flags = rnd(2) };
	struct kup_status st = { .size = sizeof(st) };
	long ret;

	if (ioctl(dev, KUP_IOC_STATUS, &st) || st.state != KUP_STATE_IDLE)
		return;
	for (unsigned int i = 0; i < 3 && f.flags; i++)
		chunks[i].addr -= BASE;
	for (unsigned int i = 0; i < 3; i++)
		for (unsigned int n = 0; n < 8; n++)
			chunks[i].present[n] = rnd(2) ? (uint64_t)rnd(~0u) * rnd(~0u) | 1 : i == 1 ? ~0ULL : 1;
	if (ioctl(fake, FAKE_IOC_MAKE, &f))
		return;
	a.area = f.area;
	do
		ret = ioctl(dev, KUP_IOC_ADOPT, &a);
	while (ret && errno == EINTR);
	count(ADOPT, ret);
	if (ret) {
		ioctl(fake, FAKE_IOC_UNMAKE);
		return;
	}
	for (unsigned int i = 0, nr = rnd(12); i < nr; i++) {
		unsigned int c = i < 1 ? VERIFY : i < 4 ? (f.flags ? ATTACH_SHMEM : ATTACH) : rnd(4) ? order[rnd(10)] : rnd(NR_COUNTED);

		if (c >= WRITE)
			read_or_write();
		else
			call(c);
		usleep(rnd(2000));
	}
}

static void worker(unsigned int n)
{
	struct itimerval tick = { { 0, 150000 }, { 0, 150000 } };
	struct sigaction sa = { .sa_handler = on_tick };	/* no SA_RESTART: what waits is interrupted */

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	seed += n * 104729 + 1;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &tick, NULL);
	while (!shared->stop) {
		if (n == 0 && !rnd(3))
			new_side();
		else if (n == 1)
			old_side();
		else if (rnd(8))
			call(rnd(NR_COMMANDS));
		else
			read_or_write();
		if (!rnd(10))
			use_shmem();
		if (!rnd(50))
			close(open(KUP_DEVICE, O_RDWR));
		/* Hold the state for a while now and then, or nobody gets far in it. */
		if (n == 2)
			usleep(rnd(20000));
	}
	_exit(0);
}

/* ---- the whole ---- */

/* 0 if it is idle in the end. */
static unsigned int bring_to_rest(char *why)
{
	struct kup_status st;

	for (int i = 0; i < 100; i++) {
		struct kup_simple drain = { .size = sizeof(drain), .flags = KUP_DRAIN_RUN }, abort = { .size = sizeof(abort) },
				  commit = abort;

		st = (struct kup_status) { .size = sizeof(st) };
		if (ioctl(dev, KUP_IOC_STATUS, &st)) {
			sprintf(why, "no status: %s", strerror(errno));
			return ~0u;
		}
		if (st.state == KUP_STATE_IDLE)
			return 0;
		ioctl(dev, KUP_IOC_DRAIN, &drain);
		if (st.state != KUP_STATE_DRAINING && ioctl(dev, KUP_IOC_ABORT, &abort) && st.state == KUP_STATE_ADOPTED)
			ioctl(dev, KUP_IOC_COMMIT, &commit);
		strcpy(why, abort.why);
		usleep(100000);
	}
	return st.state;
}

/* Every call was done and refused; on a slow machine that takes longer than was asked for. */
static bool got_far(void)
{
	for (unsigned int i = 0; i < NR_COUNTED; i++)
		if (!shared->done[i] || !shared->refused[i])
			return false;
	return true;
}

static void fuzz(unsigned int seconds)
{
	pid_t pid[NR_WORKERS], keeper;
	unsigned int i, state;
	char why[KUP_WHY_LEN] = "";
	time_t begin = time(NULL);
	bool alive = true;

	keeper = fork();
	if (!keeper)
		warden();
	for (i = 0; i < NR_WORKERS; i++) {
		pid[i] = fork();
		if (!pid[i])
			worker(i);
	}
	while (time(NULL) < begin + seconds || (!got_far() && time(NULL) < begin + 4 * seconds))
		usleep(100000);
	shared->stop = true;
	for (i = 0; i < NR_WORKERS; i++) {
		int st;

		alive &= waitpid(pid[i], &st, 0) == pid[i] && WIFEXITED(st) && !WEXITSTATUS(st);
	}
	waitpid(keeper, NULL, 0);
	ok(alive, "all callers came back");
	state = bring_to_rest(why);
	ok(!state, "the state can be brought to idle (is %u) %s", state, why);
}

int main(int argc, char **argv)
{
	unsigned int seconds = argc > 1 ? atoi(argv[1]) : 30;
	unsigned long calls = 0;
	long total;

	seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	printf("KTAP version 1\n# %u s, seed %lu\n", seconds, (unsigned long)seed);
	seed = seed * 0x9e3779b97f4a7c15ULL | 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	test_rights();
	/* The network that is closed here is nobody's. */
	if (unshare(CLONE_NEWNET) || (mkdir(GROUP, 0755) && errno != EEXIST)) {
		printf("Bail out! no network namespace, or no cgroup: %m\n");
		return 1;
	}
	dev = open(KUP_DEVICE, O_RDWR | O_CLOEXEC);
	fake = open("/dev/kup_fake", O_RDWR | O_CLOEXEC);
	if (dev < 0 || fake < 0) {
		printf("Bail out! no device: %m\n");
		return 1;
	}
	shmem[0] = memfd_create("one", MFD_CLOEXEC);
	shmem[1] = memfd_create("two", MFD_CLOEXEC);
	shmem[2] = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (shmem[2] < 0 || ftruncate(shmem[0], SPAN) || ftruncate(shmem[1], SPAN)) {
		printf("Bail out! no memfd: %m\n");
		return 1;
	}
	total = meminfo("MemTotal:");
	fuzz(seconds);
	ok(meminfo("MemTotal:") == total, "no memory is missing: %ld of %ld kB", meminfo("MemTotal:"), total);
	for (unsigned int i = 0; i < NR_COUNTED; i++) {
		const char *name = i < NR_COMMANDS ? commands[i].name : i == WRITE ? "write" : "read";

		calls += shared->done[i] + shared->refused[i];
		ok(shared->done[i] && shared->refused[i], "%s: %lu done, %lu refused", name, shared->done[i], shared->refused[i]);
	}
	printf("# %lu calls, %lu processes killed\n1..%u\n", calls, shared->killed, tests);
	return !!failures;
}
