// SPDX-License-Identifier: GPL-2.0
/* The descriptors of a process: what CRIU carries, and what it doesn't. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "carry.h"
#include "files.h"
#include "hugetlb.h"
#include "util.h"

#define GHOST_LIMIT	(1ull << 20)	/* CRIU's default for the content of a deleted file */
#define MQUEUE_MAGIC	0x19800202

struct fd {
	int nr;
	char object[200];	/* for messages */
	char link[160];
	struct stat st;
	long fs;		/* f_type, of regular files and directories */
};

/* Somebody outside of the tree who holds the same pipe or socket: "pid 12 (cat)"; false if nobody does. */
static bool held_outside(struct kup_carry *c, char kind, uint64_t ino, char *who, size_t size)
{
	const struct kup_holder *h;
	size_t nr = kup_holders_find(kup_carry_holders(c), kind, ino, &h);
	char comm[16];

	for (; nr; nr--, h++) {
		/* One that was forked since the tree was read, or that ended since its descriptors were, is no stranger. */
		if (kup_tree_find(c->tree, h->pid) || kup_tree_has_now(c->tree, h->pid) || kup_task_has_ended(h->pid))
			continue;
		snprintf(who, size, "pid %d (%s)", h->pid, kup_task_comm(h->pid, comm));
		return true;
	}
	return false;
}

/* One write, one read: CRIU would join them. */
static bool is_packet_pipe(const struct kup_task *t, const struct fd *fd)
{
	char *info = kup_slurpf("/proc/%d/fdinfo/%d", t->pid, fd->nr), *flags = info ? strstr(info, "flags:") : NULL;
	const bool packets = flags && strtoul(flags + 6, NULL, 8) & O_DIRECT;

	free(info);
	return packets;
}

static void look_pipe(struct kup_carry *c, const struct kup_task *t, const struct fd *fd)
{
	char who[64];

	if (is_packet_pipe(t, fd))
		kup_refuse(c, t, fd->object, "let it use a unix socket of type SOCK_SEQPACKET", "a pipe of packets (O_DIRECT) isn't carried by CRIU");
	else if (held_outside(c, 'p', fd->st.st_ino, who, sizeof(who)))
		kup_refuse(c, t, fd->object, "redirect it to a file or /dev/null, or keep both in one tree",
			   "the other end is held by %s, which isn't kept in the same tree", who);
	else
		kup_carried(c, "pipe");
}

/* What was deleted CRIU makes anew where it was, and deletes it: the directory has to be there. false: it is deleted as well, and CRIU would leave it. */
static bool carry_parent(struct kup_carry *c, const struct kup_task *t, const char *object, const char *path)
{
	char dir[PATH_MAX], *slash;
	bool there = true;
	struct stat st;

	for (snprintf(dir, sizeof(dir), "%s", path); (slash = strrchr(dir, '/')) && slash != dir; there = false) {
		*slash = '\0';
		if (stat(dir, &st))
			continue;
		kup_carry_file(c, t, object, dir, &st, dir);
		break;
	}
	return there;
}

static bool is_deleted(const struct fd *fd)
{
	size_t len = strlen(fd->link);

	return len > 10 && !strcmp(fd->link + len - 10, " (deleted)");
}

static void look_fifo(struct kup_carry *c, const struct kup_task *t, const struct fd *fd, const char *via)
{
	kup_carried(c, "named pipe");
	if (is_deleted(fd) && !fd->st.st_nlink)
		carry_parent(c, t, fd->object, fd->link);
	else
		kup_carry_file(c, t, fd->object, fd->link, &fd->st, via);
}

/* A named unix socket needs its directory in the new system. */
static void look_unix_name(struct kup_carry *c, const struct kup_task *t, const struct fd *fd, int sock)
{
	struct sockaddr_un name = { 0 };
	socklen_t len = sizeof(name) - 1;
	struct stat st;
	char *slash;

	if (getsockname(sock, (struct sockaddr *)&name, &len) || name.sun_path[0] != '/')
		return;
	slash = strrchr(name.sun_path, '/');
	*slash = '\0';
	if (name.sun_path[0] && !stat(name.sun_path, &st))
		kup_carry_file(c, t, fd->object, name.sun_path, &st, name.sun_path);
}

