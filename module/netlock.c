// SPDX-License-Identifier: GPL-2.0
/*
 * The network lock: while on, TCP and UDP of one network namespace pass over loopback only.
 *
 * Between the dump of a connection and the end of this kernel, and in the next kernel until the connection is restored, a
 * segment from the peer would be answered with a reset. Dropped, it is sent again. Loopback stays open (criu probes it),
 * and so do ARP, ICMP and DHCP: the link itself must not die of the switch.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/udp.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>

#include "kup.h"

static struct net *locked_net;	/* holds a reference; under kup.lock */

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

static unsigned int verdict(const struct sk_buff *skb, int protocol, unsigned int offset, bool first_fragment)
{
	struct udphdr buf;
	const struct udphdr *uh;

	if (protocol == IPPROTO_TCP)
		return NF_DROP;
	if (protocol != IPPROTO_UDP && protocol != IPPROTO_UDPLITE)
		return NF_ACCEPT;
	uh = first_fragment ? skb_header_pointer(skb, offset, sizeof(buf), &buf) : NULL;
	return uh && is_dhcp_port(uh->dest) && is_dhcp_port(uh->source) ? NF_ACCEPT : NF_DROP;
}

static bool over_loopback(const struct nf_hook_state *state)
{
	const struct net_device *dev = state->in ?: state->out;

	return dev && dev->flags & IFF_LOOPBACK;
}

static unsigned int filter4(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	const struct iphdr *ip = ip_hdr(skb);

	if (over_loopback(state))
		return NF_ACCEPT;
	return verdict(skb, ip->protocol, skb_network_offset(skb) + ip->ihl * 4, !(ip->frag_off & htons(IP_OFFSET)));
}

static unsigned int filter6(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	u8 protocol = ipv6_hdr(skb)->nexthdr;
	__be16 frag_off = 0;
	int offset;

	if (over_loopback(state))
		return NF_ACCEPT;
	offset = ipv6_skip_exthdr(skb, skb_network_offset(skb) + sizeof(struct ipv6hdr), &protocol, &frag_off);
	if (offset < 0)
		return NF_ACCEPT;
	return verdict(skb, protocol, offset, !(frag_off & htons(IP6_OFFSET)));
}

static const struct nf_hook_ops hooks[] = {
	{ .hook = filter4, .pf = NFPROTO_IPV4, .hooknum = NF_INET_PRE_ROUTING, .priority = NF_IP_PRI_FIRST },
	{ .hook = filter4, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP_PRI_FIRST },
	{ .hook = filter6, .pf = NFPROTO_IPV6, .hooknum = NF_INET_PRE_ROUTING, .priority = NF_IP6_PRI_FIRST },
	{ .hook = filter6, .pf = NFPROTO_IPV6, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP6_PRI_FIRST },
};

/**
 * kup_netlock - turn the network lock on, in the caller's network namespace, or off
 *
 * Turning it on where it is on already is no error; in another namespace it is -EBUSY. Turning it off never fails.
 */
int kup_netlock(bool on)
{
	struct net *net = current->nsproxy ? current->nsproxy->net_ns : NULL;
	int err;

	lockdep_assert_held(&kup.lock);
	if (!on) {
		if (locked_net) {
			nf_unregister_net_hooks(locked_net, hooks, ARRAY_SIZE(hooks));
			put_net(locked_net);
			locked_net = NULL;
		}
		kup.counters.flags &= ~KUP_STATUS_NETLOCK;
		return 0;
	}
	if (locked_net)
		return locked_net == net ? 0 : -EBUSY;
	if (!net)
		return -ESRCH;
	err = nf_register_net_hooks(net, hooks, ARRAY_SIZE(hooks));
	if (err)
		return err;
	locked_net = get_net(net);
	kup.counters.flags |= KUP_STATUS_NETLOCK;
	return 0;
}
