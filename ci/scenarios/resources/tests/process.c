// SPDX-License-Identifier: GPL-2.0
/* Numbers, relatives, threads, limits, credentials, and the small settings of a process. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/ioprio.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../resources.h"

static void wait_for_end(int sock)
{
	await(sock);
	pause();
}

TEST(ids)
{
	pid_t pid = getpid(), ppid = getppid(), pgrp = getpgrp(), sid = getsid(0), tid = gettid();

	hold();
	SAME(syscall(SYS_getpid), pid);
	SAME(getppid(), ppid);
	SAME(getpgrp(), pgrp);
	SAME(getsid(0), sid);
	SAME(syscall(SYS_gettid), tid);
}

static void own_session(int sock)
{
	pid_t sid = setsid();

	tell(sock);
	await(sock);
	send_answer(sock, sid == getpid() && getsid(0) == sid && getpgrp() == sid);
	pause();
}

static void own_group(int sock)
{
	setpgid(0, 0);
	tell(sock);
	await(sock);
	send_answer(sock, getpgrp() == getpid() && getsid(0) == getsid(getppid()));
	pause();
}

TEST(sessions)
{
	int a, b;
	pid_t session = child(own_session, &a), group = child(own_group, &b);

	await(a);
	await(b);
	hold();
	SAME(getsid(session), session);
	SAME(getpgid(group), group);
	tell(a);
	tell(b);
	SAME(answer(a), 1);
	SAME(answer(b), 1);
}

/* The leader of the group has ended: its number lives on in the others. */
static void in_group_of_other(int sock)
{
	int leader;

	MUST(read(sock, &leader, sizeof(leader)) == sizeof(leader));
	MUST(!setpgid(0, leader));
	tell(sock);
	await(sock);
	send_answer(sock, getpgrp());
	pause();
}

TEST(dead_leader)
{
	int a, b, st;
	pid_t leader = child(own_group, &a), other = child(in_group_of_other, &b);

	await(a);
	send_answer(b, leader);
	await(b);
	kill(leader, SIGKILL);
	MUST(waitpid(leader, &st, 0) == leader);
	hold();
	SAME(getpgid(other), leader);
	tell(b);
	SAME(answer(b), leader);
}

TEST(zombie)
{
	int a, b, st = 0;
	siginfo_t si;
	pid_t exits = child(wait_for_end, &a), killed = child(wait_for_end, &b);

	kill(killed, SIGTERM);
	MUST(!waitid(P_PID, killed, &si, WEXITED | WNOWAIT));
	kill(exits, SIGKILL);
	MUST(!waitid(P_PID, exits, &si, WEXITED | WNOWAIT));
	hold();
	SAME(waitpid(killed, &st, 0), killed);
	EXPECT(WIFSIGNALED(st) && WTERMSIG(st) == SIGTERM);
	SAME(waitpid(exits, &st, 0), exits);
	EXPECT(WIFSIGNALED(st) && WTERMSIG(st) == SIGKILL);
}

static void exit_42(int sock)
{
	(void)sock;
	_exit(42);
}

TEST(exit_status)
{
	int a, st = 0;
	siginfo_t si;
	pid_t pid = child(exit_42, &a);

	MUST(!waitid(P_PID, pid, &si, WEXITED | WNOWAIT));
	hold();
	SAME(waitpid(pid, &st, 0), pid);
	EXPECT(WIFEXITED(st) && WEXITSTATUS(st) == 42);
}

static void count_on(int sock)
{
	await(sock);
	send_answer(sock, 7);
	pause();
}

TEST(stopped)
{
	int a, st = 0;
	pid_t pid = child(count_on, &a);

	kill(pid, SIGSTOP);
	MUST(waitpid(pid, &st, WUNTRACED) == pid && WIFSTOPPED(st));
	hold();
	usleep(100000);
	SAME(waitpid(pid, &st, WNOHANG), 0);
	kill(pid, SIGCONT);
	SAME(waitpid(pid, &st, WCONTINUED), pid);
	EXPECT(WIFCONTINUED(st));
	tell(a);
	SAME(answer(a), 7);
}

