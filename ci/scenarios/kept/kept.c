// SPDX-License-Identifier: GPL-2.0
/*
 * kept make DIR MB      a directory with one of each thing that a file system has
 * kept serve DIR PORT   to each who connects: every name in it, sorted, with all that it has, and then its content
 * kept hold DIR         holds files in it open and mapped; at SIGUSR1 it looks whether they are still the same, and says so in /run/held
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MB (1 << 20)

static void need(int ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static uint64_t state = 88172645463325252ull;

static uint64_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void fill(const char *path, off_t from, size_t bytes, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT, mode);
	uint64_t block[512];

	need(fd >= 0 && lseek(fd, from, SEEK_SET) == from, path);
	while (bytes) {
		size_t n = bytes < sizeof(block) ? bytes : sizeof(block);

		for (size_t i = 0; i < 512; i++)
			block[i] = draw();
		need(write(fd, block, n) == (ssize_t)n, path);
		bytes -= n;
	}
	close(fd);
}

static void age(const char *path, time_t t)
{
	const struct timespec ts[2] = { { t, 123456789 }, { t - 86400, 987654321 } };

	need(!utimensat(AT_FDCWD, path, ts, AT_SYMLINK_NOFOLLOW), path);
}

static int age_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	age(path, 1000000000 + draw() % 500000000);
	return 0;
}

static void make(const char *dir, size_t mb)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX, .sun_path = "socket" };
	char name[64], data[1000];
	int s;

	need(!chdir(dir), dir);
	fill("large", 0, mb * MB / 2, 0640);
	fill("large-odd", 0, mb * MB / 4 + 1234, 0600);
	fill("small", 0, 100001, 0644);
	fill("sparse", 5 * MB, 3 * MB, 0644);
	need(!truncate("sparse", 64 * MB + 17), "sparse");
	fill("small-sparse", 700000, 5000, 0644);
	need(!truncate("small-sparse", 900000), "small-sparse");
	need(!mknod("empty", S_IFREG | 0400, 0), "empty");
	need(!truncate("empty-large", 0) || !mknod("empty-large", S_IFREG | 0644, 0), "empty-large");
	need(!truncate("empty-large", 20 * MB), "empty-large");
	need(!mkfifo("fifo", 0620), "fifo");
	need(!mknod("null", S_IFCHR | 0666, makedev(1, 3)), "null");
	need(!mknod("disk", S_IFBLK | 0660, makedev(259, 70000)), "disk");
	need(!symlink("small", "link") && !symlink("/nowhere/at all", "dangling"), "symlink");
	need(!mkdir("dir", 0700) && !mkdir("dir/below", 01777) && !mkdir("dir/empty", 0555), "dir");
	need(!link("large", "dir/large too") && !link("small", "dir/below/small too"), "link");
	need(!mknod("odd\n\"name\\\xff\xc3\xa4", S_IFREG | 0644, 0), "odd name");
	memset(name, 'n', 63);
	name[63] = 0;
	for (int i = 0; i < 40; i++) {	/* longer than 512 bytes */
		need(!mkdir(name, 0755) && !chdir(name), name);
		if (i % 10 == 9)
			fill("deep", 0, 10 + i, 0644);
	}
	need(!chdir(dir), dir);
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "dir/below/%d", i);
		fill(name, 0, draw() % 30000, 0600);
	}
	need(!lchown("link", 12, 13) && !chown("small", 1234, 4321) && !chmod("small", 06755), "owners");
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = draw();
	need(!setxattr("large", "trusted.test", data, sizeof(data), 0) && !setxattr("dir", "security.test", "x", 1, 0) &&
	     !setxattr("empty", "trusted.nothing", "", 0, 0), "attributes");
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	need(s >= 0 && !bind(s, (struct sockaddr *)&addr, sizeof(addr)), "socket");
	need(!nftw(dir, age_one, 16, FTW_DEPTH | FTW_PHYS), dir);
}

static FILE *out;

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void show_attributes(const char *name)
{
	char names[4096], value[65536], *n;
	ssize_t len = llistxattr(name, names, sizeof(names)), v;

	for (n = names; len > 0 && n < names + len; n += strlen(n) + 1) {
		v = lgetxattr(name, n, value, sizeof(value));
		fprintf(out, " %s=%zd:", n, v);
		for (ssize_t i = 0; i < v; i++)
			fprintf(out, "%02x", (unsigned char)value[i]);
	}
}

