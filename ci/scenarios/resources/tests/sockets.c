// SPDX-License-Identifier: GPL-2.0
/* Sockets. The peers of the TCP and UDP ones are outside: ci/client/resources_client.c has the other half. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/if_ether.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../client.h"
#include "../resources.h"

static int listener(int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	MUST(s >= 0 && !bind(s, (struct sockaddr *)&a, sizeof(a)) && !listen(s, 7));
	return s;
}

static int connection = -1;
static size_t sent;
static bool shut_after, shut_now;

/* Sends as much as goes; then what the test wants. */
static void take_connection(int s)
{
	char buf[4096];
	ssize_t n;

	if (connection >= 0)
		return;
	connection = accept4(s, NULL, NULL, SOCK_NONBLOCK);
	MUST(connection >= 0);
	for (;;) {
		fill(buf, sizeof(buf), sent);
		n = write(connection, buf, sizeof(buf));
		if (n < 0)
			break;
		sent += n;
		if (shut_now && sent > 40000)
			break;
	}
	MUST(sent > 40000);
	if (shut_now)
		MUST(!shutdown(connection, SHUT_WR));
	MUST(!fcntl(connection, F_SETFL, 0));
}

/* Reads all that the client sent before, tells it how much it will get, and goes on both ways. */
static void finish_connection(void)
{
	static char buf[CLIENT_BYTES];
	size_t n = 0;
	ssize_t r;
	char end;

	MUST(connection >= 0);
	while (n < sizeof(buf) && (r = read(connection, buf + n, sizeof(buf) - n)) > 0)
		n += r;
	SAME(n, CLIENT_BYTES);
	SAME(differs(buf, n, 77), 0);
	if (shut_after)
		SAME(read(connection, &end, 1), 0);	/* the client had ended its half */
	if (!shut_now) {
		for (size_t left = MORE_BYTES; left; left -= r) {
			fill(buf, left > 4096 ? 4096 : left, sent);
			r = write(connection, buf, left > 4096 ? 4096 : left);
			MUST(r > 0);
			sent += r;
		}
		SAME(shutdown(connection, SHUT_WR), 0);
	}
	if (!shut_after) {
		for (n = 0; n < MORE_BYTES && (r = read(connection, buf, MORE_BYTES - n)) > 0; n += r)
			SAME(differs(buf, r, 77 + CLIENT_BYTES + n), 0);
		SAME(n, MORE_BYTES);
		SAME(read(connection, &end, 1), 0);
	}
	close(connection);
}

TEST(tcp_listening)
{
	int s = listener(PORT_LISTENING), accepted, n = 0, len = sizeof(n);
	struct sockaddr_in a;
	socklen_t alen = sizeof(a);
	char buf[5] = "";

	n = 1;
	setsockopt(s, SOL_TCP, TCP_NODELAY, &n, sizeof(n));
	hold();
	EXPECT(!getsockname(s, (struct sockaddr *)&a, &alen) && a.sin_port == htons(PORT_LISTENING));
	EXPECT(!getsockopt(s, SOL_SOCKET, SO_ACCEPTCONN, &n, (socklen_t *)&len));
	SAME(n, 1);
	EXPECT(!getsockopt(s, SOL_TCP, TCP_NODELAY, &n, (socklen_t *)&len));
	SAME(n, 1);
	accepted = accept(s, NULL, NULL);	/* the client tries when all is over */
	EXPECT(accepted >= 0);
	SAME(recv(accepted, buf, 4, MSG_WAITALL), 4);
	SAME(write(accepted, buf, 4), 4);
}

TEST(tcp_established)
{
	int s = listener(PORT_ESTABLISHED);

	hold_serving(s, take_connection);
	finish_connection();
}

/* The client has ended its half: its data and its FIN are in our queue. */
TEST(tcp_close_wait)
{
	int s = listener(PORT_CLOSE_WAIT);

	shut_after = true;
	hold_serving(s, take_connection);
	finish_connection();
}

