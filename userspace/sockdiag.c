// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sockdiag.h"

#define NEW_SYN_RECV 12		/* TCP_NEW_SYN_RECV of the kernel: as this it is asked for, and TCP_SYN_RECV is the answer */

static int compare(const void *a, const void *b)
{
	const struct kup_unix_sock *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int ask(const void *req, size_t len)
{
	struct {
		struct nlmsghdr h;
		char req[64];
	} msg = { .h = { .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP } };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0)
		return -errno;
	memcpy(msg.req, req, len);
	msg.h.nlmsg_len = NLMSG_LENGTH(len);
	if (send(fd, &msg, msg.h.nlmsg_len, 0) < 0) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* Returns 1 for more to come, 0 at the end, or a negative errno. */
static int each(int fd, int (*one)(const struct nlmsghdr *h, void *ctx), void *ctx)
{
	char buf[32768] __attribute__((aligned(8)));
	ssize_t n = recv(fd, buf, sizeof(buf), 0);
	struct nlmsghdr *h;

	if (n <= 0)
		return !n ? -EPROTO : errno == EINTR ? 1 : -errno;
	for (h = (struct nlmsghdr *)buf; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
		if (h->nlmsg_type == NLMSG_DONE)
			return 0;
		if (h->nlmsg_type == NLMSG_ERROR)
			return ((struct nlmsgerr *)NLMSG_DATA(h))->error;
		if (one && one(h, ctx))
			return -ENOMEM;
	}
	return 1;
}

/* Returns 0 at the end, or a negative errno. */
static int dump(const void *req, size_t len, int (*one)(const struct nlmsghdr *h, void *ctx), void *ctx)
{
	int fd = ask(req, len), ret;

	if (fd < 0)
		return fd;
	do {
		ret = each(fd, one, ctx);
	} while (ret > 0);
	close(fd);
	return ret;
}

struct list {
	struct kup_unix_sock *socks;
	size_t nr, room;
};

static void add_queues(struct kup_unix_sock *s, const struct unix_diag_rqlen *q, bool listens)
{
	if (listens)
		s->waiting = q->udiag_rqueue;
	else
		s->unread = q->udiag_wqueue;
}

static int add_unix(const struct nlmsghdr *h, void *ctx)
{
	const struct unix_diag_msg *m = NLMSG_DATA(h);
	int left = NLMSG_PAYLOAD(h, sizeof(*m));
	struct list *l = ctx;
	struct rtattr *a;

	if (l->nr == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		void *more = realloc(l->socks, room * sizeof(*l->socks));

		if (!more)
			return -ENOMEM;
		l->socks = more;
		l->room = room;
	}
	l->socks[l->nr] = (struct kup_unix_sock){ .ino = m->udiag_ino };
	for (a = (struct rtattr *)(m + 1); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == UNIX_DIAG_PEER)
			memcpy(&l->socks[l->nr].peer, RTA_DATA(a), sizeof(uint32_t));
		else if (a->rta_type == UNIX_DIAG_ICONS && RTA_PAYLOAD(a) == sizeof(uint32_t))
			memcpy(&l->socks[l->nr].caller, RTA_DATA(a), sizeof(uint32_t));
		else if (a->rta_type == UNIX_DIAG_RQLEN)
			add_queues(&l->socks[l->nr], RTA_DATA(a), m->udiag_state == TCP_LISTEN);
	l->nr++;
	return 0;
}

int kup_sockdiag_unix(struct kup_unix_sock **socks, size_t *nr)
{
	const struct unix_diag_req req = { .sdiag_family = AF_UNIX, .udiag_states = ~0u,
					 .udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN };
	struct list l = { 0 };
	int ret = dump(&req, sizeof(req), add_unix, &l);

	if (ret) {
		free(l.socks);
		return ret;
	}
	if (l.nr)
		qsort(l.socks, l.nr, sizeof(*l.socks), compare);
	*socks = l.socks;
	*nr = l.nr;
	return 0;
}

const struct kup_unix_sock *kup_unix_find(const struct kup_unix_sock *socks, size_t nr, uint32_t ino)
{
	const struct kup_unix_sock key = { .ino = ino };

	return nr ? bsearch(&key, socks, nr, sizeof(*socks), compare) : NULL;
}

static int add_connection(const struct nlmsghdr *h, void *ctx)
{
	const struct inet_diag_msg *m = NLMSG_DATA(h);
	struct kup_connections *c = ctx;
	struct kup_listener *more;

	if (m->idiag_state == TCP_SYN_RECV) {
		c->opening += !m->idiag_retrans;
	} else if (m->idiag_state != TCP_LISTEN) {
		c->closing += !m->idiag_inode && m->idiag_wqueue && !m->idiag_retrans;
	} else if (m->idiag_rqueue) {
		more = realloc(c->listeners, (c->nr + 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		c->listeners = more;
		more[c->nr++] = (struct kup_listener){ .ino = m->idiag_inode, .waiting = m->idiag_rqueue, .port = ntohs(m->id.idiag_sport) };
	}
	return 0;
}

int kup_sockdiag_connections(struct kup_connections *c)
{
	struct inet_diag_req_v2 req = {
		.sdiag_family = AF_INET,
		.sdiag_protocol = IPPROTO_TCP,
		.idiag_states = 1 << TCP_LISTEN | 1 << TCP_SYN_RECV | 1 << NEW_SYN_RECV | 1 << TCP_FIN_WAIT1 | 1 << TCP_LAST_ACK | 1 << TCP_CLOSING,
	};
	int ret;

	*c = (struct kup_connections){ 0 };
	ret = dump(&req, sizeof(req), add_connection, c);
	req.sdiag_family = AF_INET6;
	if (!ret)
		ret = dump(&req, sizeof(req), add_connection, c);
	if (ret)
		free(c->listeners);
	return ret;
}

bool kup_sockdiag_has(int family, int protocol)
{
	/* All requests start with family and protocol; the inet one is the longest. */
	struct inet_diag_req_v2 req = { .sdiag_family = family, .sdiag_protocol = protocol, .idiag_states = 0 };

	return dump(&req, sizeof(req), NULL, NULL) == 0;
}
