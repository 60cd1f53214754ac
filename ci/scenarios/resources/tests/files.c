// SPDX-License-Identifier: GPL-2.0
/* Descriptors of files, pipes and the kernel's own, and locks. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <unistd.h>

#include "../resources.h"

static int make_file(const char *name, size_t len)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0640);
	char *data = malloc(len + 1);

	MUST(fd >= 0 && data);
	fill(data, len, 0);
	MUST(write(fd, data, len) == (ssize_t)len);
	free(data);
	return fd;
}

TEST(file)
{
	int fd = make_file(in_dir("file"), 100000), again, dup_fd, append, path;
	char buf[1000];
	struct stat st;

	MUST(lseek(fd, 12345, SEEK_SET) == 12345);
	again = open(in_dir("file"), O_RDWR | O_NONBLOCK);
	append = open(in_dir("file"), O_WRONLY | O_APPEND | O_CLOEXEC);
	path = open("/scenario", O_PATH | O_DIRECTORY);
	dup_fd = fcntl(fd, F_DUPFD_CLOEXEC, 100);
	MUST(again >= 0 && append >= 0 && path >= 0 && dup_fd >= 100);
	hold();
	SAME(lseek(fd, 0, SEEK_CUR), 12345);
	SAME(read(fd, buf, sizeof(buf)), sizeof(buf));
	SAME(differs(buf, sizeof(buf), 12345), 0);
	SAME(lseek(dup_fd, 0, SEEK_CUR), 13345);
	SAME(lseek(again, 0, SEEK_CUR), 0);
	EXPECT(fcntl(again, F_GETFL) & O_NONBLOCK);
	EXPECT(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
	EXPECT((fcntl(append, F_GETFL) & (O_APPEND | O_ACCMODE)) == (O_APPEND | O_WRONLY));
	EXPECT(fcntl(path, F_GETFL) & O_PATH);
	SAME(fcntl(append, F_GETFD), FD_CLOEXEC);
	SAME(fcntl(dup_fd, F_GETFD), FD_CLOEXEC);
	SAME(fcntl(fd, F_GETFD), 0);
	EXPECT(!fstatat(path, "resources", &st, 0));
	SAME(write(append, "end", 3), 3);
	SAME(lseek(again, 0, SEEK_END), 100003);
	EXPECT(!stat(in_dir("file"), &st));
	SAME(st.st_mode & 07777, 0640);
}

/* A program, as data: CRIU looks for its build-id. */
EITHER(elf_file, "would restore it at another offset")
{
	int fd = open("/scenario/resources", O_RDONLY | O_NOATIME);

	MUST(fd >= 0 && lseek(fd, 64, SEEK_SET) == 64);
	hold();
	SAME(lseek(fd, 0, SEEK_CUR), 64);
	EXPECT(fcntl(fd, F_GETFL) & O_NOATIME);
}

TEST(deleted_file)
{
	int fd = make_file(in_dir("ghost"), 50000), ro = open(in_dir("ghost"), O_RDONLY);
	char buf[50000];
	struct stat st;

	MUST(ro >= 0 && !unlink(in_dir("ghost")));
	hold();
	SAME(lseek(fd, 0, SEEK_CUR), 50000);
	SAME(pread(ro, buf, sizeof(buf), 0), sizeof(buf));
	SAME(differs(buf, sizeof(buf), 0), 0);
	SAME(pwrite(fd, "x", 1, 7), 1);
	SAME(pread(ro, buf, 1, 7), 1);
	SAME(buf[0], 'x');
	EXPECT(!fstat(fd, &st) && st.st_nlink == 0);
	EXPECT(access(in_dir("ghost"), F_OK));
}

REFUSED(deleted_large, "a deleted file of")
{
	int fd = make_file(in_dir("large"), 3 << 20);

	MUST(fd >= 0 && !unlink(in_dir("large")));
	hold();
}

TEST(hard_link)
{
	int fd = make_file(in_dir("was"), 5000);
	char buf[5000];

	MUST(!link(in_dir("was"), in_dir("is")));
	hold();
	SAME(pread(fd, buf, sizeof(buf), 0), sizeof(buf));
	SAME(differs(buf, sizeof(buf), 0), 0);
	SAME(pwrite(fd, "y", 1, 0), 1);
}

TEST(ns_of_all)
{
	int fd = open("/proc/self/ns/net", O_RDONLY);
	struct stat held, own;

	MUST(fd >= 0);
	hold();
	EXPECT(!fstat(fd, &held) && !stat("/proc/self/ns/net", &own) && held.st_ino == own.st_ino);
}

