// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bed.h"

static void must(int r, const char *what)
{
	if (r < 0)
		bed_fail("%s: %s", what, strerror(errno));
}

static void address(int s, struct ifreq *r, unsigned long request, const char *ip)
{
	struct sockaddr_in a = { .sin_family = AF_INET };

	inet_pton(AF_INET, ip, &a.sin_addr);
	memcpy(&r->ifr_addr, &a, sizeof(a));
	must(ioctl(s, request, r), ip);
}

static void up(int s, struct ifreq *r)
{
	must(ioctl(s, SIOCGIFFLAGS, r), r->ifr_name);
	r->ifr_flags |= IFF_UP;
	must(ioctl(s, SIOCSIFFLAGS, r), r->ifr_name);
}

int net_create(void)
{
	struct ifreq tap = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, .ifr_name = "tap0" };
	struct ifreq lo = { .ifr_name = "lo" };
	int fd, s;

	must(unshare(CLONE_NEWNET), "a network namespace (root is needed)");
	fd = open("/dev/net/tun", O_RDWR);
	must(fd, "/dev/net/tun");
	must(ioctl(fd, TUNSETIFF, &tap), "tap device");
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must(s, "socket");
	address(s, &tap, SIOCSIFADDR, HOST_IP);
	address(s, &tap, SIOCSIFNETMASK, NETMASK);
	up(s, &tap);
	up(s, &lo);
	close(s);
	return fd;
}
