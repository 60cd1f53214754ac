// SPDX-License-Identifier: GPL-2.0
/* Registers, rseq, futexes, and what a thread is in the middle of. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../resources.h"

struct regs {
	unsigned char ymm[16][32];
	uint64_t general[8];	/* rbx, r8, r9, r10, r12 to r15 */
	uint64_t st[2];		/* as integers */
	uint32_t mxcsr;
	uint16_t fcw;
};

/* All that is loaded before the middle part, and stored after it. */
#define YMM(op, dir, base)										\
	dir(op, 0, base) dir(op, 1, base) dir(op, 2, base) dir(op, 3, base) dir(op, 4, base) dir(op, 5, base)	\
	dir(op, 6, base) dir(op, 7, base) dir(op, 8, base) dir(op, 9, base) dir(op, 10, base) dir(op, 11, base)	\
	dir(op, 12, base) dir(op, 13, base) dir(op, 14, base) dir(op, 15, base)
#define LOAD(op, n, base)	"vmovdqu 32*" #n "(" base "), %%ymm" #n "\n"
#define STORE(op, n, base)	"vmovdqu %%ymm" #n ", 32*" #n "(" base ")\n"
#define CLOBBERS	"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", \
			"xmm13", "xmm14", "xmm15", "memory", "cc", "rax", "rcx", "r11"

/* Spins with everything loaded until *@flag is not 0. */
static void spin_with(const struct regs *in, struct regs *out, const volatile int *flag)
{
	asm volatile(
		YMM(, LOAD, "%%rsi")
		"push %%rbp\n"
		"mov 512(%%rsi), %%rbx\n mov 520(%%rsi), %%r8\n mov 528(%%rsi), %%r9\n mov 536(%%rsi), %%r10\n"
		"mov 544(%%rsi), %%r12\n mov 552(%%rsi), %%r13\n mov 560(%%rsi), %%r14\n mov 568(%%rsi), %%r15\n"
		"mov $0x7777777777, %%rbp\n"
		"fldcw 596(%%rsi)\n ldmxcsr 592(%%rsi)\n"
		"fildll 576(%%rsi)\n fildll 584(%%rsi)\n"
		"stc\n"
		"1: pause\n mov (%%rdx), %%eax\n movzbl %%al, %%eax\n jrcxz 2f\n"
		"2: test %%eax, %%eax\n jz 1b\n"
		"mov $0x7777777777, %%rax\n cmp %%rax, %%rbp\n je 3f\n ud2\n"
		"3: pop %%rbp\n"
		"fistpll 584(%%rdi)\n fistpll 576(%%rdi)\n"
		"stmxcsr 592(%%rdi)\n fnstcw 596(%%rdi)\n"
		"mov %%rbx, 512(%%rdi)\n mov %%r8, 520(%%rdi)\n mov %%r9, 528(%%rdi)\n mov %%r10, 536(%%rdi)\n"
		"mov %%r12, 544(%%rdi)\n mov %%r13, 552(%%rdi)\n mov %%r14, 560(%%rdi)\n mov %%r15, 568(%%rdi)\n"
		YMM(, STORE, "%%rdi")
		: : "S"(in), "D"(out), "d"(flag) : CLOBBERS, "rbx", "r8", "r9", "r10", "r12", "r13", "r14", "r15");
}

/* read(@fd) with everything loaded; how often it was interrupted does not matter. */
static long read_with(const struct regs *in, struct regs *out, int fd)
{
	static __thread char byte;
	register long r12 asm("r12") = fd;
	register char *r13 asm("r13") = &byte;
	long ret;

	asm volatile(
		YMM(, LOAD, "%[in]")
		"1: mov $0, %%eax\n mov %%r12, %%rdi\n mov %%r13, %%rsi\n mov $1, %%edx\n"
		"syscall\n cmp $-4, %%rax\n je 1b\n"
		YMM(, STORE, "%[out]")
		: "=a"(ret)
		: [in] "r"(in), [out] "r"(out), "r"(r12), "r"(r13)
		: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
		  "xmm14", "xmm15", "memory", "cc", "rcx", "r11", "rdi", "rsi", "rdx");
	return ret;
}

static struct regs in[3], out[3];
static volatile int stop;
static int gates[2];

static void *spinner(void *arg)
{
	long i = (long)arg;

	setpriority(PRIO_PROCESS, gettid(), 19);
	spin_with(&in[i], &out[i], &stop);
	return NULL;
}

static void *reader(void *arg)
{
	long i = (long)arg;

	SAME(read_with(&in[i], &out[i], gates[0]), 1);
	return NULL;
}