/* To look at it must not break it either: that would end this process. */
REFUSED(write_lease, "a write lease")
{
	int fd = make_file(in_dir("leased"), 5000);

	MUST(!fcntl(fd, F_SETLEASE, F_WRLCK));
	hold();
}

TEST(read_lease)
{
	int fd;

	close(make_file(in_dir("lent"), 5000));
	fd = open(in_dir("lent"), O_RDONLY);
	MUST(fd >= 0 && !fcntl(fd, F_SETLEASE, F_RDLCK));
	hold();
	SAME(fcntl(fd, F_GETLEASE), F_RDLCK);
}

REFUSED(renamed_under, "replaced or renamed")
{
	int fd = make_file(in_dir("old"), 5000);

	MUST(fd >= 0 && !link(in_dir("old"), in_dir("other")) && !unlink(in_dir("old")));
	hold();
}

TEST(memfd)
{
	int fd = memfd_create("resources", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	char buf[30000];

	MUST(fd >= 0);
	fill(buf, sizeof(buf), 3);
	MUST(write(fd, buf, sizeof(buf)) == sizeof(buf) && lseek(fd, 111, SEEK_SET) == 111);
	MUST(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
	hold();
	SAME(lseek(fd, 0, SEEK_CUR), 111);
	SAME(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
	SAME(pread(fd, buf, sizeof(buf), 0), sizeof(buf));
	SAME(differs(buf, sizeof(buf), 3), 0);
	SAME(ftruncate(fd, 10), -1);
	SAME(pwrite(fd, "z", 1, 0), 1);
}

TEST(pipe)
{
	int p[2], full[2], ended[2], n, len = 0;
	char buf[3000], c;

	MUST(!pipe2(p, O_NONBLOCK) && !pipe2(full, O_NONBLOCK | O_CLOEXEC) && !pipe(ended));
	fill(buf, sizeof(buf), 9);
	MUST(write(p[1], buf, sizeof(buf)) == sizeof(buf) && write(ended[1], "left", 4) == 4);
	close(ended[1]);
	MUST(fcntl(full[1], F_SETPIPE_SZ, 16384) == 16384);
	while (write(full[1], (c = pattern(len), &c), 1) == 1)
		len++;
	hold();
	SAME(fcntl(full[0], F_GETPIPE_SZ), 16384);
	SAME(read(p[0], buf, sizeof(buf)), sizeof(buf));
	SAME(differs(buf, sizeof(buf), 9), 0);
	SAME(read(p[0], buf, 1), -1);
	SAME(errno, EAGAIN);
	SAME(write(full[1], "", 1), -1);
	for (n = 0; read(full[0], &c, 1) == 1; n++)
		if (c != (char)pattern(n))
			break;
	SAME(n, len);
	SAME(read(ended[0], buf, 10), 4);
	SAME(read(ended[0], buf, 10), 0);
	EXPECT(fcntl(full[0], F_GETFD) & FD_CLOEXEC);
}

REFUSED(packet_pipe, "a pipe of packets")
{
	char buf[100];
	int p[2];

	MUST(!pipe2(p, O_DIRECT | O_NONBLOCK));
	MUST(write(p[1], "one", 3) == 3 && write(p[1], "three", 5) == 5);
	hold();
	EXPECT(fcntl(p[1], F_GETFL) & O_DIRECT);
	SAME(read(p[0], buf, sizeof(buf)), 3);
	SAME(read(p[0], buf, sizeof(buf)), 5);
}

TEST(fifo)
{
	char buf[100];
	int fd;

	MUST(!mkfifo(in_dir("fifo"), 0600));
	fd = open(in_dir("fifo"), O_RDWR | O_NONBLOCK);
	MUST(fd >= 0 && write(fd, "in the fifo", 11) == 11);
	hold();
	SAME(read(fd, buf, sizeof(buf)), 11);
	EXPECT(!memcmp(buf, "in the fifo", 11));
}

TEST(eventfd)
{
	int fd = eventfd(77777, EFD_NONBLOCK | EFD_CLOEXEC);
	uint64_t v;

	MUST(fd >= 0);
	hold();
	SAME(read(fd, &v, 8), 8);
	SAME(v, 77777);
	SAME(read(fd, &v, 8), -1);
	SAME(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

static bool is_told(int fd)
{
	char path[64], info[256];

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	return strstr(slurp(path, info, sizeof(info)), "eventfd-semaphore");
}

REFUSED(eventfd_sem, "an eventfd that is a semaphore")
{
	MUST(eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK) >= 0);
	hold();
}

void list_lost(void)
{
	if (!is_told(eventfd(0, EFD_SEMAPHORE)))
		puts("eventfd_sem\tthis kernel does not tell that it is a semaphore, and CRIU restores a plain one");
}

TEST(epoll)
{
	struct epoll_event e[8] = { 0 };
	int ep = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(0), p[2], q[2], dup_fd;

	MUST(ep >= 0 && outer >= 0 && !pipe(p) && !pipe(q));
	dup_fd = fcntl(p[0], F_DUPFD, 200);
	e[0] = (struct epoll_event){ .events = EPOLLIN | EPOLLET, .data.u64 = 0xfedcba9876543210ULL };
	MUST(!epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e[0]));
	e[0] = (struct epoll_event){ .events = EPOLLIN | EPOLLONESHOT, .data.u64 = 2 };
	MUST(!epoll_ctl(ep, EPOLL_CTL_ADD, q[0], &e[0]));
	e[0] = (struct epoll_event){ .events = EPOLLIN, .data.u64 = 3 };
	MUST(!epoll_ctl(ep, EPOLL_CTL_ADD, dup_fd, &e[0]));
	e[0] = (struct epoll_event){ .events = EPOLLIN, .data.u64 = 4 };
	MUST(!epoll_ctl(outer, EPOLL_CTL_ADD, ep, &e[0]));
	/* the one-shot has shot: it must stay disabled */
	MUST(write(q[1], "", 1) == 1 && epoll_wait(ep, e, 8, 1000) == 1 && e[0].data.u64 == 2);
	hold();
	SAME(epoll_wait(ep, e, 8, 0), 0);
	SAME(write(p[1], "x", 1), 1);
	SAME(epoll_wait(outer, e, 8, 1000), 1);
	SAME(e[0].data.u64, 4);
	SAME(epoll_wait(ep, e, 8, 1000), 2);
	EXPECT(e[0].data.u64 == 0xfedcba9876543210ULL || e[1].data.u64 == 0xfedcba9876543210ULL);
	SAME(epoll_wait(ep, e, 8, 0), 1);	/* the edge is over, the level is not */
	SAME(e[0].data.u64, 3);
}

TEST(signalfd)
{
	struct signalfd_siginfo si;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	MUST(fd >= 0 && !sigqueue(getpid(), SIGRTMIN + 1, (union sigval){ .sival_int = 31 }));
	hold();
	SAME(read(fd, &si, sizeof(si)), sizeof(si));
	SAME(si.ssi_signo, SIGRTMIN + 1);
	SAME(si.ssi_int, 31);
	kill(getpid(), SIGUSR1);
	SAME(read(fd, &si, sizeof(si)), sizeof(si));
	SAME(si.ssi_signo, SIGUSR1);
	SAME(read(fd, &si, sizeof(si)), -1);
}

TEST(timerfd)
{
	struct itimerspec far = { { 7, 0 }, { 3600, 0 } }, tick = { { 0, 50000000 }, { 0, 50000000 } }, once = { { 0, 0 }, { 0, 1000000 } }, now;
	int a = timerfd_create(CLOCK_MONOTONIC, 0), b = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK), c = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
	uint64_t n;

	MUST(a >= 0 && b >= 0 && c >= 0);
	MUST(!timerfd_settime(a, 0, &far, NULL) && !timerfd_settime(b, 0, &tick, NULL) && !timerfd_settime(c, 0, &once, NULL));
	usleep(120000);
	hold();
	EXPECT(!timerfd_gettime(a, &now) && now.it_interval.tv_sec == 7 && now.it_value.tv_sec <= 3600 && now.it_value.tv_sec > 2400);
	SAME(read(b, &n, 8), 8);
	EXPECT(n >= 2);
	usleep(200000);
	SAME(read(b, &n, 8), 8);
	EXPECT(n >= 2);
	SAME(read(c, &n, 8), 8);
	SAME(n, 1);
	EXPECT(!timerfd_gettime(c, &now) && !now.it_value.tv_sec && !now.it_value.tv_nsec);
}

TEST(inotify)
{
	int fd = inotify_init1(IN_NONBLOCK), wd, wd2, n;
	union {
		struct inotify_event e;
		char buf[4096];
	} u;

	MUST(fd >= 0 && !mkdir(in_dir("watched"), 0700));
	wd = inotify_add_watch(fd, in_dir("watched"), IN_CREATE | IN_DELETE);
	wd2 = inotify_add_watch(fd, "/scenario", IN_CREATE);
	MUST(wd > 0 && wd2 > 0);
	hold();
	do {	/* what CRIU did while it restored may stand there */
		n = read(fd, u.buf, sizeof(u.buf));
	} while (n > 0);
	MUST(!chdir(in_dir("watched")));
	close(open("new", O_WRONLY | O_CREAT, 0600));
	n = read(fd, u.buf, sizeof(u.buf));
	EXPECT(n > 0 && u.e.wd == wd && u.e.mask == IN_CREATE && !strcmp(u.e.name, "new"));
	SAME(inotify_rm_watch(fd, wd2), 0);
}

TEST(fanotify)
{
	int fd = fanotify_init(FAN_NONBLOCK | FAN_CLASS_NOTIF, O_RDONLY), n;
	struct fanotify_event_metadata m[8];

	MUST(fd >= 0 && !mkdir(in_dir("watched"), 0700));
	MUST(!fanotify_mark(fd, FAN_MARK_ADD, FAN_OPEN | FAN_EVENT_ON_CHILD, AT_FDCWD, in_dir("watched")));
	close(open(in_dir("watched/f"), O_WRONLY | O_CREAT, 0600));
	while (read(fd, m, sizeof(m)) > 0)
		close(m[0].fd);
	hold();
	while (read(fd, m, sizeof(m)) > 0)
		;
	close(open(in_dir("watched/f"), O_RDONLY | O_CREAT, 0600));
	n = read(fd, m, sizeof(m));
	EXPECT(n > 0 && (m[0].mask & FAN_OPEN));
}

EITHER(pidfd, "doesn't carry such a descriptor")
{
	struct pollfd p = { .events = POLLIN };
	int fd = syscall(SYS_pidfd_open, getpid(), 0);

	MUST(fd >= 0);
	hold();
	p.fd = fd;
	SAME(poll(&p, 1, 0), 0);
	SAME(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0), 0);
}

static bool try_flock(const char *path, int how)
{
	int fd = open(path, O_RDWR);
	bool got = !flock(fd, how | LOCK_NB);

	close(fd);
	return got;
}

TEST(flock)
{
	int ex = make_file(in_dir("ex"), 10), sh = make_file(in_dir("sh"), 10), none = make_file(in_dir("none"), 10);

	MUST(!flock(ex, LOCK_EX) && !flock(sh, LOCK_SH) && none >= 0);
	hold();
	EXPECT(!try_flock(in_dir("ex"), LOCK_EX));
	EXPECT(!try_flock(in_dir("ex"), LOCK_SH));
	EXPECT(!try_flock(in_dir("sh"), LOCK_EX));
	EXPECT(try_flock(in_dir("sh"), LOCK_SH));
	EXPECT(try_flock(in_dir("none"), LOCK_EX));
	EXPECT(!flock(ex, LOCK_UN));
	EXPECT(try_flock(in_dir("ex"), LOCK_EX));
}

static int try_range(const char *path, int type, off_t from, off_t len, int cmd)
{
	struct flock l = { .l_type = type, .l_whence = SEEK_SET, .l_start = from, .l_len = len };
	int fd = open(path, O_RDWR), type_now;

	type_now = fcntl(fd, cmd, &l) ? -1 : l.l_type;
	close(fd);
	return type_now;
}

static void ask_ranges(int sock)
{
	await(sock);
	send_answer(sock, try_range(in_dir("ranges"), F_RDLCK, 100, 50, F_GETLK));
	send_answer(sock, try_range(in_dir("ranges"), F_RDLCK, 200, 50, F_GETLK));
	send_answer(sock, try_range(in_dir("ranges"), F_WRLCK, 200, 50, F_GETLK));
	send_answer(sock, try_range(in_dir("ranges"), F_WRLCK, 0, 99, F_GETLK));
	pause();
}

TEST(posix_locks)
{
	struct flock wr = { .l_type = F_WRLCK, .l_start = 100, .l_len = 50 }, rd = { .l_type = F_RDLCK, .l_start = 200, .l_len = 50 };
	int fd = make_file(in_dir("ranges"), 1000), a;

	MUST(!fcntl(fd, F_SETLK, &wr) && !fcntl(fd, F_SETLK, &rd));
	child(ask_ranges, &a);
	hold();
	tell(a);
	SAME(answer(a), F_WRLCK);
	SAME(answer(a), F_UNLCK);
	SAME(answer(a), F_RDLCK);
	SAME(answer(a), F_UNLCK);
}

TEST(ofd_locks)
{
	struct flock wr = { .l_type = F_WRLCK, .l_start = 100, .l_len = 50 };
	int fd = make_file(in_dir("ofd"), 1000);

	MUST(!fcntl(fd, F_OFD_SETLK, &wr));
	hold();
	SAME(try_range(in_dir("ofd"), F_WRLCK, 120, 1, F_OFD_GETLK), F_WRLCK);
	SAME(try_range(in_dir("ofd"), F_WRLCK, 0, 100, F_OFD_GETLK), F_UNLCK);
	close(fd);
	SAME(try_range(in_dir("ofd"), F_WRLCK, 120, 1, F_OFD_GETLK), F_UNLCK);
}

TEST(lease)
{
	int fd = make_file(in_dir("lease"), 10);

	close(fd);
	fd = open(in_dir("lease"), O_RDONLY);
	MUST(fd >= 0 && !fcntl(fd, F_SETLEASE, F_RDLCK));
	hold();
	SAME(fcntl(fd, F_GETLEASE), F_RDLCK);
}

TEST(owner)
{
	int p[2];

	MUST(!pipe(p) && !fcntl(p[0], F_SETOWN, getpid()) && !fcntl(p[0], F_SETSIG, SIGRTMIN + 2));
	hold();
	SAME(fcntl(p[0], F_GETOWN), getpid());
	SAME(fcntl(p[0], F_GETSIG), SIGRTMIN + 2);
}

TEST(pty)
{
	struct winsize w = { .ws_row = 33, .ws_col = 99 }, now = { 0 };
	struct termios t, after;
	int master, slave, n;
	char buf[100];

	MUST(!openpty(&master, &slave, NULL, NULL, &w) && !tcgetattr(slave, &t));
	cfmakeraw(&t);
	t.c_cc[VMIN] = 3;
	MUST(!tcsetattr(slave, TCSANOW, &t));
	hold();
	EXPECT(!ioctl(slave, TIOCGWINSZ, &now) && now.ws_row == 33 && now.ws_col == 99);
	EXPECT(!tcgetattr(slave, &after) && after.c_lflag == t.c_lflag && after.c_iflag == t.c_iflag && after.c_oflag == t.c_oflag &&
	       !memcmp(after.c_cc, t.c_cc, sizeof(t.c_cc)));
	SAME(write(master, "abc", 3), 3);
	n = read(slave, buf, sizeof(buf));
	EXPECT(n == 3 && !memcmp(buf, "abc", 3));
	SAME(write(slave, "xyz", 3), 3);
	n = read(master, buf, sizeof(buf));
	EXPECT(n == 3 && !memcmp(buf, "xyz", 3));
}

static volatile int winches;

static void on_winch(int sig)
{
	(void)sig;
	winches++;
}

static int slave_fd;

static void with_terminal(int sock)
{
	signal(SIGWINCH, on_winch);
	MUST(setsid() > 0 && !ioctl(slave_fd, TIOCSCTTY, 0));
	tell(sock);
	await(sock);
	send_answer(sock, tcgetpgrp(slave_fd) == getpid() && open("/dev/tty", O_RDWR) >= 0);
	while (!winches)
		usleep(1000);
	send_answer(sock, winches);
	pause();
}

TEST(terminal)
{
	struct winsize w = { .ws_row = 10, .ws_col = 10 };
	int master, a;

	MUST(!openpty(&master, &slave_fd, NULL, NULL, NULL));
	child(with_terminal, &a);
	await(a);
	hold();
	tell(a);
	SAME(answer(a), 1);
	MUST(!ioctl(master, TIOCSWINSZ, &w));
	SAME(answer(a), 1);
}

TEST(devices)
{
	int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDONLY), random = open("/dev/urandom", O_RDONLY);
	char buf[16] = "x";

	MUST(null >= 0 && zero >= 0 && random >= 0);
	hold();
	SAME(write(null, buf, 16), 16);
	SAME(read(zero, buf, 16), 16);
	SAME(buf[0], 0);
	SAME(read(random, buf, 16), 16);
}

TEST(proc_files)
{
	int dir = open("/proc/self", O_RDONLY | O_DIRECTORY), f = open("/proc/self/status", O_RDONLY);
	char buf[64];

	MUST(dir >= 0 && f >= 0);
	hold();
	EXPECT(pread(f, buf, sizeof(buf), 0) > 5 && !strncmp(buf, "Name:", 5));
	close(dir);
}

REFUSED(block_device, "a block device")
{
	MUST(!mknod(in_dir("ram"), S_IFBLK | 0600, 1 << 8) || errno == EEXIST);
	/* nothing need answer there: by path alone it opens */
	MUST(open(in_dir("ram"), O_PATH) >= 0);
	hold();
}
