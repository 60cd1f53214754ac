// SPDX-License-Identifier: GPL-2.0
/*
 * tool_zoo KIND: a process that holds one thing which a switch must refuse, or (`all`) one of each that it must carry.
 *
 * Of the latter it goes on using every one, ten times a second, and says so in the file that it was given: `beat N` lines, or
 * `lost THING`. Statically linked: it runs in a guest's initramfs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <net/ethernet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MB (1ul << 20)

static FILE *out;

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(out ?: stderr, "lost %s: %s\n", what, strerror(errno));
	fflush(out);
	for (;;)	/* to be looked at */
		pause();
}

static void *fresh(int flags)
{
	void *p = mmap(NULL, 2 * MB, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	must(p != MAP_FAILED, "mmap");
	memset(p, 0x5a, 2 * MB);
	return p;
}

/* What must be refused. */

static void hold_io_uring(void)
{
	struct io_uring_params p = { 0 };

	must(syscall(SYS_io_uring_setup, 4, &p) >= 0, "io_uring_setup");
}

static void hold_userfaultfd(void)
{
	must(syscall(SYS_userfaultfd, O_CLOEXEC) >= 0, "userfaultfd");
}

static void hold_sysv(void)
{
	int id = shmget(IPC_PRIVATE, MB, 0600);
	char *p = shmat(id, NULL, 0);

	must(p != (void *)-1, "shmat");
	shmctl(id, IPC_RMID, NULL);
	*p = 1;
}

static void hold_packet(void)
{
	must(socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)) >= 0, "packet socket");
}

static void hold_device(void)
{
	must(open("/dev/kmsg", O_RDONLY) >= 0, "/dev/kmsg");
}

static void hold_mqueue(void)
{
	must(mq_open("/zoo", O_CREAT | O_RDWR, 0600, NULL) >= 0, "mq_open");
}

static void hold_renamed(void)
{
	must(open("/run/zoo.renamed", O_CREAT | O_RDWR, 0600) >= 0, "open");
	link("/run/zoo.renamed", "/run/zoo.other");
	unlink("/run/zoo.renamed");
}

static void hold_deleted(void)
{
	int fd = open("/run/zoo.big", O_CREAT | O_RDWR, 0600);
	void *p = fresh(MAP_PRIVATE);

	must(fd >= 0 && write(fd, p, 2 * MB) == 2 * MB, "write");
	unlink("/run/zoo.big");
}

static void hold_netns(void)
{
	must(!unshare(CLONE_NEWNET), "unshare");
}

static void hold_traced(void)
{
	pid_t parent = getpid(), pid = fork();

	if (!pid) {
		ptrace(PTRACE_SEIZE, parent, 0, 0);
		for (;;)
			pause();
	}
	usleep(100000);
}

static void hold_unix(void)
{
	int sv[2];

	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, sv), "socketpair");
	if (!fork()) {	/* no descendant any more: its parent ends at once */
		if (!fork()) {
			close(sv[0]);
			for (;;)
				pause();
		}
		_exit(0);
	}
	wait(NULL);
	close(sv[1]);
}

static void hold_secret(void)
{
	must(syscall(SYS_memfd_secret, 0) >= 0, "memfd_secret");
}

static void hold_deadline(void)
{
	struct {
		uint32_t size, policy;
		uint64_t flags;
		int32_t nice;
		uint32_t priority;
		uint64_t runtime, deadline, period;
	} a = { .size = sizeof(a), .policy = 6, .runtime = 1000000, .deadline = 100000000, .period = 100000000 };

	must(!syscall(SYS_sched_setattr, 0, &a, 0), "sched_setattr");
}

static const struct {
	const char *name;
	void (*hold)(void);
} kinds[] = {
	{ "io_uring", hold_io_uring }, { "userfaultfd", hold_userfaultfd }, { "sysv", hold_sysv },	 { "packet", hold_packet },
	{ "device", hold_device },     { "mqueue", hold_mqueue },	    { "renamed", hold_renamed }, { "deleted", hold_deleted },
	{ "netns", hold_netns },       { "traced", hold_traced },	    { "unix", hold_unix },	 { "secret", hold_secret },
	{ "deadline", hold_deadline },
};

/* What must be carried. */

static char *private, *shared, *thread_memory;
static int pipes[2], pair[2], event, timer, sigs, notify, epoll, memfd, ghost, tcp[2], udp;
static volatile unsigned long thread_beats;

static void fill(char *p, unsigned int seed)
{
	for (size_t i = 0; i < 2 * MB; i += sizeof(uint32_t))
		*(uint32_t *)(p + i) = i * 2654435761u + seed;
}

static int intact(const char *p, unsigned int seed)
{
	for (size_t i = 0; i < 2 * MB; i += sizeof(uint32_t))
		if (*(const uint32_t *)(p + i) != (uint32_t)(i * 2654435761u + seed))
			return 0;
	return 1;
}

static void *thread(void *arg)
{
	for (;;) {
		must(intact(thread_memory, 3), "memory of a thread");
		thread_beats++;
		usleep(100000);
	}
	return arg;
}

/* A child that answers on a pipe and shares memory with its parent. */
static void child(int in, int back)
{
	char c;

	while (read(in, &c, 1) == 1) {
		must(intact(private, 1), "memory in the child");
		shared[0]++;
		must(write(back, &c, 1) == 1, "pipe to the parent");
	}
	_exit(0);
}

