// SPDX-License-Identifier: GPL-2.0
/* Signals and timers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "../resources.h"

static volatile int got[65], values[65][8], order[16];
static volatile int nr_order;

static void note(int sig, siginfo_t *si, void *ctx)
{
	(void)ctx;
	if (got[sig] < 8)
		values[sig][got[sig]] = si->si_value.sival_int;
	got[sig]++;
	if (nr_order < 16)
		order[nr_order++] = sig;
}

static void catch(int sig, int flags)
{
	struct sigaction a = { .sa_sigaction = note, .sa_flags = SA_SIGINFO | flags };

	sigemptyset(&a.sa_mask);
	sigaddset(&a.sa_mask, SIGUSR2);
	MUST(!sigaction(sig, &a, NULL));
}

TEST(sigactions)
{
	struct sigaction a;

	catch(SIGUSR1, SA_RESTART | SA_NODEFER);
	catch(SIGRTMIN + 1, SA_RESETHAND | SA_ONSTACK);
	signal(SIGHUP, SIG_IGN);
	hold();
	EXPECT(!sigaction(SIGUSR1, NULL, &a));
	EXPECT(a.sa_sigaction == note && (a.sa_flags & 0x7bffffff) == (SA_SIGINFO | SA_RESTART | SA_NODEFER));
	EXPECT(sigismember(&a.sa_mask, SIGUSR2) && !sigismember(&a.sa_mask, SIGUSR1));
	EXPECT(!sigaction(SIGRTMIN + 1, NULL, &a));
	EXPECT(a.sa_sigaction == note && (a.sa_flags & (SA_RESETHAND | SA_ONSTACK)) == (SA_RESETHAND | SA_ONSTACK));
	EXPECT(!sigaction(SIGHUP, NULL, &a) && a.sa_handler == SIG_IGN);
	EXPECT(!sigaction(SIGTERM, NULL, &a) && a.sa_handler == SIG_DFL);
	raise(SIGUSR1);
	raise(SIGRTMIN + 1);
	SAME(got[SIGUSR1], 1);
	SAME(got[SIGRTMIN + 1], 1);
	EXPECT(!sigaction(SIGRTMIN + 1, NULL, &a) && a.sa_handler == SIG_DFL);
}

static volatile int thread_ready, thread_go, thread_got, thread_value;

static void note_thread(int sig, siginfo_t *si, void *ctx)
{
	(void)sig, (void)ctx;
	thread_got = gettid();
	thread_value = si->si_value.sival_int;
}

static void *with_pending(void *arg)
{
	siginfo_t si = { .si_code = SI_QUEUE, .si_value.sival_int = 77 };
	sigset_t set;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 5);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	MUST(!syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGRTMIN + 5, &si));
	thread_ready = 1;
	while (!thread_go)
		usleep(1000);
	SAME(thread_got, 0);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	SAME(thread_got, gettid());
	SAME(thread_value, 77);
	return NULL;
}

TEST(pending_signals)
{
	struct sigaction a = { .sa_sigaction = note_thread, .sa_flags = SA_SIGINFO };
	sigset_t set, pending;
	pthread_t t;
	int i;

	sigaction(SIGRTMIN + 5, &a, NULL);
	catch(SIGUSR1, 0);
	catch(SIGRTMIN + 2, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	kill(getpid(), SIGUSR1);
	for (i = 0; i < 5; i++)
		MUST(!sigqueue(getpid(), SIGRTMIN + 2, (union sigval){ .sival_int = 100 + i }));
	MUST(!pthread_create(&t, NULL, with_pending, NULL));
	while (!thread_ready)
		usleep(1000);
	hold();
	EXPECT(!sigpending(&pending) && sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGRTMIN + 2));
	SAME(got[SIGUSR1], 0);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	SAME(got[SIGUSR1], 1);
	SAME(got[SIGRTMIN + 2], 5);
	for (i = 0; i < 5; i++)
		SAME(values[SIGRTMIN + 2][i], 100 + i);
	thread_go = 1;
	pthread_join(t, NULL);
}

TEST(sigmask)
{
	sigset_t set, now;
	int i;

	sigemptyset(&set);
	for (i = 1; i < 64; i += 3)
		if (i != SIGKILL && i != SIGSTOP && i != 32 && i != 33)
			sigaddset(&set, i);
	sigprocmask(SIG_SETMASK, &set, NULL);
	hold();
	sigprocmask(SIG_SETMASK, NULL, &now);
	for (i = 1; i < 64; i++)
		if (sigismember(&set, i) != sigismember(&now, i))
			SAME(i, -1);
}

static char *stack;
static volatile int on_stack, released;
static int go[2];

static void on_altstack(int sig)
{
	char here, c;

	(void)sig;
	on_stack = &here >= stack && &here < stack + 65536;
	released = 1;
	while (read(go[0], &c, 1) != 1)
		;
	on_stack += &here >= stack && &here < stack + 65536;
}

static void *in_handler(void *arg)
{
	stack_t s = { .ss_sp = stack, .ss_size = 65536 };
	struct sigaction a = { .sa_handler = on_altstack, .sa_flags = SA_ONSTACK };
	volatile uint64_t canary[64];
	unsigned int i;

	(void)arg;
	fill((void *)canary, sizeof(canary), 5);
	MUST(!sigaltstack(&s, NULL));
	MUST(!sigaction(SIGUSR1, &a, NULL));
	pthread_kill(pthread_self(), SIGUSR1);	/* the switch comes within */
	SAME(on_stack, 2);
	SAME(differs((void *)canary, sizeof(canary), 5), 0);
	EXPECT(!sigaltstack(NULL, &s));
	EXPECT(s.ss_sp == stack && s.ss_size == 65536 && !(s.ss_flags & SS_DISABLE));
	for (i = 0; i < 3; i++) {
		MUST(write(go[1], "", 1) == 1);
		on_stack = 0;
		pthread_kill(pthread_self(), SIGUSR1);
		SAME(on_stack, 2);
	}
	return NULL;
}