/* CRIU connects anew: of several it may change the order, and what was sent already it cannot give back. */
static bool can_wait(struct kup_carry *c, const struct kup_unix_sock *s)
{
	const struct kup_unix_sock *caller = s->caller ? kup_unix_find(c->unix_socks, c->nr_unix, s->caller) : NULL;
	const struct kup_holder *h;
	char who[64];

	return s->waiting == 1 && caller && !caller->unread && kup_holders_find(kup_carry_holders(c), 's', s->caller, &h) &&
	       !held_outside(c, 's', s->caller, who, sizeof(who));
}

static void look_unix(struct kup_carry *c, const struct kup_task *t, const struct fd *fd, int sock, int type)
{
	const struct kup_unix_sock *s = kup_unix_find(c->unix_socks, c->nr_unix, fd->st.st_ino);
	struct sockaddr_un peer;
	socklen_t len = sizeof(peer);
	char who[64];

	look_unix_name(c, t, fd, sock);
	if (s && s->waiting && !can_wait(c, s)) {
		kup_refuse(c, t, fd->object, "try again when it has accepted them", "%u connections to it were not accepted yet: CRIU would lose them",
			   s->waiting);
		return;
	}
	if (!s || !s->peer) {
		kup_carried(c, "unix socket");
		return;
	}
	if (!held_outside(c, 's', s->peer, who, sizeof(who))) {
		kup_carried(c, "unix socket");
		return;
	}
	/* A named datagram socket can be connected to again by its name; a stream can't. */
	if (type == SOCK_DGRAM && !getpeername(sock, (struct sockaddr *)&peer, &len) && len > sizeof(sa_family_t)) {
		c->tree->ext_unix = true;
		kup_carried(c, "unix datagram socket to outside");
		return;
	}
	kup_refuse(c, t, fd->object, "for a service: StandardOutput=file:... (or null) instead of the journal; else close that connection",
		   "a unix socket connected to %s, which isn't kept in the same tree", who);
}

static void look_tcp(struct kup_carry *c, const struct kup_task *t, const struct fd *fd, int sock)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);
	char ulp[16] = "";

	getsockopt(sock, SOL_TCP, TCP_INFO, &info, &len);
	len = sizeof(ulp) - 1;
	if (!getsockopt(sock, SOL_TCP, TCP_ULP, ulp, &len) && ulp[0]) {
		kup_refuse(c, t, fd->object, "turn kernel TLS (or that protocol) off in the application",
			   "a TCP socket with the upper layer protocol `%s`", ulp);
		return;
	}
	kup_carried(c, info.tcpi_state == TCP_LISTEN ? "tcp listening" :
		       info.tcpi_state == TCP_CLOSE ? "tcp unconnected" : "tcp connection");
}

static void look_socket(struct kup_carry *c, const struct kup_task *t, const struct fd *fd, int pidfd)
{
	int domain = 0, type = 0, proto = 0, sock;
	socklen_t len = sizeof(int);

	sock = syscall(SYS_pidfd_getfd, pidfd, fd->nr, 0);
	if (sock < 0) {
		if (errno != EBADF)
			kup_refuse(c, t, fd->object, "run kup-ppp as root, not in a container", "what kind of socket it is can't be told: %s",
				   strerror(errno));
		return;
	}
	getsockopt(sock, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len);
	getsockopt(sock, SOL_SOCKET, SO_PROTOCOL, &proto, &len);
	if (domain == AF_UNIX)
		look_unix(c, t, fd, sock, type);
	else if ((domain == AF_INET || domain == AF_INET6) && type == SOCK_STREAM && (proto == IPPROTO_TCP || !proto))
		look_tcp(c, t, fd, sock);
	else if ((domain == AF_INET || domain == AF_INET6) && type == SOCK_DGRAM && (proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE))
		kup_carried(c, "udp socket");
	else if ((domain == AF_INET || domain == AF_INET6) && type == SOCK_RAW)
		kup_carried(c, "raw socket");
	else if (domain == AF_PACKET && (type == SOCK_RAW || type == SOCK_DGRAM || type == SOCK_PACKET))
		kup_carried(c, "packet socket");
	else if (domain == AF_NETLINK)
		kup_carried(c, "netlink socket");
	else
		kup_refuse(c, t, fd->object, "stop the part of the application that uses it",
			   "a socket of family %d, type %d, protocol %d isn't carried", domain, type, proto);
	close(sock);
}

