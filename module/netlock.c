// SPDX-License-Identifier: GPL-2.0
/*
 * The network lock: while on, TCP and UDP of one network namespace pass over loopback only, or TCP there neither; or, before that,
 * TCP that opens a connection from outside.
 *
 * Between the dump of a connection and the end of this kernel, and in the next kernel until the connection is restored, a
 * segment from the peer would be answered with a reset. Dropped, it is sent again. ARP, ICMP and DHCP stay open: the link itself must
 * not die of the switch.
 *
 * If both ends are on this machine, one is dumped, and restored, before the other: what gets through between the two would be there twice
 * or not at all, or be answered with a reset as well. So loopback is closed while CRIU does that, and no longer: before it tries there
 * what this kernel can, and a health command may ask the processes. Segments that it makes itself, so that a connection is half closed
 * again, it marks.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>

#include "kup.h"

static struct net *locked_net;	/* holds a reference; under kup.lock */
static enum kup_netlock_mode mode;	/* set under kup.lock */

#define CRIU_MARK	0xc114	/* SOCCR_MARK */

static bool is_dhcp_port(__be16 port)
{
	switch (ntohs(port)) {
	case 67:
	case 68:
	case 546:
	case 547:
		return true;
	default:
		return false;
	}
}

/* A fragment behind the first one opens nothing. */
static bool opens(const struct sk_buff *skb, unsigned int offset)
{
	struct tcphdr buf;
	const struct tcphdr *th = skb_header_pointer(skb, offset, sizeof(buf), &buf);

	return th && th->syn && !th->ack;
}

static bool over_loopback(const struct nf_hook_state *state)
{
	const struct net_device *dev = state->in ?: state->out;

	return dev && dev->flags & IFF_LOOPBACK;
}

static unsigned int verdict(const struct sk_buff *skb, const struct nf_hook_state *state, int protocol, unsigned int offset,
			    bool first_fragment)
{
	const enum kup_netlock_mode now = READ_ONCE(mode);
	const struct udphdr *uh;
	struct udphdr buf;

	if (over_loopback(state))
		return now == KUP_NETLOCK_LOOPBACK && protocol == IPPROTO_TCP && skb->mark != CRIU_MARK ? NF_DROP : NF_ACCEPT;
	if (now == KUP_NETLOCK_NEW)
		return protocol == IPPROTO_TCP && state->in && first_fragment && opens(skb, offset) ? NF_DROP : NF_ACCEPT;
	if (protocol == IPPROTO_TCP)
		return NF_DROP;
	if (protocol != IPPROTO_UDP && protocol != IPPROTO_UDPLITE)
		return NF_ACCEPT;
	uh = first_fragment ? skb_header_pointer(skb, offset, sizeof(buf), &buf) : NULL;
	return uh && is_dhcp_port(uh->dest) && is_dhcp_port(uh->source) ? NF_ACCEPT : NF_DROP;
}

static unsigned int filter4(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	const struct iphdr *ip = ip_hdr(skb);

	return verdict(skb, state, ip->protocol, skb_network_offset(skb) + ip->ihl * 4, !(ip->frag_off & htons(IP_OFFSET)));
}

static unsigned int filter6(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	u8 protocol = ipv6_hdr(skb)->nexthdr;
	__be16 frag_off = 0;
	int offset;

	offset = ipv6_skip_exthdr(skb, skb_network_offset(skb) + sizeof(struct ipv6hdr), &protocol, &frag_off);
	if (offset < 0)
		return NF_ACCEPT;
	return verdict(skb, state, protocol, offset, !(frag_off & htons(IP6_OFFSET)));
}

static const struct nf_hook_ops hooks[] = {
	{ .hook = filter4, .pf = NFPROTO_IPV4, .hooknum = NF_INET_PRE_ROUTING, .priority = NF_IP_PRI_FIRST },
	{ .hook = filter4, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP_PRI_FIRST },
	{ .hook = filter6, .pf = NFPROTO_IPV6, .hooknum = NF_INET_PRE_ROUTING, .priority = NF_IP6_PRI_FIRST },
	{ .hook = filter6, .pf = NFPROTO_IPV6, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP6_PRI_FIRST },
};

static void set_mode(enum kup_netlock_mode to)
{
	WRITE_ONCE(mode, to);
	if (to == KUP_NETLOCK_ALL || to == KUP_NETLOCK_LOOPBACK)
		kup.counters.flags |= KUP_STATUS_NETLOCK;
	else
		kup.counters.flags &= ~KUP_STATUS_NETLOCK;
}

/**
 * kup_netlock - turn the network lock on, in the caller's network namespace, or off
 *
 * Turning it on where it is on already changes its mode; in another namespace it is -EBUSY. Turning it off never fails.
 */
int kup_netlock(enum kup_netlock_mode to)
{
	struct net *net = current->nsproxy ? current->nsproxy->net_ns : NULL;
	int err;

	lockdep_assert_held(&kup.lock);
	if (to == KUP_NETLOCK_OFF) {
		if (locked_net) {
			nf_unregister_net_hooks(locked_net, hooks, ARRAY_SIZE(hooks));
			put_net(locked_net);
			locked_net = NULL;
		}
		set_mode(to);
		return 0;
	}
	if (locked_net && locked_net != net)
		return -EBUSY;
	if (!net)
		return -ESRCH;
	set_mode(to);
	if (locked_net)
		return 0;
	err = nf_register_net_hooks(net, hooks, ARRAY_SIZE(hooks));
	if (err)
		set_mode(KUP_NETLOCK_OFF);
	else
		locked_net = get_net(net);
	return err;
}