static void leave_orphan(int sock)
{
	if (fork())
		_exit(0);
	tell(sock);
	await(sock);
	send_answer(sock, getppid());
	await(sock);
}

TEST(subreaper)
{
	int a, st, is = 0;
	pid_t between;

	MUST(!prctl(PR_SET_CHILD_SUBREAPER, 1));
	between = child(leave_orphan, &a);
	MUST(waitpid(between, &st, 0) == between);
	await(a);
	hold();
	EXPECT(!prctl(PR_GET_CHILD_SUBREAPER, &is));
	SAME(is, 1);
	tell(a);
	SAME(answer(a), getpid());
	SAME(waitpid(-1, &st, WNOHANG), 0);
	tell(a);
	EXPECT(waitpid(-1, &st, 0) > 0);
}

struct thread {
	pthread_t thread;
	pid_t tid;
	char comm[16];
	int nice, policy, prio, cpu;
	volatile int ready;
};

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *be_thread(void *arg)
{
	struct thread *t = arg;
	struct sched_param p = { .sched_priority = t->prio };
	char comm[16] = "";
	cpu_set_t set;

	t->tid = gettid();
	prctl(PR_SET_NAME, t->comm);
	CPU_ZERO(&set);
	CPU_SET(t->cpu, &set);
	MUST(!sched_setaffinity(0, sizeof(set), &set));
	MUST(!setpriority(PRIO_PROCESS, t->tid, t->nice));
	MUST(!sched_setscheduler(0, t->policy, &p));
	t->ready = 1;
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	SAME(gettid(), t->tid);
	prctl(PR_GET_NAME, comm);
	EXPECT(!strcmp(comm, t->comm));
	EXPECT(!sched_getaffinity(0, sizeof(set), &set) && CPU_COUNT(&set) == 1 && CPU_ISSET(t->cpu, &set));
	SAME(getpriority(PRIO_PROCESS, 0), t->nice);
	SAME(sched_getscheduler(0), t->policy);
	EXPECT(!sched_getparam(0, &p));
	SAME(p.sched_priority, t->prio);
	return NULL;
}

TEST(threads)
{
	static struct thread t[] = {
		{ .comm = "one", .nice = 5, .policy = SCHED_OTHER, .cpu = 0 },
		{ .comm = "two words) (", .nice = -3, .policy = SCHED_BATCH, .cpu = 1 },
		{ .comm = "idle", .nice = 0, .policy = SCHED_IDLE, .cpu = 1 },
		{ .comm = "fifo", .nice = 0, .policy = SCHED_FIFO, .prio = 3, .cpu = 0 },
		{ .comm = "rr", .nice = 0, .policy = SCHED_RR, .prio = 4, .cpu = 1 },
	};
	size_t i, nr = sizeof(t) / sizeof(*t);

	pthread_mutex_lock(&gate);
	for (i = 0; i < nr; i++) {
		MUST(!pthread_create(&t[i].thread, NULL, be_thread, &t[i]));
		while (!t[i].ready)
			usleep(1000);
	}
	hold();
	pthread_mutex_unlock(&gate);
	for (i = 0; i < nr; i++)
		pthread_join(t[i].thread, NULL);
}

EITHER(reset_on_fork, "SCHED_RESET_ON_FORK")
{
	struct sched_param p = { 0 };

	MUST(!sched_setscheduler(0, SCHED_BATCH | SCHED_RESET_ON_FORK, &p));
	hold();
	SAME(sched_getscheduler(0), SCHED_BATCH | SCHED_RESET_ON_FORK);
}