TEST(registers)
{
	pthread_t t[3];
	long i;

	_Static_assert(offsetof(struct regs, general) == 512 && offsetof(struct regs, st) == 576 &&
		       offsetof(struct regs, mxcsr) == 592 && offsetof(struct regs, fcw) == 596, "the assembly knows them");
	MUST(__builtin_cpu_supports("avx"));
	MUST(!pipe(gates));
	for (i = 0; i < 3; i++) {
		fill(&in[i], sizeof(in[i]), i * 10000);
		in[i].st[0] = 123456789 + i;
		in[i].st[1] = -987654321 - i;
		in[i].mxcsr = 0x1f80 | 0x6000;	/* rounds towards zero */
		in[i].fcw = 0x37f | 0xc00;
	}
	for (i = 0; i < 3; i++)
		MUST(!pthread_create(&t[i], NULL, i < 2 ? spinner : reader, (void *)i));
	usleep(100000);
	hold();
	stop = 1;
	MUST(write(gates[1], "", 1) == 1);
	for (i = 0; i < 3; i++) {
		pthread_join(t[i], NULL);
		EXPECT(!memcmp(in[i].ymm, out[i].ymm, sizeof(in[i].ymm)));
	}
	for (i = 0; i < 2; i++) {
		EXPECT(!memcmp(in[i].general, out[i].general, sizeof(in[i].general)));
		SAME(in[i].st[0], out[i].st[0]);
		SAME(in[i].st[1], out[i].st[1]);
		SAME(in[i].mxcsr & 0xffc0, out[i].mxcsr & 0xffc0);
		SAME(in[i].fcw, out[i].fcw);
	}
}

TEST(segment_bases)
{
	unsigned long fs = 0, gs = 0, now = 0;

	MUST(!syscall(SYS_arch_prctl, 0x1001, 0x123456789000UL));	/* ARCH_SET_GS */
	syscall(SYS_arch_prctl, 0x1003, &fs);
	syscall(SYS_arch_prctl, 0x1004, &gs);
	hold();
	syscall(SYS_arch_prctl, 0x1003, &now);
	SAME(now, fs);
	syscall(SYS_arch_prctl, 0x1004, &now);
	SAME(now, gs);
	SAME(now, 0x123456789000UL);
}

/* The area that libc registered is written by the new kernel as well. */
TEST(rseq)
{
	volatile struct rseq *r = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
	cpu_set_t set;
	int cpu;

	MUST(__rseq_size);
	hold();
	for (cpu = 0; cpu < 2; cpu++) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		MUST(!sched_setaffinity(0, sizeof(set), &set));
		SAME(r->cpu_id, cpu);
		SAME(sched_getcpu(), cpu);
	}
}

static struct shared {
	pthread_mutex_t mutex;
	volatile int step;
} *shared;

static void hold_mutex(int sock)
{
	pthread_mutex_lock(&shared->mutex);
	tell(sock);
	await(sock);
	_exit(0);	/* with the mutex */
}

static void make_shared(int protocol)
{
	pthread_mutexattr_t a;

	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(shared != MAP_FAILED);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutexattr_setprotocol(&a, protocol);
	MUST(!pthread_mutex_init(&shared->mutex, &a));
}

static void robust(int protocol)
{
	int a, st;
	pid_t pid;

	make_shared(protocol);
	pid = child(hold_mutex, &a);
	await(a);
	hold();
	SAME(pthread_mutex_trylock(&shared->mutex), EBUSY);
	tell(a);
	SAME(waitpid(pid, &st, 0), pid);
	SAME(pthread_mutex_lock(&shared->mutex), EOWNERDEAD);
	SAME(pthread_mutex_consistent(&shared->mutex), 0);
	SAME(pthread_mutex_unlock(&shared->mutex), 0);
}

TEST(robust_futex) { robust(PTHREAD_PRIO_NONE); }
TEST(robust_pi) { robust(PTHREAD_PRIO_INHERIT); }

static void wait_mutex(int sock)
{
	tell(sock);
	send_answer(sock, pthread_mutex_lock(&shared->mutex));
	pthread_mutex_unlock(&shared->mutex);
	pause();
}

static void waiter(int protocol)
{
	int a;

	make_shared(protocol);
	pthread_mutex_lock(&shared->mutex);
	child(wait_mutex, &a);
	await(a);
	usleep(50000);
	hold();
	SAME(pthread_mutex_unlock(&shared->mutex), 0);
	SAME(answer(a), 0);
	SAME(pthread_mutex_lock(&shared->mutex), 0);
}

TEST(futex_waiter) { waiter(PTHREAD_PRIO_NONE); }
TEST(pi_waiter) { waiter(PTHREAD_PRIO_INHERIT); }

