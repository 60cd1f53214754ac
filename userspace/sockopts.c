// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <json-c/json.h>

#include "json.h"
#include "sockopts.h"
#include "util.h"

#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#endif

static const struct {
	short level, name;
} options[] = {
	{ SOL_TCP, TCP_NODELAY }, { SOL_TCP, TCP_CORK }, { SOL_TCP, TCP_KEEPIDLE }, { SOL_TCP, TCP_KEEPINTVL }, { SOL_TCP, TCP_KEEPCNT },
	{ SOL_TCP, TCP_SYNCNT }, { SOL_TCP, TCP_LINGER2 }, { SOL_TCP, TCP_DEFER_ACCEPT }, { SOL_TCP, TCP_USER_TIMEOUT },
	{ SOL_TCP, TCP_NOTSENT_LOWAT }, { SOL_TCP, TCP_FASTOPEN }, { SOL_TCP, TCP_CONGESTION },
	{ SOL_IP, IP_TOS }, { SOL_IP, IP_TTL }, { SOL_IP, IP_MINTTL }, { SOL_IP, IP_MTU_DISCOVER }, { SOL_IP, IP_RECVERR }, { SOL_IP, IP_RECVTOS },
	{ SOL_IP, IP_RECVTTL }, { SOL_IP, IP_PKTINFO }, { SOL_IP, IP_TRANSPARENT }, { SOL_IP, IP_BIND_ADDRESS_NO_PORT },
	{ SOL_IP, IP_MULTICAST_TTL }, { SOL_IP, IP_MULTICAST_LOOP }, { SOL_IP, IP_MULTICAST_ALL },
	{ SOL_IPV6, IPV6_TCLASS }, { SOL_IPV6, IPV6_UNICAST_HOPS }, { SOL_IPV6, IPV6_MTU_DISCOVER }, { SOL_IPV6, IPV6_RECVERR },
	{ SOL_IPV6, IPV6_MULTICAST_HOPS }, { SOL_IPV6, IPV6_MULTICAST_LOOP },
	{ SOL_SOCKET, SO_TIMESTAMP }, { SOL_SOCKET, SO_TIMESTAMPNS }, { SOL_SOCKET, SO_BUSY_POLL }, { SOL_SOCKET, SO_PREFER_BUSY_POLL },
	{ SOL_SOCKET, SO_MAX_PACING_RATE }, { SOL_SOCKET, SO_ZEROCOPY },
};

struct value {
	socklen_t len;		/* 0: there is no such option */
	unsigned char byte[16];
};

static struct value get(int sock, size_t i)
{
	struct value v = { .len = sizeof(v.byte) };

	if (getsockopt(sock, options[i].level, options[i].name, v.byte, &v.len) || v.len > sizeof(v.byte))
		v.len = 0;
	return v;
}

/* Of a new socket of each kind that was met. */
struct usual {
	int domain, type, proto;
	struct value value[KUP_ARRAY_SIZE(options)];
};

static const struct usual *usual(struct usual *known, size_t room, size_t *nr, int domain, int type, int proto)
{
	size_t i;
	int sock;

	for (i = 0; i < *nr; i++)
		if (known[i].domain == domain && known[i].type == type && known[i].proto == proto)
			return &known[i];
	sock = *nr < room ? socket(domain, type | SOCK_CLOEXEC, proto) : -1;
	if (sock < 0)
		return NULL;
	known[*nr] = (struct usual){ .domain = domain, .type = type, .proto = proto };
	for (i = 0; i < KUP_ARRAY_SIZE(options); i++)
		known[*nr].value[i] = get(sock, i);
	close(sock);
	return &known[(*nr)++];
}

static struct json_object *differences(int sock, const struct usual *u)
{
	struct json_object *list = json_object_new_array();
	size_t i, j;

	for (i = 0; i < KUP_ARRAY_SIZE(options); i++) {
		struct value v = u->value[i].len ? get(sock, i) : (struct value){ 0 };
		char hex[2 * sizeof(v.byte) + 1] = "";
		struct json_object *one;

		if (!v.len || (v.len == u->value[i].len && !memcmp(v.byte, u->value[i].byte, v.len)))
			continue;
		for (j = 0; j < v.len; j++)
			sprintf(hex + 2 * j, "%02x", v.byte[j]);
		one = json_object_new_array();
		json_object_array_add(one, json_object_new_int(options[i].level));
		json_object_array_add(one, json_object_new_int(options[i].name));
		json_object_array_add(one, json_object_new_string(hex));
		json_object_array_add(list, one);
	}
	return list;
}

/* What it is connected by, whatever the socket is of: AF_INET, AF_INET6, or 0 if it is not connected. */
static int goes_by(int sock)
{
	struct sockaddr_in6 peer = { 0 };
	socklen_t len = sizeof(peer);

	if (getpeername(sock, (struct sockaddr *)&peer, &len))
		return 0;
	return peer.sin6_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr) ? AF_INET : peer.sin6_family;
}