static void *leader_is_dead(void *arg)
{
	while (!strstr(slurp("/proc/self/stat", (char[512]){ 0 }, 512), ") Z "))
		usleep(1000);
	(void)arg;
	hold();
	_exit(failures != 0);
}

/* A process whose first thread has ended while others go on. */
REFUSED(leader_exited, "first thread has ended")
{
	pthread_t t;

	MUST(!pthread_create(&t, NULL, leader_is_dead, NULL));
	pthread_exit(NULL);
}

TEST(rlimits)
{
	static const int which[] = {
		RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_LOCKS, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE,
		RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_RSS, RLIMIT_RTPRIO, RLIMIT_RTTIME, RLIMIT_SIGPENDING, RLIMIT_STACK,
	};
	struct rlimit l;
	size_t i;

	for (i = 0; i < sizeof(which) / sizeof(*which); i++) {
		l = (struct rlimit){ (1ul << 33) + i * 4096, (1ul << 34) + i * 4096 };
		if (which[i] == RLIMIT_NOFILE)
			l = (struct rlimit){ 300, 400 };
		MUST(!setrlimit(which[i], &l));
	}
	hold();
	for (i = 0; i < sizeof(which) / sizeof(*which); i++) {
		EXPECT(!getrlimit(which[i], &l));
		SAME(l.rlim_cur, which[i] == RLIMIT_NOFILE ? 300 : (1ul << 33) + i * 4096);
		SAME(l.rlim_max, which[i] == RLIMIT_NOFILE ? 400 : (1ul << 34) + i * 4096);
	}
}

TEST(cwd_umask)
{
	char cwd[256];

	MUST(!mkdir(in_dir("cwd"), 0710) && !chdir(in_dir("cwd")));
	umask(0137);
	hold();
	EXPECT(getcwd(cwd, sizeof(cwd)) && !strcmp(cwd, in_dir("cwd")));
	SAME(umask(0), 0137);
	EXPECT(!access(".", R_OK | X_OK));
}

TEST(cwd_deleted)
{
	char cwd[256] = "";

	MUST(!mkdir(in_dir("gone"), 0710) && !chdir(in_dir("gone")) && !rmdir(in_dir("gone")));
	hold();
	EXPECT(readlink("/proc/self/cwd", cwd, sizeof(cwd) - 1) > 0 && strstr(cwd, ".gone (deleted)"));
	EXPECT(access(in_dir("gone"), F_OK));
}

TEST(root)
{
	struct stat st;

	MUST(!chroot("/scenario") && !chdir("/"));
	MUST(!stat("/resources", &st));
	hold();
	EXPECT(!stat("/resources", &st));
	EXPECT(stat("/scenario", &st));
}

static void capabilities(struct __user_cap_data_struct c[2])
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };

	MUST(!syscall(SYS_capget, &h, c));
}

TEST(credentials)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct c[2], now[2];
	gid_t groups[] = { 5, 70, 70000, 9 }, got[8];
	uid_t r, e, s;

	MUST(!prctl(PR_CAPBSET_DROP, CAP_SYS_MODULE) && !prctl(PR_CAPBSET_DROP, CAP_AUDIT_READ));
	MUST(!setgroups(4, groups));
	MUST(!prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS));
	MUST(!setresgid(301, 302, 303) && !setresuid(201, 202, 203));
	capabilities(c);
	c[0].effective = 1 << CAP_CHOWN | 1 << CAP_KILL;
	c[0].permitted = c[0].effective | 1 << CAP_NET_ADMIN | 1 << CAP_SETPCAP;
	c[0].inheritable = 1 << CAP_KILL;
	c[1] = (struct __user_cap_data_struct){ 0 };
	MUST(!syscall(SYS_capset, &h, c));
	hold();
	EXPECT(!getresuid(&r, &e, &s) && r == 201 && e == 202 && s == 203);
	EXPECT(!getresgid(&r, &e, &s) && r == 301 && e == 302 && s == 303);
	SAME(getgroups(8, got), 4);
	SAME(got[3], 70000);	/* the kernel keeps them sorted */
	capabilities(now);
	SAME(now[0].effective, c[0].effective);
	SAME(now[0].permitted, c[0].permitted);
	SAME(now[0].inheritable, c[0].inheritable);
	SAME(prctl(PR_CAPBSET_READ, CAP_SYS_MODULE), 0);
	SAME(prctl(PR_CAPBSET_READ, CAP_AUDIT_READ), 0);
	SAME(prctl(PR_CAPBSET_READ, CAP_CHOWN), 1);
	SAME(prctl(PR_GET_SECUREBITS), SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS);
}