/* We have ended ours: data that was not sent yet, then the FIN. */
TEST(tcp_fin_wait)
{
	int s = listener(PORT_FIN_WAIT);

	shut_now = true;
	hold_serving(s, take_connection);
	finish_connection();
}

struct option {
	int level, name, value;
};

static const struct option tcp_options[] = {
	{ SOL_TCP, TCP_NODELAY, 1 }, { SOL_TCP, TCP_KEEPIDLE, 77 }, { SOL_TCP, TCP_KEEPINTVL, 33 }, { SOL_TCP, TCP_KEEPCNT, 5 },
	{ SOL_SOCKET, SO_KEEPALIVE, 1 }, { SOL_SOCKET, SO_PRIORITY, 3 }, { SOL_SOCKET, SO_RCVLOWAT, 2 }, { SOL_IP, IP_FREEBIND, 1 },
	{ SOL_SOCKET, SO_OOBINLINE, 1 },
};

TEST(tcp_options)
{
	int s = socket(AF_INET, SOCK_STREAM, 0), v;
	struct timeval t = { 12, 0 };
	struct linger l = { 1, 9 };
	socklen_t len;
	size_t i;

	for (i = 0; i < sizeof(tcp_options) / sizeof(*tcp_options); i++)
		MUST(!setsockopt(s, tcp_options[i].level, tcp_options[i].name, &tcp_options[i].value, sizeof(int)));
	MUST(!setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t)) && !setsockopt(s, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	hold();
	for (i = 0; i < sizeof(tcp_options) / sizeof(*tcp_options); i++) {
		v = -1;
		len = sizeof(v);
		getsockopt(s, tcp_options[i].level, tcp_options[i].name, &v, &len);
		if (v != tcp_options[i].value)
			same(__FILE__, __LINE__, "option", tcp_options[i].level * 1000 + tcp_options[i].name, v);
	}
	t.tv_sec = 0;
	len = sizeof(t);
	getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, &len);
	SAME(t.tv_sec, 12);
	len = sizeof(l);
	l.l_linger = 0;
	getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &len);
	SAME(l.l_linger, 9);
}

TEST(tcp_timeout)
{
	int s = socket(AF_INET, SOCK_STREAM, 0), v = 4321;
	socklen_t len = sizeof(v);

	MUST(!setsockopt(s, SOL_TCP, TCP_USER_TIMEOUT, &v, sizeof(v)));
	hold();
	v = 0;
	getsockopt(s, SOL_TCP, TCP_USER_TIMEOUT, &v, &len);
	SAME(v, 4321);
}

TEST(ip_tos)
{
	int s = socket(AF_INET, SOCK_STREAM, 0), v = 0x10, ttl = 33;
	socklen_t len = sizeof(v);

	MUST(!setsockopt(s, SOL_IP, IP_TOS, &v, sizeof(v)) && !setsockopt(s, SOL_IP, IP_TTL, &ttl, sizeof(ttl)));
	hold();
	v = ttl = 0;
	getsockopt(s, SOL_IP, IP_TOS, &v, &len);
	SAME(v, 0x10);
	getsockopt(s, SOL_IP, IP_TTL, &ttl, &len);
	SAME(ttl, 33);
}

TEST(tcp_loopback)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7100), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int l = listener(7100), c = socket(AF_INET, SOCK_STREAM, 0), s;
	char buf[6] = "";

	MUST(!connect(c, (struct sockaddr *)&a, sizeof(a)));
	s = accept(l, NULL, NULL);
	MUST(s >= 0 && write(c, "hello", 5) == 5 && write(s, "there", 5) == 5);
	hold();
	SAME(recv(s, buf, 5, MSG_WAITALL), 5);
	EXPECT(!memcmp(buf, "hello", 5));
	SAME(recv(c, buf, 5, MSG_WAITALL), 5);
	EXPECT(!memcmp(buf, "there", 5));
	SAME(write(c, "again", 5), 5);
	SAME(recv(s, buf, 5, MSG_WAITALL), 5);
}