TEST(altstack)
{
	pthread_t t;

	stack = malloc(65536);
	MUST(stack && !pipe(go) && !pthread_create(&t, NULL, in_handler, NULL));
	while (!released)
		usleep(1000);
	hold();
	MUST(write(go[1], "", 1) == 1);
	pthread_join(t, NULL);
}

TEST(itimers)
{
	struct itimerval real = { { 0, 300000 }, { 3600, 0 } }, virt = { { 7, 8 }, { 50, 0 } }, prof = { { 1, 2 }, { 60, 0 } }, now;

	MUST(!setitimer(ITIMER_REAL, &real, NULL) && !setitimer(ITIMER_VIRTUAL, &virt, NULL) && !setitimer(ITIMER_PROF, &prof, NULL));
	hold();
	EXPECT(!getitimer(ITIMER_REAL, &now));
	SAME(now.it_interval.tv_usec, 300000);
	EXPECT(now.it_value.tv_sec <= 3600 && now.it_value.tv_sec > 2400);
	EXPECT(!getitimer(ITIMER_VIRTUAL, &now));
	EXPECT(now.it_interval.tv_sec == 7 && now.it_value.tv_sec >= 40 && now.it_value.tv_sec <= 50);
	EXPECT(!getitimer(ITIMER_PROF, &now));
	EXPECT(now.it_interval.tv_sec == 1 && now.it_value.tv_sec >= 50 && now.it_value.tv_sec <= 60);
}

/* It runs all the time, also while the process is away, and must still run then. */
TEST(itimer_ticks)
{
	struct itimerval t = { { 0, 50000 }, { 0, 50000 } };
	int before, i;

	catch(SIGALRM, SA_RESTART);
	MUST(!setitimer(ITIMER_REAL, &t, NULL));
	hold();
	before = got[SIGALRM];
	for (i = 0; i < 100 && got[SIGALRM] < before + 3; i++)
		usleep(50000);
	EXPECT(got[SIGALRM] >= before + 3);
}

TEST(posix_timers)
{
	timer_t id[4];
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 7, .sigev_value.sival_int = 66 };
	struct itimerspec its = { { 0, 0 }, { 3600, 0 } }, ticking = { { 0, 50000000 }, { 0, 50000000 } }, now;
	int i, before;

	catch(SIGRTMIN + 7, SA_RESTART);
	MUST(!timer_create(CLOCK_MONOTONIC, &ev, &id[0]));
	MUST(!timer_create(CLOCK_REALTIME, &ev, &id[1]));
	MUST(!timer_delete(id[0]));	/* ids are not simply counted */
	ev.sigev_value.sival_int = 67;
	MUST(!timer_create(CLOCK_MONOTONIC, &ev, &id[2]));
	ev.sigev_notify = SIGEV_NONE;
	MUST(!timer_create(CLOCK_BOOTTIME, &ev, &id[3]));
	MUST(!timer_settime(id[1], 0, &its, NULL) && !timer_settime(id[3], 0, &its, NULL));
	MUST(!timer_settime(id[2], 0, &ticking, NULL));
	hold();
	EXPECT(!timer_gettime(id[1], &now) && now.it_value.tv_sec <= 3600 && now.it_value.tv_sec > 2400);
	EXPECT(!timer_gettime(id[3], &now) && now.it_value.tv_sec <= 3600 && now.it_value.tv_sec > 2400);
	EXPECT(!timer_gettime(id[2], &now) && now.it_interval.tv_nsec == 50000000);
	before = got[SIGRTMIN + 7];
	for (i = 0; i < 100 && got[SIGRTMIN + 7] < before + 3; i++)
		usleep(50000);
	EXPECT(got[SIGRTMIN + 7] >= before + 3);
	SAME(values[SIGRTMIN + 7][0], 67);
}

static volatile int fired_in;

static void note_tid(int sig)
{
	(void)sig;
	fired_in = gettid();
}

static void *timer_thread(void *arg)
{
	__atomic_store_n((int *)arg, gettid(), __ATOMIC_SEQ_CST);
	for (;;)
		pause();
	return NULL;
}

TEST(thread_timer)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 8 };
	struct itimerspec ticking = { { 0, 50000000 }, { 0, 50000000 } };
	int tid = 0, i;
	timer_t id;
	pthread_t t;

	signal(SIGRTMIN + 8, note_tid);
	MUST(!pthread_create(&t, NULL, timer_thread, &tid));
	while (!__atomic_load_n(&tid, __ATOMIC_SEQ_CST))
		usleep(1000);
	ev._sigev_un._tid = tid;
	MUST(!timer_create(CLOCK_MONOTONIC, &ev, &id) && !timer_settime(id, 0, &ticking, NULL));
	hold();
	fired_in = 0;
	for (i = 0; i < 100 && !fired_in; i++)
		usleep(50000);
	SAME(fired_in, tid);
}