/* System calls that were under way; each thread says what became of its own. */
static struct sleeper {
	const char *what;
	int (*run)(void);
	int result;
	pthread_t thread;
} sleepers[8];
static int pipe_fds[2], epoll_fd;
static volatile int futex_word;
static sem_t semaphore;

static int in_read(void)
{
	char c;

	return read(pipe_fds[0], &c, 1) == 1;
}

static int in_poll(void)
{
	struct pollfd p = { .fd = pipe_fds[0], .events = POLLPRI };
	int64_t begin = now_ns(CLOCK_MONOTONIC);

	return poll(&p, 1, 500) == 0 && now_ns(CLOCK_MONOTONIC) - begin >= 500000000;
}

static int in_nanosleep(void)
{
	struct timespec t = { 0, 700000000 };
	int64_t begin = now_ns(CLOCK_MONOTONIC);

	/* CRIU turns what a signal would interrupt into -EINTR; with the rest of the time in @t, as a signal does. */
	while (nanosleep(&t, &t))
		if (errno != EINTR)
			return 0;
	return now_ns(CLOCK_MONOTONIC) - begin >= 700000000;
}

static int in_abs_sleep(void)
{
	struct timespec t;
	int64_t until = now_ns(CLOCK_MONOTONIC) + 900000000;

	t = (struct timespec){ until / 1000000000, until % 1000000000 };
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
		;
	return now_ns(CLOCK_MONOTONIC) >= until;
}

static int in_futex(void)
{
	while (!futex_word)
		syscall(SYS_futex, &futex_word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return 1;
}

static int in_sem(void)
{
	while (sem_wait(&semaphore))
		if (errno != EINTR)
			return 0;
	return 1;
}

static int in_epoll(void)
{
	struct epoll_event e;
	int n;

	while ((n = epoll_wait(epoll_fd, &e, 1, -1)) < 0 && errno == EINTR)
		;
	return n == 1 && e.data.u64 == 0x1234567890abcdefULL;
}

static int in_sigwait(void)
{
	siginfo_t si;
	sigset_t set;
	int n;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	while ((n = sigwaitinfo(&set, &si)) < 0 && errno == EINTR)
		;
	return n == SIGRTMIN + 3 && si.si_value.sival_int == 55;
}

static void *sleeper(void *arg)
{
	struct sleeper *s = arg;

	s->result = s->run();
	return NULL;
}

TEST(syscalls)
{
	static int (*const all[])(void) = { in_read, in_poll, in_nanosleep, in_abs_sleep, in_futex, in_sem, in_epoll, in_sigwait };
	static const char *const names[] = { "read", "poll", "nanosleep", "clock_nanosleep", "futex", "sem_wait", "epoll_wait", "sigwaitinfo" };
	struct epoll_event e = { .events = EPOLLIN, .data.u64 = 0x1234567890abcdefULL };
	int more[2];
	sigset_t set;
	size_t i;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	MUST(!pipe(pipe_fds) && !pipe(more) && !sem_init(&semaphore, 0, 0));
	epoll_fd = epoll_create1(0);
	MUST(epoll_fd >= 0 && !epoll_ctl(epoll_fd, EPOLL_CTL_ADD, more[0], &e));
	for (i = 0; i < 8; i++) {
		sleepers[i] = (struct sleeper){ .what = names[i], .run = all[i], .result = -1 };
		MUST(!pthread_create(&sleepers[i].thread, NULL, sleeper, &sleepers[i]));
	}
	usleep(50000);
	hold();
	MUST(write(pipe_fds[1], "", 1) == 1 && write(more[1], "", 1) == 1);
	futex_word = 1;
	syscall(SYS_futex, &futex_word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	sem_post(&semaphore);
	sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 55 });
	for (i = 0; i < 8; i++) {
		pthread_join(sleepers[i].thread, NULL);
		if (sleepers[i].result != 1)
			complain(__FILE__, __LINE__, sleepers[i].what);
	}
}

/* Neither goes back, and neither stands still. */
TEST(clocks)
{
	static const int clocks[] = { CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME, CLOCK_MONOTONIC_COARSE };
	int64_t before[5], real, cpu, now;
	struct timespec t;
	int i;

	for (i = 0; i < 5; i++)
		before[i] = now_ns(clocks[i]);
	real = now_ns(CLOCK_REALTIME);
	cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
	hold();
	for (i = 0; i < 5; i++) {
		now = now_ns(clocks[i]);
		EXPECT(now >= before[i]);
		EXPECT(now - before[i] < 600000000000LL);
		/* the system call and the vDSO say the same */
		syscall(SYS_clock_gettime, clocks[i], &t);
		EXPECT(t.tv_sec * 1000000000LL + t.tv_nsec - now < 1000000000LL);
	}
	(void)real;
	(void)cpu;
}