/* A slave whose master is in the tree goes with it. */
static bool master_in_tree(const struct kup_carry *c, unsigned int index)
{
	char want[32];
	size_t i;

	snprintf(want, sizeof(want), "tty-index:\t%u", index);
	for (i = 0; i < c->tree->nr; i++) {
		char path[64];
		struct dirent *f;
		bool found = false;
		DIR *d;

		snprintf(path, sizeof(path), "/proc/%d/fdinfo", c->tree->tasks[i].pid);
		d = opendir(path);
		while (d && !found && (f = readdir(d))) {
			char *text = kup_slurpf("%s/%s", path, f->d_name);

			found = text && strstr(text, want);
			free(text);
		}
		if (d)
			closedir(d);
		if (found)
			return true;
	}
	return false;
}

static void look_char(struct kup_carry *c, const struct kup_task *t, const struct fd *fd)
{
	unsigned int maj = major(fd->st.st_rdev), min = minor(fd->st.st_rdev);

	if (is_deleted(fd) && !fd->st.st_nlink)
		carry_parent(c, t, fd->object, fd->link);
	else if (!kup_carry_named(c, t, fd->object, fd->link, &fd->st))
		return;
	if (maj == 1 && (min == 3 || min == 5 || min == 7 || min == 8 || min == 9)) {	/* null zero full random urandom */
		kup_carried(c, "memory device");
	} else if (maj == 5 && min == 2) {
		kup_carried(c, "pty master");
	} else if (maj >= 136 && maj <= 143) {
		if (master_in_tree(c, min + (maj - 136) * 256))
			kup_carried(c, "pty slave");
		else
			kup_refuse(c, t, fd->object, "start it detached: setsid PROGRAM </dev/null >FILE 2>&1",
				   "a terminal whose other side isn't kept");
	} else if (maj == 4 || (maj == 5 && min == 1)) {
		/* the same device is there in the new kernel; CRIU takes it only with --shell-job */
		c->tree->shell_job = true;
		kup_carried(c, "console");
	} else if (maj == 10 && min == 200) {
		kup_refuse(c, t, fd->object, "stop the part of the application that uses it", "a tun/tap interface");
	} else {
		kup_refuse(c, t, fd->object, "stop the part of the application that uses it", "a device (%u:%u)", maj, min);
	}
}

/* The kernel tells since 6.5; of one before that nobody knows, and CRIU would restore a plain one. */
static bool is_semaphore(const struct kup_task *t, const struct fd *fd)
{
	char *info = kup_slurpf("/proc/%d/fdinfo/%d", t->pid, fd->nr), *flag = info ? strstr(info, "eventfd-semaphore:") : NULL;
	const bool yes = flag && atoi(flag + strlen("eventfd-semaphore:"));

	free(info);
	return yes;
}

static void look_anon(struct kup_carry *c, const struct kup_task *t, const struct fd *fd)
{
	static const struct {
		const char *link;
		const char *kind;
		int criu_since;
	} known[] = {
		{ "anon_inode:[eventfd]", "eventfd", 0 },	{ "anon_inode:[eventpoll]", "epoll", 0 },
		{ "anon_inode:[signalfd]", "signalfd", 0 },	{ "anon_inode:[timerfd]", "timerfd", 0 },
		{ "anon_inode:inotify", "inotify", 0 },		{ "anon_inode:[fanotify]", "fanotify", 0 },
		{ "anon_inode:[pidfd]", "pidfd", 40100 },
	};
	size_t i;

	if (!strcmp(fd->link, "anon_inode:[eventfd]") && is_semaphore(t, fd)) {
		kup_refuse(c, t, fd->object, "let it use one without EFD_SEMAPHORE", "an eventfd that is a semaphore: CRIU would restore a plain one");
		return;
	}
	for (i = 0; i < KUP_ARRAY_SIZE(known); i++)
		if ((!strcmp(fd->link, known[i].link) || (known[i].criu_since && kup_starts(fd->link, "pidfd:"))) && c->criu->version >= known[i].criu_since) {
			kup_carried(c, known[i].kind);
			c->tree->timerfds |= !strcmp(known[i].kind, "timerfd");
			if (!strcmp(known[i].kind, "inotify") || !strcmp(known[i].kind, "fanotify"))
				kup_carry_watches(c, t, fd->object, fd->nr);
			return;
		}
	kup_refuse(c, t, fd->object, "stop the part of the application that uses it", "CRIU %s doesn't carry such a descriptor",
		   c->criu->text);
}