EITHER(ambient_caps, "ambient capabilities")
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct c[2];

	capabilities(c);
	c[0].inheritable = 1 << CAP_KILL;
	MUST(!syscall(SYS_capset, &h, c));
	MUST(!prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
	hold();
	SAME(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0), 1);
	SAME(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 0);
}

EITHER(no_new_privs, "no_new_privs")
{
	MUST(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	hold();
	SAME(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
}

TEST(dumpable)
{
	MUST(!prctl(PR_SET_DUMPABLE, 0));
	hold();
	SAME(prctl(PR_GET_DUMPABLE), 0);
}

static void with_pdeathsig(int sock)
{
	int sig = 0;

	MUST(!prctl(PR_SET_PDEATHSIG, SIGUSR2));
	tell(sock);
	await(sock);
	prctl(PR_GET_PDEATHSIG, &sig);
	send_answer(sock, sig);
	pause();
}

TEST(pdeathsig)
{
	int a;

	child(with_pdeathsig, &a);
	await(a);
	hold();
	tell(a);
	SAME(answer(a), SIGUSR2);
}

EITHER(personality, "would drop")
{
	MUST(personality(ADDR_NO_RANDOMIZE | SHORT_INODE) != -1);
	hold();
	SAME(personality(0xffffffff), ADDR_NO_RANDOMIZE | SHORT_INODE);
}

static void put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	MUST(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

TEST(oom_score_adj)
{
	char text[32];

	put_text("/proc/self/oom_score_adj", "-321");
	hold();
	SAME(atoi(slurp("/proc/self/oom_score_adj", text, sizeof(text))), -321);
}

TEST(coredump_filter)
{
	char text[32];

	put_text("/proc/self/coredump_filter", "0x5f");
	hold();
	SAME(strtol(slurp("/proc/self/coredump_filter", text, sizeof(text)), NULL, 16), 0x5f);
}

static void *slack_thread(void *arg)
{
	int *ready = arg;

	MUST(!prctl(PR_SET_TIMERSLACK, 70000));
	__atomic_store_n(ready, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	SAME(prctl(PR_GET_TIMERSLACK), 70000);
	return NULL;
}

TEST(timerslack)
{
	int ready = 0;
	pthread_t t;

	pthread_mutex_lock(&gate);
	MUST(!prctl(PR_SET_TIMERSLACK, 123456));
	MUST(!pthread_create(&t, NULL, slack_thread, &ready));
	while (!__atomic_load_n(&ready, __ATOMIC_SEQ_CST))
		usleep(1000);
	hold();
	SAME(prctl(PR_GET_TIMERSLACK), 123456);
	pthread_mutex_unlock(&gate);
	pthread_join(t, NULL);
}

TEST(ioprio)
{
	int want = IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 6);

	MUST(!syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, want));
	hold();
	SAME(syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0), want);
}

TEST(thp_disable)
{
	MUST(!prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
	hold();
	SAME(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0), 1);
}

TEST(images)
{
	char before[4][4096], now[4096], exe[256] = "", exe_now[256] = "";
	static const char *const files[] = { "cmdline", "environ", "auxv", "comm" };
	char path[64];
	size_t i;

	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
		memset(before[i], 0, sizeof(before[i]));
		slurp(path, before[i], sizeof(before[i]));
	}
	MUST(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
	hold();
	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
		memset(now, 0, sizeof(now));
		slurp(path, now, sizeof(now));
		if (memcmp(now, before[i], sizeof(now)))
			complain(__FILE__, __LINE__, files[i]);
	}
	EXPECT(readlink("/proc/self/exe", exe_now, sizeof(exe_now) - 1) > 0 && !strcmp(exe_now, exe));
}

