// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"
#include "init.h"

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("init: ", stdout);
	vprintf(fmt, ap);
	putchar('\n');
	fflush(stdout);
	va_end(ap);
}

void mount_all(void)
{
	static const struct {
		const char *type, *dir;
	} m[] = {
		{ "proc", "/proc" },	   { "sysfs", "/sys" },		       { "devtmpfs", "/dev" },
		{ "tmpfs", "/run" },	   { "tmpfs", "/tmp" },		       { "cgroup2", "/sys/fs/cgroup" },
		{ "tmpfs", "/dev/shm" },   { "devpts", "/dev/pts" },	       { "debugfs", "/sys/kernel/debug" },
		{ "tracefs", "/sys/kernel/tracing" },
	};

	for (size_t i = 0; i < sizeof(m) / sizeof(*m); i++) {
		mkdir(m[i].dir, 0755);
		if (mount(m[i].type, m[i].dir, m[i].type, 0, NULL) && errno != EBUSY)
			say("mount %s: %s", m[i].dir, strerror(errno));
	}
}

static void load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
		say("%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

void load_modules(const char *list)
{
	char line[256];
	FILE *f = fopen(list, "re");

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (*line)
			load_module(line);
	}
	fclose(f);
}

static int set_address(int s, const char *name, unsigned long request, const char *ip)
{
	struct ifreq r = {};
	struct sockaddr_in *a = (struct sockaddr_in *)&r.ifr_addr;

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	a->sin_family = AF_INET;
	inet_pton(AF_INET, ip, &a->sin_addr);
	return ioctl(s, request, &r);
}

static int set_up(int s, const char *name)
{
	struct ifreq r = {};

	strncpy(r.ifr_name, name, IFNAMSIZ - 1);
	if (ioctl(s, SIOCGIFFLAGS, &r))
		return -1;
	r.ifr_flags |= IFF_UP;
	return ioctl(s, SIOCSIFFLAGS, &r);
}

void network_up(void)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (set_up(s, "lo"))
		say("lo: %s", strerror(errno));
	if (set_address(s, "eth0", SIOCSIFADDR, GUEST_IP) || set_address(s, "eth0", SIOCSIFNETMASK, NETMASK) ||
	    set_up(s, "eth0"))
		say("eth0: %s", strerror(errno));
	close(s);
}

const char *cmdline_value(const char *key)
{
	static char line[4096];
	FILE *f = fopen("/proc/cmdline", "re");
	char *p, *value = NULL;

	if (!f || !fgets(line, sizeof(line), f))
		line[0] = 0;
	if (f)
		fclose(f);
	for (p = strstr(line, key); p; p = strstr(value, key))
		value = p + strlen(key);
	if (value)
		value[strcspn(value, " \n")] = 0;
	return value;
}

bool cmdline_has(const char *word)
{
	return cmdline_value(word);
}