/* CRIU before 4.2 looks for a build-id with the descriptor itself, and leaves it a few bytes further on. */
static bool is_moved(const struct kup_carry *c, const struct fd *fd, int pidfd)
{
	char magic[4];
	int file;
	bool elf;

	if (c->criu->version >= 40200 || !S_ISREG(fd->st.st_mode))
		return false;
	/* Not opened: that would break a lease, and the signal for it end who holds it. */
	file = syscall(SYS_pidfd_getfd, pidfd, fd->nr, 0);
	elf = file >= 0 && pread(file, magic, sizeof(magic), 0) == sizeof(magic) && !memcmp(magic, "\177ELF", sizeof(magic));
	if (file >= 0)
		close(file);
	return elf;
}

/* To read the file, as what is in memory only has to be, would break it. */
static bool has_write_lease(const struct kup_task *t, const struct fd *fd)
{
	char *info = kup_slurpf("/proc/%d/fdinfo/%d", t->pid, fd->nr), *rest = info, *line;
	bool found = false;

	while (!found && rest && (line = strsep(&rest, "\n")))
		found = kup_starts(line, "lock:") && strstr(line, " LEASE ") && strstr(line, " WRITE ");
	free(info);
	return found;
}

/* Of those that all of the machine is in: CRIU opens the new kernel's. */
static bool is_namespace(const struct fd *fd)
{
	static const char *const names[] = { "net", "uts" };
	char path[32];
	struct stat st;
	size_t i;

	for (i = 0; i < KUP_ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "/proc/1/ns/%s", names[i]);
		if (!stat(path, &st) && st.st_dev == fd->st.st_dev && st.st_ino == fd->st.st_ino)
			return true;
	}
	return false;
}

static void look_file(struct kup_carry *c, const struct kup_task *t, const struct fd *fd, const char *via, int pidfd)
{
	const bool deleted = is_deleted(fd);
	const int size = fd->fs == HUGETLBFS_MAGIC ? kup_huge_of(fd->st.st_blksize) : -1;

	if (kup_starts(fd->link, "/memfd:secret")) {
		kup_refuse(c, t, fd->object, "run it without memfd_secret()", "secret memory can't be read, so it can't be carried");
	} else if (kup_starts(fd->link, "/memfd:")) {
		if (fd->fs == HUGETLBFS_MAGIC && size < 0)
			kup_refuse(c, t, fd->object, "let it use those of 2 MiB", "huge pages of hugetlbfs that are neither of 2 MiB nor of 1 GiB");
		else if (kup_carry_shared(c, t, fd->object, &fd->st, "memfd") && size >= 0)
			kup_carry_huge(c, t, fd->object, size, fd->st.st_size);
	} else if (is_namespace(fd)) {
		kup_carried(c, "namespace");
	} else if (fd->fs == MQUEUE_MAGIC) {
		kup_refuse(c, t, fd->object, "close the queue", "a POSIX message queue isn't carried by CRIU");
	} else if (fd->fs == HUGETLBFS_MAGIC) {
		kup_refuse(c, t, fd->object, "let it use transparent huge pages", "a file of a mounted hugetlbfs");
	} else if (deleted && fd->st.st_nlink) {
		kup_refuse(c, t, fd->object, "restart it, or close the file", "its file was replaced or renamed: CRIU can't find it by name");
	} else if (deleted && S_ISREG(fd->st.st_mode) && (uint64_t)fd->st.st_blocks * 512 > GHOST_LIMIT) {
		kup_refuse(c, t, fd->object, "let it close the file", "a deleted file of %lld bytes; CRIU carries up to %llu",
			   (long long)fd->st.st_size, GHOST_LIMIT);
	} else if (!deleted && kup_file_is_volatile(via) && has_write_lease(t, fd)) {
		kup_refuse(c, t, fd->object, "let it give the lease up, or have the file on a disk", "a write lease on a file that exists in memory only");
	} else if (is_moved(c, fd, pidfd)) {
		kup_refuse(c, t, fd->object, "install criu 4.2 or later, or let it close the file",
			   "an ELF file: CRIU %s would restore it at another offset", c->criu->text);
	} else {
		kup_carried(c, deleted ? "deleted file" : S_ISDIR(fd->st.st_mode) ? "directory" : "file");
		if (deleted)
			carry_parent(c, t, fd->object, fd->link);
		else if (kup_carry_named(c, t, fd->object, fd->link, &fd->st))
			kup_carry_file(c, t, fd->object, fd->link, &fd->st, via);
	}
}