/* More than the other end has room for: what was not sent yet must not be, until that is there again. */
TEST(tcp_unsent)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7102), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int l = listener(7102), c = socket(AF_INET, SOCK_STREAM, 0), s;
	uint32_t words[1024], n = 0, bad = 0;

	MUST(!connect(c, (struct sockaddr *)&a, sizeof(a)));
	s = accept(l, NULL, NULL);
	MUST(s >= 0 && !fcntl(c, F_SETFL, O_NONBLOCK));
	do
		for (int i = 0; i < 1024; i++)
			words[i] = (n + i) * 2654435761u;
	while (write(c, words, sizeof(words)) == sizeof(words) && (n += 1024));
	MUST(n > 100000);
	hold();
	for (uint32_t got = 0; got < n; got += 1024) {
		SAME(recv(s, words, sizeof(words), MSG_WAITALL), (ssize_t)sizeof(words));
		for (int i = 0; i < 1024; i++)
			bad += words[i] != (got + i) * 2654435761u;
	}
	SAME(bad, 0);
}

/* What goes into a segment: of a connection by IPv4, of one whose sockets are of IPv6, and of one by IPv6. */
static int segment_of(int s)
{
	int mss = -1;
	socklen_t len = sizeof(mss);

	MUST(!getsockopt(s, SOL_TCP, TCP_MAXSEG, &mss, &len));
	return mss;
}

TEST(tcp_segments)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7103), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 mapped = { .sin6_family = AF_INET6, .sin6_port = htons(7103) };
	struct sockaddr_in6 local = { .sin6_family = AF_INET6, .sin6_port = htons(7104), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int l = listener(7103), c = socket(AF_INET, SOCK_STREAM, 0), m = socket(AF_INET6, SOCK_STREAM, 0), s, mss, mss_m, mss_s;
	int l6 = socket(AF_INET6, SOCK_STREAM, 0), c6 = socket(AF_INET6, SOCK_STREAM, 0), s6, mss_6;

	MUST(inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr) == 1);
	MUST(!connect(c, (struct sockaddr *)&a, sizeof(a)));
	s = accept(l, NULL, NULL);
	MUST(s >= 0 && !connect(m, (struct sockaddr *)&mapped, sizeof(mapped)) && accept(l, NULL, NULL) >= 0);
	MUST(!bind(l6, (struct sockaddr *)&local, sizeof(local)) && !listen(l6, 1) && !connect(c6, (struct sockaddr *)&local, sizeof(local)));
	s6 = accept(l6, NULL, NULL);
	MUST(s6 >= 0 && write(c, "hello", 5) == 5 && write(c6, "hello", 5) == 5);
	mss = segment_of(c);
	mss_6 = segment_of(c6);
	mss_m = segment_of(m);
	mss_s = segment_of(s);
	MUST(mss > 1460 && mss_m > 1460 && mss_s > 1460 && mss_6 > 1460);
	hold();
	SAME(segment_of(c), mss);
	SAME(segment_of(m), mss_m);
	SAME(segment_of(s), mss_s);
	SAME(segment_of(c6), mss_6);
}

TEST(tcp6_loopback)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(7101), .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int l = socket(AF_INET6, SOCK_STREAM, 0), c = socket(AF_INET6, SOCK_STREAM, 0), s;
	char buf[6] = "";

	MUST(!bind(l, (struct sockaddr *)&a, sizeof(a)) && !listen(l, 1) && !connect(c, (struct sockaddr *)&a, sizeof(a)));
	s = accept(l, NULL, NULL);
	MUST(s >= 0 && write(c, "hello", 5) == 5);
	hold();
	SAME(recv(s, buf, 5, MSG_WAITALL), 5);
	SAME(write(s, "again", 5), 5);
	SAME(recv(c, buf, 5, MSG_WAITALL), 5);
}