static void read_socket(struct json_object *to, pid_t pid, int fd, int sock, struct usual *known, size_t room, size_t *nr)
{
	int domain = 0, type = 0, proto = 0;
	socklen_t len = sizeof(int);
	const struct usual *u;
	struct json_object *opts, *o;

	getsockopt(sock, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	if (domain != AF_INET && domain != AF_INET6)
		return;
	getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len);
	getsockopt(sock, SOL_SOCKET, SO_PROTOCOL, &proto, &len);
	u = usual(known, room, nr, domain, type, proto);
	if (!u)
		return;
	opts = differences(sock, u);
	if (!json_object_array_length(opts) && !(proto == IPPROTO_TCP && goes_by(sock))) {
		json_object_put(opts);
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "pid", json_object_new_int(pid));
	json_object_object_add(o, "fd", json_object_new_int(fd));
	json_object_object_add(o, "opts", opts);
	json_object_array_add(to, o);
}

struct seen {
	unsigned long *ino;
	size_t nr;
};

/* Of those that hold one socket, the first. */
static bool is_new(struct seen *s, unsigned long ino)
{
	unsigned long *more;
	size_t i;

	/* a server's thousands of connections have one holder each: the last ones met are where another would be */
	for (i = s->nr; i-- && s->nr - i <= 256; )
		if (s->ino[i] == ino)
			return false;
	more = realloc(s->ino, (s->nr + 1) * sizeof(*more));
	if (more) {
		s->ino = more;
		s->ino[s->nr++] = ino;
	}
	return true;
}

struct json_object *kup_sockopts_read(const struct kup_tree *tree)
{
	struct json_object *list = json_object_new_array();
	struct usual known[8];
	struct seen seen = { 0 };
	size_t i, nr = 0;

	for (i = 0; i < tree->nr; i++) {
		pid_t pid = tree->tasks[i].pid;
		int pidfd = syscall(SYS_pidfd_open, pid, 0), sock;
		char path[64], link[64];
		unsigned long ino;
		struct dirent *e;
		DIR *d;

		snprintf(path, sizeof(path), "/proc/%d/fd", pid);
		d = opendir(path);
		while (d && pidfd >= 0 && (e = readdir(d))) {
			ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);

			if (n <= 0)
				continue;
			link[n] = '\0';
			if (sscanf(link, "socket:[%lu]", &ino) != 1 || !is_new(&seen, ino))
				continue;
			sock = syscall(SYS_pidfd_getfd, pidfd, atoi(e->d_name), 0);
			if (sock < 0)
				continue;
			read_socket(list, pid, atoi(e->d_name), sock, known, KUP_ARRAY_SIZE(known), &nr);
			close(sock);
		}
		if (d)
			closedir(d);
		if (pidfd >= 0)
			close(pidfd);
	}
	free(seen.ino);
	return list;
}

static void apply_one(int sock, struct json_object *opt)
{
	const char *hex = json_object_get_string(json_object_array_get_idx(opt, 2));
	struct value v = { 0 };
	unsigned int byte;

	for (; hex && v.len < sizeof(v.byte) && sscanf(hex, "%2x", &byte) == 1; hex += 2)
		v.byte[v.len++] = byte;
	setsockopt(sock, json_object_get_int(json_object_array_get_idx(opt, 0)), json_object_get_int(json_object_array_get_idx(opt, 1)),
		   v.byte, v.len);
}

/*
 * CRIU tells what the peer takes in a segment when the connection is there; but that is when the kernel reckons what to send, and as long as it
 * knows of no other it is 536 bytes, or 1220 by IPv6. It reckons again when IP options are set: for IPv4 to what they are; for IPv6 to a list of
 * none at all (a traffic class is no header), and then it is taken away again.
 */
static void fit_segments(int sock)
{
	static const struct {
		struct cmsghdr head;
		int class;
	} none = { .head = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_IPV6, .cmsg_type = IPV6_TCLASS } };
	unsigned char ip[40];
	socklen_t len = sizeof(int);
	int proto = 0, by;

	getsockopt(sock, SOL_SOCKET, SO_PROTOCOL, &proto, &len);
	by = proto == IPPROTO_TCP ? goes_by(sock) : 0;
	len = sizeof(ip);
	if (by == AF_INET && !getsockopt(sock, SOL_IP, IP_OPTIONS, ip, &len))
		setsockopt(sock, SOL_IP, IP_OPTIONS, ip, len);
	if (by == AF_INET6 && !setsockopt(sock, SOL_IPV6, IPV6_2292PKTOPTIONS, &none, sizeof(none)))
		setsockopt(sock, SOL_IPV6, IPV6_2292PKTOPTIONS, NULL, 0);
}

void kup_sockopts_apply(struct json_object *sockets)
{
	size_t i, j;

	for (i = 0; json_object_is_type(sockets, json_type_array) && i < json_object_array_length(sockets); i++) {
		struct json_object *s = json_object_array_get_idx(sockets, i), *opts = json_object_object_get(s, "opts");
		int pidfd = syscall(SYS_pidfd_open, (pid_t)kup_json_int(s, "pid"), 0), sock;

		sock = pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, (int)kup_json_int(s, "fd"), 0);
		for (j = 0; sock >= 0 && j < json_object_array_length(opts); j++)
			apply_one(sock, json_object_array_get_idx(opts, j));
		if (sock >= 0) {
			fit_segments(sock);
			close(sock);
		}
		if (pidfd >= 0)
			close(pidfd);
	}
}