/* getppid() fails with 77, for this thread and its children. */
static void deny_getppid(void)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(f) / sizeof(*f), f };

	MUST(!syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog));
}

static bool denied(void)
{
	errno = 0;
	return syscall(SYS_getppid) == -1 && errno == 77;
}

static void answer_denied(int sock)
{
	await(sock);
	send_answer(sock, denied());
	pause();
}

static void *not_denied(void *arg)
{
	__atomic_store_n((int *)arg, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	EXPECT(!denied());
	return NULL;
}

TEST(seccomp)
{
	int a, ready = 0;
	pthread_t t;

	pthread_mutex_lock(&gate);
	MUST(!pthread_create(&t, NULL, not_denied, &ready));
	while (!__atomic_load_n(&ready, __ATOMIC_SEQ_CST))
		usleep(1000);
	deny_getppid();
	child(answer_denied, &a);
	MUST(denied());
	hold();
	EXPECT(denied());
	tell(a);
	SAME(answer(a), 1);
	pthread_mutex_unlock(&gate);
	pthread_join(t, NULL);
}

REFUSED(traced, "traced by")
{
	int a, st;
	pid_t pid = child(wait_for_end, &a);
	extern long ptrace(int, ...);

	MUST(!ptrace(0x4206 /* PTRACE_SEIZE */, pid, 0, 0));
	(void)st;
	hold();
}

REFUSED(vforked, "vfork")
{
	pid_t pid = vfork();

	if (!pid) {	/* the parent waits for this one, which holds for it */
		hold();
		_exit(0);
	}
}

REFUSED(deadline, "SCHED_DEADLINE")
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} a = { .size = 48, .policy = 6, .runtime = 1000000, .deadline = 100000000, .period = 100000000 };

	MUST(!syscall(SYS_sched_setattr, 0, &a, 0));
	hold();
}

static void look_namespace(const char *flag_name, int flag)
{
	(void)flag_name;
	MUST(!unshare(flag));
	hold();
}

REFUSED(ns_uts, "uts namespace") { look_namespace("uts", CLONE_NEWUTS); }
REFUSED(ns_ipc, "ipc namespace") { look_namespace("ipc", CLONE_NEWIPC); }
REFUSED(ns_mnt, "mnt namespace") { look_namespace("mnt", CLONE_NEWNS); }
REFUSED(ns_net, "net namespace") { look_namespace("net", CLONE_NEWNET); }
REFUSED(ns_user, "user namespace") { look_namespace("user", CLONE_NEWUSER); }
REFUSED(ns_cgroup, "cgroup namespace") { look_namespace("cgroup", CLONE_NEWCGROUP); }

/* Only its children are in there. */
REFUSED(ns_pid, "pid namespace")
{
	int a;

	MUST(!unshare(CLONE_NEWPID));
	child(wait_for_end, &a);
	hold();
}

TEST(cgroup)
{
	char before[256], now[256], path[128];

	snprintf(path, sizeof(path), "/sys/fs/cgroup/resources");
	mkdir(path, 0755);
	strcat(path, "/deeper");
	mkdir(path, 0755);
	strcat(path, "/cgroup.procs");
	put_text(path, "0");
	slurp("/proc/self/cgroup", before, sizeof(before));
	hold();
	EXPECT(!strcmp(before, slurp("/proc/self/cgroup", now, sizeof(now))));
	EXPECT(strstr(now, "/resources/deeper"));
}