/* Nobody has taken it yet. CRIU does not carry it, and the peer would wait for ever: but it is the peer outside that has to try again. */
TEST(udp)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT_UDP) }, from;
	socklen_t len = sizeof(from);
	int s = socket(AF_INET, SOCK_DGRAM, 0), n;
	char buf[100];

	MUST(s >= 0 && !bind(s, (struct sockaddr *)&a, sizeof(a)));
	hold();
	n = recvfrom(s, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len);
	EXPECT(n > 0);
	SAME(sendto(s, buf, n, 0, (struct sockaddr *)&from, len), n);
}

TEST(udp_connected)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7200), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) }, b = a, now;
	int s = socket(AF_INET, SOCK_DGRAM, 0), r = socket(AF_INET, SOCK_DGRAM, 0), v = 1;
	socklen_t len = sizeof(now);
	char buf[10];

	b.sin_port = htons(7201);
	MUST(!setsockopt(s, SOL_SOCKET, SO_BROADCAST, &v, sizeof(v)));
	MUST(!bind(s, (struct sockaddr *)&a, sizeof(a)) && !bind(r, (struct sockaddr *)&b, sizeof(b)));
	MUST(!connect(s, (struct sockaddr *)&b, sizeof(b)));
	hold();
	EXPECT(!getpeername(s, (struct sockaddr *)&now, &len) && now.sin_port == b.sin_port);
	SAME(write(s, "data", 4), 4);
	SAME(read(r, buf, sizeof(buf)), 4);
	len = sizeof(v);
	getsockopt(s, SOL_SOCKET, SO_BROADCAST, &v, &len);
	SAME(v, 1);
}

static void send_fd(int sock, int fd, const char *text)
{
	struct iovec v = { (void *)text, strlen(text) };
	char control[CMSG_SPACE(sizeof(int))] = "";
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	MUST(sendmsg(sock, &m, 0) == (ssize_t)strlen(text));
}

static int recv_fd(int sock, const char *text)
{
	char buf[64] = "", control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec v = { buf, strlen(text) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c;
	int fd = -1;

	SAME(recvmsg(sock, &m, MSG_DONTWAIT), strlen(text));
	EXPECT(!strcmp(buf, text));
	c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

static void unix_pair(int type)
{
	char buf[100] = "";
	int s[2];

	MUST(!socketpair(AF_UNIX, type, 0, s));
	MUST(write(s[0], "first", 5) == 5 && write(s[0], "second", 6) == 6 && write(s[1], "back", 4) == 4);
	hold();
	if (type == SOCK_STREAM) {
		SAME(recv(s[1], buf, 11, MSG_WAITALL), 11);
		EXPECT(!memcmp(buf, "firstsecond", 11));
	} else {
		SAME(read(s[1], buf, sizeof(buf)), 5);
		SAME(read(s[1], buf, sizeof(buf)), 6);
	}
	SAME(read(s[0], buf, sizeof(buf)), 4);
	SAME(write(s[1], "more", 4), 4);
	SAME(read(s[0], buf, sizeof(buf)), 4);
}

TEST(unix_stream) { unix_pair(SOCK_STREAM); }
TEST(unix_dgram) { unix_pair(SOCK_DGRAM); }
TEST(unix_seqpacket) { unix_pair(SOCK_SEQPACKET); }

TEST(unix_rights)
{
	int s[2], p[2], got;
	char buf[10];

	MUST(!socketpair(AF_UNIX, SOCK_STREAM, 0, s) && !pipe(p));
	send_fd(s[0], p[0], "take this");
	close(p[0]);	/* it is in the queue only */
	MUST(write(p[1], "inside", 6) == 6);
	hold();
	got = recv_fd(s[1], "take this");
	EXPECT(got >= 0);
	SAME(read(got, buf, sizeof(buf)), 6);
	SAME(write(p[1], "x", 1), 1);
	SAME(read(got, buf, sizeof(buf)), 1);
}

TEST(unix_shutdown)
{
	char buf[10];
	int s[2];

	MUST(!socketpair(AF_UNIX, SOCK_STREAM, 0, s) && write(s[0], "last", 4) == 4 && !shutdown(s[0], SHUT_WR));
	hold();
	SAME(read(s[1], buf, sizeof(buf)), 4);
	SAME(read(s[1], buf, sizeof(buf)), 0);
	SAME(write(s[1], "ok", 2), 2);
	SAME(read(s[0], buf, sizeof(buf)), 2);
}

TEST(unix_listening)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int l = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0), s, d;
	char buf[10];
	struct stat st;

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", in_dir("sock"));
	MUST(!bind(l, (struct sockaddr *)&a, sizeof(a)) && !listen(l, 5) && !connect(c, (struct sockaddr *)&a, sizeof(a)));
	s = accept(l, NULL, NULL);
	MUST(s >= 0 && !chmod(a.sun_path, 0666));
	hold();
	SAME(write(c, "data", 4), 4);
	SAME(read(s, buf, sizeof(buf)), 4);
	d = socket(AF_UNIX, SOCK_STREAM, 0);
	EXPECT(!connect(d, (struct sockaddr *)&a, sizeof(a)));
	EXPECT(accept(l, NULL, NULL) >= 0);
	EXPECT(!stat(a.sun_path, &st));
	SAME(st.st_mode & 0777, 0666);
}