static int back[2];

static void open_all(void)
{
	struct itimerspec its = { .it_interval.tv_nsec = 20000000, .it_value.tv_nsec = 20000000 };
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "/run/zoo/socket" };
	struct epoll_event ev = { .events = EPOLLIN };
	socklen_t len = sizeof(addr);
	int listener, named;
	pthread_t t;
	sigset_t set;

	fill(private = fresh(MAP_PRIVATE), 1);
	fill(thread_memory = fresh(MAP_PRIVATE), 3);
	shared = fresh(MAP_SHARED);
	must(!pipe(pipes) && !pipe(back), "pipe");
	if (!fork())
		child(pipes[0], back[1]);
	fill(private, 1);	/* its own copy again */
	must(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), "socketpair");
	event = eventfd(0, 0);
	timer = timerfd_create(CLOCK_MONOTONIC, 0);
	timerfd_settime(timer, 0, &its, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigs = signalfd(-1, &set, SFD_NONBLOCK);
	mkdir("/run/zoo", 0755);
	notify = inotify_init1(IN_NONBLOCK);
	inotify_add_watch(notify, "/run/zoo", IN_CREATE);
	epoll = epoll_create1(0);
	must(!epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &ev), "epoll_ctl");
	memfd = memfd_create("zoo", 0);
	must(write(memfd, "memfd", 5) == 5, "memfd");
	ghost = open("/run/zoo/ghost", O_CREAT | O_RDWR, 0600);
	must(write(ghost, "ghost", 5) == 5 && !unlink("/run/zoo/ghost"), "deleted file");
	must(!flock(fileno(out), LOCK_EX), "flock");
	named = socket(AF_UNIX, SOCK_STREAM, 0);
	unlink(name.sun_path);
	must(!bind(named, (void *)&name, sizeof(name)) && !listen(named, 1), "named socket");
	listener = socket(AF_INET, SOCK_STREAM, 0);
	must(!bind(listener, (void *)&addr, len) && !listen(listener, 1) && !getsockname(listener, (void *)&addr, &len), "listen");
	tcp[0] = socket(AF_INET, SOCK_STREAM, 0);
	must(!connect(tcp[0], (void *)&addr, len), "connect");
	tcp[1] = accept(listener, NULL, NULL);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	addr.sin_port = 0;
	must(!bind(udp, (void *)&addr, len), "udp");
	must(chdir("/run/zoo") == 0, "chdir");
	must(!pthread_create(&t, NULL, thread, NULL), "thread");
}

static void use_all(void)
{
	struct sockaddr_in addr;
	socklen_t len = sizeof(addr);
	struct epoll_event ev;
	struct stat st;
	uint64_t one = 1;
	int ready;
	char buf[64], was = shared[0];

	must(intact(private, 1), "memory");
	must(write(pipes[1], "x", 1) == 1 && read(back[0], buf, 1) == 1 && shared[0] == (char)(was + 1), "child, pipe, shared memory");
	must(write(pair[0], "d", 1) == 1 && read(pair[1], buf, 8) == 1, "socket pair");
	must(write(event, &one, 8) == 8 && read(event, &one, 8) == 8, "eventfd");
	do {	/* being frozen ends it early, as any signal may */
		ready = epoll_wait(epoll, &ev, 1, 1000);
	} while (ready < 0 && errno == EINTR);
	if (!ready)
		errno = ETIMEDOUT;
	must(ready == 1, "epoll");
	must(read(timer, &one, 8) == 8, "timerfd");
	kill(getpid(), SIGUSR1);
	must(read(sigs, (char[256]){ 0 }, 256) > 0, "signalfd");
	close(open("/run/zoo/new", O_CREAT, 0600));
	unlink("/run/zoo/new");
	must(read(notify, (char[512]){ 0 }, 512) > 0, "inotify");
	must(pread(memfd, buf, 5, 0) == 5 && !memcmp(buf, "memfd", 5), "memfd");
	must(pread(ghost, buf, 5, 0) == 5 && !memcmp(buf, "ghost", 5), "deleted file");
	must(write(tcp[0], "t", 1) == 1 && read(tcp[1], buf, 8) == 1, "tcp");
	getsockname(udp, (void *)&addr, &len);
	must(sendto(udp, "u", 1, 0, (void *)&addr, len) == 1 && read(udp, buf, 8) == 1, "udp");
	must(!stat(".", &st) && !stat("/run/zoo/socket", &st), "working directory and named socket");
}

int main(int argc, char **argv)
{
	unsigned long beats = 0;
	size_t i;

	if (argc != 3) {
		fprintf(stderr, "usage: tool_zoo all|KIND FILE; kinds:");
		for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
			fprintf(stderr, " %s", kinds[i].name);
		fprintf(stderr, "\n");
		return 2;
	}
	out = fopen(argv[2], "we");
	must(out != NULL, argv[2]);
	for (i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (!strcmp(argv[1], kinds[i].name)) {
			kinds[i].hold();
			fprintf(out, "ready\n");
			fflush(out);
			for (;;)
				pause();
		}
	open_all();
	for (;;) {
		use_all();
		fprintf(out, "beat %lu thread %lu\n", ++beats, thread_beats);
		fflush(out);
		usleep(100000);
	}
}