static void show_content(const char *name, const struct stat *st)
{
	int fd = open(name, O_RDONLY | O_NOATIME);
	off_t data = 0, hole = 0;
	char block[65536];
	ssize_t n;

	need(fd >= 0, name);
	while (st->st_size > MB && (data = lseek(fd, hole, SEEK_DATA)) >= 0) {	/* a small one's holes are filled in */
		hole = lseek(fd, data, SEEK_HOLE);
		fprintf(out, "data %lld to %lld\n", (long long)data, (long long)hole);
	}
	lseek(fd, 0, SEEK_SET);
	while ((n = read(fd, block, sizeof(block))) > 0)
		fwrite(block, 1, n, out);
	fprintf(out, "\nend of %lld bytes\n", (long long)st->st_size);
	close(fd);
}

static void show(const char *path, const char *name)
{
	char to[4096] = "";
	struct dirent **list;
	struct stat st;
	int n;

	need(!lstat(name, &st), name);
	if (S_ISSOCK(st.st_mode))
		return;
	if (S_ISLNK(st.st_mode))
		need(readlink(name, to, sizeof(to) - 1) > 0, name);
	fprintf(out, "%s mode %o owner %u:%u links %lu size %lld device %u:%u times %lld.%09ld %lld.%09ld to '%s'", path, st.st_mode, st.st_uid,
		st.st_gid, (unsigned long)st.st_nlink, S_ISDIR(st.st_mode) ? 0 : (long long)st.st_size, major(st.st_rdev), minor(st.st_rdev),
		(long long)st.st_atim.tv_sec, st.st_atim.tv_nsec, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, to);
	show_attributes(name);
	fprintf(out, "\n");
	if (S_ISREG(st.st_mode))
		show_content(name, &st);
	if (!S_ISDIR(st.st_mode))
		return;
	need(!chdir(name), path);
	n = scandir(".", &list, NULL, by_name);
	need(n >= 0, path);
	for (int i = 0; i < n; i++) {
		char *below;

		if (strcmp(list[i]->d_name, ".") && strcmp(list[i]->d_name, "..")) {
			need(asprintf(&below, "%s/%s", path, list[i]->d_name) > 0, path);
			show(below, list[i]->d_name);
			free(below);
		}
		free(list[i]);
	}
	free(list);
	need(!chdir(".."), path);
}

static void serve(const char *dir, int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port) };
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1, c;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	need(!bind(s, (struct sockaddr *)&addr, sizeof(addr)) && !listen(s, 4), "port");
	signal(SIGPIPE, SIG_IGN);
	while ((c = accept(s, NULL, NULL)) >= 0) {
		out = fdopen(c, "w");
		show(dir, dir);
		fprintf(out, "that is all\n");
		fclose(out);
	}
}

static volatile sig_atomic_t asked;

static void ask(int sig)
{
	asked = sig;
}

static const char *look(int fd, const char *map, size_t len)
{
	static char block[4096];
	struct stat held, named;

	if (fstat(fd, &held) || stat("large", &named) || held.st_ino != named.st_ino || held.st_dev != named.st_dev)
		return "another file has the name";
	if (lseek(fd, 0, SEEK_CUR) != 4711)
		return "offset";
	for (size_t at = 0; at < len; at += sizeof(block)) {
		size_t n = len - at < sizeof(block) ? len - at : sizeof(block);

		if (pread(fd, block, n, at) != (ssize_t)n || memcmp(block, map + at, n))
			return "what is mapped is not what is read";
	}
	/* one memory: what is written there is read here */
	*(volatile char *)map ^= 0x55;
	if (pread(fd, block, 1, 0) != 1 || block[0] != *map)
		return "what is written to the mapping is not in the file";
	*(volatile char *)map ^= 0x55;
	return "ok";
}

static void hold(const char *dir)
{
	struct sigaction sa = { .sa_handler = ask };
	sigset_t set, was;
	struct stat st;
	char *map;
	FILE *f;
	int fd;

	need(!chdir(dir), dir);
	fd = open("large", O_RDWR);
	need(fd >= 0 && !fstat(fd, &st) && lseek(fd, 4711, SEEK_SET) == 4711, "large");
	map = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(map != MAP_FAILED, "mmap");
	sigaction(SIGUSR1, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, &was);
	for (;;) {
		sigsuspend(&was);
		f = fopen("/run/held.new", "w");
		need(f && fprintf(f, "%s\n", look(fd, map, st.st_size)) > 0 && !fclose(f) && !rename("/run/held.new", "/run/held"), "held");
	}
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "make"))
		make(argv[2], atoi(argv[3]));
	else if (argc == 4 && !strcmp(argv[1], "serve"))
		serve(argv[2], atoi(argv[3]));
	else if (argc == 3 && !strcmp(argv[1], "hold"))
		hold(argv[2]);
	else
		return 2;
	return 0;
}