/* Connected, but not accepted yet. */
REFUSED(unix_backlog, "not accepted yet")
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int l = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0), s;
	char buf[10];

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", in_dir("sock"));
	MUST(!bind(l, (struct sockaddr *)&a, sizeof(a)) && !listen(l, 5) && !connect(c, (struct sockaddr *)&a, sizeof(a)));
	MUST(write(c, "early", 5) == 5);
	hold();
	s = accept(l, NULL, NULL);
	EXPECT(s >= 0);
	SAME(read(s, buf, sizeof(buf)), 5);
}

/* One that waits and has sent nothing can be connected anew. */
TEST(unix_waiting)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int l = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0), s;
	char buf[10];

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", in_dir("sock"));
	MUST(!bind(l, (struct sockaddr *)&a, sizeof(a)) && !listen(l, 5) && !connect(c, (struct sockaddr *)&a, sizeof(a)));
	hold();
	s = accept(l, NULL, NULL);
	EXPECT(s >= 0);
	SAME(write(c, "late", 4), 4);
	SAME(read(s, buf, sizeof(buf)), 4);
	SAME(write(s, "answer", 6), 6);
	SAME(read(c, buf, sizeof(buf)), 6);
}

TEST(unix_abstract)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX, .sun_path = "\0kup-resources" };
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + 14;
	int r = socket(AF_UNIX, SOCK_DGRAM, 0), s = socket(AF_UNIX, SOCK_DGRAM, 0);
	char buf[10];

	MUST(!bind(r, (struct sockaddr *)&a, len) && !connect(s, (struct sockaddr *)&a, len) && write(s, "before", 6) == 6);
	hold();
	SAME(recv(r, buf, sizeof(buf), MSG_DONTWAIT), 6);
	SAME(write(s, "after", 5), 5);
	SAME(recv(r, buf, sizeof(buf), MSG_DONTWAIT), 5);
}

TEST(netlink)
{
	struct sockaddr_nl a = { .nl_family = AF_NETLINK, .nl_groups = 1 }, now;
	int s = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	socklen_t len = sizeof(now);

	MUST(s >= 0 && !bind(s, (struct sockaddr *)&a, sizeof(a)));
	hold();
	EXPECT(!getsockname(s, (struct sockaddr *)&now, &len) && now.nl_groups == 1);
}

TEST(packet_socket)
{
	int s = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ARP)), type = 0;
	socklen_t len = sizeof(type);

	MUST(s >= 0);
	hold();
	EXPECT(!getsockopt(s, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_RAW);
}

TEST(raw_socket)
{
	int s = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), proto = 0;
	socklen_t len = sizeof(proto);

	MUST(s >= 0);
	hold();
	EXPECT(!getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &proto, &len) && proto == IPPROTO_ICMP);
}

REFUSED(mptcp, "protocol 262")
{
	MUST(socket(AF_INET, SOCK_STREAM, 262) >= 0);
	hold();
}