static void look_locks(struct kup_carry *c, const struct kup_task *t, int nr)
{
	char *info = kup_slurpf("/proc/%d/fdinfo/%d", t->pid, nr);

	if (info && strstr(info, "\nlock:")) {
		c->tree->file_locks = true;
		kup_carried(c, "file lock");
	}
	free(info);
}

static void look_fd(struct kup_carry *c, const struct kup_task *t, int dir, int nr, int pidfd)
{
	struct fd fd = { .nr = nr };
	struct statfs fs;
	char name[80];
	ssize_t n;

	snprintf(name, sizeof(name), "%d", nr);
	n = readlinkat(dir, name, fd.link, sizeof(fd.link) - 1);
	if (n < 0 || fstatat(dir, name, &fd.st, 0))
		return;		/* closed meanwhile */
	fd.link[n] = '\0';
	snprintf(fd.object, sizeof(fd.object), "descriptor %d %s", nr, fd.link);
	snprintf(name, sizeof(name), "/proc/%d/fd/%d", t->pid, nr);
	if (S_ISREG(fd.st.st_mode) || S_ISDIR(fd.st.st_mode))
		fd.fs = statfs(name, &fs) ? 0 : fs.f_type;
	look_locks(c, t, nr);
	/* names first: since 6.x some of these look like regular files */
	if (kup_starts(fd.link, "anon_inode:") || kup_starts(fd.link, "pidfd:"))
		look_anon(c, t, &fd);
	else if (S_ISSOCK(fd.st.st_mode))
		look_socket(c, t, &fd, pidfd);
	else if (S_ISFIFO(fd.st.st_mode))
		kup_starts(fd.link, "pipe:") ? look_pipe(c, t, &fd) : look_fifo(c, t, &fd, name);
	else if (S_ISCHR(fd.st.st_mode))
		look_char(c, t, &fd);
	else if (S_ISBLK(fd.st.st_mode))
		kup_refuse(c, t, fd.object, "stop the part of the application that uses it", "a block device");
	else if (S_ISREG(fd.st.st_mode) || S_ISDIR(fd.st.st_mode) || S_ISLNK(fd.st.st_mode))
		look_file(c, t, &fd, name, pidfd);
	else
		look_anon(c, t, &fd);
}

static void look_cwd(struct kup_carry *c, const struct kup_task *t)
{
	char via[64], path[PATH_MAX];
	struct stat st;
	ssize_t n;

	snprintf(via, sizeof(via), "/proc/%d/cwd", t->pid);
	n = readlink(via, path, sizeof(path) - 1);
	if (n <= 1 || stat(via, &st))
		return;
	path[n] = '\0';
	if (!st.st_nlink) {
		if (!carry_parent(c, t, "working directory", path))
			kup_refuse(c, t, "working directory", "let it change to one that exists", "%.200s, and what it was in as well", path);
	} else if (kup_carry_named(c, t, "working directory", path, &st)) {
		kup_carry_file(c, t, "working directory", path, &st, via);
	}
}

void kup_carry_fds(struct kup_carry *c, const struct kup_task *t)
{
	char path[64];
	struct dirent *f;
	int pidfd;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/fd", t->pid);
	d = opendir(path);
	pidfd = syscall(SYS_pidfd_open, t->pid, 0);
	if (!d || pidfd < 0)
		kup_refuse(c, t, "descriptors", "run kup-ppp as root", "%s: %s", path, strerror(errno));
	else
		while ((f = readdir(d)))
			if (isdigit((unsigned char)f->d_name[0]))
				look_fd(c, t, dirfd(d), atoi(f->d_name), pidfd);
	look_cwd(c, t);
	if (d)
		closedir(d);
	if (pidfd >= 0)
		close(pidfd);
}
